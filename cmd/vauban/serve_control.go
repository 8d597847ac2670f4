package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/audit"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/network"
	"vauban.dev/reach"
	"vauban.dev/region"
	"vauban.dev/store"
)

// Methods of the control socket beside those of package region.
const (
	methodDoctor   = "dns doctor" // doctorParams → doctor.Report
	methodExplain  = "explain"    // explainParams → explain.Answer
	methodProbe    = "probe"      // probeParams → reach.Result
	methodRules    = "rules"      // auditParams → []generated
	methodWatch    = "watch"      // watchParams → watched, and its sockets
	methodLearn    = "learn"      // learnParams → learned
	methodCapture  = "capture"    // region.PlaceParams → []captured, and a packet socket for each
	methodAudit    = "audit"      // auditParams → []audit.Report
	methodCounters = "counters"   // → []ruleCounter
	methodNodes    = "nodes"      // → []machinelearning.NodeInfo
	methodVPN      = "vpn"        // vpnParams → vpnResult
	methodCircuit  = "circuit"    // circuitParams → circuitResult
)

type ruleCounter struct {
	reach.Rule
	Packets uint64 `json:"packets"`
}

func (w *world) handle(c *region.Control) {
	c.Handle(region.MethodStatus, w.status)
	c.Handle(region.MethodPlace, w.place)
	c.Handle(region.MethodClock, w.moveClock)
	c.Handle(methodThrottle, w.setThrottle)
	c.Handle(methodQuota, w.setQuota)
	c.Handle(methodScrub, w.scrub)
	w.handleUsers(c)
	c.Handle(methodExplain, w.explain)
	c.Handle(methodDoctor, w.doctor)
	c.Handle(methodProbe, w.probe)
	c.Handle(methodAudit, w.audit)
	c.Handle(methodCapture, w.capture)
	c.Handle(methodRules, w.rules)
	c.Handle(methodWatch, w.watch)
	c.Handle(methodLearn, w.learn)
	c.Handle(methodCounters, w.counters)
	c.Handle(methodVPN, w.vpnCall)
	c.Handle(methodCircuit, w.circuitCall)
	c.Handle(methodTags, w.updateTags)
	c.Handle(methodFirewallLog, w.firewallLog)
	c.Handle(methodAccess, w.explainAccess)
	c.Handle(methodARM, w.callARM)
	c.Handle(methodDestroy, w.destroyPlan)
	c.Handle(methodImport, w.dryImport)
	c.Handle(methodNodes, func(ctx context.Context, _ region.Request) (region.Reply, error) {
		nodes, err := w.ml.Nodes(ctx)
		return region.Reply{Result: nodes}, err
	})
}

func (w *world) status(context.Context, region.Request) (region.Reply, error) {
	st, err := region.Describe()
	if err != nil {
		return region.Reply{}, err
	}
	st.Version, st.Started, st.Loopback = buildVersion(), w.started, w.region.Loopback.Addr().String()
	st.Clock = region.ClockResult{Now: w.clock.Now(), Offset: w.clock.Offset()}
	st.Warnings = append(st.Warnings, w.sync.unhealthy()...)
	st.ObjectOnly = w.objectOnly
	return region.Reply{Result: st}, nil
}

// writePlaceFiles writes what exec binds over the caller's files.
func (w *world) writePlaceFiles() error {
	dir := w.path("exec")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	system, err := region.SystemBundle()
	if err != nil {
		return err
	}
	bundle := append(append(system, '\n'), w.authority.PEM()...)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "ca-certificates.crt"), bundle, 0o644))
}

func notFound(format string, args ...any) error {
	return &region.CallError{Code: region.CodeNotFound, Message: fmt.Sprintf(format, args...)}
}

// where finds a place; a subnet gets an interface for exec, which stays until the subnet goes.
func (w *world) where(ctx context.Context, p region.PlaceParams, create bool) (title string, at fabric.Place, err error) {
	switch {
	case p.Node != "":
		nodes, err := w.ml.Nodes(ctx)
		if err != nil {
			return "", at, err
		}
		for _, n := range nodes {
			if n.ID == p.Node || strings.EqualFold(n.Cluster, p.Node) || strings.EqualFold(arm.MustParseID(n.Cluster).Name(), p.Node) {
				return "node " + n.ID, fabric.Place{Kind: fabric.AtNIC, ID: n.NIC}, nil
			}
		}
		return "", at, notFound("there is no compute node or cluster with nodes called %q", p.Node)
	case p.Subnet != "":
		return w.inSubnet(ctx, p.Subnet, create)
	case p.NIC != "":
		return w.behindNIC(ctx, p.NIC)
	case p.From == "" || p.From == "internet":
		return "internet", fabric.Place{Kind: fabric.AtHost, ID: clientHost}, nil
	case strings.HasPrefix(p.From, audit.TagPlace):
		_, err := w.serviceAddress(p)
		return strings.TrimPrefix(p.From, audit.TagPlace), fabric.Place{Kind: fabric.AtInternet}, err
	}
	return "", at, notFound("the region has no place %q: internet, --subnet VNET/SUBNET, --nic NAME or --node NAME", p.From)
}

func (w *world) inSubnet(ctx context.Context, name string, create bool) (string, fabric.Place, error) {
	var subnet arm.ID
	err := w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		subnet, err = findSubnet(tx, name)
		return err
	})
	if err != nil {
		return "", fabric.Place{}, err
	}
	owner := subnet.Key() + execSuffix
	at := fabric.Place{Kind: fabric.AtNIC, ID: owner}
	title := "subnet " + subnet.Parent().Name() + "/" + subnet.Name()
	if v := w.sync.current.Load(); v != nil {
		for _, n := range v.nics[subnet.Parent().String()] {
			if n.ID == owner {
				return title, at, nil
			}
		}
	}
	if !create {
		return title, at, nil
	}
	err = w.engine.Update(ctx, func(tx *rp.Tx) error {
		_, err := w.network.AllocateNIC(tx, network.NICRequest{Subnet: subnet, Owner: owner, Kind: network.ExecKind})
		return err
	})
	if err != nil {
		return "", at, err
	}
	return title, at, w.sync.Sync(ctx)
}

