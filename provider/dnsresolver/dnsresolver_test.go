package dnsresolver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/fabric/dns"
	"vauban.dev/provider/dnsresolver"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatelink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group    = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.Network/"
	hub      = group + "virtualNetworks/hub"
	resolver = group + "dnsResolvers/r"
	ruleset  = group + "dnsForwardingRulesets/rs"
	api      = "?api-version=2022-07-01"
	netAPI   = "?api-version=2024-07-01"
)

type synced struct{}

func (synced) Sync(context.Context) error { return nil }

// late is an engine that is made after what needs it.
type late struct{ r *rptest.Region }

func (l *late) View(ctx context.Context, f func(*rp.Tx) error) error { return l.r.Engine.View(ctx, f) }
func (l *late) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.Update(ctx, f)
}

// newRegion has a hub with delegated subnets, a spoke, and a network in another region.
func newRegion(t *testing.T) *rptest.Region {
	t.Helper()
	engine := &late{}
	n := network.New(network.Config{Engine: engine, Targets: privatelink.New(), Sync: synced{}, PublicPool: netip.MustParsePrefix("20.61.0.0/29")})
	p := dnsresolver.New(dnsresolver.Config{Network: n, Sync: synced{}})
	engine.r = rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, append(n.Types(), p.Types()...)...)
	r := engine.r
	delegated := `"delegations":[{"name":"d","properties":{"serviceName":"Microsoft.Network/dnsResolvers"}}]`
	for name, body := range map[string]string{
		"hub": `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
			{"name":"in","properties":{"addressPrefix":"10.0.100.0/28",` + delegated + `}},{"name":"out","properties":{"addressPrefix":"10.0.100.16/28",` + delegated + `}},
			{"name":"in2","properties":{"addressPrefix":"10.0.100.32/28",` + delegated + `}},
			{"name":"plain","properties":{"addressPrefix":"10.0.101.0/28"}},{"name":"tiny","properties":{"addressPrefix":"10.0.102.0/29",` + delegated + `}},
			{"name":"reserved","properties":{"addressPrefix":"10.0.3.0/28",` + delegated + `}}]}}`,
		"spoke": `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.1.0.0/16"]},"subnets":[{"name":"in","properties":{"addressPrefix":"10.1.100.0/28",` + delegated + `}}]}}`,
		"north": `{"location":"northeurope","properties":{"addressSpace":{"addressPrefixes":["10.2.0.0/16"]}}}`,
	} {
		r.Must(http.MethodPut, group+"virtualNetworks/"+name+netAPI, body)
	}
	return r
}

func ref(id string) string { return fmt.Sprintf(`{"id":%q}`, id) }

func inVNet(id string) string {
	return `{"location":"westeurope","properties":{"virtualNetwork":` + ref(id) + `}}`
}

func inbound(subnet, more string) string {
	return `{"location":"westeurope","properties":{"ipConfigurations":[{"subnet":` + ref(subnet) + more + `}]}}`
}

func outbound(subnet string) string {
	return `{"location":"westeurope","properties":{"subnet":` + ref(subnet) + `}}`
}

func rules(endpoints ...string) string {
	list := make([]string, len(endpoints))
	for i, e := range endpoints {
		list[i] = ref(e)
	}
	return `{"location":"westeurope","properties":{"dnsResolverOutboundEndpoints":[` + strings.Join(list, ",") + `]}}`
}

func rule(domain, targets string) string {
	return `{"properties":{"domainName":"` + domain + `","targetDnsServers":[` + targets + `]}}`
}

const target = `{"ipAddress":"192.168.0.53"}`

// build makes a resolver with both endpoints, a ruleset with three rules, and a link of the spoke.
func build(r *rptest.Region) {
	r.Must(http.MethodPut, resolver+api, inVNet(hub))
	r.Must(http.MethodPut, resolver+"/inboundEndpoints/i"+api, inbound(hub+"/subnets/in", ""))
	r.Must(http.MethodPut, resolver+"/outboundEndpoints/o"+api, outbound(hub+"/subnets/out"))
	r.Must(http.MethodPut, ruleset+api, rules(resolver+"/outboundEndpoints/o"))
	r.Must(http.MethodPut, ruleset+"/forwardingRules/corp"+api, rule("corp.test.", target+`,{"ipAddress":"192.168.0.54","port":5353}`))
	r.Must(http.MethodPut, ruleset+"/forwardingRules/all"+api, rule(".", target))
	r.Must(http.MethodPut, ruleset+"/forwardingRules/off"+api, `{"properties":{"domainName":"off.test.","forwardingRuleState":"Disabled","targetDnsServers":[`+target+`]}}`)
	r.Must(http.MethodPut, ruleset+"/virtualNetworkLinks/spoke"+api, `{"properties":{"virtualNetwork":`+ref(group+"virtualNetworks/spoke")+`}}`)
}

