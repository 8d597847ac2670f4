package objects

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/globalname"
	"vauban.dev/provider/privatelink"
)

// RegistryType is the resource type of container registries.
const RegistryType = "Microsoft.ContainerRegistry/registries"

// Registry is the properties of a container registry (Container Registry REST: RegistryProperties).
type Registry struct {
	LoginServer      string     `json:"loginServer,omitempty" rp:"readonly"`
	CreationDate     *time.Time `json:"creationDate,omitempty" rp:"readonly"`
	AdminUserEnabled bool       `json:"adminUserEnabled"`
	NetworkRuleSet   *struct {
		DefaultAction string           `json:"defaultAction"`
		IPRules       []registryIPRule `json:"ipRules"`
	} `json:"networkRuleSet,omitempty"`
	Policies   registryPolicies `json:"policies"`
	Encryption struct {
		Status string `json:"status"`
	} `json:"encryption"`
	DataEndpointEnabled      bool     `json:"dataEndpointEnabled"`
	DataEndpointHostNames    []string `json:"dataEndpointHostNames" rp:"readonly"`
	Connections              []any    `json:"privateEndpointConnections" rp:"readonly"`
	PublicNetworkAccess      string   `json:"publicNetworkAccess,omitempty"`
	NetworkRuleBypassOptions string   `json:"networkRuleBypassOptions,omitempty"`
	ZoneRedundancy           string   `json:"zoneRedundancy,omitempty"`
	AnonymousPullEnabled     bool     `json:"anonymousPullEnabled"`

	Passwords [2]string `json:"passwords" rp:"private"`
}

type registryIPRule struct {
	Action string `json:"action,omitempty"`
	Value  string `json:"value"`
}

type policyStatus struct {
	Status string `json:"status"`
}

type registryPolicies struct {
	Quarantine policyStatus `json:"quarantinePolicy"`
	Trust      struct {
		Type   string `json:"type"`
		Status string `json:"status"`
	} `json:"trustPolicy"`
	Retention struct {
		Days    int        `json:"days"`
		Updated *time.Time `json:"lastUpdatedTime,omitempty" rp:"readonly"`
		Status  string     `json:"status"`
	} `json:"retentionPolicy"`
	Export policyStatus `json:"exportPolicy"`
	AAD    policyStatus `json:"azureADAuthenticationAsArmPolicy"`
	Soft   struct {
		Days    int        `json:"retentionDays"`
		Updated *time.Time `json:"lastUpdatedTime,omitempty" rp:"readonly"`
		Status  string     `json:"status"`
	} `json:"softDeletePolicy"`
}

var registryVersions = []string{
	"2017-03-01", "2017-06-01-preview", "2017-10-01", "2018-02-01-preview", "2018-09-01", "2019-04-01", "2019-05-01", "2019-06-01-preview",
	"2019-12-01-preview", "2020-11-01-preview", "2021-06-01-preview", "2021-08-01-preview", "2021-09-01", "2021-12-01-preview", "2022-02-01-preview",
	"2022-12-01", "2023-01-01-preview", "2023-06-01-preview", "2023-07-01", "2023-08-01-preview", "2023-11-01-preview", "2024-11-01-preview",
	"2025-03-01-preview", "2025-04-01", "2025-05-01-preview", "2025-06-01-preview", "2025-11-01", "2026-01-01-preview", "2026-03-01-preview",
	"2026-09-01-preview",
}

const registryNames globalname.Names = "containerregistry.name"

var registryName = regexp.MustCompile(`^[a-zA-Z0-9]{5,50}$`)

const registryNameRule = "Registry names must contain 5 to 50 alphanumeric characters."

// registries are Microsoft.ContainerRegistry's types.
func (p *Provider) registries() []object {
	return append([]object{of(rp.Type[Registry]{
		Move: func(_ context.Context, tx *rp.Tx, _ arm.ID, r *rp.Resource[Registry]) error {
			return registryNames.Move(tx, r.ID)
		},
		Name: RegistryType, Versions: registryTypeVersions(), NamePattern: registryName.String(), NameRule: registryNameRule,
		CreateStatus: http.StatusOK, SyncDelete: true,
		Default: registryDefaults, Validate: validateRegistry, Admit: admitRegistry, Present: presentRegistry,
		Erase: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Registry]) error {
			return registryNames.Release(tx, r.ID)
		},
		Actions: unserved(map[string]rp.Action[Registry]{
			"listCredentials":      {Do: listCredentials},
			"regenerateCredential": {Do: regenerateCredential},
			"listUsages":           {Method: http.MethodGet, Permission: RegistryType + "/listUsages/read", Do: registryUsages},
			"privateLinkResources": {Method: http.MethodGet, Permission: RegistryType + "/privateLinkResources/read", Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Registry], _ []byte) (any, error) {
				return p.links.Resources(tx, r.ID)
			}},
		}, "importImage", "scheduleRun", "listBuildSourceUploadUrl", "generateCredentials"),
	})}, registryChildren()...)
}

