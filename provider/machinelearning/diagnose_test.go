package machinelearning

import (
	"testing"

	"vauban.dev/diagnose"
)

// TestDiagnoseGroups: a diagnosis answers the groups that were asked for, all of them when none was.
func TestDiagnoseGroups(t *testing.T) {
	for body, want := range map[string]int{
		``: 2, `{}`: 2, `{"value":{}}`: 2, `{"value":null}`: 2, `{"value":{"nsg":null}}`: 2,
		`{"value":{"nsg":{}}}`: 1, `{"value":{"Nsg":{},"keyVault":{},"udr":null}}`: 2, `{"value":{"udr":{}}}`: 0,
	} {
		q, err := readDiagnose([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		r := &diagnose.Report{Groups: []diagnose.Result{{Code: "a"}}, Vault: []diagnose.Result{{Code: "b"}}}
		q.keep(r)
		if got := len(r.Groups) + len(r.Vault); got != want {
			t.Errorf("%s: %d results, want %d", body, got, want)
		}
	}
	for _, body := range []string{`[]`, `{"value":[]}`, `{`, `"x"`} {
		if _, err := readDiagnose([]byte(body)); err == nil {
			t.Errorf("%s is taken", body)
		}
	}
}
