package explain

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/fabric"
	"vauban.dev/reach"
)

// Fix is one change that brings a refused connection further.
type Fix struct {
	What string `json:"what"`
	// Commands of the Azure CLI that make the change; none where there is nothing that a command can do.
	Commands []string `json:"commands,omitempty"`
}

// maxFixes bounds how many changes one connection may need.
const maxFixes = 8

// candidate is a fix with the situation after it.
type candidate struct {
	Fix
	after *situation // nil: advice, which cannot be tried on the model
}

// repair finds the changes that make a refused connection pass. Each is tried on a copy of the model before
// it is named: a change that the same rule would refuse again is none. Of several that help, the narrowest
// comes first.
func (w World) repair(ctx context.Context, q Question, s situation, a Answer) (fixes []Fix, fixed bool, err error) {
	met := map[reach.Rule]bool{} // what refused already: a change that leads back to it is none
	for len(fixes) < maxFixes {
		if a.Rule != nil {
			met[*a.Rule] = true
		}
		var advice *Fix
		found := false
		for _, c := range w.candidates(q, s, a) {
			if c.after == nil {
				if advice == nil {
					advice = &c.Fix
				}
				continue
			}
			next, err := w.answer(ctx, q, *c.after)
			if err != nil {
				return nil, false, err
			}
			if next.Allowed {
				return append(fixes, c.Fix), true, nil
			}
			if further(a, next) && (next.Rule == nil || !met[*next.Rule]) {
				fixes, s, a, found = append(fixes, c.Fix), *c.after, next, true
				break
			}
		}
		if !found {
			if advice != nil {
				fixes = append(fixes, *advice)
			}
			return fixes, false, nil
		}
	}
	return fixes, false, nil
}

// further reports whether an answer is refused later than another, or by something else on the same way.
func further(before, after Answer) bool {
	order := map[Layer]int{ByName: 0, ByNetwork: 1, ByReply: 2, ByService: 3, ByRole: 4}
	if order[before.Refused] != order[after.Refused] {
		return order[after.Refused] > order[before.Refused]
	}
	if after.Refused == ByReply {
		return after.Rule != nil && (before.Rule == nil || *after.Rule != *before.Rule) && len(after.Reply.Steps) >= len(before.Reply.Steps)
	}
	return after.Refused == ByNetwork && after.Rule != nil && (before.Rule == nil || *after.Rule != *before.Rule) && len(after.Steps) >= len(before.Steps)
}

func (w World) candidates(q Question, s situation, a Answer) []candidate {
	switch a.Refused {
	case ByName:
		if a.Unknown {
			return advise("ask the DNS server itself (--live does): it must forward %s to 168.63.129.16, or have a record of its own", q.Host)
		}
		return fixName(q, s)
	case ByNetwork, ByReply:
		e := *a.Refusal()
		if w.Hidden != nil && w.Hidden(e.By.Owner) {
			return advise("%s belongs to the service and cannot be changed: put the compute into a subnet of your own", e.By.Owner)
		}
		if a.Refused == ByReply {
			return fixReply(q, s, a, e)
		}
		return fixNetwork(q, s, a.By, e)
	case ByService:
		return fixService(q, s, a)
	case ByRole:
		return fixRole(s, a)
	}
	return nil
}

func advise(format string, args ...any) []candidate {
	return []candidate{{Fix: Fix{What: fmt.Sprintf(format, args...)}}}
}

// fixName: a private endpoint that leads to the resource is there, and the VNet's names do not say so.
func fixName(q Question, s situation) []candidate {
	vnet, _ := at(s.topology, q.From)
	if s.service == nil || vnet == "" {
		return advise("no name %s is published where the connection begins: check the spelling, and whether its resource or record exists", q.Host)
	}
	var out []candidate
	for _, v := range s.topology.VNets {
		for _, n := range v.NICs {
			if n.Service == nil || len(n.Addrs) == 0 || !strings.EqualFold(n.Service.Target, s.service.ID) || n.Service.GroupID != string(s.service.Kind) {
				continue
			}
			after := s
			after.addr = n.Addrs[0]
			out = append(out, candidate{Fix{
				What: fmt.Sprintf("the private zone linked to the virtual network lacks the record: give private endpoint %s a DNS zone group", n.ID),
				Commands: []string{fmt.Sprintf("az network private-endpoint dns-zone-group create %s -n default --private-dns-zone %s --zone-name %s",
					named("--endpoint-name", n.ID), zoneOf(s.service.Kind), strings.ReplaceAll(zoneOf(s.service.Kind), ".", "-"))},
			}, &after})
		}
	}
	return append(out, advise("a private zone is linked to the virtual network and has no record for %s: give the resource a private endpoint with a DNS zone group, or let the link ask the internet (az network private-dns link vnet update --resolution-policy NxDomainRedirect)", q.Host)...)
}

// zoneOf is the private DNS zone of a sub-resource ("Azure private endpoint private DNS zone values").
func zoneOf(k Kind) string {
	return map[Kind]string{Blob: "privatelink.blob.core.windows.net", File: "privatelink.file.core.windows.net", Queue: "privatelink.queue.core.windows.net", Table: "privatelink.table.core.windows.net", Vault: "privatelink.vaultcore.azure.net", Workspace: "privatelink.api.azureml.ms"}[k]
}

// fixRole grants the role that the service says has the action.
func fixRole(s situation, a Answer) []candidate {
	p := a.Permission
	if s.service.Policies != nil {
		after := s
		after.granted = true
		id, err := arm.ParseID(s.service.ID)
		if err != nil {
			return nil
		}
		return []candidate{{Fix{
			What:     fmt.Sprintf("vault %s goes by access policies: add one for %s", id.Name(), p.Principal),
			Commands: []string{fmt.Sprintf("az keyvault set-policy -n %s --object-id %s --secret-permissions get list", id.Name(), p.ObjectID)},
		}, &after}}
	}
	after := s
	after.granted = true
	return []candidate{{Fix{
		What: fmt.Sprintf("give %s the role '%s' on %s", p.Principal, s.service.Role, s.service.ID),
		Commands: []string{fmt.Sprintf("az role assignment create --assignee-object-id %s --assignee-principal-type ServicePrincipal --role %q --scope %s",
			p.ObjectID, s.service.Role, s.service.ID)},
	}, &after}}
}

// named is the arguments of az that name a resource: its group, an option for its name, and its subscription
// where there could be doubt.
func named(option, id string) string {
	r, err := arm.ParseID(id)
	if err != nil || r.ResourceGroup() == "" {
		return "--ids " + id
	}
	return fmt.Sprintf("--subscription %s -g %s %s %s", r.Subscription(), r.ResourceGroup(), option, r.Name())
}

// namedSubnet is the arguments of az that name a subnet.
func namedSubnet(id string) string {
	r, err := arm.ParseID(id)
	if err != nil || r.ResourceGroup() == "" {
		return "--ids " + id
	}
	return fmt.Sprintf("--subscription %s -g %s --vnet-name %s -n %s", r.Subscription(), r.ResourceGroup(), r.Parent().Name(), r.Name())
}

// changed is the situation with another topology.
func (s situation) changed(t *fabric.Topology) *situation {
	s.topology = t
	return &s
}

// one is the prefix that holds an address alone.
func one(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
