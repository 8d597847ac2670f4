package audit

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed profiles/*.json
var profileFiles embed.FS

// Profile is what Azure Machine Learning required of a network at a date, as Microsoft's documentation had it.
type Profile struct {
	Name         string        `json:"name"`
	Date         string        `json:"date"` // from which it holds, YYYY-MM-DD
	Source       string        `json:"source"`
	Requirements []Requirement `json:"requirements"`
	Hosts        []Hosts       `json:"hosts"`
}

// Requirement is one row of a profile: traffic that must pass.
type Requirement struct {
	Direction string   `json:"direction"` // Inbound, Outbound
	Protocol  string   `json:"protocol"`  // Tcp, Udp, * for both
	Ports     []uint16 `json:"ports"`
	// Tag is a service tag; one that ends in .region is the workspace's region's.
	Tag         string    `json:"tag"`
	Situational bool      `json:"situational,omitempty"` // needed for some features only
	When        Condition `json:"when,omitempty"`
	Purpose     string    `json:"purpose"`
	Component   string    `json:"component"` // what stops working without it
}

// Condition under which a requirement holds; "" is always.
type Condition string

const (
	WithPublicIP    Condition = "publicIP"   // nodes have public addresses
	WithoutPublicIP Condition = "noPublicIP" // nodes have none
	HighImpact      Condition = "hbi"        // the workspace was made with hbi_workspace
)

// Hosts are names outside Azure, or of it without a tag of their own, that some features need.
type Hosts struct {
	Hosts   []string `json:"hosts"`
	Ports   []uint16 `json:"ports,omitempty"` // none: 443
	Purpose string   `json:"purpose"`
}

// Latest is the name of the newest profile.
const Latest = "latest"

var profiles = sync.OnceValues(func() ([]Profile, error) { return readProfiles(profileFiles) })

// readProfiles returns the profiles of a file system, the oldest first.
func readProfiles(files fs.FS) ([]Profile, error) {
	names, err := fs.Glob(files, "profiles/*.json")
	if err != nil {
		return nil, err
	}
	var out []Profile
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		var p Profile
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("audit: %s: %w", name, err)
		}
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("audit: %s: %w", name, err)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Profile) int { return cmp.Compare(a.Date, b.Date) })
	return out, nil
}

func (p *Profile) check() error {
	for i, r := range p.Requirements {
		known := slices.Contains([]Condition{"", WithPublicIP, WithoutPublicIP, HighImpact}, r.When)
		if !slices.Contains([]string{"Inbound", "Outbound"}, r.Direction) || !slices.Contains([]string{"Tcp", "Udp", "*"}, r.Protocol) || len(r.Ports) == 0 || r.Tag == "" || !known {
			return fmt.Errorf("requirement %d has no meaning: %+v", i+1, r)
		}
	}
	return nil
}

// ProfileAsOf is the profile that held at a date (2022-06, 2022-06-15), or the latest.
func ProfileAsOf(date string) (*Profile, error) {
	all, err := profiles()
	if err != nil {
		return nil, err
	}
	if date == "" || date == Latest {
		return &all[len(all)-1], nil
	}
	if len(date) != 7 && len(date) != 10 || strings.Trim(date, "0123456789-") != "" {
		return nil, fmt.Errorf("%q is no date: write YYYY-MM, YYYY-MM-DD or latest", date)
	}
	end := date + "-99"[:10-len(date)] // the whole month
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Date <= end {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("the oldest profile is %s, of %s", all[0].Name, all[0].Date)
}

// Change is one difference between two profiles.
type Change struct {
	Sign string `json:"sign"` // + came, - went
	What string `json:"what"`
	Why  string `json:"purpose"`
}

// Diff tells what came and went from an older profile to a newer one, port by port.
func Diff(older, newer *Profile) []Change {
	a, b := older.lines(), newer.lines()
	var out []Change
	for _, l := range older.order() {
		if _, stays := b[l]; !stays {
			out = append(out, Change{"-", l, a[l]})
		}
	}
	for _, l := range newer.order() {
		if _, was := a[l]; !was {
			out = append(out, Change{"+", l, b[l]})
		}
	}
	return out
}

func (p *Profile) lines() map[string]string {
	out := map[string]string{}
	p.each(func(line, why string) { out[line] = why })
	return out
}

func (p *Profile) order() (out []string) {
	p.each(func(line, _ string) {
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	})
	return out
}

func (p *Profile) each(f func(line, why string)) {
	for _, r := range p.Requirements {
		for _, port := range r.Ports {
			f(strings.TrimSpace(strings.Join([]string{r.Direction, strings.ToUpper(r.Protocol), strconv.Itoa(int(port)), r.Tag, conditionText(r)}, " ")), r.Purpose)
		}
	}
	for _, h := range p.Hosts {
		for _, name := range h.Hosts {
			f("Outbound host "+name, h.Purpose)
		}
	}
}

func conditionText(r Requirement) string {
	var out []string
	switch r.When {
	case WithPublicIP:
		out = append(out, "with public address")
	case WithoutPublicIP:
		out = append(out, "without public address")
	case HighImpact:
		out = append(out, "hbi_workspace")
	}
	if r.Situational {
		out = append(out, "situational")
	}
	if len(out) == 0 {
		return ""
	}
	return "(" + strings.Join(out, ", ") + ")"
}
