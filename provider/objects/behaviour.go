package objects

import (
	"fmt"
	"strings"
	"time"

	"vauban.dev/arm/rp"
)

// behaviour is what the specification does not say of a type, and templates ask for.
type behaviour struct {
	validate func(new, old *rp.Resource[Stored]) error
	says     map[string]func(r *rp.Resource[Stored]) any // read-only members, by path in the properties
	defaults map[string]any                              // of members that were not sent
	children map[string]map[string]any                   // that come with a resource: their properties, by type and name below it
	actions  map[string]rp.Action[Stored]                // that need no service
	present  func(tx *rp.Tx, r *rp.Resource[Stored]) error
	secrets  func(new, old *rp.Resource[Stored]) map[string]any // what is kept of what was sent for an action to show; pure
	takes    func(sent, read map[string]any)                    // what the service takes though it is read-only: from the properties as sent into those as read
	// implicitParent: a parent that is not there is made with the resource.
	implicitParent bool
}

type saying = map[string]func(r *rp.Resource[Stored]) any

// stamp is a time as most services write it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// epoch is when a resource was made, in seconds since 1970.
func epoch(r *rp.Resource[Stored]) any { return r.Properties.created.Unix() }

func lowerName(r *rp.Resource[Stored]) string { return strings.ToLower(r.ID.Name()) }

// host is the name of the resource before a domain. {location} in it is the resource's.
func host(domain string) func(r *rp.Resource[Stored]) any { return around("", "."+domain) }

// around is the name of the resource between two texts.
func around(before, after string) func(r *rp.Resource[Stored]) any {
	return func(r *rp.Resource[Stored]) any {
		return strings.ReplaceAll(before+lowerName(r)+after, "{location}", r.Location)
	}
}

func always(v any) func(r *rp.Resource[Stored]) any {
	return func(*rp.Resource[Stored]) any { return v }
}

// rootKey is the authorization rule that every namespace of the messaging services is born with.
func rootKey(rules string, rights ...any) map[string]map[string]any {
	return map[string]map[string]any{rules + "/RootManageSharedAccessKey": {"rights": rights}}
}

// listOf is a member of the resource as the service gives it once it is stored: an endpoint in a document's form.
func listOf(form string) func(r *rp.Resource[Stored]) any {
	return func(r *rp.Resource[Stored]) any { return []any{fmt.Sprintf(form, lowerName(r))} }
}

// enforced are types that would change what the region enforces of others: what is stored and does nothing would be believed.
var enforced = map[string]string{
	"microsoft.network/virtualnetworkgateways/natrules":                "addresses in a gateway's tunnels are not translated",
	"microsoft.network/firewallpolicies/rulegroups":                    "rules of Azure Firewalls are those of ruleCollectionGroups",
	"microsoft.network/firewallpolicies/signatureoverrides":            "Azure Firewalls detect no intrusions",
	"microsoft.network/expressroutecircuits/peerings/connections":      "circuits are not joined (Global Reach)",
	"microsoft.network/networkinterfaces/tapconfigurations":            "the traffic of interfaces is not mirrored",
	"microsoft.network/networkmanagers/commits":                        "configurations of network managers are stored, not deployed to virtual networks",
	"microsoft.network/networksecurityperimeters/resourceassociations": "perimeters guard nothing; networkAcls and private endpoints do",
	"microsoft.network/dnsresolverpolicies/virtualnetworklinks":        "resolvers judge no questions by policies",
}

