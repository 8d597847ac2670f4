package directory

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// Microsoft's own tenant, which owns its applications, and applications that others name.
const (
	MicrosoftTenant = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
	GraphAppID      = "00000003-0000-0000-c000-000000000000"
	ARMAppID        = "797f4846-ba00-4fd7-ba43-dac1f8f63013"
	CLIAppID        = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	ExchangeAppID   = "fb60f99c-7a34-4190-8149-302f77469936"
)

// ExchangeURI is the audience that Entra recommends for tokens of other issuers. Tokens of its own for it carry
// ExchangeAppID, which a federated credential calls by this URI ("Configure an application to trust a managed identity").
const (
	ExchangeURI = "api://AzureADTokenExchange"
)

// FirstParty is one of Microsoft's applications, as far as a region has a meaning for it. It is in every
// tenant, needs no consent, and cannot be changed.
type FirstParty struct {
	AppID  string
	Name   string
	URIs   []string // identifiers as a resource, without the slash at the end
	Hosts  string   // suffix of host names that are identifiers too: https://{account}.blob.core.windows.net
	Public []string // redirect URIs of a public client
	V2     bool     // tokens for it have the v2 form, whose audience is the application id
}

// local are the redirect URIs of clients that listen on the user's machine, at any port.
var local = []string{"http://localhost", "http://127.0.0.1", "https://login.microsoftonline.com/common/oauth2/nativeclient", "urn:ietf:wg:oauth:2.0:oob"}

// FirstParties are Microsoft's applications. Anything else is AADSTS500011, as a resource that a tenant does
// not have.
var FirstParties = []FirstParty{
	{AppID: ARMAppID, Name: "Windows Azure Service Management API", URIs: []string{"https://management.azure.com", "https://management.core.windows.net"}},
	{AppID: GraphAppID, Name: "Microsoft Graph", URIs: []string{"https://graph.microsoft.com"}},
	{AppID: "00000002-0000-0000-c000-000000000000", Name: "Windows Azure Active Directory", URIs: []string{"https://graph.windows.net"}},
	{AppID: "e406a681-f3d4-42a8-90b6-c2b029497af1", Name: "Azure Storage", URIs: []string{"https://storage.azure.com"}, Hosts: ".core.windows.net"},
	{AppID: "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5", Name: "Log Analytics API", URIs: []string{"https://api.loganalytics.io", "https://api.loganalytics.azure.com"}},
	{AppID: "cfa8b339-82a2-471a-a3c9-0fc0be7a4093", Name: "Azure Key Vault", URIs: []string{"https://vault.azure.net"}},
	{AppID: "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe", Name: "Azure Machine Learning Services", URIs: []string{"https://ml.azure.com"}},
	{AppID: "0736f41a-0425-4b46-bdb5-1563eff02385", Name: "Azure Machine Learning"},
	{AppID: "7d312290-28c8-473c-a0ed-8e53749b6d6d", Name: "Microsoft Cognitive Services", URIs: []string{"https://cognitiveservices.azure.com"}},
	{AppID: "6a0ec4d3-30cb-4a83-91c0-ae56bc0e3d26", Name: "Azure Container Registry", URIs: []string{"https://containerregistry.azure.net"}},
	{AppID: "ddbf3205-c6bd-46ae-8127-60eb93363864", Name: "Microsoft Azure Batch", URIs: []string{"https://batch.core.windows.net"}},
	{AppID: ExchangeAppID, Name: "AAD Token Exchange Endpoint: Public", URIs: []string{strings.ToLower(ExchangeURI)}, V2: true},
	{AppID: CLIAppID, Name: "Microsoft Azure CLI", Public: local},
	{AppID: "1950a258-227b-4e31-a9cf-717495945fc2", Name: "Microsoft Azure PowerShell", Public: local},
	{AppID: "14d82eec-204b-4c2f-b7e8-296a70dab67e", Name: "Microsoft Graph Command Line Tools", Public: local},
	{AppID: "aebc6443-996d-45c2-90f0-388ff96faa56", Name: "Visual Studio Code", Public: local},
}

// FirstPartyApp returns Microsoft's application with this application id.
func FirstPartyApp(appID string) (FirstParty, bool) {
	id := fold(appID)
	for _, f := range FirstParties {
		if f.AppID == id {
			return f, true
		}
	}
	return FirstParty{}, false
}

// objectID of a first-party application in a tenant: it follows from both, so that nothing is stored.
func (f FirstParty) objectID(tenant string) string {
	return uuid.NewSHA1(uuid.MustParse(tenant), []byte(f.AppID)).String()
}

func (f FirstParty) principal(o *Objects, tenant string) ServicePrincipal {
	t := tenant
	p := ServicePrincipal{ObjectID: f.objectID(t), TenantID: t, AppID: f.AppID, DisplayName: f.Name, Owner: MicrosoftTenant, Created: o.home.Created}
	if f.AppID == GraphAppID {
		p.Scopes, p.AppRoles = graphPermissions()
	}
	return p
}

// firstParty returns Microsoft's application with this object id in the home tenant.
func (o *Objects) firstParty(objectID string) (ServicePrincipal, bool) {
	for _, f := range FirstParties {
		if f.objectID(o.home.ID) == objectID {
			return f.principal(o, o.home.ID), true
		}
	}
	return ServicePrincipal{}, false
}

//go:embed graph.json
var graphJSON []byte

// graphPermissions are Microsoft Graph's delegated and application permissions under their real ids ("Microsoft
// Graph permissions reference").
var graphPermissions = sync.OnceValues(func() (scopes []Scope, roles []AppRole) {
	var all struct {
		Scopes []struct {
			ID, Value string
			Admin     bool
		}
		Roles []struct{ ID, Value string }
	}
	if err := json.Unmarshal(graphJSON, &all); err != nil {
		panic("directory: graph.json: " + err.Error()) // it is part of the program; a test reads it
	}
	for _, s := range all.Scopes {
		who := "User"
		if s.Admin {
			who = "Admin"
		}
		scopes = append(scopes, Scope{ID: s.ID, Value: s.Value, Type: who, Enabled: true, AdminConsentDisplayName: s.Value, UserConsentDisplayName: s.Value})
	}
	for _, r := range all.Roles {
		roles = append(roles, AppRole{ID: r.ID, Value: r.Value, DisplayName: r.Value, MemberTypes: []string{"Application"}, Enabled: true})
	}
	return scopes, roles
})
