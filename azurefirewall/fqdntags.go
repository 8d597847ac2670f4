package azurefirewall

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// fqdnTagData are the FQDN tags as of a date: Microsoft names the tags and keeps their contents, and publishes
// the hosts of some of the services, which is where these come from. The lists of what a machine-learning workspace
// needs are Vauban's own tags.
//
//go:embed fqdntags.json
var fqdnTagData []byte

// FQDNTag is a named list of targets of application rules.
type FQDNTag struct {
	Name   string   `json:"name"`
	Own    bool     `json:"own"`    // Azure has no such tag
	Source string   `json:"source"` // where the list was read
	FQDNs  []string `json:"fqdns"`
}

type fqdnTagFile struct {
	Date        string    `json:"date"`
	Tags        []FQDNTag `json:"tags"`
	Unpublished []string  `json:"unpublished"`
}

var fqdnTags = sync.OnceValue(func() (f fqdnTagFile) {
	if err := json.Unmarshal(fqdnTagData, &f); err != nil {
		panic("azurefirewall: the embedded FQDN tags cannot be read: " + err.Error()) // a fault of the build
	}
	return f
})

// FQDNTags are the tags whose hosts are known, by name, and the date that they are of (YYYY-MM-DD).
func FQDNTags() (tags []FQDNTag, date string) {
	f := fqdnTags()
	tags = slices.Clone(f.Tags)
	slices.SortFunc(tags, func(a, b FQDNTag) int { return strings.Compare(a.Name, b.Name) })
	return tags, f.Date
}

// LookupFQDNTag finds a tag by its name in any letter case. unpublished: Azure has the tag, but Microsoft does not
// say what is in it.
func LookupFQDNTag(name string) (tag FQDNTag, ok, unpublished bool) {
	for _, t := range fqdnTags().Tags {
		if strings.EqualFold(t.Name, name) {
			return t, true, false
		}
	}
	unpublished = slices.ContainsFunc(fqdnTags().Unpublished, func(u string) bool { return strings.EqualFold(u, name) })
	return FQDNTag{}, false, unpublished
}
