package networkwatcher_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/network"
	"vauban.dev/provider/networkwatcher"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/provider/storage"
	"vauban.dev/reach"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub   = "/subscriptions/11111111-1111-1111-1111-111111111111"
	group = sub + "/resourceGroups/rg"
	net0  = group + "/providers/Microsoft.Network/"
	vnet  = net0 + "virtualNetworks/hub"
	nic   = net0 + "networkInterfaces/nic0"
	other = net0 + "networkInterfaces/nic1"
	nsg   = net0 + "networkSecurityGroups/nsg"
	auto  = sub + "/resourceGroups/NetworkWatcherRG/providers/Microsoft.Network/networkWatchers/NetworkWatcher_westeurope"
	v     = "?api-version=2024-05-01"
	vm    = group + "/providers/Microsoft.Compute/virtualMachines/vm"
)

type tags struct{}

func (tags) Prefixes(tag string) ([]netip.Prefix, bool) {
	return []netip.Prefix{netip.MustParsePrefix("20.60.0.0/16")}, strings.EqualFold(tag, "Storage")
}

type still struct{}

func (still) Sync(context.Context) error { return nil }

// rig is a region whose connections are those that the model allows.
type rig struct {
	*rptest.Region
	t *testing.T
	// table stands at every subnet of the model, nil for none
	table    *fabric.RouteTable
	captures *recorder
}

// lateEngine is made after what needs it.
type lateEngine struct{ r *rig }

func (l lateEngine) View(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.View(ctx, f)
}
func (l lateEngine) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.Update(ctx, f)
}
func (l lateEngine) Wake(id arm.ID) { l.r.Engine.Wake(id) }

// off is a launcher without processes.
type off struct{}

func (off) Start(context.Context, compute.Machine) error { return nil }
func (off) Alive(string) bool                            { return true }
func (off) Stop(context.Context, string) error           { return nil }
func (off) Remove(context.Context, string) error         { return nil }

