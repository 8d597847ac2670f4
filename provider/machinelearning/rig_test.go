package machinelearning_test

import (
	"context"
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
	"vauban.dev/internal/clock"
	"vauban.dev/ml"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	account = group + "/providers/Microsoft.Storage/storageAccounts/acct"
	vault   = group + "/providers/Microsoft.KeyVault/vaults/kv1"
	mlw     = group + "/providers/Microsoft.MachineLearningServices/workspaces/mlw"
	api     = "?api-version=2024-10-01"
	image   = "vauban.local/python:3.11"
)

// parts are fakes of what stands beside the provider: containers, SAS, tokens, network and agents.
type parts struct {
	mu      sync.Mutex
	made    map[string]bool // containers
	nics    map[string]bool
	full    bool // the subnet has no address left
	syncs   int
	started chan machinelearning.NodeSpec
	stopped chan string
	dead    map[string]bool
}

func (p *parts) Container(store.Tx, arm.ID, string) (storage.Container, error) {
	return storage.Container{}, arm.Errorf(http.StatusNotFound, "ContainerNotFound", "none")
}

func (p *parts) PutContainer(_ store.Tx, account arm.ID, c storage.Container) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[account.Name()+"/"+c.Name] = true
	return true, nil
}
func (p *parts) DeleteContainer(store.Tx, arm.ID, string, int) error                  { return nil }
func (p *parts) ListContainers(store.Tx, arm.ID) ([]storage.Container, error)         { return nil, nil }
func (p *parts) Guard(store.Tx, arm.ID, string, storage.Guard, json.RawMessage) error { return nil }
func (p *parts) SignSAS(string, string, string, []byte, url.Values) (string, error) {
	return "", nil
}
func (p *parts) DropAccount(context.Context, string, string) error  { return nil }
func (p *parts) DropVault(context.Context, string) error            { return nil }
func (p *parts) CheckSubnet(*rp.Tx, arm.ID, string) error           { return nil }
func (p *parts) RemoveManagedSubnet(*rp.Tx, arm.ID) error           { return nil }
func (p *parts) Egress(string, string) netip.Addr                   { return netip.MustParseAddr("203.0.113.130") }
func (p *parts) Why(context.Context, string, string, uint16) string { return "Nothing refuses it." }

func (p *parts) ContainerSAS(_ *rp.Tx, account, container, permissions string, expiry time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "?sp=" + permissions + "&se=" + expiry.Format("2006-01-02"), nil
}

func (p *parts) KeySAS(account, container string, key []byte, permissions string, _ time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "?sp=" + permissions + "&key=" + string(key), nil
}

// EnsureSystem gives each resource an identity of its own, which is always the same.
func (p *parts) EnsureSystem(_ store.Tx, id arm.ID) (string, string, error) {
	return uuid.NewSHA1(uuid.Nil, []byte(id.Key())).String(), rptest.Owner.TenantID, nil
}

func (p *parts) Remove(store.Tx, arm.ID) error { return nil }

func (p *parts) Resolve(_ store.Tx, id arm.ID) (string, string, error) {
	return "", "", arm.Errorf(http.StatusNotFound, "ResourceNotFound", "%s is not there", id)
}

// Check lets everybody read and write the data of the workspace's own account, and nobody elsewhere.
func (p *parts) Check(_ context.Context, who authz.Principal, q authz.Request) (authz.Decision, error) {
	if q.Data && strings.HasPrefix(q.Scope, account+"/") {
		return authz.Decision{Allowed: true, By: "the test"}, nil
	}
	if q.Action == "Microsoft.Resources/subscriptions/resourceGroups/write" && who.ObjectID == rptest.Owner.ObjectID {
		return authz.Decision{Allowed: true, By: "the test"}, nil
	}
	return authz.Decision{By: who.Name + " has no data role there"}, nil
}

func (p *parts) IssueRun(_ context.Context, r machinelearning.RunScope) (string, time.Time, error) {
	return "token of " + r.RunID, time.Unix(2e9, 0), nil
}

func (p *parts) ManagedSubnet(_ *rp.Tx, cluster arm.ID, _ string, _ bool) (arm.ID, error) {
	return arm.MustParseID(group + "/providers/Microsoft.Network/virtualNetworks/managed/subnets/nodes"), nil
}

