// Package keyvault is Microsoft.KeyVault: vaults and what the data plane (dataplane/keyvault) asks of one.
package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/firewall"
	"vauban.dev/provider/globalname"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/subnetrules"
	"vauban.dev/store"
)

// VaultType is the resource type of vaults.
const VaultType = "Microsoft.KeyVault/vaults"

// Vault is the properties of a key vault (Key Vault REST: VaultProperties).
type Vault struct {
	TenantID            string         `json:"tenantId"`
	SKU                 SKU            `json:"sku"`
	AccessPolicies      []AccessPolicy `json:"accessPolicies"`
	RBAC                *bool          `json:"enableRbacAuthorization,omitempty"`
	PublicNetworkAccess string         `json:"publicNetworkAccess,omitempty"`
	NetworkACLs         *NetworkACLs   `json:"networkAcls,omitempty"`
	SoftDelete          *bool          `json:"enableSoftDelete,omitempty"`
	RetentionDays       int            `json:"softDeleteRetentionInDays,omitempty"`
	PurgeProtection     *bool          `json:"enablePurgeProtection,omitempty"`
	ForDeployment       bool           `json:"enabledForDeployment"`
	ForDiskEncryption   *bool          `json:"enabledForDiskEncryption,omitempty"`
	ForTemplates        *bool          `json:"enabledForTemplateDeployment,omitempty"`
	CreateMode          string         `json:"createMode,omitempty"`

	URI         string `json:"vaultUri,omitempty" rp:"readonly"`
	Connections []any  `json:"privateEndpointConnections,omitempty" rp:"readonly"`
}

// SKU of a vault: family A, name standard or premium.
type SKU struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

// AccessPolicy grants permissions to one principal where the vault does not use roles.
type AccessPolicy struct {
	TenantID    string              `json:"tenantId"`
	ObjectID    string              `json:"objectId"`
	Application string              `json:"applicationId,omitempty"`
	Permissions map[string][]string `json:"permissions"` // keys, secrets, certificates, storage
}

// NetworkACLs is the vault's firewall.
type NetworkACLs struct {
	Bypass        string     `json:"bypass,omitempty"`
	DefaultAction string     `json:"defaultAction"`
	IPRules       []IPRule   `json:"ipRules"`
	VNetRules     []VNetRule `json:"virtualNetworkRules"`
}

// IPRule allows an address or a CIDR range.
type IPRule struct {
	Value string `json:"value"`
}

// VNetRule allows a subnet with a service endpoint.
type VNetRule struct {
	ID            string `json:"id"`
	IgnoreMissing bool   `json:"ignoreMissingVnetServiceEndpoint,omitempty"`
}

var versions = []string{
	"2015-06-01", "2016-10-01", "2018-02-14", "2018-02-14-preview", "2019-09-01", "2020-04-01-preview", "2021-04-01-preview", "2021-06-01-preview",
	"2021-10-01", "2021-11-01-preview", "2022-02-01-preview", "2022-07-01", "2022-11-01", "2023-02-01", "2023-07-01", "2024-04-01-preview", "2024-11-01",
	"2024-12-01-preview", "2025-05-01", "2026-02-01", "2026-03-01-preview", "2026-05-15",
}

// Vaults is the part of the data plane that the provider needs.
type Vaults interface {
	// DropVault removes all that a purged vault held.
	DropVault(ctx context.Context, id string) error
}

// Provider is Microsoft.KeyVault.
type Provider struct {
	data    Vaults
	links   *privatelink.Links
	subnets subnetrules.Endpoints
	view    func(context.Context, func(*rp.Tx) error) error
	update  func(context.Context, func(*rp.Tx) error) error
	forget  func(tx store.Tx, vault string) error
	secrets Secrets
}

// New returns the provider.
func New(data Vaults) *Provider { return &Provider{data: data} }

// Use gives the provider the region's links, which know its vaults as targets.
func (p *Provider) Use(l *privatelink.Links) { p.links = l }

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	all := []rp.Registration{
		rp.Of(rp.Type[Vault]{
			Move:         moved,
			Name:         VaultType,
			Kind:         rp.Tracked,
			Versions:     rp.Versions[Vault](versions...),
			CreateStatus: http.StatusOK,
			NamePattern:  namePattern.String(),
			NameError: func(name string) *arm.Error {
				return arm.Errorf(http.StatusBadRequest, "VaultNameNotValid", "The vault name '%s' is invalid. %s", name, nameRule)
			},
			SyncDelete: true,
			Default:    defaults,
			Validate:   validate,
			Admit:      p.admit,
			Links:      links,
			Present:    p.present,
			Kept:       true,
			Erase:      softDelete,
			Actions: map[string]rp.Action[Vault]{
				"privateLinkResources": {Method: http.MethodGet, Permission: VaultType + "/privateLinkResources/read", Do: p.linkResources},
			},
		}),
		operations(),
		accessPolicies(),
		p.deletedRoutes(),
		rp.Routes(rp.Route{
			Method: http.MethodPost, Pattern: "/subscriptions/{subscription}/providers/Microsoft.KeyVault/checkNameAvailability",
			Permission: "Microsoft.KeyVault/checkNameAvailability/read", Versions: versions, Reads: true, Do: checkName,
		}),
	}
	if p.secrets != nil {
		all = append(all, p.secretRoutes())
	}
	return all
}

