package storage

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Sources of the key that wraps an account's data key.
const (
	platformKeys = "Microsoft.Storage"
	customerKeys = "Microsoft.Keyvault"
)

// KeyVaultProperties name the customer's key (Storage REST: KeyVaultProperties).
type KeyVaultProperties struct {
	Name    string `json:"keyname,omitempty"`
	Version string `json:"keyversion,omitempty"` // "" follows the newest one
	URI     string `json:"keyvaulturi,omitempty"`

	Current string     `json:"currentVersionedKeyIdentifier,omitempty" rp:"readonly"`
	Rotated *time.Time `json:"lastKeyRotationTimestamp,omitempty" rp:"readonly"`
}

// EncryptionIdentity is the identity that asks the vault; without one it is the system-assigned one.
type EncryptionIdentity struct {
	UserAssigned string `json:"userAssignedIdentity,omitempty"`
	Federated    string `json:"federatedIdentityClientId,omitempty"`
}

// CustomerKeys are the keys in customers' vaults.
type CustomerKeys interface {
	// TryKey returns the id of the version that would wrap the account's data key now, after it has wrapped something by it with the
	// account's identity. The error says why not, for the client.
	TryKey(ctx context.Context, r *rp.Resource[Account]) (id string, err error)
	// CurrentKey is the id of the version that does wrap it, and since when; "" is the platform's key.
	CurrentKey(tx *rp.Tx, account string) (id string, since time.Time)
}

// UseKeys gives the provider the customers' keys.
func (p *Provider) UseKeys(k CustomerKeys) { p.keys = k }

func (e *Encryption) defaults() {
	switch {
	case e.KeySource == "" || strings.EqualFold(e.KeySource, platformKeys):
		e.KeySource = platformKeys
		e.KeyVault, e.Identity = nil, nil
	case strings.EqualFold(e.KeySource, customerKeys):
		e.KeySource = customerKeys
	}
	for _, name := range []string{"blob", "file"} { // they are always encrypted; clients send {} for what they do not change
		if service, ok := e.Services[name]; ok && service == (EncryptionService{}) {
			e.Services[name] = EncryptionService{Enabled: true, KeyType: "Account"}
		}
	}
}

func (e *Encryption) validate() error {
	if err := oneOf("properties.encryption.keySource", e.KeySource, platformKeys, customerKeys); err != nil {
		return err
	}
	if e.KeySource == platformKeys {
		return nil
	}
	k := e.KeyVault
	switch {
	case k == nil || k.Name == "" || k.URI == "":
		return invalid("properties.encryption.keyvaultproperties: keyname and keyvaulturi are required with keySource %s.", customerKeys)
	case k.VaultName() == "":
		return invalid("properties.encryption.keyvaultproperties.keyvaulturi '%s' is not the address of a vault, https://NAME.vault.azure.net.", k.URI)
	case e.Identity != nil && e.Identity.Federated != "":
		return arm.NotImplemented("properties.encryption.identity.federatedIdentityClientId: keys in vaults of other tenants are not there yet.")
	}
	return nil
}

// VaultName is the name of the vault in the address, in lower case; "" if it is none.
func (k *KeyVaultProperties) VaultName() string {
	u, err := url.Parse(k.URI)
	if err != nil || u.Scheme != "https" || u.Port() != "" && u.Port() != "443" || strings.Trim(u.Path, "/") != "" {
		return ""
	}
	name, ok := strings.CutSuffix(strings.ToLower(u.Hostname()), ".vault.azure.net")
	if !ok || strings.Contains(name, ".") {
		return ""
	}
	return name
}

// KeyIdentity is the identity that asks the vault for the account's key: its object id, and its client id where it is known. "" is
// an identity that the account does not have.
func KeyIdentity(r *rp.Resource[Account]) (principal, client string) {
	if r.Identity == nil {
		return "", ""
	}
	if i := r.Properties.Encryption.Identity; i != nil && i.UserAssigned != "" {
		for id, u := range r.Identity.UserAssignedIdentities {
			if strings.EqualFold(id, i.UserAssigned) && u != nil {
				return u.PrincipalID, u.ClientID
			}
		}
		return "", ""
	}
	return r.Identity.PrincipalID, ""
}

// Infrastructure tells whether the account's data are encrypted a second time.
func Infrastructure(r *rp.Resource[Account]) bool {
	e := r.Properties.Encryption
	return e != nil && e.Infrastructure != nil && *e.Infrastructure
}

// keepInfrastructure refuses to change what is chosen when an account is made; a request that does not say keeps it.
func keepInfrastructure(e *Encryption, old *rp.Resource[Account]) error {
	if old == nil {
		return nil
	}
	was := Infrastructure(old)
	if e.Infrastructure == nil {
		if was {
			e.Infrastructure = &was
		}
		return nil
	}
	if *e.Infrastructure != was {
		return arm.Errorf(http.StatusBadRequest, "AccountPropertyCannotBeUpdated", "The property 'requireInfrastructureEncryption' was specified in the input, but it cannot be updated: it is chosen when the account is created.")
	}
	return nil
}

// CustomerKey tells whether a customer's key is to wrap the account's data key.
func CustomerKey(r *rp.Resource[Account]) bool {
	e := r.Properties.Encryption
	return e != nil && e.KeySource == customerKeys && e.KeyVault != nil
}

// admitKey refuses a customer's key that cannot be used, as the service does when it is configured.
func (p *Provider) admitKey(ctx context.Context, new, old *rp.Resource[Account]) error {
	if !CustomerKey(new) {
		return nil
	}
	if old != nil && CustomerKey(old) {
		before, now := old.Properties.Encryption.KeyVault, new.Properties.Encryption.KeyVault
		was, _ := KeyIdentity(old)
		is, _ := KeyIdentity(new)
		if before.Name == now.Name && before.Version == now.Version && before.VaultName() == now.VaultName() && was == is {
			return nil // what cannot be used now stays configured: it can come back
		}
	}
	if p.keys == nil {
		return arm.NotImplemented("properties.encryption.keySource %s: this region has no vaults.", customerKeys)
	}
	if _, err := p.keys.TryKey(ctx, new); err != nil {
		return arm.Errorf(http.StatusBadRequest, "KeyVaultAuthenticationFailure", "The operation failed because of authentication issue on the keyvault. For more information, see - https://aka.ms/storagecmkconfig. Vauban: %s", err)
	}
	return nil
}

// presentKey fills in which version wraps the account's data key.
func (p *Provider) presentKey(tx *rp.Tx, r *rp.Resource[Account]) {
	if p.keys == nil || !CustomerKey(r) {
		return
	}
	k := r.Properties.Encryption.KeyVault
	k.Current, k.Rotated = "", nil
	if id, since := p.keys.CurrentKey(tx, strings.ToLower(r.ID.Name())); id != "" {
		k.Current, k.Rotated = id, &since
	}
}
