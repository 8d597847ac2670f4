package blob

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"vauban.dev/internal/storagehttp"
)

const (
	mib          = 1 << 20
	maxPutBlob   = 5000 * mib
	maxPutBlock  = 4000 * mib
	maxAppend    = 100 * mib
	maxRangeHash = 4 * mib // the longest range whose hash can be asked for
)

// crcTable is the polynomial of x-ms-content-crc64.
var crcTable = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(0x9A6C9329AC4BC9B5) })

// upload is a request's body: bounded, and hashed while it is read.
type upload struct {
	io.Reader
	length           int64
	md5, crc         hash.Hash
	wantMD5, wantCRC []byte
}

// body returns the request's body, refused before it is read when it is too large. An MD5 of it is made
// when wanted or sent; a CRC-64 when sent, or when wantCRC and no MD5 was sent.
func (q *request) body(limit int64, wantMD5, wantCRC bool) (*upload, error) {
	n := q.R.ContentLength
	switch {
	case n < 0:
		return nil, newError(http.StatusLengthRequired, "MissingContentLengthHeader", "The Content-Length header was not specified.")
	case n > limit:
		return nil, errTooLarge(limit)
	}
	u := &upload{Reader: &exactReader{r: q.R.Body, left: n}, length: n}
	var err error
	if u.wantMD5, err = q.decodeHash("Content-MD5", md5.Size, "InvalidMd5"); err != nil {
		return nil, err
	}
	if u.wantCRC, err = q.decodeHash("X-Ms-Content-Crc64", crc64.Size, "InvalidHeaderValue"); err != nil {
		return nil, err
	}
	if u.wantMD5 != nil && u.wantCRC != nil {
		return nil, newError(http.StatusBadRequest, "BothCrc64AndMd5HeaderPresent", "Both x-ms-content-crc64 header and Content-MD5 header are present.")
	}
	u.hash(wantMD5 || u.wantMD5 != nil, wantCRC && u.wantMD5 == nil)
	return u, nil
}

// check compares the hashes, once the body was read.
func (u *upload) check() error {
	if u.wantMD5 != nil && !bytes.Equal(u.md5.Sum(nil), u.wantMD5) {
		return newError(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
	}
	if u.wantCRC != nil && !bytes.Equal(u.crcSum(), u.wantCRC) {
		return newError(http.StatusBadRequest, "Crc64Mismatch", "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	}
	return nil
}

// crcSum is the CRC-64 as it stands in the header: little-endian.
func (u *upload) crcSum() []byte {
	return binary.LittleEndian.AppendUint64(nil, binary.BigEndian.Uint64(u.crc.Sum(nil)))
}

// setHashes tells the client what arrived.
func (u *upload) setHashes(h http.Header) {
	if u.md5 != nil {
		h.Set("Content-MD5", base64.StdEncoding.EncodeToString(u.md5.Sum(nil)))
	}
	if u.crc != nil {
		h.Set("x-ms-content-crc64", base64.StdEncoding.EncodeToString(u.crcSum()))
	}
}

// exactReader fails when the body ends before its declared length.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); errors.Is(err, io.EOF) && e.left > 0 || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errInvalidInput("the body ended %d bytes before its Content-Length", e.left)
	}
	if e.left == 0 {
		err = io.EOF
	}
	return n, err
}

// putOptions reads the headers that a blob is written with. Those of Put Block List and Put Blob are alike,
// but that Put Blob takes the plain HTTP headers too.
func (q *request) putOptions(plain bool) (o PutOptions, err error) {
	h := q.R.Header
	pick := func(name string) string {
		if v := h.Get("X-Ms-Blob-" + name); v != "" || !plain {
			return v
		}
		return h.Get(name)
	}
	o.ContentType, o.ContentEncoding, o.ContentLanguage = pick("Content-Type"), pick("Content-Encoding"), pick("Content-Language")
	o.CacheControl, o.ContentDisposition = pick("Cache-Control"), h.Get("X-Ms-Blob-Content-Disposition")
	if o.ContentMD5, err = q.blobMD5(plain && h.Get("X-Ms-Blob-Type") == BlockBlob); err != nil {
		return o, err
	}
	if o.Tier, err = readTier(h.Get("X-Ms-Access-Tier")); err != nil {
		return o, err
	}
	if o.Tags, err = q.sentTags(); err != nil {
		return o, err
	}
	if o.sealing, err = q.customerKey(); err != nil {
		return o, err
	}
	if o.keep, err = q.immutability(); err != nil {
		return o, err
	}
	o.Metadata, err = q.Metadata()
	return o, err
}

// blobMD5 reads x-ms-blob-content-md5. Only Put Blob, which has the content at hand, judges it: elsewhere it is stored as it is.
func (q *request) blobMD5(judged bool) ([]byte, error) {
	const name = "X-Ms-Blob-Content-Md5"
	if judged {
		return q.decodeHash(name, md5.Size, "InvalidMd5")
	}
	sum, err := base64.StdEncoding.DecodeString(q.R.Header.Get(name))
	if err != nil {
		return nil, newError(http.StatusBadRequest, "InvalidMd5", "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded.").Because("header x-ms-blob-content-md5 is no base64")
	}
	return sum, nil
}

func (q *request) writeConditions() (conditions, error) {
	c, err := parseConditions(q.R.Header)
	c.noOverwrite = q.createOnly
	return c, err
}

func (q *request) putBlob() error {
	cond, err := q.writeConditions()
	if err != nil {
		return err
	}
	o, err := q.putOptions(true)
	if err != nil {
		return err
	}
	var b Blob
	switch kind := q.R.Header.Get("X-Ms-Blob-Type"); kind {
	case BlockBlob:
		b, err = q.putBlockBlob(o, cond)
	case AppendBlob:
		if q.R.ContentLength > 0 {
			return errInvalidHeader("Content-Length", strconv.FormatInt(q.R.ContentLength, 10)).Because("an append blob is made empty")
		}
		b, err = q.s.createAppend(q.Ctx, q.Account.Name, q.container, q.blob, o, cond)
	case PageBlob:
		b, err = q.putPageBlob(o, cond)
	case "":
		return errMissingHeader("x-ms-blob-type")
	default:
		return errInvalidHeader("x-ms-blob-type", kind)
	}
	if err != nil {
		return err
	}
	q.wrote(b, o.sealing)
	return q.Send(http.StatusCreated)
}

func (q *request) putBlockBlob(o PutOptions, cond conditions) (Blob, error) {
	if q.R.Header.Get("X-Ms-Copy-Source") != "" {
		return q.putFromURL(o, cond)
	}
	u, err := q.body(maxPutBlob, false, false)
	if err != nil {
		return Blob{}, err
	}
	if len(o.ContentMD5) > 0 { // the blob's hash is judged, and before the one of the transport
		u.wantMD5 = o.ContentMD5
		u.hash(true, false)
	}
	b, err := q.s.put(q.Ctx, q.Account.Name, q.container, q.blob, u, o, cond, u.check)
	if err != nil {
		return b, err
	}
	if u.setHashes(q.W.Header()); len(o.ContentMD5) == 0 {
		q.W.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(b.ContentMD5))
	}
	return b, nil
}

