package blob

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vauban.dev/authz"
	"vauban.dev/origin"
)

// subOperations tell apart what needs the same action ("Actions and attributes for Azure role assignment conditions for
// Azure Blob Storage").
func (q *request) subOperations(op *operation) []string {
	switch {
	case op.sub != "":
		return []string{op.sub}
	case op.tags && q.R.Header.Get("X-Ms-Tags") != "":
		return []string{"Blob.Write.WithTagHeaders"}
	}
	return nil
}

const (
	attrAccount   = "microsoft.storage/storageaccounts"
	attrContainer = attrAccount + "/blobservices/containers"
	attrBlob      = attrContainer + "/blobs"
	attrTag       = attrBlob + "/tags"
	caseSensitive = "<$key_case_sensitive$>"
)

// attributes answers conditions about this request. The keys of tags and metadata are looked up as they are written.
func (q *request) attributes(op *operation) authz.Attributes {
	return func(a authz.Attribute) ([]string, bool, error) {
		name := strings.ToLower(a.Name)
		switch a.Source {
		case authz.FromEnvironment:
			return q.environment(name)
		case authz.FromRequest:
			return q.requestAttribute(op, a.Name, name)
		case authz.FromResource:
			return q.resourceAttribute(op, a.Name, name)
		}
		return nil, false, nil
	}
}

func one(value string) ([]string, bool, error) {
	if value == "" {
		return nil, false, nil
	}
	return []string{value}, true, nil
}

func (q *request) environment(name string) ([]string, bool, error) {
	switch name {
	case "utcnow":
		return one(q.s.clock.Now().UTC().Format(time.RFC3339Nano))
	case "isprivatelink":
		return one(map[bool]string{true: "true", false: "false"}[q.Origin.Kind == origin.PrivateEndpoint])
	case "microsoft.network/privateendpoints":
		return one(q.Origin.Endpoint)
	case "microsoft.network/virtualnetworks/subnets":
		return one(q.Origin.Subnet)
	}
	return nil, false, nil
}

func (q *request) requestAttribute(op *operation, written, name string) ([]string, bool, error) {
	switch name {
	case attrBlob + ":prefix":
		if op.sub == "Blob.List" {
			return one(q.Query.Get("prefix"))
		}
	case attrBlob + ":snapshot":
		return one(q.Query.Get("snapshot"))
	case attrBlob + ":versionid":
		return one(q.Query.Get("versionid"))
	}
	if !op.tags || !strings.HasPrefix(name, attrTag) {
		return nil, false, nil
	}
	tags, err := q.sentTags()
	if err != nil { // refused by the operation, in its own words
		return nil, false, nil
	}
	return tagAttribute(tags, written)
}

func (q *request) resourceAttribute(op *operation, written, name string) ([]string, bool, error) {
	switch name {
	case attrAccount + ":name":
		return one(q.Account.Name)
	case attrAccount + ":ishnsenabled":
		return one("false")
	}
	if op.level == levelService {
		return nil, false, nil
	}
	switch {
	case name == attrContainer+":name":
		return one(q.container)
	case strings.HasPrefix(name, attrContainer+"/metadata:"):
		c, err := q.s.container(q.Ctx, q.Account.Name, q.container)
		if err != nil {
			return missing(err)
		}
		return one(c.Metadata[strings.ToLower(written[len(attrContainer+"/metadata:"):])])
	case op.level != levelObject:
		return nil, false, nil
	case name == attrBlob+":path":
		return one(q.blob)
	case name == attrBlob+":iscurrentversion":
		return one(strconv.FormatBool(q.Query.Get("snapshot") == "" && q.Query.Get("versionid") == ""))
	case strings.HasPrefix(name, attrTag):
		doc, err := q.s.stat(q.Ctx, q.Account.Name, q.container, target{name: q.blob, snapshot: q.Query.Get("snapshot"), version: q.Query.Get("versionid")})
		if err != nil {
			return missing(err)
		}
		return tagAttribute(doc.Tags, written)
	}
	return nil, false, nil
}

// missing is the answer for an attribute of what is not there.
func missing(err error) ([]string, bool, error) {
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil, false, nil
	}
	return nil, false, err
}

// tagAttribute is …/tags:NAME, the value of a tag whose key is compared with case, or …/tags&$keys$&, all keys.
func tagAttribute(tags map[string]string, written string) ([]string, bool, error) {
	switch rest := written[len(attrTag):]; {
	case strings.EqualFold(rest, "&$keys$&"):
		return sortedKeys(tags), len(tags) > 0, nil
	case strings.HasPrefix(rest, ":"):
		key := rest[1:]
		if n := len(key) - len(caseSensitive); n >= 0 && strings.EqualFold(key[n:], caseSensitive) {
			key = key[:n]
		}
		value, ok := tags[key]
		return []string{value}, ok, nil
	}
	return nil, false, nil
}
