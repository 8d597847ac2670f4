# Management groups, locks, the activity log and diagnostic settings by unmodified az. It ends with "governed".
set -euo pipefail
export AZURE_CORE_ONLY_SHOW_ERRORS=1
sub=$(az account show --query id -o tsv)
tenant=$(az account show --query tenantId -o tsv)
partner=$(az account list --query "[?id!='$sub'].id | [0]" -o tsv)
mg="az account management-group"
at=/providers/Microsoft.Management/managementGroups

fail() { echo "FAILED: $*"; exit 1; }
is() { [ "$2" = "$3" ] || fail "$1: '$2', want '$3'"; }
# refused CODE COMMAND…: az fails and says CODE
refused() { code=$1; shift; if out=$("$@" 2>&1); then fail "$* succeeded"; fi; case $out in *"$code"*) ;; *) fail "$*: $out";; esac; }

# Management groups
is "the root" "$($mg show -n "$tenant" --no-register --query displayName -o tsv)" "Tenant Root Group"
$mg create -n corp --display-name Corp --no-register -o none
$mg create -n ml --parent corp --no-register -o none
$mg subscription add -n ml -s "$sub" -o none
is "the tree" "$($mg show -n corp -e -r --no-register --query 'children[0].children[0].name' -o tsv)" "$sub"
$mg update -n ml --display-name "Machine learning" -o none
is "renamed" "$($mg show -n ml --no-register --query '[displayName,details.parent.name]' -o tsv | tr '\n' ' ')" "Machine learning corp "
is "entities" "$($mg entities list --query "length([?name=='corp' || name=='ml' || name=='$sub'])" -o tsv)" 3
is "a taken name" "$($mg check-name-availability -n CORP --query nameAvailable -o tsv)" false
$mg hierarchy-settings create -n "$tenant" -m $at/corp -r true -o none
is "settings" "$($mg hierarchy-settings list -n "$tenant" --query 'value[0].defaultManagementGroup' -o tsv)" $at/corp
$mg hierarchy-settings delete -n "$tenant" -y -o none
refused "1 child groups" $mg delete -n corp --no-register

# A role on a management group reaches what is in it.
me=$(az account show --query user.name -o tsv)
az role assignment create --assignee "$me" --role Reader --scope $at/corp -o none
is "assigned there" "$(az role assignment list --scope $at/corp --query "length([?roleDefinitionName=='Reader'])" -o tsv)" 1

# Locks
az group create -n governed -l westeurope -o none
az network vnet create -g governed -n v --subnet-name s -o none
az storage account create -g governed -n governedlogs -l westeurope -o none
az lock create -n keep --lock-type CanNotDelete -g governed --notes why -o none
refused ScopeLocked az group delete -n governed -y
refused "'keep'" az network vnet delete -g governed -n v
az network vnet update -g governed -n v --set tags.a=b -o none
az lock update -n keep -g governed --notes because -o none
is "notes" "$(az group lock show -n keep -g governed --query notes -o tsv)" because
az resource lock create -n still --lock-type ReadOnly -g governed --resource-name governedlogs --resource-type Microsoft.Storage/storageAccounts -o none
refused ScopeLocked az storage account keys list -n governedlogs -g governed
az storage account show -n governedlogs -g governed -o none
az account lock create -n all --lock-type CanNotDelete -o none
is "locks" "$(az lock list --query 'length(@)' -o tsv)" 3
az account lock delete -n all
az resource lock delete -n still -g governed --resource-name governedlogs --resource-type Microsoft.Storage/storageAccounts
az group lock delete -n keep -g governed
az storage account keys list -n governedlogs -g governed -o none

