package insights

import (
	"slices"
	"strings"
)

// hubRules are what gives a setting the right to write to an event hub: of its namespace, or of the hub itself.
const hubRules = "Microsoft.EventHub/namespaces/authorizationRules Microsoft.EventHub/namespaces/eventhubs/authorizationRules"

// allMetrics is the one category of metrics.
const allMetrics = "AllMetrics"

// resourceCategories are what the services of types of resources tell, by type in lower case
// (https://learn.microsoft.com/azure/azure-monitor/reference/logs-index).
var resourceCategories = map[string][]string{
	"microsoft.compute/virtualmachines":               {allMetrics},
	"microsoft.containerregistry/registries":          {"ContainerRegistryRepositoryEvents", "ContainerRegistryLoginEvents", allMetrics},
	"microsoft.containerservice/managedclusters":      {"kube-apiserver", "kube-audit", "kube-audit-admin", "kube-controller-manager", "kube-scheduler", "cluster-autoscaler", "cloud-controller-manager", "guard", "csi-azuredisk-controller", "csi-azurefile-controller", "csi-snapshot-controller", allMetrics},
	"microsoft.eventhub/namespaces":                   {"ArchiveLogs", "OperationalLogs", "AutoScaleLogs", "KafkaCoordinatorLogs", "KafkaUserErrorLogs", "EventHubVNetConnectionEvent", "CustomerManagedKeyUserLogs", "RuntimeAuditLogs", "ApplicationMetricsLogs", allMetrics},
	"microsoft.insights/components":                   {"AppAvailabilityResults", "AppBrowserTimings", "AppEvents", "AppMetrics", "AppDependencies", "AppExceptions", "AppPageViews", "AppPerformanceCounters", "AppRequests", "AppSystemEvents", "AppTraces", allMetrics},
	"microsoft.keyvault/vaults":                       {"AuditEvent", "AzurePolicyEvaluationDetails", allMetrics},
	"microsoft.logic/workflows":                       {"WorkflowRuntime", allMetrics},
	"microsoft.machinelearningservices/workspaces":    {"AmlComputeClusterEvent", "AmlComputeClusterNodeEvent", "AmlComputeJobEvent", "AmlComputeCpuGpuUtilization", "AmlRunStatusChangedEvent", "ModelsChangeEvent", "ModelsReadEvent", "ModelsActionEvent", "DeploymentReadEvent", "DeploymentEventACI", "DeploymentEventAKS", "InferencingOperationAKS", "InferencingOperationACI", "EnvironmentChangeEvent", "EnvironmentReadEvent", "DataLabelChangeEvent", "DataLabelReadEvent", "DataSetChangeEvent", "DataSetReadEvent", "PipelineChangeEvent", "PipelineReadEvent", "RunEvent", "RunReadEvent", allMetrics},
	"microsoft.network/azurefirewalls":                {"AzureFirewallApplicationRule", "AzureFirewallNetworkRule", "AzureFirewallDnsProxy", "AZFWNetworkRule", "AZFWApplicationRule", "AZFWNatRule", "AZFWThreatIntel", "AZFWIdpsSignature", "AZFWDnsQuery", "AZFWFqdnResolveFailure", "AZFWFatFlow", "AZFWFlowTrace", "AZFWApplicationRuleAggregation", "AZFWNetworkRuleAggregation", "AZFWNatRuleAggregation", allMetrics},
	"microsoft.network/bastionhosts":                  {"BastionAuditLogs", allMetrics},
	"microsoft.network/loadbalancers":                 {"LoadBalancerHealthEvent", allMetrics},
	"microsoft.network/networkinterfaces":             {allMetrics},
	"microsoft.network/networksecuritygroups":         {"NetworkSecurityGroupEvent", "NetworkSecurityGroupRuleCounter"},
	"microsoft.network/publicipaddresses":             {"DDoSProtectionNotifications", "DDoSMitigationFlowLogs", "DDoSMitigationReports", allMetrics},
	"microsoft.network/virtualnetworkgateways":        {"GatewayDiagnosticLog", "TunnelDiagnosticLog", "RouteDiagnosticLog", "IKEDiagnosticLog", "P2SDiagnosticLog", allMetrics},
	"microsoft.network/virtualnetworks":               {"VMProtectionAlerts", allMetrics},
	"microsoft.operationalinsights/workspaces":        {"Audit", "SummaryLogs", "Jobs", allMetrics},
	"microsoft.storage/storageaccounts":               {"Transaction", "Capacity"},
	"microsoft.storage/storageaccounts/blobservices":  {"StorageRead", "StorageWrite", "StorageDelete", "Transaction", "Capacity"},
	"microsoft.storage/storageaccounts/fileservices":  {"StorageRead", "StorageWrite", "StorageDelete", "Transaction", "Capacity"},
	"microsoft.storage/storageaccounts/queueservices": {"StorageRead", "StorageWrite", "StorageDelete", "Transaction", "Capacity"},
	"microsoft.storage/storageaccounts/tableservices": {"StorageRead", "StorageWrite", "StorageDelete", "Transaction", "Capacity"},
}

// written are the types of which the region writes logs, in lower case: not of all their categories.
var written = map[string]bool{
	"microsoft.keyvault/vaults": true, "microsoft.machinelearningservices/workspaces": true, "microsoft.network/azurefirewalls": true,
	"microsoft.storage/storageaccounts": true, "microsoft.storage/storageaccounts/blobservices": true, "microsoft.storage/storageaccounts/fileservices": true,
	"microsoft.storage/storageaccounts/queueservices": true, "microsoft.storage/storageaccounts/tableservices": true,
}

// audited are the categories in the group audit, of the types whose logs are written: who did what.
var audited = []string{"StorageRead", "StorageWrite", "StorageDelete", "AuditEvent", "RunEvent", "RunReadEvent", "ModelsChangeEvent", "ModelsReadEvent", "ModelsActionEvent",
	"DeploymentReadEvent", "EnvironmentChangeEvent", "EnvironmentReadEvent", "DataSetChangeEvent", "DataSetReadEvent", "PipelineChangeEvent", "PipelineReadEvent"}

// groupsOf are the category groups of a category of logs.
func groupsOf(category string) []string {
	if slices.Contains(audited, category) {
		return []string{"audit", "allLogs"}
	}
	return []string{"allLogs"}
}

func isMetric(category string) bool {
	return category == allMetrics || category == "Transaction" || category == "Capacity"
}

// Exports says whether the setting takes records of a category: by its name, or by a group that it is in.
func (s *Setting) Exports(category string) bool {
	for _, l := range s.Logs {
		if !l.Enabled {
			continue
		}
		if strings.EqualFold(l.Category, category) || slices.ContainsFunc(groupsOf(category), func(g string) bool { return strings.EqualFold(g, l.CategoryGroup) }) {
			return true
		}
	}
	return false
}
