// Package storage is Microsoft.Storage: storage accounts, their keys, network rules and blob containers.
// What the data plane (dataplane/blob) asks of an account is answered from here.
package storage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/globalname"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/provider/subnetrules"
)

// AccountType is the resource type of storage accounts.
const AccountType = "Microsoft.Storage/storageAccounts"

// Account is the properties of a storage account (Storage REST: StorageAccountProperties).
type Account struct {
	PublicNetworkAccess string       `json:"publicNetworkAccess,omitempty"`
	AllowBlobPublic     *bool        `json:"allowBlobPublicAccess,omitempty"`
	AllowSharedKey      *bool        `json:"allowSharedKeyAccess,omitempty"`
	MinimumTLSVersion   string       `json:"minimumTlsVersion,omitempty"`
	HTTPSOnly           *bool        `json:"supportsHttpsTrafficOnly,omitempty"`
	NetworkACLs         *NetworkACLs `json:"networkAcls,omitempty"`
	AccessTier          string       `json:"accessTier,omitempty"`
	DNSEndpointType     string       `json:"dnsEndpointType,omitempty"`
	Immutable           *Immutable   `json:"immutableStorageWithVersioning,omitempty"`
	Routing             *Routing     `json:"routingPreference,omitempty"`
	Encryption          *Encryption  `json:"encryption,omitempty"`

	CreationTime     time.Time  `json:"creationTime,omitzero" rp:"readonly"`
	PrimaryLocation  string     `json:"primaryLocation,omitempty" rp:"readonly"`
	StatusOfPrimary  string     `json:"statusOfPrimary,omitempty" rp:"readonly"`
	PrimaryEndpoints *Endpoints `json:"primaryEndpoints,omitempty" rp:"readonly"`
	SecondLocation   string     `json:"secondaryLocation,omitempty" rp:"readonly"`
	StatusOfSecond   string     `json:"statusOfSecondary,omitempty" rp:"readonly"`
	KeyCreationTime  *KeyTimes  `json:"keyCreationTime,omitempty" rp:"readonly"`
	Connections      []any      `json:"privateEndpointConnections,omitempty" rp:"readonly"`

	// Keys are the two account keys, base64; no answer shows them but listKeys.
	Keys []string `json:"keys,omitempty" rp:"private"`
}

// Immutable asks that blobs cannot be changed; only its absence is there.
type Immutable struct {
	Enabled bool `json:"enabled"`
}

// Encryption says how data at rest is encrypted: the data key is wrapped by the platform's key, or by a key in a vault.
type Encryption struct {
	KeySource string                       `json:"keySource,omitempty"`
	Services  map[string]EncryptionService `json:"services,omitempty"`
	KeyVault  *KeyVaultProperties          `json:"keyvaultproperties,omitempty"`
	Identity  *EncryptionIdentity          `json:"identity,omitempty"`
	// Infrastructure has all data encrypted a second time, under another key, by the infrastructure. It is chosen when the account is made.
	Infrastructure *bool `json:"requireInfrastructureEncryption,omitempty"`
}

// enable notes since when each service is encrypted.
func (e *Encryption) enable(was map[string]EncryptionService, now time.Time) {
	for name, s := range e.Services {
		switch {
		case !s.Enabled:
			s.LastEnabledTime = time.Time{}
		case was[name].Enabled:
			s.LastEnabledTime = was[name].LastEnabledTime
		default:
			s.LastEnabledTime = now
		}
		e.Services[name] = s
	}
}

// EncryptionService is one service's part of Encryption.
type EncryptionService struct {
	Enabled         bool      `json:"enabled"`
	KeyType         string    `json:"keyType,omitempty"`
	LastEnabledTime time.Time `json:"lastEnabledTime,omitzero"`
}

// Routing is which networks lead to the account, and under which names.
type Routing struct {
	Choice    string `json:"routingChoice,omitempty"`
	Microsoft bool   `json:"publishMicrosoftEndpoints"`
	Internet  bool   `json:"publishInternetEndpoints"`
}

