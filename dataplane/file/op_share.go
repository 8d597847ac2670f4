package file

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

const policyLetters = "rcwdl"

func (q *request) listShares() error {
	limit, err := q.limit()
	if err != nil {
		return err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Query.Get("marker"))
	if err != nil {
		return storagehttp.InvalidQuery("marker", q.Query.Get("marker"))
	}
	include := map[string]bool{}
	for v := range strings.SplitSeq(q.Query.Get("include"), ",") {
		include[strings.ToLower(strings.TrimSpace(v))] = true
	}
	var list []Found
	var next string
	err = q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		list, next, err = q.s.ListTx(tx, q.Account.Name, q.Query.Get("prefix"), string(after), limit, include["snapshots"], include["deleted"])
		return err
	})
	if err != nil {
		return err
	}
	now := q.s.clock.Now()
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `">`)
	x.Option("Prefix", q.Query.Get("prefix"))
	x.Option("Marker", q.Query.Get("marker"))
	x.Option("MaxResults", q.Query.Get("maxresults"))
	x.WriteString("<Shares>")
	for i := range list {
		list[i].write(x, include["metadata"], now)
	}
	x.WriteString("</Shares>")
	x.Text("NextMarker", base64.RawURLEncoding.EncodeToString([]byte(next)))
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

func (f *Found) write(x *storagehttp.XML, metadata bool, now time.Time) {
	x.WriteString("<Share>")
	x.Text("Name", f.Name)
	x.Option("Snapshot", f.Snapshot)
	if f.Version != "" {
		x.Text("Deleted", "true")
		x.Text("Version", f.Version)
	}
	x.WriteString("<Properties>")
	x.Text("Last-Modified", storagehttp.HTTPTime(f.Modified))
	x.Text("Etag", f.ETag)
	x.Text("Quota", strconv.FormatInt(f.Quota, 10))
	x.Text("AccessTier", f.Tier)
	x.Text("AccessTierChangeTime", storagehttp.HTTPTime(f.TierAt))
	x.Text("EnabledProtocols", f.Protocols)
	x.Option("RootSquash", f.RootSquash)
	if f.Version != "" {
		x.Text("DeletedTime", storagehttp.HTTPTime(f.Deleted))
		x.Text("RemainingRetentionDays", strconv.Itoa(f.Remaining))
	} else {
		x.Lease(f.Lease, now)
	}
	x.WriteString("</Properties>")
	if metadata {
		x.Metadata(f.Metadata)
	}
	x.WriteString("</Share>")
}

// shareHeaders changes p as the headers of Create Share and Set Share Properties say.
func (q *request) shareHeaders(p *Share) error {
	h := q.R.Header
	if n, err := q.Int64Header("X-Ms-Share-Quota"); err != nil {
		return err
	} else if n >= 0 {
		if p.Quota = n; n == 0 {
			return storagehttp.InvalidHeader("x-ms-share-quota", "0")
		}
	}
	for name, to := range map[string]*string{"X-Ms-Access-Tier": &p.Tier, "X-Ms-Root-Squash": &p.RootSquash} {
		if v := h.Get(name); v != "" {
			*to = v
		}
	}
	for _, name := range []string{"X-Ms-Share-Paid-Bursting-Enabled", "X-Ms-Enable-Smb-Directory-Lease"} {
		if strings.EqualFold(h.Get(name), "true") {
			return storagehttp.NotImplemented("%s", strings.ToLower(name))
		}
	}
	return nil
}

func (q *request) createShare() error {
	p := Share{Protocols: q.R.Header.Get("X-Ms-Enabled-Protocols")}
	var err error
	if p.Metadata, err = q.Metadata(); err != nil {
		return err
	}
	if err := q.shareHeaders(&p); err != nil {
		return err
	}
	return q.changed(http.StatusCreated, func(tx store.Tx) (Found, error) { return q.s.CreateTx(tx, q.Account.Name, q.share, p) })
}

