package network

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// The resource types of load balancers. Clients write all but pools and inbound NAT rules with their load
// balancer only.
const (
	LoadBalancerType   = "Microsoft.Network/loadBalancers"
	FrontendType       = LoadBalancerType + "/frontendIPConfigurations"
	PoolType           = LoadBalancerType + "/backendAddressPools"
	BalancingRuleType  = LoadBalancerType + "/loadBalancingRules"
	ProbeType          = LoadBalancerType + "/probes"
	InboundNATRuleType = LoadBalancerType + "/inboundNatRules"
	OutboundRuleType   = LoadBalancerType + "/outboundRules"
)

// LoadBalancer is the properties of a load balancer (Network REST: LoadBalancerPropertiesFormat). Its parts
// are resources of their own.
type LoadBalancer struct {
	ResourceGUID    string `json:"resourceGuid,omitempty" rp:"readonly"`
	InboundNATPools []any  `json:"inboundNatPools"`
}

// lbSKU is the sku of a load balancer.
type lbSKU struct {
	Name string `json:"name"`
	Tier string `json:"tier,omitempty"`
}

func (p *Provider) loadBalancerType() rp.Registration {
	return rp.Of(rp.Type[LoadBalancer]{
		Move: moved[LoadBalancer],
		Name: LoadBalancerType, Kind: rp.Tracked, Versions: rp.Versions[LoadBalancer](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Inline: map[string]string{
			"frontendIPConfigurations": FrontendType, "backendAddressPools": PoolType, "loadBalancingRules": BalancingRuleType,
			"probes": ProbeType, "inboundNatRules": InboundNATRuleType, "outboundRules": OutboundRuleType,
		},
		Default:   defaultLoadBalancer,
		Validate:  validateLoadBalancer,
		Admit:     admitLoadBalancer,
		Release:   func(_ context.Context, tx *rp.Tx, r *rp.Resource[LoadBalancer]) error { return usedByNodes(tx, r.ID) },
		Reconcile: applied[LoadBalancer](p),
		Finalize:  applied[LoadBalancer](p),
		Actions: map[string]rp.Action[LoadBalancer]{
			"networkInterfaces": {Method: "GET", Permission: LoadBalancerType + "/networkInterfaces/read", Do: balancedNICs},
		},
	})
}

// defaultLoadBalancer: a load balancer without a sku is Basic in every api-version.
func defaultLoadBalancer(_ string, r *rp.Resource[LoadBalancer]) {
	if r.Properties.InboundNATPools == nil {
		r.Properties.InboundNATPools = []any{}
	}
	if len(r.SKU) == 0 {
		r.SKU = json.RawMessage(`{"name":"Basic"}`)
	}
	var sku lbSKU
	if json.Unmarshal(r.SKU, &sku) != nil {
		return // Validate has its say
	}
	for _, name := range []string{"Basic", "Standard", "Gateway"} {
		if strings.EqualFold(sku.Name, name) {
			sku.Name = name
		}
	}
	if sku.Tier == "" || strings.EqualFold(sku.Tier, "Regional") {
		sku.Tier = "Regional"
	}
	if b, err := json.Marshal(sku); err == nil {
		r.SKU = b
	}
}

func skuOf(raw json.RawMessage) (sku lbSKU) {
	if json.Unmarshal(raw, &sku) != nil {
		return lbSKU{}
	}
	return sku
}

func validateLoadBalancer(op rp.Op, new, old *rp.Resource[LoadBalancer]) error {
	sku := skuOf(new.SKU)
	switch {
	case sku.Name == "Gateway":
		return arm.NotImplemented("Load balancer %s: the sku Gateway is not implemented.", new.ID)
	case sku.Name != "Basic" && sku.Name != "Standard":
		return bad("InvalidRequestFormat", "The sku of load balancer %s must be Basic, Standard or Gateway, not '%s'.", new.ID, clip(sku.Name))
	case sku.Tier != "Regional":
		return arm.NotImplemented("Load balancer %s: the tier %s is not implemented.", new.ID, clip(sku.Tier))
	case len(new.Properties.InboundNATPools) > 0:
		return arm.NotImplemented("Load balancer %s: inboundNatPools are for virtual machine scale sets, which are not implemented.", new.ID)
	}
	if op == rp.Update && skuOf(old.SKU).Name != sku.Name {
		return bad("PropertyChangeNotAllowed", "Sku property is set at creation time and cannot be changed from %s to %s on resource update for resource %s.", skuOf(old.SKU).Name, sku.Name, new.ID)
	}
	return nil
}

// admitLoadBalancer checks the parts as they will be.
func admitLoadBalancer(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[LoadBalancer]) error {
	if op == rp.Create {
		new.Properties.ResourceGUID = uuid.NewString()
	}
	b, err := balancerOf(tx, new)
	if err != nil {
		return err
	}
	return b.check(tx)
}

// checkSiblings is the check of a load balancer from the admission of one of its parts, unless the load
// balancer's own admission will make it. The part is in the store when others look.
func checkSiblings[T any](ctx context.Context, tx *rp.Tx, part *rp.Resource[T]) error {
	if rp.Embedded(ctx) {
		return nil
	}
	lb, err := rp.Get[LoadBalancer](tx, part.ID.Parent())
	if err != nil {
		return err
	}
	b, err := balancerOf(tx, lb)
	if err != nil {
		return err
	}
	switch r := any(part).(type) {
	case *rp.Resource[Pool]:
		b.pools = replace(b.pools, r)
	case *rp.Resource[InboundNATRule]:
		b.nat = replace(b.nat, r)
	}
	return b.check(tx)
}

// replace puts r into the list, in place of the one with its id.
func replace[T any](list []*rp.Resource[T], r *rp.Resource[T]) []*rp.Resource[T] {
	for i := range list {
		if list[i].ID.Key() == r.ID.Key() {
			list[i] = r
			return list
		}
	}
	return append(list, r)
}

// balancer is a load balancer with its parts.
type balancer struct {
	lb        *rp.Resource[LoadBalancer]
	frontends []*rp.Resource[Frontend]
	pools     []*rp.Resource[Pool]
	rules     []*rp.Resource[BalancingRule]
	probes    []*rp.Resource[Probe]
	nat       []*rp.Resource[InboundNATRule]
	outbound  []*rp.Resource[OutboundRule]
}

// balancerOf reads the parts; those that are being deleted are not among them.
func balancerOf(tx *rp.Tx, lb *rp.Resource[LoadBalancer]) (b *balancer, err error) {
	b = &balancer{lb: lb}
	if b.frontends, err = staying[Frontend](tx, FrontendType, lb.ID); err != nil {
		return nil, err
	}
	if b.pools, err = staying[Pool](tx, PoolType, lb.ID); err != nil {
		return nil, err
	}
	if b.rules, err = staying[BalancingRule](tx, BalancingRuleType, lb.ID); err != nil {
		return nil, err
	}
	if b.probes, err = staying[Probe](tx, ProbeType, lb.ID); err != nil {
		return nil, err
	}
	if b.nat, err = staying[InboundNATRule](tx, InboundNATRuleType, lb.ID); err != nil {
		return nil, err
	}
	b.outbound, err = staying[OutboundRule](tx, OutboundRuleType, lb.ID)
	return b, err
}

// staying lists the resources of a type in scope whose deletion is not under way.
func staying[T any](tx *rp.Tx, typ string, scope arm.ID) ([]*rp.Resource[T], error) {
	all, err := rp.List[T](tx, typ, scope)
	if err != nil {
		return nil, err
	}
	list := all[:0]
	for _, r := range all {
		if r.State != arm.Deleting {
			list = append(list, r)
		}
	}
	return list, nil
}

// siblings are the parts of the load balancer that a part belongs to.
func siblings(tx *rp.Tx, part arm.ID) (*balancer, error) {
	lb, err := rp.Get[LoadBalancer](tx, part.Parent())
	if err != nil {
		return nil, err
	}
	return balancerOf(tx, lb)
}

// byRef finds the resource that a reference names.
func byRef[T any](list []*rp.Resource[T], ref *Ref) *rp.Resource[T] {
	for _, r := range list {
		if ref.is(r.ID) {
			return r
		}
	}
	return nil
}

// using are references to those of the list that satisfy uses, nil for none.
func using[T any](list []*rp.Resource[T], uses func(*T) bool) (refs []Ref) {
	for _, r := range list {
		if uses(&r.Properties) {
			refs = append(refs, Ref{ID: r.ID.String()})
		}
	}
	return refs
}

// internal says that the frontends are private: an internal load balancer.
func (b *balancer) internal() bool {
	return len(b.frontends) > 0 && b.frontends[0].Properties.Subnet != nil
}