// Endpoints are the data plane's addresses.
type Endpoints struct {
	Services
	Microsoft *Services `json:"microsoftEndpoints,omitempty"`
	Internet  *Services `json:"internetEndpoints,omitempty"`
}

// Services are the addresses of an account's services.
type Services struct {
	Blob  string `json:"blob,omitempty"`
	DFS   string `json:"dfs,omitempty"`
	File  string `json:"file,omitempty"`
	Queue string `json:"queue,omitempty"`
	Table string `json:"table,omitempty"`
	Web   string `json:"web,omitempty"`
}

// KeyTimes are when the keys were made.
type KeyTimes struct {
	Key1 time.Time `json:"key1"`
	Key2 time.Time `json:"key2"`
}

var versions = []string{
	"2016-01-01", "2016-05-01", "2016-12-01", "2017-06-01", "2017-10-01", "2018-02-01", "2018-03-01-preview", "2018-07-01",
	"2018-11-01", "2019-04-01", "2019-06-01", "2020-08-01-preview", "2021-01-01", "2021-02-01", "2021-04-01", "2021-05-01",
	"2021-06-01", "2021-08-01", "2021-09-01", "2022-05-01", "2022-09-01", "2023-01-01", "2023-04-01", "2023-05-01",
	"2024-01-01", "2025-01-01", "2025-06-01", "2025-08-01", "2026-04-01", "2026-06-01", "2026-09-01",
}

var namePattern = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

const nameRule = "Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only."

// Provider is Microsoft.Storage.
type Provider struct {
	containers Containers
	queues     Queues
	tables     Tables
	shares     Shares
	rules      ServiceRules
	links      *privatelink.Links
	subnets    subnetrules.Endpoints
	keys       CustomerKeys
}

// New returns the provider. containers is the data plane that keeps the blobs.
func New(containers Containers) *Provider { return &Provider{containers: containers} }

// Keep gives the provider the data planes that keep queues, tables and shares, and the rules of CORS of all three. Without,
// it has none of them.
func (p *Provider) Keep(q Queues, t Tables, s Shares, r ServiceRules) {
	p.queues, p.tables, p.shares, p.rules = q, t, s, r
}

// Use gives the provider the region's links, which know its accounts as targets.
func (p *Provider) Use(l *privatelink.Links) { p.links = l }

// Versions are the api-versions of the namespace.
func Versions() []string { return slices.Clone(versions) }

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	return append(p.serviceTypes(), []rp.Registration{
		rp.Of(rp.Type[Account]{
			Move:         moved,
			Name:         AccountType,
			Kind:         rp.Tracked,
			Versions:     rp.Versions[Account](versions...),
			CreateStatus: http.StatusAccepted,
			NamePattern:  namePattern.String(),
			NameError: func(name string) *arm.Error {
				return arm.Errorf(http.StatusBadRequest, "AccountNameInvalid", "%s is not a valid storage account name. %s", name, nameRule)
			},
			SyncDelete: true,
			Default:    defaults,
			Validate:   validate,
			Admit:      p.admit,
			Links:      links,
			Present:    p.present,
			Kept:       true,
			Release:    p.release,
			Finalize:   p.finalize,
			Erase:      erase,
			Actions: map[string]rp.Action[Account]{
				"listKeys":             {Do: listKeys},
				"regenerateKey":        {Do: regenerateKey},
				"listAccountSas":       {Do: p.listAccountSAS},
				"listServiceSas":       {Do: p.listServiceSAS},
				"privateLinkResources": {Method: http.MethodGet, Permission: AccountType + "/privateLinkResources/read", Do: p.linkResources},
			},
		}),
		usageRoutes(), p.containerRoutes(), p.queueRoutes(), p.shareRoutes(), operations(),
		rp.Routes(rp.Route{
			Method: http.MethodPost, Pattern: "/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability",
			Permission: "Microsoft.Storage/checknameavailability/read", Versions: versions, Reads: true, Do: checkName,
		}),
	}...)
}