// registryTypeVersions: answers of 2017-10-01 still have the firewall rules that a preview had, always none.
func registryTypeVersions() []rp.Version[Registry] {
	vs := rp.Versions[Registry](registryVersions...)
	for i := range vs {
		if vs[i].Name == "2017-10-01" {
			vs[i].Encode = func(r *Registry) (m map[string]any, err error) {
				b, err := json.Marshal(r)
				if err != nil {
					return nil, err
				}
				err = json.Unmarshal(b, &m)
				m["firewallRulesEnabled"], m["firewallRules"] = false, []any{}
				return m, err
			}
		}
	}
	return vs
}

func registryDefaults(_ string, r *rp.Resource[Registry]) {
	v := &r.Properties
	if v.NetworkRuleSet == nil {
		v.NetworkRuleSet = ptr(struct {
			DefaultAction string           `json:"defaultAction"`
			IPRules       []registryIPRule `json:"ipRules"`
		}{DefaultAction: "Allow"})
	}
	if v.NetworkRuleSet.IPRules == nil {
		v.NetworkRuleSet.IPRules = []registryIPRule{}
	}
	for i := range v.NetworkRuleSet.IPRules {
		otherwise(&v.NetworkRuleSet.IPRules[i].Action, "Allow")
	}
	otherwise(&v.Policies.Quarantine.Status, "disabled")
	otherwise(&v.Policies.Trust.Type, "Notary")
	otherwise(&v.Policies.Trust.Status, "disabled")
	otherwise(&v.Policies.Retention.Days, 7)
	otherwise(&v.Policies.Retention.Status, "disabled")
	otherwise(&v.Policies.Export.Status, "enabled")
	otherwise(&v.Policies.AAD.Status, "enabled")
	otherwise(&v.Policies.Soft.Days, 7)
	otherwise(&v.Policies.Soft.Status, "disabled")
	otherwise(&v.Encryption.Status, "disabled")
	otherwise(&v.PublicNetworkAccess, "Enabled")
	otherwise(&v.NetworkRuleBypassOptions, "AzureServices")
	otherwise(&v.ZoneRedundancy, "Disabled")
	s := skuOf(r)
	if oneOf("", "", &s.Name, "Classic", "Basic", "Standard", "Premium") == nil && s.Name != "" {
		s.Tier = s.Name
		r.SKU, _ = json.Marshal(s) // two strings
	}
}

func validateRegistry(_ rp.Op, new, old *rp.Resource[Registry]) error {
	v, s := &new.Properties, skuOf(new)
	if err := first(
		must("MissingSku", "sku.name", s.Name),
		oneOf("InvalidSku", "sku.name", &s.Name, "Classic", "Basic", "Standard", "Premium"),
		oneOf("InvalidNetworkRuleSet", "networkRuleSet.defaultAction", &v.NetworkRuleSet.DefaultAction, "Allow", "Deny"),
		oneOf("InvalidRequestContent", "publicNetworkAccess", &v.PublicNetworkAccess, "Enabled", "Disabled", "SecuredByPerimeter"),
		oneOf("InvalidRequestContent", "networkRuleBypassOptions", &v.NetworkRuleBypassOptions, "AzureServices", "None"),
		oneOf("InvalidRequestContent", "zoneRedundancy", &v.ZoneRedundancy, "Enabled", "Disabled"),
		oneOf("InvalidRequestContent", "encryption.status", &v.Encryption.Status, "enabled", "disabled"),
		validatePolicies(&v.Policies),
	); err != nil {
		return err
	}
	for i, r := range v.NetworkRuleSet.IPRules {
		if _, err := netip.ParseAddr(r.Value); err == nil {
			continue
		}
		if p, err := netip.ParsePrefix(r.Value); err != nil || !p.Addr().Is4() {
			return refuse("InvalidNetworkRuleSet", "The value '%s' of 'networkRuleSet.ipRules[%d].value' is not an IPv4 address or a CIDR range.", r.Value, i)
		}
	}
	if s.Name == "Premium" {
		return nil
	}
	if old != nil && skuOf(old).Name == "Classic" && s.Name != "Classic" {
		return nil // an upgrade
	}
	switch {
	case v.PublicNetworkAccess == "Disabled":
		return refuse("DisablingPublicNetworkAccessNotSupported", "Disabling public network access is not supported for the SKU %s. For more information, please visit https://aka.ms/acr/private-link.", s.Name)
	case v.NetworkRuleSet.DefaultAction == "Deny" || len(v.NetworkRuleSet.IPRules) > 0:
		return needsPremium("NetworkRulesNotSupported", "Network rules", s.Name)
	case v.ZoneRedundancy == "Enabled":
		return needsPremium("ZoneRedundancyNotSupported", "Zone redundancy", s.Name)
	case v.DataEndpointEnabled:
		return needsPremium("DataEndpointNotSupported", "Dedicated data endpoints", s.Name)
	case v.Encryption.Status == "enabled":
		return needsPremium("EncryptionNotSupported", "Customer managed keys", s.Name)
	}
	return nil
}

