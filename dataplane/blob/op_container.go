package blob

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
)

// publicAccess reads x-ms-blob-public-access, which the account must permit.
func (q *request) publicAccess() (string, error) {
	v := q.R.Header.Get("X-Ms-Blob-Public-Access")
	switch v {
	case "", "blob", "container":
	default:
		return "", errInvalidHeader("x-ms-blob-public-access", v)
	}
	if v != "" && !q.Account.AllowBlobPublicAccess {
		return "", newError(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.").Because("allowBlobPublicAccess is false")
	}
	return v, nil
}

func (q *request) createContainer() error {
	access, err := q.publicAccess()
	if err != nil {
		return err
	}
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	c, err := q.s.CreateContainer(q.Ctx, q.Account.Name, q.container, ContainerOptions{PublicAccess: access, Metadata: m})
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	return q.Send(http.StatusCreated)
}

// readContainer returns the request's container, if the lease id that the request may have is right.
func (q *request) readContainer() (Container, error) {
	c, err := q.s.GetContainer(q.Ctx, q.Account.Name, q.container)
	if err != nil {
		return c, err
	}
	return c, c.doc.Lease.Need(q.s.clock.Now(), q.R.Header.Get("X-Ms-Lease-Id"), "Container", false)
}

func (q *request) getContainer() error {
	c, err := q.readContainer()
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	q.SetMetadata(c.Metadata)
	h := q.W.Header()
	storagehttp.SetLease(h, c.doc.Lease, q.s.clock.Now())
	h.Set("x-ms-has-immutability-policy", strconv.FormatBool(c.doc.Guard.Days > 0))
	h.Set("x-ms-has-legal-hold", strconv.FormatBool(c.doc.Guard.Hold))
	h.Set("x-ms-immutable-storage-with-versioning-enabled", strconv.FormatBool(c.Worm))
	h.Set("x-ms-default-encryption-scope", "$account-encryption-key")
	h.Set("x-ms-deny-encryption-scope-override", "false")
	if c.PublicAccess != "" {
		h.Set("x-ms-blob-public-access", c.PublicAccess)
	}
	return q.Send(http.StatusOK)
}

func (q *request) setContainerMetadata() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.changeContainer(func(doc *containerDoc) { doc.Metadata = m })
}

func (q *request) changeContainer(f func(*containerDoc)) error {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	c, err := q.s.updateContainer(q.Ctx, q.Account.Name, q.container, cond, func(doc *containerDoc) error { f(doc); return nil })
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	return q.Send(http.StatusOK)
}

func (q *request) getContainerACL() error {
	c, err := q.readContainer()
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	if c.PublicAccess != "" {
		q.W.Header().Set("x-ms-blob-public-access", c.PublicAccess)
	}
	return q.SendXML(storagehttp.Identifiers(c.doc.Policies))
}

func (q *request) setContainerACL() error {
	access, err := q.publicAccess()
	if err != nil {
		return err
	}
	policies, err := storagehttp.ParseIdentifiers(q.R.Body, sasOrder)
	if err != nil {
		return err
	}
	return q.changeContainer(func(doc *containerDoc) { doc.Access, doc.Policies = access, policies })
}

func (q *request) deleteContainer() error {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	if err := q.s.deleteContainer(q.Ctx, q.Account.Name, q.container, cond); err != nil {
		return err
	}
	return q.Send(http.StatusAccepted)
}

// includes reports whether the comma-separated list has the item.
func includes(list, item string) bool {
	for s := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(s), item) {
			return true
		}
	}
	return false
}

// restore is Restore Container: a deleted container is there again.
func (q *request) restore() error {
	name, version := q.R.Header.Get("X-Ms-Deleted-Container-Name"), q.R.Header.Get("X-Ms-Deleted-Container-Version")
	if name == "" || version == "" {
		return errMissingHeader("x-ms-deleted-container-name and x-ms-deleted-container-version")
	}
	if _, err := q.s.restoreContainer(q.Ctx, q.Account.Name, q.container, name, version); err != nil {
		return err
	}
	return q.Send(http.StatusCreated)
}

// listOptions reads the parameters of List Blobs.
func (q *request) listOptions() (o ListOptions, include map[string]bool, err error) {
	limit, err := q.maxResults()
	if err != nil {
		return o, nil, err
	}
	o = ListOptions{Prefix: q.Query.Get("prefix"), Delimiter: q.Query.Get("delimiter"), Marker: q.Query.Get("marker"), MaxResults: limit, After: q.Query.Get("startfrom")}
	include = map[string]bool{}
	for item := range strings.SplitSeq(q.Query.Get("include"), ",") {
		switch item = strings.ToLower(strings.TrimSpace(item)); item {
		case "snapshots":
			o.snapshots = true
		case "versions":
			o.versions = true
		case "deleted", "deletedwithversions":
			o.deleted = true
		case "uncommittedblobs":
			o.uncommitted = true
		case "", "metadata", "copy", "tags", "immutabilitypolicy", "legalhold", "permissions":
		default:
			return o, nil, errInvalidQuery("include", item)
		}
		include[item] = true
	}
	switch o.only = strings.ToLower(q.Query.Get("showonly")); o.only {
	case "", "files", "directories":
	case "deleted":
		o.deleted = true
	default:
		return o, nil, errInvalidQuery("showonly", o.only)
	}
	if o.snapshots && o.Delimiter != "" {
		return o, nil, errInvalidQuery("include", "snapshots").Because("snapshots are not listed with a delimiter")
	}
	return o, include, nil
}

