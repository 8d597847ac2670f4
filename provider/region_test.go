package provider_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/compute/batch"
	"vauban.dev/internal/clock"
	"vauban.dev/ml"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/azurefirewall"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/dnsresolver"
	"vauban.dev/provider/gateway"
	"vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/managedidentity"
	"vauban.dev/provider/managementgroups"
	"vauban.dev/provider/network"
	"vauban.dev/provider/networkwatcher"
	"vauban.dev/provider/privatedns"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub   = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group = sub + "/resourceGroups/rg"
	image = "image:1"
)

// region has every provider behind one door. What lies under them (data planes, directory, kernel, agents) is played.
type region struct {
	*rptest.Region
	t        testing.TB
	ml       *machinelearning.Provider
	network  *network.Provider
	launched chan machinelearning.NodeSpec
	mu       sync.Mutex
	running  map[string]bool
	dropped  map[string]bool
	guid     string
}

// late is an engine that is made after what needs it.
type late struct{ r *region }

func (l late) View(ctx context.Context, f func(*rp.Tx) error) error { return l.r.Engine.View(ctx, f) }
func (l late) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.Update(ctx, f)
}

func (l late) Wake(id arm.ID) { l.r.Engine.Wake(id) }

type lateLinks struct{ *privatelink.Links }

func newRegion(t testing.TB) *region {
	t.Helper()
	r := &region{t: t, launched: make(chan machinelearning.NodeSpec, 8), running: map[string]bool{}, dropped: map[string]bool{}}
	now := new(clock.Region)
	var links lateLinks
	r.network = network.New(network.Config{Engine: late{r}, Targets: &links, Sync: r, Tags: noTags{}, PublicPool: netip.MustParsePrefix("203.0.113.128/28")})
	accounts, vaults := storage.New(r), keyvault.New(r)
	r.ml = machinelearning.New(machinelearning.Config{
		Clock: now, Containers: r, SAS: r, Tokens: r, Access: everything{}, Network: r, Launcher: r, TenantID: rptest.Owner.TenantID, Images: map[string]bool{image: true},
	})
	links.Links = privatelink.New(accounts.Target(), vaults.Target(), r.ml.Target())
	accounts.Use(links.Links)
	vaults.Use(links.Links)
	var regs []rp.Registration
	for _, types := range [][]rp.Registration{
		resources.New(resources.Tenant{ID: rptest.Owner.TenantID}, nil, &authz.Index{}).Types(), authorization.New(r).Types(), managedidentity.Types(r), r.network.Types(),
		privatedns.New(privatedns.Config{Sync: r, VNetExists: network.VNetExists}).Types(), accounts.Types(), vaults.Types(), r.ml.Types(), links.Types(),
		managementgroups.New(managementgroups.Config{TenantID: rptest.Owner.TenantID}).Types(), dnsresolver.New(dnsresolver.Config{Network: r.network, Sync: r}).Types(),
		gateway.New(gateway.Config{Network: r.network, Sync: r}).Types(), networkwatcher.New(networkwatcher.Config{View: late{r}.View}).Types(),
		azurefirewall.New(azurefirewall.Config{Network: r.network, Sync: r}).Types(), compute.New(compute.Config{Engine: late{r}, Sync: r}).Types(),
	} {
		regs = append(regs, types...)
	}
	r.Region = rptest.New(t, rp.Config{Clock: now, Identities: r, Locations: []string{"westeurope", "global"}}, regs...)
	r.ml.Attach(r.Engine, links.Links)
	vaults.UseDeleted(r.Engine.Update, nil)
	r.ml.Runs = ml.New(r.Store, now)
	err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "test") })
	if err != nil {
		t.Fatal(err)
	}
	r.Must("PUT", group+"?api-version=2024-11-01", `{"location":"westeurope"}`)
	return r
}

type noTags struct{}

func (noTags) Prefixes(string) ([]netip.Prefix, bool) { return nil, false }

type everything struct{}

func (everything) Check(context.Context, authz.Principal, authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: true}, nil
}

// The directory.

func guid(what string, id arm.ID) string {
	sum := sha256.Sum256([]byte(what + id.Key()))
	u, _ := uuid.FromBytes(sum[:16])
	return u.String()
}

func (r *region) EnsureSystem(_ store.Tx, id arm.ID) (string, string, error) {
	return guid("system", id), rptest.Owner.TenantID, nil
}

func (r *region) EnsureUserAssigned(_ store.Tx, id arm.ID) (string, string, string, error) {
	return guid("principal", id), guid("client", id), rptest.Owner.TenantID, nil
}

