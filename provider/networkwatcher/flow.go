package networkwatcher

import (
	"context"
	"slices"
	"strings"

	"vauban.dev/arm/rp"
	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// flowQuestion is the body of ipFlowVerify (Network REST: VerificationIPFlowParameters).
type flowQuestion struct {
	Target     string `json:"targetResourceId"`
	Interface  string `json:"targetNicResourceId"`
	Direction  string `json:"direction"`
	Protocol   string `json:"protocol"`
	Local      string `json:"localIPAddress"`
	LocalPort  string `json:"localPort"`
	Remote     string `json:"remoteIPAddress"`
	RemotePort string `json:"remotePort"`
}

func (q *flowQuestion) check(tx *rp.Tx, w *rp.Resource[Watcher]) error {
	var err error
	if q.Interface, err = eitherInterface(tx, w, q.Target, q.Interface); err != nil {
		return err
	}
	_, _, err = q.packet()
	return err
}

// eitherInterface: a virtual machine is named first, and its interface where it has several.
func eitherInterface(tx *rp.Tx, w *rp.Resource[Watcher], target, nic string) (string, error) {
	if nic != "" {
		id, err := interfaceOf(tx, w, "targetNicResourceId", nic)
		return id.String(), err
	}
	id, err := interfaceOf(tx, w, "targetResourceId", target)
	return id.String(), err
}

func (q *flowQuestion) packet() (p fabric.Packet, d fabric.Direction, err error) {
	if d, err = parseDirection(q.Direction); err != nil {
		return p, d, err
	}
	if p.Protocol, err = explain.ParseProtocol(q.Protocol); err != nil || p.Protocol == fabric.ICMP {
		return p, d, bad("InvalidRequestFormat", "The property 'protocol' is '%s': TCP or UDP.", q.Protocol)
	}
	local, err := parseAddr("localIPAddress", q.Local)
	if err != nil {
		return p, d, err
	}
	remote, err := parseAddr("remoteIPAddress", q.Remote)
	if err != nil {
		return p, d, err
	}
	localPort, err := parsePort("localPort", q.LocalPort, d == fabric.Outbound)
	if err != nil {
		return p, d, err
	}
	remotePort, err := parsePort("remotePort", q.RemotePort, d == fabric.Inbound)
	if err != nil {
		return p, d, err
	}
	p.Source, p.SourcePort, p.Destination, p.DestinationPort = local, localPort, remote, remotePort
	if d == fabric.Inbound {
		p.Source, p.SourcePort, p.Destination, p.DestinationPort = remote, remotePort, local, localPort
	}
	return p, d, nil
}

// verifyFlow is ipFlowVerify: what the security rules of an interface say of a packet.
// https://learn.microsoft.com/azure/network-watcher/ip-flow-verify-overview
func (p *Provider) verifyFlow(_ context.Context, w explain.World, q *flowQuestion) (any, error) {
	packet, d, err := q.packet()
	if err != nil {
		return nil, err
	}
	s, err := find(w.Topology, firstOf(q.Interface, q.Target))
	if err != nil {
		return nil, err
	}
	local := packet.Source
	if d == fabric.Inbound {
		local = packet.Destination
	}
	if !slices.Contains(s.nic.Addrs, local) {
		return nil, bad("InvalidRequestFormat", "The property 'localIPAddress' is '%s', which is no address of %s.", local, s.nic.ID)
	}
	answer := map[string]any{"access": "Allow", "ruleName": ""}
	for _, g := range s.gates(d) {
		rule, allow := w.Topology.Evaluate(g.nsg, s.subnet.ID, d, packet)
		answer["ruleName"] = ruleName(w.Topology, rule)
		if !allow {
			answer["access"] = "Deny"
			break
		}
	}
	return answer, nil
}

func firstOf(texts ...string) string {
	i := slices.IndexFunc(texts, func(s string) bool { return strings.TrimSpace(s) != "" })
	if i < 0 {
		return ""
	}
	return texts[i]
}
