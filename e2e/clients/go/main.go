// Command credentials signs in by azure-identity for Go and MSAL for Go in every way that its arguments name, and prints
// for each the object id of whom the token speaks, or "!" and the error. e2e's TestCredentialClients says where it is run
// and who it should be. It is a module of its own: the region itself needs none of Azure's libraries.
//
// Names: see credentials and msal below. Ways that need more read the environment: CERTIFICATE (a PEM file), PASSWORD and USERNAME,
// USER_CLIENT_ID, USER_OBJECT_ID and USER_RESOURCE_ID (a user-assigned identity), beside Azure's own AZURE_ variables.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

const (
	resource = "https://management.azure.com"
	scope    = resource + "/.default"
	cliApp   = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	for _, name := range os.Args[1:] {
		token, err := get(ctx, name)
		who := ""
		if err == nil {
			who, err = subject(token)
		}
		if err != nil {
			who = "! " + strings.Join(strings.Fields(err.Error()), " ")
		}
		fmt.Println(name, who)
	}
}

func get(ctx context.Context, name string) (string, error) {
	if make := credentials[name]; make != nil {
		c, err := make()
		if err != nil {
			return "", err
		}
		t, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		return t.Token, err
	}
	if f := msal[name]; f != nil {
		return f(ctx)
	}
	return "", errors.New("no such way")
}

// credentials are those of azure-identity.
var credentials = map[string]func() (azcore.TokenCredential, error){
	"default":         func() (azcore.TokenCredential, error) { return azidentity.NewDefaultAzureCredential(nil) },
	"environment":     func() (azcore.TokenCredential, error) { return azidentity.NewEnvironmentCredential(nil) },
	"workload":        func() (azcore.TokenCredential, error) { return azidentity.NewWorkloadIdentityCredential(nil) },
	"cli":             func() (azcore.TokenCredential, error) { return azidentity.NewAzureCLICredential(nil) },
	"managed":         managed(nil),
	"managed-client":  managed(azidentity.ClientID(os.Getenv("USER_CLIENT_ID"))),
	"managed-object":  managed(azidentity.ObjectID(os.Getenv("USER_OBJECT_ID"))),
	"managed-id":      managed(azidentity.ResourceID(os.Getenv("USER_RESOURCE_ID"))),
	"secret":          secret,
	"certificate":     certificate,
	"managed-trusted": managedTrusted,
}

func managed(id azidentity.ManagedIDKind) func() (azcore.TokenCredential, error) {
	return func() (azcore.TokenCredential, error) {
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
	}
}

func secret() (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET"), nil)
}

func certificate() (azcore.TokenCredential, error) {
	pem, err := os.ReadFile(os.Getenv("CERTIFICATE"))
	if err != nil {
		return nil, err
	}
	certs, key, err := azidentity.ParseCertificates(pem, nil)
	if err != nil {
		return nil, err
	}
	return azidentity.NewClientCertificateCredential(os.Getenv("AZURE_TENANT_ID"), os.Getenv("CERTIFICATE_CLIENT_ID"), certs, key, nil)
}

// managedTrusted is an application that trusts a managed identity instead of a secret ("Configure an application to trust
// a managed identity").
func managedTrusted() (azcore.TokenCredential, error) {
	m, err := managed(azidentity.ClientID(os.Getenv("USER_CLIENT_ID")))()
	if err != nil {
		return nil, err
	}
	return azidentity.NewClientAssertionCredential(os.Getenv("AZURE_TENANT_ID"), os.Getenv("TRUSTING_CLIENT_ID"), func(ctx context.Context) (string, error) {
		t, err := m.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"api://AzureADTokenExchange/.default"}})
		return t.Token, err
	}, nil)
}

// msal are the flows of MSAL itself.
var msal = map[string]func(context.Context) (string, error){
	"msal-managed":        msalManaged(managedidentity.SystemAssigned()),
	"msal-managed-client": msalManaged(managedidentity.UserAssignedClientID(os.Getenv("USER_CLIENT_ID"))),
	"msal-managed-object": msalManaged(managedidentity.UserAssignedObjectID(os.Getenv("USER_OBJECT_ID"))),
	"msal-managed-id":     msalManaged(managedidentity.UserAssignedResourceID(os.Getenv("USER_RESOURCE_ID"))),
	"msal-secret": func(ctx context.Context) (string, error) {
		cred, err := confidential.NewCredFromSecret(os.Getenv("AZURE_CLIENT_SECRET"))
		return msalConfidential(ctx, os.Getenv("AZURE_CLIENT_ID"), cred, err)
	},
	"msal-certificate": func(ctx context.Context) (string, error) {
		pem, err := os.ReadFile(os.Getenv("CERTIFICATE"))
		if err != nil {
			return "", err
		}
		certs, key, err := confidential.CertFromPEM(pem, "")
		if err != nil {
			return "", err
		}
		cred, err := confidential.NewCredFromCert(certs, key)
		return msalConfidential(ctx, os.Getenv("CERTIFICATE_CLIENT_ID"), cred, err)
	},
	"msal-assertion": func(ctx context.Context) (string, error) {
		cred := confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			b, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
			return string(b), err
		})
		return msalConfidential(ctx, os.Getenv("AZURE_CLIENT_ID"), cred, nil)
	},
	"msal-password": msalPassword,
}

func msalManaged(id managedidentity.ID) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		c, err := managedidentity.New(id)
		if err != nil {
			return "", err
		}
		r, err := c.AcquireToken(ctx, resource)
		return r.AccessToken, err
	}
}

func msalConfidential(ctx context.Context, app string, cred confidential.Credential, err error) (string, error) {
	if err != nil {
		return "", err
	}
	c, err := confidential.New("https://login.microsoftonline.com/"+os.Getenv("AZURE_TENANT_ID"), app, cred)
	if err != nil {
		return "", err
	}
	r, err := c.AcquireTokenByCredential(ctx, []string{scope})
	return r.AccessToken, err
}

// msalPassword signs a user in by the password, and again by the refresh token that came with it, for another resource.
func msalPassword(ctx context.Context) (string, error) {
	c, err := public.New(cliApp, public.WithAuthority("https://login.microsoftonline.com/organizations"))
	if err != nil {
		return "", err
	}
	r, err := c.AcquireTokenByUsernamePassword(ctx, []string{scope}, os.Getenv("USERNAME"), os.Getenv("PASSWORD"))
	if err != nil {
		return "", err
	}
	if _, err := c.AcquireTokenSilent(ctx, []string{"https://vault.azure.net/.default"}, public.WithSilentAccount(r.Account)); err != nil {
		return "", fmt.Errorf("another resource by the refresh token: %w", err)
	}
	return r.AccessToken, nil
}

// subject is the object id in an access token.
func subject(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("no JWT")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var c struct {
		OID string `json:"oid"`
	}
	err = json.Unmarshal(b, &c)
	return c.OID, err
}
