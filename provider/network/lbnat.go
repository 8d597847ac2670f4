package network

import (
	"context"
	"encoding/json"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// InboundNATRule is the properties of an inbound NAT rule (Network REST: InboundNatRulePropertiesFormat): one
// port for the interface that names the rule, or a range with a port for each member of a pool.
type InboundNATRule struct {
	Frontend            *Ref   `json:"frontendIPConfiguration,omitempty"`
	FrontendPort        int    `json:"frontendPort"`
	BackendPort         int    `json:"backendPort"`
	RangeStart          int    `json:"frontendPortRangeStart,omitempty"`
	RangeEnd            int    `json:"frontendPortRangeEnd,omitempty"`
	Pool                *Ref   `json:"backendAddressPool,omitempty"`
	FloatingIP          bool   `json:"enableFloatingIP"`
	IdleTimeout         int    `json:"idleTimeoutInMinutes"`
	Protocol            string `json:"protocol"`
	DestinationEndpoint bool   `json:"enableDestinationServiceEndpoint"`
	TCPReset            bool   `json:"enableTcpReset"`
	PortConflict        bool   `json:"allowBackendPortConflict"`

	IPConfiguration *Ref `json:"backendIPConfiguration,omitempty" rp:"readonly"`
}

func (p *Provider) inboundNATRuleType() rp.Registration {
	return rp.Of(rp.Type[InboundNATRule]{
		Name: InboundNATRuleType, Kind: rp.Proxy, Versions: rp.Versions[InboundNATRule](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default: func(_ string, r *rp.Resource[InboundNATRule]) {
			v := &r.Properties
			v.Protocol = spelled(lbProtocols, v.Protocol)
			if v.IdleTimeout == 0 {
				v.IdleTimeout = 4
			}
		},
		Validate: validateInboundNATRule,
		Admit: func(ctx context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[InboundNATRule]) error {
			return checkSiblings(ctx, tx, new)
		},
		Reconcile: applied[InboundNATRule](p),
		Finalize:  applied[InboundNATRule](p),
		Kept:      true,
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[InboundNATRule]) error {
			m, err := natMember(tx, r.ID)
			if err != nil {
				return err
			}
			if m == nil {
				n, err := entered(tx, r.ID)
				if n != nil {
					r.Properties.IPConfiguration = &Ref{ID: n.ID}
				}
				return err
			}
			r.Properties.IPConfiguration = &Ref{ID: m.id()}
			return nil
		},
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[InboundNATRule]) error {
			return leave(tx, func(c *IPConfigFields) *[]Ref { return &c.NATRules }, r.ID)
		},
	})
}

func validateInboundNATRule(_ rp.Op, new, _ *rp.Resource[InboundNATRule]) error {
	v := &new.Properties
	if err := oneOf(new.ID, "protocol", v.Protocol, lbProtocols[:2]); err != nil {
		return err
	}
	if err := between(new.ID, "idleTimeoutInMinutes", v.IdleTimeout, 4, 100); err != nil {
		return err
	}
	if err := between(new.ID, "backendPort", v.BackendPort, 1, 65535); err != nil {
		return err
	}
	if v.Pool == nil {
		if v.RangeStart != 0 || v.RangeEnd != 0 {
			return bad("InvalidRequestFormat", "Inbound NAT rule %s: frontendPortRangeStart and frontendPortRangeEnd need a backendAddressPool.", new.ID)
		}
		if v.FloatingIP && v.FrontendPort != v.BackendPort {
			return bad("InvalidRequestFormat", "Inbound NAT rule %s: with enableFloatingIP the backendPort is the frontendPort; they are %d and %d.", new.ID, v.BackendPort, v.FrontendPort)
		}
		return between(new.ID, "frontendPort", v.FrontendPort, 1, 65534)
	}
	if v.FrontendPort != 0 {
		return bad("InvalidRequestFormat", "Inbound NAT rule %s: with a backendAddressPool the rule has frontendPortRangeStart and frontendPortRangeEnd and no frontendPort.", new.ID)
	}
	if v.FloatingIP {
		return arm.NotImplemented("Inbound NAT rule %s: enableFloatingIP with a backendAddressPool is not implemented.", new.ID)
	}
	if err := between(new.ID, "frontendPortRangeStart", v.RangeStart, 1, 65534); err != nil {
		return err
	}
	return between(new.ID, "frontendPortRangeEnd", v.RangeEnd, v.RangeStart, 65534)
}

// ports are the frontend ports of the rule, the first and the last.
func (v *InboundNATRule) ports() (from, to int) {
	if v.Pool != nil {
		return v.RangeStart, v.RangeEnd
	}
	return v.FrontendPort, v.FrontendPort
}

// portMapping answers which frontend ports of the pool's NAT rules lead to a member, which the body names by
// ipConfiguration or by ipAddress.
func portMapping(_ context.Context, tx *rp.Tx, r *rp.Resource[Pool], body []byte) (any, error) {
	var q struct {
		IPConfiguration *Ref   `json:"ipConfiguration"`
		Address         string `json:"ipAddress"`
	}
	if err := json.Unmarshal(body, &q); err != nil || (q.IPConfiguration == nil) == (q.Address == "") {
		return nil, bad("InvalidRequestFormat", "The request needs either ipConfiguration or ipAddress.")
	}
	b, err := siblings(tx, r.ID)
	if err != nil {
		return nil, err
	}
	members, err := b.members(tx, r)
	if err != nil {
		return nil, err
	}
	type mapping struct {
		Name         string `json:"inboundNatRuleName"`
		Protocol     string `json:"protocol"`
		FrontendPort int    `json:"frontendPort"`
		BackendPort  int    `json:"backendPort"`
	}
	out := []mapping{}
	for i, m := range members {
		if m.addr.String() != q.Address && (!q.IPConfiguration.isText(m.config)) {
			continue
		}
		for _, rule := range b.nat {
			v := &rule.Properties
			if v.Pool.is(r.ID) && v.RangeStart+i <= v.RangeEnd {
				out = append(out, mapping{rule.ID.Name(), v.Protocol, v.RangeStart + i, v.BackendPort})
			}
		}
	}
	return map[string]any{"inboundNatRulePortMappings": out}, nil
}
