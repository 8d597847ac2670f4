package machinelearning

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/compute"
	"vauban.dev/compute/batch"
	"vauban.dev/ml"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// A yard is a provider whose reconciles are called by hand, on a clock that stands, with nodes whose agents are
// played: every step of a cluster can be looked at, and a crash can come between any two.

const (
	yardGroup   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	yardSpace   = yardGroup + "/providers/Microsoft.MachineLearningServices/workspaces/mlw"
	yardCluster = yardSpace + "/computes/cpu"
	yardGUID    = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	yardSubnet  = yardGroup + "/providers/Microsoft.Network/virtualNetworks/v/subnets/training"
	yardImage   = "image:1"
)

// crash ends the process at this line.
type crash struct{}

// yardStore lets a crash come before and after each commit.
type yardStore struct {
	store.Store
	y *yard
}

func (s yardStore) Update(ctx context.Context, f func(store.Tx) error) error {
	s.y.point()
	if err := s.Store.Update(ctx, f); err != nil {
		return err
	}
	s.y.point()
	return nil
}

// hands is a clock that is moved by hand.
type hands struct{ t time.Time }

func (h *hands) Now() time.Time { return h.t }

// played is an agent as the launcher and the batch service see it.
type played struct {
	spec  NodeSpec
	alive bool
	mute  bool // it runs and reaches nobody
	up    bool // registered
	held  *batch.Assignment
	seq   int
	grant atomic.Pointer[string]
}

type yard struct {
	t      testing.TB
	db     store.Store
	engine *rp.Engine
	runs   *ml.Store
	p      *Provider
	clock  *hands
	steady *hands

	fuse     int // crash points until a crash; negative: none
	crashed  bool
	crashes  int
	agents   map[string]*played
	starts   []string // nodes, each time their agent was started
	capacity int
	broken   error           // what Start answers
	stuck    map[string]bool // nodes that cannot be stopped
	ends     map[string]int  // job → how often its process ended
	gone     bool            // the subnet was removed
	tx       *rp.Tx          // of what is being set up
	inbound  string          // where nodes are called; "" for never
	closed   bool            // no call gets through
	forbids  *arm.Error      // what MayEnter answers
	entries  int             // how often an entry was removed
}

func newYard(t testing.TB, scale Scale, crashAt int) *yard {
	t.Helper()
	y := &yard{
		t: t, clock: &hands{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}, steady: &hands{time.Unix(1e9, 0)}, fuse: -1,
		agents: map[string]*played{}, capacity: 100, stuck: map[string]bool{}, ends: map[string]int{},
	}
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	y.db = yardStore{db, y}
	y.boot()
	yes := true
	y.update(func(tx *rp.Tx) error {
		return errors.Join(
			rp.Save(tx, &rp.Resource[Workspace]{ID: arm.MustParseID(yardSpace), Location: "westeurope", State: arm.Succeeded, Properties: Workspace{
				WorkspaceID: yardGUID, StorageAccount: yardGroup + "/providers/Microsoft.Storage/storageAccounts/acct"}}),
			rp.Save(tx, &rp.Resource[AssetVersion]{ID: arm.MustParseID(yardSpace + "/environments/py/versions/1"), State: arm.Succeeded, Properties: AssetVersion{Image: yardImage}}),
			rp.Save(tx, &rp.Resource[Compute]{ID: arm.MustParseID(yardCluster), Location: "westeurope", State: arm.Succeeded, Properties: Compute{ComputeType: "AmlCompute", Aml: &AmlCompute{
				VMSize: "Standard_DS3_v2", Scale: &scale, Subnet: &Reference{yardSubnet}, NodePublicIP: &yes, RemoteLogin: "NotSpecified"}}}),
		)
	})
	y.fuse = crashAt
	return y
}

// boot starts the process anew on what the store has.
func (y *yard) boot() {
	y.engine = rp.New(rp.Config{Store: y.db, Clock: y.clock})
	y.runs = ml.New(y.db, y.clock)
	y.p = New(Config{
		Clock: y.clock, Steady: y.steady, Runs: y.runs, SAS: yardSAS{}, Tokens: yardSAS{}, Network: y, Launcher: yardLauncher{y}, Images: map[string]bool{yardImage: true},
	})
	if err := y.engine.Register(y.p.Types()...); err != nil {
		y.t.Fatal(err)
	}
	if err := y.engine.Register(storage.New(nil).Types()...); err != nil {
		y.t.Fatal(err)
	}
	links := rp.Of(rp.Type[privatelink.Connection]{Name: WorkspaceType + "/privateEndpointConnections", Kind: rp.Proxy, Versions: rp.Versions[privatelink.Connection]("2024-10-01")})
	if err := y.engine.Register(links); err != nil {
		y.t.Fatal(err)
	}
	y.p.Attach(y.engine, nil)
}

