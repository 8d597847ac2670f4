package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// report is what `vauban audit --json` says, as far as these tests read it.
type report struct {
	Items []struct {
		Level, Kind, What, Text string
		Answer                  *struct {
			Live *struct {
				Agrees bool
				Why    string
			}
		}
	}
}

// audit runs an audit; it must agree with its packets, and fail exactly if it has findings.
func (g *ground) audit(args ...string) (reports []report) {
	g.t.Helper()
	out, err := g.output(g.command(append([]string{"audit"}, append(args, "--json")...)...))
	if jsonErr := json.Unmarshal([]byte(out), &reports); jsonErr != nil {
		g.t.Fatalf("%v: %v %v %s", args, err, jsonErr, out)
	}
	findings := 0
	for _, r := range reports {
		for _, x := range r.Items {
			if x.Level == "finding" {
				findings++
			}
			if x.Answer != nil && x.Answer.Live != nil && !x.Answer.Live.Agrees {
				g.t.Errorf("audit %v: %s: %s: the packet says %s", args, x.Kind, x.What, x.Answer.Live.Why)
			}
		}
	}
	if code := exitCode(err); code != map[bool]int{true: 1, false: 0}[findings > 0] {
		g.t.Errorf("audit %v: exit status %d with %d findings", args, code, findings)
	}
	return reports
}

// found lists the findings as "kind what", of all reports.
func found(reports []report) (out []string) {
	for _, r := range reports {
		for _, x := range r.Items {
			if x.Level == "finding" {
				out = append(out, x.Kind+" "+x.What)
			}
		}
	}
	return out
}

func has(list []string, parts ...string) bool {
	for _, s := range list {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(s, p)
		}
		if all {
			return true
		}
	}
	return false
}

// TestAudits: what an audit finds is there, what is closed is not found, and packets say the same.
func TestAudits(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()

	if f := found(g.audit("exfil", "--subnet", "hub/training")); !has(f, "dns ", "resolver answers") || has(f, "internet ", "any host") {
		t.Errorf("exfil of a closed subnet: %q", f)
	}
	open := found(g.audit("exfil", "--subnet", "other/default"))
	if !has(open, "internet ", "by TCP at every port") || !has(open, "internet ", "by UDP") {
		t.Errorf("exfil of an open subnet: %q", open)
	}
	if f := found(g.audit("exfil", "--subnet", "hub/training", "--without", "dns,internet,resource,peering")); len(f) != 0 {
		t.Errorf("all left out: %q", f)
	}
	if f := found(g.audit("public")); has(f, "resource ", "e2estorage") {
		t.Errorf("public: %q", f)
	}
	if f := found(g.audit("exposure")); len(f) != 0 {
		t.Errorf("exposure: %q", f)
	}
	w.services("Enabled")
	f := found(g.audit("exposure"))
	for _, part := range []string{"storage ", "vault ", "workspace "} {
		if !has(f, part, "has a private endpoint, and takes connections from the internet all the same") {
			t.Errorf("exposure with public access: %q lacks %s", f, part)
		}
	}
	if f := found(g.audit("public")); !has(f, "resource ", "e2estorage") {
		t.Errorf("public with public access: %q", f)
	}
	// required: a subnet whose group lets nothing out, and one that is open
	reports := g.audit("required", "--workspace", w.workspace, "--subnet", "hub/training")
	if f := found(reports); !has(f, "login outbound TCP 80 to AzureActiveDirectory") || !has(f, "compute outbound UDP 5831 to AzureMachineLearning") || !has(f, "outbound UDP 443 to BatchNodeManagement."+location) {
		t.Errorf("required of a closed subnet: %q", f)
	}
	text := false
	for _, x := range reports[0].Items {
		text = text || strings.Contains(x.Text, "is missing the following rules") && strings.Contains(x.Text, `"name": "Outbound AzureActiveDirectory 80"`)
	}
	if !text {
		t.Error("no finding has Azure's text")
	}
	if f := found(g.audit("required", "--workspace", w.workspace, "--subnet", "other/default")); len(f) != 0 {
		t.Errorf("required of an open subnet: %q", f)
	}
}
