package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/dataplane/blob"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/firewall"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/provider/authorization"
	kvprovider "vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/managedidentity"
	"vauban.dev/provider/managementgroups"
	"vauban.dev/provider/network"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// What follows lets packages that do not know each other meet: each type implements one package's
// interface by another.

// storageAccounts answers the storage services from provider/storage.
type storageAccounts struct {
	tenant string
	byName *rp.Memo[storagehttp.Account] // by lower-case name: every request asks
	// policies are the service endpoint policies of a subnet.
	policies func(subnet string) ([]firewall.EndpointPolicy, error)
}

func newStorageAccounts(engine *rp.Engine, tenant string) *storageAccounts {
	a := &storageAccounts{tenant: tenant}
	a.byName = rp.NewMemo(engine, a.find)
	a.policies = endpointPolicies(engine)
	return a
}

// endpointPolicies looks up the service endpoint policies of subnets.
func endpointPolicies(engine *rp.Engine) func(subnet string) ([]firewall.EndpointPolicy, error) {
	known := rp.NewMemo(engine, func(tx *rp.Tx, subnet string) ([]firewall.EndpointPolicy, error) {
		id, err := arm.ParseID(subnet)
		if err != nil {
			return nil, err
		}
		return network.EndpointPolicies(tx, id)
	})
	return func(subnet string) ([]firewall.EndpointPolicy, error) {
		return known.Get(context.Background(), strings.ToLower(subnet))
	}
}

func (a *storageAccounts) Lookup(ctx context.Context, name string) (storagehttp.Account, error) {
	return a.byName.Get(ctx, strings.ToLower(name))
}

func (a *storageAccounts) find(tx *rp.Tx, name string) (storagehttp.Account, error) {
	r, err := storage.ByName(tx, name)
	if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
		return storagehttp.Account{}, storagehttp.ErrNoAccount
	}
	if err != nil {
		return storagehttp.Account{}, err
	}
	return a.account(r)
}

func (a *storageAccounts) account(r *rp.Resource[storage.Account]) (storagehttp.Account, error) {
	p := &r.Properties
	out := storagehttp.Account{
		ID: r.ID.String(), Name: strings.ToLower(r.ID.Name()), TenantID: a.tenant, Kind: r.Kind, SKU: "Standard_LRS",
		Firewall: storage.Firewall(r, "blob"), AllowSharedKeyAccess: *p.AllowSharedKey, AllowBlobPublicAccess: *p.AllowBlobPublic, HTTPSOnly: *p.HTTPSOnly,
	}
	out.Firewall.Policies = a.policies
	for i, k := range p.Keys {
		b, err := base64.StdEncoding.DecodeString(k)
		if err != nil || i > 1 {
			return out, fmt.Errorf("storage account %s: key %d cannot be read", out.Name, i+1)
		}
		out.Keys[i] = b
	}
	tls, err := storagehttp.ParseTLSVersion(p.MinimumTLSVersion)
	out.MinimumTLS = tls
	return out, err
}

func isStatus(err error, status int) bool {
	e := arm.AsError(err)
	return e != nil && e.Status == status
}

// containers answers provider/storage from dataplane/blob.
type containers struct {
	blobs *blob.Service
	// drop removes an account's data from the other services.
	drop []func(ctx context.Context, account string) error
}

func accountName(id arm.ID) string { return strings.ToLower(id.Name()) }

func armContainer(c blob.Container) storage.Container {
	access := map[string]string{"blob": "Blob", "container": "Container"}[c.PublicAccess]
	return storage.Container{Name: c.Name, PublicAccess: access, Metadata: c.Metadata, ETag: c.ETag, LastModified: c.LastModified, Managed: c.Managed, Versioned: c.Worm}
}

// armBlobError gives the blob service's errors to callers of Resource Manager.
func armBlobError(err error) error {
	var e *blob.Error
	if errors.As(err, &e) {
		return arm.Errorf(e.Status, e.Code, "%s", e.Message)
	}
	return err
}

func (c containers) Container(tx store.Tx, account arm.ID, name string) (storage.Container, error) {
	got, err := c.blobs.ContainerTx(tx, accountName(account), name)
	return armContainer(got), armBlobError(err)
}

func (c containers) PutContainer(tx store.Tx, account arm.ID, in storage.Container) (bool, error) {
	o := blob.ContainerOptions{Metadata: in.Metadata, Worm: in.Versioned}
	if in.PublicAccess == "Blob" || in.PublicAccess == "Container" {
		o.PublicAccess = strings.ToLower(in.PublicAccess)
	}
	created, err := c.blobs.PutContainerTx(tx, accountName(account), in.Name, o)
	return created, armBlobError(err)
}

