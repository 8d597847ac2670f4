package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"

	"vauban.dev/arm/rp"
	"vauban.dev/audit"
	"vauban.dev/authz"
	"vauban.dev/entra/directory"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/internal/httpx"
	kvprovider "vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/storage"
	"vauban.dev/reach"
	"vauban.dev/reach/probe"
	"vauban.dev/region"
	"vauban.dev/store"
)

// explainParams are a question by the control socket.
type explainParams struct {
	From region.PlaceParams `json:"from"`
	Host string             `json:"host"` // a name or an address
	Port uint16             `json:"port,omitempty"`
	// Protocol is tcp, udp or icmp; "" is tcp.
	Protocol string `json:"protocol,omitempty"`
	// As names a principal: object id, client id, display name or the id of the resource whose identity it is.
	As string `json:"as,omitempty"`
}

// probeParams ask for one UDP or ICMP packet from a place.
type probeParams struct {
	From     region.PlaceParams `json:"from"`
	Address  string             `json:"address"`
	Port     uint16             `json:"port,omitempty"`
	Protocol string             `json:"protocol"`
}

func badRequest(format string, args ...any) error {
	return &region.CallError{Code: region.CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// explain answers from the model alone: names, rules, the firewall of the service behind the address, roles.
func (w *world) explain(ctx context.Context, r region.Request) (region.Reply, error) {
	var p explainParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	title, at, err := w.where(ctx, p.From, false)
	if err != nil {
		return region.Reply{}, err
	}
	q := explain.Question{From: at, Title: title, Host: p.Host, Port: p.Port, Protocol: fabric.TCP}
	if at.Kind == fabric.AtInternet {
		if q.Source, err = w.serviceAddress(p.From); err != nil {
			return region.Reply{}, err
		}
	}
	if p.Protocol != "" {
		if q.Protocol, err = explain.ParseProtocol(p.Protocol); err != nil {
			return region.Reply{}, badRequest("%v", err)
		}
	}
	if p.As != "" {
		if q.As, err = w.principal(ctx, p.As); err != nil {
			return region.Reply{}, err
		}
	}
	v, err := w.sync.current.Load().withGuest(at)
	if err != nil {
		return region.Reply{}, err
	}
	out, err := w.model(v).Explain(ctx, q)
	return region.Reply{Result: out}, err
}

// model is a view as explain asks it.
func (w *world) model(v *netView) explain.World {
	world := v.resolution()
	world.Service, world.Roles = w.service, w.access
	world.Hidden = func(id string) bool { return strings.HasPrefix(strings.ToLower(id), strings.ToLower(managedGroup)) }
	return world
}

// resolution is the part of a view that finds names.
func (v *netView) resolution() explain.World {
	return explain.World{
		Topology: v.topology,
		Resolve:  func(vnet, name string) dns.Answer { return v.model.Resolve(vnet, name, mdns.TypeA) },
		Servers:  func(vnet, nic string) []netip.Addr { return v.resolver(vnet, nic).Servers },
		Inbound: func(nic string) string {
			for _, e := range v.dns.Inbound {
				if e.NIC == nic {
					return e.VNet
				}
			}
			return ""
		},
	}
}

// applied is the network as it was last applied, for Network Watcher.
func (w *world) applied() (explain.World, bool) {
	v := w.sync.current.Load()
	if v == nil {
		return explain.World{}, false
	}
	return w.model(v), true
}

// connectTimeout is how long Network Watcher waits for a connection to stand.
const connectTimeout = 3 * time.Second

// connect makes one connection from an interface, or sends one packet.
func (w *world) connect(ctx context.Context, nic string, kind reach.Kind, to netip.AddrPort) reach.Result {
	var out reach.Result
	err := w.driver.Do(fabric.Place{Kind: fabric.AtNIC, ID: nic}, func() error {
		out = probe.Packet(ctx, kind, to, connectTimeout)
		return nil
	})
	if err != nil {
		out = reach.Result{Connect: reach.ConnectFailed, Error: err.Error()}
	}
	return out
}

// probe sends one packet of a protocol that needs the region's privileges, or no process, at a place.
func (w *world) probe(ctx context.Context, r region.Request) (region.Reply, error) {
	var p probeParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	addr, err := netip.ParseAddr(p.Address)
	if err != nil {
		return region.Reply{}, badRequest("address %q: %v", p.Address, err)
	}
	_, at, err := w.where(ctx, p.From, true)
	if err != nil {
		return region.Reply{}, err
	}
	var out reach.Result
	if at.Kind == fabric.AtInternet {
		from, err := w.serviceAddress(p.From)
		if err != nil {
			return region.Reply{}, err
		}
		if !strings.EqualFold(p.Protocol, string(reach.TCP)) {
			return region.Reply{}, badRequest("a service calls by TCP")
		}
		return region.Reply{Result: w.callFrom(ctx, from, netip.AddrPortFrom(addr, p.Port))}, nil
	}
	err = w.driver.Do(at, func() error {
		out = probe.Packet(ctx, reach.Kind(strings.ToLower(p.Protocol)), netip.AddrPortFrom(addr, p.Port), packetTimeout)
		return nil
	})
	return region.Reply{Result: out}, err
}

// serviceAddress is an address of a service tag's at which the region's services stand; invalid for another place.
func (w *world) serviceAddress(p region.PlaceParams) (netip.Addr, error) {
	tag, ok := strings.CutPrefix(p.From, audit.TagPlace)
	if !ok {
		return netip.Addr{}, nil
	}
	prefixes, ok := w.tags.Prefixes(tag)
	if !ok {
		return netip.Addr{}, notFound("there is no service tag %q", tag)
	}
	for _, s := range w.sync.current.Load().topology.Internet.ServicePrefixes {
		if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(s.Addr()) }) {
			return s.Addr(), nil
		}
	}
	return netip.Addr{}, notFound("the region plays nobody of service tag %s", tag)
}

