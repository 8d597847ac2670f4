package linux

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"vauban.dev/fabric"
	"vauban.dev/internal/testkit/shrink"
)

// soak is how many packets `make soak` asks for, VAUBAN_SOAK; 0 for an ordinary test.
func soak(t testing.TB) uint64 {
	text := os.Getenv("VAUBAN_SOAK")
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("VAUBAN_SOAK: %v", err)
	}
	return n
}

// reportSmallest logs what is left of a topology when all is taken out that the disagreement about a probe does not
// need: each attempt is a network of its own in the kernel.
func reportSmallest(t *testing.T, topo *fabric.Topology, pr probe) {
	const attempts = 200
	shrink.Value(topo, attempts, func() bool {
		state, err := fabric.Compile(topo)
		if err != nil || state.Namespace(fabric.NSName(pr.from)) == nil {
			return false
		}
		wrong := false
		t.Run("smaller", func(t *testing.T) {
			d := newTestDriver(t, Config{})
			apply(t, d, state)
			p := newProber(t, d)
			p.silence(t)
			got := p.send(t, []probe{pr})[0]
			e := fabric.Explain(topo, fabric.Flow{From: pr.from, Source: pr.src, Dst: pr.dst, Protocol: pr.proto, SrcPort: pr.sport, DstPort: pr.dport})
			wrong = !slices.ContainsFunc(outcomes(topo, e), got.is)
		})
		return wrong
	})
	text, err := json.MarshalIndent([]any{topo.VNets, topo.NSGs, topo.RouteTables, topo.NATGateways, topo.LoadBalancers}, "", " ")
	t.Logf("%v in %s %v", pr, text, err)
}
