package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatelink"
)

// endpointNIC makes the interface of a new endpoint, with an address for each member.
func (p *Provider) endpointNIC(tx *rp.Tx, r *rp.Resource[Endpoint], subnet *rp.Resource[Subnet], members []privatelink.Member) (arm.ID, error) {
	v := &r.Properties
	name := v.CustomNICName
	if name == "" {
		name = r.ID.Name() + ".nic." + uuid.NewString()
	}
	id, err := arm.ParseID(r.ID.Scope().String() + "/providers/" + NICType + "/" + name)
	if err != nil {
		return arm.ID{}, err
	}
	switch _, err := rp.Get[Interface](tx, id); {
	case err == nil:
		return arm.ID{}, bad("NetworkInterfaceAlreadyExists", "Private endpoint %s cannot have the network interface %s: it exists already.", r.ID, id)
	case !notFound(err):
		return arm.ID{}, err
	}
	wanted, err := static(r.ID, v.IPConfigurations, members)
	if err != nil {
		return arm.ID{}, err
	}
	taken := map[netip.Addr]bool{}
	for _, a := range wanted {
		taken[a] = true
	}
	nic := &rp.Resource[Interface]{ID: id, Location: r.Location, Properties: Interface{
		ResourceGUID: uuid.NewString(), NICType: "Standard", HostedWorkloads: []string{}, TapConfigurations: []any{},
		DNS: DNSSettings{Servers: []string{}, AppliedServers: []string{}}, PrivateEndpoint: &Ref{ID: r.ID.String()},
	}}
	for i, m := range members {
		config := IPConfig{Name: "privateEndpointIpConfig." + uuid.NewString()}
		a, err := take(tx, subnet, wanted[i], allocation{Owner: configID(id, config.Name), Endpoint: r.ID.String()}, taken)
		if err != nil {
			return arm.ID{}, err
		}
		config.Properties = IPConfigFields{
			Address: a.String(), Allocation: "Dynamic", Subnet: &Ref{ID: subnet.ID.String()}, Primary: i == 0, Version: "IPv4",
			ASGs: v.ASGs, Link: &LinkDetails{GroupID: m.GroupID, MemberName: m.Name, FQDNs: m.FQDNs},
		}
		if wanted[i].IsValid() {
			config.Properties.Allocation = "Static"
		}
		nic.Properties.IPConfigurations = append(nic.Properties.IPConfigurations, config)
		v.Members = append(v.Members, EndpointMember{Member: m, Addr: a})
	}
	return id, rp.Save(tx, nic)
}

// static finds the address that each member was asked to have, by index; none when all are dynamic. Static
// addresses are given to every member or to none.
func static(endpoint arm.ID, configs []EndpointIP, members []privatelink.Member) (map[int]netip.Addr, error) {
	wanted := map[int]netip.Addr{}
	if len(configs) == 0 {
		return wanted, nil
	}
	for _, c := range configs {
		i := slices.IndexFunc(members, c.isFor)
		if i < 0 {
			continue // told below: what it should have named is missing
		}
		a, err := netip.ParseAddr(c.Properties.Address)
		if err != nil || wanted[i].IsValid() {
			return nil, bad("InvalidPrivateEndpointIpConfiguration", "IP configuration %s of private endpoint %s names member '%s' of group '%s' a second time.", c.Name, endpoint, clip(c.Properties.MemberName), clip(c.Properties.GroupID))
		}
		wanted[i] = a
	}
	if len(wanted) == len(members) && len(configs) == len(members) {
		return wanted, nil
	}
	return nil, missingMembers(endpoint, configs, members, wanted)
}

func (c EndpointIP) isFor(m privatelink.Member) bool {
	return strings.EqualFold(m.GroupID, c.Properties.GroupID) && strings.EqualFold(m.Name, c.Properties.MemberName)
}

// missingMembers is Azure's refusal of static addresses that are not those of the target's members.
func missingMembers(endpoint arm.ID, configs []EndpointIP, members []privatelink.Member, have map[int]netip.Addr) error {
	var given, missing, known []string
	for _, c := range configs {
		given = append(given, fmt.Sprintf("PrivateIPAddress: %s, GroupId: %s, MemberName: %s", c.Properties.Address, clip(c.Properties.GroupID), clip(c.Properties.MemberName)))
	}
	for i, m := range members {
		text := fmt.Sprintf("GroupId: %s, MemberName: %s", m.GroupID, m.Name)
		known = append(known, text)
		if !have[i].IsValid() {
			missing = append(missing, text)
		}
	}
	if len(missing) == 0 {
		return bad("InvalidPrivateEndpointIpConfiguration", "Private endpoint %s contains static ipconfigurations: [%s]. The private link service has these members and no other: [%s].", endpoint, strings.Join(given, "; "), strings.Join(known, "; "))
	}
	return bad("PrivateEndpointIpConfigurationMissingMemberNamesRequiredByFps", "Private Endpoint %s contains static ipconfigurations: [%s] and its missing these membernames/groupids requested by Private Link service [%s]. Private Endpoint needs to be reconfigured with missing memberNames.", endpoint, strings.Join(given, "; "), strings.Join(missing, "; "))
}

// regroup makes the groups of an endpoint's interface those of the endpoint.
func regroup(tx *rp.Tx, v *Endpoint) error {
	for _, ref := range v.NetworkInterfaces {
		id, err := arm.ParseID(ref.ID)
		if err != nil {
			return err
		}
		nic, err := rp.Get[Interface](tx, id)
		if err != nil {
			return err
		}
		for i := range nic.Properties.IPConfigurations {
			nic.Properties.IPConfigurations[i].Properties.ASGs = v.ASGs
		}
		if err := rp.Save(tx, nic); err != nil {
			return err
		}
	}
	return nil
}
