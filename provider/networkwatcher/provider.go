// Package networkwatcher is Azure Network Watcher (Microsoft.Network/networkWatchers): what becomes of a flow
// and why, the effective rules and routes of an interface, and real connections from it. It answers from the
// model that the region runs by (package explain), and makes connections only for connectivityCheck.
package networkwatcher

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/provider/network"
	"vauban.dev/provider/resources"
	"vauban.dev/reach"
)

// Type is the resource type of a network watcher.
const Type = "Microsoft.Network/networkWatchers"

// Group is the resource group that Azure makes its network watchers in, and Prefix begins their names; the
// region's name follows.
// https://learn.microsoft.com/azure/network-watcher/network-watcher-create
const (
	Group  = "NetworkWatcherRG"
	Prefix = "NetworkWatcher_"
)

// Config of a Provider.
type Config struct {
	// View reads the store (rp.Engine).
	View func(ctx context.Context, f func(*rp.Tx) error) error
	// Model is the network as it was last applied; ok is false before it is up.
	Model func() (w explain.World, ok bool)
	// Connect makes one connection, or sends one echo request, from the namespace of an interface.
	Connect func(ctx context.Context, nic string, kind reach.Kind, to netip.AddrPort) reach.Result
	// FlowLogs returns when flow logs are followed as they are stored; nil: nobody follows them.
	FlowLogs func(context.Context) error
	// Captures run packet captures; nil: none runs.
	Captures Captures
}

// Provider of Network Watcher.
type Provider struct{ cfg Config }

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg: cfg} }

// Watcher has no properties but its state.
type Watcher struct{}

// Types are the registrations of the provider.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{rp.Of(rp.Type[Watcher]{
		Name: Type, Kind: rp.Tracked, Versions: rp.Versions[Watcher](network.Versions()...), ShowETag: true,
		NamePattern: `^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`,
		NameRule:    "The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'.",
		Admit:       admitWatcher,
		Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Watcher]) error {
			if r.Tags == nil {
				r.Tags = map[string]string{} // the service always shows them
			}
			return nil
		},
		Actions: map[string]rp.Action[Watcher]{
			"troubleshoot":                   rp.Missing[Watcher](noTroubleshooting),
			"queryTroubleshootResult":        rp.Missing[Watcher](noTroubleshooting),
			"configureFlowLog":               rp.Missing[Watcher](byFlowLogs),
			"queryFlowLogStatus":             rp.Missing[Watcher](byFlowLogs),
			"availableProvidersList":         rp.Missing[Watcher](noReachability),
			"azureReachabilityReport":        rp.Missing[Watcher](noReachability),
			"ipFlowVerify":                   asked(p, (*Provider).verifyFlow),
			"nextHop":                        asked(p, (*Provider).nextHop),
			"securityGroupView":              asked(p, (*Provider).securityView),
			"connectivityCheck":              asked(p, (*Provider).connectivity),
			"networkConfigurationDiagnostic": asked(p, (*Provider).diagnose),
			"topology":                       {Do: topology, Links: targets},
		},
	}), p.flowLogType(), p.captureType()}
}

// Why actions of Network Watcher are not there.
const (
	noTroubleshooting = "Gateways and connections are not troubleshot: their state and routes say how they stand (connectionStatus, getLearnedRoutes)."
	byFlowLogs        = "Flow logs are resources of their own: Microsoft.Network/networkWatchers/flowLogs."
	noReachability    = "The region measures no latencies of internet providers."
)

// admitWatcher: a subscription has one in a region.
func admitWatcher(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Watcher]) error {
	if op != rp.Create {
		return nil
	}
	found, err := inRegion(tx, new.ID, new.Location)
	if err != nil || !found {
		return err
	}
	return bad("NetworkWatcherCountLimitReached", "Cannot create more than 1 network watchers for this subscription in this region.")
}

// inRegion reports whether the subscription of id has a network watcher in a region.
func inRegion(tx *rp.Tx, id arm.ID, location string) (bool, error) {
	all, err := rp.List[Watcher](tx, Type, subscription(id))
	for _, w := range all {
		if strings.EqualFold(w.Location, location) && w.ID.Key() != id.Key() {
			return true, err
		}
	}
	return false, err
}

