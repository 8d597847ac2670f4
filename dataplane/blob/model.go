package blob

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"vauban.dev/internal/storagehttp"
)

// Kinds of documents in the store and their keys.
const (
	kindContainer  = "blob.container"  // account/container → containerDoc
	kindBlob       = "blob.blob"       // account/uid/name → blobDoc
	kindParts      = "blob.parts"      // partsID/nnnnnn → []part, up to partsPerDoc each
	kindStaged     = "blob.staged"     // account/uid/hash of the name/block id → stagedDoc
	kindInline     = "blob.data"       // account/ref → sealed bytes of a small payload
	kindTrash      = "blob.trash"      // account/uid → a deleted container whose blobs remain to be removed
	kindDelegation = "blob.delegation" // account/hash → delegationDoc
	kindHistory    = "blob.history"    // account/uid/name NUL letter id → blobDoc: a snapshot, a version, or what was deleted
	kindShared     = "blob.shared"     // account/ref → how many documents name the payload, when several do
	kindPages      = "blob.pages"      // pagesID/bucket → []part: what a page blob has written in 1 MiB
	kindTagged     = "blob.tagged"     // account/uid/name → the index tags of a blob that has some
	kindDeleted    = "blob.deleted"    // account/container/version → deletedContainer
	kindCopy       = "blob.copy"       // account/copy id → copyJob
)

// Types of blobs.
const (
	BlockBlob  = "BlockBlob"
	AppendBlob = "AppendBlob"
	PageBlob   = "PageBlob"
)

// Container as callers see it.
type Container struct {
	Name         string
	ETag         string
	LastModified time.Time
	PublicAccess string // "", "blob" or "container"
	Metadata     map[string]string
	Managed      json.RawMessage // what Resource Manager keeps of it (GuardTx)
	Worm         bool            // versions can be made immutable
	Deleted      time.Time       // soft-deleted then; zero: it is there
	KeepDays     int             // how long soft delete keeps it since then
	Version      string          // of a deleted one, which Restore Container names

	doc containerDoc
}

// ContainerOptions are what a container is made with.
type ContainerOptions struct {
	PublicAccess string // "", "blob" or "container"
	Metadata     map[string]string
	Worm         bool // versions can be made immutable; it cannot be taken back
}

type containerDoc struct {
	UID      string               `json:"u"`
	ETag     int64                `json:"e"`
	Modified int64                `json:"m"` // Unix nanoseconds
	Access   string               `json:"a,omitempty"`
	Metadata map[string]string    `json:"meta,omitempty"`
	Guard    Guard                `json:"g,omitzero"`
	Lease    *storagehttp.Lease   `json:"lease,omitempty"`
	Policies []storagehttp.Policy `json:"p,omitempty"`   // stored access policies
	Worm     bool                 `json:"w,omitempty"`   // immutableStorageWithVersioning
	Managed  json.RawMessage      `json:"arm,omitempty"` // what Resource Manager keeps of the container
}

func (d containerDoc) public(name string) Container {
	return Container{Managed: d.Managed, Name: name, ETag: formatETag(d.ETag), LastModified: time.Unix(0, d.Modified).UTC(), PublicAccess: d.Access, Metadata: d.Metadata, Worm: d.Worm, doc: d}
}

// Headers are the HTTP properties of a blob, given back as they were set.
type Headers struct {
	ContentType        string `json:"ct,omitempty"`
	ContentEncoding    string `json:"ce,omitempty"`
	ContentLanguage    string `json:"cl,omitempty"`
	ContentDisposition string `json:"cd,omitempty"`
	CacheControl       string `json:"cc,omitempty"`
	ContentMD5         []byte `json:"md5,omitempty"`
}

// Blob as callers see it.
type Blob struct {
	Name         string
	Type         string
	Size         int64
	ETag         string
	LastModified time.Time
	Created      time.Time
	Tier         string // Hot, Cool, Cold, Archive; "" = inferred Hot
	Blocks       int    // committed blocks of an append blob
	Headers
	Metadata map[string]string // names in lower case
	Tags     map[string]string // index tags

	Snapshot, Version string // the id of the snapshot or version that it is
	Current           bool   // it is the current version
	Sequence          int64  // of a page blob

	doc *blobDoc
}

