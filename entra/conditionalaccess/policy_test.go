package conditionalaccess

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const vnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"

func parse(t *testing.T, body string) Policy {
	t.Helper()
	p, err := Parse([]byte(body), Policy{ID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecide(t *testing.T) {
	office := Location{ID: "office", Trusted: true, Ranges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	inside := Location{ID: "inside", Networks: []string{vnet + "/subnets/jump"}}
	locations := map[string]Location{"office": office, "inside": inside}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	base := Request{UserID: "ana", Groups: []string{"g1"}, Roles: []string{"r1"}, Resources: []string{"arm"}, Now: now, SignedIn: now, Place: Place{Address: netip.MustParseAddr("198.51.100.7")}}
	with := func(f func(*Request)) Request { r := base; f(&r); return r }
	const mfa = `"grantControls":{"operator":"OR","builtInControls":["mfa"]}`
	const block = `"grantControls":{"operator":"OR","builtInControls":["block"]}`
	everybody := `{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}`
	for name, c := range map[string]struct {
		policy string
		r      Request
		want   string
	}{
		"everybody":                {everybody + `}}`, base, "mfa"},
		"a group":                  {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeGroups":["G1"]},"applications":{"includeApplications":["ARM"]}}}`, base, "mfa"},
		"another group":            {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeGroups":["g2"]},"applications":{"includeApplications":["All"]}}}`, base, ""},
		"a role":                   {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeRoles":["r1"]},"applications":{"includeApplications":["All"]}}}`, base, "mfa"},
		"excluded user":            {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["All"],"excludeUsers":["ANA"]},"applications":{"includeApplications":["All"]}}}`, base, ""},
		"excluded group wins":      {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["ana"],"excludeGroups":["g1"]},"applications":{"includeApplications":["All"]}}}`, base, ""},
		"guests":                   {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["GuestsOrExternalUsers"]},"applications":{"includeApplications":["All"]}}}`, base, ""},
		"a guest":                  {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["GuestsOrExternalUsers"]},"applications":{"includeApplications":["All"]}}}`, with(func(r *Request) { r.Guest = true }), "mfa"},
		"another application":      {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["vault"]}}}`, base, ""},
		"excluded application":     {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"],"excludeApplications":["arm"]}}}`, base, ""},
		"none":                     {`{"displayName":"x","state":"enabled",` + mfa + `,"conditions":{"users":{"includeUsers":["None"]},"applications":{"includeApplications":["None"]}}}`, base, ""},
		"disabled":                 {strings.Replace(everybody, "enabled", "disabled", 1) + `}}`, base, ""},
		"reports":                  {strings.Replace(everybody, "enabled", "enabledForReportingButNotEnforced", 1) + `}}`, base, "report"},
		"from outside the office":  {everybody + `,"locations":{"includeLocations":["All"],"excludeLocations":["AllTrusted"]}}}`, base, "mfa"},
		"in the office":            {everybody + `,"locations":{"includeLocations":["All"],"excludeLocations":["AllTrusted"]}}}`, with(func(r *Request) { r.Place.Address = netip.MustParseAddr("203.0.113.9") }), ""},
		"in the office, mapped":    {everybody + `,"locations":{"includeLocations":["All"],"excludeLocations":["office"]}}}`, with(func(r *Request) { r.Place.Address = netip.MustParseAddr("::ffff:203.0.113.9") }), ""},
		"in the subnet":            {everybody + `,"locations":{"includeLocations":["All"],"excludeLocations":["inside"]}}}`, with(func(r *Request) { r.Place.VNet, r.Place.Subnet = vnet, strings.ToUpper(vnet+"/subnets/jump") }), ""},
		"in another subnet":        {everybody + `,"locations":{"includeLocations":["All"],"excludeLocations":["inside"]}}}`, with(func(r *Request) { r.Place.VNet, r.Place.Subnet = vnet, vnet+"/subnets/jump2" }), "mfa"},
		"a location that is gone":  {everybody + `,"locations":{"includeLocations":["All"],"excludeLocations":["gone"]}}}`, base, "mfa"},
		"no location known at all": {everybody + `,"locations":{"includeLocations":["office"]}}}`, with(func(r *Request) { r.Place = Place{} }), ""},
		"browsers":                 {everybody + `,"clientAppTypes":["browser"]}}`, base, ""},
		"clients":                  {everybody + `,"clientAppTypes":["mobileAppsAndDesktopClients"]}}`, base, "mfa"},
		"block":                    {strings.Replace(everybody, mfa, block, 1) + `}}`, base, "block"},
		"too long ago":             {strings.Replace(everybody, mfa, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":4,"frequencyInterval":"timeBased"}}`, 1) + `}}`, with(func(r *Request) { r.SignedIn = now.Add(-5 * time.Hour) }), "again"},
		"not long ago":             {strings.Replace(everybody, mfa, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"days","value":1,"frequencyInterval":"timeBased"}}`, 1) + `}}`, with(func(r *Request) { r.SignedIn = now.Add(-5 * time.Hour) }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide([]Policy{parse(t, c.policy)}, locations, c.r)
			got := strings.Repeat("block", len(d.Blocked)) + strings.Repeat("mfa", len(d.MFA)) + strings.Repeat("again", len(d.Again)) + strings.Repeat("report", len(d.Report))
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestHalfPoliciesAreRefused(t *testing.T) {
	const users = `"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}`
	for body, want := range map[string]string{
		`{"displayName":"x","state":"enabled","conditions":{` + users + `,"platforms":{"includePlatforms":["iOS"]}},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`: "conditions.platforms",
		`{"displayName":"x","state":"enabled","conditions":{` + users + `},"grantControls":{"operator":"OR","builtInControls":["compliantDevice"]}}`:                              "compliantDevice",
		`{"displayName":"x","state":"enabled","conditions":{` + users + `},"grantControls":{"operator":"OR","builtInControls":["mfa"],"termsOfUse":["a"]}}`:                       "termsOfUse",
		`{"displayName":"x","state":"enabled","conditions":{` + users + `},"sessionControls":{"persistentBrowser":{"isEnabled":true,"mode":"never"}}}`:                            "persistentBrowser",
		`{"displayName":"x","state":"on","conditions":{` + users + `},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`:                                               "state",
		`{"displayName":"x","state":"enabled","conditions":{` + users + `}}`:                                                                                                      "grantControls",
		`{"displayName":"x","state":"enabled","conditions":{"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`:         "conditions.users",
		`{"displayName":"x","state":"enabled","conditions":{` + users + `},"grantControls":{"operator":"OR","builtInControls":["block","mfa"]}}`:                                  "block stands alone",
		`{"displayName":"x","state":"enabled","conditions":{` + users + `},"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":99}}}`:                   "signInFrequency",
		`[]`: "body", `{"displayName":1}`: "body",
	} {
		_, err := Parse([]byte(body), Policy{})
		invalid, unsupported := new(Invalid), new(Unsupported)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &invalid) && !errors.As(err, &unsupported) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func TestLocations(t *testing.T) {
	l, err := ParseLocation([]byte(`{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"office","isTrusted":true,"ipRanges":[{"@odata.type":"#microsoft.graph.iPv4CidrRange","cidrAddress":"203.0.113.0/24"},{"cidrAddress":"2001:db8::/32"}]}`), Location{})
	if err != nil || len(l.Ranges) != 2 || !l.Trusted {
		t.Fatal(l, err)
	}
	l.ID = "1"
	if l, err = ParseLocation([]byte(`{"displayName":"other"}`), l); err != nil || len(l.Ranges) != 2 || l.DisplayName != "other" || !l.Trusted {
		t.Error(l, err)
	}
	if n, err := ParseLocation([]byte(`{"@odata.type":"#vauban.virtualNetworkNamedLocation","displayName":"jump","virtualNetworks":["`+vnet+`"]}`), Location{}); err != nil || !n.Contains(Place{VNet: vnet}) || n.Graph()["@odata.type"] != networkLocationType {
		t.Error(n, err)
	}
	for _, bad := range []string{
		`{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"x","ipRanges":[{"cidrAddress":"0.0.0.0/0"}]}`,
		`{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"x","ipRanges":[{"cidrAddress":"203.0.113.7/24"}]}`,
		`{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"x","ipRanges":[]}`,
		`{"@odata.type":"#microsoft.graph.countryNamedLocation","displayName":"x","countriesAndRegions":["FR"]}`,
		`{"@odata.type":"#vauban.virtualNetworkNamedLocation","displayName":"x","virtualNetworks":["v"]}`,
		`{"displayName":"x"}`, `nonsense`,
	} {
		if _, err := ParseLocation([]byte(bad), Location{}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"displayName":"x","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["block"]}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if p, err := Parse([]byte(body), Policy{}); err == nil {
			Decide([]Policy{p}, nil, Request{UserID: "u", Resources: []string{"a"}})
		}
		if l, err := ParseLocation([]byte(body), Location{}); err == nil {
			l.Contains(Place{})
		}
	})
}
