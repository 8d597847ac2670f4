package file

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// Share is a file share as its owner sets it ("Create Share", Storage REST: FileShareProperties).
type Share struct {
	Quota      int64                `json:"q"` // GiB
	Tier       string               `json:"t,omitempty"`
	Protocols  string               `json:"p,omitempty"`
	RootSquash string               `json:"r,omitempty"`
	Metadata   map[string]string    `json:"m,omitempty"`
	Policies   []storagehttp.Policy `json:"a,omitempty"`
}

// shareDoc is a share, a snapshot of one, or one that was deleted.
type shareDoc struct {
	Share
	UID      string             `json:"u"`    // of the share, and of its permissions
	Tree     string             `json:"tree"` // of its entries; a snapshot's is its own
	Root     entryDoc           `json:"root"` // the root directory
	Modified time.Time          `json:"at"`
	TierAt   time.Time          `json:"tat,omitzero"`
	Lease    *storagehttp.Lease `json:"l,omitempty"`
	Deleted  time.Time          `json:"del,omitzero"`
	Days     int                `json:"days,omitempty"` // how long it is kept since
}

// Found is a share with what is known of it.
type Found struct {
	Share
	Name      string
	Snapshot  string // "" for the share itself
	Version   string // of a deleted share
	Deleted   time.Time
	Remaining int // days that a deleted share is kept
	Modified  time.Time
	ETag      string
	Lease     *storagehttp.Lease
	TierAt    time.Time
}

func (d *shareDoc) found(name string) Found {
	return Found{Share: d.Share, Name: name, Modified: d.Modified, ETag: etag(d.Modified), Lease: d.Lease, TierAt: d.TierAt, Deleted: d.Deleted}
}

const (
	gib          = int64(1) << 30
	defaultQuota = 5120
	maxQuota     = 262_144
	maxSnapshots = 200
	timeLayout   = "2006-01-02T15:04:05.0000000Z"
)

var shareName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

// checkShareName as "Naming and referencing shares, directories, files, and metadata" says.
func checkShareName(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return storagehttp.NewError(http.StatusBadRequest, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.").Because("share name '%s' is not of 3 to 63 characters", name)
	}
	if !shareName.MatchString(name) {
		return storagehttp.InvalidName("share", name)
	}
	return nil
}

func errShareNotFound(name string) error {
	return storagehttp.NewError(http.StatusNotFound, "ShareNotFound", "The specified share does not exist.").Because("share '%s'", name)
}

// check judges what an owner says of a share, and fills in what is not said.
func (p *Share) check() error {
	if p.Quota == 0 {
		p.Quota = defaultQuota
	}
	if p.Quota < 1 || p.Quota > maxQuota {
		return storagehttp.InvalidHeader("x-ms-share-quota", fmt.Sprint(p.Quota)).Because("a share's quota is 1 to %d GiB, not %d", maxQuota, p.Quota)
	}
	for _, f := range []struct {
		name  string
		value *string
		known []string
	}{
		{"x-ms-access-tier", &p.Tier, []string{"TransactionOptimized", "Hot", "Cool", "Premium"}},
		{"x-ms-enabled-protocols", &p.Protocols, []string{"SMB", "NFS"}},
		{"x-ms-root-squash", &p.RootSquash, []string{"", "NoRootSquash", "RootSquash", "AllSquash"}},
	} {
		if *f.value == "" {
			*f.value = f.known[0]
			continue
		}
		ok := false
		for _, k := range f.known {
			if k != "" && strings.EqualFold(k, *f.value) {
				*f.value, ok = k, true
			}
		}
		if !ok {
			return storagehttp.InvalidHeader(f.name, *f.value)
		}
	}
	if p.RootSquash != "" && p.Protocols != "NFS" {
		return storagehttp.InvalidHeader("x-ms-root-squash", p.RootSquash).Because("root squash is for shares with the protocol NFS only")
	}
	return nil
}

