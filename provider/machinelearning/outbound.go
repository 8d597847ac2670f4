package machinelearning

import (
	"context"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// workspaceFeatures are those that a workspace can have turned on for its users ("Workspace Features - List").
func workspaceFeatures(context.Context, *rp.Tx, *rp.Resource[Workspace], []byte) (any, error) {
	feature := func(id, name, text string) map[string]string {
		return map[string]string{"id": id, "displayName": name, "description": text}
	}
	return map[string]any{"value": []any{
		feature("automatedml_createeditexperimentsui", "Create edit experiments UI", "Create, edit or delete AutoML experiments in the SDK"),
		feature("workspace_upgradeworkspaceui", "Upgrade workspace UI", "Upgrade workspace from Basic to enterprise from the UI"),
	}}, nil
}

// dependency is a service that nodes of a workspace reach, and where.
type dependency struct {
	category string
	hosts    []string
	ports    []int
}

// dependencies are what every workspace needs ("Configure inbound and outbound network traffic": required public internet
// access). {location} is the workspace's.
var dependencies = []dependency{
	{"Azure Active Directory", []string{"login.microsoftonline.com"}, []int{443}},
	{"Azure portal", []string{"management.azure.com"}, []int{443}},
	{"Azure Machine Learning", []string{"{location}.api.azureml.ms", "ml.azure.com", "*.instances.azureml.ms", "{location}.tundra.azureml.ms"}, []int{443}},
	{"Azure Batch", []string{"{location}.batch.azure.com", "*.{location}.service.batch.azure.com"}, []int{443}},
	{"Docker images maintained by Azure Machine Learning", []string{"mcr.microsoft.com", "*.data.mcr.microsoft.com", "viennaglobal.azurecr.io"}, []int{443}},
}

// outboundEndpoints says where nodes of the workspace must be let to ("Workspaces - List Outbound Network Dependencies
// Endpoints"): the services, then the account, the vault and the registry of this workspace.
func outboundEndpoints(_ context.Context, _ *rp.Tx, r *rp.Resource[Workspace], _ []byte) (any, error) {
	own := func(id, domain string) string {
		parsed, err := arm.ParseID(id)
		if err != nil {
			return ""
		}
		return strings.ToLower(parsed.Name()) + "." + domain
	}
	all := append([]dependency{}, dependencies...)
	if id := r.Properties.StorageAccount; id != "" {
		all = append(all, dependency{"Azure Storage", []string{own(id, "blob.core.windows.net"), own(id, "file.core.windows.net"), own(id, "queue.core.windows.net"), own(id, "table.core.windows.net")}, []int{443}})
	}
	if id := r.Properties.KeyVault; id != "" {
		all = append(all, dependency{"Azure Key Vault", []string{own(id, "vault.azure.net")}, []int{443}})
	}
	if id := r.Properties.ContainerRegistry; id != "" {
		all = append(all, dependency{"Azure Container Registry", []string{own(id, "azurecr.io")}, []int{443}})
	}
	value := []any{}
	for _, d := range all {
		endpoints, details := []any{}, []any{}
		for _, p := range d.ports {
			details = append(details, map[string]any{"port": p})
		}
		for _, h := range d.hosts {
			endpoints = append(endpoints, map[string]any{"domainName": strings.ReplaceAll(h, "{location}", r.Location), "endpointDetails": details})
		}
		value = append(value, map[string]any{"properties": map[string]any{"category": d.category, "endpoints": endpoints}})
	}
	return map[string]any{"value": value}, nil
}