# Diagnostic settings
account=/subscriptions/$sub/resourceGroups/governed/providers/Microsoft.Storage/storageAccounts/governedlogs
az monitor diagnostic-settings subscription create -n export -l westeurope --storage-account $account --logs '[{"category":"Administrative","enabled":true}]' -o none
is "the setting" "$(az monitor diagnostic-settings subscription show -n export --query storageAccountId -o tsv)" $account
refused "not supported" az monitor diagnostic-settings create -n x --resource $account --storage-account $account --logs '[{"category":"StorageRead","enabled":true}]'
is "categories of blobs" "$(az monitor diagnostic-settings categories list --resource $account/blobServices/default --query 'value[].name | join(`,`,@)' -o tsv)" StorageRead,StorageWrite,StorageDelete,Transaction,Capacity
az monitor diagnostic-settings create -n blobs --resource $account/blobServices/default --storage-account $account --logs '[{"categoryGroup":"allLogs","enabled":true}]' -o none
vault=gov$(echo "$sub$$" | md5sum | cut -c1-12)
az keyvault create -n "$vault" -g governed -l westeurope --enable-rbac-authorization false -o none
az monitor diagnostic-settings create -n audit --resource "$(az keyvault show -n "$vault" --query id -o tsv)" --storage-account $account --logs '[{"category":"AuditEvent","enabled":true}]' -o none
az keyvault secret set --vault-name "$vault" -n one --value two -o none
az group create -n exported -l westeurope -o none
key=$(az storage account keys list -n governedlogs -g governed --query '[0].value' -o tsv)
export AZURE_STORAGE_KEY=$key
for _ in $(seq 60); do
	blob=$(az storage blob list --account-name governedlogs -c insights-activity-logs --query '[0].name' -o tsv 2>/dev/null) || true
	if [ -n "$blob" ] && az storage blob download --account-name governedlogs -c insights-activity-logs -n "$blob" -f exported.json --overwrite -o none 2>/dev/null && grep -q '/RESOURCEGROUPS/EXPORTED"' exported.json; then break; fi
	sleep 1
done
case $blob in "resourceId=/SUBSCRIPTIONS/$(echo "$sub" | tr a-z A-Z)/y="*"/m=00/PT1H.json") ;; *) fail "blob '$blob'";; esac
grep -q '"resultType":"Success"' exported.json || fail "$(cat exported.json)"
az monitor diagnostic-settings subscription delete -n export -y
# logged CONTAINER WORDS: the only blob there comes to have a record with all of them
logged() {
	container=$1; shift
	for _ in $(seq 60); do
		blob=$(az storage blob list --account-name governedlogs -c "$container" --query '[0].name' -o tsv 2>/dev/null) || true
		if [ -n "$blob" ] && az storage blob download --account-name governedlogs -c "$container" -n "$blob" -f logged.json --overwrite -o none 2>/dev/null; then
			cp logged.json found.json
			for word in "$@"; do grep -F -- "$word" found.json > next.json || true; mv next.json found.json; done
			[ -s found.json ] && return
		fi
		sleep 1
	done
	fail "no record of $* in $container: $(cat logged.json)"
}
logged insights-logs-auditevent '"operationName":"SecretSet"' '"resultType":"Success"' "VAULTS/$(echo "$vault" | tr a-z A-Z)"
logged insights-logs-storageread '"operationName":"ListBlobs"' '"type":"AccountKey"' /blobServices/default '"statusCode":200'

