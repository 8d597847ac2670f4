package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestBenchList(t *testing.T) {
	out, err := vauban(t, "bench", "--list", "--quick")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"start", "memory", "resources", "net-tags-100", "net-narrow-1000", "job-warm", "job-cold"} {
		if !strings.Contains("\n"+out, "\n"+name+" ") {
			t.Errorf("%s is not in the quick subset:\n%s", name, out)
		}
	}
	if strings.Contains(out, "blob") {
		t.Errorf("not quick:\n%s", out)
	}
	if out, err := vauban(t, "bench", "--list", "--only", "^blob-"); err != nil || strings.Count(out, "\n") != 3 {
		t.Errorf("--only ^blob-: %v\n%s", err, out)
	}
	for _, only := range []string{"(", "nosuch"} {
		if _, err := vauban(t, "bench", "--only", only); codeOf(err) != codeUsage {
			t.Errorf("--only %s: %v", only, err)
		}
	}
}

func TestNumbered(t *testing.T) {
	next := numbered([]byte("PUT /a" + number + `{"n":` + number + "}"))
	if got, want := string(next(0)), `PUT /a10000000{"n":10000000}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(next(123)), `PUT /a10000123{"n":10000123}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSince(t *testing.T) {
	began := time.Unix(1_700_000_000, 250_000_000)
	got, err := since(began, "1700000001.500000000\n")
	if err != nil || math.Abs(got-1.25) > 1e-9 {
		t.Errorf("%v %v, want 1.25", got, err)
	}
	for _, text := range []string{"", "soon", "1700000001", "1.2\nmore"} {
		if got, err := since(began, text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
