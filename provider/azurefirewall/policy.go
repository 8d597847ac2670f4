package azurefirewall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// Tiers of policies and firewalls, the lowest first.
const (
	basic    = "Basic"
	standard = "Standard"
	premium  = "Premium"
)

var tiers = []string{basic, standard, premium}

// Policy is the properties of a firewall policy (Network REST: FirewallPolicyPropertiesFormat).
type Policy struct {
	SKU               *Tier              `json:"sku,omitempty"`
	BasePolicy        *network.Ref       `json:"basePolicy,omitempty"`
	ThreatIntelMode   string             `json:"threatIntelMode"`
	DNS               *DNSSettings       `json:"dnsSettings,omitempty"`
	SNAT              *SNAT              `json:"snat,omitempty"`
	TransportSecurity *TransportSecurity `json:"transportSecurity,omitempty"`
	IDPS              *IDPS              `json:"intrusionDetection,omitempty"`
	ExplicitProxy     *ExplicitProxy     `json:"explicitProxy,omitempty"`
	Insights          json.RawMessage    `json:"insights,omitempty"`

	ChildPolicies []network.Ref `json:"childPolicies" rp:"readonly"`
	Groups        []network.Ref `json:"ruleCollectionGroups" rp:"readonly"`
	Firewalls     []network.Ref `json:"firewalls" rp:"readonly"`
	Size          string        `json:"size,omitempty" rp:"readonly"`
}

// Tier of a policy.
type Tier struct {
	Tier string `json:"tier"`
}

// DNSSettings of a policy.
type DNSSettings struct {
	Servers     []string `json:"servers"`
	EnableProxy bool     `json:"enableProxy"`
}

// SNAT says which destinations see the clients' own addresses.
type SNAT struct {
	PrivateRanges []string `json:"privateRanges,omitempty"`
	AutoLearn     string   `json:"autoLearnPrivateRanges,omitempty"`
}

// TransportSecurity is what TLS is inspected with.
type TransportSecurity struct {
	CertificateAuthority CertificateAuthority `json:"certificateAuthority"`
}

// CertificateAuthority is an intermediate one whose certificate and key are a secret in a key vault.
type CertificateAuthority struct {
	Name     string `json:"name"`
	SecretID string `json:"keyVaultSecretId"`
}

// IDPS is intrusion detection.
type IDPS struct {
	Mode string `json:"mode,omitempty"`
}

// ExplicitProxy is the forward proxy of a firewall.
type ExplicitProxy struct {
	Enable bool `json:"enableExplicitProxy"`
}

func (v *Policy) tier() string {
	if v.SKU == nil {
		return standard
	}
	return v.SKU.Tier
}

