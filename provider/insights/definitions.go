package insights

import "strings"

// definition is a metric of a type of resources (https://learn.microsoft.com/azure/azure-monitor/reference/metrics-index).
// Those that this region measures nothing for are there as well, with series that have no values.
type definition struct {
	name, shown, about string
	unit               string
	aggregations       []string // the first is the primary one
	dimensions         []string // in the order of metrics.Dimensions
	category           string
}

const (
	numbers      = "Count"
	octets       = "Bytes"
	percent      = "Percent"
	milliseconds = "MilliSeconds"
)

var (
	sums   = []string{"Total", "Average", "Minimum", "Maximum"}
	means  = []string{"Average", "Minimum", "Maximum"}
	counts = []string{"Count"}
	totals = []string{"Total"}
)

// Names of the metrics that the region measures.
const (
	Transactions         = "Transactions"
	Ingress              = "Ingress"
	Egress               = "Egress"
	SuccessServerLatency = "SuccessServerLatency"
	SuccessE2ELatency    = "SuccessE2ELatency"
	Availability         = "Availability"

	ServiceAPIHit     = "ServiceApiHit"
	ServiceAPILatency = "ServiceApiLatency"
	ServiceAPIResult  = "ServiceApiResult"

	ApplicationRuleHit = "ApplicationRuleHit"
	NetworkRuleHit     = "NetworkRuleHit"
)

var (
	storageDimensions = []string{"GeoType", "ApiName", "Authentication", "ResponseType"}
	transactions      = []definition{
		{Transactions, "Transactions", "Requests to the service, those that failed among them.", numbers, totals, storageDimensions, "Transaction"},
		{Ingress, "Ingress", "Bytes that came in.", octets, sums, storageDimensions[:3], "Transaction"},
		{Egress, "Egress", "Bytes that went out.", octets, sums, storageDimensions[:3], "Transaction"},
		{SuccessServerLatency, "Success Server Latency", "Time that the service took for a request that succeeded.", milliseconds, means, storageDimensions[:3], "Transaction"},
		{SuccessE2ELatency, "Success E2E Latency", "Time from the request to the end of the answer, of requests that succeeded.", milliseconds, means, storageDimensions[:3], "Transaction"},
		{Availability, "Availability", "Share of the requests that the service did not fail.", percent, means, storageDimensions[:3], "Transaction"},
	}
	vaultDimensions = []string{"ActivityType", "ActivityName", "StatusCode", "StatusCodeClass"}
	runDimensions   = []string{"Scenario", "RunType", "ComputeType", "ExperimentName"}
	hitDimensions   = []string{"Status", "Reason", "Protocol"}
	frontDimensions = []string{"FrontendIPAddress", "FrontendPort", "Direction"}
)

func capacity(of ...definition) []definition { return append(of, transactions...) }

func kept(name, shown, about, unit string, dimensions ...string) definition {
	return definition{name, shown, about, unit, means, dimensions, "Capacity"}
}

func runs(state, about string) definition {
	return definition{state + " Runs", state + " Runs", about, numbers, totals, runDimensions, "Run"}
}

