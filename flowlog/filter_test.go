package flowlog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric"
)

func TestFilter(t *testing.T) {
	web := event(Begin, "10.0.1.4:1000", "8.8.8.8:443")
	ended := event(End, "10.0.1.4:1000", "8.8.8.8:443")
	dns := event(Begin, "10.0.1.4:1001", "9.9.9.9:53")
	dns.Protocol = fabric.UDP
	denied := event(Deny, "203.0.113.9:1002", "10.0.1.5:22")
	denied.Denied = fabric.RuleRef{Owner: nsg, Direction: fabric.Inbound, Rule: "DenyAllInBound"}
	all := map[string]Event{"web": web, "ended": ended, "dns": dns, "denied": denied}
	for _, c := range []struct{ criteria, types, want string }{
		{"", "", "denied dns ended web"},
		{"srcIP=158.255.7.8 || dstPort=443", "", "ended web"},
		{"DSTIP = 8.8.8.0/24", "", "ended web"},
		{"dstIP!=8.8.8.8,9.9.9.9", "", "denied"},
		{"srcPort=1001-2000", "", "denied dns"},
		{"Direction=inbound", "", "denied"},
		{"protocol=udp,icmp", "", "dns"},
		{"Action=Deny || dstPort=53 && protocol=TCP", "", "denied"},
		{"dstPort=53 && protocol=TCP || RecordTypes=E", "", "ended"},
		{"Encryption=NX_ALL", "", "denied dns ended web"},
		{"Encryption=X", "", ""},
		{"", "b, D", "denied dns web"},
		{"dstPort=443", "B", "web"},
	} {
		f, err := ParseFilter(c.criteria)
		if err != nil {
			t.Fatal(c, err)
		}
		if err := f.RecordTypes(c.types); err != nil {
			t.Fatal(c, err)
		}
		n := network(vnet)
		n.Logs[0].Filter = f
		var got []string
		for _, name := range []string{"denied", "dns", "ended", "web"} {
			var col Collector
			col.Add(n, all[name])
			if len(taken(t, &col)) > 0 {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q, %q: %s", c.criteria, c.types, diff)
		}
	}
}

func TestFilterRefused(t *testing.T) {
	for criteria, want := range map[string]string{
		"srcIP":                     "no condition",
		"srcIP=":                    "neither an address",
		"srcIP=1.1.1.1 ||":          "no condition",
		"srcIP==1.1.1.1":            "neither an address",
		"source=1.1.1.1":            "none of the fields",
		"dstPort=70000":             "neither a port",
		"dstPort=90-80":             "neither a port",
		"(dstPort=80)":              "brackets",
		"Protocol=GRE":              "none of TCP",
		"Direction=up":              "none of Inbound",
		"Action=Maybe":              "none of Allow",
		"RecordTypes=X":             "record types",
		"Encryption=yes":            "no state of encryption",
		strings.Repeat("a", 1001):   "at most 1000",
		"srcIP=fe80::1%eth0":        "neither an address",
		"dstPort=80 && Protocol=17": "none of TCP",
	} {
		if _, err := ParseFilter(criteria); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", criteria, err, want)
		}
	}
	if err := new(Filter).RecordTypes("B,,E"); err == nil {
		t.Error("an empty record type was taken")
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add("srcIP=158.255.7.8 || dstPort=56891 && Direction!=Inbound", "B,E")
	e := event(Begin, "10.0.1.4:1000", "8.8.8.8:443")
	f.Fuzz(func(t *testing.T, criteria, types string) {
		filter, err := ParseFilter(criteria)
		if err != nil || filter.RecordTypes(types) != nil {
			return
		}
		filter.takes(&seen{src: e.Src, dst: e.Dst, protocol: e.Protocol, state: e.State})
	})
}

func BenchmarkFilter(b *testing.B) {
	f, err := ParseFilter("srcIP=158.255.7.8 || dstPort=80,443,8000-9000 && Direction=Outbound")
	if err != nil {
		b.Fatal(err)
	}
	e := event(Begin, "10.0.1.4:1000", "8.8.8.8:443")
	s := &seen{src: e.Src, dst: e.Dst, protocol: e.Protocol, state: e.State, direction: fabric.Outbound}
	for b.Loop() {
		f.takes(s)
	}
}
