package storage

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/firewall"
)

// NetworkACLs is the storage firewall.
type NetworkACLs struct {
	Bypass        string         `json:"bypass,omitempty"`
	DefaultAction string         `json:"defaultAction"`
	IPRules       []IPRule       `json:"ipRules"`
	VNetRules     []VNetRule     `json:"virtualNetworkRules"`
	ResourceRules []ResourceRule `json:"resourceAccessRules,omitempty"`
}

// IPRule allows a public address or range.
type IPRule struct {
	Value  string `json:"value"`
	Action string `json:"action,omitempty"`
}

// VNetRule allows a subnet with a service endpoint.
type VNetRule struct {
	ID     string `json:"id"`
	Action string `json:"action,omitempty"`
	State  string `json:"state,omitempty"`
}

// ResourceRule allows instances of a resource type of a tenant.
type ResourceRule struct {
	TenantID   string `json:"tenantId"`
	ResourceID string `json:"resourceId"`
}

func validateACLs(n *NetworkACLs) error {
	const more = " For more information, see - https://aka.ms/storagenetworkruleset"
	for part := range strings.SplitSeq(n.Bypass, ",") {
		if err := oneOf("networkAcls.bypass", strings.TrimSpace(part), "None", "AzureServices", "Logging", "Metrics"); err != nil {
			return err
		}
	}
	for i, r := range n.IPRules {
		if _, err := ipRule(r.Value); err != nil {
			return invalid("networkAcls.ipRules[%d].value '%s': %v."+more, i, r.Value, err)
		}
	}
	for i, r := range n.VNetRules {
		id, err := arm.ParseID(r.ID)
		if err != nil || id.Type().Key() != "microsoft.network/virtualnetworks/subnets" {
			return invalid("networkAcls.virtualNetworkRules[%d].id '%s' is not the id of a subnet."+more, i, r.ID)
		}
	}
	for i, r := range n.ResourceRules {
		if id, err := arm.ParseID(r.ResourceID); err != nil || id.Namespace() == "" {
			return invalid("networkAcls.resourceAccessRules[%d].resourceId '%s' is not the id of a resource."+more, i, r.ResourceID)
		}
		if uuid.Validate(r.TenantID) != nil {
			return invalid("networkAcls.resourceAccessRules[%d].tenantId '%s' is not the id of a tenant."+more, i, r.TenantID)
		}
	}
	return nil
}

// ipRule parses a rule of the storage firewall: public IPv4, no /31 and no /32 in CIDR form ("Configure
// Azure Storage firewalls": IP network rules).
func ipRule(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), privateRange(a)
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("not an address or a CIDR range")
	}
	if p.Bits() > 30 {
		return p, fmt.Errorf("small ranges with /31 or /32 are written as single addresses")
	}
	return p.Masked(), privateRange(p.Addr())
}

func privateRange(a netip.Addr) error {
	if a.IsPrivate() || !a.Is4() {
		return fmt.Errorf("IP rules take public IPv4 addresses only")
	}
	return nil
}

// Firewall is the account's network rules in the form that firewall.Decide takes, for the service of one
// sub-resource (blob, queue …).
func Firewall(r *rp.Resource[Account], group string) firewall.Rules {
	a := &r.Properties
	rules := firewall.Rules{ResourceID: r.ID.String(), GroupIDs: []string{group}, PublicNetworkAccess: a.PublicNetworkAccess}
	if n := a.NetworkACLs; n != nil {
		rules.DefaultAction, rules.Bypass = n.DefaultAction, n.Bypass
		for _, i := range n.IPRules {
			if prefix, err := ipRule(i.Value); err == nil {
				rules.IPRules = append(rules.IPRules, prefix)
			}
		}
		for _, v := range n.VNetRules {
			rules.SubnetRules = append(rules.SubnetRules, v.ID)
		}
		for _, i := range n.ResourceRules {
			rules.ResourceInstances = append(rules.ResourceInstances, firewall.ResourceInstance{TenantID: i.TenantID, ResourceID: i.ResourceID})
		}
	}
	return rules
}