// TestMachine: a virtual machine is asked for what its interface is.
func TestMachine(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vm+"?api-version=2024-11-01", `{"location":"westeurope","properties":{"hardwareProfile":{"vmSize":"Standard_DS2_v2"},"osProfile":{"adminUsername":"azureuser","adminPassword":"Correct-Horse-7"},"networkProfile":{"networkInterfaces":[{"id":"`+nic+`"}]}}}`)
	question := `,"direction":"Outbound","protocol":"TCP","localIPAddress":"10.0.1.4","localPort":"40000","remoteIPAddress":"10.0.1.5","remotePort":"80"}`
	hop := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`) // a hop's id is new each time
	for action, body := range map[string]string{
		"ipFlowVerify": `{"targetResourceId":"TARGET"` + question, "securityGroupView": `{"targetResourceId":"TARGET"}`,
		"nextHop":           `{"targetResourceId":"TARGET","sourceIPAddress":"10.0.1.4","destinationIPAddress":"10.0.1.5"}`,
		"connectivityCheck": `{"source":{"resourceId":"TARGET"},"destination":{"address":"10.0.1.5","port":80}}`,
	} {
		byVM, byNIC := r.ask(action, strings.ReplaceAll(body, "TARGET", vm)), r.ask(action, strings.ReplaceAll(body, "TARGET", nic))
		if byVM.Status != 200 || hop.ReplaceAllString(byVM.Text, "") != hop.ReplaceAllString(byNIC.Text, "") {
			t.Errorf("%s: %d %s, of its interface %s", action, byVM.Status, byVM.Text, byNIC.Text)
		}
	}
	if a := r.ask("ipFlowVerify", `{"targetResourceId":"`+vm+`x"`+question); a.Status != 404 || a.Code() != "ResourceNotFound" {
		t.Errorf("another machine: %d %s", a.Status, a.Text)
	}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, captures: &recorder{running: map[string]networkwatcher.Capture{}, changed: make(chan struct{}, 8)}}
	var networks *network.Provider
	model := func() (explain.World, bool) {
		var w explain.World
		err := r.Engine.View(context.Background(), func(tx *rp.Tx) (err error) {
			w.Topology, err = networks.Topology(tx)
			return err
		})
		if err != nil {
			t.Error(err)
			return w, false
		}
		if r.table != nil {
			w.Topology.RouteTables = map[string]*fabric.RouteTable{r.table.ID: r.table}
			for i := range w.Topology.VNets {
				for j := range w.Topology.VNets[i].Subnets {
					w.Topology.VNets[i].Subnets[j].RouteTable = r.table.ID
				}
			}
		}
		w.Topology.Internet.Hosts = []fabric.InternetHost{{Name: "www", Addr: netip.MustParseAddr("198.51.100.80")}}
		return w, true
	}
	connect := func(_ context.Context, id string, kind reach.Kind, to netip.AddrPort) reach.Result {
		w, _ := model()
		p := map[reach.Kind]fabric.Protocol{reach.TCP: fabric.TCP, reach.ICMP: fabric.ICMP}[kind]
		e := fabric.Explain(w.Topology, fabric.Flow{From: fabric.Place{Kind: fabric.AtNIC, ID: id}, Dst: to.Addr(), Protocol: p, SrcPort: 40000, DstPort: to.Port()})
		if e.Verdict == fabric.Allowed {
			return reach.Result{Connect: reach.Connected, TookMS: 2}
		}
		return reach.Result{Connect: reach.ConnectTimeout}
	}
	watchers := networkwatcher.New(networkwatcher.Config{View: lateEngine{r}.View, Model: model, Connect: connect, Captures: r.captures})
	accounts := storage.New(nil)
	links := privatelink.New(accounts.Target())
	accounts.Use(links)
	networks = network.New(network.Config{
		Targets: links, Sync: still{}, Tags: tags{}, PublicPool: netip.MustParsePrefix("20.61.0.0/29"),
		Watch: networkwatcher.Enable, InterfaceActions: watchers.InterfaceActions(),
	})
	base := resources.New(resources.Tenant{}, nil, &authz.Index{})
	vms := compute.New(compute.Config{Engine: lateEngine{r}, Sync: still{}, Launcher: off{}})
	r.Region = rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, slices.Concat(base.Types(), networks.Types(), watchers.Types(), accounts.Types(), links.Types(), vms.Types())...)
	if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		return resources.Ensure(tx, arm.MustParseID(sub).Subscription(), "test")
	}); err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+v0, `{"location":"westeurope"}`)
	r.put(nsg, `{"location":"westeurope","properties":{"securityRules":[
		{"name":"DenyWeb","properties":{"priority":110,"direction":"Outbound","access":"Deny","protocol":"Tcp","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"Internet","destinationPortRanges":["80","443"]}},
		{"name":"AllowStorage","properties":{"priority":100,"direction":"Outbound","access":"Allow","protocol":"*","sourceAddressPrefix":"VirtualNetwork","sourcePortRange":"*","destinationAddressPrefix":"Storage","destinationPortRange":"443"}}]}}`)
	r.put(vnet, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
		{"name":"a","properties":{"addressPrefix":"10.0.1.0/24","networkSecurityGroup":{"id":"`+nsg+`"}}}]}}`)
	r.put(nic, `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"`+vnet+`/subnets/a"}}}]}}`)
	r.put(other, `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"`+vnet+`/subnets/a"}}}]}}`)
	return r
}

const v0 = "?api-version=2024-03-01"

func (r *rig) put(id, body string) {
	r.t.Helper()
	r.Wait(r.Must("PUT", id+v, body))
}

// ask posts an action, follows it to its end and returns its result.
func (r *rig) ask(action, body string) rptest.Answer {
	r.t.Helper()
	a := r.Request("POST", auto+"/"+action+v, body)
	return r.follow(a)
}

func (r *rig) follow(a rptest.Answer) rptest.Answer {
	r.t.Helper()
	if a.Status != 202 {
		return a
	}
	r.Wait(a)
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil {
		r.t.Fatal(err)
	}
	return r.Request("GET", u.RequestURI(), "")
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// A network watcher comes with the first virtual network of a region, once, where nobody made one.
func TestAutomatic(t *testing.T) {
	r := newRig(t)
	a := r.Request("GET", auto+v, "")
	if a.Status != 200 || a.String("location") != "westeurope" || a.String("properties", "provisioningState") != "Succeeded" {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	if a := r.Request("PUT", net0+"networkWatchers/mine"+v, `{"location":"westeurope"}`); a.Status != 400 || a.Code() != "NetworkWatcherCountLimitReached" {
		t.Errorf("a second one: %d %s", a.Status, a.Text)
	}
	r.put(net0+"networkWatchers/mine", `{"location":"northeurope"}`)
	r.put(net0+"virtualNetworks/north", `{"location":"northeurope","properties":{"addressSpace":{"addressPrefixes":["10.1.0.0/16"]}}}`)
	if a := r.Request("GET", sub+"/providers/Microsoft.Network/networkWatchers"+v, ""); len(a.At("value").([]any)) != 2 {
		t.Errorf("all of them: %s", a.Text)
	}
}

func TestIPFlowVerify(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		direction, local, remote, port string
		access, rule                   string
	}{
		{"Outbound", "10.0.1.4", "20.60.1.1", "443", "Allow", "securityRules/AllowStorage"},
		{"Outbound", "10.0.1.4", "8.8.8.8", "443", "Deny", "securityRules/DenyWeb"},
		{"outbound", "10.0.1.4", "8.8.8.8", "53", "Allow", "defaultSecurityRules/AllowInternetOutBound"},
		{"Inbound", "10.0.1.4", "8.8.8.8", "22", "Deny", "defaultSecurityRules/DenyAllInBound"},
		{"Inbound", "10.0.1.4", "10.0.1.5", "22", "Allow", "defaultSecurityRules/AllowVnetInBound"},
	} {
		local, remote := "*", c.port
		if strings.EqualFold(c.direction, "Inbound") {
			local, remote = c.port, "*"
		}
		a := r.ask("ipFlowVerify", `{"targetResourceId":"`+nic+`","direction":"`+c.direction+`","protocol":"TCP","localPort":"`+local+`","remotePort":"`+remote+`","localIPAddress":"`+c.local+`","remoteIPAddress":"`+c.remote+`"}`)
		if a.Status != 200 || a.String("access") != c.access || a.String("ruleName") != c.rule {
			t.Errorf("%+v: %d %s", c, a.Status, a.Text)
		}
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.put(net0+"virtualNetworks/north", `{"location":"northeurope","properties":{"addressSpace":{"addressPrefixes":["10.1.0.0/16"]},"subnets":[{"name":"a","properties":{"addressPrefix":"10.1.1.0/24"}}]}}`)
	r.put(net0+"networkInterfaces/north", `{"location":"northeurope","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"`+net0+`virtualNetworks/north/subnets/a"}}}]}}`)
	flow := func(target, direction, protocol, local, port string) string {
		return `{"targetResourceId":"` + target + `","direction":"` + direction + `","protocol":"` + protocol + `","localPort":"` + port + `","remotePort":"1","localIPAddress":"` + local + `","remoteIPAddress":"10.0.1.5"}`
	}
	for _, c := range []struct {
		name, action, body string
		status             int
		code               string
	}{
		{"no JSON of that form", "ipFlowVerify", `{"direction":7}`, 400, "InvalidRequestFormat"},
		{"no target", "ipFlowVerify", `{}`, 400, "InvalidRequestFormat"},
		{"no id", "nextHop", `{"targetResourceId":"vm"}`, 400, "InvalidResourceID"},
		{"a virtual machine that is not there", "ipFlowVerify", flow(vm, "Inbound", "TCP", "10.0.1.4", "1"), 404, "ResourceNotFound"},
		{"another type", "securityGroupView", `{"targetResourceId":"` + vnet + `"}`, 400, "InvalidRequestFormat"},
		{"no such interface", "securityGroupView", `{"targetResourceId":"` + nic + `x"}`, 404, "ResourceNotFound"},
		{"another region's interface", "securityGroupView", `{"targetResourceId":"` + net0 + `networkInterfaces/north"}`, 400, "InvalidResourceReference"},
		{"a direction", "ipFlowVerify", flow(nic, "up", "TCP", "10.0.1.4", "1"), 400, "InvalidRequestFormat"},
		{"a protocol", "ipFlowVerify", flow(nic, "Inbound", "ICMP", "10.0.1.4", "1"), 400, "InvalidRequestFormat"},
		{"an address", "ipFlowVerify", flow(nic, "Inbound", "TCP", "::1", "1"), 400, "InvalidRequestFormat"},
		{"another's address", "ipFlowVerify", flow(nic, "Inbound", "TCP", "10.0.1.5", "1"), 400, "InvalidRequestFormat"},
		{"a port", "ipFlowVerify", flow(nic, "Inbound", "TCP", "10.0.1.4", "*"), 400, "InvalidRequestFormat"},
		{"no profiles", "networkConfigurationDiagnostic", `{"targetResourceId":"` + nic + `","profiles":[]}`, 400, "InvalidRequestFormat"},
		{"a profile's tag", "networkConfigurationDiagnostic", `{"targetResourceId":"` + nic + `","profiles":[{"direction":"Inbound","protocol":"Tcp","source":"Internet","destination":"10.0.1.4","destinationPort":"1"}]}`, 400, "InvalidRequestFormat"},
		{"no destination", "connectivityCheck", `{"source":{"resourceId":"` + nic + `"},"destination":{}}`, 400, "InvalidRequestFormat"},
		{"no port", "connectivityCheck", `{"source":{"resourceId":"` + nic + `"},"destination":{"address":"10.0.1.5"}}`, 400, "InvalidRequestFormat"},
		{"a strange protocol", "connectivityCheck", `{"source":{"resourceId":"` + nic + `"},"destination":{"address":"10.0.1.5","port":1},"protocol":"Sctp"}`, 400, "InvalidRequestFormat"},
		{"another's source address", "nextHop", `{"targetResourceId":"` + nic + `","sourceIPAddress":"10.0.1.5","destinationIPAddress":"10.0.1.4"}`, 400, "InvalidRequestFormat"},
		{"a topology of nothing", "topology", `{}`, 400, "InvalidRequestFormat"},
		{"a topology of no network", "topology", `{"targetVirtualNetwork":{"id":"` + vnet + `x"}}`, 404, "ResourceNotFound"},
	} {
		if a := r.ask(c.action, c.body); a.Status != c.status || a.Code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.Status, a.Text, c.status, c.code)
		}
	}
}

func TestNextHopAndRoutes(t *testing.T) {
	r := newRig(t)
	table := net0 + "routeTables/rt"
	r.table = &fabric.RouteTable{ID: table, IgnoreGateway: true, Routes: []fabric.UserRoute{
		{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopAppliance, Appliance: netip.MustParseAddr("10.0.1.5")},
		{Name: "storage", Prefix: "Storage", Hop: fabric.HopInternet},
		{Name: "closed", Prefix: "8.8.0.0/16", Hop: fabric.HopNone},
	}}
	for dst, want := range map[string][3]string{
		"10.0.1.5":    {"VnetLocal", "", "System Route"},
		"9.9.9.9":     {"VirtualAppliance", "10.0.1.5", table},
		"8.8.8.8":     {"None", "", table},
		"20.60.3.3":   {"Internet", "", table},
		"192.168.0.1": {"VirtualAppliance", "10.0.1.5", table}, // a user route for 0.0.0.0/0 takes the system routes to None away
	} {
		a := r.ask("nextHop", `{"targetResourceId":"`+nic+`","sourceIPAddress":"10.0.1.4","destinationIPAddress":"`+dst+`"}`)
		if got := [3]string{a.String("nextHopType"), a.String("nextHopIpAddress"), a.String("routeTableId")}; got != want {
			t.Errorf("%s: %d %s, want %v", dst, a.Status, a.Text, want)
		}
	}
	a := r.follow(r.Request("POST", nic+"/effectiveRouteTable"+v, ""))
	lines := map[string]string{}
	for _, x := range a.At("value").([]any) {
		m := x.(map[string]any)
		lines[text(m["addressPrefix"])+" "+m["state"].(string)] = m["source"].(string) + " " + m["nextHopType"].(string) + " " + text(m["nextHopIpAddress"])
		if m["disableBgpRoutePropagation"] != true {
			t.Errorf("%v", m)
		}
	}
	for line, want := range map[string]string{
		`["10.0.0.0/16"] Active`:  `Default VnetLocal []`,
		`["0.0.0.0/0"] Active`:    `User VirtualAppliance ["10.0.1.5"]`,
		`["0.0.0.0/0"] Invalid`:   `Default Internet []`,
		`["8.8.0.0/16"] Active`:   `User None []`,
		`["20.60.0.0/16"] Active`: `User Internet []`,
	} {
		if lines[line] != want {
			t.Errorf("%s: %q, want %q in %v", line, lines[line], want, lines)
		}
	}
}

func TestEffectiveGroups(t *testing.T) {
	r := newRig(t)
	a := r.follow(r.Request("POST", nic+"/effectiveNetworkSecurityGroups"+v, ""))
	if a.Status != 200 || len(a.At("value").([]any)) != 1 {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	g := a.At("value").([]any)[0].(map[string]any)
	if !strings.EqualFold(text(g["networkSecurityGroup"]), `{"id":"`+nsg+`"}`) || text(g["association"]) != `{"subnet":{"id":"`+vnet+`/subnets/a"}}` {
		t.Errorf("%v", g)
	}
	rules := map[string]map[string]any{}
	for _, x := range g["effectiveSecurityRules"].([]any) {
		rules[x.(map[string]any)["name"].(string)] = x.(map[string]any)
	}
	if len(rules) != 8 {
		t.Errorf("%d rules", len(rules))
	}
	storage, web := rules["securityRules/AllowStorage"], rules["securityRules/DenyWeb"]
	if storage["protocol"] != "All" || text(storage["expandedDestinationAddressPrefix"]) != `["20.60.0.0/16"]` || storage["destinationPortRange"] != "443-443" ||
		text(storage["expandedSourceAddressPrefix"]) != `["10.0.0.0/16","168.63.129.16/32"]` {
		t.Errorf("%v", storage)
	}
	if web["sourceAddressPrefix"] != "0.0.0.0/0" || text(web["destinationPortRanges"]) != `["80-80","443-443"]` || web["sourcePortRange"] != "0-65535" || web["access"] != "Deny" {
		t.Errorf("%v", web)
	}
	// what Internet spells out has everything public and nothing private, and the network itself not
	var internet []netip.Prefix
	for _, p := range web["expandedDestinationAddressPrefix"].([]any) {
		internet = append(internet, netip.MustParsePrefix(p.(string)))
	}
	for addr, want := range map[string]bool{"8.8.8.8": true, "9.255.255.255": true, "10.0.0.1": false, "11.0.0.0": true, "168.63.129.16": false, "168.63.129.17": true, "223.255.255.255": true, "224.0.0.1": false} {
		has := slices.ContainsFunc(internet, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(addr)) })
		if has != want {
			t.Errorf("Internet has %s: %v", addr, has)
		}
	}
	view := r.ask("securityGroupView", `{"targetResourceId":"`+nic+`"}`)
	first := view.At("networkInterfaces").([]any)[0].(map[string]any)["securityRuleAssociations"].(map[string]any)
	if first["networkInterfaceAssociation"] != nil || len(first["subnetAssociation"].(map[string]any)["securityRules"].([]any)) != 2 ||
		len(first["defaultSecurityRules"].([]any)) != 6 || len(first["effectiveSecurityRules"].([]any)) != 8 {
		t.Errorf("%s", view.Text)
	}
}

func TestDiagnostic(t *testing.T) {
	r := newRig(t)
	a := r.ask("networkConfigurationDiagnostic", `{"targetResourceId":"`+nic+`","profiles":[{"direction":"Outbound","protocol":"TCP","source":"10.0.1.4","destination":"8.8.8.0/24","destinationPort":"443"}]}`)
	result := a.At("results").([]any)[0].(map[string]any)["networkSecurityGroupResult"].(map[string]any)
	if result["securityRuleAccessResult"] != "Deny" {
		t.Fatalf("%s", a.Text)
	}
	g := result["evaluatedNetworkSecurityGroups"].([]any)[0].(map[string]any)
	if text(g["matchedRule"]) != `{"action":"Deny","ruleName":"DenyWeb"}` || g["appliedTo"] != vnet+"/subnets/a" {
		t.Errorf("%v", g)
	}
	want := `[{"destinationMatched":false,"destinationPortMatched":true,"name":"AllowStorage","protocolMatched":true,"sourceMatched":true,"sourcePortMatched":true},` +
		`{"destinationMatched":true,"destinationPortMatched":true,"name":"DenyWeb","protocolMatched":true,"sourceMatched":true,"sourcePortMatched":true}]`
	if got := text(g["rulesEvaluationResult"]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestConnectivity(t *testing.T) {
	r := newRig(t)
	check := func(destination, protocol string) rptest.Answer {
		return r.ask("connectivityCheck", `{"source":{"resourceId":"`+nic+`"},"destination":`+destination+`,"protocol":"`+protocol+`"}`)
	}
	a := check(`{"resourceId":"`+other+`","port":22}`, "Tcp")
	if a.String("connectionStatus") != "Reachable" || a.At("probesSent") != 5.0 || a.At("probesFailed") != 0.0 || a.At("avgLatencyInMs") != 2.0 {
		t.Errorf("a neighbour: %s", a.Text)
	}
	hops := a.At("hops").([]any)
	from, to := hops[0].(map[string]any), hops[1].(map[string]any)
	if from["type"] != "Source" || to["type"] != "VirtualNetwork" || to["resourceId"] != other || text(from["nextHopIds"]) != text([]any{to["id"]}) || text(to["issues"]) != "[]" {
		t.Errorf("its hops: %s", text(hops))
	}
	a = check(`{"address":"https://198.51.100.80/x"}`, "Https")
	if a.String("connectionStatus") != "Unreachable" || a.At("probesSent") != 2.0 {
		t.Errorf("a denied host: %s", a.Text)
	}
	want := `[{"context":[{"key":"RuleName","value":"DenyWeb"}],"origin":"Outbound","severity":"Error","type":"NetworkSecurityRule"}]`
	if got := text(a.At("hops").([]any)[0].(map[string]any)["issues"]); got != want {
		t.Errorf("its issue: %s, want %s", got, want)
	}
	// by an appliance that forwards nothing
	r.table = &fabric.RouteTable{ID: "rt", Routes: []fabric.UserRoute{{Name: "all", Prefix: "0.0.0.0/0", Hop: fabric.HopAppliance, Appliance: netip.MustParseAddr("10.0.1.5")}}}
	a = check(`{"address":"198.51.100.80","port":22}`, "Tcp")
	via := a.At("hops").([]any)
	if len(via) != 3 || via[1].(map[string]any)["type"] != "VirtualAppliance" || via[1].(map[string]any)["resourceId"] != other ||
		text(via[0].(map[string]any)["nextHopIds"]) != text([]any{via[1].(map[string]any)["id"]}) {
		t.Errorf("by an appliance: %s", a.Text)
	}
	r.table = nil
	if a := check(`{"address":"nobody.invalid","port":1}`, "Tcp"); a.String("connectionStatus") != "Unreachable" || !strings.Contains(a.Text, "DnsResolution") {
		t.Errorf("no name: %s", a.Text)
	}
	if a := check(`{"address":"10.0.1.5"}`, "Icmp"); a.String("connectionStatus") != "Reachable" {
		t.Errorf("an echo: %s", a.Text)
	}
}

func TestTopology(t *testing.T) {
	r := newRig(t)
	names := func(body string) (out []string) {
		a := r.ask("topology", body)
		if a.Status != 200 {
			t.Fatalf("%d %s", a.Status, a.Text)
		}
		for _, x := range a.At("resources").([]any) {
			m := x.(map[string]any)
			ties := []string{}
			for _, y := range m["associations"].([]any) {
				ties = append(ties, y.(map[string]any)["associationType"].(string)+" "+y.(map[string]any)["name"].(string))
			}
			out = append(out, m["name"].(string)+" "+text(ties))
		}
		return out
	}
	want := []string{`hub ["Contains a"]`, `a ["Associated nsg"]`, `nic0 ["Contains a"]`, `nic1 ["Contains a"]`, `nsg []`}
	if got := names(`{"targetResourceGroupName":"RG"}`); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := names(`{"targetSubnet":{"id":"` + vnet + `/subnets/a"}}`); !slices.Equal(got, want[1:4]) {
		t.Errorf("%q", got)
	}
	if got := names(`{"targetResourceGroupName":"nothing"}`); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
