package rp

import (
	"encoding/json"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/internal/odata"
)

// resourceFilter is the $filter of a listing of resources or groups ("Resources - List"): resourceType, name, resourceGroup,
// location, kind, tagName with tagValue, identity and identity/principalId, plan and its members, sku and its members.
type resourceFilter struct {
	odata.Filter
	text  string
	types []string // lower case: the only ones that can match; nil: any
	byTag bool     // it asks for tags
}

func parseResourceFilter(s string) (*resourceFilter, error) {
	f, err := odata.ParseFilter(s, nil)
	if err != nil {
		return nil, badFilter(s)
	}
	r := &resourceFilter{Filter: f, text: s}
	for _, m := range odata.Members(f) {
		if _, ok := (resourceRow{d: &definition{}, rec: &record{}}).Member(m); !ok {
			return nil, badFilter(s)
		}
		r.byTag = r.byTag || strings.HasPrefix(strings.ToLower(m), "tag")
	}
	// "resourceType eq 'X' [and …]" is most of what clients ask: no other type is read for it.
	for _, t := range odata.Required(f, "resourceType") {
		r.types = append(r.types, strings.ToLower(t))
	}
	return r, nil
}

// may says whether resources of the type can match.
func (f *resourceFilter) may(t arm.TypeName) bool {
	for _, only := range f.types {
		if only != t.Key() {
			return false
		}
	}
	return true
}

// match decides on a resource: 400 for a member that resources do not have. tagName and tagValue are of one tag; a
// resource matches if one of its tags does.
func (f *resourceFilter) match(d *definition, rec *record) (bool, error) {
	row := resourceRow{d: d, rec: rec}
	if !f.byTag {
		return f.one(row)
	}
	for row.tag, row.value = range rec.Tags {
		if ok, err := f.one(row); err != nil || ok {
			return ok, err
		}
	}
	row.tag, row.value = "", ""
	return f.one(row)
}

func (f *resourceFilter) one(row resourceRow) (bool, error) {
	ok, err := f.Match(row)
	if err != nil {
		return false, badFilter(f.text)
	}
	return ok, nil
}

// resourceRow is a resource, with one of its tags, as filters see it.
type resourceRow struct {
	d          *definition
	rec        *record
	tag, value string
}

// Member implements odata.Row.
func (r resourceRow) Member(name string) (any, bool) {
	whole, part, _ := strings.Cut(strings.ToLower(name), "/")
	switch whole {
	case "resourcetype", "type":
		return r.d.name.String(), true
	case "name":
		return r.rec.id.Name(), true
	case "id":
		return r.rec.ID, true
	case "resourcegroup":
		return r.rec.id.ResourceGroup(), true
	case "subscriptionid":
		return r.rec.id.Subscription(), true
	case "location":
		return location(r.rec.Location), true
	case "kind":
		return r.rec.Kind, true
	case "tagname":
		return r.tag, true
	case "tagvalue":
		return r.value, true
	case "managedby", "plan", "extendedlocation":
		return inside(r.rec.Extra[extraName(r.rec, whole)], part), true
	case "sku":
		return inside(r.rec.SKU, part), true
	case "identity":
		if r.rec.Identity == nil {
			return nil, true
		}
		b, err := json.Marshal(r.rec.Identity)
		return inside(b, part), err == nil
	}
	return nil, false
}

// location is equal to what means the same: West Europe, westeurope.
type location string

// Equal implements odata.Equaler.
func (l location) Equal(other string) bool { return normalLocation(string(l)) == normalLocation(other) }

func (l location) String() string { return string(l) }

func extraName(rec *record, name string) string {
	for k := range rec.Extra {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return name
}

// inside is a member of a JSON object, or for "" the object as text; nil without one.
func inside(raw json.RawMessage, member string) any {
	if len(raw) == 0 {
		return nil
	}
	if member == "" {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			return text
		}
		return string(raw)
	}
	tree, err := decodeTree(raw)
	if err != nil {
		return nil
	}
	v, _ := fold(tree, member)
	return v
}