func (y *yard) point() {
	switch {
	case y.crashed:
		panic(crash{})
	case y.fuse == 0:
		y.crashed = true
		panic(crash{})
	case y.fuse > 0:
		y.fuse--
	}
}

// do runs a piece of the process; after a crash a new process starts, and crashed is true.
func (y *yard) do(f func()) (crashed bool) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case crash:
			y.crashed, y.fuse, crashed = false, -1, true
			y.crashes++
			y.boot()
		default:
			panic(r)
		}
	}()
	f()
	return false
}

// update is the test's own write, in which no crash comes.
func (y *yard) update(f func(*rp.Tx) error) {
	y.t.Helper()
	fuse := y.fuse
	y.fuse = -1
	defer func() { y.fuse = fuse }()
	if err := y.engine.Update(y.t.Context(), f); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) view(f func(*rp.Tx) error) {
	y.t.Helper()
	if err := y.engine.View(y.t.Context(), f); err != nil {
		y.t.Fatal(err)
	}
}

// reconcile calls the cluster's Reconcile once, and returns when it wants to be called again.
func (y *yard) reconcile() (again time.Duration) {
	y.t.Helper()
	y.do(func() {
		r, err := y.p.reconcileCluster(y.t.Context(), y.cluster())
		if err != nil {
			y.t.Fatalf("reconcile: %v", err)
		}
		again = r.After
	})
	return again
}

// cluster is the cluster as the store has it; shown as clients see it.
func (y *yard) cluster() (c *rp.Resource[Compute]) {
	y.t.Helper()
	y.view(func(tx *rp.Tx) (err error) {
		c, err = rp.Get[Compute](tx, arm.MustParseID(yardCluster))
		return err
	})
	return c
}

func (y *yard) shown() *AmlCompute {
	y.t.Helper()
	c := y.cluster()
	y.view(func(tx *rp.Tx) error { return y.p.presentCompute(y.t.Context(), tx, c) })
	return c.Properties.Aml
}

func (y *yard) nodes() (out []*node) {
	y.t.Helper()
	y.view(func(tx *rp.Tx) (err error) {
		out, err = nodesOf(tx, arm.MustParseID(yardCluster))
		return err
	})
	return out
}

