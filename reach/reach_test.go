package reach

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-update writes it):\n%s", file, diff)
	}
}

const group = "/subscriptions/s/resourceGroups/demo-secured/providers/"

func facts(m Mode) Facts {
	f := Facts{
		Mode: m, WorkspaceID: group + "Microsoft.MachineLearningServices/workspaces/ws", WorkspaceHost: "guid.workspace.westeurope.api.azureml.ms",
		Storage: "stdemo", Vault: "kv-demo", Container: "data", PartnerStorage: "stpartner", PartnerBlob: "public/hello.txt", Stranger: "www.example.com",
		Node: "node-1", NodeSSH: "10.20.1.4:22",
	}
	if m == Secured {
		f.Jumpbox, f.OtherVNet = "demo-vnet/jumpbox", "other-vnet/default"
	}
	return f
}

func nsgRule(label string) Rule {
	owner, name, _ := strings.Cut(label, "/")
	if owner == "fabric" {
		return Rule{Owner: owner, Name: name}
	}
	return Rule{Owner: group + "Microsoft.Network/networkSecurityGroups/" + owner, Direction: "Outbound", Name: name}
}

// obedient is a region in which everything is as the scenario expects, but for what a test changes.
type obedient struct {
	expect map[[2]string]Expectation
	things []Thing

	mu       sync.Mutex
	counters map[Rule]uint64
	alone    int // probes of a single connection

	probe    func(place, thing string, r *Result)
	explain  func(place, thing string, m *Model)
	noise    func(counters map[Rule]uint64) // before each look at the counters
	probeErr map[string]error               // by place
	token    error
}

func newObedient(s Scenario) *obedient {
	return &obedient{expect: s.Expect, things: s.Things, counters: map[Rule]uint64{nsgRule("nsg-training/DenyInternet"): 7}}
}

const firewallSays = "publicNetworkAccess is Disabled: only private endpoints may connect"

func (o *obedient) Probe(_ context.Context, p Place, targets []Target) ([]Result, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.probeErr[p.ID]; err != nil {
		return nil, err
	}
	if len(targets) == 1 {
		o.alone++
	}
	var out []Result
	for _, t := range targets {
		if (t.Token == "") != (t.Headers["Authorization"] == "") {
			return nil, fmt.Errorf("%s: token for %q, header %q", t.Name, t.Token, t.Headers["Authorization"])
		}
		e := o.expect[[2]string{p.ID, t.Name}]
		r := Result{Name: t.Name, Connect: Connected, Address: "192.0.2.1:443"}
		switch e.Outcome {
		case Answered:
			r.Status = 200
		case Forbidden:
			r.Status, r.Code, r.Message = 403, e.By, "This request is not authorized.\nVauban: refused: "+firewallSays+"\nRequestId:1"
		case Banner:
			r.Banner = "SSH-2.0-Go"
		case Dropped:
			r.Connect, r.Sent = ConnectTimeout, 2
			o.counters[nsgRule(e.By)] += 2
		}
		if o.probe != nil {
			o.probe(p.ID, t.Name, &r)
		}
		out = append(out, r)
	}
	return out, nil
}

func (o *obedient) Explain(_ context.Context, p Place, host string, port uint16) (Model, error) {
	for _, t := range o.things {
		h, n, err := t.Target.endpoint()
		if err != nil || h != host || n != port {
			continue
		}
		e := o.expect[[2]string{p.ID, t.ID}]
		m := Model{Allowed: e.Outcome != Forbidden && e.Outcome != Dropped}
		switch e.Outcome {
		case Forbidden:
			m.Service, m.By = firewallSays, "the service's firewall: "+firewallSays
		case Dropped:
			r := nsgRule(e.By)
			m.Rule = &r
		}
		if o.explain != nil {
			o.explain(p.ID, t.ID, &m)
		}
		return m, nil
	}
	return Model{}, fmt.Errorf("no thing at %s:%d", host, port)
}

