package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/blob"
	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	"vauban.dev/firewall"
	"vauban.dev/flowlog"
	"vauban.dev/provider/network"
	"vauban.dev/provider/networkwatcher"
	"vauban.dev/provider/storage"
)

// flowLogs writes virtual networks' flow logs: what the kernel tells of connections, a record a minute for each
// interface, into the accounts that the logs name.
type flowLogs struct {
	w         *world
	collector flowlog.Collector
	routers   []string                        // that are followed; run's alone
	continued time.Time                       // when flows that go on were told last; run's alone
	network   atomic.Pointer[flowlog.Network] // what events are read by; nil while no log is on
	wake      chan struct{}

	mu      sync.Mutex
	waiting []chan struct{} // who wants to know when its logs are followed
}

func newFlowLogs(w *world) *flowLogs { return &flowLogs{w: w, wake: make(chan struct{}, 1)} }

// changed returns when the flow logs are followed as they stood before the call.
func (f *flowLogs) changed(ctx context.Context) error {
	done := make(chan struct{})
	f.mu.Lock()
	f.waiting = append(f.waiting, done)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flowLogInterval is how often Azure writes what it has gathered.
const flowLogInterval = time.Minute

// run follows the logs until ctx ends; what is gathered then is written before it returns.
func (f *flowLogs) run(ctx context.Context) error {
	tick := time.NewTicker(flowLogInterval)
	defer tick.Stop()
	var drops dropFeed
	defer drops.close()
	for ctx.Err() == nil {
		f.mu.Lock()
		waiting := f.waiting
		f.waiting = nil
		f.mu.Unlock()
		on, err := f.follow(ctx)
		if err != nil && ctx.Err() == nil {
			f.w.log.Error("flow logs", "error", err)
		}
		drops.set(ctx, f.w.driver, on)
		for _, w := range waiting {
			close(w)
		}
		f.gather(ctx, tick.C, &drops)
		f.goOn(ctx)
		f.flush(ctx)
	}
	return nil
}

// dropFeed is the stream of refused packets, open while anybody wants it.
type dropFeed struct {
	c    <-chan linux.Drop
	stop context.CancelFunc
}

func (d *dropFeed) set(ctx context.Context, driver *linux.Driver, on bool) {
	if !on {
		d.close()
		return
	}
	if d.stop == nil {
		ctx, d.stop = context.WithCancel(ctx)
		d.c = driver.Drops(ctx)
	}
}

func (d *dropFeed) close() {
	if d.stop != nil {
		d.stop()
	}
	d.c, d.stop = nil, nil
}

// gather takes refused packets until the time to write has come or the logs have changed: what a log that goes
// has gathered is written.
func (f *flowLogs) gather(ctx context.Context, tick <-chan time.Time, drops *dropFeed) {
	for {
		select {
		case d, ok := <-drops.c:
			if !ok {
				drops.c = nil
				continue
			}
			f.refused(d)
			continue
		case <-f.wake:
		case <-tick:
		case <-ctx.Done():
		}
		break
	}
	for { // what has come already is not left for later: the log may be going
		select {
		case d, ok := <-drops.c:
			if ok {
				f.refused(d)
				continue
			}
		default:
		}
		return
	}
}

func (f *flowLogs) refused(d linux.Drop) {
	f.add(flowlog.Event{Time: d.Time, Router: d.Namespace, State: flowlog.Deny, Protocol: d.Protocol, Src: d.Src, Dst: d.Dst, Denied: d.Rule})
}

// continueInterval is how often Azure tells of flows that go on.
const continueInterval = 5 * time.Minute

// goOn tells of flows that go on, when it is time.
func (f *flowLogs) goOn(ctx context.Context) {
	n := f.network.Load()
	if n == nil || ctx.Err() != nil || time.Since(f.continued) < continueInterval {
		return
	}
	f.continued = time.Now()
	now := *n
	now.Topology = f.w.sync.current.Load().topology
	for _, router := range f.routers {
		flows, err := f.w.driver.Flows(ctx, router)
		if err != nil {
			f.w.log.Error("flow logs", "error", err)
			continue
		}
		events := make([]flowlog.Event, len(flows))
		for i, c := range flows {
			events[i] = flowEvent(c)
		}
		f.collector.Continuing(&now, router, events)
	}
}

// flowEvent is what the kernel told of a connection as flow logs take it.
func flowEvent(c linux.Flow) flowlog.Event {
	e := flowlog.Event{Time: c.Time, Router: c.Namespace, State: flowlog.Begin, Protocol: c.Protocol, Src: c.Src, Dst: c.Dst, Answers: c.ReplySrc,
		SentPackets: c.SentPackets, SentBytes: c.SentBytes, ReceivedPackets: c.ReceivedPackets, ReceivedBytes: c.ReceivedBytes}
	if c.End {
		e.State = flowlog.End
	}
	return e
}

// add notes an event by the network as it is now.
func (f *flowLogs) add(e flowlog.Event) {
	if n := f.network.Load(); n != nil {
		now := *n
		now.Topology = f.w.sync.current.Load().topology
		f.collector.Add(&now, e)
	}
}

// follow reads which logs are on, and follows the routers that they need; false without any.
func (f *flowLogs) follow(ctx context.Context) (on bool, err error) {
	n := &flowlog.Network{}
	guids := map[string]string{}
	err = f.w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		if n.Logs, err = networkwatcher.FlowLogs(tx); err != nil || len(n.Logs) == 0 {
			return err
		}
		groups, err := rp.List[network.NSG](tx, network.NSGType, arm.MustParseID("/"))
		for _, g := range groups {
			guids[g.ID.Key()] = g.Properties.ResourceGUID
		}
		return err
	})
	v := f.w.sync.current.Load()
	if err != nil || len(n.Logs) == 0 || v == nil {
		f.network.Store(nil)
		return false, errors.Join(err, f.w.driver.FollowFlows(ctx, nil, nil))
	}
	n.GUID = func(nsg string) string { return guids[strings.ToLower(nsg)] }
	f.network.Store(n)
	routers := map[string]bool{}
	for _, net := range v.topology.VNets {
		if slices.ContainsFunc(n.Logs, func(l flowlog.Log) bool { return concerns(&net, l.Target) }) {
			routers[fabric.RouterNS(net.ID)] = true
		}
	}
	f.routers = slices.Sorted(maps.Keys(routers))
	return true, f.w.driver.FollowFlows(ctx, routers, func(c linux.Flow) { f.add(flowEvent(c)) })
}