type blobDoc struct {
	Type     string            `json:"t"`
	Size     int64             `json:"n"`
	ETag     int64             `json:"e"`
	Modified int64             `json:"m"`
	Created  int64             `json:"c"`
	Tier     string            `json:"tier,omitempty"`
	TierAt   int64             `json:"tierAt,omitempty"`
	Blocks   int               `json:"b,omitempty"`
	Headers  Headers           `json:"h"`
	Metadata map[string]string `json:"meta,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`  // index tags
	Part     *part             `json:"p,omitempty"`     // the payload, when it is one
	Parts    string            `json:"parts,omitempty"` // the id of the list of payloads, when they are several or named blocks, or of a page blob's pages
	PartDocs int               `json:"pd,omitempty"`    // how many documents that list has
	Shared   bool              `json:"sh,omitempty"`    // other documents may name payloads of this one too: see kindShared

	Sequence  int64              `json:"seq,omitempty"`   // of a page blob
	Sealed    bool               `json:"seal,omitempty"`  // an append blob that takes no more blocks
	Lease     *storagehttp.Lease `json:"lease,omitempty"` // nil: never leased, or released
	Copy      *copyState         `json:"copy,omitempty"`  // of the last copy to this blob
	Rehydrate *rehydration       `json:"rh,omitempty"`    // on its way out of the archive
	Keep      *immutable         `json:"keep,omitempty"`  // immutability of this version
	Sealing   sealing            `json:"enc,omitzero"`    // with which key it is encrypted

	Version  string `json:"v,omitempty"`   // the id, when it was written while the account keeps versions
	Snapshot string `json:"s,omitempty"`   // the id of the snapshot that this document is
	Deleted  int64  `json:"del,omitempty"` // Unix nanoseconds: soft-deleted
	KeepDays int    `json:"kd,omitempty"`  // how long soft delete keeps it
}

func (d *blobDoc) public(name string) Blob {
	return Blob{
		Name: name, Type: d.Type, Size: d.Size, ETag: formatETag(d.ETag), LastModified: time.Unix(0, d.Modified).UTC(),
		Created: time.Unix(0, d.Created).UTC(), Tier: d.Tier, Blocks: d.Blocks, Headers: d.Headers, Metadata: d.Metadata,
		Tags: d.Tags, Snapshot: d.Snapshot, Version: d.Version, Sequence: d.Sequence, doc: d,
	}
}

// part is one payload: a sealed file, or sealed bytes in the store when Inline.
type part struct {
	Ref    string `json:"r"`
	Size   int64  `json:"n"`
	Inline bool   `json:"i,omitempty"`
	Block  string `json:"b,omitempty"` // the block id, base64 as the client sent it

	// Of page blobs: the part is Size bytes from Off of a payload of Whole bytes, at At of the blob.
	At    int64 `json:"a,omitempty"`
	Off   int64 `json:"o,omitempty"`
	Whole int64 `json:"w,omitempty"`
}

// plain is the length of the payload, in bytes, that the part is of.
func (p part) plain() int64 {
	if p.Whole > 0 {
		return p.Whole
	}
	return p.Size
}

type stagedDoc struct {
	Part    part    `json:"p"`
	At      int64   `json:"at"`           // Unix nanoseconds of the region's clock
	Name    string  `json:"n,omitempty"`  // of the blob
	Sealing sealing `json:"enc,omitzero"` // with which key it is encrypted
}

// partsPerDoc keeps an append from rewriting a long list.
const partsPerDoc = 512

func containerKey(account, container string) string { return account + "/" + container }

func blobKey(account, uid, name string) string { return account + "/" + uid + "/" + name }

func partsKey(id string, n int) string { return fmt.Sprintf("%s/%06d", id, n) }

func inlineKey(account, ref string) string { return account + "/" + ref }

// binding ties a payload's ciphertext to its account and reference.
// binding is what a payload is sealed to; payloads.Files.Binding says the same of those in files.
func binding(account, ref string) string { return "blob/" + account + "/" + ref }

func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // the types above hold nothing that cannot be encoded
		return nil
	}
	return b
}

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("blob: a stored document is damaged: %w", err)
	}
	return nil
}

var containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

// checkContainerName as "Naming and referencing containers, blobs, and metadata" says.
func checkContainerName(name string) error {
	if name == "$root" || name == "$logs" || name == "$web" {
		return nil
	}
	if len(name) < 3 || len(name) > 63 {
		return newError(400, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.").Because("container name '%s'", name)
	}
	if !containerName.MatchString(name) {
		return errInvalidName("container", name)
	}
	return nil
}

// checkBlobName allows 1 to 1,024 characters and refuses what no XML or key can carry.
func checkBlobName(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return errInvalidName("blob", name)
	case n == 0 || n > 1024:
		return newError(400, "OutOfRangeInput", "The specified resource name length is not within the permissible limits.").Because("blob name of %d characters", n)
	}
	return nil
}
