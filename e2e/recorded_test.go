package e2e

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateRecorded = flag.Bool("update-recorded", false, "write what differs from the recordings to testdata/recorded/*.txt")

// exchange is one request that Azure answered: recorded by a test of Azure's SDK for Python (Status is what it
// got; polls of operations are left out), or an example of Azure's REST specifications (Status 0: any success).
type exchange struct {
	Scenario string   `json:"scenario"`
	Method   string   `json:"method"`
	URI      string   `json:"uri"`
	Request  any      `json:"request"`
	Status   int      `json:"status"`
	Headers  []string `json:"headers"` // names that Azure's answer had
	Response any      `json:"response"`
}

// recordedSubscription stands in every recording for the subscription.
const recordedSubscription = "00000000-0000-0000-0000-000000000000"

// TestRecorded sends what clients sent to Azure, in its order, and compares the answers with Azure's: status,
// headers' presence, every key of the body and its type, and the values that the request had chosen.
// The differences are those of testdata/recorded/NAME.txt, which docs/azure-divergences.md explains.
func TestRecorded(t *testing.T) {
	for _, name := range []string{"network", "privatedns"} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t, nil)
			g.up()
			p := player{ground: g, groups: map[string]bool{}}
			p.prepare(name)
			var got []string
			for _, x := range recording(t, name) {
				got = append(got, p.play(x)...)
			}
			report := strings.Join(got, "\n") + "\n"
			file := filepath.Join("testdata", "recorded", name+".txt")
			if *updateRecorded {
				if err := os.WriteFile(file, []byte(report), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(contents(file), report); diff != "" {
				t.Errorf("differences from Azure (-known +found):\n%s", diff)
			}
		})
	}
}

func recording(t *testing.T, name string) (out []exchange) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "recorded", name+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var x exchange
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// player sends exchanges to a region.
type player struct {
	*ground
	groups map[string]bool
}

