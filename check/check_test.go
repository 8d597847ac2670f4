package check

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/explain"
	"vauban.dev/reach"
)

const good = `# who reaches what
version: 1
tests:
  - name: training stays inside
    from: [hub/training, "node:cpu"]
    to: www.example.com:443
    expect: deny
    by: nsg-training/DenyInternet

  - from: internet
    to: [a.blob.core.windows.net:443, b.vault.azure.net:443]
    as: my-app
    expect: deny
    by: service
  - {from: hub/jumpbox, to: 10.0.0.4, protocol: icmp, expect: allow}
`

func TestRead(t *testing.T) {
	f, err := Read(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range f.Cases() {
		got = append(got, strings.Join([]string{c.Name, c.From, c.To, c.Protocol, c.As, c.Expect, c.By}, "|"))
	}
	want := []string{
		"training stays inside|hub/training|www.example.com:443|tcp||deny|nsg-training/DenyInternet",
		"training stays inside|node:cpu|www.example.com:443|tcp||deny|nsg-training/DenyInternet",
		"internet to a.blob.core.windows.net:443, b.vault.azure.net:443|internet|a.blob.core.windows.net:443|tcp|my-app|deny|service",
		"internet to a.blob.core.windows.net:443, b.vault.azure.net:443|internet|b.vault.azure.net:443|tcp|my-app|deny|service",
		"hub/jumpbox to 10.0.0.4|hub/jumpbox|10.0.0.4|icmp||allow|",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, line := range []int{4, 10, 15} {
		if f.Tests[i].Line != line {
			t.Errorf("test %d begins at line %d, want %d", i, f.Tests[i].Line, line)
		}
	}
}

func TestBadInputNamesItsLine(t *testing.T) {
	test := func(s string) string { return "version: 1\ntests:\n" + s }
	for text, want := range map[string]string{
		"":                                      "line 1: it is empty",
		"version: 2":                            "version: 1 is written here",
		"version: 1":                            "there are no tests",
		"version: 1\ntets: []":                  "line 2: unknown field",
		"version: [":                            "line 1: ",
		test("  - from: a/b\n    expect: deny"): "line 3: test \"a/b to \" needs from and to",
		test("  - from: a/b\n    to: x:1\n    expect: no"):                                             "line 3: test \"a/b to x:1\": expect: \"no\"",
		test("  - {from: a/b, to: 'x:1', expect: deny}\n  - from: hub\n    to: x:1\n    expect: deny"): "line 4: test \"hub to x:1\": from: \"hub\"",
		test("  - from: a/b\n    to: x\n    expect: deny"):                                             "line 3: test \"a/b to x\": to: \"x\": write HOST:PORT",
		test("  - from: a/b\n    to: x:70000\n    expect: deny"):                                       "write HOST:PORT",
		test("  - from: a/b\n    to: x:1\n    protocol: icmp\n    expect: deny"):                       "ICMP has no ports",
		test("  - from: a/b\n    to: x:1\n    protocol: sctp\n    expect: deny"):                       "protocol \"sctp\"",
		test("  - from: a/b\n    to: x:1\n    expect: allow\n    by: x/y"):                             "by goes with expect: deny",
		test("  - from: a/b\n    to: x:1\n    expect: deny\n    port: 7"):                              "line 6: unknown field",
		test("  - from: {a: b}\n    to: x:1\n    expect: deny"):                                        "line 3: a text or a list",
		test("  - from: a/b\n    to: [x:1, [y:1]]\n    expect: deny"):                                  "line 4: a text or a list",
	} {
		_, err := Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Read(strings.NewReader(strings.Repeat("#", maxFile+1))); err == nil {
		t.Error("a file without end is read")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("version: 1\ntests: [{from: a/b, to: [x:1, &a y:2, *a], expect: deny}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, c := range file.Cases() {
			if c.From == "" && c.Expect == "" {
				t.Errorf("%q gives %+v", data, c)
			}
		}
	})
}

func results() *Report {
	rule := &reach.Rule{Owner: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nsg", Direction: "Outbound", Name: "Deny"}
	denied := &explain.Answer{Refused: explain.ByNetwork, Rule: rule, By: "rule", Fixes: []explain.Fix{{What: "open it", Commands: []string{"az x"}}}}
	allowed := &explain.Answer{Allowed: true, Destination: "NIC n"}
	service := &explain.Answer{Refused: explain.ByService, By: "the service's firewall: publicNetworkAccess is Disabled"}
	lying := &explain.Answer{Allowed: true, Live: &explain.Live{Why: "dropped"}}
	c := func(expect, by string, line int) Case {
		return Case{&Test{Name: "t", Protocol: "tcp", Expect: expect, By: by, Line: line}, "a/b", "x:1"}
	}
	r := &Report{Version: Version, File: "reach.yaml"}
	for i, x := range []Result{
		Judge(c("deny", "", 1), denied, nil), Judge(c("deny", "nsg/Deny", 2), denied, nil), Judge(c("deny", "network", 3), denied, nil),
		Judge(c("deny", "service", 4), service, nil), Judge(c("deny", "is Disabled", 5), service, nil), Judge(c("allow", "", 6), allowed, nil),
		Judge(c("allow", "", 7), denied, nil), Judge(c("deny", "", 8), allowed, nil), Judge(c("deny", "nsg/Other", 9), denied, nil),
		Judge(c("allow", "", 10), lying, nil), Judge(c("allow", "", 11), nil, errors.New("no such place\x07")),
	} {
		x.To = "x:" + string(rune('1'+i))
		r.Results = append(r.Results, x)
	}
	return r
}

func TestJudge(t *testing.T) {
	r := results()
	want := []string{"", "", "", "", "", "", "it is denied by nsg/Deny", "it is allowed, and reaches NIC n", "it is denied by nsg/Deny, not by nsg/Other",
		"the packet does not do what the model says: dropped", "no such place\x07"}
	for i, x := range r.Results {
		if x.Why != want[i] || x.Passed != (want[i] == "") {
			t.Errorf("%d: passed %v, %q, want %q", i+1, x.Passed, x.Why, want[i])
		}
	}
	if r.Failed() != 5 {
		t.Errorf("%d failed", r.Failed())
	}
}

func TestFormats(t *testing.T) {
	r := results()
	var text, junit, sarif strings.Builder
	if err := errors.Join(r.Print(&text), r.JUnit(&junit), r.SARIF(&sarif, "1.0")); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"✓ t: TCP from a/b to x:1\n", "✗ t: TCP from a/b to x:7\n    reach.yaml:7: allow expected; it is denied by nsg/Deny\n    open it\n      az x\n", "6 of 11 passed\n"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("%q is not in\n%s", part, text.String())
		}
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Line    int `xml:"line,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal([]byte(junit.String()), &suite); err != nil {
		t.Fatalf("%v in\n%s", err, junit.String())
	}
	if suite.Tests != 11 || suite.Failures != 5 || suite.Cases[5].Failure != nil || suite.Cases[6].Failure.Message != "allow expected; it is denied by nsg/Deny" || suite.Cases[6].Line != 7 {
		t.Errorf("%+v", suite)
	}
	var log struct {
		Version string
		Runs    []struct {
			Results []struct {
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(sarif.String()), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs[0].Results) != 5 || log.Runs[0].Results[0].Locations[0].PhysicalLocation.Region.StartLine != 7 ||
		log.Runs[0].Results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI != "reach.yaml" {
		t.Errorf("%+v", log)
	}
}

func TestDiff(t *testing.T) {
	base, now := results(), results()
	b, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	if base, err = ReadReport(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if d := Diff(base, now); len(d) != 0 {
		t.Errorf("%v", d)
	}
	now.Results[0].Verdict, now.Results[0].By = "allow", ""
	now.Results[1].By = "nsg/Other"
	base.Results = append(base.Results[:4], base.Results[5:]...)
	now.Results = now.Results[:10]
	var out strings.Builder
	if err := PrintDiff(&out, Diff(base, now)); err != nil {
		t.Fatal(err)
	}
	want := `4 connections differ from the base
~ TCP from a/b to x:1: allow, was deny by nsg/Deny
~ TCP from a/b to x:2: deny by nsg/Other, was deny by nsg/Deny
+ TCP from a/b to x:5: deny by service: the service's firewall: publicNetworkAccess is Disabled
- TCP from a/b to x:;: not answered
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "{}", `[1]`} {
		if _, err := ReadReport(strings.NewReader(text)); err == nil {
			t.Errorf("%q is a report", text)
		}
	}
}
