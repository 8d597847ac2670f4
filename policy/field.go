package policy

import (
	"strings"
)

// field is a parsed field of a rule: one of the resource's own, a tag, or an alias.
type field struct {
	text  string // as written
	kind  fieldKind
	tag   string // of a tag field
	typ   string // of an alias: the resource type, lower case
	steps []step // of an alias, or of identity
	star  bool   // one of the steps has [*]
}

type fieldKind uint8

const (
	fieldName fieldKind = iota
	fieldFullName
	fieldKindOf
	fieldType
	fieldLocation
	fieldID
	fieldIdentity
	fieldTags
	fieldTag
	fieldAlias
)

// step is one segment of an alias' path; star says that every element of the array there is meant.
type step struct {
	name string
	star bool
}

var plainFields = map[string]fieldKind{
	"name": fieldName, "fullname": fieldFullName, "kind": fieldKindOf, "type": fieldType, "location": fieldLocation,
	"id": fieldID, "identity": fieldIdentity, "tags": fieldTags,
}

// parseField reads the name of a field ("Azure Policy definition structure policy rule", Fields).
func parseField(s string) (*field, error) {
	key := strings.ToLower(s)
	if kind, ok := plainFields[key]; ok {
		return &field{text: s, kind: kind}, nil
	}
	if strings.HasPrefix(key, "tags.") || strings.HasPrefix(key, "tags[") {
		tag, ok := tagOf(s)
		if !ok || tag == "" {
			return nil, errorf("InvalidPolicyRule", "the field '%s' names no tag", s)
		}
		if tag == "*" {
			return nil, errorf("InvalidPolicyRule", "the field '%s' is not supported: tags have names", s)
		}
		return &field{text: s, kind: fieldTag, tag: tag}, nil
	}
	if rest, ok := strings.CutPrefix(key, "identity."); ok {
		return &field{text: s, kind: fieldIdentity, steps: []step{{name: rest}}}, nil
	}
	return parseAlias(s)
}

func tagOf(s string) (string, bool) {
	if rest := s[len("tags"):]; rest[0] == '.' {
		return rest[1:], true
	}
	inner, ok := strings.CutSuffix(s[len("tags["):], "]")
	if !ok {
		return "", false
	}
	if len(inner) >= 2 && inner[0] == '\'' && inner[len(inner)-1] == '\'' {
		inner = inner[1 : len(inner)-1]
		return strings.ReplaceAll(inner, "''", "'"), true
	}
	return inner, true
}

// parseAlias reads Namespace/type[/childType…]/path[*].path: what stands after the last slash is the path.
func parseAlias(s string) (*field, error) {
	cut := strings.LastIndexByte(s, '/')
	if cut < 0 || !strings.Contains(s[:cut], ".") || cut == len(s)-1 {
		return nil, errorf("InvalidPolicyRule", "the field '%s' is neither one of name, fullName, kind, type, location, id, identity.type, tags, tags['<name>'] nor an alias of the form <provider>/<resource type>/<property>", s)
	}
	f := &field{text: s, kind: fieldAlias, typ: strings.ToLower(s[:cut])}
	for part := range strings.SplitSeq(s[cut+1:], ".") {
		name, star := strings.CutSuffix(part, "[*]")
		if name == "" || strings.ContainsAny(name, "[]") {
			return nil, errorf("InvalidPolicyRule", "the alias '%s' has a bad segment '%s'", s, part)
		}
		f.steps = append(f.steps, step{name, star})
		f.star = f.star || star
	}
	if len(f.steps) > maxDepth {
		return nil, errorf("InvalidPolicyRule", "the alias '%s' is too deep", s)
	}
	if !strings.Contains(f.typ, "/") { // Microsoft.Sql/auditingSettings.state: of every type of the provider
		f.typ += "/*"
	}
	if real, ok := renamed[strings.ToLower(s)]; ok {
		f.steps = nil
		for name := range strings.SplitSeq(real, ".") {
			f.steps = append(f.steps, step{name: name})
		}
	}
	return f, nil
}

// renamed are the aliases whose path is not that of the property.
var renamed = map[string]string{
	"microsoft.storage/storageaccounts/enableblobencryption": "encryption.services.blob.enabled",
	"microsoft.storage/storageaccounts/enablefileencryption": "encryption.services.file.enabled",
	"microsoft.compute/virtualmachines/sku.name":             "hardwareProfile.vmSize",
	"microsoft.compute/virtualmachines/imagepublisher":       "storageProfile.imageReference.publisher",
	"microsoft.compute/virtualmachines/imageoffer":           "storageProfile.imageReference.offer",
	"microsoft.compute/virtualmachines/imagesku":             "storageProfile.imageReference.sku",
	"microsoft.compute/virtualmachines/imageversion":         "storageProfile.imageReference.version",
	"microsoft.compute/imagepublisher":                       "storageProfile.imageReference.publisher",
	"microsoft.compute/imageoffer":                           "storageProfile.imageReference.offer",
	"microsoft.compute/imagesku":                             "storageProfile.imageReference.sku",
	"microsoft.compute/imageversion":                         "storageProfile.imageReference.version",
	"microsoft.compute/imageid":                              "storageProfile.imageReference.id",
}

