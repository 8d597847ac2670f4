package networkwatcher

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// topologyQuestion is the body of topology (Network REST: TopologyParameters).
type topologyQuestion struct {
	Group  string       `json:"targetResourceGroupName"`
	VNet   *network.Ref `json:"targetVirtualNetwork"`
	Subnet *network.Ref `json:"targetSubnet"`
}

// drawn is a resource of a topology and what it is tied to.
type drawn struct {
	Name         string        `json:"name"`
	ID           string        `json:"id"`
	Location     string        `json:"location"`
	Associations []association `json:"associations"`
}

type association struct {
	Name       string `json:"name"`
	ResourceID string `json:"resourceId"`
	Type       string `json:"associationType"` // Contains, Associated
}

// topology is the networks of a resource group, a virtual network or a subnet, and how they hang together.
func topology(_ context.Context, tx *rp.Tx, w *rp.Resource[Watcher], body []byte) (any, error) {
	var q topologyQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, bad("InvalidRequestFormat", "Cannot parse the request: %v.", err)
	}
	within, err := q.scope(tx, w)
	if err != nil {
		return nil, err
	}
	d := &drawing{tx: tx, location: w.Location, subscription: subscription(w.ID), within: within}
	for _, f := range []func() error{d.vnets, d.subnets, d.interfaces, d.groups} {
		if err := f(); err != nil {
			return nil, err
		}
	}
	if d.out == nil {
		d.out = []drawn{}
	}
	now := tx.Now.UTC().Format(time.RFC3339)
	return map[string]any{"id": uuid.NewString(), "createdDateTime": now, "lastModified": now, "resources": d.out}, nil
}

func (q *topologyQuestion) scope(tx *rp.Tx, w *rp.Resource[Watcher]) (func(arm.ID) bool, error) {
	for _, x := range []struct {
		ref *network.Ref
		get func(arm.ID) error
	}{
		{q.Subnet, func(id arm.ID) error { _, err := rp.Get[network.Subnet](tx, id); return err }},
		{q.VNet, func(id arm.ID) error { _, err := rp.Get[network.VNet](tx, id); return err }},
	} {
		if x.ref == nil {
			continue
		}
		id, err := arm.ParseID(x.ref.ID)
		if err != nil {
			return nil, err
		}
		if !strings.EqualFold(id.Subscription(), w.ID.Subscription()) {
			return nil, arm.NotFound(id)
		}
		return func(r arm.ID) bool { return r.Within(id) }, x.get(id)
	}
	if q.Group == "" {
		return nil, bad("InvalidRequestFormat", "One of 'targetResourceGroupName', 'targetVirtualNetwork' and 'targetSubnet' is needed.")
	}
	return func(r arm.ID) bool { return strings.EqualFold(r.ResourceGroup(), q.Group) }, nil
}

// drawing gathers the resources of the watcher's region that are in scope, or stand in a subnet that is.
type drawing struct {
	tx           *rp.Tx
	location     string
	subscription arm.ID
	within       func(arm.ID) bool
	here         map[string]bool // subnets and virtual networks, by lower-case id
	out          []drawn
}

func (d *drawing) add(id arm.ID, ties []association) {
	if ties == nil {
		ties = []association{}
	}
	d.out = append(d.out, drawn{id.Name(), id.String(), d.location, ties})
}

func tie(kind, id string) association {
	return association{id[strings.LastIndexByte(id, '/')+1:], id, kind}
}

func (d *drawing) vnets() error {
	d.here = map[string]bool{}
	all, err := rp.List[network.VNet](d.tx, network.VNetType, d.subscription)
	for _, v := range all {
		if v.Location != d.location {
			continue
		}
		d.here[v.ID.Key()] = true
		if !d.within(v.ID) {
			continue
		}
		subnets, err := rp.List[network.Subnet](d.tx, network.SubnetType, v.ID)
		if err != nil {
			return err
		}
		var ties []association
		for _, s := range subnets {
			ties = append(ties, tie("Contains", s.ID.String()))
		}
		d.add(v.ID, ties)
	}
	return err
}

func (d *drawing) subnets() error {
	all, err := rp.List[network.Subnet](d.tx, network.SubnetType, d.subscription)
	for _, s := range all {
		if !d.here[s.ID.Parent().Key()] || !d.within(s.ID) {
			continue
		}
		d.here[s.ID.Key()] = true
		var ties []association
		if s.Properties.NSG != nil {
			ties = append(ties, tie("Associated", s.Properties.NSG.ID))
		}
		d.add(s.ID, ties)
	}
	return err
}

func (d *drawing) interfaces() error {
	all, err := rp.List[network.Interface](d.tx, network.NICType, d.subscription)
	for _, n := range all {
		in := d.within(n.ID)
		var ties []association
		for _, c := range n.Properties.IPConfigurations {
			if c.Properties.Subnet != nil {
				in = in || d.here[strings.ToLower(c.Properties.Subnet.ID)]
				ties = append(ties, tie("Contains", c.Properties.Subnet.ID))
			}
			if c.Properties.PublicIP != nil {
				ties = append(ties, tie("Associated", c.Properties.PublicIP.ID))
			}
		}
		if n.Properties.NSG != nil {
			ties = append(ties, tie("Associated", n.Properties.NSG.ID))
		}
		if in && n.Location == d.location {
			d.add(n.ID, ties)
		}
	}
	return err
}

func (d *drawing) groups() error {
	all, err := rp.List[network.NSG](d.tx, network.NSGType, d.subscription)
	for _, g := range all {
		if g.Location == d.location && d.within(g.ID) {
			d.add(g.ID, nil)
		}
	}
	return err
}