var namePattern = regexp.MustCompile(`^[a-zA-Z](?:-?[a-zA-Z0-9]){2,23}$`)

const nameRule = "A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, and not contain consecutive hyphens."

// Target tells privatelink how vaults are linked.
func (p *Provider) Target() privatelink.Target {
	return privatelink.Target{Type: VaultType, Versions: versions, Shows: true, Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
		if _, err := privatelink.Live[Vault](tx, id); err != nil {
			return nil, err
		}
		name := strings.ToLower(id.Name())
		zone := "privatelink.vaultcore.azure.net"
		return []privatelink.Group{{ID: "vault", Zones: []string{zone}, Members: []privatelink.Member{{
			GroupID: "vault", Name: "default", FQDNs: []string{name + ".vault.azure.net"}, Records: []privatelink.Record{{Zone: zone, Name: name}},
		}}}}, nil
	}}
}

func (p *Provider) linkResources(_ context.Context, tx *rp.Tx, r *rp.Resource[Vault], _ []byte) (any, error) {
	return p.links.Resources(tx, r.ID)
}

// defaults are Azure's; from 2026-02-01 on new vaults use roles unless told otherwise.
func defaults(version string, r *rp.Resource[Vault]) {
	v := &r.Properties
	yes := true
	if v.AccessPolicies == nil {
		v.AccessPolicies = []AccessPolicy{}
	}
	if v.RBAC == nil {
		on := version >= "2026-02-01"
		v.RBAC = &on
	}
	if v.SoftDelete == nil {
		v.SoftDelete = &yes
	}
	if v.RetentionDays == 0 {
		v.RetentionDays = 90
	}
	if v.PublicNetworkAccess == "" {
		v.PublicNetworkAccess = "Enabled"
	}
	if n := v.NetworkACLs; n != nil {
		if n.IPRules == nil {
			n.IPRules = []IPRule{}
		}
		if n.VNetRules == nil {
			n.VNetRules = []VNetRule{}
		}
		if n.Bypass == "" {
			n.Bypass = "AzureServices"
		}
	}
}

func bad(format string, args ...any) error {
	return arm.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
}

func validate(_ rp.Op, new, _ *rp.Resource[Vault]) error {
	v := &new.Properties
	switch {
	case uuid.Validate(v.TenantID) != nil:
		return bad("An invalid value was provided for 'tenantId'.")
	case !strings.EqualFold(v.SKU.Family, "A"):
		return bad("The parameter sku.family '%s' is not A.", v.SKU.Family)
	case !strings.EqualFold(v.SKU.Name, "standard") && !strings.EqualFold(v.SKU.Name, "premium"):
		return bad("The parameter sku.name '%s' is none of standard, premium.", v.SKU.Name)
	case v.CreateMode != "" && v.CreateMode != "default" && v.CreateMode != "recover":
		return bad("The parameter properties.createMode '%s' is none of default, recover.", v.CreateMode)
	case !strings.EqualFold(v.PublicNetworkAccess, "Enabled") && !strings.EqualFold(v.PublicNetworkAccess, "Disabled"):
		return bad("The parameter publicNetworkAccess '%s' is none of Enabled, Disabled.", v.PublicNetworkAccess)
	case v.RetentionDays < 7 || v.RetentionDays > 90:
		return bad("The parameter softDeleteRetentionInDays has an invalid value %d. It must be between 7 and 90.", v.RetentionDays)
	case !*v.SoftDelete:
		return bad("The property \"enableSoftDelete\" cannot be set to false. Enabling the soft delete for a vault is an irreversible action.")
	case v.PurgeProtection != nil && !*v.PurgeProtection:
		return bad("The property \"enablePurgeProtection\" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.")
	}
	if err := validatePolicies(v.AccessPolicies); err != nil {
		return err
	}
	return validateACLs(v.NetworkACLs)
}

