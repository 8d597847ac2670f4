package e2e

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/conformance"
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
	for _, d := range conformance.Compare(p.own(x.Response), got, body) {
		say("%s", d)
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
