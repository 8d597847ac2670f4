package gateway_test

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/fabric"
	"vauban.dev/fabric/bgp"
	"vauban.dev/fabric/vpn"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/gateway"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatelink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	version = "?api-version=2024-05-01"
	group   = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/rg"
	net0    = group + "/providers/Microsoft.Network/"
	vnet    = net0 + "virtualNetworks/hub"
	gw      = net0 + "virtualNetworkGateways/vpn"
)

// rig is a region with the network's types and a wire that the test makes up.
type rig struct {
	*rptest.Region
	t        *testing.T
	engine   *rp.Engine
	network  *network.Provider
	gateways *gateway.Provider
	wire     *wire
}

// wire is gateway.Wire.
type wire struct {
	mu        sync.Mutex
	peers     map[string][]vpn.PeerState
	restarted []string
	circuits  map[string]vpn.CircuitState
	sessions  map[string]bgp.State
}

func (w *wire) Peers(tunnel string) ([]vpn.PeerState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peers[tunnel], nil
}

func (w *wire) Restart(tunnel string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restarted = append(w.restarted, tunnel)
	return nil
}

func (w *wire) set(tunnel string, peers ...vpn.PeerState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers[tunnel] = peers
}

func (w *wire) Circuit(name string) vpn.CircuitState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.circuits[name]
}

func (w *wire) Session(name string) bgp.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sessions[name]
}

func (w *wire) Far(arm.ID) (*os.File, error) { return nil, os.ErrNotExist }

type noSync struct{}

func (noSync) Sync(context.Context) error { return nil }

type noTags struct{}

func (noTags) Prefixes(tag string) ([]netip.Prefix, bool) {
	return []netip.Prefix{netip.MustParsePrefix("20.0.0.0/16")}, tag == "GatewayManager" || tag == "AzureCloud"
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, wire: &wire{peers: map[string][]vpn.PeerState{}, circuits: map[string]vpn.CircuitState{}, sessions: map[string]bgp.State{}}}
	links := privatelink.New()
	r.network = network.New(network.Config{Engine: lateEngine{r}, Targets: links, Sync: noSync{}, Tags: noTags{}, PublicPool: netip.MustParsePrefix("203.0.113.128/25")})
	r.gateways = gateway.New(gateway.Config{Network: r.network, Sync: noSync{}, Wire: r.wire})
	r.Region = rptest.New(t, rp.Config{Clock: new(clock.Region), Locations: []string{"westeurope", "northeurope"}}, slices.Concat(r.network.Types(), r.gateways.Types())...)
	r.engine = r.Region.Engine
	r.Must(http.MethodPut, vnet+version, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
		{"name":"GatewaySubnet","properties":{"addressPrefix":"10.0.255.0/27"}},{"name":"AzureBastionSubnet","properties":{"addressPrefix":"10.0.254.0/26"}},
		{"name":"default","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`)
	for _, name := range []string{"one", "two", "three"} {
		r.Must(http.MethodPut, net0+"publicIPAddresses/"+name+version, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	}
	return r
}

// lateEngine breaks the circle of region and provider.
type lateEngine struct{ r *rig }

func (l lateEngine) View(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.engine.View(ctx, f)
}
func (l lateEngine) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.engine.Update(ctx, f)
}

func gatewayBody(subnet, public, extra string) string {
	return `{"location":"westeurope","properties":{"gatewayType":"Vpn","vpnType":"RouteBased","sku":{"name":"VpnGw1","tier":"VpnGw1"},
		"ipConfigurations":[{"name":"default","properties":{"subnet":{"id":"` + subnet + `"},"publicIPAddress":{"id":"` + net0 + "publicIPAddresses/" + public + `"}}}]` + extra + `}}`
}

const pool = `,"vpnClientConfiguration":{"vpnClientAddressPool":{"addressPrefixes":["172.20.0.0/29"]},"vpnClientProtocols":["OpenVPN"]}`

func (r *rig) vpnGateway() rptest.Answer {
	r.t.Helper()
	return r.Must(http.MethodPut, gw+version, gatewayBody(vnet+"/subnets/GatewaySubnet", "one", pool))
}

func (r *rig) get(path string) map[string]any {
	r.t.Helper()
	return r.Must(http.MethodGet, path+version, "").Body
}

// refused checks the code of a refusal, at once or by the operation.
func (r *rig) refused(method, path, body, code string) {
	r.t.Helper()
	a := r.Request(method, path+version, body)
	if a.Status < 400 {
		a = r.Wait(a)
	}
	if got := text(a, "error.code"); got != code {
		r.t.Errorf("%s %s: %d %s, want %s", method, path, a.Status, a.Text, code)
	}
}

func (r *rig) update(f func(tx *rp.Tx) error) {
	r.t.Helper()
	if err := r.engine.Update(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

// extended is the topology with what the gateways add, and their tunnels.
func (r *rig) extended() (t *fabric.Topology, tunnels []vpn.Tunnel) {
	r.t.Helper()
	t, plan := r.planned()
	return t, plan.Tunnels
}

func (r *rig) planned() (t *fabric.Topology, tunnels gateway.Plan) {
	r.t.Helper()
	err := r.engine.View(r.t.Context(), func(tx *rp.Tx) (err error) {
		if t, err = r.network.Topology(tx); err == nil {
			tunnels, err = r.gateways.Extend(tx, t)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := fabric.Compile(t); err != nil {
		r.t.Fatalf("what was accepted does not compile: %v", err)
	}
	return t, tunnels
}

func id(s string) arm.ID { return arm.MustParseID(s) }

// text is the string at a path of an answer's JSON: "properties.list.0.name".
func text(a rptest.Answer, path string) string {
	var v any = a.Body
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				return ""
			}
			v = x[i]
		}
	}
	s, _ := v.(string)
	return s
}
