package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/audit"
	"vauban.dev/fabric"
	kvprovider "vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/storage"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

// auditParams ask for an audit by the control socket.
type auditParams struct {
	Audit     string   `json:"audit"` // exfil, public, exposure, required
	Subnet    string   `json:"subnet,omitempty"`
	Workspace string   `json:"workspace,omitempty"`
	AsOf      string   `json:"asOf,omitempty"`
	PublicIP  bool     `json:"publicIP,omitempty"` // of nodes in Subnet, where no cluster says
	Without   []string `json:"without,omitempty"`  // kinds of items to leave out
	// Situational: rules for what only some features require as well.
	Situational bool `json:"situational,omitempty"`
	// Firewall is the private address of the firewall that nodes leave by; "" and "auto": that of the subnet's default
	// route, if it has one; "none": they leave otherwise.
	Firewall string `json:"firewall,omitempty"`
}

// audit answers from the model; the command confirms by packets.
func (w *world) audit(ctx context.Context, r region.Request) (region.Reply, error) {
	var p auditParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	reports, err := w.audits(ctx, p)
	for _, r := range reports {
		r.Without(p.Without...)
	}
	return region.Reply{Result: reports}, err
}

func (w *world) audits(ctx context.Context, p auditParams) ([]*audit.Report, error) {
	v := w.sync.current.Load()
	switch p.Audit {
	case "public", "exposure":
		world, err := w.audited(ctx, v)
		if err != nil {
			return nil, err
		}
		run := map[string]func(context.Context, *audit.World) (*audit.Report, error){"public": audit.Public, "exposure": audit.Exposure}[p.Audit]
		report, err := run(ctx, world)
		return []*audit.Report{report}, err
	case "exfil":
		place, v, err := w.auditPlace(ctx, v, p.Subnet)
		if err != nil {
			return nil, err
		}
		world, err := w.audited(ctx, v)
		if err != nil {
			return nil, err
		}
		report, err := audit.Exfil(ctx, world, place)
		return []*audit.Report{report}, err
	case "required":
		return w.auditRequired(ctx, v, p)
	}
	return nil, badRequest("there is no audit %q: exfil, public, exposure, required", p.Audit)
}

// auditPlace is an interface in a subnet, in the view that has it.
func (w *world) auditPlace(ctx context.Context, v *netView, subnet string) (audit.Place, *netView, error) {
	title, at, err := w.where(ctx, region.PlaceParams{Subnet: subnet}, false)
	if err != nil {
		return audit.Place{}, nil, err
	}
	v, err = v.withGuest(at)
	return audit.Place{At: at, From: subnet, Title: title}, v, err
}

// audited is a view with the resources behind the region's names.
func (w *world) audited(ctx context.Context, v *netView) (*audit.World, error) {
	out := &audit.World{World: w.model(v), Internet: fabric.Place{Kind: fabric.AtHost, ID: clientHost}, Stranger: strangerAddr.String(), StrangerPort: 443, Policies: w.accounts.policies}
	hosts, uses, err := w.dataPlanes(ctx)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		s, err := w.service(ctx, host)
		if err != nil {
			return nil, err
		}
		if s != nil {
			out.Services = append(out.Services, audit.Service{Service: *s, Host: host, Uses: uses[host]})
		}
	}
	return out, nil
}

// dataPlanes are the host names of all accounts, vaults and workspaces, and what a workspace stands on.
func (w *world) dataPlanes(ctx context.Context) (hosts []string, uses map[string][]string, err error) {
	uses = map[string][]string{}
	root := arm.MustParseID("/")
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		accounts, err := rp.List[storage.Account](tx, storage.AccountType, root)
		if err != nil {
			return err
		}
		for _, a := range accounts {
			hosts = append(hosts, strings.ToLower(a.ID.Name())+".blob.core.windows.net")
		}
		vaults, err := rp.List[kvprovider.Vault](tx, kvprovider.VaultType, root)
		if err != nil {
			return err
		}
		for _, x := range vaults {
			hosts = append(hosts, strings.ToLower(x.ID.Name())+".vault.azure.net")
		}
		workspaces, err := rp.List[machinelearning.Workspace](tx, machinelearning.WorkspaceType, root)
		for _, x := range workspaces {
			host := machinelearning.Host(x)
			hosts = append(hosts, host)
			uses[host] = []string{strings.ToLower(x.Properties.StorageAccount), strings.ToLower(x.Properties.KeyVault)}
		}
		return err
	})
	return hosts, uses, err
}

