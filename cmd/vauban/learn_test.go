package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/fabric"
	"vauban.dev/rulegen"
)

func TestPrintLearned(t *testing.T) {
	d := func(addr string, port uint16, names ...string) rulegen.Destination {
		return rulegen.Destination{Addr: netip.MustParseAddr(addr), Protocol: fabric.TCP, Port: port, Names: names, Flows: 2}
	}
	first := d("20.150.1.9", 443, "a.blob.core.windows.net", "b.blob.core.windows.net")
	first.Processes = []string{"python3 train.py"}
	var b strings.Builder
	first.UnknownProcess = 1
	err := printLearned(&b, learned{Subnet: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/hub/subnets/training", Destinations: []rulegen.Learned{
		{Destination: first, Tag: "Storage.WestEurope", Rule: "AllowStorage"},
		{Destination: d("203.0.113.9", 81), Why: "nothing came back"},
	}})
	want := `From hub/training
DESTINATION         TAG                 FLOWS  NAMES                                            PROCESSES                            RULE
Tcp 20.150.1.9:443  Storage.WestEurope  2      a.blob.core.windows.net b.blob.core.windows.net  python3 train.py, unknown (1 flows)  AllowStorage
Tcp 203.0.113.9:81  -                   2      -                                                -                                    none: nothing came back
`
	if diff := cmp.Diff(want, b.String()); diff != "" || err != nil {
		t.Error(diff, err)
	}
}
