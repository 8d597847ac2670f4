package door

import (
	"encoding/json"
	"net/http"
)

// Endpoints are a cloud's endpoints as GET /metadata/endpoints tells them, without authentication, to clients
// that are pointed at a cloud by its Resource Manager (az cloud register, ARM_CLOUD_METADATA_URL).
type Endpoints struct {
	Name                     string            `json:"name"`
	Portal                   string            `json:"portal"`
	Authentication           Login             `json:"authentication"`
	Graph                    string            `json:"graph"`
	GraphAudience            string            `json:"graphAudience"`
	MicrosoftGraphResourceID string            `json:"microsoftGraphResourceId"`
	ResourceManager          string            `json:"resourceManager"`
	Gallery                  string            `json:"gallery"`
	Batch                    string            `json:"batch"`
	Media                    string            `json:"media"`
	SQLManagement            string            `json:"sqlManagement"`
	VMImageAliasDoc          string            `json:"vmImageAliasDoc"`
	ActiveDirectoryDataLake  string            `json:"activeDirectoryDataLake"`
	LogAnalyticsResourceID   string            `json:"logAnalyticsResourceId"`
	OSSRDBMSResourceID       string            `json:"ossrDbmsResourceId"`
	AppInsightsResourceID    string            `json:"appInsightsResourceId"`
	Suffixes                 map[string]string `json:"suffixes"`
}

// Login says where tokens come from.
type Login struct {
	LoginEndpoint    string   `json:"loginEndpoint"`
	Audiences        []string `json:"audiences"`
	Tenant           string   `json:"tenant"`
	IdentityProvider string   `json:"identityProvider"`
}

// AzureCloud are the endpoints under their real names, which the region's own DNS answers.
func AzureCloud() Endpoints {
	return Endpoints{
		Name:   "AzureCloud",
		Portal: "https://portal.azure.com",
		Authentication: Login{
			LoginEndpoint: "https://login.microsoftonline.com/",
			Audiences:     []string{"https://management.core.windows.net/", "https://management.azure.com/"},
			Tenant:        "common", IdentityProvider: "AAD",
		},
		Graph:                    "https://graph.windows.net/",
		GraphAudience:            "https://graph.windows.net/",
		MicrosoftGraphResourceID: "https://graph.microsoft.com/",
		ResourceManager:          "https://management.azure.com/",
		Gallery:                  "https://gallery.azure.com/",
		Batch:                    "https://batch.core.windows.net/",
		Media:                    "https://rest.media.azure.net",
		SQLManagement:            "https://management.core.windows.net:8443/",
		VMImageAliasDoc:          "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/main/arm-compute/quickstart-templates/aliases.json",
		ActiveDirectoryDataLake:  "https://datalake.azure.net/",
		LogAnalyticsResourceID:   "https://api.loganalytics.io",
		OSSRDBMSResourceID:       "https://ossrdbms-aad.database.windows.net",
		AppInsightsResourceID:    "https://api.applicationinsights.io",
		Suffixes: map[string]string{
			"acrLoginServer":                      "azurecr.io",
			"azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
			"azureDataLakeStoreFileSystem":        "azuredatalakestore.net",
			"azureFrontDoorEndpointSuffix":        "azurefd.net",
			"keyVaultDns":                         "vault.azure.net",
			"mhsmDns":                             "managedhsm.azure.net",
			"sqlServerHostname":                   "database.windows.net",
			"storage":                             "core.windows.net",
		},
	}
}

// ServeHTTP answers with an object from api-version 2022-09-01 on and with an array of one before, as Azure
// does and its clients expect.
func (e Endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body any = e
	if r.URL.Query().Get("api-version") < "2022-09-01" {
		body = []Endpoints{e}
	}
	b, err := json.Marshal(body)
	if err != nil { // strings only
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(b) // the client is gone: nobody to tell
}