// changed does a change of the share and answers with its state.
func (q *request) changed(status int, f func(store.Tx) (Found, error)) error {
	var found Found
	err := q.s.store.Update(q.Ctx, func(tx store.Tx) (err error) {
		found, err = f(tx)
		return err
	})
	if err != nil {
		return err
	}
	q.SetStamp(found.ETag, found.Modified)
	return q.Send(status)
}

// edit is changed of what an owner sets; the lease must be right where one is named.
func (q *request) edit(f func(*Share) error) error {
	return q.changed(http.StatusOK, func(tx store.Tx) (Found, error) {
		doc, err := getShare(tx, q.Account.Name, q.share)
		if err != nil {
			return Found{}, err
		}
		if err := doc.Lease.Need(q.s.clock.Now(), q.lease(), "Share", false); err != nil {
			return Found{}, err
		}
		return q.s.UpdateTx(tx, q.Account.Name, q.share, f)
	})
}

func (q *request) lease() string { return q.R.Header.Get("X-Ms-Lease-Id") }

func (q *request) setShare() error { return q.edit(q.shareHeaders) }

func (q *request) setShareMetadata() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.edit(func(p *Share) error { p.Metadata = m; return nil })
}

// readShare reads the share or its snapshot, with the lease that the request names.
func (q *request) readShare() (doc shareDoc, err error) {
	err = q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		if doc, err = getShareAt(tx, q.Account.Name, q.share, q.snapshot); err != nil {
			return err
		}
		return doc.Lease.Need(q.s.clock.Now(), q.lease(), "Share", false)
	})
	return doc, err
}

func (q *request) getShare() error {
	doc, err := q.readShare()
	if err != nil {
		return err
	}
	f := doc.found(q.share)
	q.SetStamp(f.ETag, f.Modified)
	q.SetMetadata(f.Metadata)
	if q.Query.Get("comp") == "" {
		h := q.W.Header()
		h.Set("x-ms-share-quota", strconv.FormatInt(f.Quota, 10))
		h.Set("x-ms-access-tier", f.Tier)
		h.Set("x-ms-access-tier-change-time", storagehttp.HTTPTime(f.TierAt))
		h.Set("x-ms-enabled-protocols", f.Protocols)
		if f.RootSquash != "" {
			h.Set("x-ms-root-squash", f.RootSquash)
		}
		h.Set("x-ms-has-immutability-policy", "false")
		storagehttp.SetLease(h, f.Lease, q.s.clock.Now())
	}
	return q.Send(http.StatusOK)
}

func (q *request) deleteShare() error {
	days, err := q.s.days(q.Ctx, q.Account.Name)
	if err != nil {
		return err
	}
	mode := strings.ToLower(q.R.Header.Get("X-Ms-Delete-Snapshots"))
	if mode != "" && mode != "include" && mode != "include-leased" {
		return storagehttp.InvalidHeader("x-ms-delete-snapshots", mode)
	}
	err = q.s.store.Update(q.Ctx, func(tx store.Tx) error {
		if q.snapshot != "" {
			return q.s.deleteSnapshot(tx, q.Account.Name, q.share, q.snapshot)
		}
		doc, err := getShare(tx, q.Account.Name, q.share)
		if err != nil {
			return err
		}
		if err := doc.Lease.Need(q.s.clock.Now(), q.lease(), "Share", true); err != nil {
			return err
		}
		return q.s.DeleteTx(tx, q.Account.Name, q.share, mode != "", days)
	})
	if err != nil {
		return err
	}
	q.s.Wake()
	return q.Send(http.StatusAccepted)
}

func (q *request) restoreShare() error {
	name, version := q.R.Header.Get("X-Ms-Deleted-Share-Name"), q.R.Header.Get("X-Ms-Deleted-Share-Version")
	if name == "" || version == "" {
		return storagehttp.MissingHeader("x-ms-deleted-share-name, x-ms-deleted-share-version")
	}
	return q.changed(http.StatusCreated, func(tx store.Tx) (Found, error) {
		return q.s.RestoreTx(tx, q.Account.Name, q.share, name, version)
	})
}

