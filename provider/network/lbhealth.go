package network

import (
	"context"
	"net/netip"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Prober knows what the health probes of load balancers have found.
type Prober interface {
	// Down reports whether the probe has found the backend at this address of a virtual network unhealthy.
	Down(probe, vnet string, addr netip.Addr) bool
}

// ruleHealth tells how the backends of a rule are (Network REST: Load Balancer Load Balancing Rules – Health).
func (p *Provider) ruleHealth(_ context.Context, tx *rp.Tx, r *rp.Resource[BalancingRule], _ []byte) (any, error) {
	if p.cfg.Prober == nil {
		return nil, arm.NotImplemented("Health of load balancing rule %s: no health probes run.", r.ID)
	}
	b, err := siblings(tx, r.ID)
	if err != nil {
		return nil, err
	}
	type address struct {
		Address         string `json:"ipAddress"`
		IPConfiguration *Ref   `json:"networkInterfaceIPConfigurationId,omitempty"`
		State           string `json:"state"`
		Reason          string `json:"reason"`
	}
	up, down, list := 0, 0, []address{}
	var backends []backend
	if pool := byRef(b.pools, r.Properties.Pool); pool != nil {
		if backends, err = b.members(tx, pool); err != nil {
			return nil, err
		}
	}
	probe := byRef(b.probes, r.Properties.Probe)
	for _, m := range backends {
		a := address{Address: m.addr.String()}
		if m.config != "" {
			a.IPConfiguration = &Ref{ID: m.config}
		}
		var ok bool
		if ok, a.Reason = p.health(m, probe); ok {
			a.State, up = "Up", up+1
		} else {
			a.State, down = "Down", down+1
		}
		list = append(list, a)
	}
	return map[string]any{"up": up, "down": down, "loadBalancerBackendAddresses": list}, nil
}

// health is the state of a backend and Azure's word for its reason.
func (p *Provider) health(m backend, probe *rp.Resource[Probe]) (up bool, reason string) {
	switch {
	case m.down:
		return false, "Down_Admin"
	case probe == nil:
		return true, "Up_Probe_Success"
	case !p.cfg.Prober.Down(probe.ID.String(), m.vnet.String(), m.addr):
		return true, "Up_Probe_Success"
	case probe.Properties.Protocol == "Tcp":
		return false, "Down_Probe_TcpProbeTimeout"
	}
	return false, "Down_Probe_HttpEndpointUnreachable"
}