func needsPremium(code, what, sku string) error {
	return refuse(code, "%s are not supported for the SKU %s: they need a registry of SKU Premium.", what, sku)
}

func validatePolicies(p *registryPolicies) error {
	status := func(name string, s *string) error {
		return oneOf("InvalidRequestContent", "policies."+name+".status", s, "enabled", "disabled")
	}
	if err := first(status("quarantinePolicy", &p.Quarantine.Status), status("trustPolicy", &p.Trust.Status), status("retentionPolicy", &p.Retention.Status),
		status("exportPolicy", &p.Export.Status), status("azureADAuthenticationAsArmPolicy", &p.AAD.Status), status("softDeletePolicy", &p.Soft.Status)); err != nil {
		return err
	}
	if p.Retention.Days < 0 || p.Retention.Days > 365 {
		return refuse("InvalidRequestContent", "The value %d of 'policies.retentionPolicy.days' is invalid. It must be between 0 and 365.", p.Retention.Days)
	}
	return nil
}

func admitRegistry(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Registry]) error {
	v, name := &new.Properties, strings.ToLower(new.ID.Name())
	if op == rp.Create {
		err := registryNames.Claim(tx, new.ID)
		if errors.Is(err, globalname.ErrTaken) {
			return arm.Errorf(http.StatusConflict, "AlreadyInUse", "The registry DNS name %s.azurecr.io is already in use. You can check if the name is already claimed using following API: https://docs.microsoft.com/en-us/rest/api/containerregistry/registries/checknameavailability", name)
		}
		if err != nil {
			return err
		}
		v.LoginServer, v.CreationDate = name+".azurecr.io", ptr(tx.Now.UTC())
		v.Passwords = [2]string{secret(39), secret(39)}
	}
	if op == rp.Create || old.Properties.Policies.Retention.Status != v.Policies.Retention.Status || old.Properties.Policies.Retention.Days != v.Policies.Retention.Days {
		v.Policies.Retention.Updated = ptr(tx.Now.UTC())
	}
	if op == rp.Create || old.Properties.Policies.Soft.Status != v.Policies.Soft.Status {
		v.Policies.Soft.Updated = ptr(tx.Now.UTC())
	}
	v.DataEndpointHostNames = []string{}
	if v.DataEndpointEnabled {
		v.DataEndpointHostNames = []string{name + "." + new.Location + ".data.azurecr.io"}
	}
	return nil
}

func presentRegistry(ctx context.Context, tx *rp.Tx, r *rp.Resource[Registry]) (err error) {
	r.Properties.Connections, err = privatelink.Present(tx, r.ID)
	if r.Properties.Connections == nil {
		r.Properties.Connections = []any{}
	}
	return errors.Join(err, tagged(ctx, tx, r))
}

// credentials are the admin account's.
func credentials(r *rp.Resource[Registry]) (any, error) {
	if !r.Properties.AdminUserEnabled {
		return nil, refuse("UnAuthorizedForCredentialOperations", "Cannot perform credential operations for %s as admin user is disabled. Kindly enable admin user as per docs: https://docs.microsoft.com/en-us/azure/container-registry/container-registry-authentication#admin-account", r.ID)
	}
	return map[string]any{"username": r.ID.Name(), "passwords": []any{
		map[string]any{"name": "password", "value": r.Properties.Passwords[0]},
		map[string]any{"name": "password2", "value": r.Properties.Passwords[1]},
	}}, nil
}

