package blob

import (
	"strings"
	"testing"
	"time"

	"vauban.dev/store"
)

// TestGuard: under a legal hold or an immutability period blobs are neither changed nor deleted, by whoever asks; new
// ones, tags and tiers are free; a period that is over lets go of what it kept, unchanged.
func TestGuard(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	guard := func(g Guard) {
		t.Helper()
		if err := f.store.Update(ctx, func(tx store.Tx) error { return f.GuardTx(tx, acct, "con1", g, []byte(`{"x":1}`)) }); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string) error {
		_, err := f.Put(ctx, acct, "con1", name, strings.NewReader("text"), PutOptions{})
		return err
	}
	refused := func(what string, err error) {
		t.Helper()
		if !IsCode(err, "BlobImmutableDueToPolicy") {
			t.Errorf("%s: %v, want BlobImmutableDueToPolicy", what, err)
		}
	}
	free := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := f.CreateContainer(ctx, acct, "con1", ContainerOptions{}); err != nil && !IsCode(err, CodeContainerAlreadyExists) {
		t.Fatal(err)
	}
	free("before", put("kept"))
	_, err := f.Append(ctx, acct, "con1", "log", []byte("one"))
	free("an append blob", err)

	for _, g := range []Guard{{Hold: true}, {Days: 3}} {
		guard(g)
		refused("overwriting", put("kept"))
		refused("deleting", f.Delete(ctx, acct, "con1", "kept"))
		_, err := f.SetMetadata(ctx, acct, "con1", "kept", map[string]string{"a": "b"})
		refused("metadata", err)
		_, err = f.Append(ctx, acct, "con1", "log", []byte("two"))
		refused("appending", err)
		f.want(call{method: "PUT", path: "/con1/kept?comp=tier", header: []string{"x-ms-access-tier", "Cool"}}, 200, "")
		if err := f.DeleteContainer(ctx, acct, "con1"); !IsCode(err, "ContainerImmutableStorageEnabled") {
			t.Errorf("deleting the container: %v", err)
		}
	}
	free("a new blob", put("new"))
	b, err := f.Stat(ctx, acct, "con1", "kept")
	if err != nil || b.Size != 4 {
		t.Errorf("what was kept: %+v %v", b, err)
	}
	guard(Guard{Days: 3, Appends: true})
	_, err = f.Append(ctx, acct, "con1", "log", []byte("two"))
	free("a protected append", err)
	refused("overwriting an append blob", put("log"))

	f.clock.Move(4 * 24 * time.Hour)
	refused("changing after the period", put("kept"))
	free("deleting after the period", f.Delete(ctx, acct, "con1", "kept"))
	guard(Guard{})
	free("without a policy", put("log"))
	if list, _, err := f.ListContainers(ctx, acct, "con1", "", 0); err != nil || len(list) != 1 || string(list[0].Managed) != `{"x":1}` {
		t.Errorf("what Resource Manager keeps: %+v %v", list, err)
	}
	free("deleting the container", f.DeleteContainer(ctx, acct, "con1"))
}
