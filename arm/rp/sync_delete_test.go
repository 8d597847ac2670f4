package rp_test

import (
	"context"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
)

// TestSyncDeleteWaitsForFinalize: clients of a type whose DELETE is synchronous take 200 and 204 alone,
// also when its Finalize has work to do after the commit.
func TestSyncDeleteWaitsForFinalize(t *testing.T) {
	finalized := false
	types := append(newWorld().types(), rp.Of(rp.Type[struct{}]{
		Name: "Microsoft.Toys/drains", Kind: rp.Tracked, Versions: rp.Versions[struct{}]("2024-01-01"), SyncDelete: true,
		Finalize: func(context.Context, *rp.Resource[struct{}]) (rp.Result, error) {
			finalized = true
			return rp.Result{}, nil
		},
	}))
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, types...)
	r.Must("PUT", sub+v1, `{}`)
	r.Must("PUT", grp+v1, `{"location":"westeurope"}`)
	drain := grp + "/providers/Microsoft.Toys/drains/d1?api-version=2024-01-01"
	r.Must("PUT", drain, `{"location":"westeurope"}`)
	if a := r.Request("DELETE", drain, ""); a.Status != 200 || !finalized {
		t.Errorf("DELETE: %d, finalized %v: %s", a.Status, finalized, a.Text)
	}
	if a := r.Request("DELETE", drain, ""); a.Status != 204 {
		t.Errorf("second DELETE: %d %s", a.Status, a.Text)
	}
}
