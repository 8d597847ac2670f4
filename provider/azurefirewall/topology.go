package azurefirewall

import (
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	model "vauban.dev/azurefirewall"
	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

// Extend puts the firewalls that stand in the topology's networks into it: each is a forwarding NIC under
// the firewall's id. Deallocated ones are not in it.
func (p *Provider) Extend(tx *rp.Tx, t *fabric.Topology) error {
	all, err := rp.List[Firewall](tx, FirewallType, root)
	if err != nil {
		return fmt.Errorf("azurefirewall: topology: %w", err)
	}
	for _, r := range all {
		if r.State == arm.Deleting || len(r.Properties.Configs) == 0 {
			continue
		}
		vnet, subnet := find(t, r.Properties.subnet())
		if vnet == nil {
			continue // its network is going
		}
		m, err := p.Model(tx, r)
		if err != nil {
			return fmt.Errorf("azurefirewall: topology: %s: %w", r.ID, err)
		}
		n := fabric.NIC{ID: m.ID, Kind: fabric.Guest, Subnet: subnet, Addrs: m.Addrs, Forwarding: true, Firewall: m}
		for _, a := range m.Publics {
			n.Public = append(n.Public, fabric.PublicAddress{Private: a.Private, Public: a.Public})
		}
		vnet.NICs = append(vnet.NICs, n)
	}
	return nil
}

// find is a subnet's VNet in the topology, and the subnet's id as it is there.
func find(t *fabric.Topology, subnet string) (*fabric.VNet, string) {
	for i := range t.VNets {
		for _, s := range t.VNets[i].Subnets {
			if strings.EqualFold(s.ID, subnet) {
				return &t.VNets[i], s.ID
			}
		}
	}
	return nil, ""
}

// Model is a stored firewall as decisions are made by it: with the rules of its policy and of those that it
// inherits from, and IP groups as the addresses in them.
func (p *Provider) Model(tx *rp.Tx, r *rp.Resource[Firewall]) (*model.Firewall, error) {
	v := &r.Properties
	m := &model.Firewall{ID: r.ID.String()}
	for _, h := range v.Held {
		if h.Management {
			continue
		}
		m.Addrs = append(m.Addrs, h.Address)
		if h.Public.IsValid() {
			m.Publics = append(m.Publics, model.PublicAddress{Private: h.Address, Public: h.Public})
		}
	}
	e := func(id string) ([]string, error) {
		g, err := live[IPGroup](tx, &network.Ref{ID: id}, r.ID)
		if err != nil {
			return nil, err
		}
		return g.Properties.IPAddresses, nil
	}
	if v.Policy == nil {
		return m, v.settings(m, r.ID, e)
	}
	policy, err := live[Policy](tx, v.Policy, r.ID)
	if err != nil {
		return nil, err
	}
	return m, compilePolicy(tx, m, policy, e)
}

// settings are those of a firewall without a policy.
func (v *Firewall) settings(m *model.Firewall, id arm.ID, e expand) (err error) {
	g, err := v.compileClassic(id, e)
	if err != nil {
		return err
	}
	m.Groups = []model.Group{g}
	m.DNSProxy = strings.EqualFold(v.setting(dnsProxyKey), "true")
	for _, s := range list(v.setting(dnsServersKey)) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		m.DNSServers = append(m.DNSServers, a)
	}
	m.PrivateRanges, err = privateRanges(list(v.setting(snatKey)))
	return err
}

// compilePolicy adds the rules of a policy and of its ancestors, and the settings: the nearest policy's that has
// them.
func compilePolicy(tx *rp.Tx, m *model.Firewall, policy *rp.Resource[Policy], e expand) error {
	chain, err := inheritance(tx, policy)
	if err != nil {
		return err
	}
	var ranges []string
	for i, p := range chain {
		groups, err := rp.List[Group](tx, GroupType, p.ID)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if g.State == arm.Deleting {
				continue
			}
			out, err := g.Properties.compile(g.ID, len(chain)-1-i, e)
			if err != nil {
				return err
			}
			m.Groups = append(m.Groups, out)
		}
		m.Inspects = m.Inspects || p.Properties.TransportSecurity != nil
		if p.Properties.SNAT != nil && ranges == nil {
			ranges = p.Properties.SNAT.PrivateRanges
		}
	}
	dns, err := dnsOf(tx, policy)
	if err != nil {
		return err
	}
	m.DNSProxy = dns.EnableProxy
	for _, s := range dns.Servers {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		m.DNSServers = append(m.DNSServers, a)
	}
	m.PrivateRanges, err = privateRanges(ranges)
	return err
}

// CertificateAuthority is where the intermediate certificate and key are that a firewall inspects TLS with: the
// host of a key vault, the secret's NAME or NAME/VERSION, and the identity of the policy that reads it. It is false for
// a firewall that has none.
func (p *Provider) CertificateAuthority(tx *rp.Tx, firewall arm.ID) (host, secret string, as *arm.Identity, ok bool, err error) {
	r, err := rp.Get[Firewall](tx, firewall)
	if err != nil || r.Properties.Policy == nil {
		return "", "", nil, false, err
	}
	policy, err := live[Policy](tx, r.Properties.Policy, r.ID)
	if err != nil {
		return "", "", nil, false, err
	}
	chain, err := inheritance(tx, policy)
	if err != nil {
		return "", "", nil, false, err
	}
	for _, c := range chain {
		if t := c.Properties.TransportSecurity; t != nil {
			host, secret, ok = t.CertificateAuthority.secret()
			return host, secret, c.Identity, ok, nil
		}
	}
	return "", "", nil, false, nil
}
