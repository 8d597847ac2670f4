package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// azureDNS is where Azure's resolver answers in every virtual network.
const azureDNS = "168.63.129.16"

// serveNames is a user's own DNS server, as "How to use your workspace with a custom DNS server" has one.
func serveNames(zone, addr string) error {
	own, err := ownAddress()
	if err != nil {
		return err
	}
	at := net.JoinHostPort(own.String(), "53")
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		name := q.Question[0].Name
		from, _, _ := net.SplitHostPort(w.RemoteAddr().String())
		fmt.Printf("%s from %s\n", name, from)
		if dns.IsSubDomain(dns.Fqdn(zone), name) {
			m := new(dns.Msg).SetReply(q)
			if rr, err := dns.NewRR(name + " 5 IN A " + addr); err == nil && q.Question[0].Qtype == dns.TypeA {
				m.Answer = append(m.Answer, rr)
			}
			w.WriteMsg(m)
			return
		}
		m, err := dns.Exchange(q, azureDNS+":53")
		if err != nil {
			m = new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
		}
		w.WriteMsg(m)
	})
	failed := make(chan error, 2)
	for _, network := range []string{"udp4", "tcp4"} {
		started := make(chan struct{})
		s := &dns.Server{Addr: at, Net: network, Handler: handle, NotifyStartedFunc: func() { close(started) }}
		go func() { failed <- s.ListenAndServe() }()
		select {
		case <-started:
		case err := <-failed:
			return err
		}
	}
	fmt.Println(at)
	go func() { io.Copy(io.Discard, os.Stdin); failed <- nil }()
	return <-failed
}

// askName asks for A.
func askName(server, name string) (string, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	m, _, err := (&dns.Client{Timeout: 8 * time.Second}).Exchange(q, net.JoinHostPort(server, "53"))
	if err != nil {
		return outcome(err)
	}
	var addrs []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			addrs = append(addrs, a.A.String())
		}
	}
	if len(addrs) == 0 {
		return dns.RcodeToString[m.Rcode], nil
	}
	return strings.Join(addrs, " "), nil
}

// nameServer is `probe dns` at a place.
type nameServer struct {
	*exec.Cmd
	addr  string
	lines *bufio.Scanner
	stdin io.Closer
}

func (g *ground) nameServer(place, zone, addr string) *nameServer {
	g.t.Helper()
	s := &nameServer{Cmd: g.at(place, "probe", "dns", zone, addr)}
	var err error
	if s.stdin, err = s.StdinPipe(); err != nil {
		g.t.Fatal(err)
	}
	s.lines = g.start(s.Cmd)
	if !s.lines.Scan() {
		g.t.Fatalf("no DNS server at %s", place)
	}
	s.addr, _, _ = strings.Cut(s.lines.Text(), ":")
	return s
}

// heard returns who asked the server for the name, of all that it was asked since.
func (s *nameServer) heard(t testing.TB, name string) string {
	t.Helper()
	for s.lines.Scan() {
		if asked, from, _ := strings.Cut(s.lines.Text(), " from "); asked == dns.Fqdn(name) {
			return from
		}
	}
	t.Fatalf("nobody asked for %s", name)
	return ""
}

// resolved is what the place's own resolver says, through the files that `exec` gives it.
func (g *ground) resolved(place, name string) string {
	out, _ := g.output(g.at(place, "getent", "ahostsv4", name)) // no output: no such name
	if f := strings.Fields(out); len(f) > 0 {
		return f[0]
	}
	return ""
}

func (g *ground) asked(place, server, name string) string {
	g.t.Helper()
	out, err := g.output(g.at(place, "probe", "ask", server, name))
	if err != nil {
		g.t.Errorf("ask %s for %s at %s: %v %s", server, name, place, err, out)
	}
	return strings.TrimSpace(out)
}