// Target tells privatelink how accounts are linked.
func (p *Provider) Target() privatelink.Target {
	return privatelink.Target{Type: AccountType, Versions: versions, Singular: true, Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
		if _, err := privatelink.Live[Account](tx, id); err != nil {
			return nil, err
		}
		name := strings.ToLower(id.Name())
		var groups []privatelink.Group
		for _, g := range []string{"blob", "dfs", "file", "queue", "table"} {
			zone := "privatelink." + g + ".core.windows.net"
			groups = append(groups, privatelink.Group{ID: g, Zones: []string{zone}, Members: []privatelink.Member{{
				GroupID: g, Name: g, FQDNs: []string{name + "." + g + ".core.windows.net"},
				Records: []privatelink.Record{{Zone: zone, Name: name}},
			}}})
		}
		return groups, nil
	}}
}

func (p *Provider) linkResources(_ context.Context, tx *rp.Tx, r *rp.Resource[Account], _ []byte) (any, error) {
	return p.links.Resources(tx, r.ID)
}

// defaults are Azure's: allowBlobPublicAccess became false with 2023-… portals only, the API keeps its
// own default; HTTPS is required from 2019-04-01 on.
func defaults(version string, r *rp.Resource[Account]) {
	a := &r.Properties
	yes, no := true, false
	if a.PublicNetworkAccess == "" {
		a.PublicNetworkAccess = "Enabled"
	}
	if a.AllowBlobPublic == nil {
		a.AllowBlobPublic = &no
	}
	if a.AllowSharedKey == nil {
		a.AllowSharedKey = &yes
	}
	if a.HTTPSOnly == nil {
		a.HTTPSOnly = &yes
		if version < "2019-04-01" {
			a.HTTPSOnly = &no
		}
	}
	if a.MinimumTLSVersion == "" {
		a.MinimumTLSVersion = "TLS1_0"
	}
	r.SKU = defaultSKU(r.SKU)
	if r.Kind == "" {
		r.Kind = "Storage"
	}
	if a.AccessTier == "" && r.Kind != "Storage" {
		a.AccessTier = "Hot"
		if strings.HasPrefix(skuName(r), "Premium") {
			a.AccessTier = "Premium"
		}
	}
	if a.NetworkACLs == nil {
		a.NetworkACLs = &NetworkACLs{DefaultAction: "Allow"}
	}
	n := a.NetworkACLs
	if n.Bypass == "" {
		n.Bypass = "AzureServices"
	}
	if n.IPRules == nil {
		n.IPRules = []IPRule{}
	}
	if n.VNetRules == nil {
		n.VNetRules = []VNetRule{}
	}
	for i := range n.IPRules {
		n.IPRules[i].Action = "Allow"
	}
	for i := range n.VNetRules {
		n.VNetRules[i].Action, n.VNetRules[i].State = "Allow", "Succeeded"
	}
	if a.Encryption == nil {
		a.Encryption = &Encryption{}
	}
	a.Encryption.defaults()
	if a.Encryption.Services == nil {
		a.Encryption.Services = map[string]EncryptionService{"blob": {Enabled: true, KeyType: "Account"}, "file": {Enabled: true, KeyType: "Account"}}
	}
}

// skus are the kinds of redundancy ("Storage SKU types"); the part before the underscore is the tier.
var skus = []string{
	"Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS", "Premium_LRS", "Premium_ZRS",
	"StandardV2_LRS", "StandardV2_GRS", "StandardV2_ZRS", "StandardV2_GZRS", "PremiumV2_LRS", "PremiumV2_ZRS",
}

