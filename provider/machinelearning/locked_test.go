package machinelearning

import (
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/locks"
	"vauban.dev/provider/authorization"
)

const networkGroup = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/net"

func (y *yard) lock(scope string, level locks.Level) arm.ID {
	y.t.Helper()
	id := arm.MustParseID(scope + "/providers/" + locks.Type + "/keep")
	y.update(func(tx *rp.Tx) error {
		return rp.Save(tx, &rp.Resource[authorization.Lock]{ID: id, State: arm.Succeeded, Properties: authorization.Lock{Level: string(level)}})
	})
	return id
}

func (y *yard) unlock(id arm.ID) {
	y.t.Helper()
	y.update(func(tx *rp.Tx) error { return rp.Remove(tx, id) })
}

func lockedYard(t *testing.T, scale Scale) *yard {
	y := newYard(t, scale, -1)
	if err := y.engine.Register(authorization.Locks()); err != nil {
		t.Fatal(err)
	}
	return y
}

// TestLockHoldsNodes: a lock against deletion on the workspace's group keeps nodes that nobody uses; when it goes, they go.
func TestLockHoldsNodes(t *testing.T) {
	y := lockedYard(t, Scale{Max: 1, Idle: idle2m})
	keep := y.lock(yardGroup, locks.CanNotDelete)
	y.submit("job")
	y.settle()
	y.is("the job", string(y.run("job").Status), "Completed")
	y.clock.t = y.clock.t.Add(time.Hour)
	if again := y.reconcile(); again != watchEvery {
		t.Errorf("it is looked at again in %v", again)
	}
	y.is("an hour later", y.states(), "idle")
	errs := y.shown().Errors
	if len(errs) != 1 || errs[0].Error.Code != "ScopeLocked" || !strings.Contains(errs[0].Error.Message, yardGroup) {
		t.Errorf("the cluster says %+v", errs)
	}
	y.submit("another") // it works all the same
	y.settle()
	y.is("another job", string(y.run("another").Status), "Completed")
	y.unlock(keep)
	y.clock.t = y.clock.t.Add(time.Hour)
	y.settle()
	y.empty()
}

// TestLockOnTheNetworksGroup: with public addresses the service has resources there, which it can neither remove nor, under a
// read-only lock, make.
func TestLockOnTheNetworksGroup(t *testing.T) {
	y := lockedYard(t, Scale{Max: 1, Idle: idle2m})
	elsewhere := networkGroup + "/providers/Microsoft.Network/virtualNetworks/v/subnets/training"
	var res *rp.Resource[Compute]
	y.update(func(tx *rp.Tx) (err error) {
		if res, err = rp.Get[Compute](tx, arm.MustParseID(yardCluster)); err != nil {
			return err
		}
		res.Properties.Aml.Subnet.ID = elsewhere
		return rp.Save(tx, res)
	})
	refused := func(want bool, what string, f func(tx *rp.Tx) error) {
		t.Helper()
		err := y.engine.Update(t.Context(), f)
		if e := arm.AsError(err); want != (e != nil && e.Code == "ScopeLocked" && strings.Contains(e.Message, networkGroup)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	remove := func(tx *rp.Tx) error { return releaseCompute(t.Context(), tx, res) }
	grow := func(tx *rp.Tx) error { return y.p.allocate(tx, res) }
	id := y.lock(networkGroup, locks.CanNotDelete)
	refused(true, "deletion under a delete lock", remove)
	refused(false, "a node under a delete lock", grow)
	y.unlock(id)
	refused(false, "deletion without", remove)
	id = y.lock(networkGroup, locks.ReadOnly)
	refused(true, "deletion under a read-only lock", remove)
	refused(true, "a node under a read-only lock", grow)
	no := false
	res.Properties.Aml.NodePublicIP = &no
	refused(false, "deletion of nodes without public addresses", remove)
	y.unlock(id)
}
