package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFlowLogs: what passes and what is refused in a subnet stands in its flow log, under the rule that decided.
func TestFlowLogs(t *testing.T) {
	g := newGround(t, nil)
	g.up()
	w := g.secured()
	w.services("Enabled")
	watcher := w.watcher()
	log := watcher + "/flowLogs/training"
	w.put(log, vNetwork, obj{"location": location, "properties": obj{"targetResourceId": w.vnet, "storageId": w.account, "enabled": true}})
	a, err := w.do(t.Context(), request{Method: "PUT", URL: "https://management.azure.com" + watcher + "/flowLogs/nsg?api-version=" + vNetwork, Body: strings.NewReader(`{"location":"` + location + `","properties":{
		"targetResourceId":"` + w.group + `/providers/Microsoft.Network/networkSecurityGroups/training","storageId":"` + w.account + `","enabled":true}}`)})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, a, 400, "NsgFlowLogCreationBlocked", "retired")
	g.reaches("hub/training", "tcp", "198.51.100.80:443", "dropped")
	g.reaches("hub/jumpbox", "tcp", blobHost+":443", "answered")
	// switched off, the log is written out
	w.put(log, vNetwork, obj{"location": location, "properties": obj{"targetResourceId": w.vnet, "storageId": w.account, "enabled": false}})

	blobs := "https://" + blobHost + "/insights-logs-flowlogflowevent"
	wants := []string{
		"UserRule_DenyInternet 198.51.100.80,443,6,O,D,NX",
		"443,6,O,B,NX",
	}
	var tuples []string
	logged := func(want string) bool {
		rule, rest, ok := strings.Cut(want, " ")
		if !ok {
			rule, rest = "", want
		}
		return slices.ContainsFunc(tuples, func(s string) bool {
			f := strings.Split(strings.TrimPrefix(s, rule), ",") // rule time,src,dst,sport,dport,proto,dir,state,…
			return strings.HasPrefix(s, rule) && strings.Contains(strings.Join([]string{f[2], f[4], f[5], f[6], f[7], f[8]}, ","), rest)
		})
	}
	all := func() bool { return !slices.ContainsFunc(wants, func(w string) bool { return !logged(w) }) }
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !all(); {
		list, err := w.sendFrom("hub/jumpbox", "-header", "x-ms-version: 2023-11-03", "GET", blobs+"?restype=container&comp=list")
		if err != nil {
			t.Fatal(err)
		}
		tuples = nil
		for _, part := range strings.Split(string(list.Body), "<Name>")[1:] {
			name, _, _ := strings.Cut(part, "</Name>")
			if !strings.Contains(name, "_NETWORKWATCHERRG/NETWORKWATCHER_"+strings.ToUpper(location)+"_TRAINING/y=") || !strings.HasSuffix(name, "/PT1H.json") {
				t.Errorf("a blob is called %s", name)
			}
			tuples = append(tuples, w.tuples(blobs+"/"+name)...)
		}
	}
	for _, want := range wants {
		if !logged(want) {
			t.Errorf("%q is not among %q", want, tuples)
		}
	}
}

// tuples of a flow log's blob, each after its rule.
func (w *world) tuples(url string) (out []string) {
	w.t.Helper()
	a, err := w.sendFrom("hub/jumpbox", "-header", "x-ms-version: 2023-11-03", "GET", url)
	if err != nil {
		w.t.Fatal(err)
	}
	var doc struct {
		Records []struct {
			Version int `json:"flowLogVersion"`
			Flow    struct {
				Flows []struct {
					Groups []struct {
						Rule   string   `json:"rule"`
						Tuples []string `json:"flowTuples"`
					} `json:"flowGroups"`
				} `json:"flows"`
			} `json:"flowRecords"`
		} `json:"records"`
	}
	if err := json.Unmarshal(a.Body, &doc); err != nil {
		w.t.Fatalf("%s: %v: %s", url, err, a.Body)
	}
	for _, r := range doc.Records {
		if r.Version != 4 {
			w.t.Errorf("a record of version %d", r.Version)
		}
		for _, f := range r.Flow.Flows {
			for _, x := range f.Groups {
				for _, tuple := range x.Tuples {
					out = append(out, x.Rule+" "+tuple)
				}
			}
		}
	}
	return out
}
