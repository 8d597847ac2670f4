package network

import (
	"context"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// BalancingRule is the properties of a load balancing rule (Network REST: LoadBalancingRulePropertiesFormat).
type BalancingRule struct {
	Frontend            *Ref   `json:"frontendIPConfiguration,omitempty"`
	FrontendPort        int    `json:"frontendPort"`
	BackendPort         int    `json:"backendPort"`
	FloatingIP          bool   `json:"enableFloatingIP"`
	IdleTimeout         int    `json:"idleTimeoutInMinutes"`
	Protocol            string `json:"protocol"`
	DestinationEndpoint bool   `json:"enableDestinationServiceEndpoint"`
	TCPReset            bool   `json:"enableTcpReset"`
	PortConflict        bool   `json:"allowBackendPortConflict"`
	Distribution        string `json:"loadDistribution"`
	DisableOutboundSNAT bool   `json:"disableOutboundSnat"`
	Pool                *Ref   `json:"backendAddressPool,omitempty"`
	Pools               []Ref  `json:"backendAddressPools,omitempty"`
	Probe               *Ref   `json:"probe,omitempty"`
}

// Probe is the properties of a health probe (Network REST: ProbePropertiesFormat).
type Probe struct {
	Protocol  string `json:"protocol"`
	Port      int    `json:"port"`
	Path      string `json:"requestPath,omitempty"`
	Interval  int    `json:"intervalInSeconds"`
	Count     int    `json:"numberOfProbes"`
	Threshold int    `json:"probeThreshold,omitempty"`

	Rules []Ref `json:"loadBalancingRules,omitempty" rp:"readonly"`
}

// OutboundRule is the properties of an outbound rule (Network REST: OutboundRulePropertiesFormat).
type OutboundRule struct {
	Ports       int    `json:"allocatedOutboundPorts"`
	Frontends   []Ref  `json:"frontendIPConfigurations"`
	Pool        *Ref   `json:"backendAddressPool,omitempty"`
	Protocol    string `json:"protocol"`
	TCPReset    bool   `json:"enableTcpReset"`
	IdleTimeout int    `json:"idleTimeoutInMinutes"`
}

// poolsSince is the first api-version whose rules have backendAddressPools, probes probeThreshold.
const (
	poolsSince     = "2021-02-01"
	thresholdSince = "2022-05-01"
)

func (p *Provider) balancingRuleType() rp.Registration {
	return rp.Of(rp.Type[BalancingRule]{
		Name: BalancingRuleType, Kind: rp.Proxy, Versions: ruleVersions(), ShowETag: true, NoPut: true, NoDelete: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default: defaultBalancingRule, Validate: validateBalancingRule,
		Actions: map[string]rp.Action[BalancingRule]{"health": {Do: p.ruleHealth}},
	})
}

// ruleVersions hide backendAddressPools from api-versions that do not know it.
func ruleVersions() []rp.Version[BalancingRule] {
	list := rp.Versions[BalancingRule](versions...)
	for i := range list {
		if list[i].Name < poolsSince {
			list[i].Encode = func(r *BalancingRule) (map[string]any, error) {
				old := *r
				old.Pools = nil
				return tree(&old)
			}
		}
	}
	return list
}

var (
	lbProtocols   = []string{"Tcp", "Udp", "All"}
	distributions = []string{"Default", "SourceIP", "SourceIPProtocol"}
	probeKinds    = []string{"Tcp", "Http", "Https"}
)

// spelled is the text as Azure spells it, if it is one of the words in any letter case.
func spelled(words []string, text string) string {
	for _, w := range words {
		if strings.EqualFold(w, text) {
			return w
		}
	}
	return text
}

func defaultBalancingRule(_ string, r *rp.Resource[BalancingRule]) {
	v := &r.Properties
	v.Protocol = spelled(lbProtocols, v.Protocol)
	if v.Distribution == "" {
		v.Distribution = "Default"
	}
	v.Distribution = spelled(distributions, v.Distribution)
	if v.IdleTimeout == 0 {
		v.IdleTimeout = 4
	}
	// backendAddressPools says it where both are sent; each is filled from the other.
	v.Pools = slices.DeleteFunc(v.Pools, func(ref Ref) bool { return ref.ID == "" })
	if v.Pool != nil && v.Pool.ID == "" {
		v.Pool = nil
	}
	switch {
	case len(v.Pools) > 0:
		v.Pool = &Ref{ID: v.Pools[0].ID}
	case v.Pool != nil:
		v.Pools = []Ref{*v.Pool}
	}
}

func validateBalancingRule(_ rp.Op, new, _ *rp.Resource[BalancingRule]) error {
	v := &new.Properties
	if err := oneOf(new.ID, "protocol", v.Protocol, lbProtocols); err != nil {
		return err
	}
	if err := oneOf(new.ID, "loadDistribution", v.Distribution, distributions); err != nil {
		return err
	}
	if err := between(new.ID, "idleTimeoutInMinutes", v.IdleTimeout, 4, 100); err != nil {
		return err
	}
	all := v.Protocol == "All"
	switch {
	case len(v.Pools) > 1:
		return bad("InvalidRequestFormat", "Load balancing rule %s: several backendAddressPools are for gateway load balancers only.", new.ID)
	case all != (v.FrontendPort == 0) || all != (v.BackendPort == 0):
		return bad("InvalidRequestFormat", "Load balancing rule %s: frontendPort and backendPort are 0 with the protocol All (HA ports) and only with it; they are %d and %d with %s.", new.ID, v.FrontendPort, v.BackendPort, v.Protocol)
	case v.FloatingIP && v.FrontendPort != v.BackendPort:
		return bad("InvalidRequestFormat", "Load balancing rule %s: with enableFloatingIP the backendPort is the frontendPort; they are %d and %d.", new.ID, v.BackendPort, v.FrontendPort)
	case all:
		return nil
	}
	if err := between(new.ID, "frontendPort", v.FrontendPort, 1, 65534); err != nil {
		return err
	}
	return between(new.ID, "backendPort", v.BackendPort, 1, 65535)
}

func oneOf(of arm.ID, property, value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	return bad("InvalidRequestFormat", "%s of %s must be one of %s, not '%s'.", property, of, strings.Join(words, ", "), clip(value))
}

func between(of arm.ID, property string, value, low, high int) error {
	if value >= low && value <= high {
		return nil
	}
	return bad("InvalidRequestFormat", "%s of %s must be between %d and %d, not %d.", property, of, low, high, value)
}

func (p *Provider) probeType() rp.Registration {
	return rp.Of(rp.Type[Probe]{
		Name: ProbeType, Kind: rp.Proxy, Versions: rp.Versions[Probe](versions...), ShowETag: true, NoPut: true, NoDelete: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default: func(version string, r *rp.Resource[Probe]) {
			v := &r.Properties
			v.Protocol = spelled(probeKinds, v.Protocol)
			if v.Interval == 0 {
				v.Interval = 15
			}
			if v.Count == 0 {
				v.Count = 2
			}
			if v.Threshold == 0 && version >= thresholdSince {
				v.Threshold = 1
			}
		},
		Validate: validateProbe,
		Kept:     true,
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Probe]) error {
			b, err := siblings(tx, r.ID)
			if err != nil {
				return err
			}
			r.Properties.Rules = using(b.rules, func(x *BalancingRule) bool { return x.Probe.is(r.ID) })
			return nil
		},
	})
}