// TestOwnNames: a virtual network with a DNS server of the user's own, then with Azure's private resolver: who
// answers, who is asked by whom, and what security groups say to it.
func TestOwnNames(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	group := "/subscriptions/" + g.sub + "/resourceGroups/names"
	network := group + "/providers/Microsoft.Network/"
	g.put(group, vResources, obj{"location": location})
	nsg, vnet := network+"networkSecurityGroups/servers", network+"virtualNetworks/own"
	g.put(nsg, vNetwork, obj{"location": location})
	delegated := []obj{{"name": "d", "properties": obj{"serviceName": "Microsoft.Network/dnsResolvers"}}}
	body := func(servers ...string) obj {
		return obj{"location": location, "properties": obj{
			"addressSpace": obj{"addressPrefixes": []string{"10.40.0.0/16"}}, "dhcpOptions": obj{"dnsServers": append([]string{}, servers...)},
			"subnets": []obj{
				{"name": "clients", "properties": obj{"addressPrefix": "10.40.1.0/24"}},
				{"name": "servers", "properties": obj{"addressPrefix": "10.40.2.0/24", "networkSecurityGroup": obj{"id": nsg}}},
				{"name": "in", "properties": obj{"addressPrefix": "10.40.3.0/28", "delegations": delegated}},
				{"name": "out", "properties": obj{"addressPrefix": "10.40.4.0/28", "delegations": delegated}},
			}}}
	}
	const zone, answer, management = "onprem.test", "192.168.99.1", "management.azure.com"
	clients := "own/clients"
	g.put(vnet, vNetwork, body())
	public := g.resolved(clients, management)
	if public == "" {
		t.Fatal("no name resolves")
	}
	server := g.nameServer("own/servers", zone, answer)
	if got := g.resolved(clients, "www."+zone); got != "" {
		t.Errorf("%s is %q without the server", zone, got)
	}

	g.put(vnet, vNetwork, body(server.addr))
	out, err := g.output(g.at(clients, "cat", "/etc/resolv.conf"))
	if want := "nameserver " + server.addr + "\nsearch reddog.microsoft.com\n"; err != nil || out != want {
		t.Errorf("resolv.conf is %q %v, want %q", out, err, want)
	}
	if got := g.resolved(clients, "www."+zone); got != answer {
		t.Errorf("the server's own name is %q", got)
	}
	if got := g.resolved(clients, management); got != public {
		t.Errorf("a name that it forwards is %q, want %q", got, public)
	}
	if from := server.heard(t, management); !strings.HasPrefix(from, "10.40.1.") {
		t.Errorf("the server heard %s", from)
	}
	if got := g.asked(clients, azureDNS, management); got != public {
		t.Errorf("Azure's resolver beside a custom one says %q", got)
	}
	e := g.explainLive("--from", clients, "--to", management+":443")
	if e.Allowed || e.Refused != "name" || !e.Live.Agrees || e.Live.Outcome == "no name" {
		t.Errorf("explain: %+v", e)
	}
	g.put(nsg, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{rule("NoNames", 100, "Inbound", "Deny", "*", "10.40.1.0/24", "*", "53")}}})
	if got := g.asked(clients, server.addr, "www."+zone); got != "dropped" {
		t.Errorf("a closed server answers %q", got)
	}
	if got := g.asked(clients, azureDNS, management); got != public {
		t.Errorf("Azure's resolver beside a closed one says %q", got)
	}

	// Azure's private resolver sends the zone to the server, which its network alone may ask.
	g.put(vnet, vNetwork, body())
	resolver, ruleset := network+"dnsResolvers/r", network+"dnsForwardingRulesets/rs"
	const vResolver = "2022-07-01"
	subnet := func(name string) obj { return obj{"id": vnet + "/subnets/" + name} }
	g.put(resolver, vResolver, obj{"location": location, "properties": obj{"virtualNetwork": obj{"id": vnet}}})
	in := g.put(resolver+"/inboundEndpoints/in", vResolver, obj{"location": location, "properties": obj{"ipConfigurations": []obj{{"subnet": subnet("in")}}}})
	g.put(resolver+"/outboundEndpoints/out", vResolver, obj{"location": location, "properties": obj{"subnet": subnet("out")}})
	g.put(ruleset, vResolver, obj{"location": location, "properties": obj{"dnsResolverOutboundEndpoints": []obj{{"id": resolver + "/outboundEndpoints/out"}}}})
	g.put(ruleset+"/forwardingRules/onprem", vResolver, obj{"properties": obj{"domainName": zone + ".", "targetDnsServers": []obj{{"ipAddress": server.addr}}}})
	g.put(ruleset+"/virtualNetworkLinks/own", vResolver, obj{"properties": obj{"virtualNetwork": obj{"id": vnet}}})
	inbound := property(in, "properties.ipConfigurations").([]any)[0].(obj)["privateIpAddress"].(string)
	g.standing("own/clients")
	for _, at := range []string{azureDNS, inbound} {
		if got := g.asked(clients, at, "db."+zone); got != answer {
			t.Errorf("%s says %q of a forwarded name", at, got)
		}
		if from := server.heard(t, "db."+zone); !strings.HasPrefix(from, "10.40.4.") {
			t.Errorf("the server was asked by %s", from)
		}
		if got := g.asked(clients, at, management); got != public {
			t.Errorf("%s says %q of a public name", at, got)
		}
	}
	if got := g.resolved(clients, "db."+zone); got != answer {
		t.Errorf("a forwarded name is %q", got)
	}
	// A network whose DNS server is the inbound endpoint.
	g.put(vnet, vNetwork, body(inbound))
	if got := g.resolved(clients, management); got != public {
		t.Errorf("by the inbound endpoint %s is %q", management, got)
	}
	if e := g.explainLive("--from", clients, "--to", management+":443"); !e.Live.Agrees || e.Refused == "name" {
		t.Errorf("explain by the inbound endpoint: %+v", e)
	}
	// A peered network whose DNS server it is too: the hub answers for it, and its server is asked by the endpoint only.
	spoke := network + "virtualNetworks/spoke"
	g.put(spoke, vNetwork, obj{"location": location, "properties": obj{"addressSpace": obj{"addressPrefixes": []string{"10.41.0.0/16"}},
		"dhcpOptions": obj{"dnsServers": []string{inbound}}, "subnets": []obj{{"name": "s", "properties": obj{"addressPrefix": "10.41.1.0/24"}}}}})
	if got := g.asked("spoke/s", inbound, "db."+zone); got != "dropped" {
		t.Errorf("a network that is not peered gets %q", got)
	}
	for from, to := range map[string]string{vnet: spoke, spoke: vnet} {
		a := g.send(request{Method: http.MethodPut, URL: from + "/virtualNetworkPeerings/p?api-version=" + vNetwork,
			Body: jsonBody(obj{"properties": obj{"remoteVirtualNetwork": obj{"id": to}, "allowVirtualNetworkAccess": true}})})
		if !a.ok() {
			t.Fatalf("peering: %s", a)
		}
		g.settled(from+"/virtualNetworkPeerings/p", vNetwork)
	}
	if got := g.resolved("spoke/s", "db."+zone); got != answer {
		t.Errorf("by the hub's inbound endpoint a forwarded name is %q", got)
	}
	// Machines are registered in the zone of their network, and found by address.
	registered := network + "privateDnsZones/machines.test"
	g.put(registered, vDNS, obj{"location": "global"})
	g.put(registered+"/virtualNetworkLinks/own", vDNS, obj{"location": "global", "properties": obj{"virtualNetwork": obj{"id": vnet}, "registrationEnabled": true}})
	nic := g.put(network+"networkInterfaces/jump", vNetwork, obj{"location": location, "properties": obj{"dnsSettings": obj{"internalDnsNameLabel": "jump"},
		"ipConfigurations": []obj{{"name": "c", "properties": obj{"subnet": subnet("clients")}}}}})
	jump := property(nic, "properties.ipConfigurations").([]any)[0].(obj)["properties"].(obj)["privateIPAddress"].(string)
	for _, name := range []string{"jump.machines.test", g.text(nic, "properties.dnsSettings.internalFqdn")} {
		if got := g.resolved(clients, name); got != jump {
			t.Errorf("%s is %q, want %q", name, got, jump)
		}
	}
	if out, err := g.output(g.at(clients, "getent", "hosts", jump)); err != nil || !strings.Contains(out, "jump.machines.test") {
		t.Errorf("%s is %q %v", jump, out, err)
	}
	g.gone(network+"networkInterfaces/jump", vNetwork)
	if got := g.resolved(clients, "jump.machines.test"); got != "" {
		t.Errorf("a machine that is gone is %q", got)
	}

	// The server of the region ends and starts again: endpoints answer, and ask, as before.
	g.kill()
	g.up()
	if got := g.resolved("spoke/s", "again."+zone); got != answer {
		t.Errorf("after a restart a forwarded name is %q", got)
	}
	if from := server.heard(t, "again."+zone); !strings.HasPrefix(from, "10.40.4.") {
		t.Errorf("after a restart the server was asked by %s", from)
	}
	g.put(ruleset+"/forwardingRules/loop", vResolver, obj{"properties": obj{"domainName": "loop.test.", "targetDnsServers": []obj{{"ipAddress": inbound}}}})
	if got := g.asked(clients, azureDNS, "x.loop.test"); got != "SERVFAIL" {
		t.Errorf("a loop ends in %q", got)
	}
}