// behindNIC finds the namespace of a network interface that no machine has: what runs there is its machine.
func (w *world) behindNIC(ctx context.Context, name string) (string, fabric.Place, error) {
	var found []arm.ID
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		all, err := rp.List[network.Interface](tx, network.NICType, arm.MustParseID("/"))
		for _, n := range all {
			named := strings.EqualFold(n.ID.Name(), name) || strings.EqualFold(n.ID.ResourceGroup()+"/"+n.ID.Name(), name) || strings.EqualFold(n.ID.String(), name)
			if named && n.Properties.PrivateEndpoint == nil && n.Properties.LinkService == nil && n.State != arm.Deleting {
				found = append(found, n.ID)
			}
		}
		return err
	})
	switch {
	case err != nil:
		return "", fabric.Place{}, err
	case len(found) == 0:
		return "", fabric.Place{}, notFound("there is no network interface %q that a machine could have", name)
	case len(found) > 1:
		return "", fabric.Place{}, notFound("%d network interfaces are called %q: write GROUP/NAME or the id", len(found), name)
	}
	return "network interface " + found[0].Name(), fabric.Place{Kind: fabric.AtNIC, ID: found[0].String()}, nil
}

// execSuffix after a subnet's id is the id of the interface that exec has there.
const execSuffix = "/exec"

// findSubnet takes VNET/SUBNET, GROUP/VNET/SUBNET or a resource id.
func findSubnet(tx *rp.Tx, name string) (arm.ID, error) {
	if strings.HasPrefix(name, "/") {
		id, err := arm.ParseID(name)
		if err == nil {
			_, err = rp.Get[network.Subnet](tx, id)
		}
		return id, err
	}
	all, err := rp.List[network.Subnet](tx, network.SubnetType, arm.MustParseID("/"))
	if err != nil {
		return arm.ID{}, err
	}
	var found []arm.ID
	for _, s := range all {
		short := s.ID.Parent().Name() + "/" + s.ID.Name()
		if strings.EqualFold(short, name) || strings.EqualFold(s.ID.ResourceGroup()+"/"+short, name) {
			found = append(found, s.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return arm.ID{}, notFound("there is no subnet %q: write VNET/SUBNET", name)
	}
	return arm.ID{}, notFound("%d subnets are called %q: write GROUP/VNET/SUBNET", len(found), name)
}

func (w *world) place(ctx context.Context, r region.Request) (region.Reply, error) {
	var p region.PlaceParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	title, at, err := w.where(ctx, p, true)
	if err != nil {
		return region.Reply{}, err
	}
	ns := fabric.NSName(at)
	resolv, err := w.resolvConf(at)
	if err != nil {
		return region.Reply{}, err
	}
	files, err := region.PlaceFiles(ns)
	return region.Reply{Files: files, Result: region.PlaceResult{
		Title: title, NetNS: ns, ResolvConf: resolv, Bundle: w.path("exec", "ca-certificates.crt"),
		Env: w.first.env(), Defaults: w.azEnv(),
	}}, err
}

func (w *world) counters(ctx context.Context, _ region.Request) (region.Reply, error) {
	all, err := w.driver.Counters(ctx)
	out := []ruleCounter{}
	for ref, n := range all {
		if n > 0 {
			out = append(out, ruleCounter{explain.NameRule(ref), n})
		}
	}
	return region.Reply{Result: out}, err
}

func (w *world) moveClock(ctx context.Context, r region.Request) (region.Reply, error) {
	var p region.ClockParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	if p.Advance < 0 {
		return region.Reply{}, &region.CallError{Code: region.CodeBadRequest, Message: "the region's clock does not go back"}
	}
	if p.Advance > 0 {
		if err := saveClock(ctx, w.db, w.clock.Offset()+p.Advance); err != nil {
			return region.Reply{}, err
		}
		w.clock.SetOffset(w.clock.Offset() + p.Advance)
	}
	return region.Reply{Result: region.ClockResult{Now: w.clock.Now(), Offset: w.clock.Offset()}}, nil
}

// wallClock is the machine's time: certificates are verified by it, whatever the region's clock says.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

const kindClock = "region.clock"

func loadClock(ctx context.Context, db store.Store, c *clock.Region) error {
	return db.View(ctx, func(tx store.Tx) error {
		d, err := tx.Get(kindClock, "offset")
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var offset time.Duration
		if err := json.Unmarshal(d.Value, &offset); err != nil {
			return err
		}
		c.SetOffset(offset)
		return nil
	})
}

func saveClock(ctx context.Context, db store.Store, offset time.Duration) error {
	b, err := json.Marshal(offset)
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(kindClock, "offset", b, store.Any)
		return err
	})
}

// environment is what `vauban env` prints: clients outside the region reach it by the loopback proxy.
func (w *world) environment() map[string]string {
	proxy := "http://" + w.region.Loopback.Addr().String()
	bundle := w.path("exec", "ca-certificates.crt")
	env := map[string]string{"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}
	for _, k := range []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} {
		env[k] = bundle
	}
	env["ARM_METADATA_HOSTNAME"] = "management.azure.com" // azurerm's metadata_host
	maps.Copy(env, w.first.env())
	maps.Copy(env, w.azEnv())
	return env
}