func validatePolicies(all []AccessPolicy) error {
	for i, p := range all {
		if uuid.Validate(p.TenantID) != nil || p.Application != "" && uuid.Validate(p.Application) != nil {
			return bad("An invalid value was provided for 'accessPolicies': accessPolicies[%d] needs the ids of a tenant and, if any, of an application.", i)
		}
		if uuid.Validate(p.ObjectID) != nil {
			return bad("Invalid value found at accessPolicies[%d].ObjectId: %s", i, p.ObjectID)
		}
	}
	return nil
}

func validateACLs(n *NetworkACLs) error {
	if n == nil {
		return nil
	}
	if n.DefaultAction != "Allow" && n.DefaultAction != "Deny" {
		return bad("The parameter networkAcls.defaultAction '%s' is none of Allow, Deny.", n.DefaultAction)
	}
	if n.Bypass != "AzureServices" && n.Bypass != "None" {
		return bad("The parameter networkAcls.bypass '%s' is none of AzureServices, None.", n.Bypass)
	}
	for i, r := range n.IPRules {
		if p, err := prefix(r.Value); err != nil || !p.Addr().Is4() {
			return bad("The parameter networkAcls.ipRules[%d].value '%s' is not an IPv4 address or a CIDR range.", i, r.Value)
		}
	}
	for i, r := range n.VNetRules {
		if id, err := arm.ParseID(r.ID); err != nil || id.Type().Key() != "microsoft.network/virtualnetworks/subnets" {
			return bad("The parameter networkAcls.virtualNetworkRules[%d].id '%s' is not the id of a subnet.", i, r.ID)
		}
	}
	return nil
}

func prefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// moved has the name lead to the vault where it went.
func moved(_ context.Context, tx *rp.Tx, _ arm.ID, r *rp.Resource[Vault]) error {
	return names.Move(tx, r.ID)
}

const names globalname.Names = "keyvault.name"

func (p *Provider) admit(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Vault]) error {
	if err := p.admitSubnets(tx, new, old); err != nil {
		return err
	}
	if op == rp.Create {
		if err := p.admitName(tx, new); err != nil {
			return err
		}
	}
	new.Properties.CreateMode = "" // it says how, not what: no answer shows it
	if op == rp.Update {
		if new.Properties.PurgeProtection == nil { // once enabled, it stays
			new.Properties.PurgeProtection = old.Properties.PurgeProtection
		}
		return nil
	}
	name := strings.ToLower(new.ID.Name())
	err := names.Claim(tx, new.ID)
	if errors.Is(err, globalname.ErrTaken) {
		return arm.Errorf(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken.", name)
	}
	new.Properties.URI = "https://" + name + ".vault.azure.net/"
	return err
}

// ByName finds the vault of a host name's first label; store.ErrNotFound without one, also when it is being
// deleted.
func ByName(tx *rp.Tx, name string) (*rp.Resource[Vault], error) {
	return globalname.Find[Vault](tx, names, name)
}

func (p *Provider) present(_ context.Context, tx *rp.Tx, r *rp.Resource[Vault]) (err error) {
	if r.Tags == nil {
		r.Tags = map[string]string{} // the service always shows them
	}
	r.Properties.Connections, err = privatelink.Present(tx, r.ID)
	return err
}

func checkName(_ context.Context, tx *rp.Tx, _, _ map[string]string, body []byte) (any, error) {
	var in struct{ Name string }
	if err := json.Unmarshal(body, &in); err != nil || in.Name == "" {
		return nil, bad("The name is missing.")
	}
	if !namePattern.MatchString(in.Name) {
		return map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": nameRule}, nil
	}
	free, err := names.Free(tx, in.Name)
	if err != nil {
		return nil, err
	}
	if !free {
		return map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "The vault name '" + in.Name + "' is already in use."}, nil
	}
	return map[string]any{"nameAvailable": true}, nil
}

// Firewall is the vault's network rules in the form that firewall.Decide takes.
func Firewall(r *rp.Resource[Vault]) firewall.Rules {
	v := &r.Properties
	rules := firewall.Rules{ResourceID: r.ID.String(), GroupIDs: []string{"vault"}, PublicNetworkAccess: v.PublicNetworkAccess, DefaultAction: "Allow"}
	if n := v.NetworkACLs; n != nil {
		rules.DefaultAction, rules.Bypass = n.DefaultAction, n.Bypass
		for _, i := range n.IPRules {
			if p, err := prefix(i.Value); err == nil {
				rules.IPRules = append(rules.IPRules, p.Masked())
			}
		}
		for _, s := range n.VNetRules {
			rules.SubnetRules = append(rules.SubnetRules, s.ID)
		}
	}
	return rules
}
