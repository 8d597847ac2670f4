// Package conditionalaccess decides what a sign-in needs: the policies of the tenant in, a decision out
// (Microsoft Graph, conditionalAccessPolicy and namedLocation). It is pure.
package conditionalaccess

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// State of a policy.
type State string

const (
	Enabled    State = "enabled"
	Disabled   State = "disabled"
	ReportOnly State = "enabledForReportingButNotEnforced"
)

// Words that stand for objects in conditions.
const (
	All        = "All"
	None       = "None"
	AllTrusted = "AllTrusted"
	Guests     = "GuestsOrExternalUsers"
)

// Policy is a conditional access policy in Graph's form.
type Policy struct {
	ID          string           `json:"id"`
	DisplayName string           `json:"displayName"`
	State       State            `json:"state"`
	Created     time.Time        `json:"createdDateTime"`
	Modified    *time.Time       `json:"modifiedDateTime"`
	Conditions  Conditions       `json:"conditions"`
	Grant       *GrantControls   `json:"grantControls"`
	Session     *SessionControls `json:"sessionControls"`
}

// Conditions say which sign-ins a policy applies to: all of them must hold.
type Conditions struct {
	Users          Users        `json:"users"`
	Applications   Applications `json:"applications"`
	Locations      *Locations   `json:"locations"`
	ClientAppTypes []string     `json:"clientAppTypes"` // all, browser, mobileAppsAndDesktopClients
}

// Users of a policy: object ids, All, None or GuestsOrExternalUsers.
type Users struct {
	IncludeUsers  []string `json:"includeUsers"`
	ExcludeUsers  []string `json:"excludeUsers"`
	IncludeGroups []string `json:"includeGroups"`
	ExcludeGroups []string `json:"excludeGroups"`
	IncludeRoles  []string `json:"includeRoles"` // role template ids
	ExcludeRoles  []string `json:"excludeRoles"`
}

// Applications of a policy: application ids of the resources that are asked for, or All, None.
type Applications struct {
	Include []string `json:"includeApplications"`
	Exclude []string `json:"excludeApplications"`
}

// Locations of a policy: ids of named locations, or All, AllTrusted.
type Locations struct {
	Include []string `json:"includeLocations"`
	Exclude []string `json:"excludeLocations"`
}

// GrantControls are what a sign-in must fulfil.
type GrantControls struct {
	Operator string   `json:"operator"`        // OR, AND
	BuiltIn  []string `json:"builtInControls"` // block, mfa
}

// SessionControls limit how long a sign-in holds.
type SessionControls struct {
	Frequency *Frequency `json:"signInFrequency"`
}

// Frequency is how often users must sign in again.
type Frequency struct {
	Enabled  bool   `json:"isEnabled"`
	Type     string `json:"type"` // hours, days
	Value    int    `json:"value"`
	Interval string `json:"frequencyInterval"` // timeBased, everyTime
}

// Location is a named location: address ranges, or, which Azure does not have, virtual networks and subnets of
// the region, which are told by the kernel and not by an address.
type Location struct {
	ID          string         `json:"id"`
	DisplayName string         `json:"displayName"`
	Created     time.Time      `json:"createdDateTime"`
	Modified    *time.Time     `json:"modifiedDateTime"`
	Trusted     bool           `json:"isTrusted"`
	Ranges      []netip.Prefix `json:"ranges,omitempty"`
	Networks    []string       `json:"networks,omitempty"` // ids of virtual networks and subnets
}

// Place is where a request comes from.
type Place struct {
	Address netip.Addr
	VNet    string // id; "" outside
	Subnet  string // id; "" if not known
}

// Contains reports whether the place is in the location.
func (l Location) Contains(p Place) bool {
	addr := p.Address.Unmap()
	for _, r := range l.Ranges {
		if r.Contains(addr) {
			return true
		}
	}
	for _, n := range l.Networks {
		if n != "" && (strings.EqualFold(n, p.VNet) || strings.EqualFold(n, p.Subnet)) {
			return true
		}
	}
	return false
}