// concerns reports whether a log's target is a virtual network, or in it.
func concerns(v *fabric.VNet, target string) bool {
	if strings.EqualFold(v.ID, target) || strings.HasPrefix(strings.ToLower(target), strings.ToLower(v.ID)+"/") {
		return true
	}
	return slices.ContainsFunc(v.NICs, func(n fabric.NIC) bool { return strings.EqualFold(n.ID, target) })
}

// flush writes what is gathered. A record that cannot be written is lost, and the log says why, as in Azure.
func (f *flowLogs) flush(ctx context.Context) {
	if ctx.Err() != nil { // the server ends: what running requests have, this has too
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		ctx = ending
	}
	records, dropped, err := f.collector.Take(f.w.clock.Now())
	if err != nil || dropped > 0 {
		f.w.log.Error("flow logs", "dropped tuples", dropped, "error", err)
	}
	for _, r := range records {
		if err := f.write(ctx, r); err != nil {
			f.w.log.Error("a flow log was not written", "flowLog", r.Log.ID, "storage", r.Log.Storage, "error", err)
		}
	}
}

// write puts a record into its account: as the platform itself, which the account's firewall must admit as a
// trusted service.
func (f *flowLogs) write(ctx context.Context, r flowlog.Record) error {
	id, err := arm.ParseID(r.Log.Storage)
	if err != nil {
		return err
	}
	err = f.w.engine.View(ctx, func(tx *rp.Tx) error {
		a, err := rp.Get[storage.Account](tx, id)
		if err != nil {
			return err
		}
		d := firewall.DecideInstance(storage.Firewall(a, "blob"), f.w.entra.Tenant().ID, r.Log.ID, true)
		if !d.Allowed {
			return fmt.Errorf("the account's firewall: %s", d.Rule)
		}
		return nil
	})
	if err != nil {
		return err
	}
	account := accountName(id)
	put := func() error {
		_, err := f.w.blobs.Insert(ctx, account, flowlog.Container, r.Blob, []byte(flowlog.Head), []byte(","), r.JSON, []byte(flowlog.Foot))
		return err
	}
	err = put()
	if blob.IsCode(err, blob.CodeContainerNotFound) {
		if _, err := f.w.blobs.CreateContainer(ctx, account, flowlog.Container, blob.ContainerOptions{}); err != nil && !blob.IsCode(err, blob.CodeContainerAlreadyExists) {
			return err
		}
		err = put()
	}
	return errors.Join(err, f.expire(ctx, account, r.Log))
}

// expire deletes what a log keeps no longer.
func (f *flowLogs) expire(ctx context.Context, account string, l flowlog.Log) error {
	if l.Days == 0 {
		return nil
	}
	oldest := f.w.clock.Now().UTC().AddDate(0, 0, -l.Days).Truncate(24 * time.Hour)
	page, err := f.w.blobs.List(ctx, account, flowlog.Container, blob.ListOptions{Prefix: flowlog.Folder(l), MaxResults: 100})
	for _, b := range page.Blobs { // by name: the oldest days come first
		if day, ok := flowlog.Day(b.Name); ok && day.Before(oldest) {
			err = errors.Join(err, f.w.blobs.Delete(ctx, account, flowlog.Container, b.Name))
		}
	}
	return err
}