// auditRequired checks each subnet that the workspace's clusters stand in, or the one that is named.
func (w *world) auditRequired(ctx context.Context, v *netView, p auditParams) ([]*audit.Report, error) {
	var out []*audit.Report
	err := w.eachSubject(ctx, v, p, func(world *audit.World, s audit.Subject, profile *audit.Profile) error {
		report, err := audit.Required(ctx, world, s, profile)
		out = append(out, report)
		return err
	})
	return out, err
}

// generated are rules for a subnet of a workspace's nodes.
type generated struct {
	Subject  string         `json:"subject"`
	Location string         `json:"location"`
	PublicIP bool           `json:"publicIP"`
	Profile  string         `json:"profile"`
	Rules    []rulegen.Rule `json:"rules"`
	// Egress is of nodes that leave by a firewall, with traffic that its rules let through.
	Egress  *rulegen.Egress  `json:"egress,omitempty"`
	Samples []rulegen.Sample `json:"samples,omitempty"`
}

// rules generates the least security rules of each subnet that the workspace's clusters stand in, proved on the model.
func (w *world) rules(ctx context.Context, r region.Request) (region.Reply, error) {
	var p auditParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	var out []generated
	err := w.eachSubject(ctx, w.sync.current.Load(), p, func(world *audit.World, s audit.Subject, profile *audit.Profile) error {
		o := rulegen.Options{Region: s.Region, PublicIP: s.PublicIP, HBI: s.HBI, Situational: p.Situational}
		rules, err := rulegen.Prove(ctx, world, s, profile, rulegen.Generate(profile, o))
		if err != nil {
			return err
		}
		g := generated{Subject: s.Title, Location: s.Region, PublicIP: s.PublicIP, Profile: profile.Name, Rules: rules}
		n, err := w.behindFirewall(ctx, world, s, p)
		if err == nil && n != nil {
			err = g.behind(world.Topology.Tags, profile, o, *n)
		}
		out = append(out, g)
		return err
	})
	return region.Reply{Result: out}, err
}

// behind adds the rules of the firewall and the routes to it, proved.
func (g *generated) behind(tags fabric.TagSource, profile *audit.Profile, o rulegen.Options, n rulegen.Network) error {
	e := rulegen.GenerateEgress(profile, o, n)
	g.Rules = rulegen.BehindFirewall(g.Rules, e)
	e, err := rulegen.ProveEgress(tags, profile, o, n, g.Rules, e)
	if err != nil {
		return err
	}
	g.Egress = &e
	for _, x := range e.Samples() {
		if list, ok := tags.Prefixes(x.To); ok && len(list) > 0 {
			x.To = list[0].Masked().Addr().String()
		} else if !strings.Contains(x.To, ".") || strings.HasSuffix(strings.ToLower(x.To), "."+strings.ToLower(o.Region)) {
			continue // a tag that the region's list does not know
		}
		g.Samples = append(g.Samples, x)
	}
	return nil
}

