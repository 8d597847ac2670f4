package entra

import (
	"errors"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

func TestManagedIdentities(t *testing.T) {
	w := newWorld(t, testTenant)
	vm := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm")
	upper := arm.MustParseID(strings.ToUpper(vm.String()))
	user := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u")
	w.update(t, func(tx store.Tx) error {
		first, tenant, err := w.EnsureSystem(tx, vm)
		again, _, err2 := w.EnsureSystem(tx, upper)
		if first == "" || first != again || tenant != testTenant {
			t.Errorf("%s and %s of tenant %s", first, again, tenant)
		}
		_, _, missing := w.Resolve(tx, user)
		if e := arm.AsError(missing); e == nil || e.Status != 400 || e.Code != "FailedIdentityOperation" {
			t.Errorf("missing: %v", missing)
		}
		if _, _, err := w.Resolve(tx, vm); err == nil {
			t.Error("a system-assigned identity is resolved as a user-assigned one")
		}
		oid, cid, _, err3 := w.EnsureUser(tx, user)
		gotOID, gotCID, err4 := w.Resolve(tx, user)
		if oid != gotOID || cid != gotCID {
			t.Errorf("%s %s, resolved as %s %s", oid, cid, gotOID, gotCID)
		}
		if _, _, err := w.EnsureSystem(tx, user); err == nil {
			t.Error("two kinds of identity on one id")
		}
		if _, _, err := w.AddSecret(tx, oid, "x", 1); err == nil {
			t.Error("a managed identity is given a secret")
		}
		err5 := errors.Join(w.Remove(tx, vm), w.Remove(tx, vm), w.Remove(tx, user))
		if _, err := w.ByObjectID(tx, first); !errors.Is(err, directory.ErrNoPrincipal) {
			t.Errorf("removed: %v", err)
		}
		if _, err := w.ByObjectID(tx, oid); err != nil {
			t.Errorf("the user-assigned identity went with the system-assigned one: %v", err)
		}
		renewed, _, err6 := w.EnsureSystem(tx, vm)
		if renewed == first {
			t.Error("a resource made again has the old identity")
		}
		if named, err := w.ByDisplayName(tx, "VM"); err != nil || len(named) != 1 || named[0].ObjectID != renewed {
			t.Errorf("by name: %v %v", named, err)
		}
		return errors.Join(err, err2, err3, err4, err5, err6, w.RemoveUser(tx, user), w.RemovePrincipal(tx, renewed))
	})
}