func read(t *testing.T, r *rptest.Region) (m dnsresolver.Model) {
	t.Helper()
	err := r.Engine.View(t.Context(), func(tx *rp.Tx) (err error) {
		m, err = dnsresolver.Read(tx, []string{hub, group + "virtualNetworks/spoke"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModel(t *testing.T) {
	r := newRegion(t)
	build(r)
	server := netip.MustParseAddrPort("192.168.0.53:53")
	want := dnsresolver.Model{
		Inbound: []dnsresolver.InboundEndpoint{{NIC: resolver + "/inboundEndpoints/i", VNet: hub, Addr: netip.MustParseAddr("10.0.100.4")}},
		Rulesets: []dns.Ruleset{{ID: ruleset, VNets: []string{group + "virtualNetworks/spoke"}, Endpoints: []string{resolver + "/outboundEndpoints/o"}, Rules: []dns.Rule{
			{ID: ruleset + "/forwardingRules/all", Domain: ".", Servers: []netip.AddrPort{server}},
			{ID: ruleset + "/forwardingRules/corp", Domain: "corp.test.", Servers: []netip.AddrPort{server, netip.MustParseAddrPort("192.168.0.54:5353")}},
		}}},
	}
	compare := cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})
	if diff := cmp.Diff(want, read(t, r), compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Must(http.MethodDelete, ruleset+"/virtualNetworkLinks/spoke"+api, "")
	r.Must(http.MethodDelete, ruleset+"/forwardingRules/all"+api, "")
	if m := read(t, r); len(m.Rulesets[0].VNets) != 0 || len(m.Rulesets[0].Rules) != 1 {
		t.Errorf("after deletions: %+v", m.Rulesets)
	}
}

// What a client sees of each resource, and the addresses in the subnets.
func TestShapes(t *testing.T) {
	r := newRegion(t)
	build(r)
	for _, c := range []struct{ path, want string }{
		{resolver, `{"dnsResolverState":"Connected","provisioningState":"Succeeded","virtualNetwork":` + ref(hub) + `}`},
		{resolver + "/inboundEndpoints/i", `{"provisioningState":"Succeeded","ipConfigurations":[{"privateIpAddress":"10.0.100.4","privateIpAllocationMethod":"Dynamic","subnet":` + ref(hub+"/subnets/in") + `}]}`},
		{resolver + "/outboundEndpoints/o", `{"provisioningState":"Succeeded","subnet":` + ref(hub+"/subnets/out") + `}`},
		{ruleset, `{"provisioningState":"Succeeded","dnsResolverOutboundEndpoints":[` + ref(resolver+"/outboundEndpoints/o") + `]}`},
		{ruleset + "/forwardingRules/corp", `{"domainName":"corp.test.","forwardingRuleState":"Enabled","provisioningState":"Succeeded",
			"targetDnsServers":[{"ipAddress":"192.168.0.53","port":53},{"ipAddress":"192.168.0.54","port":5353}]}`},
		{ruleset + "/virtualNetworkLinks/spoke", `{"provisioningState":"Succeeded","virtualNetwork":` + ref(group+"virtualNetworks/spoke") + `}`},
	} {
		a := r.Request(http.MethodGet, c.path+api, "")
		var want map[string]any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		got, _ := a.At("properties").(map[string]any)
		guid, _ := got["resourceGuid"].(string)
		if _, proxy := want["domainName"]; len(guid) != 36 && !proxy && want["virtualNetwork"] != nil && c.path == resolver {
			t.Errorf("%s: resourceGuid %q", c.path, guid)
		}
		delete(got, "resourceGuid")
		if diff := cmp.Diff(want, got); diff != "" || a.String("etag") == "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
	}
	for path, want := range map[string]string{
		hub + "/listDnsResolvers":                                 `{"value":[` + ref(resolver) + `]}`,
		group + "virtualNetworks/spoke/listDnsForwardingRulesets": `{"value":[{"id":"` + ruleset + `","properties":{"virtualNetworkLink":` + ref(ruleset+"/virtualNetworkLinks/spoke") + `}}]}`,
		hub + "/listDnsForwardingRulesets":                        `{"value":[]}`,
	} {
		var w map[string]any
		if err := json.Unmarshal([]byte(want), &w); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, r.Request(http.MethodPost, path+api, "").Body); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestRefusals(t *testing.T) {
	r := newRegion(t)
	build(r)
	r.Must(http.MethodPut, group+"dnsResolvers/s"+api, inVNet(group+"virtualNetworks/spoke"))
	r.Must(http.MethodPut, group+"dnsResolvers/s/inboundEndpoints/i"+api, inbound(group+"virtualNetworks/spoke/subnets/in", ""))
	static := func(a string) string { return `,"privateIpAllocationMethod":"Static","privateIpAddress":"` + a + `"` }
	for why, c := range map[string]struct {
		method, path, body string
		status             int
		code, text         string
	}{
		"a resolver without a network":     {"PUT", group + "dnsResolvers/x", `{"location":"westeurope","properties":{}}`, 400, "BadRequest", "virtualNetwork"},
		"of a network that is not there":   {"PUT", group + "dnsResolvers/x", inVNet(group + "virtualNetworks/none"), 400, "BadRequest", "not found"},
		"in another region":                {"PUT", group + "dnsResolvers/x", inVNet(group + "virtualNetworks/north"), 400, "BadRequest", "same region"},
		"of a network that has one":        {"PUT", group + "dnsResolvers/x", inVNet(hub), 409, "Conflict", "already used"},
		"moved to another network":         {"PUT", resolver, inVNet(group + "virtualNetworks/spoke"), 409, "Conflict", "cannot be changed"},
		"a subnet in use":                  {"PUT", resolver + "/inboundEndpoints/x", inbound(hub+"/subnets/in", ""), 400, "BadRequest", "could not be used to provision the inbound endpoint"},
		"a subnet of the other kind":       {"PUT", resolver + "/outboundEndpoints/x", outbound(hub + "/subnets/in"), 400, "BadRequest", "could not be used to provision the outbound endpoint"},
		"a small subnet":                   {"PUT", resolver + "/inboundEndpoints/x", inbound(hub+"/subnets/tiny", ""), 400, "BadRequest", "at least /28"},
		"a reserved subnet":                {"PUT", resolver + "/inboundEndpoints/x", inbound(hub+"/subnets/reserved", ""), 400, "BadRequest", "10.0.16.0/24"},
		"a subnet of nobody's":             {"PUT", resolver + "/inboundEndpoints/x", inbound(hub+"/subnets/plain", ""), 400, "SubnetMissingRequiredDelegation", "Microsoft.Network/dnsResolvers"},
		"a subnet of another network":      {"PUT", resolver + "/inboundEndpoints/x", inbound(group+"virtualNetworks/spoke/subnets/in", ""), 400, "BadRequest", "not in the virtual network"},
		"no address":                       {"PUT", resolver + "/inboundEndpoints/x", inbound(hub+"/subnets/in2", static("none")), 400, "BadRequest", "IPv4"},
		"an address outside":               {"PUT", resolver + "/inboundEndpoints/x", inbound(hub+"/subnets/in2", static("10.9.9.9")), 400, "PrivateIPAddressNotInSubnet", ""},
		"an address that cannot change":    {"PUT", resolver + "/inboundEndpoints/i", inbound(hub+"/subnets/in", static("10.0.100.9")), 409, "Conflict", "cannot be changed"},
		"no configuration":                 {"PUT", resolver + "/inboundEndpoints/x", `{"location":"westeurope","properties":{}}`, 400, "BadRequest", "IP configuration"},
		"two configurations":               {"PUT", resolver + "/inboundEndpoints/x", strings.Replace(inbound(hub+"/subnets/in2", ""), "[{", "[{},{", 1), 501, "NotImplemented", ""},
		"a ruleset without a way out":      {"PUT", group + "dnsForwardingRulesets/x", rules(), 400, "BadRequest", "dnsResolverOutboundEndpoints"},
		"by an endpoint that is not there": {"PUT", group + "dnsForwardingRulesets/x", rules(resolver + "/outboundEndpoints/none"), 400, "BadRequest", "not found"},
		"by an inbound endpoint":           {"PUT", group + "dnsForwardingRulesets/x", rules(resolver + "/inboundEndpoints/i"), 400, "BadRequest", "no id of"},
		"by one endpoint twice":            {"PUT", group + "dnsForwardingRulesets/x", rules(resolver+"/outboundEndpoints/o", resolver+"/outboundEndpoints/o"), 400, "BadRequest", "twice"},
		"a domain without its dot":         {"PUT", ruleset + "/forwardingRules/x", rule("a.test", target), 400, "BadRequest", "domainName"},
		"a domain of one label":            {"PUT", ruleset + "/forwardingRules/x", rule("test.", target), 400, "BadRequest", "domainName"},
		"a domain that has a rule":         {"PUT", ruleset + "/forwardingRules/x", rule("CORP.test.", target), 409, "Conflict", "corp"},
		"a domain that cannot change":      {"PUT", ruleset + "/forwardingRules/corp", rule("other.test.", target), 400, "BadRequest", "domainName"},
		"no target":                        {"PUT", ruleset + "/forwardingRules/x", rule("a.test.", ""), 400, "BadRequest", "targetDnsServers"},
		"Azure DNS as target":              {"PUT", ruleset + "/forwardingRules/x", rule("a.test.", `{"ipAddress":"168.63.129.16"}`), 400, "BadRequest", "168.63.129.16"},
		"a target of no address":           {"PUT", ruleset + "/forwardingRules/x", rule("a.test.", `{"ipAddress":"dns.test"}`), 400, "BadRequest", "ipAddress"},
		"a target's port":                  {"PUT", ruleset + "/forwardingRules/x", rule("a.test.", `{"ipAddress":"10.0.0.1","port":70000}`), 400, "BadRequest", "port"},
		"a rule's state":                   {"PUT", ruleset + "/forwardingRules/x", `{"properties":{"domainName":"a.test.","forwardingRuleState":"Maybe","targetDnsServers":[` + target + `]}}`, 400, "BadRequest", "forwardingRuleState"},
		"a second link of a network":       {"PUT", ruleset + "/virtualNetworkLinks/x", `{"properties":{"virtualNetwork":` + ref(group+"virtualNetworks/spoke") + `}}`, 409, "Conflict", "already linked"},
		"a link to another region":         {"PUT", ruleset + "/virtualNetworkLinks/x", `{"properties":{"virtualNetwork":` + ref(group+"virtualNetworks/north") + `}}`, 400, "BadRequest", "same region"},
		"deleting with endpoints":          {"DELETE", group + "dnsResolvers/s", "", 409, "CannotDeleteResource", "inboundEndpoints/i"},
		"deleting what a ruleset needs":    {"DELETE", resolver + "/outboundEndpoints/o", "", 409, "Conflict", ruleset},
		"deleting with links":              {"DELETE", ruleset, "", 409, "CannotDeleteResource", "virtualNetworkLinks/spoke"},
		"deleting a subnet in use":         {"DELETE", hub + "/subnets/in", "", 400, "InUseSubnetCannotBeDeleted", ""},
	} {
		version := api
		if strings.Contains(c.path, "/subnets/") {
			version = netAPI
		}
		a := r.Request(c.method, c.path+version, c.body)
		if a.Status != c.status || a.Code() != c.code || !strings.Contains(a.String("error", "message"), c.text) {
			t.Errorf("%s: %d %s, want %d %s with %q", why, a.Status, a.Text, c.status, c.code, c.text)
		}
	}
}

// Everything goes in the order that Azure asks for, and gives its addresses back.
func TestDeletion(t *testing.T) {
	r := newRegion(t)
	build(r)
	r.Must(http.MethodPut, resolver+"/inboundEndpoints/s"+api, inbound(hub+"/subnets/in2", `,"privateIpAllocationMethod":"static","privateIpAddress":"10.0.100.40"`))
	for _, path := range []string{
		ruleset + "/virtualNetworkLinks/spoke", ruleset, resolver + "/outboundEndpoints/o", resolver + "/inboundEndpoints/i", resolver + "/inboundEndpoints/s", resolver,
	} {
		r.Must(http.MethodDelete, path+api, "")
		if a := r.Request(http.MethodGet, path+api, ""); a.Status != http.StatusNotFound {
			t.Errorf("%s is still there: %d", path, a.Status)
		}
	}
	err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
		nics, err := network.HiddenNICs(tx)
		if len(nics) != 0 {
			t.Errorf("interfaces are left: %+v", nics)
		}
		_, missing := rp.Get[dnsresolver.Rule](tx, arm.MustParseID(ruleset+"/forwardingRules/corp"))
		if missing == nil {
			t.Error("a rule outlived its ruleset")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Must(http.MethodDelete, hub+netAPI, "")
}