func (c containers) DeleteContainer(tx store.Tx, account arm.ID, name string, days int) error {
	return armBlobError(c.blobs.DeleteContainerTx(tx, accountName(account), name, days))
}

func (c containers) ListContainers(tx store.Tx, account arm.ID) ([]storage.Container, error) {
	list, err := c.blobs.ListContainersTx(tx, accountName(account))
	out := make([]storage.Container, len(list))
	for i := range list {
		out[i] = armContainer(list[i])
	}
	return out, armBlobError(err)
}

func (c containers) Guard(tx store.Tx, account arm.ID, name string, g storage.Guard, managed json.RawMessage) error {
	return armBlobError(c.blobs.GuardTx(tx, accountName(account), name, blob.Guard{Hold: g.Hold, Days: g.Days, Appends: g.Appends}, managed))
}

func (c containers) SignSAS(account, container, name string, key []byte, q url.Values) (string, error) {
	signed, err := c.blobs.SignQuery(account, container, name, key, q)
	return signed, armBlobError(err)
}

func (c containers) DropAccount(ctx context.Context, _, name string) error {
	err := c.blobs.DeleteAccount(ctx, name)
	for _, drop := range c.drop {
		err = errors.Join(err, drop(ctx, name))
	}
	return err
}

// vaultLookup answers dataplane/keyvault from provider/keyvault.
type vaultLookup struct{ byName *rp.Memo[keyvault.Vault] } // by lower-case name

func newVaultLookup(engine *rp.Engine) vaultLookup {
	return vaultLookup{rp.NewMemo(engine, findVault)}
}

func (v vaultLookup) Lookup(ctx context.Context, name string) (keyvault.Vault, error) {
	return v.byName.Get(ctx, strings.ToLower(name))
}

func findVault(tx *rp.Tx, name string) (out keyvault.Vault, err error) {
	r, err := kvprovider.ByName(tx, name)
	if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
		return out, keyvault.ErrNoVault
	}
	if err != nil {
		return out, err
	}
	p := &r.Properties
	out = keyvault.Vault{
		ID: r.ID.String(), Name: strings.ToLower(r.ID.Name()), TenantID: p.TenantID, Firewall: kvprovider.Firewall(r),
		Location: r.Location, RBAC: *p.RBAC, RetentionDays: p.RetentionDays, PurgeProtection: p.PurgeProtection != nil && *p.PurgeProtection,
		Premium: strings.EqualFold(p.SKU.Name, "premium"),
	}
	for _, a := range p.AccessPolicies {
		out.AccessPolicies = append(out.AccessPolicies, keyvault.AccessPolicy{
			TenantID: a.TenantID, ObjectID: a.ObjectID, ApplicationID: a.Application,
			Secrets: a.Permissions["secrets"], Keys: a.Permissions["keys"], Certificates: a.Permissions["certificates"]})
	}
	return out, nil
}

// vaultData answers provider/keyvault from dataplane/keyvault.
type vaultData struct{ secrets *keyvault.Service }

func (v vaultData) DropVault(ctx context.Context, id string) error {
	return v.secrets.DestroyVault(ctx, strings.ToLower(arm.MustParseID(id).Name()))
}

// principals answers the providers' questions to entra.
type principals struct{ *entra.Directory }

var (
	_ managedidentity.Directory = principals{}
	_ authorization.Principals  = principals{}
)

func (d principals) EnsureUserAssigned(tx store.Tx, id arm.ID) (principalID, clientID, tenantID string, err error) {
	return d.EnsureUser(tx, id)
}

func (d principals) Remove(tx store.Tx, id arm.ID) error { return d.RemoveUser(tx, id) }

func (d principals) PutFederated(tx store.Tx, identity arm.ID, name string, f managedidentity.Federated) error {
	p, err := d.ByResource(tx, identity)
	if err != nil {
		return err
	}
	err = d.PutIdentityCredential(tx, p.ObjectID, directory.FederatedCredential{Name: name, Issuer: f.Issuer, Subject: f.Subject, Audiences: f.Audiences})
	invalid, taken := new(directory.Invalid), new(directory.Conflict)
	switch {
	case errors.As(err, &taken):
		return arm.Errorf(http.StatusConflict, "Conflict", "Issuer and subject combination already exists for this Managed Identity.")
	case errors.As(err, &invalid):
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "Invalid value for %s: %s.", invalid.Property, invalid.Rule)
	}
	return err
}

