package region

import (
	"slices"
	"strings"
	"testing"
)

// The caller's own credentials, and its own folders, are never mixed with the region's.
func TestPlaceEnvironment(t *testing.T) {
	where := PlaceResult{Env: map[string]string{"ID": "r", "SECRET": "r"}, Defaults: map[string]string{"DIR": "r"}}
	for _, c := range []struct{ have, want []string }{
		{nil, []string{"DIR=r", "ID=r", "SECRET=r"}},
		{[]string{"DIR=own"}, []string{"DIR=own", "ID=r", "SECRET=r"}},
		{[]string{"ID=own"}, []string{"ID=own"}},
	} {
		var got []string
		for _, kv := range placeEnv(c.have, where, nil) {
			if strings.HasPrefix(kv, "DIR=") || strings.HasPrefix(kv, "ID=") || strings.HasPrefix(kv, "SECRET=") {
				got = append(got, kv)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.have, got, c.want)
		}
	}
}