// Request is a sign-in, or the use of one for another resource.
type Request struct {
	UserID    string
	Guest     bool
	Groups    []string // ids, nested ones too
	Roles     []string // template ids of directory roles
	Resources []string // application ids of what a token is asked for
	Browser   bool     // a web application; else a client on a machine
	Place     Place
	SignedIn  time.Time
	Now       time.Time
}

// Decision is what the policies ask for.
type Decision struct {
	Blocked []Policy // policies that block
	MFA     []Policy // policies that ask for a second factor
	Again   []Policy // policies by which the user must sign in again, since he has long ago
	Report  []string // what policies that only report would have asked for
	Applied []string // ids of the policies that applied
}

// Decide asks the policies. Locations are by id; a location that is named and does not exist holds nobody, so that
// what it should exempt is not exempted.
func Decide(policies []Policy, locations map[string]Location, r Request) Decision {
	var d Decision
	for _, p := range policies {
		if p.State == Disabled || !p.applies(locations, r) {
			continue
		}
		block, mfa := p.Grant.has("block"), p.Grant.has("mfa")
		again := p.Session.over(r)
		if p.State == ReportOnly {
			d.Report = append(d.Report, fmt.Sprintf("%s: block=%v mfa=%v signInAgain=%v", p.DisplayName, block, mfa, again))
			continue
		}
		d.Applied = append(d.Applied, p.ID)
		if block {
			d.Blocked = append(d.Blocked, p)
		}
		if mfa {
			d.MFA = append(d.MFA, p)
		}
		if again {
			d.Again = append(d.Again, p)
		}
	}
	return d
}

func (p Policy) applies(locations map[string]Location, r Request) bool {
	return p.Conditions.Users.match(r) && p.Conditions.Applications.match(r.Resources) &&
		clientMatches(p.Conditions.ClientAppTypes, r.Browser) && p.Conditions.Locations.match(locations, r.Place)
}

func (u Users) match(r Request) bool {
	included := hasFold(u.IncludeUsers, All) || hasFold(u.IncludeUsers, r.UserID) || r.Guest && hasFold(u.IncludeUsers, Guests) ||
		overlap(u.IncludeGroups, r.Groups) || overlap(u.IncludeRoles, r.Roles)
	excluded := hasFold(u.ExcludeUsers, r.UserID) || r.Guest && hasFold(u.ExcludeUsers, Guests) ||
		overlap(u.ExcludeGroups, r.Groups) || overlap(u.ExcludeRoles, r.Roles)
	return included && !excluded
}

func (a Applications) match(resources []string) bool {
	for _, id := range resources {
		if (hasFold(a.Include, All) || hasFold(a.Include, id)) && !hasFold(a.Exclude, id) {
			return true
		}
	}
	return false
}

func clientMatches(types []string, browser bool) bool {
	if len(types) == 0 || hasFold(types, "all") {
		return true
	}
	if browser {
		return hasFold(types, "browser")
	}
	return hasFold(types, "mobileAppsAndDesktopClients")
}

func (l *Locations) match(known map[string]Location, p Place) bool {
	if l == nil || len(l.Include) == 0 {
		return true
	}
	in := func(ids []string) bool {
		for _, id := range ids {
			switch {
			case strings.EqualFold(id, All):
				return true
			case strings.EqualFold(id, AllTrusted):
				for _, at := range known {
					if at.Trusted && at.Contains(p) {
						return true
					}
				}
			default:
				if at, ok := known[strings.ToLower(id)]; ok && at.Contains(p) {
					return true
				}
			}
		}
		return false
	}
	return in(l.Include) && !in(l.Exclude)
}

func (g *GrantControls) has(control string) bool {
	return g != nil && slices.Contains(g.BuiltIn, control)
}

func (s *SessionControls) over(r Request) bool {
	if s == nil || s.Frequency == nil || !s.Frequency.Enabled {
		return false
	}
	age := r.Now.Sub(r.SignedIn)
	switch f := s.Frequency; {
	case f.Interval == "everyTime":
		return age > 5*time.Minute // what Entra allows for clocks and redirects
	case f.Type == "days":
		return age > time.Duration(f.Value)*24*time.Hour
	default:
		return age > time.Duration(f.Value)*time.Hour
	}
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(id string) bool { return hasFold(b, id) })
}

func hasFold(list []string, s string) bool {
	return s != "" && slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}