func (d principals) RemoveFederated(tx store.Tx, identity arm.ID, name string) error {
	p, err := d.ByResource(tx, identity)
	if errors.Is(err, directory.ErrNotFound) {
		return nil // it went with the identity
	}
	if err != nil {
		return err
	}
	return d.RemoveIdentityCredential(tx, p.ObjectID, name)
}

func (d principals) PrincipalType(tx store.Tx, objectID string) (string, bool, error) {
	r, err := d.Find(tx, objectID, directory.TypeUser, directory.TypeGroup, directory.TypeServicePrincipal)
	if errors.Is(err, directory.ErrNotFound) {
		return "", false, nil
	}
	return armPrincipalTypes[r.Type], err == nil, err
}

// armPrincipalTypes are the types of principals in Resource Manager's words.
var armPrincipalTypes = map[directory.Type]string{directory.TypeUser: "User", directory.TypeGroup: "Group", directory.TypeServicePrincipal: "ServicePrincipal"}

// people answers authz's questions to the directory.
type people struct {
	*entra.Directory
	db store.Store
}

var _ authz.Directory = people{}

func (p people) MemberOf(ctx context.Context, objectID string) ([]string, error) {
	s, err := p.Standing(ctx, objectID)
	if !errors.Is(err, directory.ErrNotFound) {
		return s.Groups, err
	}
	// a group, whose members have what it has; of what does not exist there is nothing
	var groups []string
	err = p.db.View(ctx, func(tx store.Tx) error {
		in, err := p.TransitiveMemberOf(tx, objectID)
		for _, r := range in {
			groups = append(groups, r.ID)
		}
		return err
	})
	return groups, err
}

func (people) SecurityAttribute(context.Context, string, string) ([]string, bool, error) {
	return nil, false, nil // the directory keeps no custom security attributes: conditions on them do not hold
}

// authorizationConfig lets Microsoft.Authorization see the management groups and what the evaluator sees.
func (w *world) authorizationConfig() authorization.Config {
	return authorization.Config{
		Enclosing: func(tx *rp.Tx, scope arm.ID) ([]arm.ID, error) {
			return managementgroups.Enclosing(tx, w.groups.Root(), scope)
		},
		Permissions: w.access.Permissions, MemberOf: people{w.entra, w.db}.MemberOf,
	}
}

// runTokens answers provider/machinelearning from entra.
type runTokens struct{ dir *entra.Directory }

func (r runTokens) IssueRun(ctx context.Context, run machinelearning.RunScope) (string, time.Time, error) {
	t, err := r.dir.IssueRun(ctx, entra.Run{
		Workspace: run.Workspace, WorkspaceID: run.WorkspaceID, Experiment: run.Experiment, RunID: run.RunID, PrincipalID: run.PrincipalID})
	return t.AccessToken, t.ExpiresOn, err
}

// containerSAS answers provider/machinelearning: the URL is signed with the account's own key, which the
// transaction sees even when the account is younger than it.
type containerSAS struct{ accounts *storageAccounts }

func (c containerSAS) ContainerSAS(tx *rp.Tx, account, container, permissions string, expiry time.Time) (string, error) {
	r, err := storage.ByName(tx, account)
	if errors.Is(err, store.ErrNotFound) {
		return "", arm.Errorf(http.StatusNotFound, "UserError", "The storage account '%s' does not exist.", account)
	}
	if err != nil {
		return "", err
	}
	a, err := c.accounts.account(r)
	if err != nil {
		return "", err
	}
	url, err := blob.SignSAS(a, blob.SASRequest{Account: a.Name, Container: container, Permissions: permissions, Expiry: expiry})
	return url, armBlobError(err)
}

func (c containerSAS) KeySAS(account, container string, key []byte, permissions string, expiry time.Time) (string, error) {
	a := storagehttp.Account{Name: account, Keys: [2][]byte{key}, AllowSharedKeyAccess: true}
	url, err := blob.SignSAS(a, blob.SASRequest{Account: account, Container: container, Permissions: permissions, Expiry: expiry})
	return url, armBlobError(err)
}

// verifier lets data planes verify Entra's tokens.
type verifier struct{ *entra.Directory }

func (v verifier) Verify(ctx context.Context, token string, audiences ...string) (authz.Principal, error) {
	return v.Directory.Verify(ctx, token, audiences...)
}
