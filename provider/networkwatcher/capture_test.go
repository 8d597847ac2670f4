package networkwatcher_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/networkwatcher"
)

// recorder notes which captures run.
type recorder struct {
	mu      sync.Mutex
	running map[string]networkwatcher.Capture
	changed chan struct{}
	end     func(id arm.ID)
}

func (r *recorder) Start(id arm.ID, c networkwatcher.Capture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[id.Name()] = c
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) Stop(_ context.Context, id arm.ID) {
	r.mu.Lock()
	_, was := r.running[id.Name()]
	delete(r.running, id.Name())
	r.mu.Unlock()
	if was {
		r.end(id)
	}
}

func TestCaptureType(t *testing.T) {
	r := newRig(t)
	r.captures.end = func(id arm.ID) {
		if err := r.Engine.Update(context.Background(), func(tx *rp.Tx) error {
			return networkwatcher.SaveCapture(tx, id, networkwatcher.CaptureStatus{Reason: networkwatcher.StopAsked})
		}); err != nil {
			t.Error(err)
		}
	}
	account := group + "/providers/Microsoft.Storage/storageAccounts/logs"
	r.Wait(r.Must("PUT", account+"?api-version=2023-01-01", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`))
	body := func(target, storage, more string) string {
		return `{"properties":{"target":"` + target + `","storageLocation":{` + storage + `}` + more + `}}`
	}
	store := `"storageId":"` + account + `"`
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"a machine", body(vm, store, ""), 404, "ResourceNotFound"},
		{"no such interface", body(nic+"x", store, ""), 404, "ResourceNotFound"},
		{"no account", body(nic, "", ""), 400, "InvalidRequestFormat"},
		{"no such account", body(nic, `"storageId":"`+account+`x"`, ""), 404, "ResourceNotFound"},
		{"a file", body(nic, store+`,"filePath":"/tmp/x.cap"`, ""), 501, "NotImplemented"},
		{"another account's path", body(nic, store+`,"storagePath":"https://other.blob.core.windows.net/c/x.cap"`, ""), 400, "InvalidRequestFormat"},
		{"a path without a blob", body(nic, store+`,"storagePath":"https://logs.blob.core.windows.net/c"`, ""), 400, "InvalidRequestFormat"},
		{"a scale set", body(nic, store, `,"targetType":"AzureVMSS"`), 501, "NotImplemented"},
		{"a bad filter", body(nic, store, `,"filters":[{"protocol":"ICMP"}]`), 400, "InvalidRequestFormat"},
		{"too long", body(nic, store, `,"timeLimitInSeconds":18001`), 400, "InvalidRequestFormat"},
	} {
		if a := r.Request("PUT", auto+"/packetCaptures/c"+v, c.body); a.Status != c.status || a.Code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, a.Status, a.Text, c.status, c.code)
		}
	}
	r.put(auto+"/packetCaptures/c", body(nic, store, `,"bytesToCapturePerPacket":96`))
	<-r.captures.changed
	r.captures.mu.Lock()
	spec := r.captures.running["c"]
	r.captures.mu.Unlock()
	if spec.Total != 1<<30 || spec.Seconds != 18000 || spec.PerPacket != 96 || spec.Status.Started.IsZero() {
		t.Errorf("%+v", spec)
	}
	container, name, err := spec.Blob(arm.MustParseID(auto+"/packetCaptures/c"), time.Date(2026, 11, 22, 9, 5, 7, 0, time.UTC))
	if want := strings.Trim(strings.ToLower(nic), "/") + "/2026/11/22/packetcapture_09_05_07_c.cap"; err != nil || container != "network-watcher-logs" || name != want {
		t.Errorf("%s %s %v", container, name, err)
	}
	if a := r.Request("PUT", auto+"/packetCaptures/c"+v, body(nic, store, "")); a.Status != 400 || a.Code() != "PacketCaptureCannotBeChanged" {
		t.Errorf("a change: %d %s", a.Status, a.Text)
	}
	if a := r.Request("POST", auto+"/packetCaptures/c/queryStatus"+v, ""); a.String("packetCaptureStatus") != "Running" || a.String("captureStartTime") == "" || strings.Contains(a.Text, "stopReason") {
		t.Errorf("running: %s", a.Text)
	}
	r.follow(r.Request("POST", auto+"/packetCaptures/c/stop"+v, ""))
	if a := r.Request("POST", auto+"/packetCaptures/c/queryStatus"+v, ""); a.String("packetCaptureStatus") != "Stopped" || a.String("stopReason") != "CaptureStopped" {
		t.Errorf("stopped: %s", a.Text)
	}
	if a := r.Request("GET", auto+"/packetCaptures/c"+v, ""); strings.Contains(a.Text, "captureStatus") {
		t.Errorf("what is the provider's own is shown: %s", a.Text)
	}
	// one that has ended does not begin again
	r.Engine.Wake(arm.MustParseID(auto + "/packetCaptures/c"))
	r.put(auto+"/packetCaptures/second", body(nic, store, ""))
	<-r.captures.changed
	r.captures.mu.Lock()
	defer r.captures.mu.Unlock()
	if _, again := r.captures.running["c"]; again {
		t.Error("it runs again")
	}
}