func (q *request) listBlobs() error {
	o, include, err := q.listOptions()
	if err != nil {
		return err
	}
	if include["tags"] && q.Caller.Kind != storagehttp.ByKey {
		if err := q.authorize(listTags); err != nil {
			return err
		}
	}
	page, err := q.s.List(q.Ctx, q.Account.Name, q.container, o)
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `" ContainerName="` + q.container + `">`)
	x.Option("Prefix", o.Prefix)
	x.Option("Marker", o.Marker)
	x.Option("MaxResults", q.Query.Get("maxresults"))
	x.Option("Delimiter", o.Delimiter)
	x.WriteString("<Blobs>")
	l := blobLister{XML: x, now: q.s.clock.Now(), include: include}
	prefixes := page.Prefixes
	for i := range page.Blobs {
		for len(prefixes) > 0 && prefixes[0] < page.Blobs[i].Name {
			l.prefix(prefixes[0])
			prefixes = prefixes[1:]
		}
		l.blob(&page.Blobs[i])
	}
	for _, p := range prefixes {
		l.prefix(p)
	}
	x.WriteString("</Blobs>")
	x.Text("NextMarker", page.Next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

// blobLister writes the blobs of a listing, with what is to be included.
type blobLister struct {
	*storagehttp.XML
	now     time.Time
	include map[string]bool
}

func (l blobLister) prefix(p string) {
	l.WriteString("<BlobPrefix>")
	l.Name(p)
	l.WriteString("</BlobPrefix>")
}

func (l blobLister) blob(b *Blob) {
	l.WriteString("<Blob>")
	l.Name(b.Name)
	if b.doc.Deleted != 0 {
		l.Text("Deleted", "true")
	}
	l.Option("Snapshot", b.Snapshot)
	if b.Version != "" && b.Snapshot == "" {
		l.Text("VersionId", b.Version)
		if b.Current {
			l.Text("IsCurrentVersion", "true")
		}
	}
	l.properties(b)
	if l.include["metadata"] {
		l.Metadata(b.Metadata)
	}
	if l.include["tags"] && len(b.Tags) > 0 {
		encodeTags(l.XML, b.Tags)
	}
	l.WriteString("<OrMetadata /></Blob>")
}

func (l blobLister) properties(b *Blob) {
	d := b.doc
	l.WriteString("<Properties>")
	if d.ETag != 0 { // a blob of uncommitted blocks has none of these
		l.Text("Creation-Time", storagehttp.HTTPTime(b.Created))
		l.Text("Last-Modified", storagehttp.HTTPTime(b.LastModified))
		l.Text("Etag", strings.Trim(b.ETag, `"`))
	}
	l.Text("Content-Length", strconv.FormatInt(b.Size, 10))
	l.Text("Content-Type", b.ContentType)
	l.Text("Content-Encoding", b.ContentEncoding)
	l.Text("Content-Language", b.ContentLanguage)
	l.WriteString("<Content-CRC64 />")
	l.Text("Content-MD5", md5Header(b.ContentMD5))
	l.Text("Cache-Control", b.CacheControl)
	l.Text("Content-Disposition", b.ContentDisposition)
	if b.Type == PageBlob {
		l.Text("x-ms-blob-sequence-number", strconv.FormatInt(b.Sequence, 10))
	}
	l.Text("BlobType", b.Type)
	if d.Sealed {
		l.Text("Sealed", "true")
	}
	if b.Type == BlockBlob {
		l.tier(d)
	}
	if b.Current {
		l.Lease(d.Lease, l.now)
	}
	if c := d.Copy; c != nil && l.include["copy"] {
		l.Text("CopyId", c.ID)
		l.Text("CopyStatus", c.Status)
		l.Text("CopySource", c.Source)
		l.Text("CopyProgress", c.progress())
		l.Option("CopyStatusDescription", c.Why)
		if c.At > 0 {
			l.Text("CopyCompletionTime", c.completed())
		}
	}
	if k := d.Keep; k != nil && k.Until > 0 && l.include["immutabilitypolicy"] {
		l.Text("ImmutabilityPolicyUntilDate", storagehttp.HTTPTime(time.Unix(0, k.Until)))
		l.Text("ImmutabilityPolicyMode", k.mode())
	}
	if l.include["legalhold"] && d.Keep != nil && d.Keep.Hold {
		l.Text("LegalHold", "true")
	}
	if d.Deleted != 0 {
		gone := time.Unix(0, d.Deleted)
		l.Text("DeletedTime", storagehttp.HTTPTime(gone))
		l.Text("RemainingRetentionDays", strconv.Itoa(remaining(gone, d.KeepDays, l.now)))
	}
	if n := len(b.Tags); n > 0 {
		l.Text("TagCount", strconv.Itoa(n))
	}
	l.Option("CustomerProvidedKeySha256", d.Sealing.Hash)
	l.WriteString("<ServerEncrypted>true</ServerEncrypted></Properties>")
}

func (l blobLister) tier(d *blobDoc) {
	tier, waiting := d.tierNow(l.now)
	l.Text("AccessTier", orElse(tier, "Hot"))
	if tier == "" {
		l.Text("AccessTierInferred", "true")
	} else {
		l.Text("AccessTierChangeTime", storagehttp.HTTPTime(time.Unix(0, d.TierAt)))
	}
	if waiting != nil {
		l.Text("ArchiveStatus", waiting.status())
		l.Text("RehydratePriority", waiting.Priority)
	}
}

// remaining is how many days soft delete keeps what was deleted then; a day that has begun counts.
func remaining(deleted time.Time, days int, now time.Time) int {
	left := deleted.AddDate(0, 0, days).Sub(now)
	return max(int((left+24*time.Hour-1)/(24*time.Hour))-1, 0)
}

// drain reads what is left of a short body, so that the connection can be used again.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, 64<<10))
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