func (r *region) Remove(store.Tx, arm.ID) error { return nil }

func (r *region) PutFederated(store.Tx, arm.ID, string, managedidentity.Federated) error { return nil }

func (r *region) RemoveFederated(store.Tx, arm.ID, string) error { return nil }

func (r *region) Resolve(_ store.Tx, id arm.ID) (string, string, error) {
	return guid("principal", id), guid("client", id), nil
}

func (r *region) PrincipalType(store.Tx, string) (string, bool, error) {
	return "ServicePrincipal", true, nil
}

// The data planes.

func (r *region) Container(_ store.Tx, _ arm.ID, name string) (storage.Container, error) {
	return storage.Container{Name: name}, nil
}
func (r *region) PutContainer(store.Tx, arm.ID, storage.Container) (bool, error)       { return true, nil }
func (r *region) DeleteContainer(store.Tx, arm.ID, string, int) error                  { return nil }
func (r *region) ListContainers(store.Tx, arm.ID) ([]storage.Container, error)         { return nil, nil }
func (r *region) Guard(store.Tx, arm.ID, string, storage.Guard, json.RawMessage) error { return nil }
func (r *region) SignSAS(string, string, string, []byte, url.Values) (string, error) {
	return "sig=x", nil
}
func (r *region) DropAccount(_ context.Context, id, _ string) error { return r.drop(id) }
func (r *region) DropVault(_ context.Context, id string) error      { return r.drop(id) }
func (r *region) ContainerSAS(_ *rp.Tx, account, container, permissions string, _ time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "?sp=" + permissions, nil
}
func (r *region) KeySAS(account, container string, _ []byte, permissions string, _ time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "?sp=" + permissions, nil
}
func (r *region) IssueRun(context.Context, machinelearning.RunScope) (string, time.Time, error) {
	return "token", time.Unix(2e9, 0), nil
}

func (r *region) drop(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped[id] = true
	return nil
}

// The network under the nodes is the real one, without a kernel.

func (r *region) Sync(context.Context) error { return nil }

func (r *region) CheckSubnet(tx *rp.Tx, subnet arm.ID, _ string) error {
	_, err := rp.Get[network.Subnet](tx, subnet)
	return err
}

func (r *region) MayEnter(context.Context, arm.ID, arm.ID, string) error { return nil }
func (r *region) RemoveEntry(*rp.Tx, arm.ID) error                       { return nil }
func (r *region) WhyCalled(context.Context, machinelearning.NIC) string  { return "" }
func (r *region) Call(context.Context, machinelearning.NIC) (net.Conn, error) {
	return nil, net.ErrClosed
}

func (r *region) AllocateNode(tx *rp.Tx, q machinelearning.NodeRequest) (machinelearning.NIC, error) {
	n, err := r.network.AllocateNIC(tx, network.NICRequest{Subnet: q.Subnet, Owner: q.Cluster.String() + "/nodes/" + q.Node, Kind: "node", Public: q.Public})
	return machinelearning.NIC{ID: n.ID, Private: n.Addr.String()}, err
}

func (r *region) ReleaseNode(tx *rp.Tx, nic string) error { return r.network.ReleaseNIC(tx, nic) }
func (r *region) ManagedSubnet(*rp.Tx, arm.ID, string, bool) (arm.ID, error) {
	return arm.ID{}, arm.Errorf(http.StatusBadRequest, "NoManagedSubnet", "not in this test")
}
func (r *region) RemoveManagedSubnet(*rp.Tx, arm.ID) error           { return nil }
func (r *region) Egress(string, string) netip.Addr                   { return netip.Addr{} }
func (r *region) Why(context.Context, string, string, uint16) string { return "" }

// The agents.

func (r *region) Start(_ context.Context, n machinelearning.NodeSpec) error {
	r.mu.Lock()
	r.running[n.ID] = true
	r.mu.Unlock()
	r.launched <- n
	return nil
}

func (r *region) Alive(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[node]
}

func (r *region) Stop(_ context.Context, node string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, node)
	return nil
}

// node waits for a node that is started, and registers it.
func (r *region) node() string {
	r.t.Helper()
	select {
	case n := <-r.launched:
		if err := r.ml.Queue().Registered(r.t.Context(), n.ID, batch.Register{}); err != nil {
			r.t.Fatal(err)
		}
		return n.ID
	case <-time.After(20 * time.Second):
		r.t.Fatal("no node was started")
		panic("unreachable")
	}
}
