package loganalytics

import (
	"maps"
	"slices"
	"strings"

	"vauban.dev/kql"
)

// diagnostics is the table of services that have none of their own: its columns are those that records bring along.
const diagnostics = "AzureDiagnostics"

// maxColumns is how many columns AzureDiagnostics may have; what further ones would hold is in AdditionalFields.
const maxColumns = 500

func columns(t kql.Type, names string) (list []kql.Column) {
	for _, n := range strings.Fields(names) {
		list = append(list, kql.Column{Name: n, Type: t})
	}
	return list
}

// every table begins, and ends, with these.
var (
	leading  = slices.Concat(columns(kql.String, "TenantId"), columns(kql.Datetime, "TimeGenerated"))
	trailing = columns(kql.String, "SourceSystem Type _ResourceId _SubscriptionId")
)

var storageColumns = slices.Concat(
	columns(kql.String, "AccountName Location Protocol OperationName AuthenticationType AuthenticationHash StatusCode StatusText"),
	columns(kql.Real, "DurationMs ServerLatencyMs"),
	columns(kql.String, `CallerIpAddress CorrelationId SchemaVersion OperationVersion ServiceType ObjectKey UserAgentHeader ReferrerHeader ClientRequestId
		MetricResponseType Category Uri Etag TlsVersion RequesterObjectId RequesterTenantId RequesterAppId RequesterAudience RequesterTokenIssuer RequesterUpn`),
	columns(kql.Long, "RequestBodySize ResponseBodySize OperationCount"),
)

var firewallColumns = slices.Concat(columns(kql.String, "Protocol SourceIp"), columns(kql.Long, "SourcePort"), columns(kql.String, "DestinationIp"), columns(kql.Long, "DestinationPort"))

var ruleColumns = columns(kql.String, "Action ActionReason Policy RuleCollectionGroup RuleCollection Rule")

// tables are those that there are, whether records came or not ("Azure Monitor Logs reference: tables"): of their columns
// those that the region fills.
var tables = map[string][]kql.Column{
	"AzureActivity": slices.Concat(
		columns(kql.String, `OperationName OperationNameValue Level ActivityStatus ActivityStatusValue ActivitySubstatus ActivitySubstatusValue ResourceGroup SubscriptionId
			CorrelationId Caller CallerIpAddress Category CategoryValue HTTPRequest Properties`), columns(kql.Dynamic, "Properties_d"),
		columns(kql.String, "Authorization"), columns(kql.Dynamic, "Authorization_d"), columns(kql.String, "Claims"), columns(kql.Dynamic, "Claims_d"),
		columns(kql.String, "Resource ResourceId ResourceProvider ResourceProviderValue EventDataId OperationId Hierarchy"), columns(kql.Datetime, "EventSubmissionTimestamp"),
	),
	diagnostics: slices.Concat(
		columns(kql.String, "ResourceId Category ResourceGroup SubscriptionId ResourceProvider Resource ResourceType OperationName OperationVersion ResultType ResultSignature ResultDescription CorrelationId CallerIPAddress Level"),
		columns(kql.Long, "DurationMs"), columns(kql.Dynamic, "AdditionalFields"),
	),
	"StorageBlobLogs": storageColumns, "StorageQueueLogs": storageColumns, "StorageTableLogs": storageColumns, "StorageFileLogs": storageColumns,
	"AZKVAuditLogs": slices.Concat(
		columns(kql.String, "OperationName OperationVersion ResultType ResultSignature ResultDescription"), columns(kql.Long, "DurationMs"),
		columns(kql.String, "CallerIpAddress CorrelationId"), columns(kql.Dynamic, "Identity"), columns(kql.String, "Id ClientInfo RequestUri"),
		columns(kql.Long, "HttpStatusCode"), columns(kql.Bool, "IsRbacAuthorized"),
	),
	"AZFWNetworkRule":     slices.Concat(firewallColumns, ruleColumns),
	"AZFWApplicationRule": slices.Concat(firewallColumns, columns(kql.String, "Fqdn TargetUrl"), columns(kql.Bool, "IsTlsInspected"), ruleColumns),
	"AZFWNatRule":         slices.Concat(firewallColumns, columns(kql.String, "TranslatedIp"), columns(kql.Long, "TranslatedPort"), ruleColumns),
	"AZFWThreatIntel":     slices.Concat(firewallColumns, columns(kql.String, "Fqdn TargetUrl"), ruleColumns),
	"AZFWDnsQuery": slices.Concat(columns(kql.String, "SourceIp"), columns(kql.Long, "SourcePort"), columns(kql.Long, "QueryId"),
		columns(kql.String, "QueryName QueryType Protocol ResponseCode"), columns(kql.Real, "RequestDurationSecs"), columns(kql.String, "ErrorMessage")),
	"AmlRunEvent": slices.Concat(columns(kql.String, "OperationName AadTenantId AmlWorkspaceId RunId"), columns(kql.Dynamic, "Identity")),
	"AmlModelsEvent": slices.Concat(columns(kql.String, "OperationName AadTenantId AmlModelName CorrelationId Level ResultType ResultSignature"),
		columns(kql.Dynamic, "Identity")),
}

// Tables are the names of the tables of every workspace, sorted.
func Tables() []string { return slices.Sorted(maps.Keys(tables)) }

// learn takes in the columns that a record brings along; those for which there is no room become AdditionalFields.
func (st *state) learn(row map[string]any) {
	var extra map[string]any
	for _, name := range slices.Sorted(maps.Keys(row)) {
		_, known := st.Columns[name]
		if known || slices.ContainsFunc(tables[diagnostics], func(c kql.Column) bool { return c.Name == name }) || standard(name) {
			continue
		}
		if len(st.Columns)+len(tables[diagnostics]) >= maxColumns {
			if extra == nil {
				extra = map[string]any{}
			}
			extra[name] = row[name]
			delete(row, name)
			continue
		}
		if st.Columns == nil {
			st.Columns = map[string]string{}
		}
		st.Columns[name] = suffixType(name).String()
	}
	if extra != nil {
		row["AdditionalFields"] = extra
	}
}

func standard(name string) bool {
	return slices.ContainsFunc(slices.Concat(leading, trailing), func(c kql.Column) bool { return c.Name == name })
}

// suffixType is the type that the end of a column's name tells.
func suffixType(name string) kql.Type {
	switch {
	case strings.HasSuffix(name, "_d"):
		return kql.Real
	case strings.HasSuffix(name, "_b"):
		return kql.Bool
	case strings.HasSuffix(name, "_t"):
		return kql.Datetime
	}
	return kql.String
}

// schema is the columns of a table, with those that records of a workspace brought along.
func schema(table string, learned map[string]string) ([]kql.Column, bool) {
	own, ok := tables[table]
	if !ok {
		return nil, false
	}
	var more []kql.Column
	for _, name := range slices.Sorted(maps.Keys(learned)) {
		more = append(more, kql.Column{Name: name, Type: suffixType(name)})
	}
	return slices.Concat(leading, own, more, trailing), true
}

// Columns are the columns of a table that has the same in every workspace, and those that all have of the others.
func Columns(table string) (list []Column) {
	known, _ := schema(table, nil)
	for _, c := range known {
		list = append(list, Column{c.Name, c.Type.String()})
	}
	return list
}
