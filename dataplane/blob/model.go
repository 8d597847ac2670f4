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
)

// Types of blobs.
const (
	BlockBlob  = "BlockBlob"
	AppendBlob = "AppendBlob"
)

// Container as callers see it.
type Container struct {
	Name         string
	ETag         string
	LastModified time.Time
	PublicAccess string // "", "blob" or "container"
	Metadata     map[string]string
	Managed      json.RawMessage // what Resource Manager keeps of it (GuardTx)
}

// ContainerOptions are what a container is made with.
type ContainerOptions struct {
	PublicAccess string // "", "blob" or "container"
	Metadata     map[string]string
}

type containerDoc struct {
	UID      string            `json:"u"`
	ETag     int64             `json:"e"`
	Modified int64             `json:"m"` // Unix nanoseconds
	Access   string            `json:"a,omitempty"`
	Metadata map[string]string `json:"meta,omitempty"`
	Guard    Guard             `json:"g,omitzero"`
	Managed  json.RawMessage   `json:"arm,omitempty"` // what Resource Manager keeps of the container
}

func (d containerDoc) public(name string) Container {
	return Container{Managed: d.Managed, Name: name, ETag: formatETag(d.ETag), LastModified: time.Unix(0, d.Modified).UTC(), PublicAccess: d.Access, Metadata: d.Metadata}
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
	Tier         string // Hot, Cool, Cold; "" = inferred Hot
	Blocks       int    // committed blocks of an append blob
	Headers
	Metadata map[string]string // names in lower case
	Tags     map[string]string // index tags
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
	Parts    string            `json:"parts,omitempty"` // the id of the list of payloads, when they are several or named blocks
	PartDocs int               `json:"pd,omitempty"`    // how many documents that list has
}

func (d *blobDoc) public(name string) Blob {
	return Blob{
		Name: name, Type: d.Type, Size: d.Size, ETag: formatETag(d.ETag), LastModified: time.Unix(0, d.Modified).UTC(),
		Created: time.Unix(0, d.Created).UTC(), Tier: d.Tier, Blocks: d.Blocks, Headers: d.Headers, Metadata: d.Metadata,
		Tags: d.Tags,
	}
}

// part is one payload: a sealed file, or sealed bytes in the store when Inline.
type part struct {
	Ref    string `json:"r"`
	Size   int64  `json:"n"`
	Inline bool   `json:"i,omitempty"`
	Block  string `json:"b,omitempty"` // the block id, base64 as the client sent it
}

type stagedDoc struct {
	Part part  `json:"p"`
	At   int64 `json:"at"` // Unix nanoseconds of the region's clock
}

// partsPerDoc keeps an append from rewriting a long list.
const partsPerDoc = 512

func containerKey(account, container string) string { return account + "/" + container }

func blobKey(account, uid, name string) string { return account + "/" + uid + "/" + name }

func partsKey(id string, n int) string { return fmt.Sprintf("%s/%06d", id, n) }

func inlineKey(account, ref string) string { return account + "/" + ref }

// binding ties a payload's ciphertext to its account and reference.
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