// behindFirewall is the network of a subject that leaves by a firewall, nil of one that does not.
func (w *world) behindFirewall(ctx context.Context, world *audit.World, s audit.Subject, p auditParams) (*rulegen.Network, error) {
	if p.Firewall == "none" {
		return nil, nil
	}
	n := &rulegen.Network{}
	for _, v := range world.Topology.VNets {
		for _, nic := range v.NICs {
			for _, sub := range v.Subnets {
				if nic.ID != s.At.ID || sub.ID != nic.Subnet {
					continue
				}
				n.Subnet = sub.Prefixes[0]
				for _, r := range routesOf(world.Topology, sub) {
					if r.Prefix == "0.0.0.0/0" && r.Hop == fabric.HopAppliance {
						n.Firewall = r.Appliance
					}
				}
			}
		}
	}
	if p.Firewall != "" && p.Firewall != "auto" {
		var err error
		if n.Firewall, err = netip.ParseAddr(p.Firewall); err != nil || !n.Firewall.Is4() {
			return nil, badRequest("--firewall %q: auto, none or the private IPv4 address of a firewall", p.Firewall)
		}
	}
	if !n.Firewall.IsValid() {
		return nil, nil
	}
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		ws, err := findWorkspace(tx, p.Workspace)
		if err != nil {
			return err
		}
		account, err := arm.ParseID(ws.Properties.StorageAccount)
		n.Storage = strings.ToLower(account.Name())
		return err
	})
	return n, err
}

func routesOf(t *fabric.Topology, s fabric.Subnet) []fabric.UserRoute {
	if table := t.RouteTables[s.RouteTable]; table != nil {
		return table.Routes
	}
	return nil
}

// eachSubject calls f for each subnet that the workspace's clusters stand in, or for the one that is named.
func (w *world) eachSubject(ctx context.Context, v *netView, p auditParams, f func(*audit.World, audit.Subject, *audit.Profile) error) error {
	profile, err := audit.ProfileAsOf(p.AsOf)
	if err != nil {
		return badRequest("--as-of: %v", err)
	}
	ws, nets, err := w.workspaceNets(ctx, p)
	if err != nil {
		return err
	}
	for _, n := range nets {
		place, v, err := w.auditPlace(ctx, v, n.subnet)
		if err != nil {
			return err
		}
		world, err := w.audited(ctx, v)
		if err != nil {
			return err
		}
		place.Title = fmt.Sprintf("%s for workspace %s", place.Title, ws.ID)
		if err := f(world, audit.Subject{Place: place, PublicIP: n.publicIP, Region: ws.Location, HBI: ws.Properties.HBI}, profile); err != nil {
			return err
		}
	}
	return nil
}

type nodeNet struct {
	subnet   string
	publicIP bool
}

func (w *world) workspaceNets(ctx context.Context, p auditParams) (ws *rp.Resource[machinelearning.Workspace], nets []nodeNet, err error) {
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		if ws, err = findWorkspace(tx, p.Workspace); err != nil {
			return err
		}
		if p.Subnet != "" {
			nets = []nodeNet{{p.Subnet, p.PublicIP}}
			return nil
		}
		computes, err := rp.List[machinelearning.Compute](tx, machinelearning.ComputeType, ws.ID)
		for _, c := range computes {
			aml := c.Properties.Aml
			if aml == nil || aml.Subnet == nil || c.Properties.ComputeType != "AmlCompute" {
				continue
			}
			n := nodeNet{aml.Subnet.ID, aml.NodePublicIP == nil || *aml.NodePublicIP}
			known := false
			for _, x := range nets {
				known = known || strings.EqualFold(x.subnet, n.subnet) && x.publicIP == n.publicIP
			}
			if !known {
				nets = append(nets, n)
			}
		}
		return err
	})
	if err == nil && len(nets) == 0 {
		err = notFound("no cluster of workspace %s stands in a subnet: name one by --subnet", ws.ID.Name())
	}
	return ws, nets, err
}

// findWorkspace takes a name or a resource id.
func findWorkspace(tx *rp.Tx, name string) (*rp.Resource[machinelearning.Workspace], error) {
	all, err := rp.List[machinelearning.Workspace](tx, machinelearning.WorkspaceType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	var found []*rp.Resource[machinelearning.Workspace]
	for _, x := range all {
		if strings.EqualFold(x.ID.Name(), name) || strings.EqualFold(x.ID.String(), name) {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, notFound("there is no workspace %q", name)
	}
	return nil, notFound("%d workspaces are called %q: write the resource id", len(found), name)
}
