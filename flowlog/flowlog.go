// Package flowlog makes the records of Azure's virtual network flow logs (flowLogVersion 4) from what the kernel
// tells of connections. It is pure: the events come from the driver, the records go to a storage account, both
// elsewhere. Which rule decided is asked of the model.
// https://learn.microsoft.com/azure/network-watcher/vnet-flow-logs-overview
package flowlog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"vauban.dev/fabric"
)

// Log is one flow log that is switched on.
type Log struct {
	ID      string // resource id of networkWatchers/flowLogs
	GUID    string
	Target  string // id of a virtual network, a subnet or an interface
	Storage string // id of the account
	// Days are how long records are kept; 0 for ever.
	Days   int
	Filter *Filter // nil takes all
}

// State of a flow in a tuple.
type State string

const (
	Begin    State = "B"
	Continue State = "C" // it goes on: what passed since its last tuple
	End      State = "E"
	Deny     State = "D"
)

// Event is what happened to a flow in a virtual network's router.
type Event struct {
	Time     time.Time
	Router   string // namespace
	State    State
	Protocol fabric.Protocol
	Src, Dst netip.AddrPort // of the first packet
	// Answers is Dst after its translation; zero for a denied flow.
	Answers netip.AddrPort
	// Denied is the rule that refused.
	Denied                                                 fabric.RuleRef
	SentPackets, SentBytes, ReceivedPackets, ReceivedBytes uint64
}

// Network is what events are read by.
type Network struct {
	Topology *fabric.Topology
	Logs     []Log
	// GUID is a security group's resourceGuid.
	GUID func(nsg string) string
}

// Record is one record of a log and the blob that it belongs into.
type Record struct {
	Log  Log
	Blob string
	JSON []byte
}

// Container is where Azure puts flow logs, in the account that a log names.
const Container = "insights-logs-flowlogflowevent"

// Head and Foot of each blob; records stand between them, with commas.
const (
	Head = `{"records":[`
	Foot = `]}`
)

// unspecified stands for the group of traffic that none judges.
const unspecified = "00000000-0000-0000-0000-000000000000"

// platformRule is the rule of traffic that the platform itself decides about.
const platformRule = "PlatformRule"

// maxTuples bounds what is gathered between two Takes; more is dropped and counted.
const maxTuples = 100_000

// Collector gathers events until Take makes records of them.
type Collector struct {
	mu      sync.Mutex
	pending map[key][]tuple
	tuples  int
	dropped uint64
	told    map[flowKey]counts // of flows that go on: what their tuples have told
}

// flowKey is a flow in a router.
type flowKey struct {
	router   string
	protocol fabric.Protocol
	src, dst netip.AddrPort
}

type counts struct{ sentPackets, sentBytes, receivedPackets, receivedBytes uint64 }

type key struct{ log, mac string }

type tuple struct {
	acl, rule, text string
	at              time.Time
	log             Log
}

// Add notes an event in every log that is switched on for an interface of it: the sender's and the taker's sides
// are noted by themselves, as Azure does.
func (c *Collector) Add(n *Network, e Event) {
	if !c.since(&e) {
		return
	}
	for i := range n.Topology.VNets {
		v := &n.Topology.VNets[i]
		if fabric.RouterNS(v.ID) != e.Router || platform(e.Dst.Addr()) || platform(e.Src.Addr()) {
			continue
		}
		taker := e.Dst
		if e.Answers.IsValid() {
			taker = e.Answers
		}
		from, to := guest(v, e.Src.Addr()), guest(v, taker.Addr())
		if e.State == Deny {
			// the side whose rule refused; of the fabric's own rules the sender's, if it is here
			if e.Denied.Owner != fabric.FabricOwner && e.Denied.Direction == fabric.Inbound || from == nil {
				from = nil
			} else {
				to = nil
			}
		}
		if from != nil {
			c.side(n, v, from, fabric.Outbound, e, e.Dst)
		}
		if to != nil {
			c.side(n, v, to, fabric.Inbound, e, taker)
		}
	}
}

