package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"vauban.dev/region"
)

// methodCounters of the control socket: how many packets each rule has met.
const methodCounters = "counters"

// explained is what `vauban explain --json` says.
type explained struct {
	Allowed bool     `json:"allowed"`
	By      string   `json:"by"`
	Rule    *ruleRef `json:"rule"`
}

type ruleRef struct {
	Owner     string `json:"owner"`
	Direction string `json:"direction"`
	Rule      string `json:"rule"`
}

func (r ruleRef) String() string { return r.Owner + " " + r.Direction + " " + r.Rule }

// explain asks what would become of a connection; its exit status says whether it is allowed.
func (g *ground) explain(from, protocol, to string) (e explained) {
	g.t.Helper()
	args := []string{"explain", "--json", "--from", from, "--to", to}
	if protocol != "tcp" {
		args = append(args, "--"+protocol)
	}
	out, err := g.output(g.command(args...))
	if jsonErr := json.Unmarshal([]byte(out), &e); jsonErr != nil {
		g.t.Fatalf("%v: %v %s", args, err, out)
	}
	if code := exitCode(err); code != map[bool]int{true: 0, false: 1}[e.Allowed] {
		g.t.Errorf("%v: exit status %d: %s", args, code, out)
	}
	return e
}

// counters of every rule that met a packet.
func (g *ground) counters() map[ruleRef]uint64 {
	g.t.Helper()
	var list []struct {
		ruleRef
		Packets uint64
	}
	g.call(methodCounters, nil, &list)
	out := map[ruleRef]uint64{}
	for _, c := range list {
		out[c.ruleRef] = c.Packets
	}
	return out
}

func placeOf(name string) region.PlaceParams {
	if node, ok := strings.CutPrefix(name, "node:"); ok {
		return region.PlaceParams{Node: node}
	}
	if name == "internet" {
		return region.PlaceParams{From: name}
	}
	return region.PlaceParams{Subnet: name}
}

// service is `probe serve` at a place.
type service struct {
	*exec.Cmd
	addr  string // its address at the place
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// serve starts an echo server at a place; it ends with the test.
func (g *ground) serve(place string) *service {
	g.t.Helper()
	s := &service{Cmd: g.at(place, "probe", "serve")}
	var err error
	if s.stdin, err = s.StdinPipe(); err != nil {
		g.t.Fatal(err)
	}
	s.lines = g.start(s.Cmd)
	if !s.lines.Scan() {
		g.t.Fatalf("no echo server at %s", place)
	}
	s.addr = s.lines.Text()
	return s
}

func (s *service) host() string { host, _, _ := strings.Cut(s.addr, ":"); return host }

// standing waits until the interface of a place carries packets: that of a new one comes up soon after, and
// what is sent before is lost without a trace.
func (g *ground) standing(place string) {
	g.t.Helper()
	g.eventually("the interface at "+place+" is up", func() bool {
		out, err := g.output(g.at(place, "ip", "-o", "link", "show", "dev", "eth0"))
		return err == nil && strings.Contains(out, "state UP")
	})
}

// reaches makes a connection from a place and checks what comes of it: answered, refused or dropped.
func (g *ground) reaches(place, protocol, addr, want string) {
	g.t.Helper()
	g.standing(place)
	ground := g
	if want == "dropped" {
		ground = g.with(g.t, "PROBE_WAIT=300ms")
	}
	if out, err := g.output(ground.at(place, "probe", protocol, addr)); err != nil || strings.TrimSpace(out) != want {
		g.t.Errorf("%s %s from %s: %q %v, want %s", protocol, addr, place, out, err, want)
	}
}

// inside is a program with the region's own powers in the network of a place: what an attacker would have who
// broke out of everything but the network.
func (g *ground) inside(place string, argv ...string) *exec.Cmd {
	g.t.Helper()
	var p region.PlaceResult
	g.call(region.MethodPlace, placeOf(place), &p)
	holder := strconv.Itoa(g.status().Holder)
	args := append([]string{"-t", holder, "-U", "-m", "-p", "--preserve-credentials", "--", "ip", "netns", "exec", p.NetNS}, argv...)
	cmd := exec.Command("nsenter", args...)
	cmd.Env = g.command().Env
	if g.user != nil {
		cmd.SysProcAttr = g.at(place, "true").SysProcAttr
	}
	return cmd
}

// TestPackets: the kernel does what the model says, and its counters say why.
func TestPackets(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.network()
	nsg := w.group + "/providers/Microsoft.Network/networkSecurityGroups/"
	w.put(nsg+"services", vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{
		rule("AllowPing", 100, "Inbound", "Allow", "Icmp", "10.20.2.0/24", "*", "*"),
		rule("DenyPing", 110, "Inbound", "Deny", "Icmp", "*", "*", "*"),
		rule("DenyJumpboxUdp", 120, "Inbound", "Deny", "Udp", "10.20.2.0/24", "*", "*"),
		rule("DenyTrainingTcp", 130, "Inbound", "Deny", "Tcp", "10.20.1.0/24", "*", "*"),
	}}})
	w.put(w.vnet+"/subnets/services", vNetwork, obj{"properties": obj{"addressPrefix": "10.20.9.0/24", "networkSecurityGroup": obj{"id": nsg + "services"}, "defaultOutboundAccess": true}})
	local, foreign := g.serve("hub/services"), g.serve("other/default")
	const stranger = "198.51.100.80"

	for _, c := range []struct {
		from, protocol, to string
		want               string // rule that drops, "" if the packet passes
	}{
		{"internet", "tcp", stranger + ":443", ""},
		{"other/default", "tcp", stranger + ":443", ""},    // no group: Azure lets it out
		{"other/default", "icmp", stranger, "no-outbound"}, // default outbound access has no ICMP
		{"hub/training", "tcp", stranger + ":443", "DenyInternet"},
		{"hub/training", "udp", stranger + ":53", "DenyInternet"},
		{"hub/training", "icmp", stranger, "DenyInternet"},
		{"hub/jumpbox", "tcp", stranger + ":443", "DenyInternet"},
		{"hub/jumpbox", "tcp", local.addr, ""},
		{"hub/jumpbox", "udp", local.addr, "DenyJumpboxUdp"},
		{"hub/jumpbox", "icmp", local.host(), ""},
		{"hub/training", "tcp", local.addr, "DenyTrainingTcp"},
		{"hub/training", "udp", local.addr, ""},
		{"hub/training", "icmp", local.host(), "DenyPing"},
		{"other/default", "tcp", local.addr, "*"},
		{"other/default", "udp", local.addr, "*"},
		{"other/default", "icmp", local.host(), "*"},
		{"hub/training", "tcp", foreign.addr, "*"},
		{"hub/services", "tcp", foreign.addr, "*"},
		{"internet", "tcp", local.addr, "*"},
		{"internet", "tcp", foreign.addr, "*"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", c.from, c.protocol, c.to), func(t *testing.T) {
			g := g.with(t)
			if c.want != "" {
				g = g.with(t, "PROBE_WAIT=300ms")
			}
			host, _, _ := strings.Cut(c.to, ":")
			e := g.explain(c.from, c.protocol, c.to)
			g.standing(c.from)
			if e.Allowed != (c.want == "") {
				t.Fatalf("explain says %+v, want %q", e, c.want)
			}
			if c.want != "" && e.Rule == nil || c.want != "" && c.want != "*" && e.Rule.Rule != c.want {
				t.Fatalf("explain names %v, want %s", e.Rule, c.want)
			}
			before := g.counters()
			var said string
			var err error
			if c.protocol == "icmp" {
				src, err := g.output(g.at(c.from, "probe", "address"))
				if err != nil {
					t.Fatal(err)
				}
				said, err = g.output(g.inside(c.from, bin+"/probe", "ping", strings.TrimSpace(src), host))
				if err != nil {
					t.Fatal(err)
				}
			} else if said, err = g.output(g.at(c.from, "probe", c.protocol, c.to)); err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{true: "answered", false: "dropped"}[c.want == ""]
			if said = strings.TrimSpace(said); said != want {
				t.Errorf("the connection was %s; explain: %+v", said, e)
			}
			if e.Rule == nil {
				return
			}
			after := g.counters()
			if was, is := before[*e.Rule], after[*e.Rule]; is <= was {
				t.Errorf("the counter of %s was %d and is %d", e.Rule, was, is)
				for r, n := range after {
					if n > before[r] {
						t.Errorf("the counter of %s rose from %d to %d", r, before[r], n)
					}
				}
			}
		})
	}
}