func (p *Provider) policyType() rp.Registration {
	return rp.Of(rp.Type[Policy]{
		Name: PolicyType, Kind: rp.Tracked, Versions: rp.Versions[Policy](network.VersionsSince("2019-06-01")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultPolicy,
		Validate:  validatePolicy,
		Admit:     admitPolicy,
		Links:     func(r *rp.Resource[Policy]) []rp.Link { return joins(PolicyType, r.Properties.BasePolicy) },
		Reconcile: applied[Policy](p),
		Present:   presentPolicy,
		Release:   releasePolicy,
		Finalize:  applied[Policy](p),
	})
}

func defaultPolicy(_ string, r *rp.Resource[Policy]) {
	v := &r.Properties
	if v.SKU == nil || v.SKU.Tier == "" {
		v.SKU = &Tier{Tier: standard}
	}
	if v.ThreatIntelMode == "" {
		v.ThreatIntelMode = "Alert"
	}
	if v.DNS != nil && v.DNS.Servers == nil {
		v.DNS.Servers = []string{}
	}
}

func validatePolicy(op rp.Op, new, old *rp.Resource[Policy]) error {
	v := &new.Properties
	if err := oneOf(&v.SKU.Tier, new.ID, "sku.tier", tiers...); err != nil {
		return err
	}
	if op == rp.Update && old.Properties.tier() != v.tier() {
		return bad("FirewallPolicySkuChangeDisallowed", "Firewall Policy %s cannot change sku from SKU Tier=%s to SKU Tier=%s", new.ID.Name(), old.Properties.tier(), v.tier())
	}
	if err := validateThreatIntel(&v.ThreatIntelMode, new.ID); err != nil {
		return err
	}
	if v.BasePolicy != nil {
		id, err := parseRef(v.BasePolicy, PolicyType, "basePolicy", new.ID)
		if err != nil {
			return err
		}
		if id.Key() == new.ID.Key() {
			return bad("FirewallPolicyInvalidBasePolicy", "Firewall Policy %s cannot inherit from itself.", new.ID)
		}
	}
	if v.DNS != nil {
		for _, s := range v.DNS.Servers {
			if a, err := netip.ParseAddr(s); err != nil || !a.Is4() {
				return bad("FirewallPolicyInvalidDNSServer", "dnsSettings.servers of Firewall Policy %s: %s is no IPv4 address.", new.ID, clip(s))
			}
		}
	}
	if err := validateTier(new); err != nil {
		return err
	}
	switch {
	case v.IDPS != nil && v.IDPS.Mode != "" && !strings.EqualFold(v.IDPS.Mode, "Off"):
		return arm.NotImplemented("Intrusion detection is not implemented: there are no signatures. intrusionDetection.mode of %s is %s; it can be Off.", new.ID, clip(v.IDPS.Mode))
	case v.ExplicitProxy != nil && v.ExplicitProxy.Enable:
		return arm.NotImplemented("The explicit proxy is not implemented: explicitProxy.enableExplicitProxy of %s must be false.", new.ID)
	}
	return validateSNAT(new)
}

func validateThreatIntel(mode *string, of arm.ID) error {
	if err := oneOf(mode, of, "threatIntelMode", "Alert", "Deny", "Off"); err != nil {
		return err
	}
	if *mode == "Deny" {
		return arm.NotImplemented("threatIntelMode Deny of %s is not implemented: Microsoft's threat intelligence feed is not public, so nothing would be denied by it. Use network and application rules.", of)
	}
	return nil
}

// validateTier refuses what lower tiers do not have.
// https://learn.microsoft.com/azure/firewall/features-by-sku
func validateTier(r *rp.Resource[Policy]) error {
	v := &r.Properties
	what := ""
	switch {
	case v.tier() == premium:
		return validateCA(r)
	case v.TransportSecurity != nil:
		what = "Transport Security"
	case v.IDPS != nil && v.IDPS.Mode != "" && !strings.EqualFold(v.IDPS.Mode, "Off"):
		what = "Intrusion Detection"
	case v.tier() == basic && v.DNS != nil && (v.DNS.EnableProxy || len(v.DNS.Servers) > 0):
		what = "Dns Settings"
	default:
		return nil
	}
	return bad("FirewallPolicyHigherTierOnlyProperties", "Firewall Policy %s contains higher tier only properties - %s", r.ID.Name(), what)
}

// validateCA checks where the certificate authority is: a secret of a key vault.
func validateCA(r *rp.Resource[Policy]) error {
	if r.Properties.TransportSecurity == nil {
		return nil
	}
	ca := r.Properties.TransportSecurity.CertificateAuthority
	if _, _, ok := ca.secret(); ca.Name == "" || !ok {
		return bad("FirewallPolicyInvalidCertificateAuthority", "transportSecurity.certificateAuthority of Firewall Policy %s needs a name and a keyVaultSecretId of the form https://VAULT.vault.azure.net/secrets/NAME, not '%s'.", r.ID, clip(ca.SecretID))
	}
	return nil
}

// secret is the vault's host and the name of the secret, with its version if it has one: NAME or NAME/VERSION.
func (c CertificateAuthority) secret() (host, name string, ok bool) {
	u, err := url.Parse(c.SecretID)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.User != nil {
		return "", "", false
	}
	name, ok = strings.CutPrefix(u.Path, "/secrets/")
	parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
	if !ok || len(parts) > 2 || parts[0] == "" || !strings.Contains(u.Host, ".vault.") {
		return "", "", false
	}
	return strings.ToLower(u.Host), strings.Join(parts, "/"), true
}

// ianaRanges in privateRanges stands for the ranges of RFC 1918 and RFC 6598.
const ianaRanges = "IANAPrivateRanges"

func validateSNAT(r *rp.Resource[Policy]) error {
	s := r.Properties.SNAT
	if s == nil {
		return nil
	}
	if s.AutoLearn != "" && !strings.EqualFold(s.AutoLearn, "Disabled") {
		return arm.NotImplemented("snat.autoLearnPrivateRanges of %s is not implemented: there is no Azure Route Server to learn from.", r.ID)
	}
	_, err := privateRanges(s.PrivateRanges)
	if err != nil {
		return bad("FirewallPolicyInvalidSnatPrivateRanges", "snat.privateRanges of Firewall Policy %s: %s.", r.ID, err)
	}
	return nil
}

func admitPolicy(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Policy]) error {
	if new.Properties.BasePolicy != nil {
		base, err := live[Policy](tx, new.Properties.BasePolicy, new.ID)
		if err != nil {
			return err
		}
		if rank(base.Properties.tier()) > rank(new.Properties.tier()) {
			return bad("FirewallPolicyInvalidBasePolicy", "Firewall Policy %s of tier %s cannot inherit from %s of tier %s.", new.ID, new.Properties.tier(), base.ID, base.Properties.tier())
		}
	}
	if _, err := inheritance(tx, new); err != nil || op == rp.Create {
		return err
	}
	groups, err := rp.List[Group](tx, GroupType, new.ID)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.State == arm.Deleting {
			continue
		}
		if err := fitsPolicy(tx, new, g); err != nil {
			return err
		}
	}
	return nil
}

