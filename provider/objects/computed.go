package objects

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/spec"
)

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// derive makes n bytes of what the service would have made up for a resource, the same each time.
func (s *Stored) derive(what string, n int) []byte {
	var out []byte
	for block := byte(0); len(out) < n; block++ {
		mac := hmac.New(sha256.New, []byte(s.seed))
		mac.Write([]byte{block})
		mac.Write([]byte(what))
		out = mac.Sum(out)
	}
	return out[:n]
}

func (s *Stored) guid(what string) string {
	var id uuid.UUID
	copy(id[:], s.derive(what, 16))
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random one (RFC 9562, 5.4)
	return id.String()
}

func (s *Stored) key(what string, n int) string {
	return base64.StdEncoding.EncodeToString(s.derive(what, n))
}

// present fills in what the service says of a resource.
func (s *specifiedType) present(_ context.Context, tx *rp.Tx, r *rp.Resource[Stored]) error {
	v := &r.Properties
	if v.tree == nil {
		v.tree = map[string]any{}
	}
	for _, name := range s.ReadOnly() {
		if value := s.says(name, r); value != nil {
			v.tree[name] = value
		}
	}
	if s.network {
		s.parts(r.ID, v.tree)
	}
	for path, say := range s.behaviour.says {
		set(v.tree, path, say(r))
	}
	for path, value := range s.behaviour.defaults {
		if get(v.tree, path) == nil {
			set(v.tree, path, value)
		}
	}
	if s.behaviour.present != nil {
		return s.behaviour.present(tx, r)
	}
	return nil
}

// says is what the service says of a member by its name alone: times, GUIDs of its own.
func (s *specifiedType) says(name string, r *rp.Resource[Stored]) any {
	switch key := strings.ToLower(name); {
	case slices.Contains(births, key):
		return stamp(r.Properties.created)
	case slices.Contains(changes, key):
		at := r.SystemData.LastModifiedAt
		if at.IsZero() {
			at = r.Properties.created
		}
		return stamp(at)
	case key == "uniqueid" || key == "immutableid" || key == "uniqueidentifier" || strings.HasSuffix(key, "guid"):
		return r.Properties.guid(key)
	}
	return nil
}

var (
	births  = []string{"createdtime", "createddate", "creationdate", "creationtime", "createdon", "createdat", "timecreated", "datecreated", "createddatetime", "createtime", "createdtimestamp"}
	changes = []string{"lastmodifiedtime", "lastmodifieddate", "modifieddate", "lastmodified", "updatedat", "changedtime", "lastupdatedtime", "updatedon", "datemodified", "timemodified", "lastmodifiedat"}
)

// parts gives the parts of a resource of Microsoft.Network that have names of their own the ids by which others name them.
func (s *specifiedType) parts(id arm.ID, tree map[string]any) {
	for property, v := range tree {
		list, _ := v.([]any)
		for _, e := range list {
			part, _ := e.(map[string]any)
			name, _ := part["name"].(string)
			if name == "" || !s.Has("properties", property) {
				continue
			}
			part["id"] = id.String() + "/" + property + "/" + name
			part["type"] = s.Name + "/" + property
			if inner, ok := part["properties"].(map[string]any); ok {
				inner["provisioningState"] = "Succeeded"
			}
		}
	}
}

// made answers a list action: secrets in the form of the specification.
func (s *specifiedType) made(l spec.List, r *rp.Resource[Stored]) any {
	return s.Make(l, func(path string) string {
		name := strings.ToLower(path[strings.LastIndexByte(path, '.')+1:])
		switch {
		case strings.Contains(name, "connectionstring"):
			return "Endpoint=https://" + strings.ToLower(r.ID.Name()) + ";Key=" + r.Properties.key(path, 32)
		case name == "keyname" || name == "name":
			return r.ID.Name()
		case strings.Contains(name, "key") || strings.Contains(name, "secret") || strings.Contains(name, "password") || strings.Contains(name, "token") || name == "value":
			return r.Properties.key(path, 32)
		}
		return ""
	})
}

// get is the value at a path of names; nil if there is none.
func get(tree map[string]any, path string) any {
	var v any = tree
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// set puts a value at a path of names, and makes the objects on the way; nil changes nothing.
func set(tree map[string]any, path string, value any) {
	if value == nil {
		return
	}
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		next, ok := tree[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[name] = next
		}
		tree = next
	}
	tree[names[len(names)-1]] = value
}
