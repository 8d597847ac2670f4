package conformance

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWaiting: a GET that was repeated is held against the answer that ended the wait; one that was not, or that
// Azure answered alike, stays as it was.
func TestWaiting(t *testing.T) {
	get := func(path string, status int) Case {
		return Case{Scenario: "s", Recorded: true, Method: "GET", Host: "h", Path: path, Status: status}
	}
	cases := []Case{get("/a", 404), get("/a", 404), get("/a", 200), get("/b", 404), get("/a", 200), {Scenario: "s", Recorded: true, Method: "DELETE", Host: "h", Path: "/a", Status: 200}, get("/a", 404)}
	waiting(cases)
	var got []int
	for _, c := range cases {
		status := c.Status
		if c.Waits {
			status = -status
		}
		got = append(got, status)
	}
	if diff := cmp.Diff([]int{-200, -200, 200, 404, 200, 200, 404}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLearn: what Azure and the region chose for the same thing is exchanged in later requests; words are not.
func TestLearn(t *testing.T) {
	type o = map[string]any
	w := &world{names: map[string]string{"vault1": "vault1c7"}}
	const version, link = "749972bf9fb446f38938970e336b2dca", "https://vault1.vault.azure.net:443/secrets?$skiptoken=x"
	w.learn(o{
		"id": "https://vault1.vault.azure.net/secrets/a/" + version, "nextLink": link, "kind": "Standard",
		"list": []any{o{"name": "b", "principalId": "11111111-0000-0000-0000-000000000000"}},
	}, o{
		"id": "https://vault1c7.vault.azure.net/secrets/a/ffff", "nextLink": "https://vault1c7.vault.azure.net/secrets?$skiptoken=y", "kind": "Premium",
		"list": []any{o{"name": "a"}, o{"name": "b", "principalId": "22222222-0000-0000-0000-000000000000"}},
	})
	for recorded, want := range map[string]string{
		"https://vault1.vault.azure.net/secrets/a/" + version + "?api-version=7.0": "https://vault1c7.vault.azure.net/secrets/a/ffff?api-version=7.0",
		"https://vault1.vault.azure.net/secrets?$skiptoken=x":                      "https://vault1c7.vault.azure.net/secrets?$skiptoken=y",
		"https://management.azure.com/subscriptions":                               "https://management.azure.com/subscriptions",
	} {
		if got := w.url(recorded); got != want {
			t.Errorf("%s became %s, want %s", recorded, got, want)
		}
	}
	got := w.own(o{"a": "11111111-0000-0000-0000-000000000000", "b": "Standard", "c": version})
	if diff := cmp.Diff(o{"a": "22222222-0000-0000-0000-000000000000", "b": "Standard", "c": "ffff"}, got); diff != "" {
		t.Errorf("a body (-want +got):\n%s", diff)
	}
}
