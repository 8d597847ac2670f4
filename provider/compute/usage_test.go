package compute_test

import (
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/quota"
)

// TestCores: machines take processors of their quota, and one too many is refused in Azure's words.
func TestCores(t *testing.T) {
	r := newRig(t)
	set := func(limit int) {
		t.Helper()
		q, err := quota.Find(compute.Quotas(), "Microsoft.Compute/cores")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error {
			return quota.Set(tx, strings.TrimPrefix(sub, "/subscriptions/"), "westeurope", q, limit)
		}); err != nil {
			t.Fatal(err)
		}
	}
	set(3)
	r.Must("PUT", vms+"one"+api, machine("a"))
	a := r.Request("PUT", vms+"two"+api, machine("b"))
	const want = "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 3, Current Usage: 2, Additional Required: 2, (Minimum) New Limit Required: 4."
	if a.Status != 409 || a.Code() != "OperationNotAllowed" || !strings.HasPrefix(a.String("error", "message"), want) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	found := false
	for _, v := range r.Request("GET", sub+"/providers/Microsoft.Compute/locations/westeurope/usages"+api, "").At("value").([]any) {
		u := v.(map[string]any)
		if u["name"].(map[string]any)["value"] == "cores" {
			found = u["currentValue"] == 2.0 && u["limit"] == 3.0
		}
	}
	if !found {
		t.Error("the usages do not say so")
	}
	set(-1)
	r.Must("PUT", vms+"two"+api, machine("b"))
}
