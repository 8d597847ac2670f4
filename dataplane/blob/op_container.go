package blob

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

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

func (q *request) getContainer() error {
	c, err := q.s.GetContainer(q.Ctx, q.Account.Name, q.container)
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	q.SetMetadata(c.Metadata)
	h := q.W.Header()
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
	return q.Send(http.StatusOK)
}

func (q *request) setContainerMetadata() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.changeContainer(func(o *ContainerOptions) { o.Metadata = m })
}

func (q *request) changeContainer(f func(*ContainerOptions)) error {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	c, err := q.s.updateContainer(q.Ctx, q.Account.Name, q.container, cond, f)
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	return q.Send(http.StatusOK)
}

func (q *request) getContainerACL() error {
	c, err := q.s.GetContainer(q.Ctx, q.Account.Name, q.container)
	if err != nil {
		return err
	}
	q.SetStamp(c.ETag, c.LastModified)
	if c.PublicAccess != "" {
		q.W.Header().Set("x-ms-blob-public-access", c.PublicAccess)
	}
	x := storagehttp.NewXML()
	x.WriteString("<SignedIdentifiers />")
	return q.SendXML(x)
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
	if q.R.ContentLength != 0 {
		if err := storagehttp.DecodeXML(q.R.Body, &body); err != nil {
			return err
		}
	}
	if len(body.Identifiers) > 0 {
		return errNotImplemented("stored access policies are not kept")
	}
	return q.changeContainer(func(o *ContainerOptions) { o.PublicAccess = access })
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

func (q *request) listBlobs() error {
	limit, err := q.maxResults()
	if err != nil {
		return err
	}
	o := ListOptions{Prefix: q.Query.Get("prefix"), Delimiter: q.Query.Get("delimiter"), Marker: q.Query.Get("marker"), MaxResults: limit}
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
	metadata := includes(q.Query.Get("include"), "metadata")
	prefixes := page.Prefixes
	for i := range page.Blobs {
		for len(prefixes) > 0 && prefixes[0] < page.Blobs[i].Name {
			writeBlobPrefix(x, prefixes[0])
			prefixes = prefixes[1:]
		}
		writeBlob(x, &page.Blobs[i], metadata)
	}
	for _, p := range prefixes {
		writeBlobPrefix(x, p)
	}
	x.WriteString("</Blobs>")
	x.Text("NextMarker", page.Next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

func writeBlobPrefix(x *storagehttp.XML, p string) {
	x.WriteString("<BlobPrefix>")
	x.Name(p)
	x.WriteString("</BlobPrefix>")
}

func writeBlob(x *storagehttp.XML, b *Blob, metadata bool) {
	x.WriteString("<Blob>")
	x.Name(b.Name)
	x.WriteString("<Properties>")
	x.Text("Creation-Time", storagehttp.HTTPTime(b.Created))
	x.Text("Last-Modified", storagehttp.HTTPTime(b.LastModified))
	x.Text("Etag", strings.Trim(b.ETag, `"`))
	x.Text("Content-Length", strconv.FormatInt(b.Size, 10))
	x.Text("Content-Type", b.ContentType)
	x.Text("Content-Encoding", b.ContentEncoding)
	x.Text("Content-Language", b.ContentLanguage)
	x.WriteString("<Content-CRC64 />")
	x.Text("Content-MD5", base64.StdEncoding.EncodeToString(b.ContentMD5))
	x.Text("Cache-Control", b.CacheControl)
	x.Text("Content-Disposition", b.ContentDisposition)
	x.Text("BlobType", b.Type)
	if b.Type == BlockBlob {
		x.Text("AccessTier", orElse(b.Tier, "Hot"))
		if b.Tier == "" {
			x.WriteString("<AccessTierInferred>true</AccessTierInferred>")
		}
	}
	x.WriteString("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>")
	if metadata {
		x.Metadata(b.Metadata)
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