func getShare(tx store.Tx, account, name string) (doc shareDoc, err error) {
	err = getDoc(tx, kindShare, account+"/"+name, &doc)
	if errors.Is(err, store.ErrNotFound) {
		err = errShareNotFound(name)
	}
	return doc, err
}

// getShareAt is getShare of a snapshot, "" for the share itself.
func getShareAt(tx store.Tx, account, name, snapshot string) (doc shareDoc, err error) {
	if doc, err = getShare(tx, account, name); err != nil || snapshot == "" {
		return doc, err
	}
	at, err := storagehttp.ParseTime(snapshot)
	if err != nil {
		return doc, storagehttp.InvalidQuery("sharesnapshot", snapshot)
	}
	key := account + "/" + doc.UID + "/" + at.UTC().Format(timeLayout)
	doc = shareDoc{}
	if err = getDoc(tx, kindSnapshot, key, &doc); errors.Is(err, store.ErrNotFound) {
		err = storagehttp.NewError(http.StatusNotFound, "ShareSnapshotNotFound", "The specified share snapshot does not exist.").Because("snapshot %s of share '%s'", snapshot, name)
	}
	return doc, err
}

// GetTx returns a share; ShareNotFound.
func (s *Service) GetTx(tx store.Tx, account, name string) (Found, error) {
	doc, err := getShare(tx, account, name)
	return doc.found(name), err
}

// CreateTx makes a share; ShareAlreadyExists.
func (s *Service) CreateTx(tx store.Tx, account, name string, p Share) (Found, error) {
	if err := checkShareName(name); err != nil {
		return Found{}, err
	}
	if err := p.check(); err != nil {
		return Found{}, err
	}
	_, err := getShare(tx, account, name)
	if err == nil {
		return Found{}, storagehttp.NewError(http.StatusConflict, "ShareAlreadyExists", "The specified share already exists.").Because("share '%s'", name)
	}
	if !storagehttp.IsCode(err, "ShareNotFound") {
		return Found{}, err
	}
	now := s.stamp()
	uid := randomID()
	doc := shareDoc{Share: p, UID: uid, Tree: uid, Modified: now, TierAt: now}
	doc.Root = entryDoc{Dir: true, Attributes: "Directory", Created: now, Written: now, Changed: now, Modified: now}
	if doc.Root.Permission, err = putPermission(tx, account, uid, defaultDescriptor); err != nil {
		return Found{}, err
	}
	return doc.found(name), putDoc(tx, kindShare, account+"/"+name, doc)
}

// UpdateTx changes a share as f says; ShareNotFound.
func (s *Service) UpdateTx(tx store.Tx, account, name string, f func(*Share) error) (Found, error) {
	return s.editShare(tx, account, name, func(doc *shareDoc) error {
		before := doc.Share
		if err := f(&doc.Share); err != nil {
			return err
		}
		if doc.Tier != before.Tier {
			doc.TierAt = s.clock.Now()
		}
		return doc.Share.check()
	})
}

func (s *Service) editShare(tx store.Tx, account, name string, f func(*shareDoc) error) (Found, error) {
	doc, err := getShare(tx, account, name)
	if err != nil {
		return Found{}, err
	}
	if err := f(&doc); err != nil {
		return Found{}, err
	}
	doc.Modified = s.stamp()
	return doc.found(name), putDoc(tx, kindShare, account+"/"+name, doc)
}

// Usage is how many bytes of a share are written; ShareNotFound.
func (s *Service) Usage(tx store.Tx, account, name string) (int64, error) {
	doc, err := getShare(tx, account, name)
	if err != nil {
		return 0, err
	}
	return usage(tx, account, doc.Tree)
}