// behaviours are those by type, in lower case (the REST reference of each: what its examples answer).
var behaviours = map[string]behaviour{
	"microsoft.web/serverfarms": {
		says:     saying{"status": always("Ready"), "serverFarmId": func(r *rp.Resource[Stored]) any { return len(r.ID.Name()) }, "numberOfSites": always(0)},
		defaults: map[string]any{"reserved": false, "maximumElasticWorkerCount": 1, "perSiteScaling": false},
	},
	"microsoft.web/sites": {
		says: saying{
			"state": always("Running"), "defaultHostName": host("azurewebsites.net"), "enabledHostNames": func(r *rp.Resource[Stored]) any {
				return []any{lowerName(r) + ".azurewebsites.net", lowerName(r) + ".scm.azurewebsites.net"}
			},
			"hostNames": listOf("%s.azurewebsites.net"), "repositorySiteName": around("", ""), "usageState": always("Normal"), "availabilityState": always("Normal"),
			"customDomainVerificationId":  func(r *rp.Resource[Stored]) any { return strings.ToUpper(r.Properties.guid("domain")) },
			"outboundIpAddresses":         always("20.50.2.0,20.50.2.1,20.50.2.2"),
			"possibleOutboundIpAddresses": always("20.50.2.0,20.50.2.1,20.50.2.2,20.50.2.3"),
			"inboundIpAddress":            always("20.50.2.4"),
		},
		defaults: map[string]any{"enabled": true, "httpsOnly": false, "clientCertEnabled": false},
	},
	"microsoft.web/staticsites": {says: saying{"defaultHostname": host("azurestaticapps.net")}},
	"microsoft.app/containerapps": {says: saying{
		"latestRevisionName": around("", "--1"), "latestRevisionFqdn": host("{location}.azurecontainerapps.io"), "eventStreamEndpoint": around("https://{location}.azurecontainerapps.dev/", "/eventstream"),
		"configuration.ingress.fqdn": func(r *rp.Resource[Stored]) any {
			if get(r.Properties.tree, "configuration.ingress") == nil {
				return nil
			}
			return lowerName(r) + "." + r.Location + ".azurecontainerapps.io"
		},
	}},
	"microsoft.app/managedenvironments": {says: saying{"defaultDomain": host("{location}.azurecontainerapps.io"), "staticIp": always("20.50.2.5")}},
	"microsoft.sql/servers":             {says: saying{"fullyQualifiedDomainName": host("database.windows.net"), "state": always("Ready")}, defaults: map[string]any{"version": "12.0", "publicNetworkAccess": "Enabled"}},
	"microsoft.sql/servers/databases":   {says: saying{"status": always("Online"), "databaseId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("database") }}, defaults: map[string]any{"collation": "SQL_Latin1_General_CP1_CI_AS", "maxSizeBytes": 34359738368.0}},
	"microsoft.sql/managedinstances":    {says: saying{"fullyQualifiedDomainName": host("database.windows.net"), "state": always("Ready")}},
	"microsoft.dbformysql/servers":      {says: saying{"fullyQualifiedDomainName": host("mysql.database.azure.com"), "userVisibleState": always("Ready")}},
	"microsoft.dbformysql/flexibleservers": {
		says: saying{"fullyQualifiedDomainName": host("mysql.database.azure.com"), "state": always("Ready")},
	},
	"microsoft.dbforpostgresql/servers":         {says: saying{"fullyQualifiedDomainName": host("postgres.database.azure.com"), "userVisibleState": always("Ready")}},
	"microsoft.dbforpostgresql/flexibleservers": {says: saying{"fullyQualifiedDomainName": host("postgres.database.azure.com"), "state": always("Ready")}},
	"microsoft.dbformariadb/servers":            {says: saying{"fullyQualifiedDomainName": host("mariadb.database.azure.com"), "userVisibleState": always("Ready")}},
	"microsoft.documentdb/databaseaccounts": {says: saying{
		"documentEndpoint": around("https://", ".documents.azure.com:443/"),
		"instanceId":       func(r *rp.Resource[Stored]) any { return r.Properties.guid("instance") },
	}, defaults: map[string]any{"publicNetworkAccess": "Enabled", "consistencyPolicy.defaultConsistencyLevel": "Session"}},
	"microsoft.cache/redis": {says: saying{"hostName": host("redis.cache.windows.net"), "sslPort": always(6380), "port": always(6379)}, defaults: map[string]any{"redisVersion": "6.0", "enableNonSslPort": false, "publicNetworkAccess": "Enabled"}},
	"microsoft.servicebus/namespaces": {
		says:     saying{"serviceBusEndpoint": around("https://", ".servicebus.windows.net:443/"), "metricId": around("", ""), "status": always("Active")},
		children: rootKey("AuthorizationRules", "Listen", "Manage", "Send"),
	},
	"microsoft.eventhub/namespaces": {
		says:     saying{"serviceBusEndpoint": around("https://", ".servicebus.windows.net:443/"), "metricId": around("", ""), "status": always("Active")},
		children: rootKey("authorizationRules", "Listen", "Manage", "Send"),
	},
	"microsoft.eventhub/namespaces/eventhubs": {
		defaults: map[string]any{"messageRetentionInDays": 7, "partitionCount": 4, "status": "Active"},
		says:     saying{"partitionIds": partitions},
	},
	"microsoft.relay/namespaces": {
		says:     saying{"serviceBusEndpoint": around("https://", ".servicebus.windows.net:443/"), "metricId": around("", ""), "status": always("Active")},
		children: rootKey("authorizationRules", "Listen", "Manage", "Send"),
	},
	"microsoft.notificationhubs/namespaces":          {children: rootKey("AuthorizationRules", "Listen", "Manage", "Send"), says: saying{"serviceBusEndpoint": around("https://", ".servicebus.windows.net:443/")}},
	"microsoft.eventgrid/topics":                     {says: saying{"endpoint": around("https://", ".{location}-1.eventgrid.azure.net/api/events")}},
	"microsoft.eventgrid/domains":                    {says: saying{"endpoint": around("https://", ".{location}-1.eventgrid.azure.net/api/events")}},
	"microsoft.search/searchservices":                {says: saying{"status": always("running"), "statusDetails": always("")}, defaults: map[string]any{"replicaCount": 1, "partitionCount": 1, "hostingMode": "default", "publicNetworkAccess": "Enabled"}},
	"microsoft.cognitiveservices/accounts":           {says: saying{"endpoint": endpointOf("https://{location}.api.cognitive.microsoft.com/")}, defaults: map[string]any{"publicNetworkAccess": "Enabled"}},
	"microsoft.apimanagement/service":                {says: saying{"gatewayUrl": around("https://", ".azure-api.net"), "portalUrl": around("https://", ".portal.azure-api.net"), "developerPortalUrl": around("https://", ".developer.azure-api.net"), "managementApiUrl": around("https://", ".management.azure-api.net"), "scmUrl": around("https://", ".scm.azure-api.net")}},
	"microsoft.appconfiguration/configurationstores": {says: saying{"endpoint": around("https://", ".azconfig.io")}},
	"microsoft.signalrservice/signalr":               {says: saying{"hostName": host("service.signalr.net"), "publicPort": always(443), "serverPort": always(443), "version": always("1.0")}},
	"microsoft.signalrservice/webpubsub":             {says: saying{"hostName": host("webpubsub.azure.com"), "publicPort": always(443), "serverPort": always(443), "version": always("1.0")}},
	"microsoft.devices/iothubs":                      {says: saying{"hostName": host("azure-devices.net"), "state": always("Active")}},
	"microsoft.devices/provisioningservices":         {says: saying{"serviceOperationsHostName": host("azure-devices-provisioning.net"), "deviceProvisioningHostName": always("global.azure-devices-provisioning.net"), "idScope": func(r *rp.Resource[Stored]) any { return "0ne" + strings.ToUpper(r.Properties.guid("scope")[:8]) }}},
	"microsoft.logic/workflows": {says: saying{"version": always("1"), "accessEndpoint": func(r *rp.Resource[Stored]) any {
		return "https://prod-00." + r.Location + ".logic.azure.com:443/workflows/" + strings.ReplaceAll(r.Properties.guid("workflow"), "-", "")
	}}, defaults: map[string]any{"state": "Enabled"}},
	"microsoft.batch/batchaccounts":   {says: saying{"accountEndpoint": host("{location}.batch.azure.com"), "dedicatedCoreQuota": always(0), "poolQuota": always(100)}, defaults: map[string]any{"poolAllocationMode": "BatchService"}},
	"microsoft.databricks/workspaces": {says: saying{"workspaceUrl": around("adb-", ".azuredatabricks.net"), "workspaceId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("workspace") }}},
	"microsoft.kusto/clusters":        {says: saying{"uri": around("https://", ".{location}.kusto.windows.net"), "dataIngestionUri": around("https://ingest-", ".{location}.kusto.windows.net"), "state": always("Running")}},
	"microsoft.synapse/workspaces": {says: saying{"connectivityEndpoints": func(r *rp.Resource[Stored]) any {
		n := lowerName(r)
		return map[string]any{"web": "https://web.azuresynapse.net?workspace=" + r.ID.String(), "dev": "https://" + n + ".dev.azuresynapse.net", "sqlOnDemand": n + "-ondemand.sql.azuresynapse.net", "sql": n + ".sql.azuresynapse.net"}
	}}},
	"microsoft.automation/automationaccounts": {says: saying{"state": always("Ok"), "automationHybridServiceUrl": func(r *rp.Resource[Stored]) any {
		return "https://" + r.Properties.guid("agent") + ".jrds." + r.Location + ".azure-automation.net/automationAccounts/" + r.Properties.guid("agent")
	}}},
	"microsoft.hdinsight/clusters": {says: saying{"clusterState": always("Running"), "clusterId": func(r *rp.Resource[Stored]) any { return strings.ReplaceAll(r.Properties.guid("cluster"), "-", "") }, "connectivityEndpoints": func(r *rp.Resource[Stored]) any {
		return []any{map[string]any{"name": "SSH", "protocol": "TCP", "location": lowerName(r) + "-ssh.azurehdinsight.net", "port": 22}, map[string]any{"name": "HTTPS", "protocol": "TCP", "location": lowerName(r) + ".azurehdinsight.net", "port": 443}}
	}}},
	"microsoft.datalakestore/accounts":     {says: saying{"endpoint": host("azuredatalakestore.net"), "state": always("Active"), "accountId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("account") }}},
	"microsoft.datalakeanalytics/accounts": {says: saying{"endpoint": host("azuredatalakeanalytics.net"), "state": always("Active"), "accountId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("account") }}},
	"microsoft.maps/accounts":              {says: saying{"uniqueId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("uniqueId") }}},
	"microsoft.keyvault/vaults/keys": {
		says: saying{"keyUri": keyURI(""), "keyUriWithVersion": func(r *rp.Resource[Stored]) any {
			return keyURI("/" + strings.ReplaceAll(r.Properties.guid("version"), "-", ""))(r)
		}, "attributes.created": epoch, "attributes.updated": epoch, "attributes.recoveryLevel": always("Recoverable+Purgeable")},
		defaults: map[string]any{"attributes.enabled": true, "keySize": 2048.0},
	},
	"microsoft.keyvault/managedhsms":      {says: saying{"hsmUri": around("https://", ".managedhsm.azure.net/"), "statusMessage": always("The Managed HSM is provisioned and ready to use.")}},
	"microsoft.cdn/profiles":              {says: saying{"resourceState": always("Active"), "frontDoorId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("frontDoor") }}},
	"microsoft.cdn/profiles/endpoints":    {says: saying{"hostName": host("azureedge.net"), "resourceState": always("Running")}},
	"microsoft.cdn/profiles/afdendpoints": {says: saying{"hostName": host("z01.azurefd.net"), "deploymentStatus": always("NotStarted")}},
	"microsoft.network/frontdoors":        {says: saying{"cname": host("azurefd.net"), "resourceState": always("Enabled"), "frontdoorId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("frontDoor") }}},
	"microsoft.network/trafficmanagerprofiles": {says: saying{
		"dnsConfig.fqdn": func(r *rp.Resource[Stored]) any {
			if relative, _ := get(r.Properties.tree, "dnsConfig.relativeName").(string); relative != "" {
				return strings.ToLower(relative) + ".trafficmanager.net"
			}
			return nil
		},
		"monitorConfig.profileMonitorStatus": always("Inactive"),
	}, defaults: map[string]any{"profileStatus": "Enabled", "trafficViewEnrollmentStatus": "Disabled", "endpoints": []any{}}},
	"microsoft.network/applicationgateways": {says: saying{"operationalState": always("Stopped")}},
	"microsoft.insights/datacollectionendpoints": {says: saying{
		"logsIngestion.endpoint":       around("https://", ".{location}-1.ingest.monitor.azure.com"),
		"configurationAccess.endpoint": around("https://", ".{location}-1.handler.control.monitor.azure.com"),
		"metricsIngestion.endpoint":    around("https://", ".{location}-1.metrics.ingest.monitor.azure.com"),
	}},
	"microsoft.monitor/accounts":                    {says: saying{"accountId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("account") }, "metrics.prometheusQueryEndpoint": around("https://", ".{location}.prometheus.monitor.azure.com")}},
	"microsoft.dashboard/grafana":                   {says: saying{"endpoint": around("https://", ".{location}.grafana.azure.com"), "grafanaVersion": always("11")}},
	"microsoft.communication/communicationservices": {says: saying{"hostName": host("communication.azure.com"), "immutableResourceId": func(r *rp.Resource[Stored]) any { return r.Properties.guid("immutable") }}},
}

// keyURI is the address of a key in its vault, and of a version of it.
func keyURI(version string) func(r *rp.Resource[Stored]) any {
	return func(r *rp.Resource[Stored]) any {
		return "https://" + strings.ToLower(r.ID.Parent().Name()) + ".vault.azure.net/keys/" + r.ID.Name() + version
	}
}

func partitions(r *rp.Resource[Stored]) any {
	n, ok := r.Properties.tree["partitionCount"].(float64)
	if !ok {
		n = 4
	}
	var ids []any
	for i := range int(min(max(n, 0), 1024)) {
		ids = append(ids, fmt.Sprint(i))
	}
	return ids
}

// endpointOf is the endpoint of an account with a name of its own, else that of its location.
func endpointOf(regional string) func(r *rp.Resource[Stored]) any {
	return func(r *rp.Resource[Stored]) any {
		if name, _ := r.Properties.tree["customSubDomainName"].(string); name != "" {
			return "https://" + strings.ToLower(name) + ".cognitiveservices.azure.com/"
		}
		return strings.ReplaceAll(regional, "{location}", r.Location)
	}
}
