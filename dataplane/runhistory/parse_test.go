package runhistory

import (
	"strings"
	"testing"
	"time"

	"vauban.dev/ml"
)

const testWS = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/mlw"

func TestParsePath(t *testing.T) {
	for path, want := range map[string]string{
		"/history/v1.0" + testWS + "/runs/r":                                  "history v1.0 runs|r",
		"/History/V1.0" + strings.ToUpper(testWS) + "/runs/R/":                "history v1.0 runs|R",
		"/artifact/v2.0" + testWS + "/artifacts/a/b%2Fc":                      "artifact v2.0 artifacts|a|b/c",
		"/rp/workspaces" + testWS + "/computes/c":                             "rp  computes|c",
		"/mlflow/v2.0" + testWS:                                               "mlflow v2.0 ",
		"/history/v1.0/subscriptions/s":                                       "",
		"/history/v1.0" + strings.Replace(testWS, "workspaces", "hubs", 1):    "",
		"/history/v1.0" + testWS + "//r":                                      "",
		"/history/v1.0" + testWS + "/%zz":                                     "",
		"/history/v1.0" + testWS + "/%00":                                     "",
		"/history/v1.0" + strings.Replace(testWS, "/mlw", "/a%2Fb", 1) + "/x": "",
		"":  "",
		"/": "",
	} {
		got := ""
		if p, ok := parsePath(path); ok {
			got = p.service + " " + p.version + " " + strings.Join(p.rest, "|")
		}
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

func TestParseHost(t *testing.T) {
	for host, want := range map[string]place{
		"westeurope.api.azureml.ms":                  {host: "westeurope.api.azureml.ms", location: "westeurope"},
		"WestEurope.API.azureml.ms.:443":             {host: "westeurope.api.azureml.ms", location: "westeurope"},
		"g.workspace.westeurope.api.azureml.ms":      {host: "g.workspace.westeurope.api.azureml.ms", guid: "g", location: "westeurope"},
		"g.workspace.westeurope.cert.api.azureml.ms": {host: "g.workspace.westeurope.cert.api.azureml.ms", guid: "g", location: "westeurope"},
		"a.b.workspace.westeurope.api.azureml.ms":    {},
		".workspace.westeurope.api.azureml.ms":       {},
		"g.workspace..api.azureml.ms":                {},
		".api.azureml.ms":                            {},
		"a.b.api.azureml.ms":                         {},
		"westeurope.api.azureml.ms.evil.example":     {},
	} {
		got, ok := parseHost(host, ".api.azureml.ms")
		if !ok {
			got = place{}
		}
		if got != want || ok != (want != place{}) {
			t.Errorf("%s is %+v, want %+v", host, got, want)
		}
	}
}

// Every route has a permission, and can be reached: none before it takes all of its paths.
func TestRoutes(t *testing.T) {
	for service, routes := range table() {
		for i, r := range routes {
			if r.permission == "" || r.run == nil {
				t.Errorf("%s: %s %v has no permission or does nothing", service, r.method, r.pattern)
			}
			for _, earlier := range routes[:i] {
				if earlier.method == r.method && strings.Join(earlier.pattern, "/") == strings.Join(r.pattern, "/") {
					t.Errorf("%s: %s %v is there twice", service, r.method, r.pattern)
				}
			}
		}
	}
}

func TestTimeSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "00:00:00.0000000", 90 * time.Second: "00:01:30.0000000", 25*time.Hour + 3*time.Millisecond: "1.01:00:00.0030000", -time.Second: "00:00:00.0000000"} {
		if got := timeSpan(d); got != want {
			t.Errorf("%s is %s, want %s", d, got, want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("/history/v1.0" + testWS + "/runs/r")
	f.Add("/rp/workspaces" + testWS)
	f.Add("/artifact/v2.0" + testWS + "/artifacts/a/b%2Fc")
	f.Add("//%2f/")
	routes := table()
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parsePath(s)
		if !ok {
			return
		}
		if p.workspace.IsZero() || p.service == "" || strings.Contains(p.service, "/") && !strings.Contains(s, "%") {
			t.Fatalf("%q: %+v", s, p)
		}
		for _, seg := range p.rest {
			if seg == "" {
				t.Fatalf("%q has an empty segment: %q", s, p.rest)
			}
		}
		for _, r := range routes[p.service+"/"+p.version] {
			match(r.pattern, p.rest)
		}
	})
}

func FuzzParseHost(f *testing.F) {
	f.Add("g.workspace.westeurope.cert.api.azureml.ms:443")
	f.Add("[::1]:1")
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := parseHost(s, ".api.azureml.ms"); ok && (p.location == "" || strings.Contains(p.location+p.guid, ".")) {
			t.Fatalf("%q: %+v", s, p)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"(a eq 'b') and not tags/x ne \"y\" or contains(n,'a''b')", "a gt 3", "createdUtc ge 2026-01-01", "((((", "'", "a eq null", "startswith("} {
		f.Add(s)
	}
	r := &ml.Run{ID: "a", Created: time.Unix(1, 0), Tags: map[string]string{"x": "y"}}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseFilter(s); err == nil {
			got.holds(runFields(r))
		} else if asError(err) == nil {
			t.Fatalf("%q: %v is no error for a client", s, err)
		}
	})
}

func FuzzCleanPath(f *testing.F) {
	f.Add("a/b", false)
	f.Add("../a", true)
	f.Fuzz(func(t *testing.T, s string, prefix bool) {
		p, err := cleanPath(s, prefix)
		if err != nil {
			return
		}
		for seg := range strings.SplitSeq(strings.TrimSuffix(p, "/"), "/") {
			if seg == ".." || seg == "." || seg == "" && p != "" {
				t.Fatalf("%q became %q", s, p)
			}
		}
	})
}