// callFrom connects from an address of the region's services.
func (w *world) callFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) reach.Result {
	ctx, cancel := context.WithTimeout(ctx, packetTimeout)
	defer cancel()
	begun := time.Now()
	out := reach.Result{Address: to.String(), Connect: reach.Connected}
	c, err := w.driver.DialFrom(ctx, fabric.Place{Kind: fabric.AtInternet}, from, to)
	out.TookMS = time.Since(begun).Milliseconds()
	switch {
	case err == nil:
		c.Close()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		out.Connect = reach.ConnectTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		out.Connect = reach.ConnectRefused
	default:
		out.Connect, out.Error = reach.ConnectNoWay, err.Error()
	}
	return out
}

// packetTimeout is how long a probe waits for the answer to a datagram or an echo.
const packetTimeout = 2 * time.Second

// principal finds who is meant: by object id, client id, user principal name, resource id or display name.
func (w *world) principal(ctx context.Context, name string) (*authz.Principal, error) {
	var found []directory.Ref
	out := &authz.Principal{TenantID: w.entra.Tenant().ID}
	err := w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		if found, err = w.entra.Named(tx, name); err != nil || len(found) != 1 {
			return err
		}
		out.ObjectID = found[0].ID
		if found[0].Type == directory.TypeGroup {
			return w.groupPrincipal(tx, out)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, notFound("there is no principal %q: write an object id, a client id, a user principal name, a display name, or the id of a resource with an identity", name)
	case len(found) > 1:
		return nil, notFound("%d principals are called %q: write an object id", len(found), name)
	case out.Type != "":
		return out, nil
	}
	s, err := w.entra.Standing(ctx, out.ObjectID)
	out.Name, out.Groups, out.Type, out.Resource = s.Name, s.Groups, s.PrincipalType(), s.Resource
	return out, err
}

// groupPrincipal is a member of a group that is in nothing else.
func (w *world) groupPrincipal(tx *rp.Tx, p *authz.Principal) error {
	g, err := w.entra.Group(tx, p.ObjectID)
	if err != nil {
		return err
	}
	in, err := w.entra.TransitiveMemberOf(tx, g.ID)
	for _, r := range in {
		p.Groups = append(p.Groups, r.ID)
	}
	p.Name, p.Type = g.DisplayName, "Group"
	return err
}

// storageReaders are what a reader of a storage service's data needs, by the service's domain.
var storageReaders = map[string]explain.Service{
	"blob.core.windows.net": {Kind: explain.Blob,
		Action: "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", Role: "Storage Blob Data Reader", RoleID: authz.StorageBlobDataReader},
	"file.core.windows.net": {Kind: explain.File,
		Action: "Microsoft.Storage/storageAccounts/fileServices/fileshares/files/read", Role: "Storage File Data Privileged Reader", RoleID: authz.StorageFileDataReader},
	"queue.core.windows.net": {Kind: explain.Queue,
		Action: "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read", Role: "Storage Queue Data Reader", RoleID: authz.StorageQueueDataReader},
	"table.core.windows.net": {Kind: explain.Table,
		Action: "Microsoft.Storage/storageAccounts/tableServices/tables/entities/read", Role: "Storage Table Data Reader", RoleID: authz.StorageTableDataReader},
}