// defaultSKU adds the tier, which clients may leave out.
func defaultSKU(raw json.RawMessage) json.RawMessage {
	var in struct{ Name string }
	if json.Unmarshal(raw, &in) != nil {
		return raw // validate says what is wrong
	}
	i := slices.IndexFunc(skus, func(s string) bool { return strings.EqualFold(s, in.Name) })
	if i < 0 {
		return raw
	}
	tier, _, _ := strings.Cut(skus[i], "_")
	return json.RawMessage(`{"name":"` + skus[i] + `","tier":"` + strings.TrimSuffix(tier, "V2") + `"}`)
}

func invalid(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: "+format, args...)
}

func validate(_ rp.Op, new, _ *rp.Resource[Account]) error {
	a := &new.Properties
	if name := skuName(new); !slices.Contains(skus, name) {
		return invalid("sku. sku.name '%s' is none of %s.", name, strings.Join(skus, ", "))
	}
	if err := oneOf("kind", new.Kind, "Storage", "StorageV2", "BlobStorage", "BlockBlobStorage", "FileStorage"); err != nil {
		return err
	}
	if err := oneOf("properties.publicNetworkAccess", a.PublicNetworkAccess, "Enabled", "Disabled", "SecuredByPerimeter"); err != nil {
		return err
	}
	if err := oneOf("properties.minimumTlsVersion", a.MinimumTLSVersion, "TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"); err != nil {
		return err
	}
	if err := oneOf("properties.networkAcls.defaultAction", a.NetworkACLs.DefaultAction, "Allow", "Deny"); err != nil {
		return err
	}
	if a.DNSEndpointType != "" && a.DNSEndpointType != "Standard" {
		return arm.NotImplemented("properties.dnsEndpointType '%s': endpoints in DNS zones of their own are not there yet.", a.DNSEndpointType)
	}
	// What protects is never accepted and left undone.
	if a.Immutable != nil && a.Immutable.Enabled {
		return arm.NotImplemented("properties.immutableStorageWithVersioning: immutable storage is not there yet; blobs could be changed all the same.")
	}
	if err := a.Encryption.validate(); err != nil {
		return err
	}
	return validateACLs(a.NetworkACLs)
}

func oneOf(field, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return invalid("%s '%s' is none of %s.", field, value, strings.Join(allowed, ", "))
}

func (p *Provider) admit(ctx context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Account]) error {
	if err := p.admitSubnets(tx, new, old); err != nil {
		return err
	}
	a := &new.Properties
	if err := keepInfrastructure(a.Encryption, old); err != nil {
		return err
	}
	var was map[string]EncryptionService
	if old != nil && old.Properties.Encryption != nil {
		was = old.Properties.Encryption.Services
	}
	a.Encryption.enable(was, tx.Now)
	if err := p.admitKey(ctx, new, old); err != nil {
		return err
	}
	a.PrimaryEndpoints = endpoints(new)
	a.SecondLocation, a.StatusOfSecond = second(new)
	if op == rp.Update {
		if old.Kind != "" && new.Kind != "" && !strings.EqualFold(old.Kind, new.Kind) && !(old.Kind != "StorageV2" && new.Kind == "StorageV2") {
			return arm.Errorf(http.StatusBadRequest, "AccountPropertyCannotBeUpdated", "The property 'kind' was specified in the input, but it cannot be updated from %s to %s.", old.Kind, new.Kind)
		}
		return nil
	}
	name := strings.ToLower(new.ID.Name())
	err := names.Claim(tx, new.ID)
	if errors.Is(err, globalname.ErrTaken) {
		return arm.Errorf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
	}
	if err != nil {
		return err
	}
	for range 2 {
		k, err := newKey()
		if err != nil {
			return err
		}
		a.Keys = append(a.Keys, k)
	}
	a.CreationTime, a.PrimaryLocation, a.StatusOfPrimary = tx.Now, new.Location, "available"
	a.KeyCreationTime = &KeyTimes{Key1: tx.Now, Key2: tx.Now}
	return saveServices(tx, new)
}

