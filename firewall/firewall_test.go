package firewall_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vauban.dev/firewall"
	"vauban.dev/origin"
)

const (
	account = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct"
	other   = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/other"
	subnet  = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/training"
	subnet2 = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/jumpbox"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var origins = map[string]origin.Origin{
	"unknown":            {},
	"internet":           {Kind: origin.Internet, Source: addr("203.0.113.9")},
	"internet, named":    {Kind: origin.Internet, Source: addr("198.51.100.7")},
	"internet, mapped":   {Kind: origin.Internet, Source: addr("::ffff:198.51.100.7")},
	"internet, no addr":  {Kind: origin.Internet},
	"loopback":           {Kind: origin.Loopback, Source: addr("127.0.0.1")},
	"service endpoint":   {Kind: origin.ServiceEndpoint, Source: addr("10.0.0.4"), Subnet: strings.ToUpper(subnet)},
	"endpoint, no rule":  {Kind: origin.ServiceEndpoint, Source: addr("10.0.1.4"), Subnet: subnet2},
	"endpoint, nameless": {Kind: origin.ServiceEndpoint, Source: addr("10.0.1.4")},
	"endpoint in range":  {Kind: origin.ServiceEndpoint, Source: addr("198.51.100.7"), Subnet: subnet2},
	"private":            {Kind: origin.PrivateEndpoint, Source: addr("10.0.0.4"), Endpoint: "pe", Target: strings.ToLower(account), GroupID: "blob"},
	"private, elsewhere": {Kind: origin.PrivateEndpoint, Source: addr("10.0.0.4"), Endpoint: "pe", Target: other, GroupID: "blob"},
	"private, group":     {Kind: origin.PrivateEndpoint, Source: addr("10.0.0.4"), Endpoint: "pe", Target: account, GroupID: "queue"},
	"private, nowhere":   {Kind: origin.PrivateEndpoint, Source: addr("10.0.0.4"), Endpoint: "pe", GroupID: "blob"},
}

// TestDecide goes through every combination of rules and origin against an oracle that is written the other way
// round: from the origin, what lets it in.
func TestDecide(t *testing.T) {
	for _, pna := range []string{"", "Enabled", "enabled", "Disabled", "SecuredByPerimeter", "Maybe"} {
		for _, def := range []string{"", "Allow", "Deny", "deny", "Perhaps"} {
			for _, named := range []bool{false, true} {
				r := firewall.Rules{ResourceID: account, GroupIDs: []string{"blob"}, PublicNetworkAccess: pna, DefaultAction: def}
				if named {
					r.IPRules = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")}
					r.SubnetRules = []string{subnet}
				}
				open := pna == "" || strings.EqualFold(pna, "Enabled")
				all := open && (def == "" || def == "Allow")
				listed := open && strings.EqualFold(def, "Deny") && named
				want := map[string]bool{
					"private": true, "internet": all, "loopback": all, "internet, no addr": all, "endpoint, no rule": all, "endpoint, nameless": all, "endpoint in range": all,
					"internet, named": all || listed, "internet, mapped": all || listed, "service endpoint": all || listed,
				}
				for name, o := range origins {
					t.Run(fmt.Sprintf("%s/%s/%v/%s", pna, def, named, name), func(t *testing.T) {
						d := firewall.Decide(r, o)
						if d.Allowed != want[name] {
							t.Errorf("Decide = %+v, want allowed %v", d, want[name])
						}
						if d.Rule == "" || d.Allowed != (d.Code == firewall.Admitted) {
							t.Errorf("Decide = %+v: rule and code must say why", d)
						}
					})
				}
			}
		}
	}
}

func TestDecideCode(t *testing.T) {
	closed := firewall.Rules{ResourceID: account, GroupIDs: []string{"blob"}, PublicNetworkAccess: firewall.Disabled}
	listed := firewall.Rules{ResourceID: account, GroupIDs: []string{"blob"}, DefaultAction: firewall.Deny}
	tests := []struct {
		name string
		r    firewall.Rules
		o    origin.Origin
		want firewall.Code
	}{
		{"disabled", closed, origins["internet"], firewall.PublicAccessDisabled},
		{"disabled for a service endpoint", closed, origins["service endpoint"], firewall.PublicAccessDisabled},
		{"perimeter", firewall.Rules{PublicNetworkAccess: firewall.SecuredByPerimeter}, origins["internet"], firewall.PublicAccessDisabled},
		{"no rule", listed, origins["internet"], firewall.NotInRules},
		{"no subnet rule", listed, origins["service endpoint"], firewall.NotInRules},
		{"other resource", closed, origins["private, elsewhere"], firewall.WrongPrivateEndpoint},
		{"other sub-resource", closed, origins["private, group"], firewall.WrongPrivateEndpoint},
		{"no resource", firewall.Rules{GroupIDs: []string{"blob"}}, origins["private, nowhere"], firewall.WrongPrivateEndpoint},
		{"no sub-resources", firewall.Rules{ResourceID: account}, origins["private"], firewall.WrongPrivateEndpoint},
		{"unknown origin, all open", firewall.Rules{}, origins["unknown"], firewall.UnknownOrigin},
		{"a kind that does not exist", firewall.Rules{}, origin.Origin{Kind: 99}, firewall.UnknownOrigin},
		{"unreadable", firewall.Rules{DefaultAction: "Alow"}, origins["internet"], firewall.BadRules},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := firewall.Decide(tt.r, tt.o); d.Allowed || d.Code != tt.want {
				t.Errorf("Decide = %+v, want %v", d, tt.want)
			}
		})
	}
}