func (o *obedient) Counters(context.Context) (map[Rule]uint64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.noise != nil {
		o.noise(o.counters)
	}
	return maps.Clone(o.counters), nil
}

func (o *obedient) Token(_ context.Context, audience string) (string, error) {
	return "token-for-" + audience, o.token
}

func measure(t *testing.T, s Scenario, o *obedient) *Table {
	t.Helper()
	table, err := Measure(t.Context(), o, s)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func render(t *testing.T, table *Table) string {
	t.Helper()
	var b strings.Builder
	if err := table.Render(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > textWidth {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	return b.String()
}

func TestTables(t *testing.T) {
	for _, m := range []Mode{Public, Secured} {
		s := Demo(facts(m))
		table := measure(t, s, newObedient(s))
		for _, c := range table.Differing() {
			t.Errorf("%s, %s → %s: %v", m, c.Place, c.Thing, c.Differs)
		}
		golden(t, string(m), render(t, table))
		b, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "token-for-") {
			t.Error("a token is in the JSON")
		}
		if !strings.HasPrefix(string(b), `{"ok":true,`) {
			t.Errorf("JSON: %.60s", b)
		}
	}
}

// Every cell of the secured table, made to come out differently in every way that its outcome has, differs.
func TestNothingElseStands(t *testing.T) {
	s := Demo(facts(Secured))
	for key, e := range s.Expect {
		changes := map[string]func(*obedient){
			"the connection is reset": onProbe(key, func(r *Result) { *r = Result{Connect: ConnectRefused} }),
			"a name is missing":       onProbe(key, func(r *Result) { *r = Result{Connect: ConnectNoName} }),
			"no answer":               onProbe(key, func(r *Result) { *r = Result{Connect: Connected, Mute: true} }),
			"the place is gone":       func(o *obedient) { o.probeErr = map[string]error{key[0]: errors.New("no such place")} },
		}
		switch e.Outcome {
		case Answered, Banner:
			changes["dropped"] = onProbe(key, func(r *Result) { *r = Result{Connect: ConnectTimeout, Sent: 2} })
			changes["the model refuses"] = onExplain(key, func(m *Model) { m.Allowed = false })
			changes["an error"] = onProbe(key, func(r *Result) { r.Status, r.Banner = 500, "" })
		case Forbidden:
			changes["answered"] = onProbe(key, func(r *Result) { r.Status = 200 })
			changes["another code"] = onProbe(key, func(r *Result) { r.Code = "Other" })
			changes["another reason"] = onProbe(key, func(r *Result) { r.Message = "no" })
			changes["the model allows"] = onExplain(key, func(m *Model) { *m = Model{Allowed: true, Service: m.Service} })
		case Dropped:
			changes["answered"] = onProbe(key, func(r *Result) { *r = Result{Connect: Connected, Status: 200} })
			changes["the model allows"] = onExplain(key, func(m *Model) { *m = Model{Allowed: true} })
			changes["the model names another rule"] = onExplain(key, func(m *Model) { m.Rule = &Rule{Owner: m.Rule.Owner, Name: "Other"} })
			changes["more packets were sent than counted"] = onProbe(key, func(r *Result) { r.Sent++ })
			changes["other packets meet the rule all the time"] = func(o *obedient) {
				o.noise = func(c map[Rule]uint64) { c[nsgRule(e.By)]++ }
			}
			changes["another rule's counter rises all the time"] = func(o *obedient) {
				o.noise = func(c map[Rule]uint64) { c[nsgRule("nsg-other/Deny")]++ }
			}
			changes["no counter rises"] = func(o *obedient) {
				o.noise = func(c map[Rule]uint64) { clear(c) }
			}
		}
		for name, change := range changes {
			o := newObedient(s)
			change(o)
			table := measure(t, s, o)
			if c := table.Cell(key[0], key[1]); len(c.Differs) == 0 {
				t.Errorf("%v (%s): it stands although %s", key, e.Outcome, name)
			}
			render(t, table)
		}
	}
}

func onProbe(key [2]string, f func(*Result)) func(*obedient) {
	return func(o *obedient) {
		o.probe = func(place, thing string, r *Result) {
			if key == [2]string{place, thing} {
				f(r)
			}
		}
	}
}

func onExplain(key [2]string, f func(*Model)) func(*obedient) {
	return func(o *obedient) {
		o.explain = func(place, thing string, m *Model) {
			if key == [2]string{place, thing} {
				f(m)
			}
		}
	}
}

// A packet of somebody else spoils one look at the counters, not the cell.
func TestNoiseIsTriedAgain(t *testing.T) {
	s := Demo(facts(Secured))
	o := newObedient(s)
	looks := 0
	o.noise = func(c map[Rule]uint64) {
		if looks++; looks == 2 {
			c[nsgRule("nsg-training/DenyInternet")]++
		}
	}
	table := measure(t, s, o)
	if d := table.Differing(); len(d) > 0 {
		t.Errorf("%v differs: %v", d[0].Place+" → "+d[0].Thing, d[0].Differs)
	}
	if want := 6 + 1; o.alone != want {
		t.Errorf("%d single connections, want %d", o.alone, want)
	}
}

func TestWithoutNode(t *testing.T) {
	f := facts(Secured)
	f.Node, f.NodeSSH = "", ""
	s := Demo(f)
	table := measure(t, s, newObedient(s))
	for _, c := range table.Differing() {
		if c.Place != Node && c.Thing != NodeSSH {
			t.Errorf("%s → %s differs: %v", c.Place, c.Thing, c.Differs)
		}
	}
	golden(t, "without-node", render(t, table))
}

func TestWithoutToken(t *testing.T) {
	s := Demo(facts(Public))
	o := newObedient(s)
	o.token = errors.New("AADSTS7000215")
	table := measure(t, s, o)
	if c := table.Cell(Internet, Vault); len(c.Differs) != 1 || !strings.Contains(c.Differs[0], "AADSTS7000215") {
		t.Errorf("%v", c.Differs)
	}
	if c := table.Cell(Internet, Stranger); len(c.Differs) != 0 {
		t.Errorf("needs no token: %v", c.Differs)
	}
}

func TestEveryExpectationHasAReason(t *testing.T) {
	for _, m := range []Mode{Public, Secured} {
		for key, e := range Demo(facts(m)).Expect {
			if e.Why == "" || strings.Contains(e.Why, "\n") {
				t.Errorf("%s %v: why %q", m, key, e.Why)
			}
			if (e.By != "") != (e.Outcome == Forbidden || e.Outcome == Dropped) {
				t.Errorf("%s %v: %s by %q", m, key, e.Outcome, e.By)
			}
		}
	}
}

func TestShortID(t *testing.T) {
	for id, want := range map[string]string{
		group + "Microsoft.Network/networkSecurityGroups/nsg-training":                "nsg-training",
		group + "Microsoft.Network/virtualNetworks/v/subnets/s":                       "v/s",
		strings.ToLower(group) + "microsoft.network/virtualnetworks/v/subnets/s/exec": "v/s/exec",
		group + "Microsoft.MachineLearningServices/workspaces/w/computes/c/nodes/n":   "w/c/n",
		"/subscriptions/s": "/subscriptions/s",
		"fabric":           "fabric",
		"":                 "",
		group:              group,
	} {
		if got := ShortID(id); got != want {
			t.Errorf("ShortID(%q) = %q, want %q", id, got, want)
		}
	}
	text := "endpoint " + group + "Microsoft.Network/privateEndpoints/pe: no (" + group + "A/b/c)"
	if got, want := ShortIDs(text), "endpoint pe: no ("+group+"A/b/c)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