// putFromURL is Put Blob From URL: a block blob of what another has. Its properties are the source's unless
// x-ms-copy-source-blob-properties says no.
func (q *request) putFromURL(o PutOptions, cond conditions) (Blob, error) {
	if q.R.ContentLength > 0 {
		return Blob{}, errInvalidHeader("Content-Length", strconv.FormatInt(q.R.ContentLength, 10)).Because("with x-ms-copy-source a request has no body")
	}
	src, err := q.copySource()
	if err != nil {
		return Blob{}, err
	}
	if !strings.EqualFold(q.R.Header.Get("X-Ms-Copy-Source-Blob-Properties"), "false") {
		given := o.Headers
		o.Headers = src.doc.Headers
		o.ContentMD5 = given.ContentMD5
		for _, h := range []struct{ to, from *string }{
			{&o.ContentType, &given.ContentType}, {&o.ContentEncoding, &given.ContentEncoding}, {&o.ContentLanguage, &given.ContentLanguage},
			{&o.ContentDisposition, &given.ContentDisposition}, {&o.CacheControl, &given.CacheControl},
		} {
			*h.to = orElse(*h.from, *h.to)
		}
	}
	if strings.EqualFold(q.R.Header.Get("X-Ms-Copy-Source-Tag-Option"), "COPY") {
		o.Tags = src.doc.Tags
	}
	u, done, err := q.open(src, maxPutBlob)
	if err != nil {
		return Blob{}, err
	}
	defer done()
	b, err := q.s.put(q.Ctx, q.Account.Name, q.container, q.blob, u, o, cond, u.check)
	if err == nil {
		u.setHashes(q.W.Header())
		q.W.Header().Set("Content-MD5", md5Header(b.ContentMD5))
	}
	return b, err
}

// putBlock is Put Block and Put Block From URL.
func (q *request) putBlock() error {
	k, err := q.customerKey()
	if err != nil {
		return err
	}
	u, done, err := q.content(maxPutBlock, true)
	if err != nil {
		return err
	}
	defer done()
	if u.length == 0 {
		return errInvalidHeader("Content-Length", "0").Because("a block has at least one byte")
	}
	cond := conditions{noOverwrite: q.createOnly, lease: q.R.Header.Get("X-Ms-Lease-Id")}
	if err := q.s.stage(q.Ctx, q.Account.Name, q.container, q.blob, q.Query.Get("blockid"), k, cond, u, u.check); err != nil {
		return err
	}
	u.setHashes(q.W.Header())
	k.tell(q.W.Header())
	return q.Send(http.StatusCreated)
}

func (q *request) putBlockList() error {
	cond, err := q.writeConditions()
	if err != nil {
		return err
	}
	o, err := q.putOptions(false)
	if err != nil {
		return err
	}
	u, err := q.body(maxBlockListBody, false, true)
	if err != nil {
		return err
	}
	list, err := parseBlockList(u)
	if err != nil {
		return err
	}
	if err := drain(u); err != nil {
		return err
	}
	if err := u.check(); err != nil {
		return err
	}
	b, err := q.s.commitBlocks(q.Ctx, q.Account.Name, q.container, q.blob, list, o, cond)
	if err != nil {
		return err
	}
	u.setHashes(q.W.Header())
	q.wrote(b, o.sealing)
	return q.Send(http.StatusCreated)
}

