package networkwatcher

import (
	"context"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/reach"
)

// connectivityQuestion is the body of connectivityCheck (Network REST: ConnectivityParameters).
type connectivityQuestion struct {
	Source struct {
		ID   string `json:"resourceId"`
		Port uint16 `json:"port"`
	} `json:"source"`
	Destination struct {
		ID      string `json:"resourceId"`
		Address string `json:"address"`
		Port    uint16 `json:"port"`
	} `json:"destination"`
	Protocol string `json:"protocol"`
}

func (q *connectivityQuestion) check(tx *rp.Tx, w *rp.Resource[Watcher]) error {
	id, err := interfaceOf(tx, w, "source.resourceId", q.Source.ID)
	if err != nil {
		return err
	}
	q.Source.ID = id.String()
	if q.Destination.ID != "" {
		if id, err = interfaceOf(tx, w, "destination.resourceId", q.Destination.ID); err != nil {
			return err
		}
		q.Destination.ID = id.String()
	}
	_, _, _, err = q.endpoint()
	return err
}

// endpoint is where the connection goes; host is "" for a resource.
func (q *connectivityQuestion) endpoint() (host string, port uint16, p fabric.Protocol, err error) {
	port, p = q.Destination.Port, fabric.TCP
	host = q.Destination.Address
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		host = u.Hostname()
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil && port == 0 {
			port = uint16(n)
		}
	}
	switch strings.ToLower(q.Protocol) {
	case "", "tcp":
	case "http", "https":
		if port == 0 {
			port = map[string]uint16{"http": 80, "https": 443}[strings.ToLower(q.Protocol)]
		}
	case "icmp":
		p, port = fabric.ICMP, 0
	default:
		return "", 0, 0, bad("InvalidRequestFormat", "The property 'protocol' is '%s': Tcp, Http, Https or Icmp.", q.Protocol)
	}
	switch {
	case host == "" && q.Destination.ID == "":
		return "", 0, 0, bad("InvalidRequestFormat", "The destination has neither 'address' nor 'resourceId'.")
	case port == 0 && p == fabric.TCP:
		return "", 0, 0, bad("InvalidRequestFormat", "The property 'destination.port' is missing.")
	}
	return host, port, p, nil
}

// probes is how many connections a check makes.
const probes = 5

// connectivity is connectivityCheck: real connections from the interface, and of what fails the hop and the
// rule at fault.
// https://learn.microsoft.com/azure/network-watcher/connection-troubleshoot-overview
func (p *Provider) connectivity(ctx context.Context, w explain.World, q *connectivityQuestion) (any, error) {
	host, port, protocol, err := q.endpoint()
	if err != nil {
		return nil, err
	}
	s, err := find(w.Topology, q.Source.ID)
	if err != nil {
		return nil, err
	}
	if q.Destination.ID != "" {
		to, err := find(w.Topology, q.Destination.ID)
		if err != nil {
			return nil, err
		}
		host = to.nic.Addrs[0].String()
	}
	a, err := w.Explain(ctx, explain.Question{
		From: fabric.Place{Kind: fabric.AtNIC, ID: s.nic.ID}, Title: s.nic.ID, Host: host, Protocol: protocol, Port: port, SrcPort: q.Source.Port})
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"hops": hops(w.Topology, s, &a)}
	if a.Address == "" {
		answer["connectionStatus"], answer["probesSent"], answer["probesFailed"] = "Unreachable", 0, 0
		return answer, nil
	}
	dst, err := netip.ParseAddr(a.Address)
	if err != nil {
		return nil, err
	}
	p.measure(ctx, s.nic.ID, kindOf(protocol), netip.AddrPortFrom(dst, port), answer)
	return answer, nil
}

func kindOf(p fabric.Protocol) reach.Kind {
	if p == fabric.ICMP {
		return reach.ICMP
	}
	return reach.TCP
}

