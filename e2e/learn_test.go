package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// TestRulesLearn: a job is watched in an open network; with the rules that come of it, and nothing else open, the
// same job runs again.
func TestRulesLearn(t *testing.T) {
	g := newGround(t, nil)
	g.upWithImage()
	w := g.network()
	w.services("Disabled")
	w.endpoints()
	w.nodes(0, 1) // the node comes while it is watched
	w.environment()
	training := w.group + "/providers/Microsoft.Network/networkSecurityGroups/training"
	w.put(training, vNetwork, obj{"location": location, "properties": obj{"securityRules": []obj{}}})

	cmd := g.command("rules", "learn", "--job", w.workspace+"/open", "--json")
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "watching 0 nodes") {
		t.Fatalf("learn said %q, %v", line, err)
	}
	const work = "exec 3<>/dev/tcp/198.51.100.80/443; timeout 2 bash -c 'exec 3<>/dev/tcp/203.0.113.9/81'; mkdir -p outputs; echo kept >outputs/x.txt"
	w.submit("open", work, nil)
	w.completed("open")
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("learn: %v: %s", err, rest)
	}
	var learned struct {
		Destinations []struct {
			Address, Rule, WithoutRule string
			Port                       int
			Names, Processes           []string
			Flows                      int
			UnknownProcess             int `json:"flowsOfUnknownProcess"`
			ServiceTag                 string
		}
		Rules []struct {
			Name, Direction, Access, Protocol, SourceAddressPrefix, DestinationAddressPrefix, Purpose string
			Priority                                                                                  int
			DestinationPortRanges, BreaksWithout                                                      []string
		}
	}
	if err := json.Unmarshal(out.Bytes(), &learned); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	var stranger, storage, nobody, named, process bool
	for _, d := range learned.Destinations {
		stranger = stranger || d.Address == "198.51.100.80" && d.Port == 443 && d.Rule != "" && strings.Join(d.Processes, "") == "bash" && d.UnknownProcess == 0
		storage = storage || strings.HasPrefix(d.Address, "10.20.0.") && d.Port == 443 && d.Rule != ""
		named = named || d.Rule != "" && strings.HasPrefix(d.Address, "10.20.0.") && len(d.Names) > 0
		process = process || d.Address == "203.0.113.9" && strings.Join(d.Processes, "") == "bash"
		nobody = nobody || d.Address == "203.0.113.9" && d.Port == 81 && d.Rule == "" && d.WithoutRule == "nothing came back"
	}
	if !process {
		t.Errorf("the process of the call that nobody answered was missed: %s", out.String())
	}
	if !stranger || !storage || !nobody || !named {
		t.Errorf("the stranger %v, the account %v, nobody %v, its name %v: %s", stranger, storage, nobody, named, out.String())
	}

	var rules []obj
	for _, r := range learned.Rules {
		if len(r.BreaksWithout) == 0 {
			t.Errorf("rule %s is there for nothing", r.Name)
		}
		rules = append(rules, obj{"name": r.Name, "properties": obj{
			"priority": r.Priority, "direction": r.Direction, "access": r.Access, "protocol": r.Protocol, "sourceAddressPrefix": r.SourceAddressPrefix, "sourcePortRange": "*",
			"destinationAddressPrefix": r.DestinationAddressPrefix, "destinationPortRanges": r.DestinationPortRanges}})
	}
	w.put(training, vNetwork, obj{"location": location, "properties": obj{"securityRules": rules}})
	g.reaches("hub/training", "tcp", "198.51.100.80:80", "dropped")
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "answered")
	w.submit("closed", work, nil)
	w.completed("closed")
	if got := w.artifact("closed", "outputs/x.txt"); got != "kept\n" {
		t.Errorf("the output of the closed run: %q", got)
	}
	// A subnet, until it is interrupted: processes that are gone at once.
	watch := g.command("rules", "learn", "--subnet", "hub/training", "--json")
	out.Reset()
	watch.Stdout = &out
	if said, err = watch.StderrPipe(); err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { watch.Process.Kill() })
	lines = bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "watching ") {
		t.Fatalf("learn said %q, %v", line, err)
	}
	const calls = 20
	if _, err := g.output(g.at("hub/training", "bash", "-c", fmt.Sprintf("for ((i=0;i<%d;i++)); do (exec 3<>/dev/tcp/198.51.100.80/443); done", calls))); err != nil {
		t.Errorf("the calls: %v", err)
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Fatalf("learn --subnet: %v", err)
	}
	learned.Destinations = nil
	if err := json.Unmarshal(out.Bytes(), &learned); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	process = false
	for _, d := range learned.Destinations {
		process = process || d.Address == "198.51.100.80" && d.Rule != "" && d.Flows-d.UnknownProcess == calls && strings.Join(d.Processes, "") == "bash"
	}
	if !process {
		t.Errorf("the process of the call from the subnet was missed: %s", out.String())
	}
	if out, err := g.output(g.command("rules", "learn", "--job", w.workspace+"/open")); err == nil || !strings.Contains(err.Error(), "is Completed already") {
		t.Errorf("a job that has ended: %v %s", err, out)
	}
}
