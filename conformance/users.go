package conformance

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// users are the ways in which one resource names another that shows it in turn: by the type of what is named and of what
// names it, the member that does.
var users = map[[2]string]string{
	{"microsoft.network/publicipaddresses", "microsoft.network/networkinterfaces"}:                 "properties.ipConfigurations.0.properties.publicIPAddress",
	{"microsoft.network/publicipprefixes", "microsoft.network/publicipaddresses"}:                  "properties.publicIPPrefix",
	{"microsoft.network/natgateways", "microsoft.network/virtualnetworks/subnets"}:                 "properties.natGateway",
	{"microsoft.network/routetables", "microsoft.network/virtualnetworks/subnets"}:                 "properties.routeTable",
	{"microsoft.network/networksecuritygroups", "microsoft.network/virtualnetworks/subnets"}:       "properties.networkSecurityGroup",
	{"microsoft.network/networksecuritygroups", "microsoft.network/networkinterfaces"}:             "properties.networkSecurityGroup",
	{"microsoft.network/serviceendpointpolicies", "microsoft.network/virtualnetworks/subnets"}:     "properties.serviceEndpointPolicies.0",
	{"microsoft.network/ipgroups", "microsoft.network/azurefirewalls"}:                             "rule:sourceIpGroups",
	{"microsoft.network/privatelinkservices", "microsoft.network/privateendpoints"}:                "connection",
	{"microsoft.network/virtualnetworks/subnets", "microsoft.network/networkinterfaces"}:           "properties.ipConfigurations.0.properties.subnet",
	{"microsoft.network/firewallpolicies", "microsoft.network/azurefirewalls"}:                     "properties.firewallPolicy",
	{"microsoft.network/loadbalancers/backendaddresspools", "microsoft.network/networkinterfaces"}: "properties.ipConfigurations.0.properties.loadBalancerBackendAddressPools.0",
	{"microsoft.network/applicationsecuritygroups", "microsoft.network/networkinterfaces"}:         "properties.ipConfigurations.0.properties.applicationSecurityGroups.0",
}

// use makes what names a resource that an example shows as named: a subnet with a NAT gateway, an interface with an
// address. The resource itself is made before.
func (s *seeder) use(ctx context.Context, c Case, path string) error {
	asked := ids(c.Request)
	shown, _ := c.Response.(map[string]any)
	of := map[string]any{path: shown}
	if !armID.MatchString(path) {
		of = map[string]any{}
		for _, one := range c.named(path) {
			of[one.path] = one.body
		}
	}
	for own, body := range of {
		for _, ref := range ids(body) {
			if slices.Contains(asked, ref) || strings.HasPrefix(strings.ToLower(s.w.path(ref)), strings.ToLower(s.w.path(own))) {
				continue
			}
			if err := s.user(ctx, own, ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// typeOf is the type of a resource's id, in lower case.
func typeOf(id string) string { return strings.ToLower(Case{Host: managementHost, Path: id}.Type()) }

// userOf is the member by which ref names own and own shows it in turn, "" when ref is no user of own.
func userOf(own, ref string) string {
	if strings.HasSuffix(typeOf(ref), "/ipconfigurations") {
		ref = parent(ref)
	}
	return users[[2]string{typeOf(own), typeOf(ref)}]
}

func (s *seeder) user(ctx context.Context, own, ref string) error {
	base, part := ref, ""
	if t := typeOf(ref); strings.HasSuffix(t, "/ipconfigurations") {
		base, part = parent(ref), ref[strings.LastIndex(ref, "/")+1:]
	}
	member := userOf(own, ref)
	if member == "" || s.made[strings.ToLower(s.w.path(base))] {
		return nil
	}
	if err := s.ensure(ctx, own); err != nil {
		return err
	}
	made, ok := s.basic(typeOf(base), base)
	if !ok {
		return nil
	}
	if part != "" {
		put(made.body, "properties.ipConfigurations.0.name", part)
	}
	if member == "connection" { // an endpoint's names the service by its id, and none of the service's groups
		put(made.body, "properties.privateLinkServiceConnections", []any{object{"name": "seed", "properties": object{"privateLinkServiceId": own}}})
	} else if of, ok := strings.CutPrefix(member, "rule:"); ok { // the rule of a firewall names groups by their ids alone
		rule := object{"name": "seed", "protocols": []any{"TCP"}, "destinationAddresses": []any{"*"}, "destinationPorts": []any{"443"}, of: []any{own}}
		put(made.body, "properties.networkRuleCollections", []any{object{"name": "seed", "properties": object{
			"priority": 100, "action": object{"type": "Allow"}, "rules": []any{rule}}}})
	} else {
		put(made.body, member, object{"id": own})
	}
	s.shown[strings.ToLower(base)] = &made
	return s.ensure(ctx, base)
}

// put sets a value at a path of keys and places, and makes lists and objects on the way.
func put(tree any, path string, value any) {
	key, rest, more := strings.Cut(path, ".")
	m, ok := tree.(object)
	if !ok {
		if list := asList(tree); len(list) > 0 {
			i, err := strconv.Atoi(key)
			switch {
			case err != nil || i >= len(list):
			case more:
				put(list[i], rest, value)
			default:
				list[i] = value
			}
		}
		return
	}
	if !more {
		m[key] = value
		return
	}
	if m[key] == nil {
		m[key] = object{}
		if next, _, _ := strings.Cut(rest, "."); next == "0" {
			m[key] = []any{object{}}
		}
	}
	put(m[key], rest, value)
}