func (q *request) getBlockList() error {
	at, err := q.target()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	doc, committed, uncommitted, err := q.s.blockList(q.Ctx, q.Account.Name, q.container, at)
	if err != nil {
		return err
	}
	if doc != nil {
		if err := q.judgeRead(cond, doc); err != nil {
			return err
		}
		if doc.Type != BlockBlob {
			return errInvalidBlobType()
		}
		b := doc.public(q.blob)
		q.SetStamp(b.ETag, b.LastModified)
		q.W.Header().Set("x-ms-blob-content-length", strconv.FormatInt(b.Size, 10))
	}
	which := orElse(strings.ToLower(q.Query.Get("blocklisttype")), "committed")
	if which != "committed" && which != "uncommitted" && which != "all" {
		return errInvalidQuery("blocklisttype", which)
	}
	x := storagehttp.NewXML()
	x.WriteString("<BlockList>")
	if which != "uncommitted" {
		writeBlocks(x, "CommittedBlocks", committed)
	}
	if which != "committed" {
		writeBlocks(x, "UncommittedBlocks", uncommitted)
	}
	x.WriteString("</BlockList>")
	return q.SendXML(x)
}

func writeBlocks(x *storagehttp.XML, name string, blocks []Block) {
	x.WriteString("<" + name + ">")
	for _, b := range blocks {
		x.WriteString("<Block>")
		x.Text("Name", b.ID)
		x.Text("Size", strconv.FormatInt(b.Size, 10))
		x.WriteString("</Block>")
	}
	x.WriteString("</" + name + ">")
}

// appendBlock is Append Block and Append Block From URL.
func (q *request) appendBlock() error {
	k, err := q.customerKey()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	ac := appendConditions{-1, -1}
	if ac.position, err = q.Int64Header("X-Ms-Blob-Condition-Appendpos"); err != nil {
		return err
	}
	if ac.maxSize, err = q.Int64Header("X-Ms-Blob-Condition-Maxsize"); err != nil {
		return err
	}
	limit := int64(maxAppend)
	if q.Version < "2022-11-02" {
		limit = 4 * mib
	}
	u, done, err := q.content(limit, true)
	if err != nil {
		return err
	}
	defer done()
	if u.length == 0 {
		return errInvalidHeader("Content-Length", "0").Because("a block has at least one byte")
	}
	b, offset, err := q.s.append(q.Ctx, q.Account.Name, q.container, q.blob, u, k, cond, ac, false, u.check)
	if err != nil {
		return err
	}
	h := q.W.Header()
	u.setHashes(h)
	q.SetStamp(b.ETag, b.LastModified)
	h.Set("x-ms-blob-append-offset", strconv.FormatInt(offset, 10))
	h.Set("x-ms-blob-committed-block-count", strconv.Itoa(b.Blocks))
	k.tell(h)
	return q.Send(http.StatusCreated)
}

func (q *request) deleteBlob() error {
	at, err := q.target()
	if err != nil {
		return err
	}
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	if v := q.Query.Get("deletetype"); v != "" {
		return errNotImplemented("deletetype=%s: what soft delete keeps goes when its days are over", v)
	}
	also := snapshotsRefuse
	switch v := q.R.Header.Get("X-Ms-Delete-Snapshots"); v {
	case "":
	case "include":
		also = snapshotsToo
	case "only":
		also = snapshotsOnly
	default:
		return errInvalidHeader("x-ms-delete-snapshots", v)
	}
	if also != snapshotsRefuse && at.isHistory() {
		return errInvalidQuery("snapshot", at.snapshot+at.version).Because("x-ms-delete-snapshots is for the blob itself")
	}
	soft, err := q.s.delete(q.Ctx, q.Account.Name, q.container, at, also, cond)
	if err != nil {
		return err
	}
	q.W.Header().Set("x-ms-delete-type-permanent", strconv.FormatBool(!soft))
	return q.Send(http.StatusAccepted)
}

// sealAppendBlob is Append Blob Seal: from then on the blob is read only.
func (q *request) sealAppendBlob() error {
	position, err := q.Int64Header("X-Ms-Blob-Condition-Appendpos")
	if err != nil {
		return err
	}
	b, err := q.change(func(t *blobTx, d *blobDoc) error {
		if d.Type != AppendBlob {
			return errInvalidBlobType()
		}
		if position >= 0 && position != d.Size {
			return newError(http.StatusPreconditionFailed, "AppendPositionConditionNotMet", "The append position condition specified was not met.").Because("the blob has %d bytes", d.Size)
		}
		if d.Sealed {
			d.ETag, d.Modified = t.old.ETag, t.old.Modified
		}
		d.Sealed = true
		return nil
	})
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	q.W.Header().Set("x-ms-blob-sealed", "true")
	return q.Send(http.StatusOK)
}