func listCredentials(_ context.Context, _ *rp.Tx, r *rp.Resource[Registry], _ []byte) (any, error) {
	return credentials(r)
}

func regenerateCredential(_ context.Context, _ *rp.Tx, r *rp.Resource[Registry], body []byte) (any, error) {
	var in struct{ Name string }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, refuse("InvalidRequestContent", "The request content was invalid: 'name' must be password or password2.")
	}
	at := slices.Index([]string{"password", "password2"}, in.Name)
	if at < 0 {
		return nil, refuse("InvalidRequestContent", "The value '%s' of 'name' is invalid. It must be one of password, password2.", in.Name)
	}
	r.Properties.Passwords[at] = secret(39)
	return credentials(r)
}

// registryLimits are what a registry may hold: bytes of storage included, webhooks.
// https://learn.microsoft.com/azure/container-registry/container-registry-skus
var registryLimits = map[string][2]int64{"Classic": {10 << 30, 2}, "Basic": {10 << 30, 2}, "Standard": {100 << 30, 10}, "Premium": {500 << 30, 500}}

func registryUsages(_ context.Context, tx *rp.Tx, r *rp.Resource[Registry], _ []byte) (any, error) {
	hooks, err := rp.List[Webhook](tx, webhookType, r.ID)
	limit := registryLimits[skuOf(r).Name]
	return map[string]any{"value": []any{
		map[string]any{"name": "Size", "limit": limit[0], "currentValue": 0, "unit": "Bytes"},
		map[string]any{"name": "Webhooks", "limit": limit[1], "currentValue": len(hooks), "unit": "Count"},
	}}, err
}

// Target tells privatelink how registries are linked.
func (p *Provider) Target() privatelink.Target {
	return privatelink.Target{Type: RegistryType, Versions: registryVersions, Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
		r, err := privatelink.Live[Registry](tx, id)
		if err != nil {
			return nil, err
		}
		name, zone := strings.ToLower(id.Name()), "privatelink.azurecr.io"
		member := func(member, label string) privatelink.Member {
			return privatelink.Member{GroupID: "registry", Name: member, FQDNs: []string{label + ".azurecr.io"}, Records: []privatelink.Record{{Zone: zone, Name: label}}}
		}
		return []privatelink.Group{{ID: "registry", Zones: []string{zone}, Members: []privatelink.Member{
			member("registry_data_"+r.Location, name+"."+r.Location+".data"), member("registry", name),
		}}}, nil
	}}
}

func (p *Provider) registryRoutes() rp.Registration {
	return rp.Routes(rp.Route{
		Method: http.MethodGet, Reads: true, Permission: RegistryType + "/privateLinkResources/read", Versions: registryVersions,
		Pattern: "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + RegistryType + "/{registry}/privateLinkResources/{name}",
		Do: func(_ context.Context, tx *rp.Tx, in, _ map[string]string, _ []byte) (any, error) {
			id, err := arm.ParseID("/subscriptions/" + in["subscription"] + "/resourceGroups/" + in["group"] + "/providers/" + RegistryType + "/" + in["registry"])
			if err != nil {
				return nil, err
			}
			return p.links.Resource(tx, id, in["name"])
		},
	}, rp.Route{
		Method: http.MethodPost, Pattern: "/subscriptions/{subscription}/providers/Microsoft.ContainerRegistry/checkNameAvailability", Reads: true,
		Permission: "Microsoft.ContainerRegistry/checkNameAvailability/read", Versions: registryVersions, Do: checkRegistryName,
	})
}

func checkRegistryName(_ context.Context, tx *rp.Tx, _, _ map[string]string, body []byte) (any, error) {
	var in struct{ Name, Type string }
	if err := json.Unmarshal(body, &in); err != nil || in.Name == "" {
		return nil, refuse("InvalidRequestContent", "The request content was invalid: 'name' is missing.")
	}
	if !strings.EqualFold(in.Type, RegistryType) {
		return nil, refuse("InvalidRequestContent", "The value '%s' of 'type' is invalid. It must be %s.", in.Type, RegistryType)
	}
	if !registryName.MatchString(in.Name) {
		return map[string]any{"nameAvailable": false, "reason": "Invalid", "message": registryNameRule}, nil
	}
	free, err := registryNames.Free(tx, in.Name)
	if err != nil {
		return nil, err
	}
	if !free {
		return map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "The registry " + in.Name + " is already in use."}, nil
	}
	return map[string]any{"nameAvailable": true}, nil
}