// definitions by type in lower case; the first is what a reader gets who names none.
var definitions = map[string][]definition{
	"microsoft.storage/storageaccounts": capacity(kept("UsedCapacity", "Used capacity", "Bytes that the account holds.", octets)),
	"microsoft.storage/storageaccounts/blobservices": capacity(
		kept("BlobCapacity", "Blob Capacity", "Bytes of the blobs.", octets, "BlobType", "Tier"), kept("BlobCount", "Blob Count", "Number of blobs.", numbers, "BlobType", "Tier"),
		kept("ContainerCount", "Blob Container Count", "Number of containers.", numbers)),
	"microsoft.storage/storageaccounts/queueservices": capacity(
		kept("QueueCapacity", "Queue Capacity", "Bytes of the queues.", octets), kept("QueueCount", "Queue Count", "Number of queues.", numbers),
		kept("QueueMessageCount", "Queue Message Count", "Number of messages that have not expired.", numbers)),
	"microsoft.storage/storageaccounts/tableservices": capacity(
		kept("TableCapacity", "Table Capacity", "Bytes of the tables.", octets), kept("TableCount", "Table Count", "Number of tables.", numbers),
		kept("TableEntityCount", "Table Entity Count", "Number of entities.", numbers)),
	"microsoft.storage/storageaccounts/fileservices": capacity(
		kept("FileCapacity", "File Capacity", "Bytes of the shares.", octets, "FileShare"), kept("FileCount", "File Count", "Number of files.", numbers, "FileShare"),
		kept("FileShareCount", "File Share Count", "Number of shares.", numbers)),
	"microsoft.keyvault/vaults": {
		{Availability, "Overall Vault Availability", "Share of the requests that the vault did not fail.", percent, means, vaultDimensions, "Traffic"},
		{ServiceAPIHit, "Total Service Api Hits", "Requests to the vault.", numbers, counts, vaultDimensions[:2], "Traffic"},
		{ServiceAPILatency, "Overall Service Api Latency", "Time that a request took.", milliseconds, means, vaultDimensions, "Traffic"},
		{ServiceAPIResult, "Total Service Api Results", "Answers of the vault.", numbers, counts, vaultDimensions, "Traffic"},
		{"SaturationShoebox", "Overall Vault Saturation", "Share of the vault's capacity that is used.", percent, means, vaultDimensions[:2], "Saturation"},
	},
	"microsoft.machinelearningservices/workspaces": {
		runs("Completed", "Runs that have completed."), runs("Failed", "Runs that have failed."), runs("Started", "Runs that have begun to run."),
		runs("Canceled", "Runs that were canceled."), runs("Queued", "Runs that wait for a compute."), runs("Preparing", "Runs that are prepared."),
		runs("Finalizing", "Runs that are being ended."), runs("Not Responding", "Runs that are heard of no more."),
		{"Active Nodes", "Active Nodes", "Nodes that run a job.", numbers, means, []string{"Scenario", "ClusterName"}, "Quota"},
		{"Idle Nodes", "Idle Nodes", "Nodes that run none.", numbers, means, []string{"Scenario", "ClusterName"}, "Quota"},
		{"Total Nodes", "Total Nodes", "Nodes of the clusters.", numbers, means, []string{"Scenario", "ClusterName"}, "Quota"},
	},
	"microsoft.network/azurefirewalls": {
		{ApplicationRuleHit, "Application rules hit count", "Requests that application rules decided on.", numbers, totals, hitDimensions, ""},
		{NetworkRuleHit, "Network rules hit count", "Connections that network rules decided on.", numbers, totals, hitDimensions, ""},
		{"DataProcessed", "Data processed", "Bytes that the firewall passed on.", octets, totals, nil, ""},
		{"FirewallHealth", "Firewall health state", "Health of the firewall.", percent, means, hitDimensions[:2], ""},
		{"SNATPortUtilization", "SNAT port utilization", "Share of the ports for outbound connections that is used.", percent, means, []string{"Protocol"}, ""},
		{"Throughput", "Throughput", "Bits that the firewall passes in a second.", "BitsPerSecond", means, nil, ""},
		{"FirewallLatencyPng", "Latency Probe", "Time that a probe took.", milliseconds, means, nil, ""},
	},
	"microsoft.network/loadbalancers": {
		{"VipAvailability", "Data Path Availability", "Availability of the frontends.", numbers, means, frontDimensions[:2], "Availability"},
		{"DipAvailability", "Health Probe Status", "Share of the probes that were answered.", numbers, means, []string{"ProtocolType", "BackendPort", "FrontendIPAddress", "BackendIPAddress"}, "Availability"},
		{"ByteCount", "Byte Count", "Bytes that passed.", octets, totals, frontDimensions, "Traffic"},
		{"PacketCount", "Packet Count", "Packets that passed.", numbers, totals, frontDimensions, "Traffic"},
		{"SYNCount", "SYN Count", "Connections that were begun.", numbers, totals, frontDimensions, "Traffic"},
		{"SnatConnectionCount", "SNAT Connection Count", "Connections outward.", numbers, totals, []string{"FrontendIPAddress", "BackendIPAddress", "ConnectionState"}, "Traffic"},
		{"AllocatedSnatPorts", "Allocated SNAT Ports", "Ports for outbound connections that are given out.", numbers, means, []string{"FrontendIPAddress", "BackendIPAddress", "ProtocolType"}, "Traffic"},
		{"UsedSnatPorts", "Used SNAT Ports", "Ports for outbound connections that are used.", numbers, means, []string{"FrontendIPAddress", "BackendIPAddress", "ProtocolType"}, "Traffic"},
	},
	"microsoft.compute/virtualmachines": {
		{"Percentage CPU", "Percentage CPU", "Share of the processors that is used.", percent, means, nil, ""},
		{"Network In Total", "Network In Total", "Bytes that the machine received.", octets, sums, nil, ""},
		{"Network Out Total", "Network Out Total", "Bytes that the machine sent.", octets, sums, nil, ""},
		{"Available Memory Bytes", "Available Memory Bytes", "Memory that is free.", octets, means, nil, ""},
	},
	"microsoft.insights/components": {
		{"requests/count", "Server requests", "HTTP requests to the application.", numbers, counts, []string{"request/performanceBucket", "request/resultCode", "request/success"}, "Server"},
		{"availabilityResults/availabilityPercentage", "Availability", "Share of the availability tests that succeeded.", percent, means[:1], []string{"availabilityResult/name", "availabilityResult/location"}, "Availability"},
		{"exceptions/count", "Exceptions", "Exceptions of the application.", numbers, counts, []string{"client/type", "cloud/roleName", "cloud/roleInstance"}, "Exceptions"},
	},
}

// find is the metric of a name, in any case; nil for none.
func find(all []definition, name string) *definition {
	for i := range all {
		if strings.EqualFold(all[i].name, name) {
			return &all[i]
		}
	}
	return nil
}
