package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/deployments"
	kvprovider "vauban.dev/provider/keyvault"
)

// newDeployments makes the provider of template deployments.
func newDeployments(w *world) *deployments.Provider {
	tenant := w.entra.Tenant()
	return deployments.New(deployments.Config{
		TenantID: tenant.ID, TenantName: tenant.Name, Authorizer: w.access, Policy: w.policies, Clock: w.clock, Log: w.log,
		Environment: environmentFunction(door.AzureCloud()), Fetch: w.fetchLinked, Secret: w.deploymentSecret,
	})
}

// environmentFunction is the object of the template function environment(): the cloud's endpoints, in which some
// suffixes begin with a dot.
func environmentFunction(e door.Endpoints) *expr.Object {
	suffixes := expr.NewObject(len(e.Suffixes))
	for _, s := range []struct{ name, key, dot string }{
		{"acrLoginServer", "acrLoginServer", "."}, {"azureDatalakeAnalyticsCatalogAndJob", "azureDataLakeAnalyticsCatalogAndJob", ""},
		{"azureDatalakeStoreFileSystem", "azureDataLakeStoreFileSystem", ""}, {"azureFrontDoorEndpointSuffix", "azureFrontDoorEndpointSuffix", ""},
		{"keyvaultDns", "keyVaultDns", "."}, {"sqlServerHostname", "sqlServerHostname", "."}, {"storage", "storage", ""},
	} {
		suffixes.Set(s.name, s.dot+e.Suffixes[s.key])
	}
	a := e.Authentication
	return expr.ObjectOf(
		"name", e.Name, "gallery", e.Gallery, "graph", e.Graph, "portal", e.Portal, "graphAudience", e.GraphAudience,
		"activeDirectoryDataLake", e.ActiveDirectoryDataLake, "batch", e.Batch, "media", e.Media, "sqlManagement", e.SQLManagement,
		"vmImageAliasDoc", e.VMImageAliasDoc, "resourceManager", e.ResourceManager,
		"authentication", expr.ObjectOf("loginEndpoint", a.LoginEndpoint, "audiences", expr.From(a.Audiences), "tenant", a.Tenant, "identityProvider", a.IdentityProvider),
		"suffixes", suffixes,
	)
}

// fetchLinked reads a linked template from the region's own hosts, as Resource Manager does: by their public
// addresses, with no credential but what the link itself has.
func (w *world) fetchLinked(ctx context.Context, uri string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, errors.New("it is not a URI")
	}
	r.Header.Set("x-ms-version", "2021-08-06")
	res, err := inRegion{w, "AzureResourceManager"}.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	return io.ReadAll(io.LimitReader(res.Body, 5<<20))
}

// deploymentSecret reads a secret for a parameter of a deployment. The vault must be enabled for it, and its
// firewall let trusted services in ("Use Azure Key Vault to pass secure parameter value").
func (w *world) deploymentSecret(ctx context.Context, vault arm.ID, name, version string) (string, error) {
	refuse := func(format string, args ...any) error {
		return arm.Errorf(http.StatusBadRequest, "KeyVaultParameterReferenceSecretRetrieveFailed", "The secret of KeyVault parameter '"+vault.String()+"/secrets/"+name+"' cannot be retrieved. "+format+" Please see https://aka.ms/arm-keyvault for usage details.", args...)
	}
	var v *rp.Resource[kvprovider.Vault]
	err := w.engine.View(ctx, func(tx *rp.Tx) (err error) {
		v, err = rp.Get[kvprovider.Vault](tx, vault)
		return err
	})
	if arm.AsError(err) != nil {
		return "", arm.Errorf(http.StatusBadRequest, "KeyVaultParameterReferenceNotFound", "The specified KeyVault '%s' could not be found. Please see https://aka.ms/arm-keyvault for usage details.", vault)
	}
	if err != nil {
		return "", err
	}
	p := v.Properties
	if p.ForTemplates == nil || !*p.ForTemplates {
		return "", arm.Errorf(http.StatusBadRequest, "KeyVaultParameterReferenceAuthorizationFailed", "The specified KeyVault '%s' cannot be used for template deployment: its property enabledForTemplateDeployment is not true. Please see https://aka.ms/arm-keyvault for usage details.", vault)
	}
	closed := p.NetworkACLs != nil && strings.EqualFold(p.NetworkACLs.DefaultAction, "Deny") || strings.EqualFold(p.PublicNetworkAccess, "Disabled")
	if closed && (p.NetworkACLs == nil || !strings.Contains(p.NetworkACLs.Bypass, "AzureServices")) {
		return "", refuse("The vault's firewall refuses: its networkAcls do not let trusted Azure services (bypass AzureServices) in.")
	}
	s, err := w.secrets.Get(ctx, strings.ToLower(v.ID.Name()), name, version)
	if err != nil {
		return "", refuse("%s", strings.TrimSuffix(err.Error(), ".")+".")
	}
	return s.Value, nil
}