// of says whether an alias is one of the resource's type.
func (f *field) of(resourceType string) bool {
	if len(f.typ) == len(resourceType) && strings.EqualFold(f.typ, resourceType) {
		return true
	}
	if namespace, ok := strings.CutSuffix(f.typ, "/*"); ok {
		have, _, _ := strings.Cut(resourceType, "/")
		return strings.EqualFold(have, namespace)
	}
	return strings.EqualFold(f.typ, resourceType)
}

// selected are the values that a field stands for: one, or those of a collection.
type selected struct {
	value  any
	values []any
	many   bool // a collection: every value counts
}

// all says whether a condition holds for every value.
func (s *selected) all(holds compare, target any) (bool, error) {
	if !s.many {
		return holds(s.value, target)
	}
	for _, v := range s.values {
		if ok, err := holds(v, target); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// shown is what an explanation tells.
func (s *selected) shown() any {
	if s.many {
		return s.values
	}
	return s.value
}

// read selects the field's values in the resource. frames fix the elements that enclosing counts are at.
func (r *run) read(f *field) selected {
	body := r.resource.Body
	one := func(v any) selected { return selected{value: v} }
	switch f.kind {
	case fieldName:
		return one(r.plainValues().name)
	case fieldFullName:
		return one(orNull(r.resource.FullName))
	case fieldType:
		return one(r.plainValues().typ)
	case fieldID:
		return one(orNull(r.resource.ID))
	case fieldKindOf:
		v, _ := member(body, "kind")
		return one(v)
	case fieldLocation:
		return one(r.plainValues().location)
	case fieldTags:
		v, _ := member(body, "tags")
		return one(v)
	case fieldTag:
		v, _ := member(body, "tags")
		tags, _ := v.(map[string]any)
		t, _ := member(tags, f.tag)
		return one(t)
	case fieldIdentity:
		v, _ := member(body, "identity")
		identity, _ := v.(map[string]any)
		if len(f.steps) == 0 {
			return one(v)
		}
		t, _ := member(identity, f.steps[0].name)
		return one(t)
	}
	if !f.of(r.resource.Type) {
		return selected{many: f.star}
	}
	if !f.star {
		if v, plain := follow(body, f.steps); plain {
			return selected{value: v}
		}
	}
	s := &selection{run: r, field: f, many: f.star}
	s.walk(body, 0, 0)
	if !s.many && len(s.values) == 1 {
		return selected{value: s.values[0]}
	}
	return selected{values: s.values, many: true}
}

// follow takes a path without arrays; plain is false when there is one on the way.
func follow(body map[string]any, steps []step) (v any, plain bool) {
	at := body
	for i, st := range steps {
		find := descend
		if i == 0 {
			find = descendRoot
		}
		next, _ := find(at, st.name)
		if i == len(steps)-1 {
			return next, true
		}
		switch n := next.(type) {
		case map[string]any:
			at = n
		case []any:
			return nil, false
		default:
			return nil, true
		}
	}
	return at, true
}

func normalLocation(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

// selection walks an alias' path.
type selection struct {
	run    *run
	field  *field
	many   bool
	values []any
}

// walk takes step i of the path in v; stars counts the arrays passed.
func (s *selection) walk(v any, i, stars int) {
	if i == len(s.field.steps) {
		s.values = append(s.values, v)
		return
	}
	if list, ok := v.([]any); ok { // an alias of old that passes an array without saying so
		s.many = true
		for _, e := range list {
			s.walk(e, i, stars)
		}
		return
	}
	m, _ := v.(map[string]any)
	st := s.field.steps[i]
	find := descend
	if i == 0 {
		find = descendRoot
	}
	next, same := find(m, st.name)
	if same { // the name of a subtype
		s.walk(next, i+1, stars)
		return
	}
	if !st.star {
		if next == nil {
			s.missing(i)
			return
		}
		s.walk(next, i+1, stars)
		return
	}
	list, _ := next.([]any)
	if at, fixed := s.run.fixed(s.field, i, stars); fixed {
		if at < len(list) {
			s.walk(list[at], i+1, stars+1)
		}
		return
	}
	for _, e := range list {
		s.walk(e, i+1, stars+1)
	}
}

// missing is a member that is not there: a value of its own, unless an array below it would have none.
func (s *selection) missing(i int) {
	for _, st := range s.field.steps[i:] {
		if st.star {
			return
		}
	}
	s.values = append(s.values, nil)
}

// descendRoot begins an alias' path: in the properties, else in the envelope (sku, zones, identity).
func descendRoot(body map[string]any, name string) (v any, same bool) {
	p, _ := member(body, "properties")
	properties, _ := p.(map[string]any)
	if v, same := descend(properties, name); v != nil || same {
		return v, same
	}
	v, _ = member(body, name)
	return v, false
}

// descend finds the member of an alias' segment. Aliases leave out the "properties" of embedded resources, and
// name the subtype of a polymorphic object ("FirewallPolicyFilterRuleCollection"): same says that name is the
// subtype of v itself.
func descend(m map[string]any, name string) (v any, same bool) {
	if m == nil {
		return nil, false
	}
	if v, ok := member(m, name); ok {
		return v, false
	}
	for k, kind := range m {
		if text, ok := kind.(string); ok && len(k) >= 4 && strings.EqualFold(k[len(k)-4:], "type") && strings.EqualFold(text, name) {
			return m, true
		}
	}
	inner, _ := member(m, "properties")
	p, _ := inner.(map[string]any)
	return descend(p, name)
}