func subscription(id arm.ID) arm.ID { return arm.MustParseID("/subscriptions/" + id.Subscription()) }

// Enable makes the network watcher of a region when the subscription has none there: Azure does it when a
// virtual network is made or changed.
func Enable(tx *rp.Tx, vnet arm.ID, location string) error {
	found, err := inRegion(tx, vnet, location)
	if err != nil || found {
		return err
	}
	group := arm.MustParseID(subscription(vnet).String() + "/resourceGroups/" + Group)
	if _, err := rp.Get[resources.Group](tx, group); err != nil {
		if e := arm.AsError(err); e == nil || e.Status != http.StatusNotFound {
			return err
		}
		if err := rp.Save(tx, &rp.Resource[resources.Group]{ID: group, Location: location, State: arm.Succeeded}); err != nil {
			return err
		}
	}
	return rp.Save(tx, &rp.Resource[Watcher]{ID: arm.MustParseID(group.String() + "/providers/" + Type + "/" + Prefix + location), Location: location, State: arm.Succeeded})
}

// asked makes an action of a function that reads the request's body as a Q. The target is looked up before
// the 202, the answer computed after it.
func asked[Q any, P interface {
	*Q
	question
}](p *Provider, f func(*Provider, context.Context, explain.World, P) (any, error)) rp.Action[Watcher] {
	read := func(body []byte) (P, error) {
		q := P(new(Q))
		if err := json.Unmarshal(body, q); err != nil {
			return nil, bad("InvalidRequestFormat", "Cannot parse the request: %v.", err)
		}
		return q, nil
	}
	return rp.Action[Watcher]{
		Links: targets,
		Do: func(_ context.Context, tx *rp.Tx, w *rp.Resource[Watcher], body []byte) (any, error) {
			q, err := read(body)
			if err != nil {
				return nil, err
			}
			return nil, q.check(tx, w)
		},
		Async: func(ctx context.Context, w *rp.Resource[Watcher], body []byte) (any, error) {
			q, err := read(body)
			if err != nil {
				return nil, err
			}
			if err := p.cfg.View(ctx, func(tx *rp.Tx) error { return q.check(tx, w) }); err != nil {
				return nil, err
			}
			model, ok := p.cfg.Model()
			if !ok {
				return nil, arm.Errorf(http.StatusServiceUnavailable, "ServerTimeout", "The network is not up yet.")
			}
			return f(p, ctx, model, q)
		},
	}
}

// targets: who asks about a resource must be able to read it ("Azure RBAC permissions required to use Network Watcher").
func targets(watcher *rp.Resource[Watcher], body []byte) (links []rp.Link) {
	var q struct {
		Target    string `json:"targetResourceId"`
		Interface string `json:"targetNicResourceId"`
		Source    struct {
			ID string `json:"resourceId"`
		} `json:"source"`
		Destination struct {
			ID string `json:"resourceId"`
		} `json:"destination"`
		topologyQuestion
	}
	if json.Unmarshal(body, &q) != nil { // refused later
		return nil
	}
	texts := []string{q.Target, q.Interface, q.Source.ID, q.Destination.ID}
	for _, ref := range []*network.Ref{q.VNet, q.Subnet} {
		if ref != nil {
			texts = append(texts, ref.ID)
		}
	}
	if q.Group != "" {
		texts = append(texts, subscription(watcher.ID).String()+"/resourceGroups/"+q.Group)
	}
	for _, text := range texts {
		if l, ok := reads(text); ok {
			links = append(links, l)
		}
	}
	return links
}

// reads is the right to read a resource or a resource group; ok is false for what is no id.
func reads(text string) (l rp.Link, ok bool) {
	id, err := arm.ParseID(text)
	if err != nil || id.Type().IsZero() {
		return l, false
	}
	typ := id.Type().String()
	if id.Type().Key() == "microsoft.resources/resourcegroups" {
		typ = "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return rp.Link{Action: typ + "/read", ID: id}, true
}

// question is the body of an action.
type question interface {
	// check refuses what cannot be answered: a target that is not there, or not the watcher's to see. It puts the
	// interfaces of virtual machines in their place.
	check(tx *rp.Tx, w *rp.Resource[Watcher]) error
}

func bad(code, format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}