// service is the resource behind a host name, with what a reader of its data needs.
func (w *world) service(ctx context.Context, host string) (s *explain.Service, err error) {
	host = httpx.CanonicalHost(host)
	label, suffix, _ := strings.Cut(host, ".")
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		switch {
		case storageReaders[suffix].Kind != "":
			r, err := storage.ByName(tx, label)
			if err != nil {
				return err
			}
			reader := storageReaders[suffix]
			s, reader.ID, reader.Rules, reader.Data = &reader, r.ID.String(), storage.Firewall(r, string(reader.Kind)), true
			s.Rules.Policies = w.accounts.policies
		case suffix == "vault.azure.net":
			r, err := kvprovider.ByName(tx, label)
			if err != nil {
				return err
			}
			s = &explain.Service{Kind: explain.Vault, ID: r.ID.String(), Rules: kvprovider.Firewall(r), Data: true,
				Action: "Microsoft.KeyVault/vaults/secrets/getSecret/action", Role: "Key Vault Secrets User", RoleID: authz.KeyVaultSecretsUser}
			if r.Properties.RBAC == nil || !*r.Properties.RBAC {
				s.Policies = func(p authz.Principal) authz.Decision { return byPolicies(r.Properties.AccessPolicies, p) }
			}
		case strings.Contains(host, ".workspace.") && strings.HasSuffix(host, ".api.azureml.ms"):
			r, err := machinelearning.ByGUID(tx, label)
			if err != nil {
				return err
			}
			s = &explain.Service{Kind: explain.Workspace, ID: r.ID.String(), Rules: machinelearning.Firewall(r),
				Action: "Microsoft.MachineLearningServices/workspaces/read", Role: "AzureML Data Scientist", RoleID: authz.AzureMLDataScientist}
		default:
			return nil
		}
		s.Scope = s.ID
		return nil
	})
	if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	return s, err
}

// byPolicies asks a vault's access policies for the right to read secrets.
func byPolicies(policies []kvprovider.AccessPolicy, p authz.Principal) authz.Decision {
	for _, a := range policies {
		mine := strings.EqualFold(a.ObjectID, p.ObjectID) || slices.ContainsFunc(p.Groups, func(g string) bool { return strings.EqualFold(g, a.ObjectID) })
		if !mine || a.Application != "" && !strings.EqualFold(a.Application, p.AppID) {
			continue
		}
		for _, s := range a.Permissions["secrets"] {
			if strings.EqualFold(s, "get") || strings.EqualFold(s, "all") {
				return authz.Decision{Allowed: true, By: "an access policy of the vault grants secrets " + s}
			}
		}
	}
	return authz.Decision{By: fmt.Sprintf("none of the vault's %d access policies grants secrets get", len(policies))}
}

// withGuest is the view with an interface at place, if that is exec's in a subnet where it has none yet: to
// explain what would be writes nothing.
func (v *netView) withGuest(at fabric.Place) (*netView, error) {
	subnetKey, ok := strings.CutSuffix(at.ID, execSuffix)
	if !ok || at.Kind != fabric.AtNIC {
		return v, nil
	}
	for i, net := range v.topology.VNets {
		for _, s := range net.Subnets {
			if !strings.EqualFold(s.ID, subnetKey) {
				continue
			}
			for _, n := range v.nics[net.ID] {
				if n.ID == at.ID {
					return v, nil
				}
			}
			addr, ok := explain.FreeAddress(&net, s.ID)
			if !ok {
				return nil, notFound("subnet %s is full: there is no address to explain from", s.ID)
			}
			guest := fabric.NIC{ID: at.ID, Subnet: s.ID, Addrs: []netip.Addr{addr}}
			out := *v
			t := *v.topology
			t.VNets = slices.Clone(t.VNets)
			t.VNets[i].NICs = append(slices.Clone(net.NICs), guest)
			out.topology, out.nics = &t, maps.Clone(v.nics)
			out.nics[net.ID] = maps.Clone(v.nics[net.ID])
			out.nics[net.ID][addr] = guest
			return &out, nil
		}
	}
	return nil, notFound("the network has no subnet %s yet", subnetKey)
}
