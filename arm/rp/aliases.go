package rp

import (
	"slices"
	"strings"
)

// alias is a property of a type as policy rules name it ("Azure Policy definition structure aliases"; Alias of Resource Manager's
// providers). Paths has the api-versions in which it stands elsewhere: none here.
type alias struct {
	Name        string        `json:"name"`
	Paths       []string      `json:"paths"`
	DefaultPath string        `json:"defaultPath"`
	Metadata    aliasMetadata `json:"defaultMetadata"`
}

// aliasMetadata says what type a value has (String, Boolean, Integer, Number, Array, Object, Any) and whether modify can write it.
type aliasMetadata struct {
	Type       string `json:"type"`
	Attributes string `json:"attributes"` // Modifiable, None
}

// aliasesOf are those of the properties that a type interprets. Their names leave out the "properties" of embedded resources.
// What no answer shows has none.
func aliasesOf(info TypeInfo) []alias {
	all, seen := []alias{}, map[string]bool{}
	for _, f := range info.Fields {
		if f.Secret {
			continue
		}
		var words []string
		for word := range strings.SplitSeq(f.Path, ".") {
			if word != "properties" {
				words = append(words, word)
			}
		}
		a := alias{Name: info.Name.String() + "/" + strings.Join(words, "."), Paths: []string{}, DefaultPath: "properties." + f.Path, Metadata: aliasMetadata{f.Type, "Modifiable"}}
		if f.ReadOnly {
			a.Metadata.Attributes = "None"
		}
		if key := strings.ToLower(a.Name); len(words) > 0 && !seen[key] {
			seen[key] = true
			all = append(all, a)
		}
	}
	return all
}

// expand adds the aliases of a provider's types, if $expand asks for them.
func (e *Engine) expand(p *provider, r *Request) {
	if !slices.ContainsFunc(strings.Split(r.Query.Get("$expand"), ","), func(s string) bool {
		return strings.EqualFold(strings.TrimSpace(s), "resourceTypes/aliases")
	}) {
		return
	}
	for _, d := range e.definitions() {
		i := slices.IndexFunc(p.ResourceTypes, func(t resourceType) bool { return strings.EqualFold(t.ResourceType, strings.Join(d.name.Types, "/")) })
		if i >= 0 && strings.EqualFold(d.name.Namespace, p.Namespace) {
			p.ResourceTypes[i].Aliases = aliasesOf(e.info(d))
		}
	}
}