# Log Analytics
workspace=$(az monitor log-analytics workspace create -n govlogs -g governed --query id -o tsv)
customer=$(az monitor log-analytics workspace show -n govlogs -g governed --query customerId -o tsv)
is "tables" "$(az monitor log-analytics workspace table show -g governed --workspace-name govlogs -n AzureActivity --query schema.name -o tsv)" AzureActivity
az monitor diagnostic-settings subscription create -n logs -l westeurope --workspace "$workspace" --logs '[{"category":"Administrative","enabled":true}]' -o none
az monitor diagnostic-settings create -n logs --resource $account/queueServices/default --workspace "$workspace" --logs '[{"categoryGroup":"allLogs","enabled":true}]' -o none
az monitor diagnostic-settings create -n logs --resource "$(az keyvault show -n "$vault" --query id -o tsv)" --workspace "$workspace" --logs '[{"category":"AuditEvent","enabled":true}]' -o none
az storage queue create --account-name governedlogs -n letters -o none
az storage message put --account-name governedlogs -q letters --content hello -o none
az keyvault secret set --vault-name "$vault" -n two --value three -o none
az group create -n queried -l westeurope -o none
ask() {
	az rest --method post --url "https://api.loganalytics.io/v1/workspaces/$customer/query" --resource https://api.loganalytics.io --body "{\"query\":\"$1\",\"timespan\":\"P1D\"}" --query 'join(`,`,tables[0].rows[*].join(`:`,@))' -o tsv
}
# answers QUERY ROWS: the query comes to answer so, once the records are written
answers() {
	for _ in $(seq 60); do
		got=$(ask "$1")
		[ "$got" = "$2" ] && return
		sleep 1
	done
	fail "$1: $got, want $2"
}
answers "StorageQueueLogs | where OperationName in ('CreateQueue','PutMessage') | project OperationName, StatusCode, AuthenticationType" CreateQueue:201:AccountKey,PutMessage:201:AccountKey
answers "AzureDiagnostics | where ResourceProvider == 'MICROSOFT.KEYVAULT' and id_s endswith '/two' | summarize take_any(ResultType) by OperationName" SecretSet:Success
answers "AzureActivity | where OperationNameValue endswith 'RESOURCEGROUPS/WRITE' and TimeGenerated > ago(1h) | distinct ResourceGroup" QUERIED
refused "Failed to resolve table or column expression named 'Nope'" az rest --method post --url "$workspace/query?api-version=2017-10-01" --body '{"query":"Nope"}'
is "through Resource Manager" "$(az rest --method post --url "$workspace/query?api-version=2017-10-01" --body '{"query":"print 1 + 1"}' --query 'tables[0].rows[0][0]' -o tsv)" 2
is "of one resource" "$(az rest --method get --url "$account/queueServices/default/providers/Microsoft.Insights/logs?api-version=2018-03-01-preview&query=StorageQueueLogs|distinct%20AccountName" --query 'tables[0].rows[0][0]' -o tsv)" governedlogs
az monitor diagnostic-settings subscription delete -n logs -y

# The activity log
list="az monitor activity-log list --offset 1h"
is "by group" "$($list -g exported --query '[0].operationName.localizedValue' -o tsv)" "Update resource group"
is "by resource" "$($list --resource-id $account --query "length([?operationName.value=='Microsoft.Storage/storageAccounts/write'])" -o tsv | sed 's/[1-9]/some/')" some
is "refusals" "$($list --status Failed --query "length([?contains(to_string(properties),'ScopeLocked')])" -o tsv)" 3
is "by caller" "$($list --caller nobody --query 'length(@)' -o tsv)" 0
is "by namespace" "$($list --namespace Microsoft.Storage --max-events 1 --query '[0].resourceProviderName.value' -o tsv)" Microsoft.Storage
correlation=$($list -g exported --query '[0].correlationId' -o tsv)
is "by correlation" "$($list --correlation-id "$correlation" --query '[0].resourceGroupName' -o tsv)" exported
is "selected" "$($list --select caller --max-events 1 --query 'keys([0])' -o tsv)" caller
is "no more than" "$($list --max-events 2 --query 'length(@)' -o tsv)" 2
is "categories" "$(az monitor activity-log list-categories --query 'length(@)' -o tsv)" 8
is "the tenant's" "$(az rest --url "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01" --query "length(value[?operationName.value=='Microsoft.Management/managementGroups/write' && resourceId=='$at/ml'])" -o tsv)" 2

$mg subscription remove -n ml -s "$sub"
$mg delete -n ml --no-register -o none
$mg delete -n corp --no-register -o none
echo governed
