// Package keyvault is Key Vault's data plane, secrets, keys and certificates, as the azure-keyvault SDKs, az and Terraform call
// it, and an in-process API for the region's own services. What is secret is sealed at rest with a data key per vault.
// See docs/architecture/keyvault.md.
package keyvault

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"sync"
	"time"

	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/internal/clock"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// ErrNoVault is what Vaults.Lookup returns for a name that no vault has.
var ErrNoVault = errors.New("keyvault: no such vault")

// Vault is what the data plane needs to know of a vault.
type Vault struct {
	ID       string // ARM id
	Name     string // the first label of the host name, as the vault was named
	Location string
	TenantID string

	// Firewall are the vault's network rules; GroupIDs is set by this service.
	Firewall firewall.Rules

	RBAC            bool // enableRbacAuthorization; else AccessPolicies decide
	AccessPolicies  []AccessPolicy
	RetentionDays   int  // softDeleteRetentionInDays, 7 to 90; 0 counts as 90
	PurgeProtection bool // enablePurgeProtection
	Premium         bool // sku premium: keys of type -HSM
}

// AccessPolicy is one entry of accessPolicies.
type AccessPolicy struct {
	TenantID      string
	ObjectID      string   // of a user, service principal or group
	ApplicationID string   // when the caller acts on behalf of ObjectID; "" otherwise
	Secrets       []string // get, list, set, delete, recover, backup, restore, purge, all
	Keys          []string // get, list, create, sign, wrapKey …, all
	Certificates  []string // get, list, create, managecontacts …, all
}

// Vaults finds vaults by name, whatever its case. The provider of Microsoft.KeyVault implements it.
type Vaults interface {
	// Lookup returns the vault or ErrNoVault. It is asked on every request: it must be quick.
	Lookup(ctx context.Context, name string) (Vault, error)
}

// Tokens verifies bearer tokens in full: signature, issuer, times and audience (one of audiences). The
// error's text goes to the client as the reason.
type Tokens interface {
	Verify(ctx context.Context, token string, audiences ...string) (authz.Principal, error)
}

// Config is what a Service is made of. All fields but Log and HostSuffix are needed.
type Config struct {
	Store      store.Store
	Keys       *seal.Keyring
	Clock      clock.Clock
	Vaults     Vaults
	Tokens     Tokens
	Authorizer authz.Authorizer
	Log        *slog.Logger
	HostSuffix string // "" = ".vault.azure.net"
	// Audit is told of every request that named a vault, once it was answered. nil: nobody is. It must not wait.
	Audit func(Event)
}

// Service keeps what is in vaults. Its methods do no authorization and pass no firewall: they are for the region's own
// services and for Handler, which does both. Errors are *Error with Azure's codes, ErrNoVault, or unexpected.
// Safe for use by many goroutines.
type Service struct {
	Config
	privates privates
	files    sync.Mutex // held while a client's PFX file is read
}

// Open returns the service over cfg. Call Run for its housekeeping.
func Open(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.HostSuffix == "" {
		cfg.HostSuffix = ".vault.azure.net"
	}
	return &Service{Config: cfg}
}

// Handler serves the endpoint of every vault, {vault}.vault.azure.net, chosen by the request's host. The
// connection's origin must be in the request's context.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Name names the service in logs.
func (s *Service) Name() string { return "keyvault" }

// Secret is one version of a secret. Times are whole seconds; zero ones were not set.
type Secret struct {
	Name        string // as it was first written
	Version     string // 32 hexadecimal digits
	Value       string // "" unless it was asked for
	ContentType string
	Enabled     bool
	NotBefore   time.Time // informational, as in Azure: a secret is read outside its times too
	Expires     time.Time
	Created     time.Time
	Updated     time.Time
	Tags        map[string]string

	// Of a deleted secret.
	Deleted time.Time
	Purge   time.Time // when it is gone for good
}

// SetOptions are what a new version is written with.
type SetOptions struct {
	ContentType string
	Disabled    bool
	NotBefore   time.Time
	Expires     time.Time
	Tags        map[string]string
}

// Change is what Update changes; nil fields stay.
type Change struct {
	ContentType *string
	Enabled     *bool
	NotBefore   *time.Time
	Expires     *time.Time
	Tags        *map[string]string
}

var (
	vaultName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$`)
	objectName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	versionID  = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
)

const (
	maxValue = 25 << 10 // bytes of a value
	maxTags  = 15
	maxTag   = 256 // characters of a tag's name, and of its value
)
