package main

import (
	"context"
	"slices"
	"strings"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

// learnParams ask for the rules that let pass what was reached from a subnet.
type learnParams struct {
	Workspace    string                `json:"workspace"`
	Subnet       string                `json:"subnet"`
	Destinations []rulegen.Destination `json:"destinations"`
}

type learned struct {
	Location     string            `json:"location"`
	Subnet       string            `json:"subnet"`
	Destinations []rulegen.Learned `json:"destinations"`
	Rules        []rulegen.Rule    `json:"rules"`
}

// securityFeature marks the tags of the list that security rules may name.
const securityFeature = "NSG"

// learn proposes rules, by the tags in force and the network as it stands.
func (w *world) learn(ctx context.Context, r region.Request) (region.Reply, error) {
	var p learnParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	out := learned{Subnet: p.Subnet, Location: w.settings.Location}
	if p.Workspace != "" {
		err := w.engine.View(ctx, func(tx *rp.Tx) error {
			ws, err := findWorkspace(tx, p.Workspace)
			if err == nil {
				out.Location = ws.Location
			}
			return err
		})
		if err != nil {
			return region.Reply{}, err
		}
	}
	t := w.sync.current.Load().topology
	for i := range p.Destinations {
		d := &p.Destinations[i]
		for _, node := range d.Nodes {
			d.Names = append(d.Names, w.sync.asked.names(vnetOf(t, p.Subnet), node, d.Addr)...)
		}
	}
	p.Destinations = rulegen.Merge(p.Destinations)
	var tags []rulegen.Tag
	for _, e := range w.tags.Now().List().Values {
		if slices.Contains(e.Properties.NetworkFeatures, securityFeature) {
			tags = append(tags, rulegen.Tag{Name: e.Name, Prefixes: e.Properties.AddressPrefixes})
		}
	}
	var err error
	out.Destinations, out.Rules, err = rulegen.Learn(t, p.Subnet, tags, p.Destinations)
	return region.Reply{Result: out}, err
}

// vnetOf is the virtual network of a subnet.
func vnetOf(t *fabric.Topology, subnet string) string {
	for _, v := range t.VNets {
		for _, s := range v.Subnets {
			if strings.EqualFold(s.ID, subnet) {
				return v.ID
			}
		}
	}
	return ""
}