func (p *parts) MayEnter(context.Context, arm.ID, arm.ID, string) error { return nil }
func (p *parts) RemoveEntry(*rp.Tx, arm.ID) error                       { return nil }
func (p *parts) WhyCalled(context.Context, machinelearning.NIC) string  { return "" }
func (p *parts) Call(context.Context, machinelearning.NIC) (net.Conn, error) {
	return nil, net.ErrClosed
}

func (p *parts) AllocateNode(_ *rp.Tx, r machinelearning.NodeRequest) (machinelearning.NIC, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return machinelearning.NIC{}, arm.Errorf(http.StatusBadRequest, "SubnetIsFull", "Subnet %s is full.", r.Subnet.Name())
	}
	nic := machinelearning.NIC{ID: "nic-" + r.Node, Private: "10.0.0.5"}
	if r.Public {
		nic.Public = "203.0.113.130"
	}
	p.nics[nic.ID] = true
	return nic, nil
}

func (p *parts) ReleaseNode(_ *rp.Tx, nic string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.nics, nic)
	return nil
}

func (p *parts) Sync(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.syncs++
	return nil
}

func (p *parts) Start(_ context.Context, n machinelearning.NodeSpec) error {
	p.started <- n
	return nil
}

func (p *parts) Alive(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead[node]
}

func (p *parts) Stop(_ context.Context, node string) error {
	p.stopped <- node
	return nil
}

// rig is a region with the machine learning types and a workspace.
type rig struct {
	*rptest.Region
	*machinelearning.Provider
	*parts
	t     testing.TB
	runs  *ml.Store
	clock *clock.Region
	links *privatelink.Links
	guid  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, clock: new(clock.Region), parts: &parts{
		made: map[string]bool{}, nics: map[string]bool{}, dead: map[string]bool{}, started: make(chan machinelearning.NodeSpec, 8), stopped: make(chan string, 8),
	}}
	r.Provider = machinelearning.New(machinelearning.Config{
		Clock: r.clock, Containers: r.parts, SAS: r.parts, Tokens: r.parts, Access: r.parts, Network: r.parts, Launcher: r.parts, TenantID: rptest.Owner.TenantID,
		Images: map[string]bool{image: true},
	})
	accounts, vaults := storage.New(r.parts), keyvault.New(r.parts)
	links := privatelink.New(accounts.Target(), vaults.Target(), r.Target())
	accounts.Use(links)
	vaults.Use(links)
	r.links = links
	regs := append(accounts.Types(), vaults.Types()...)
	regs = append(regs, links.Types()...)
	regs = append(regs, authorization.New(nil).Types()...)
	r.Region = rptest.New(t, rp.Config{Clock: r.clock, Identities: r.parts, Locations: []string{"westeurope"}}, append(regs, r.Types()...)...)
	r.Attach(r.Engine, links)
	r.runs = ml.New(r.Store, r.clock)
	r.Runs = r.runs
	r.Must("PUT", account+"?api-version=2023-05-01", `{"location":"westeurope","sku":{"name":"Standard_LRS"},"kind":"StorageV2"}`)
	r.Must("PUT", vault+"?api-version=2023-07-01", `{"location":"westeurope","properties":{"tenantId":"`+rptest.Owner.TenantID+`","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`)
	w := r.Must("PUT", mlw+api, `{"location":"westeurope","identity":{"type":"None"},"properties":{"storageAccount":"`+account+`","keyVault":"`+vault+`"}}`)
	w = r.Must("GET", mlw+api, "")
	if r.guid = w.String("properties", "workspaceId"); r.guid == "" {
		t.Fatal(w.Text)
	}
	return r
}

// refused makes a request that is refused with this status, and whose message says this.
func (r *rig) refused(status int, says, method, target, body string) {
	r.t.Helper()
	a := r.Request(method, target, body)
	if a.Status != status || !strings.Contains(a.String("error", "message"), says) {
		r.t.Errorf("%s %s: %d %s; want %d and %q", method, target, a.Status, a.Text, status, says)
	}
}

// receive waits for what a reconcile does.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("what the reconcile should do has not happened")
		panic("unreachable")
	}
}