// endpoints are the addresses of an account, by its kind and its routing preference.
func endpoints(r *rp.Resource[Account]) *Endpoints {
	at := func(suffix string) Services {
		host := func(service string) string {
			return "https://" + strings.ToLower(r.ID.Name()) + suffix + "." + service + ".core.windows.net/"
		}
		switch r.Kind {
		case "StorageV2", "Storage":
			return Services{Blob: host("blob"), DFS: host("dfs"), File: host("file"), Queue: host("queue"), Table: host("table"), Web: host(webZone)}
		case "FileStorage":
			return Services{File: host("file")}
		case "BlockBlobStorage":
			return Services{Blob: host("blob"), DFS: host("dfs"), Web: host(webZone)}
		}
		return Services{Blob: host("blob"), DFS: host("dfs"), Table: host("table")}
	}
	e := &Endpoints{Services: at("")}
	if p := r.Properties.Routing; p != nil {
		if p.Microsoft {
			s := at("-microsoftrouting")
			e.Microsoft = &s
		}
		if p.Internet {
			s := at("-internetrouting")
			s.Queue, s.Table = "", ""
			e.Internet = &s
		}
	}
	return e
}

// webZone is where static websites of West Europe are; the names of other regions differ in the number.
const webZone = "z6.web"

// second is where an account of a geo-redundant SKU has its other copy: the paired region.
func second(r *rp.Resource[Account]) (location, status string) {
	if name := skuName(r); !strings.Contains(name, "GRS") && !strings.Contains(name, "GZRS") {
		return "", ""
	}
	for _, l := range resources.AzureLocations() {
		if l.Name == r.Location && l.Paired != "" {
			return l.Paired, "available"
		}
	}
	return r.Location, "available"
}

func skuName(r *rp.Resource[Account]) string {
	var sku struct{ Name string }
	_ = json.Unmarshal(r.SKU, &sku) // validate says what is wrong
	return sku.Name
}

func newKey() (string, error) {
	b := make([]byte, 64)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// moved has the name lead to the account where it went.
func moved(_ context.Context, tx *rp.Tx, _ arm.ID, r *rp.Resource[Account]) error {
	return names.Move(tx, r.ID)
}

const names globalname.Names = "storage.name"

// ByName finds the account of a host name's first label; store.ErrNotFound without one, also when it is being
// deleted.
func ByName(tx *rp.Tx, name string) (*rp.Resource[Account], error) {
	return globalname.Find[Account](tx, names, name)
}

func (p *Provider) present(_ context.Context, tx *rp.Tx, r *rp.Resource[Account]) (err error) {
	p.presentKey(tx, r)
	if r.Tags == nil {
		r.Tags = map[string]string{} // the service always shows them
	}
	r.Properties.Connections, err = privatelink.Present(tx, r.ID)
	return err
}

// release refuses the deletion of an account that has a container under a legal hold or a locked policy.
func (p *Provider) release(_ context.Context, tx *rp.Tx, r *rp.Resource[Account]) error {
	list, err := p.containers.ListContainers(tx, r.ID)
	if err != nil {
		return err
	}
	for _, c := range list {
		m, err := readManaged(c.Managed)
		if err != nil {
			return err
		}
		if len(m.Hold) > 0 || m.Policy != nil && m.Policy.State == "Locked" {
			return arm.Errorf(http.StatusConflict, "AccountProtectedFromDeletion", "The storage account '%s' cannot be deleted: its container '%s' has a legal hold or a locked immutability policy.", r.ID.Name(), c.Name)
		}
	}
	return nil
}

// finalize drops the data.
func (p *Provider) finalize(ctx context.Context, r *rp.Resource[Account]) (rp.Result, error) {
	return rp.Result{}, p.containers.DropAccount(ctx, r.ID.String(), strings.ToLower(r.ID.Name()))
}

// erase gives the name back, once the data are gone: who takes it must not meet them, nor lose its own.
func erase(_ context.Context, tx *rp.Tx, r *rp.Resource[Account]) error {
	return names.Release(tx, r.ID)
}
