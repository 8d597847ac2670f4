package blob

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// publicAccess reads x-ms-blob-public-access, which the account must permit.
func (q *request) publicAccess() (string, error) {
	v := q.r.Header.Get("X-Ms-Blob-Public-Access")
	switch v {
	case "", "blob", "container":
	default:
		return "", errInvalidHeader("x-ms-blob-public-access", v)
	}
	if v != "" && !q.account.AllowBlobPublicAccess {
		return "", newError(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.").because("allowBlobPublicAccess is false")
	}
	return v, nil
}

func (q *request) createContainer() error {
	access, err := q.publicAccess()
	if err != nil {
		return err
	}
	m, err := q.metadata()
	if err != nil {
		return err
	}
	c, err := q.s.CreateContainer(q.ctx, q.account.Name, q.container, ContainerOptions{PublicAccess: access, Metadata: m})
	if err != nil {
		return err
	}
	q.setStamp(c.ETag, c.LastModified)
	return q.send(http.StatusCreated)
}

func (q *request) getContainer() error {
	c, err := q.s.GetContainer(q.ctx, q.account.Name, q.container)
	if err != nil {
		return err
	}
	q.setStamp(c.ETag, c.LastModified)
	q.setMetadata(c.Metadata)
	h := q.w.Header()
	h.Set("x-ms-lease-status", "unlocked")
	h.Set("x-ms-lease-state", "available")
	h.Set("x-ms-has-immutability-policy", "false")
	h.Set("x-ms-has-legal-hold", "false")
	h.Set("x-ms-immutable-storage-with-versioning-enabled", "false")
	h.Set("x-ms-default-encryption-scope", "$account-encryption-key")
	h.Set("x-ms-deny-encryption-scope-override", "false")
	if c.PublicAccess != "" {
		h.Set("x-ms-blob-public-access", c.PublicAccess)
	}
	return q.send(http.StatusOK)
}

func (q *request) setContainerMetadata() error {
	m, err := q.metadata()
	if err != nil {
		return err
	}
	return q.changeContainer(func(o *ContainerOptions) { o.Metadata = m })
}

func (q *request) changeContainer(f func(*ContainerOptions)) error {
	cond, err := parseConditions(q.r.Header)
	if err != nil {
		return err
	}
	c, err := q.s.updateContainer(q.ctx, q.account.Name, q.container, cond, f)
	if err != nil {
		return err
	}
	q.setStamp(c.ETag, c.LastModified)
	return q.send(http.StatusOK)
}

func (q *request) getContainerACL() error {
	c, err := q.s.GetContainer(q.ctx, q.account.Name, q.container)
	if err != nil {
		return err
	}
	q.setStamp(c.ETag, c.LastModified)
	if c.PublicAccess != "" {
		q.w.Header().Set("x-ms-blob-public-access", c.PublicAccess)
	}
	x := newXML()
	x.WriteString("<SignedIdentifiers />")
	return q.sendXML(x)
}

func (q *request) setContainerACL() error {
	access, err := q.publicAccess()
	if err != nil {
		return err
	}
	var body struct {
		XMLName     xml.Name   `xml:"SignedIdentifiers"`
		Identifiers []struct{} `xml:"SignedIdentifier"`
	}
	if q.r.ContentLength != 0 {
		if err := decodeXML(q.r.Body, &body); err != nil {
			return err
		}
	}
	if len(body.Identifiers) > 0 {
		return errNotImplemented("stored access policies are not kept")
	}
	return q.changeContainer(func(o *ContainerOptions) { o.PublicAccess = access })
}

func (q *request) deleteContainer() error {
	cond, err := parseConditions(q.r.Header)
	if err != nil {
		return err
	}
	if err := q.s.deleteContainer(q.ctx, q.account.Name, q.container, cond); err != nil {
		return err
	}
	return q.send(http.StatusAccepted)
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

func (q *request) listBlobs() error {
	limit, err := q.maxResults()
	if err != nil {
		return err
	}
	o := ListOptions{Prefix: q.query.Get("prefix"), Delimiter: q.query.Get("delimiter"), Marker: q.query.Get("marker"), MaxResults: limit}
	page, err := q.s.List(q.ctx, q.account.Name, q.container, o)
	if err != nil {
		return err
	}
	x := newXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.serviceEndpoint() + `" ContainerName="` + q.container + `">`)
	x.option("Prefix", o.Prefix)
	x.option("Marker", o.Marker)
	x.option("MaxResults", q.query.Get("maxresults"))
	x.option("Delimiter", o.Delimiter)
	x.WriteString("<Blobs>")
	metadata := includes(q.query.Get("include"), "metadata")
	prefixes := page.Prefixes
	for i := range page.Blobs {
		for len(prefixes) > 0 && prefixes[0] < page.Blobs[i].Name {
			x.blobPrefix(prefixes[0])
			prefixes = prefixes[1:]
		}
		x.blob(&page.Blobs[i], metadata)
	}
	for _, p := range prefixes {
		x.blobPrefix(p)
	}
	x.WriteString("</Blobs>")
	x.text("NextMarker", page.Next)
	x.WriteString("</EnumerationResults>")
	return q.sendXML(x)
}

func (x *xmlWriter) blobPrefix(p string) {
	x.WriteString("<BlobPrefix>")
	x.name(p)
	x.WriteString("</BlobPrefix>")
}

func (x *xmlWriter) blob(b *Blob, metadata bool) {
	x.WriteString("<Blob>")
	x.name(b.Name)
	x.WriteString("<Properties>")
	x.text("Creation-Time", httpTime(b.Created))
	x.text("Last-Modified", httpTime(b.LastModified))
	x.text("Etag", strings.Trim(b.ETag, `"`))
	x.text("Content-Length", strconv.FormatInt(b.Size, 10))
	x.text("Content-Type", b.ContentType)
	x.text("Content-Encoding", b.ContentEncoding)
	x.text("Content-Language", b.ContentLanguage)
	x.WriteString("<Content-CRC64 />")
	x.text("Content-MD5", base64.StdEncoding.EncodeToString(b.ContentMD5))
	x.text("Cache-Control", b.CacheControl)
	x.text("Content-Disposition", b.ContentDisposition)
	x.text("BlobType", b.Type)
	if b.Type == BlockBlob {
		x.text("AccessTier", orElse(b.Tier, "Hot"))
		if b.Tier == "" {
			x.WriteString("<AccessTierInferred>true</AccessTierInferred>")
		}
	}
	x.WriteString("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>")
	if metadata {
		x.metadata(b.Metadata)
	}
	x.WriteString("<OrMetadata /></Blob>")
}

// drain reads what is left of a short body, so that the connection can be used again.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, 64<<10))
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
