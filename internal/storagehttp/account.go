package storagehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"vauban.dev/authz"
	"vauban.dev/firewall"
)

// ErrNoAccount is what Accounts.Lookup returns for a name that no storage account has.
var ErrNoAccount = errors.New("no such storage account")

// Account is what a storage service needs to know of a storage account.
type Account struct {
	ID       string    // ARM id
	Name     string    // lower case, the first label of the host name
	TenantID string    // the tenant of the subscription, for the 401 challenge
	SKU      string    // Standard_LRS …, for Get Account Information
	Kind     string    // StorageV2 …
	Keys     [2][]byte // decoded from base64; an empty key matches nothing

	// Firewall are the account's network rules; GroupIDs is set by the service.
	Firewall firewall.Rules

	AllowSharedKeyAccess  bool
	AllowBlobPublicAccess bool
	HTTPSOnly             bool   // supportsHttpsTrafficOnly
	MinimumTLS            uint16 // tls.VersionTLS12 …; 0: any
}

// Accounts finds storage accounts by name. The provider of Microsoft.Storage implements it.
type Accounts interface {
	// Lookup returns the account or ErrNoAccount. It is asked on every request: it must be quick.
	Lookup(ctx context.Context, name string) (Account, error)
}

// Tokens verifies bearer tokens in full: signature, issuer, times and audience (one of audiences). The
// error's text goes to the client as the reason.
type Tokens interface {
	Verify(ctx context.Context, token string, audiences ...string) (authz.Principal, error)
}

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// IsAccountName reports whether a storage account may have the name.
func IsAccountName(name string) bool { return accountName.MatchString(name) }

// ParseTLSVersion reads minimumTlsVersion, TLS1_0 to TLS1_3; "" is 0, any.
func ParseTLSVersion(v string) (uint16, error) {
	switch strings.ToUpper(v) {
	case "":
		return 0, nil
	case "TLS1_0":
		return tls.VersionTLS10, nil
	case "TLS1_1":
		return tls.VersionTLS11, nil
	case "TLS1_2":
		return tls.VersionTLS12, nil
	case "TLS1_3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("minimumTlsVersion '%s' is not TLS1_0 … TLS1_3", v)
}