// prepare makes what the examples of a specification take for granted.
func (p *player) prepare(name string) {
	if name != "privatedns" {
		return
	}
	p.group("resourceGroup1")
	for _, zone := range []string{"privatezone1.com", "0.0.127.in-addr.arpa", "privatelink.contoso.com"} {
		p.put("/subscriptions/"+p.sub+"/resourceGroups/resourceGroup1/providers/Microsoft.Network/privateDnsZones/"+zone+"?api-version=2024-06-01", map[string]any{"location": "Global"})
	}
	p.group("virtualNetworkResourceGroup")
	const vnet = "/resourceGroups/virtualNetworkResourceGroup/providers/Microsoft.Network/virtualNetworks/virtualNetworkName"
	p.put("/subscriptions/"+p.sub+vnet+"?api-version=2024-05-01", map[string]any{
		"location": "westeurope", "properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []string{"10.0.0.0/16"}}}})
	p.put("/subscriptions/"+p.sub+"/resourceGroups/resourceGroup1/providers/Microsoft.Network/privateDnsZones/privatelink.contoso.com/virtualNetworkLinks/virtualNetworkLink1?api-version=2024-06-01", map[string]any{
		"location": "Global", "properties": map[string]any{"virtualNetwork": map[string]any{"id": "/subscriptions/" + p.sub + vnet}, "registrationEnabled": false}})
}

func (p *player) put(uri string, body any) {
	p.t.Helper()
	a := p.send(http.MethodPut, uri, body)
	if !a.ok() {
		p.t.Fatalf("PUT %s: %s", uri, a)
	}
	p.settle(a)
}

func (p *player) group(name string) {
	if p.groups[strings.ToLower(name)] {
		return
	}
	p.groups[strings.ToLower(name)] = true
	p.put("/subscriptions/"+p.sub+"/resourceGroups/"+name+"?api-version=2021-04-01", map[string]any{"location": "westus"})
}

func (p *player) send(method, uri string, body any) *answer {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	a, err := p.do(ctx, request{Method: method, URL: uri, Body: jsonBody(body)})
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// settle follows an operation to its end, and says how it ended if it failed.
func (p *player) settle(a *answer) string {
	at := a.Header.Get("Azure-AsyncOperation")
	if at == "" || !a.ok() {
		return ""
	}
	end := ""
	p.eventually("the end of the operation", func() bool {
		o := p.send(http.MethodGet, at, nil)
		var s struct {
			Status string `json:"status"`
			Error  any    `json:"error"`
		}
		if err := o.json(&s); err != nil {
			p.t.Fatal(err)
		}
		if s.Status == "Failed" || s.Status == "Canceled" {
			end = fmt.Sprintf("operation: %s %v", s.Status, s.Error)
		}
		return end != "" || s.Status == "Succeeded"
	})
	return end
}

// play sends one exchange; what differs is told a line each.
func (p *player) play(x exchange) (diffs []string) {
	p.t.Helper()
	what := x.Scenario + " " + x.Method + " " + shortURI(x.URI)
	say := func(format string, args ...any) { diffs = append(diffs, what+": "+fmt.Sprintf(format, args...)) }
	uri, body := p.own(x.URI).(string), p.own(x.Request)
	if _, rest, ok := strings.Cut(uri, "/resourceGroups/"); ok && x.Method == http.MethodPut {
		p.group(strings.Split(rest, "/")[0])
	}
	a := p.send(x.Method, uri, body)
	switch {
	case x.Status == 0 && !a.ok(), x.Status != 0 && a.Status != x.Status:
		say("status %d, Azure's is %s (%s)", a.Status, statusText(x.Status), a.Code)
		if !a.ok() {
			return diffs
		}
	}
	for _, h := range x.Headers {
		if a.Header.Get(h) == "" {
			say("header %s is missing", h)
		}
	}
	if end := p.settle(a); end != "" {
		say("%s", end)
	}
	var got any
	if len(a.Body) > 0 {
		if err := a.json(&got); err != nil {
			say("%v", err)
		}
	}
	seen := map[string]bool{}
	for _, d := range compareTrees("", p.own(x.Response), got, body) {
		if !seen[d] {
			seen[d] = true
			say("%s", d)
		}
	}
	return diffs
}

func statusText(status int) string {
	if status == 0 {
		return "a success"
	}
	return fmt.Sprint(status)
}

// own puts this region's subscription into a recorded value.
func (p *player) own(v any) any {
	switch v := v.(type) {
	case string:
		for _, name := range []string{recordedSubscription, "subscriptionId", "virtualNetworkSubscriptionId"} {
			v = strings.ReplaceAll(v, "/subscriptions/"+name+"/", "/subscriptions/"+p.sub+"/")
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = p.own(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = p.own(x)
		}
		return out
	}
	return v
}

// shortURI is what of a URI tells one request from another.
func shortURI(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	path := u.Path
	if i := strings.LastIndex(path, "/providers/"); i >= 0 {
		path = path[i+len("/providers/"):]
	}
	return path
}

// compareTrees tells which keys of Azure's answer ours lacks, which have another type, and which values of the
// request (sent, at the same place) did not come back. Values that Azure chose are not compared.
func compareTrees(at string, azure, ours, sent any) (out []string) {
	if azure == nil {
		return nil
	}
	switch a := azure.(type) {
	case map[string]any:
		o, ok := ours.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %s, Azure's is an object", at, kindOf(ours))}
		}
		s, _ := sent.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(a)) {
			v, has := o[k]
			if !has {
				out = append(out, strings.TrimPrefix(at+"."+k, ".")+" is missing")
				continue
			}
			out = append(out, compareTrees(strings.TrimPrefix(at+"."+k, "."), a[k], v, s[k])...)
		}
	case []any:
		o, ok := ours.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %s, Azure's is a list", at, kindOf(ours))}
		}
		s, _ := sent.([]any)
		for i, x := range a {
			switch j := counterpart(x, o, i, at); {
			case j < 0 && at == "value": // what else the recording's subscription had
			case j < 0:
				out = append(out, fmt.Sprintf("%s has %d elements, Azure's %d", at, len(o), len(a)))
			default:
				out = append(out, compareTrees(at+"[]", x, o[j], element(s, i))...)
			}
		}
	default:
		switch {
		case kindOf(azure) != kindOf(ours):
			out = append(out, fmt.Sprintf("%s is %s, Azure's is %s", at, kindOf(ours), kindOf(azure)))
		case sent != nil && azure == sent && ours != sent:
			out = append(out, fmt.Sprintf("%s is %v, the request had %v", at, ours, sent))
		}
	}
	return out
}

// counterpart finds the element of ours that Azure's x speaks of: by its name, else by its place; -1 for none.
func counterpart(x any, ours []any, i int, at string) int {
	m, ok := x.(map[string]any)
	if name, named := m["name"].(string); ok && named {
		return slices.IndexFunc(ours, func(o any) bool {
			om, ok := o.(map[string]any)
			n, named := om["name"].(string)
			return ok && named && strings.EqualFold(n, name)
		})
	}
	if at == "value" || i < len(ours) {
		return min(i, len(ours)-1)
	}
	return -1
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	}
	return "an object"
}
