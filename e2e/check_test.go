package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck: a repository's reach tests pass where they are right, and fail by name where they are not.
func TestCheck(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	g.secured()
	dir := t.TempDir()
	file, junit := filepath.Join(dir, "reach.yaml"), filepath.Join(dir, "reach.xml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`version: 1
tests:
  - from: hub/training
    to: [198.51.100.80:443, www.example.com:443]
    expect: deny
    by: training/DenyInternet
  - from: internet
    to: ` + blobHost + `:443
    expect: deny
    by: service
  - {from: hub/jumpbox, to: "` + blobHost + `:443", expect: allow}
  - {from: hub/training, to: 198.51.100.80, protocol: icmp, expect: deny}
  - {from: hub/training, to: "168.63.129.16:53", protocol: udp, expect: allow}
`)
	out, err := g.output(g.command("check", file, "--junit", junit))
	if err != nil || !strings.Contains(out, "6 of 6 passed") {
		t.Errorf("right tests: %v %s", err, out)
	}
	if xml, err := os.ReadFile(junit); err != nil || !strings.Contains(string(xml), `tests="6" failures="0"`) {
		t.Errorf("JUnit: %v %s", err, xml)
	}
	write("version: 1\ntests:\n  - {from: hub/training, to: '198.51.100.80:443', expect: allow}\n  - {from: hub/nothing, to: 'x:1', expect: deny}\n")
	out, err = g.output(g.command("check", file))
	if exitCode(err) != 1 || !strings.Contains(out, file+":3: allow expected; it is denied by training/DenyInternet") || !strings.Contains(out, "az network nsg rule create") || !strings.Contains(out, "there is no subnet") {
		t.Errorf("wrong tests: %v %s", err, out)
	}
	write("version: 1\ntests:\n  - {from: hub/training, to: x, expect: deny}\n")
	if _, err = g.output(g.command("check", file)); exitCode(err) != 2 || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("a file that cannot be read: %v", err)
	}
}