func usage(tx store.Tx, account, tree string) (n int64, err error) {
	err = getDoc(tx, kindUsage, account+"/"+tree, &n)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// DeleteTx removes a share, with its snapshots if snapshots says so, and keeps it for some days (0: not); ShareNotFound,
// ShareHasSnapshots. Call Wake after the commit.
func (s *Service) DeleteTx(tx store.Tx, account, name string, snapshots bool, days int) error {
	doc, err := getShare(tx, account, name)
	if err != nil {
		return err
	}
	kept, err := snapshotsOf(tx, account, doc.UID)
	if err != nil {
		return err
	}
	if len(kept) > 0 && !snapshots {
		return storagehttp.NewError(http.StatusConflict, "ShareHasSnapshots", "The share has snapshots and the operation requires no snapshots.").Because("%d of them; x-ms-delete-snapshots: include deletes them too", len(kept))
	}
	if err := tx.Delete(kindShare, account+"/"+name, store.Any); err != nil {
		return err
	}
	if days == 0 {
		return s.eraseShare(tx, account, doc, kept)
	}
	doc.Deleted, doc.Days, doc.Lease = s.stamp(), days, nil
	return putDoc(tx, kindDeleted, account+"/"+name+"/"+version(doc.Deleted), doc)
}

// version names a deleted share.
func version(deleted time.Time) string {
	return fmt.Sprintf("%016X", deleted.UnixNano()/100+dotNetEpoch)
}

// eraseShare has the trees of a share and its snapshots removed by the next sweep.
func (s *Service) eraseShare(tx store.Tx, account string, doc shareDoc, snapshots []string) error {
	for _, key := range snapshots {
		var snap shareDoc
		if err := getDoc(tx, kindSnapshot, key, &snap); err != nil {
			return err
		}
		if err := trash(tx, account, snap.Tree); err != nil {
			return err
		}
		if err := tx.Delete(kindSnapshot, key, store.Any); err != nil {
			return err
		}
	}
	return trash(tx, account, doc.Tree)
}

// Wake has the housekeeping sweep soon what a transaction has let go of.
func (s *Service) Wake() { s.housekeeping.Wake() }

func snapshotsOf(tx store.Tx, account, uid string) (keys []string, err error) {
	err = tx.Scan(kindSnapshot, account+"/"+uid+"/", "", func(d store.Doc) bool {
		keys = append(keys, d.Key)
		return true
	})
	return keys, err
}

// days is how long a deleted share of the account is kept.
func (s *Service) days(ctx context.Context, account string) (int, error) {
	if s.policy == nil {
		return 0, nil
	}
	n, err := s.policy.DeletedShareDays(ctx, account)
	if errors.Is(err, storagehttp.ErrNoAccount) {
		return 0, nil
	}
	return n, err
}

// RestoreTx brings a deleted share back under its name; ShareNotFound, ShareAlreadyExists.
func (s *Service) RestoreTx(tx store.Tx, account, name, deleted, version string) (Found, error) {
	if err := checkShareName(name); err != nil {
		return Found{}, err
	}
	if _, err := getShare(tx, account, name); err == nil {
		return Found{}, storagehttp.NewError(http.StatusConflict, "ShareAlreadyExists", "The specified share already exists.").Because("share '%s'", name)
	} else if !storagehttp.IsCode(err, "ShareNotFound") {
		return Found{}, err
	}
	var doc shareDoc
	key := account + "/" + deleted + "/" + version
	err := getDoc(tx, kindDeleted, key, &doc)
	if errors.Is(err, store.ErrNotFound) {
		return Found{}, storagehttp.NewError(http.StatusNotFound, "ShareNotFound", "The specified share does not exist.").Because("no deleted share '%s' of version '%s'", deleted, version)
	}
	if err != nil {
		return Found{}, err
	}
	doc.Deleted, doc.Days, doc.Modified = time.Time{}, 0, s.stamp()
	if err := tx.Delete(kindDeleted, key, store.Any); err != nil {
		return Found{}, err
	}
	return doc.found(name), putDoc(tx, kindShare, account+"/"+name, doc)
}

// ListTx returns shares whose names start with prefix, in order, from after on, at most limit (0: all); with their snapshots
// and deleted ones where asked. next is where a next page starts, "" at the end.
func (s *Service) ListTx(tx store.Tx, account, prefix, after string, limit int, snapshots, deleted bool) (list []Found, next string, err error) {
	var bad error
	full := func() bool { return limit > 0 && len(list) >= limit }
	// A page ends with a whole share and its snapshots: they are few.
	err = tx.Scan(kindShare, account+"/"+prefix, start(account, after, "s"), func(d store.Doc) bool {
		if full() {
			return false
		}
		var doc shareDoc
		if bad = decode(d.Value, &doc); bad != nil {
			return false
		}
		name := strings.TrimPrefix(d.Key, account+"/")
		if snapshots {
			bad = tx.Scan(kindSnapshot, account+"/"+doc.UID+"/", "", func(d store.Doc) bool {
				var snap shareDoc
				bad = decode(d.Value, &snap)
				f := snap.found(name)
				f.Snapshot = strings.TrimPrefix(d.Key, account+"/"+doc.UID+"/")
				list = append(list, f)
				return bad == nil
			})
		}
		list = append(list, doc.found(name))
		next = "s" + name
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil || full() || !deleted {
		if !full() {
			next = ""
		}
		return list, next, err
	}
	now := s.clock.Now()
	err = tx.Scan(kindDeleted, account+"/"+prefix, start(account, after, "t"), func(d store.Doc) bool {
		if full() {
			return false
		}
		var doc shareDoc
		if bad = decode(d.Value, &doc); bad != nil {
			return false
		}
		name, version, _ := strings.Cut(strings.TrimPrefix(d.Key, account+"/"), "/")
		f := doc.found(name)
		f.Version, f.Remaining = version, doc.Days-int(now.Sub(doc.Deleted)/(24*time.Hour))
		list = append(list, f)
		next = "t" + name + "/" + version
		return true
	})
	if !full() {
		next = ""
	}
	return list, next, errors.Join(err, bad)
}

// start is the key after which a page's scan of live ("s") or deleted ("t") shares begins.
func start(account, after, kind string) string {
	rest, ok := strings.CutPrefix(after, kind)
	switch {
	case ok:
		return account + "/" + rest
	case kind == "s" && strings.HasPrefix(after, "t"): // the live ones are done
		return account + "/\x7f"
	}
	return ""
}

// snapshot keeps the share as it is: every entry and list of extents is copied, and payloads are shared.
func (s *Service) snapshot(tx store.Tx, account, name string, metadata map[string]string) (Found, string, error) {
	doc, err := getShare(tx, account, name)
	if err != nil {
		return Found{}, "", err
	}
	kept, err := snapshotsOf(tx, account, doc.UID)
	if err != nil {
		return Found{}, "", err
	}
	if len(kept) >= maxSnapshots {
		return Found{}, "", storagehttp.NewError(http.StatusConflict, "ShareSnapshotCountExceeded", "The total number of snapshots for the share is over the limit.").Because("a share has at most %d", maxSnapshots)
	}
	now := s.stamp()
	snap := doc
	snap.Tree, snap.Lease, snap.Policies = randomID(), nil, nil
	if metadata != nil {
		snap.Metadata = metadata
	}
	if err := copyTree(tx, account, doc.Tree, snap.Tree); err != nil {
		return Found{}, "", err
	}
	at := now.Format(timeLayout)
	return snap.found(name), at, putDoc(tx, kindSnapshot, account+"/"+doc.UID+"/"+at, snap)
}

func (s *Service) deleteSnapshot(tx store.Tx, account, name, snapshot string) error {
	doc, err := getShareAt(tx, account, name, snapshot)
	if err != nil {
		return err
	}
	at, err := storagehttp.ParseTime(snapshot)
	if err != nil {
		return err
	}
	if err := trash(tx, account, doc.Tree); err != nil {
		return err
	}
	return tx.Delete(kindSnapshot, account+"/"+doc.UID+"/"+at.UTC().Format(timeLayout), store.Any)
}
