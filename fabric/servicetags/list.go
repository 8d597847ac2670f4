package servicetags

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/fabric/internal/interval"
)

// List is the list as Azure publishes it: the answer of the service tags API, and Microsoft's weekly file
// "Azure IP Ranges and Service Tags".
// https://learn.microsoft.com/rest/api/virtualnetwork/service-tags/list
type List struct {
	ChangeNumber Number  `json:"changeNumber"`
	Cloud        string  `json:"cloud"`
	Values       []Entry `json:"values"`
}

// Entry is one tag of a List.
type Entry struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	ChangeNumber Number `json:"serviceTagChangeNumber,omitempty"`
	Properties   struct {
		ChangeNumber    Number         `json:"changeNumber"`
		Region          string         `json:"region"`
		State           string         `json:"state,omitempty"`
		NetworkFeatures []string       `json:"networkFeatures"`
		SystemService   string         `json:"systemService"`
		AddressPrefixes []netip.Prefix `json:"addressPrefixes"`
	} `json:"properties"`
}

// Number is a change number: text in the API, a number in the weekly file.
type Number string

// UnmarshalJSON takes both forms.
func (n *Number) UnmarshalJSON(b []byte) error {
	var number json.Number
	if err := json.Unmarshal(b, &number); err == nil {
		*n = Number(number.String())
		return nil
	}
	return json.Unmarshal(b, (*string)(n))
}

// maxList is more than any list that Azure has published, in bytes.
const maxList = 64 << 20

// Read reads a List in either form. The error says what is wrong with it: not JSON, no tags, a tag without
// name or twice, a prefix that is none.
func Read(r io.Reader) (*Tags, error) {
	var list List
	limited := &io.LimitedReader{R: r, N: maxList}
	if err := json.NewDecoder(limited).Decode(&list); err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("it is longer than %d bytes", maxList)
		}
		return nil, fmt.Errorf("servicetags: %w", err)
	}
	return newTags(list)
}

func newTags(list List) (*Tags, error) {
	if len(list.Values) == 0 {
		return nil, errors.New("servicetags: there are no values: this is not a list of service tags")
	}
	t := &Tags{list: list, byName: make(map[string]*tag, len(list.Values))}
	for i := range list.Values {
		v := &list.Values[i]
		key := strings.ToLower(v.Name)
		switch {
		case v.Name == "" || strings.ContainsFunc(v.Name, notInNames):
			return nil, fmt.Errorf("servicetags: value %d has the name %.64q", i, v.Name)
		case t.byName[key] != nil:
			return nil, fmt.Errorf("servicetags: two tags are named %s", v.Name)
		}
		for _, p := range v.Properties.AddressPrefixes {
			if p.Masked() != p {
				return nil, fmt.Errorf("servicetags: tag %s: the prefix %s has host bits", v.Name, p)
			}
		}
		t.byName[key] = &tag{entry: v, ipv4: interval.Of(v.Properties.AddressPrefixes...)}
		t.names = append(t.names, v.Name)
	}
	slices.Sort(t.names)
	return t, nil
}

// notInNames: a tag's name has letters, digits, dots, dashes and underscores.
func notInNames(r rune) bool {
	return !(r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}

// List is the whole list, as it was read. It shares memory with t: do not change it.
func (t *Tags) List() List { return t.list }

// Entry is a tag with what the list says of it, in any letter case.
func (t *Tags) Entry(name string) (Entry, bool) {
	found := t.byName[strings.ToLower(name)]
	if found == nil {
		return Entry{}, false
	}
	return *found.entry, true
}

// Lacks are the tags of t that other does not have, sorted.
func (t *Tags) Lacks(other *Tags) (names []string) {
	for _, n := range t.names {
		if other.byName[strings.ToLower(n)] == nil {
			names = append(names, n)
		}
	}
	return names
}