func validateProbe(_ rp.Op, new, _ *rp.Resource[Probe]) error {
	v := &new.Properties
	if err := oneOf(new.ID, "protocol", v.Protocol, probeKinds); err != nil {
		return err
	}
	for _, n := range []struct {
		property         string
		value, low, high int
	}{{"port", v.Port, 1, 65535}, {"intervalInSeconds", v.Interval, 5, 1 << 31}, {"numberOfProbes", v.Count, 1, 1 << 31}, {"probeThreshold", v.Threshold, 0, 100}} {
		if err := between(new.ID, n.property, n.value, n.low, n.high); err != nil {
			return err
		}
	}
	switch {
	case v.Protocol == "Tcp" && v.Path != "":
		return bad("InvalidRequestFormat", "Probe %s: requestPath is not allowed with the protocol Tcp.", new.ID)
	case v.Protocol != "Tcp" && v.Path == "":
		return bad("InvalidRequestFormat", "Probe %s: requestPath is required with the protocol %s.", new.ID, v.Protocol)
	}
	return nil
}

func (p *Provider) outboundRuleType() rp.Registration {
	return rp.Of(rp.Type[OutboundRule]{
		Name: OutboundRuleType, Kind: rp.Proxy, Versions: rp.Versions[OutboundRule](since("2018-07-01")...), ShowETag: true, NoPut: true, NoDelete: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Default: func(_ string, r *rp.Resource[OutboundRule]) {
			v := &r.Properties
			v.Protocol = spelled(lbProtocols, v.Protocol)
			if v.IdleTimeout == 0 {
				v.IdleTimeout = 4
			}
			if v.Frontends == nil {
				v.Frontends = []Ref{}
			}
		},
		Validate: validateOutboundRule,
	})
}

// portsPerFrontend is how many ports for outgoing flows one public address has.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-outbound-connections
const portsPerFrontend = 64000

func validateOutboundRule(_ rp.Op, new, _ *rp.Resource[OutboundRule]) error {
	v := &new.Properties
	if err := oneOf(new.ID, "protocol", v.Protocol, lbProtocols); err != nil {
		return err
	}
	if err := between(new.ID, "idleTimeoutInMinutes", v.IdleTimeout, 4, 100); err != nil {
		return err
	}
	switch {
	case v.Ports%8 != 0:
		return bad("SpecifiedAllocatedOutboundPortsForOutboundRuleIsNotAMultipleOfEight", "allocatedOutboundPorts of outbound rule %s is %d; it must be a multiple of 8.", new.ID, v.Ports)
	case v.Ports < 0:
		return bad("InvalidRequestFormat", "allocatedOutboundPorts of outbound rule %s is %d.", new.ID, v.Ports)
	case len(v.Frontends) == 0:
		return bad("InvalidRequestFormat", "Outbound rule %s needs frontendIPConfigurations.", new.ID)
	case v.Pool == nil:
		return bad("InvalidRequestFormat", "Outbound rule %s needs a backendAddressPool.", new.ID)
	}
	return nil
}
