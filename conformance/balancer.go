package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// parts are the collections whose elements are made with the resource that they are of, and cannot be made alone.
var parts = map[string]bool{"loadbalancingrules": true, "outboundrules": true, "probes": true, "frontendipconfigurations": true, "ipconfigurations": true}

// isPart tells whether a type is of such a collection.
func isPart(t string) bool { return parts[t[strings.LastIndex(t, "/")+1:]] }

// balancer is a load balancer with every part that the case names of it, and one of each kind that others lean on. A
// part that the case shows looks as it is shown.
func (s *seeder) balancer(id string, subnet object) object {
	own := func(collection, name string) object { return object{"id": id + "/" + collection + "/" + name} }
	named := map[string][]string{}
	for _, inner := range s.inner[strings.ToLower(s.w.path(id))] {
		if collection, name, ok := strings.Cut(inner, "/"); ok && !strings.Contains(name, "/") {
			key := strings.ToLower(collection)
			named[key] = append(named[key], name)
		}
	}
	for _, collection := range []string{"frontendipconfigurations", "backendaddresspools"} {
		if len(named[collection]) == 0 {
			named[collection] = []string{"seed"}
		}
	}
	front, pool := named["frontendipconfigurations"][0], named["backendaddresspools"][0]
	outbound := len(named["outboundrules"]) > 0
	if len(named["loadbalancingrules"]) == 0 && !outbound { // a rule that no case leans on, for those who need one
		named["loadbalancingrules"], named["backendaddresspools"], pool = []string{"seed"}, append(named["backendaddresspools"], "seed"), "seed"
	}
	list := func(collection string, make func(i int) object) (out []any) {
		seen := map[string]bool{}
		for _, name := range named[strings.ToLower(collection)] {
			if seen[strings.ToLower(name)] {
				continue
			}
			seen[strings.ToLower(name)] = true
			properties := s.part(id + "/" + collection + "/" + name)
			if properties == nil {
				properties = make(len(out))
			}
			out = append(out, object{"name": name, "properties": properties})
		}
		return out
	}
	pools := list("backendAddressPools", func(int) object { return object{} })
	for _, id := range ids(pools) {
		if typeOf(id) == "microsoft.network/virtualnetworks" { // whose addresses a pool has
			subnet = object{"id": id + "/subnets/seed"}
		}
	}
	if id := s.standsIn(); id != "" { // where those stand who are to be behind it
		subnet = object{"id": id}
	}
	return object{"sku": object{"name": "Standard"}, "properties": object{
		"frontendIPConfigurations": list("frontendIPConfigurations", func(i int) object {
			if outbound {
				return object{"publicIPAddress": object{"id": fmt.Sprintf("%s/providers/Microsoft.Network/publicIPAddresses/seed%d", strings.Join(strings.Split(id, "/")[:5], "/"), i)}}
			}
			return object{"subnet": subnet}
		}),
		"backendAddressPools": pools,
		"probes":              list("probes", func(i int) object { return object{"protocol": "Tcp", "port": 80 + i, "intervalInSeconds": 15} }),
		"loadBalancingRules": list("loadBalancingRules", func(i int) object {
			return object{"frontendIPConfiguration": own("frontendIPConfigurations", front), "backendAddressPool": own("backendAddressPools", pool),
				"protocol": "Tcp", "frontendPort": 80 + i, "backendPort": 80 + i, "disableOutboundSnat": outbound}
		}),
		"outboundRules": list("outboundRules", func(int) object {
			return object{"frontendIPConfigurations": []any{own("frontendIPConfigurations", front)}, "backendAddressPool": own("backendAddressPools", pool), "protocol": "All"}
		}),
	}}
}

// part is what the case shows of a part, nil when it shows none.
func (s *seeder) part(id string) object {
	for shown, m := range s.shown {
		if m == nil || !strings.EqualFold(s.w.path(shown), s.w.path(id)) {
			continue
		}
		body, _ := m.body.(object)
		properties, _ := body["properties"].(object)
		out := object{}
		for k, v := range properties {
			if !slices.ContainsFunc(ids(v), func(ref string) bool { return userOf(id, ref) != "" }) { // they name it themselves
				out[k] = v
			}
		}
		return out
	}
	return nil
}

// standsIn is the subnet that a body names, else one that the case shows, "" for none: a balancer stands in the network of
// those behind it.
func (s *seeder) standsIn() string {
	bodies := []any{s.leaning}
	for _, id := range slices.Sorted(maps.Keys(s.shown)) {
		if m := s.shown[id]; m != nil {
			bodies = append(bodies, m.body)
		}
	}
	for _, body := range bodies {
		for _, id := range ids(body) {
			if typeOf(id) == "microsoft.network/virtualnetworks/subnets" {
				return id
			}
		}
	}
	return ""
}