// since makes an event's counts what passed since the flow's last tuple; false if there is nothing to tell.
func (c *Collector) since(e *Event) bool {
	if e.State == Deny {
		return true
	}
	k := flowKey{e.Router, e.Protocol, e.Src, e.Dst}
	now := counts{e.SentPackets, e.SentBytes, e.ReceivedPackets, e.ReceivedBytes}
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.told[k]
	switch {
	case e.State == End:
		delete(c.told, k)
	case len(c.told) >= maxTuples && !known:
		return e.State == Begin
	default:
		if c.told == nil {
			c.told = map[flowKey]counts{}
		}
		c.told[k] = now
	}
	if e.State == Continue && (!known || now == last) { // it began before the log, or is idle
		return false
	}
	e.SentPackets, e.SentBytes = less(now.sentPackets, last.sentPackets), less(now.sentBytes, last.sentBytes)
	e.ReceivedPackets, e.ReceivedBytes = less(now.receivedPackets, last.receivedPackets), less(now.receivedBytes, last.receivedBytes)
	return true
}

// less is a difference that is not below 0: a flow whose end was lost may have a successor of the same ports.
func less(now, last uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

// Continuing tells of the flows that a router tracks now, and forgets those that it does not.
func (c *Collector) Continuing(n *Network, router string, all []Event) {
	here := map[flowKey]bool{}
	for _, e := range all {
		e.Router, e.State = router, Continue
		here[flowKey{router, e.Protocol, e.Src, e.Dst}] = true
		c.Add(n, e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.told {
		if k.router == router && !here[k] {
			delete(c.told, k)
		}
	}
}

// platform addresses are in no flow log.
func platform(a netip.Addr) bool {
	return a == fabric.WireServer || a == fabric.IMDS || a == fabric.Gateway
}

func guest(v *fabric.VNet, a netip.Addr) *fabric.NIC {
	for i := range v.NICs {
		if n := &v.NICs[i]; n.Kind == fabric.Guest && slices.Contains(n.Addrs, a) {
			return n
		}
	}
	return nil
}

func (c *Collector) side(n *Network, v *fabric.VNet, nic *fabric.NIC, d fabric.Direction, e Event, dst netip.AddrPort) {
	log, ok := logOf(n.Logs, v, nic)
	if !ok || !log.Filter.takes(&seen{e.Src, dst, e.Protocol, d, e.State}) {
		return
	}
	acl, rule := n.decided(v, nic, d, e, dst)
	letter := "O"
	if d == fabric.Inbound {
		letter = "I"
	}
	text := fmt.Sprintf("%d,%s,%s,%d,%d,%d,%s,%s,NX,%d,%d,%d,%d", e.Time.UnixMilli(), e.Src.Addr(), dst.Addr(), e.Src.Port(), dst.Port(), e.Protocol,
		letter, e.State, e.SentPackets, e.SentBytes, e.ReceivedPackets, e.ReceivedBytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tuples >= maxTuples {
		c.dropped++
		return
	}
	if c.pending == nil {
		c.pending = map[key][]tuple{}
	}
	k := key{strings.ToLower(log.ID), MAC(nic.ID)}
	c.pending[k] = append(c.pending[k], tuple{acl, rule, text, e.Time, log})
	c.tuples++
}

// MAC is an interface's hardware address as flow logs write it.
func MAC(nic string) string { return strings.ToUpper(strings.ReplaceAll(fabric.NICMAC(nic), ":", "")) }

// logOf is the log of an interface: its own before its subnet's before its virtual network's.
func logOf(logs []Log, v *fabric.VNet, nic *fabric.NIC) (Log, bool) {
	for _, id := range []string{nic.ID, nic.Subnet, v.ID} {
		for _, l := range logs {
			if strings.EqualFold(l.Target, id) {
				return l, true
			}
		}
	}
	return Log{}, false
}

// decided names the group and the rule: of an allowed flow that of the last gate it passed.
func (n *Network) decided(v *fabric.VNet, nic *fabric.NIC, d fabric.Direction, e Event, dst netip.AddrPort) (acl, rule string) {
	ref := e.Denied
	if e.State != Deny {
		for _, nsg := range gates(v, nic, d) {
			ref, _ = n.Topology.Evaluate(nsg, nic.Subnet, d, fabric.Packet{
				Source: e.Src.Addr(), SourcePort: e.Src.Port(), Destination: dst.Addr(), DestinationPort: dst.Port(), Protocol: e.Protocol})
		}
	}
	g := n.Topology.NSGs[ref.Owner]
	if g == nil {
		return unspecified, platformRule
	}
	own := slices.ContainsFunc(g.Rules, func(r fabric.Rule) bool { return r.Name == ref.Rule && r.Direction == ref.Direction })
	if own {
		return n.GUID(g.ID), "UserRule_" + ref.Rule
	}
	return n.GUID(g.ID), "DefaultRule_" + ref.Rule
}

func gates(v *fabric.VNet, nic *fabric.NIC, d fabric.Direction) []string {
	subnet := ""
	for _, s := range v.Subnets {
		if s.ID == nic.Subnet {
			subnet = s.NSG
		}
	}
	all := []string{nic.NSG, subnet}
	if d == fabric.Inbound {
		slices.Reverse(all)
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// The record's form (flowLogVersion 4).
type record struct {
	Time      string  `json:"time"`
	Version   int     `json:"flowLogVersion"`
	GUID      string  `json:"flowLogGUID"`
	MAC       string  `json:"macAddress"`
	Category  string  `json:"category"`
	Log       string  `json:"flowLogResourceID"`
	Target    string  `json:"targetResourceID"`
	Operation string  `json:"operationName"`
	Records   records `json:"flowRecords"`
}

type records struct {
	Flows []flow `json:"flows"`
}

type flow struct {
	ACL    string  `json:"aclID"`
	Groups []group `json:"flowGroups"`
}

type group struct {
	Rule   string   `json:"rule"`
	Tuples []string `json:"flowTuples"`
}

// category of flow logs, and the name of their only operation.
const category = "FlowLogFlowEvent"

// Take makes a record of what each interface's log has gathered, and forgets it. Dropped is how many tuples were
// too many since the last Take.
func (c *Collector) Take(now time.Time) (out []Record, dropped uint64, err error) {
	c.mu.Lock()
	pending := c.pending
	dropped = c.dropped
	c.pending, c.tuples, c.dropped = nil, 0, 0
	c.mu.Unlock()
	for k, tuples := range pending {
		r := record{
			Time: now.UTC().Format("2006-01-02T15:04:05.0000000Z"), Version: 4, GUID: tuples[0].log.GUID, MAC: k.mac, Category: category,
			Log: strings.ToUpper(tuples[0].log.ID), Target: tuples[0].log.Target, Operation: category, Records: records{flows(tuples)},
		}
		b, err := json.Marshal(r)
		if err != nil {
			return nil, dropped, err
		}
		out = append(out, Record{tuples[0].log, Blob(tuples[0].log, k.mac, now), b})
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Compare(a.Blob, b.Blob) })
	return out, dropped, nil
}

// flows groups tuples by group and rule, in the order of their first events.
func flows(tuples []tuple) (out []flow) {
	slices.SortStableFunc(tuples, func(a, b tuple) int { return a.at.Compare(b.at) })
	for _, t := range tuples {
		i := slices.IndexFunc(out, func(f flow) bool { return f.ACL == t.acl })
		if i < 0 {
			i, out = len(out), append(out, flow{ACL: t.acl})
		}
		j := slices.IndexFunc(out[i].Groups, func(g group) bool { return g.Rule == t.rule })
		if j < 0 {
			j, out[i].Groups = len(out[i].Groups), append(out[i].Groups, group{Rule: t.rule})
		}
		out[i].Groups[j].Tuples = append(out[i].Groups[j].Tuples, t.text)
	}
	return out
}

// Blob is the name that Azure gives the log of an interface for an hour:
// flowLogResourceID=/SUBSCRIPTION_GROUP/WATCHER_LOG/y=…/m=…/d=…/h=…/m=00/macAddress=…/PT1H.json.
func Blob(l Log, mac string, at time.Time) string {
	return Folder(l) + at.UTC().Format("y=2006/m=01/d=02/h=15/m=00/") + "macAddress=" + mac + "/PT1H.json"
}

// Folder has all blobs of a log.
func Folder(l Log) string {
	s := strings.Split(strings.ToUpper(strings.Trim(l.ID, "/")), "/") // subscriptions/S/resourceGroups/G/providers/N/networkWatchers/W/flowLogs/L
	if len(s) < 10 {
		return "flowLogResourceID=/" + strings.Join(s, "_") + "/"
	}
	return fmt.Sprintf("flowLogResourceID=/%s_%s/%s_%s/", s[1], s[3], s[7], s[9])
}

// Day is the day of a blob of a log; ok is false for what has no such name.
func Day(name string) (time.Time, bool) {
	i := strings.Index(name, "/y=")
	if i < 0 || len(name) < i+len("/y=2006/m=01/d=02") {
		return time.Time{}, false
	}
	t, err := time.Parse("/y=2006/m=01/d=02", name[i:i+len("/y=2006/m=01/d=02")])
	return t, err == nil
}
