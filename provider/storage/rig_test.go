package storage_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub     = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group   = sub + "/resourceGroups/rg"
	other   = sub + "/resourceGroups/rg2"
	account = group + "/providers/Microsoft.Storage/storageAccounts/acct"
	api     = "?api-version=2025-08-01"
	plain   = `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// data is a data plane that keeps its containers in memory.
type data struct {
	mu      sync.Mutex
	made    map[string]storage.Container // account id/name
	dropped []string
	guard   storage.Guard // the last one
	drop    chan struct{} // DropAccount waits for it when it is not nil
	asked   chan struct{} // and says first that it was called
}

func key(account arm.ID, name string) string { return account.Key() + "/" + name }

func (d *data) Container(_ store.Tx, account arm.ID, name string) (storage.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.made[key(account, name)]
	if !ok {
		return c, arm.Errorf(http.StatusNotFound, "ContainerNotFound", "The specified container does not exist.")
	}
	return c, nil
}

func (d *data) PutContainer(_ store.Tx, account arm.ID, c storage.Container) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, there := d.made[key(account, c.Name)]
	c.Managed = old.Managed
	if c.Metadata == nil {
		c.Metadata = old.Metadata
	}
	c.ETag, c.LastModified = `"0x8"`, now
	d.made[key(account, c.Name)] = c
	return !there, nil
}

func (d *data) DeleteContainer(tx store.Tx, account arm.ID, name string, _ int) error {
	if _, err := d.Container(tx, account, name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.made, key(account, name))
	return nil
}

func (d *data) ListContainers(_ store.Tx, account arm.ID) (out []storage.Container, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(d.made)) {
		if strings.HasPrefix(k, account.Key()+"/") {
			out = append(out, d.made[k])
		}
	}
	return out, nil
}

func (d *data) Guard(_ store.Tx, account arm.ID, name string, g storage.Guard, managed json.RawMessage) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.made[key(account, name)]
	c.Managed = managed
	d.made[key(account, name)] = c
	d.guard = g
	return nil
}

func (d *data) SignSAS(account, container, blob string, key []byte, q url.Values) (string, error) {
	return account + "/" + container + "/" + blob + "?" + q.Encode(), nil
}

func (d *data) DropAccount(ctx context.Context, id, name string) error {
	if d.drop != nil {
		d.asked <- struct{}{}
		select {
		case <-d.drop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropped = append(d.dropped, name+" of "+id)
	return nil
}

func (d *data) drops() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.dropped)
}

type rig struct {
	*rptest.Region
	*data
	links *privatelink.Links
	t     testing.TB
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, data: &data{made: map[string]storage.Container{}}}
	p := storage.New(r.data)
	r.links = privatelink.New(p.Target())
	p.Use(r.links)
	regs := append(resources.New(resources.Tenant{}, nil, &authz.Index{}).Types(), p.Types()...)
	r.Region = rptest.New(t, rp.Config{Clock: clock.Fixed(now), Locations: []string{"westeurope"}}, append(regs, r.links.Types()...)...)
	r.update(func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test") })
	for _, g := range []string{group, other} {
		r.Must("PUT", g+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	}
	return r
}

func (r *rig) update(f func(*rp.Tx) error) {
	r.t.Helper()
	if err := r.Engine.Update(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

// deleting has the account's DELETE come as far as its data, and returns its answer when they are dropped.
func (r *rig) deleting(ctx context.Context) (answer func() int) {
	r.t.Helper()
	r.drop, r.asked = make(chan struct{}), make(chan struct{}, 1)
	req := httptest.NewRequestWithContext(authz.NewContext(ctx, rptest.Owner), http.MethodDelete, account+api, nil)
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Handler.ServeHTTP(w, req)
	}()
	<-r.asked
	return func() int {
		<-done
		return w.Code
	}
}

// refused makes a request that is refused with this status and code, and says this.
func (r *rig) refused(status int, code, says, method, target, body string) {
	r.t.Helper()
	a := r.Request(method, target, body)
	if a.Status != status || a.Code() != code || !strings.Contains(a.String("error", "message"), says) {
		r.t.Errorf("%s %s %s: %d %s; want %d %s and %q", method, target, body, a.Status, a.Text, status, code, says)
	}
}

func keys(t testing.TB, a rptest.Answer) (values [2]string) {
	t.Helper()
	list, _ := a.At("keys").([]any)
	if a.Status != http.StatusOK || len(list) != 2 {
		t.Fatalf("keys: %d %s", a.Status, a.Text)
	}
	for i, e := range list {
		values[i], _ = e.(map[string]any)["value"].(string)
	}
	return values
}
