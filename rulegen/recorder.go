package rulegen

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	mdns "github.com/miekg/dns"

	"vauban.dev/capture"
	"vauban.dev/fabric"
)

// Destination is what a node has begun flows to.
type Destination struct {
	Addr     netip.Addr      `json:"address"`
	Protocol fabric.Protocol `json:"protocolNumber"`  // IANA's
	Port     uint16          `json:"port"`            // 0 for what has none
	Names    []string        `json:"names,omitempty"` // that DNS answered the node with the address
	Flows    int             `json:"flows"`
	// Answered: something came back of at least one flow. What nothing came back of was refused, or nobody is there.
	Answered bool `json:"answered"`
	// Processes that began flows.
	Processes []string `json:"processes,omitempty"`
	// UnknownProcess is how many of the flows are of nobody known: their socket was gone before it was looked up, as of UDP
	// that is sent and closed at once, or they are of a protocol without ports.
	UnknownProcess int `json:"flowsOfUnknownProcess,omitempty"`
	// Nodes are the addresses that began them.
	Nodes []netip.Addr `json:"nodes,omitempty"`
}

// maxRecorded bounds the flows and the names that a Recorder keeps.
const maxRecorded = 100_000

// Recorder notes the flows that a node begins and the names that DNS answers it, from the packets of its
// interface. It is safe for concurrent use.
type Recorder struct {
	local []netip.Addr

	mu     sync.Mutex
	flows  map[flowKey]*recorded
	owners map[flowKey][]string
	names  map[netip.Addr][]string
	lost   bool
}

// flowKey is a flow as the node sees it, whoever began it.
type flowKey struct {
	protocol fabric.Protocol
	port     uint16 // the node's own
	peer     netip.AddrPort
}

type recorded struct {
	ours, answered bool
	node           netip.Addr
}

// Owner notes the process that began a flow, also before the flow's first packet was seen. Processes that began one after
// the other with the same addresses and ports are all of it.
func (r *Recorder) Owner(p fabric.Protocol, src, dst netip.AddrPort, process string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := flowKey{p, src.Port(), dst}
	if known := r.owners[k]; process == "" || slices.Contains(known, process) || len(known) >= maxNames || known == nil && len(r.owners) >= maxRecorded {
		return
	}
	r.owners[k] = append(r.owners[k], process)
}

// NewRecorder notes what the node with these addresses begins.
func NewRecorder(local []netip.Addr) *Recorder {
	return &Recorder{local: local, flows: map[flowKey]*recorded{}, owners: map[flowKey][]string{}, names: map[netip.Addr][]string{}}
}

// Began notes a flow that the node began before its packets were seen, and that the network let pass; answered says
// whether something had come back by then.
func (r *Recorder) Began(p fabric.Protocol, src, dst netip.AddrPort, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flow(flowKey{p, src.Port(), dst}, true); f != nil {
		f.ours, f.answered, f.node = true, f.answered || answered, src.Addr()
	}
}

// Packet notes a packet; it takes what capture.Read gives, and never has enough.
func (r *Recorder) Packet(p capture.Packet) (full bool, err error) {
	s, ok := capture.ParseSegment(p.Data)
	if !ok {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.local, s.Src.Addr()) {
		k := flowKey{s.Protocol, s.Src.Port(), s.Dst}
		known := r.flows[k] != nil
		if f := r.flow(k, s.Begins); f != nil && !known {
			f.node = s.Src.Addr()
		}
		return false, nil
	}
	if !slices.Contains(r.local, s.Dst.Addr()) {
		return false, nil
	}
	key := flowKey{s.Protocol, s.Dst.Port(), s.Src}
	if _, known := r.flows[key]; !known && s.Begins {
		if f := r.flow(key, true); f != nil {
			f.ours = false
		}
	}
	f := r.flows[key]
	if f == nil || !f.ours {
		return false, nil
	}
	f.answered = true
	if s.Protocol == fabric.UDP && s.Src.Port() == 53 {
		r.answer(s.Datagram)
	}
	return false, nil
}

// flow is the one with the key; a new one is the node's own. nil: it is not known, and this does not begin it.
func (r *Recorder) flow(k flowKey, begins bool) *recorded {
	f := r.flows[k]
	switch {
	case f != nil || !begins:
	case len(r.flows) >= maxRecorded:
		r.lost = true
	default:
		f = &recorded{ours: true}
		r.flows[k] = f
	}
	return f
}

// answer notes the addresses of a name that was asked for, behind whatever aliases it has.
func (r *Recorder) answer(datagram []byte) {
	var m mdns.Msg
	if m.Unpack(datagram) != nil || !m.Response || len(m.Question) != 1 {
		return
	}
	name := strings.ToLower(strings.TrimSuffix(m.Question[0].Name, "."))
	for _, rr := range m.Answer {
		a, ok := rr.(*mdns.A)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(a.A.To4())
		if !ok || slices.Contains(r.names[addr], name) {
			continue
		}
		if len(r.names) >= maxRecorded || len(r.names[addr]) >= maxNames {
			r.lost = true
			continue
		}
		r.names[addr] = append(r.names[addr], name)
	}
}

// maxNames bounds the names of an address.
const maxNames = 100

// Destinations are what the node began flows to, in order. complete is false if there was more than is kept.
func (r *Recorder) Destinations() (out []Destination, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, f := range r.flows {
		if f.ours {
			d := Destination{Addr: k.peer.Addr(), Protocol: k.protocol, Port: k.peer.Port(), Names: slices.Clone(r.names[k.peer.Addr()]), Flows: 1, Answered: f.answered, Nodes: []netip.Addr{f.node}}
			if d.Processes = slices.Sorted(slices.Values(r.owners[k])); d.Processes == nil {
				d.UnknownProcess = 1
			}
			out = append(out, d)
		}
	}
	return Merge(out), !r.lost
}

// Merge makes one of what is told several times, of several flows or nodes.
func Merge(all []Destination) (out []Destination) {
	slices.SortFunc(all, compareDestinations)
	for _, d := range all {
		last := len(out) - 1
		if last < 0 || compareDestinations(out[last], d) != 0 {
			out = append(out, d)
			continue
		}
		m := &out[last]
		m.Flows, m.Answered = m.Flows+d.Flows, m.Answered || d.Answered
		m.UnknownProcess += d.UnknownProcess
		m.Names = slices.Compact(slices.Sorted(slices.Values(append(m.Names, d.Names...))))
		m.Processes = slices.Compact(slices.Sorted(slices.Values(append(m.Processes, d.Processes...))))
		m.Nodes = slices.Compact(slices.SortedFunc(slices.Values(append(m.Nodes, d.Nodes...)), netip.Addr.Compare))
	}
	return out
}

func compareDestinations(a, b Destination) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}