func (q *request) snapshotShare() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.changed(http.StatusCreated, func(tx store.Tx) (Found, error) {
		f, at, err := q.s.snapshot(tx, q.Account.Name, q.share, m)
		q.W.Header().Set("x-ms-snapshot", at)
		return f, err
	})
}

func (q *request) getShareACL() error {
	doc, err := q.readShare()
	if err != nil {
		return err
	}
	q.SetStamp(etag(doc.Modified), doc.Modified)
	return q.SendXML(storagehttp.Identifiers(doc.Policies))
}

func (q *request) setShareACL() error {
	list, err := storagehttp.ParseIdentifiers(q.R.Body, policyLetters)
	if err != nil {
		return err
	}
	return q.edit(func(p *Share) error { p.Policies = list; return nil })
}

func (q *request) getShareStats() error {
	var n int64
	doc, err := q.readShare()
	if err == nil {
		err = q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
			n, err = usage(tx, q.Account.Name, doc.Tree)
			return err
		})
	}
	if err != nil {
		return err
	}
	q.SetStamp(etag(doc.Modified), doc.Modified)
	x := storagehttp.NewXML()
	x.WriteString("<ShareStats>")
	x.Text("ShareUsageBytes", strconv.FormatInt(n, 10))
	x.WriteString("</ShareStats>")
	return q.SendXML(x)
}

func (q *request) leaseShare() error {
	r, err := q.ParseLease()
	if err != nil {
		return err
	}
	var status int
	var left int64
	var found Found
	err = q.s.store.Update(q.Ctx, func(tx store.Tx) error {
		doc, err := getShare(tx, q.Account.Name, q.share)
		if err != nil {
			return err
		}
		if doc.Lease, status, left, err = r.Apply(doc.Lease, q.s.clock.Now(), 0); err != nil {
			return err
		}
		found = doc.found(q.share)
		return putDoc(tx, kindShare, q.Account.Name+"/"+q.share, doc)
	})
	if err != nil {
		return err
	}
	q.SetStamp(found.ETag, found.Modified)
	return q.SendLease(r, status, left)
}

func (q *request) createPermission() error {
	body, err := io.ReadAll(io.LimitReader(q.R.Body, maxDescriptorInBody+1024))
	if err != nil {
		return err
	}
	var in struct {
		Permission string `json:"permission"`
		Format     string `json:"format"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return storagehttp.InvalidInput("the body is not {\"permission\": \"SDDL\"}")
	}
	if in.Format != "" && !strings.EqualFold(in.Format, "sddl") {
		return storagehttp.NotImplemented("permissions in the format '%s': say them in SDDL", in.Format)
	}
	if err := checkDescriptor(in.Permission, maxDescriptorInBody); err != nil {
		return err
	}
	key := ""
	err = q.s.store.Update(q.Ctx, func(tx store.Tx) error {
		doc, err := getShare(tx, q.Account.Name, q.share)
		if err == nil {
			key, err = putPermission(tx, q.Account.Name, doc.UID, in.Permission)
		}
		return err
	})
	if err != nil {
		return err
	}
	q.W.Header().Set("x-ms-file-permission-key", key)
	return q.Send(http.StatusCreated)
}

func (q *request) getPermission() error {
	key := q.R.Header.Get("X-Ms-File-Permission-Key")
	if key == "" {
		return storagehttp.MissingHeader("x-ms-file-permission-key")
	}
	if v := q.R.Header.Get("X-Ms-File-Permission-Format"); v != "" && !strings.EqualFold(v, "sddl") {
		return storagehttp.NotImplemented("permissions in the format '%s'", v)
	}
	doc, err := q.readShare()
	if err != nil {
		return err
	}
	v := ""
	err = q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		v, err = getPermission(tx, q.Account.Name, doc.UID, key)
		return err
	})
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"permission": v})
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return q.SendBody(http.StatusOK, "application/json", body)
}
