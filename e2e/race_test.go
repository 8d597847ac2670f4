package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestRaces runs a vauban that was built with the race detector, from many sides at once. What the detector
// finds is in the region's logs, which every test looks at in its end.
func TestRaces(t *testing.T) {
	g := newGround(t, nil)
	g.exe = filepath.Join(bin, "vauban-race")
	if err := build(g.exe, "-race"); err != nil {
		t.Fatal(err)
	}
	g.upWithImage()
	w := g.secured()
	w.environment()
	gate := w.gate()
	w.submit("job", gate.command("mark-race"), nil)
	gate.hear()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 4 {
				nsg := fmt.Sprintf("%s/providers/Microsoft.Network/networkSecurityGroups/r%d-%d?api-version=%s", w.group, worker, i, vNetwork)
				subnet := fmt.Sprintf("%s/subnets/r%d?api-version=%s", w.vnet, worker, vNetwork)
				for _, r := range []request{
					{Method: "PUT", URL: nsg, Body: jsonBody(obj{"location": location})},
					{Method: "PUT", URL: subnet, Body: jsonBody(obj{"properties": obj{"addressPrefix": fmt.Sprintf("10.20.%d.0/24", 100+worker)}})},
					{Method: "GET", URL: w.group + "/resources?api-version=" + vResources},
					{Method: "GET", URL: w.workspace + "/jobs?api-version=" + vML},
					{Method: "DELETE", URL: nsg},
					{Method: "DELETE", URL: subnet},
				} {
					a, err := w.do(t.Context(), r)
					if err != nil || !a.ok() && a.Status != http.StatusConflict && a.Status != http.StatusNotFound && a.Status != http.StatusTooManyRequests {
						t.Errorf("%s %s: %v %v", r.Method, r.URL, a, err)
					}
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 3 {
				a, err := w.sendFrom("hub/jumpbox", "GET", "https://"+blobHost+"/data?restype=container&comp=list")
				if err != nil || !a.ok() {
					t.Errorf("the blobs, through the endpoint: %v %v", a, err)
				}
				if _, err := w.output(w.command("status")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	g.kill()
	g.up()
	gate.say("end")
	w.completed("job")
	if log := contents(filepath.Join(g.dir, "server.log")); !strings.Contains(log, "level=INFO") {
		t.Errorf("the log is not what it was: %.500s", log)
	}
}