func rank(tier string) int {
	for i, t := range tiers {
		if t == tier {
			return i
		}
	}
	return -1
}

// inheritance is the policy and those that it inherits from, the policy first.
func inheritance(tx *rp.Tx, policy *rp.Resource[Policy]) ([]*rp.Resource[Policy], error) {
	chain := []*rp.Resource[Policy]{policy}
	for p := policy; p.Properties.BasePolicy != nil; {
		base, err := live[Policy](tx, p.Properties.BasePolicy, p.ID)
		if err != nil {
			return nil, err
		}
		for _, c := range chain {
			if c.ID.Key() == base.ID.Key() {
				return nil, bad("FirewallPolicyInvalidBasePolicy", "Firewall Policy %s would inherit from itself by way of %s.", policy.ID, p.ID)
			}
		}
		chain = append(chain, base)
		p = base
	}
	return chain, nil
}

// dnsOf are the policy's DNS settings: its own, or those that it inherits.
func dnsOf(tx *rp.Tx, policy *rp.Resource[Policy]) (DNSSettings, error) {
	chain, err := inheritance(tx, policy)
	if err != nil {
		return DNSSettings{}, err
	}
	for _, p := range chain {
		if p.Properties.DNS != nil {
			return *p.Properties.DNS, nil
		}
	}
	return DNSSettings{}, nil
}

func presentPolicy(_ context.Context, tx *rp.Tx, r *rp.Resource[Policy]) (err error) {
	v := &r.Properties
	if v.ChildPolicies, v.Firewalls, err = policyUsers(tx, r.ID); err != nil {
		return err
	}
	groups, err := rp.List[Group](tx, GroupType, r.ID)
	if err != nil {
		return err
	}
	v.Groups = []network.Ref{}
	for _, g := range groups {
		if g.State != arm.Deleting {
			v.Groups = append(v.Groups, network.Ref{ID: g.ID.String()})
		}
	}
	v.Size, err = megabytes(v)
	return err
}

func policyUsers(tx *rp.Tx, id arm.ID) (children, firewalls []network.Ref, err error) {
	children, err = referring(tx, PolicyType, func(p *rp.Resource[Policy]) bool { return is(p.Properties.BasePolicy, id) })
	if err != nil {
		return nil, nil, err
	}
	firewalls, err = referring(tx, FirewallType, func(f *rp.Resource[Firewall]) bool { return is(f.Properties.Policy, id) })
	return children, firewalls, err
}

func releasePolicy(_ context.Context, tx *rp.Tx, r *rp.Resource[Policy]) error {
	children, firewalls, err := policyUsers(tx, r.ID)
	if err != nil {
		return err
	}
	if users := append(children, firewalls...); len(users) > 0 {
		return bad("FirewallPolicyInUse", "Firewall Policy %s cannot be deleted because it is in use by %s.", r.ID, ids(users))
	}
	return nil
}

// privateRanges reads snat.privateRanges; none are IANA's.
func privateRanges(texts []string) (out []netip.Prefix, err error) {
	if len(texts) == 0 {
		texts = []string{ianaRanges}
	}
	for _, t := range texts {
		t = strings.TrimSpace(t)
		if strings.EqualFold(t, ianaRanges) {
			out = append(out, defaultRanges...)
			continue
		}
		if a, err := netip.ParseAddr(t); err == nil && a.Is4() {
			out = append(out, netip.PrefixFrom(a, 32))
			continue
		}
		p, err := netip.ParsePrefix(t)
		if err != nil || !p.Addr().Is4() {
			return nil, fmt.Errorf("%q is neither %s nor an IPv4 address or prefix", clip(t), ianaRanges)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