// TestSpoofing: no program at a place can send from another address than its own, and if one could, the
// network would not carry it.
func TestSpoofing(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.network()
	jumpbox, neighbour := g.serve("hub/jumpbox"), g.serve("hub/endpoints")
	training, err := g.output(g.at("hub/training", "probe", "address"))
	if err != nil {
		t.Fatal(err)
	}
	training = strings.TrimSpace(training)

	for _, argv := range [][]string{
		{"probe", "spoof", neighbour.host(), jumpbox.addr},
		{"ip", "addr", "add", neighbour.host() + "/32", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "down"},
		{"ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"},
		{"ip", "route", "add", "192.0.2.0/24", "dev", "eth0"},
		{"nft", "list", "ruleset"},
		{"sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter"},
		{"unshare", "-n", "true"},
	} {
		if out, err := g.at("hub/training", argv...).CombinedOutput(); err == nil {
			t.Errorf("%v at a place succeeded: %s", argv, out)
		}
	}

	// From here on with the region's own powers over the interface.
	marker := func() string { // an honest packet, behind all that was sent before it
		t.Helper()
		if out, err := g.output(g.at("hub/training", "probe", "udp", jumpbox.addr)); err != nil || strings.TrimSpace(out) != "answered" {
			t.Fatalf("an honest packet: %s %v", out, err)
		}
		if !jumpbox.lines.Scan() {
			t.Fatal("the server is gone")
		}
		return jumpbox.lines.Text()
	}
	for _, src := range []string{neighbour.host(), "10.20.1.77", "10.30.0.4", "203.0.113.10", "168.63.129.16", "127.0.0.1", "0.0.0.0"} {
		before := g.counters()
		if out, err := g.inside("hub/training", bin+"/probe", "spoof", src, jumpbox.addr).CombinedOutput(); err != nil && src != "127.0.0.1" {
			t.Errorf("sending from %s: %v %s", src, err, out)
			continue
		}
		if got := marker(); !strings.Contains(got, training) {
			t.Errorf("a packet from %s arrived: %s", src, got)
		}
		if src == "127.0.0.1" || src == "0.0.0.0" {
			continue // the kernel itself knows better, or gives it the right source
		}
		risen := ""
		for r, n := range g.counters() {
			if n > before[r] && r.Rule == "anti-spoof" {
				risen = r.String()
			}
		}
		if risen == "" {
			t.Errorf("from %s: no counter of anti-spoofing rose", src)
		}
	}
}
