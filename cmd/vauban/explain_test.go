package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vauban.dev/reach"
	"vauban.dev/region"
)

func TestParseFrom(t *testing.T) {
	for text, want := range map[string]region.PlaceParams{
		"internet":           {From: "internet"},
		"hub/jumpbox":        {Subnet: "hub/jumpbox"},
		"rg/hub/jumpbox":     {Subnet: "rg/hub/jumpbox"},
		"/subscriptions/s/x": {Subnet: "/subscriptions/s/x"},
		"node:cpu-cluster":   {Node: "cpu-cluster"},
		"node:a/b":           {Node: "a/b"},
	} {
		if got, err := parseFrom(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "node:", "hub", "Internet "} {
		if got, err := parseFrom(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestParseTo(t *testing.T) {
	for _, test := range []struct {
		text string
		icmp bool
		host string
		port uint16
	}{{"a.b:443", false, "a.b", 443}, {"10.0.0.1:65535", false, "10.0.0.1", 65535}, {"10.0.0.1", true, "10.0.0.1", 0}} {
		if host, port, err := parseTo(test.text, test.icmp); err != nil || host != test.host || port != test.port {
			t.Errorf("%q: %q %d %v", test.text, host, port, err)
		}
	}
	for _, text := range []string{"a.b", "a.b:", ":443", "a.b:0", "a.b:65536", "a.b:https"} {
		if _, _, err := parseTo(text, false); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if _, _, err := parseTo("a.b:1", true); err == nil {
		t.Error("ICMP with a port is taken")
	}
}

func TestExplainCommandLines(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"explain", "--data", none}, codeFailed}, // --to is missing
		{[]string{"explain", "--to", "a:1", "--data", none}, codeNotRunning},
		{[]string{"explain", "--to", "a", "--data", none}, codeUsage},
		{[]string{"explain", "--from", "x", "--to", "a:1", "--data", none}, codeUsage},
		{[]string{"explain", "--to", "a:1", "--udp", "--icmp", "--data", none}, codeFailed},
		{[]string{"explain", "--to", "a:1", "--proto", "sctp", "--data", none}, codeUsage},
		{[]string{"explain", "--to", "a", "--proto", "ICMP", "--data", none}, codeNotRunning},
		{[]string{"reach", "--data", none}, codeNotRunning},
		{[]string{"reach", "--mode", "other", "--data", none}, codeUsage},
		{[]string{"demo", "--mode", "other"}, codeUsage},
		{[]string{"demo", "--environments", none, "--data", none}, codeFailed},
	} {
		_, err := vauban(t, test.args...)
		if err == nil || codeOf(err) != test.code {
			t.Errorf("%v: %v, code %d, want %d", test.args, err, codeOf(err), test.code)
		}
	}
}

func TestProbeCommand(t *testing.T) {
	run := func(in string) (string, error) {
		var out bytes.Buffer
		root := newRoot(&out, &out)
		root.SetArgs([]string{probeCommand})
		root.SetIn(strings.NewReader(in))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	out, err := run(`[{"name":"a","kind":"tcp","address":"127.0.0.1:1"}]`)
	var results []reach.Result
	if err := errors.Join(err, json.Unmarshal([]byte(out), &results)); err != nil || len(results) != 1 || results[0].Outcome() != reach.Reset {
		t.Errorf("%s %v", out, err)
	}
	if _, err := run("nonsense"); codeOf(err) != codeUsage {
		t.Errorf("%v", err)
	}
}

// A demo makes its directory anew, and touches nobody else's.
func TestDemoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	d := &demoRun{app: &app{data: dir}}
	got, err := d.freshDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(got, "state.db")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.freshDir(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the earlier demo's data are still there")
	}
	if err := errors.Join(os.Remove(filepath.Join(got, "demo.json")), os.WriteFile(old, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.freshDir(t.Context()); err == nil {
		t.Error("somebody else's directory was taken")
	}
	if _, err := os.Stat(old); err != nil {
		t.Error("somebody else's data are gone")
	}
}

func TestFromHere(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(here, "bin/vauban"): "bin/vauban", "/usr/bin/x": "/usr/bin/x", filepath.Join(here, "a b'c"): `'a b'\''c'`,
	} {
		if got := fromHere(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
