package network_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

// exchange is a request that a client sent to Azure and what Azure answered: recordings of azure-mgmt-network 2.7.0's
// tests, and the examples of Azure/azure-rest-api-specs. Lists are cut to what the case itself made.
type exchange struct {
	Case, Method, Path string
	Request            json.RawMessage
	Status             int
	Response           any
}

// notHere are members that Azure shows and this provider does not.
var notHere = map[string]string{
	"properties.virtualMachine":          "virtual machines are not there",
	"properties.flushConnection":         "shown where it is set",
	"properties.ipConfiguration":         "the example shows what another request attached",
	"properties.ipConfigurations":        "the example shows what another request attached",
	"properties.resourceNavigationLinks": "the example shows what another request attached",
	"zones":                              "the example shows a zone that its request does not name",
}

// What clients sent to Azure is answered here in Azure's shape: each member that Azure showed is there and of the
// same kind.
func TestRecorded(t *testing.T) {
	f, err := os.Open("testdata/recorded.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases := map[string][]exchange{}
	var order []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var x exchange
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		if cases[x.Case] == nil {
			order = append(order, x.Case)
		}
		cases[x.Case] = append(cases[x.Case], x)
	}
	if err := lines.Err(); err != nil || len(order) < 10 {
		t.Fatal(len(order), err)
	}
	for _, name := range order {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, x := range cases[name] {
				r.replay(x)
			}
		})
	}
}

func (r *rig) replay(x exchange) {
	r.t.Helper()
	u, err := url.Parse(x.Path)
	if err != nil {
		r.t.Fatal(err)
	}
	q := u.Query()
	version := q.Get("api-version")
	q.Del("api-version")
	body := string(x.Request)
	if body == "null" {
		body = ""
	}
	body = strings.NewReplacer(`"location":"westus"`, `"location":"westeurope"`, `"location":"eastus"`, `"location":"westeurope"`).Replace(body)
	path := strings.NewReplacer("locations/westus/", "locations/westeurope/").Replace(u.Path)
	resp, err := r.sendQuery(x.Method, path, version, q.Encode(), body)
	what := fmt.Sprintf("%s %s", x.Method, path)
	if err != nil {
		r.t.Errorf("%s: %v, Azure answered %d", what, err, x.Status)
		return
	}
	if got := resp.Status; got != x.Status && !(x.Method == http.MethodPut && got == http.StatusCreated) {
		r.t.Errorf("%s: %d, Azure answered %d", what, got, x.Status)
	}
	if err := r.ended(resp); err != nil {
		r.t.Errorf("%s: %v", what, err)
	}
	if x.Response == nil {
		return
	}
	got := any(r.tree(resp.Body))
	for _, miss := range lacks(x.Response, got, "") {
		r.t.Errorf("%s: %s", what, miss)
	}
}

// lacks are the members of want that got has not, or has of another kind.
func lacks(want, got any, at string) (list []string) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, Azure shows an object", at, got)}
		}
		for k, v := range w {
			path := strings.TrimPrefix(at+"."+k, ".")
			if _, known := notHere[tail(path)]; known {
				continue
			}
			if _, there := g[k]; !there {
				list = append(list, path+" is missing")
				continue
			}
			list = append(list, lacks(v, g[k], path)...)
		}
	case []any:
		g, ok := got.([]any)
		switch {
		case !ok:
			return []string{fmt.Sprintf("%s is %T, Azure shows a list", at, got)}
		case len(w) > 0 && len(g) == 0:
			return []string{at + " is empty"}
		case len(w) > 0:
			return lacks(w[0], g[0], at+".0")
		}
	default:
		if want != nil && fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			return []string{fmt.Sprintf("%s is %T, Azure shows %T", at, got, want)}
		}
	}
	return list
}

// tail is a path from its last "properties" on.
func tail(path string) string {
	if i := strings.LastIndex("."+path, ".properties."); i >= 0 {
		return path[i:]
	}
	return path
}