func TestDecideInstance(t *testing.T) {
	const ws = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
	base := firewall.Rules{ResourceID: account, PublicNetworkAccess: firewall.Disabled, DefaultAction: firewall.Deny}
	with := func(f func(*firewall.Rules)) firewall.Rules { r := base; f(&r); return r }
	named := with(func(r *firewall.Rules) {
		r.ResourceInstances = []firewall.ResourceInstance{{TenantID: "t", ResourceID: strings.ToLower(ws)}}
	})
	any := with(func(r *firewall.Rules) {
		r.ResourceInstances = []firewall.ResourceInstance{{TenantID: "t", ResourceID: strings.Replace(ws, "/ws", "/*", 1)}}
	})
	bypass := with(func(r *firewall.Rules) { r.Bypass = "Logging, AzureServices" })
	tests := []struct {
		name     string
		r        firewall.Rules
		tenant   string
		resource string
		trusted  bool
		want     bool
	}{
		{"no rule", base, "t", ws, true, false},
		{"named", named, "T", ws, false, true},
		{"named, other tenant", named, "u", ws, false, false},
		{"named, other resource", named, "t", ws + "2", false, false},
		{"no resource", named, "t", "", false, false},
		{"wildcard", any, "t", ws, false, true},
		{"wildcard is one segment", any, "t", ws + "/computes/c", false, false},
		{"bypass, trusted", bypass, "t", ws, true, true},
		{"bypass, not trusted", bypass, "t", ws, false, false},
		{"open", firewall.Rules{}, "t", ws, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := firewall.DecideInstance(tt.r, tt.tenant, tt.resource, tt.trusted); d.Allowed != tt.want {
				t.Errorf("DecideInstance = %+v, want %v", d, tt.want)
			}
		})
	}
}

// An identity that a rule names is let in on every public path, and by nothing else.
func TestDecideCaller(t *testing.T) {
	const ws = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
	r := firewall.Rules{ResourceID: account, GroupIDs: []string{"blob"}, DefaultAction: firewall.Deny,
		ResourceInstances: []firewall.ResourceInstance{{TenantID: "t", ResourceID: ws}}}
	closed, policies := r, r
	closed.PublicNetworkAccess = firewall.Disabled
	policies.Policies = func(string) ([]firewall.EndpointPolicy, error) { return []firewall.EndpointPolicy{{}}, nil }
	for _, c := range []struct {
		name             string
		r                firewall.Rules
		origin           string
		tenant, resource string
		want             firewall.Code
	}{
		{"named", r, "internet", "T", strings.ToUpper(ws), firewall.Admitted},
		{"named, by a service endpoint", r, "endpoint, no rule", "t", ws, firewall.Admitted},
		{"named, no public access", closed, "internet", "t", ws, firewall.Admitted},
		{"another resource", r, "internet", "t", ws + "2", firewall.NotInRules},
		{"another tenant", r, "internet", "u", ws, firewall.NotInRules},
		{"no identity", closed, "internet", "t", "", firewall.PublicAccessDisabled},
		{"another's private endpoint", r, "private, elsewhere", "t", ws, firewall.WrongPrivateEndpoint},
		{"another sub-resource's", r, "private, group", "t", ws, firewall.WrongPrivateEndpoint},
		{"of no known origin", r, "unknown", "t", ws, firewall.UnknownOrigin},
		{"past a service endpoint policy", policies, "endpoint, no rule", "t", ws, firewall.NotInPolicy},
		{"open to all", firewall.Rules{ResourceID: account}, "internet", "t", "", firewall.Admitted},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := firewall.DecideCaller(c.r, origins[c.origin], c.tenant, c.resource)
			if d.Code != c.want || d.Allowed != (c.want == firewall.Admitted) {
				t.Errorf("%+v, want %s", d, c.want)
			}
		})
	}
}