// states lists the states of the nodes, in order.
func (y *yard) states() string {
	y.t.Helper()
	var s []string
	for _, n := range y.nodes() {
		s = append(s, string(n.State))
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func (y *yard) errors() string {
	y.t.Helper()
	var s []string
	for _, e := range y.shown().Errors {
		s = append(s, e.Error.Error())
	}
	return strings.Join(s, "\n")
}

// submit admits a job as a PUT does.
func (y *yard) submit(name string) {
	y.t.Helper()
	y.update(func(tx *rp.Tx) error {
		j := &rp.Resource[Job]{ID: arm.MustParseID(yardSpace + "/jobs/" + name), State: arm.Succeeded, Properties: Job{
			JobType: "Command", Command: "true", Environment: "azureml:py:1", ComputeID: "azureml:cpu", Experiment: "e", DisplayName: name}}
		return errors.Join(y.p.admitJob(y.t.Context(), tx, rp.Create, j, nil), rp.Save(tx, j))
	})
	y.clock.t = y.clock.t.Add(time.Nanosecond)
}

func (y *yard) run(name string) *ml.Run {
	y.t.Helper()
	r, err := y.runs.Run(y.t.Context(), yardGUID, name)
	if err != nil {
		y.t.Fatal(err)
	}
	return r
}

// act has each agent that runs speak once to the service: register, take work, say what comes next of it. A crash
// of the service is a failed connection to it, which it tries again.
func (y *yard) act() {
	y.t.Helper()
	for _, id := range y.ids() {
		a := y.agents[id]
		if !a.alive || a.mute {
			continue
		}
		y.do(func() { y.speak(id, a) })
	}
}

func (y *yard) ids() (ids []string) {
	for id := range y.agents {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (y *yard) speak(id string, a *played) {
	y.t.Helper()
	ctx, q := y.t.Context(), y.p.Queue()
	n, err := q.Node(ctx, id)
	if errors.Is(err, batch.ErrNoNode) || err == nil && n.TokenSHA256 != sha256.Sum256([]byte(a.spec.Token)) {
		a.alive = false // it is refused, and ends
		return
	}
	if err != nil {
		y.t.Fatal(err)
	}
	if !a.up {
		if err := q.Registered(ctx, id, batch.Register{}); err != nil {
			y.t.Fatal(err)
		}
		a.up = true
		return
	}
	poll := batch.Poll{State: compute.NodeIdle}
	if g := a.grant.Load(); g != nil {
		poll.Grant = *g
	}
	if a.held != nil {
		poll.Held = []batch.Held{{Task: a.held.Task.ID, Attempt: a.held.Attempt, State: compute.TaskPreparing}}
	}
	reply, err := q.Polled(ctx, id, poll)
	if err != nil {
		y.t.Fatal(err)
	}
	if len(reply.Lost) > 0 {
		a.held, a.seq = nil, 0
	}
	for _, s := range reply.Signals {
		switch {
		case s.Kind == batch.Stop:
			a.alive = false
			return
		case s.Kind == batch.Cancel && a.held != nil:
			y.further(id, a, compute.TaskCanceled)
			return
		}
	}
	if a.held != nil && a.seq > 0 {
		y.further(id, a, compute.TaskCompleted)
		return
	}
	if reply.Assignment != nil {
		if a.held != nil {
			y.t.Errorf("node %s is given %s beside %s", id, reply.Assignment.Task.ID, a.held.Task.ID)
		}
		a.held, a.seq = reply.Assignment, 0
	}
	if a.held != nil {
		y.further(id, a, compute.TaskRunning)
	}
}

// further reports the next state of what the agent has.
func (y *yard) further(id string, a *played, s compute.TaskState) {
	y.t.Helper()
	err := y.p.Queue().Report(y.t.Context(), id, compute.Report{Task: a.held.Task.ID, Attempt: a.held.Attempt, Seq: a.seq + 1, State: s})
	switch {
	case errors.Is(err, batch.ErrLost):
		a.held, a.seq = nil, 0
		return
	case err != nil:
		y.t.Fatal(err)
	}
	a.seq++
	if s.Final() {
		y.ends[a.held.Task.ID]++
		a.held, a.seq = nil, 0
	}
}

// settle reconciles and acts until nothing changes any more.
func (y *yard) settle() {
	y.t.Helper()
	before := ""
	for range 200 {
		crashes := y.crashes
		again := y.reconcile()
		y.act()
		if now := y.picture(); now != before || y.crashes > crashes || again > 0 && again < watchEvery {
			before = now
			continue
		}
		return
	}
	y.t.Fatalf("it does not settle:\n%s", y.picture())
}

// picture is all that there is, in words.
func (y *yard) picture() string {
	y.t.Helper()
	var b strings.Builder
	err := y.db.View(y.t.Context(), func(tx store.Tx) error {
		for _, kind := range []string{kindNode, kindTask, kindQueue, kindNote} {
			err := tx.Scan(kind, "", "", func(d store.Doc) bool {
				fmt.Fprintf(&b, "%s %s %s\n", kind, d.Key, d.Value)
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		y.t.Fatal(err)
	}
	for _, id := range y.ids() {
		a := y.agents[id]
		fmt.Fprintf(&b, "agent %s alive=%v up=%v held=%v seq=%d\n", id, a.alive, a.up, a.held != nil, a.seq)
	}
	return b.String()
}

// empty checks that nothing is left of nodes and tasks, anywhere.
func (y *yard) empty() {
	y.t.Helper()
	for _, kind := range []string{kindNode, kindTask, kindQueue} {
		err := y.db.View(y.t.Context(), func(tx store.Tx) error {
			return tx.Scan(kind, "", "", func(d store.Doc) bool {
				y.t.Errorf("left: %s %s %s", kind, d.Key, d.Value)
				return true
			})
		})
		if err != nil {
			y.t.Fatal(err)
		}
	}
	if n := y.interfaces(); n > 0 {
		y.t.Errorf("%d interfaces are left", n)
	}
	for id, a := range y.agents {
		if a.alive {
			y.t.Errorf("the agent of %s is left", id)
		}
	}
}

// The network.

func (y *yard) CheckSubnet(*rp.Tx, arm.ID, string) error { return nil }
func (y *yard) Egress(string, string) netip.Addr         { return netip.Addr{} }
func (y *yard) Why(context.Context, string, string, uint16) string {
	return "The connection is refused by rule DenyAll of nsg1."
}
func (y *yard) ManagedSubnet(*rp.Tx, arm.ID, string, bool) (arm.ID, error) {
	return arm.MustParseID(yardSubnet), nil
}
func (y *yard) RemoveManagedSubnet(*rp.Tx, arm.ID) error { return nil }
func (y *yard) RemoveEntry(*rp.Tx, arm.ID) error {
	y.entries++
	return nil
}
func (y *yard) WhyCalled(context.Context, NIC) string {
	return "The connection is refused by rule DenyAll of nsg1."
}

func (y *yard) MayEnter(context.Context, arm.ID, arm.ID, string) error {
	if y.forbids != nil {
		return y.forbids
	}
	return nil
}

// Call is answered by the played agent of the node.
func (y *yard) Call(_ context.Context, nic NIC) (net.Conn, error) {
	a := y.agents[strings.TrimPrefix(nic.ID, "nic-")]
	if y.closed || a == nil || !a.alive || a.mute {
		return nil, errors.New("no connection")
	}
	service, node := net.Pipe()
	go func() {
		_ = batch.AnswerCall(node, a.spec.Token, func(grant string) { a.grant.Store(&grant) })
		_ = node.Close()
	}()
	return service, nil
}

func (y *yard) Sync(context.Context) error {
	y.point()
	return nil
}

// AllocateNode and ReleaseNode are the transaction's: a crash does not come within.
func (y *yard) AllocateNode(tx *rp.Tx, r NodeRequest) (NIC, error) {
	used, err := scanDocs(tx, "yard.nic", func(*NIC) bool { return true })
	if err != nil {
		return NIC{}, err
	}
	if y.gone {
		return NIC{}, arm.NotFound(r.Subnet)
	}
	nic := NIC{ID: "nic-" + r.Node, Private: "10.0.0.5", Inbound: y.inbound}
	if err := putDoc(tx, "yard.nic", nic.ID, nic); err != nil {
		return NIC{}, err
	}
	if len(used) >= y.capacity { // after it has taken something, as when the public address is missing
		return NIC{}, arm.Errorf(http.StatusBadRequest, "SubnetIsFull", "Subnet training with address prefix 10.0.0.0/29 does not have enough capacity for 1 IP addresses.")
	}
	return nic, nil
}

func (y *yard) ReleaseNode(tx *rp.Tx, nic string) error { return deleteDoc(tx, "yard.nic", nic) }

func (y *yard) interfaces() (n int) {
	y.t.Helper()
	y.view(func(tx *rp.Tx) error {
		all, err := scanDocs(tx, "yard.nic", func(*NIC) bool { return true })
		n = len(all)
		return err
	})
	return n
}

// yardLauncher starts played agents; it can fail as launchers do.
type yardLauncher struct{ y *yard }

func (l yardLauncher) Start(_ context.Context, n NodeSpec) error {
	l.y.point()
	if l.y.broken != nil {
		return l.y.broken
	}
	l.y.starts = append(l.y.starts, n.ID)
	l.y.agents[n.ID] = &played{spec: n, alive: true}
	l.y.point()
	return nil
}

func (l yardLauncher) Alive(node string) bool {
	a := l.y.agents[node]
	return a != nil && a.alive
}

func (l yardLauncher) Stop(_ context.Context, node string) error {
	l.y.point()
	if l.y.stuck[node] {
		return errors.New("it cannot be stopped")
	}
	if a := l.y.agents[node]; a != nil {
		a.alive = false
	}
	l.y.point()
	return nil
}

type yardSAS struct{}

func (yardSAS) ContainerSAS(_ *rp.Tx, account, container, permissions string, _ time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "?sp=" + permissions, nil
}

func (yardSAS) KeySAS(account, container string, _ []byte, permissions string, _ time.Time) (string, error) {
	return "https://" + account + ".blob.core.windows.net/" + container + "?key&sp=" + permissions, nil
}

func (yardSAS) IssueRun(context.Context, RunScope) (string, time.Time, error) {
	return "token", time.Unix(2e9, 0), nil
}

// everything is an authorizer for tests that are not of roles.
type everything struct{}

func (everything) Check(context.Context, authz.Principal, authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: true}, nil
}