// TestDoctor: a healthy region has no findings; a fault is found where it is, and gone when it is mended.
func TestDoctor(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	w.services("Disabled")
	w.endpoints()
	examine := func(args ...string) (codes []string) {
		t.Helper()
		out, err := g.output(g.command(append([]string{"dns", "doctor", "--json"}, args...)...))
		var report struct {
			Findings []struct{ Code, Where, Name, Today string }
		}
		if jsonErr := json.Unmarshal([]byte(out), &report); jsonErr != nil {
			t.Fatalf("%v %v: %s", err, jsonErr, out)
		}
		if code := exitCode(err); code != min(len(report.Findings), 1) {
			t.Errorf("exit status %d with %d findings", code, len(report.Findings))
		}
		for _, f := range report.Findings {
			codes = append(codes, f.Code+" "+f.Where[strings.LastIndexByte(f.Where, '/')+1:]+" "+f.Name+" is "+f.Today)
		}
		return codes
	}
	if got := examine(); len(got) != 1 || !strings.HasPrefix(got[0], "ZoneMissing pe-work ml-") || !strings.HasSuffix(got[0], "(public)") {
		t.Errorf("a workspace without the zone of its notebooks: %q", got)
	}
	w.endpoint("pe-work", w.workspace, "amlworkspace", "privatelink.api.azureml.ms", "privatelink.notebooks.azure.net")
	if got := examine(); len(got) != 0 {
		t.Fatalf("a healthy region: %q", got)
	}
	zone := w.group + "/providers/Microsoft.Network/privateDnsZones/privatelink.blob.core.windows.net"
	link := zone + "/virtualNetworkLinks/other"
	other := path.Dir(w.vnet) + "/other"
	for from, to := range map[string]string{w.vnet: other, other: w.vnet} {
		a := w.send(request{Method: http.MethodPut, URL: from + "/virtualNetworkPeerings/p?api-version=" + vNetwork, // Initiated until the other side is there
			Body: jsonBody(obj{"properties": obj{"remoteVirtualNetwork": obj{"id": to}, "allowVirtualNetworkAccess": true}})})
		if !a.ok() {
			t.Fatalf("peering: %s", a)
		}
		w.settled(from+"/virtualNetworkPeerings/p", vNetwork)
	}
	peered := examine("--vnet", "other")
	for _, f := range peered {
		if !strings.HasPrefix(f, "PeerUnlinked privatelink.") || !strings.HasSuffix(f, "(public)") {
			t.Errorf("of the peer: %q", f)
		}
	}
	if len(peered) == 0 {
		t.Error("nothing is wrong with a peer that is not linked")
	}
	w.put(link, vDNS, obj{"location": "global", "properties": obj{"virtualNetwork": obj{"id": other}, "registrationEnabled": false}})
	if got := examine("--vnet", "other"); len(got) != len(peered)-1 {
		t.Errorf("after linking one zone: %q, before: %q", got, peered)
	}
	for _, from := range []string{w.vnet, other} {
		w.gone(from+"/virtualNetworkPeerings/p", vNetwork)
	}
	w.gone(link, vDNS)
	set := zone + "/A/" + accountName
	g.gone(set, vDNS)
	if got := examine("--vnet", "hub"); len(got) != 1 || got[0] != "RecordMissing privatelink.blob.core.windows.net "+blobHost+" is NXDOMAIN" {
		t.Errorf("without the record: %q", got)
	}
	if got := examine("--vnet", "other"); len(got) != 0 {
		t.Errorf("of a network apart: %q", got)
	}
	if got := g.resolved("hub/jumpbox", blobHost); got != "" {
		t.Errorf("%s is %q at a place, and the doctor says NXDOMAIN", blobHost, got)
	}
	g.put(set, vDNS, obj{"properties": obj{"ttl": 10, "aRecords": []obj{{"ipv4Address": "10.20.0.250"}}}})
	if got := examine(); len(got) != 1 || !strings.HasPrefix(got[0], "RecordStale "+accountName) {
		t.Errorf("with a wrong record: %q", got)
	}
	if out, err := g.output(g.command("dns", "doctor")); exitCode(err) != 1 || !strings.Contains(out, "$ az network private-dns record-set a add-record") {
		t.Errorf("for people: %v %s", err, out)
	}
}