// measure makes the connections. Two in a row that fail are enough to know.
func (p *Provider) measure(ctx context.Context, nic string, kind reach.Kind, to netip.AddrPort, answer map[string]any) {
	var took []int64
	sent, failed, inRow := 0, 0, 0
	for sent < probes && inRow < 2 && ctx.Err() == nil {
		sent++
		if r := p.cfg.Connect(ctx, nic, kind, to); r.Connect == reach.Connected {
			took, inRow = append(took, r.TookMS), 0
		} else {
			failed, inRow = failed+1, inRow+1
		}
	}
	status := "Reachable"
	switch failed {
	case 0:
	case sent:
		status = "Unreachable"
	default:
		status = "Degraded"
	}
	answer["connectionStatus"], answer["probesSent"], answer["probesFailed"] = status, sent, failed
	if len(took) > 0 {
		lo, hi, sum := took[0], took[0], int64(0)
		for _, t := range took {
			lo, hi, sum = min(lo, t), max(hi, t), sum+t
		}
		answer["minLatencyInMs"], answer["maxLatencyInMs"], answer["avgLatencyInMs"] = lo, hi, sum/int64(len(took))
	}
}

// hops are the source, the appliances that routes lead through, and the destination, with what the model holds
// against the way.
func hops(t *fabric.Topology, s standing, a *explain.Answer) []any {
	list := []map[string]any{hop("Source", s.nic.Addrs[0].String(), s.nic.ID)}
	for _, step := range a.Steps {
		if r := step.Route; r != nil && r.Hop == fabric.HopAppliance.String() && r.Next != "" {
			list = append(list, hop("VirtualAppliance", r.Next, holder(t, r.Next)))
		}
	}
	kind, id := "Internet", holder(t, a.Address)
	if id != "" {
		kind = "VirtualNetwork"
	}
	list = append(list, hop(kind, a.Address, id))
	if issue, inbound := issueOf(a); issue != nil {
		at := list[0]
		if inbound {
			at = list[len(list)-1]
		}
		at["issues"] = []any{issue}
	}
	out := make([]any, len(list))
	for i := range list {
		if i+1 < len(list) {
			list[i]["nextHopIds"] = []any{list[i+1]["id"]}
		}
		out[i] = list[i]
	}
	return out
}

func hop(kind, address, resource string) map[string]any {
	h := map[string]any{"id": uuid.NewString(), "type": kind, "address": address, "nextHopIds": []any{}, "issues": []any{}}
	if resource != "" {
		h["resourceId"] = resource
	}
	return h
}

// holder is the interface that has an address, "" for none.
func holder(t *fabric.Topology, address string) string {
	for _, v := range t.VNets {
		for _, n := range v.NICs {
			for _, a := range n.Addrs {
				if a.String() == address {
					return n.ID
				}
			}
		}
	}
	return ""
}

// issueOf is what keeps the connection from arriving (Network REST: ConnectivityIssue), and whether it is met
// at the destination.
func issueOf(a *explain.Answer) (issue map[string]any, inbound bool) {
	flow := a.Refusal()
	switch {
	case a.Refused == explain.ByName:
		return connectivityIssue("Local", "DnsResolution", "Name", a.Host), false
	case flow == nil || a.Rule == nil:
		return nil, false
	case a.Rule.Owner == fabric.FabricOwner:
		return connectivityIssue("Outbound", "Platform", "Rule", a.Rule.Name), false
	case flow.By.Direction == fabric.Inbound:
		return connectivityIssue("Inbound", "NetworkSecurityRule", "RuleName", a.Rule.Name), true
	case flow.By.Direction == fabric.Outbound:
		return connectivityIssue("Outbound", "NetworkSecurityRule", "RuleName", a.Rule.Name), false
	}
	return connectivityIssue("Outbound", "UserDefinedRoute", "RouteName", a.Rule.Name), false
}

func connectivityIssue(origin, kind, key, value string) map[string]any {
	return map[string]any{"origin": origin, "severity": "Error", "type": kind, "context": []any{map[string]string{"key": key, "value": value}}}
}
