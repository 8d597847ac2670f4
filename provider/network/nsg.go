package network

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

// NSG is the properties of a network security group (Network REST:
// NetworkSecurityGroupPropertiesFormat). Its rules are resources of their own.
type NSG struct {
	ResourceGUID      string        `json:"resourceGuid,omitempty" rp:"readonly"`
	FlushConnection   bool          `json:"flushConnection"`
	DefaultRules      []defaultRule `json:"defaultSecurityRules" rp:"readonly"`
	NetworkInterfaces []Ref         `json:"networkInterfaces,omitempty" rp:"readonly"`
	Subnets           []Ref         `json:"subnets,omitempty" rp:"readonly"`
}

// defaultRule is a default security rule as answers show it.
type defaultRule struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	ETag       string `json:"etag"`
	Type       string `json:"type"`
	Properties struct {
		State string `json:"provisioningState"`
		Rule
	} `json:"properties"`
}

func (p *Provider) nsgType() rp.Registration {
	return rp.Of(rp.Type[NSG]{
		Move: moved[NSG],
		Name: NSGType, Kind: rp.Tracked, Versions: rp.Versions[NSG](versions...), ShowETag: true,
		NamePattern: networkName, NameRule: networkNameRule,
		Inline: map[string]string{"securityRules": RuleType},
		Validate: func(_ rp.Op, new, _ *rp.Resource[NSG]) error {
			if new.Properties.FlushConnection {
				return arm.NotImplemented("flushConnection of security group %s is not implemented: connections that stand outlive a change of its rules. It must be false.", new.ID)
			}
			return nil
		},
		Admit:     admitNSG,
		Reconcile: applied[NSG](p),
		Present:   presentNSG,
		Kept:      true,
		Release:   releaseNSG,
		Finalize:  applied[NSG](p),
	})
}

// admitNSG checks the rules as they will be.
func admitNSG(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[NSG]) error {
	if op == rp.Create {
		new.Properties.ResourceGUID = uuid.NewString()
	}
	rules, err := rp.List[Rule](tx, RuleType, new.ID)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if r.State == arm.Deleting {
			continue
		}
		if err := noConflict(r, rules); err != nil {
			return err
		}
	}
	return withinLimits(new.ID, rules)
}

// Azure's own descriptions of the default rules.
var defaultDescriptions = map[string]string{
	"AllowVnetInBound":              "Allow inbound traffic from all VMs in VNET",
	"AllowAzureLoadBalancerInBound": "Allow inbound traffic from azure load balancer",
	"DenyAllInBound":                "Deny all inbound traffic",
	"AllowVnetOutBound":             "Allow outbound traffic from all VMs to all VMs in VNET",
	"AllowInternetOutBound":         "Allow outbound traffic from all VMs to Internet",
	"DenyAllOutBound":               "Deny all outbound traffic",
}

// defaultRuleRoutes are the default rules of a security group, as resources.
func defaultRuleRoutes() rp.Registration {
	const at = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + NSGType + "/{nsg}/defaultSecurityRules"
	rules := func(tx *rp.Tx, in map[string]string) ([]defaultRule, error) {
		id, err := arm.ParseID("/subscriptions/" + in["subscription"] + "/resourceGroups/" + in["group"] + "/providers/" + NSGType + "/" + in["nsg"])
		if err != nil {
			return nil, err
		}
		r, err := rp.Get[NSG](tx, id)
		if err != nil {
			return nil, err
		}
		err = presentNSG(context.Background(), tx, r)
		return r.Properties.DefaultRules, err
	}
	const permission = NSGType + "/defaultSecurityRules/read"
	return rp.Routes(rp.Route{Method: http.MethodGet, Pattern: at, Permission: permission, Versions: versions, Reads: true,
		Do: func(_ context.Context, tx *rp.Tx, in, _ map[string]string, _ []byte) (any, error) {
			list, err := rules(tx, in)
			return map[string]any{"value": list}, err
		},
	}, rp.Route{Method: http.MethodGet, Pattern: at + "/{rule}", Permission: permission, Versions: versions, Reads: true,
		Do: func(_ context.Context, tx *rp.Tx, in, _ map[string]string, _ []byte) (any, error) {
			list, err := rules(tx, in)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(list, func(r defaultRule) bool { return strings.EqualFold(r.Name, in["rule"]) })
			if i < 0 {
				return nil, arm.Errorf(http.StatusNotFound, "NotFound", "The default security rule '%s' was not found.", clip(in["rule"]))
			}
			return list[i], nil
		},
	})
}

func presentNSG(_ context.Context, tx *rp.Tx, r *rp.Resource[NSG]) error {
	r.Properties.DefaultRules = nil
	for _, rule := range fabric.DefaultRules() {
		d := defaultRule{Name: rule.Name, ID: r.ID.String() + "/defaultSecurityRules/" + rule.Name, ETag: r.ETag, Type: NSGType + "/defaultSecurityRules"}
		d.Properties.State = string(arm.Succeeded)
		d.Properties.Rule = Rule{
			Description: defaultDescriptions[rule.Name], Protocol: "*", SourcePortRange: "*", DestinationPortRange: "*",
			SourceAddressPrefix: rule.Source[0], DestinationAddressPrefix: rule.Destination[0],
			Access: access(rule.Allow), Priority: rule.Priority, Direction: rule.Direction.String(),
		}
		d.Properties.Rule.fillLists()
		r.Properties.DefaultRules = append(r.Properties.DefaultRules, d)
	}
	var err error
	r.Properties.Subnets, r.Properties.NetworkInterfaces, err = nsgUsers(tx, r.ID)
	return err
}

// nsgUsers are the subnets and interfaces that a security group is attached to.
func nsgUsers(tx *rp.Tx, id arm.ID) (subnets, nics []Ref, err error) {
	all, err := rp.List[Subnet](tx, SubnetType, root)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		if s.State != arm.Deleting && s.Properties.NSG.is(id) {
			subnets = append(subnets, Ref{ID: s.ID.String()})
		}
	}
	interfaces, err := rp.List[Interface](tx, NICType, root)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range interfaces {
		if n.State != arm.Deleting && n.Properties.NSG.is(id) {
			nics = append(nics, Ref{ID: n.ID.String()})
		}
	}
	hidden, err := HiddenNICs(tx)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range hidden {
		if strings.EqualFold(n.NSG, id.String()) {
			nics = append(nics, Ref{ID: n.ID})
		}
	}
	return subnets, nics, nil
}

func releaseNSG(_ context.Context, tx *rp.Tx, r *rp.Resource[NSG]) error {
	subnets, nics, err := nsgUsers(tx, r.ID)
	if err != nil || len(subnets)+len(nics) == 0 {
		return err
	}
	var ids []string
	for _, u := range append(subnets, nics...) {
		ids = append(ids, u.ID)
	}
	return bad("InUseNetworkSecurityGroupCannotBeDeleted", "Network security group %s cannot be deleted because it is in use by the following resources: %s. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg.", r.ID, inUse(ids))
}

var root = arm.MustParseID("/")

func access(allow bool) string {
	if allow {
		return "Allow"
	}
	return "Deny"
}

// tree is v as the JSON object that encoding/json makes of it.
func tree(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}
