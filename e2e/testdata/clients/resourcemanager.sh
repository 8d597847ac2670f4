#!/bin/bash
# Resource Manager by unmodified az: accounts, providers, features, groups, resources, tags, moves.
set -euo pipefail
export AZURE_CORE_ONLY_SHOW_ERRORS=true AZURE_CORE_COLLECT_TELEMETRY=false

sub=$(az account show --query id -o tsv)
is() { # is WHAT WANT GOT
  [ "$2" = "$3" ] || { echo "$1: want '$2', got '$3'" >&2; exit 1; }
}
refused() { # refused CODE COMMAND...: the command fails with Azure's code
  local code=$1 out; shift
  if out=$("$@" 2>&1); then echo "$*: not refused" >&2; exit 1; fi
  grep -q "$code" <<<"$out" || { echo "$*: no $code in: $out" >&2; exit 1; }
}

# account
is tenants 1 "$(az account tenant list --query 'length(@)' -o tsv 2>/dev/null || az rest --method get --url /tenants?api-version=2022-12-01 --query 'length(value)' -o tsv)"
is "west europe" "West Europe" "$(az account list-locations --query "[?name=='westeurope'].displayName" -o tsv)"
[ "$(az account list --query 'length(@)' -o tsv)" -ge 1 ]

# providers
is provider Registered "$(az provider show -n Microsoft.Storage --query registrationState -o tsv)"
az provider unregister -n Microsoft.ContainerInstance --wait
is unregistered Unregistered "$(az provider show -n Microsoft.ContainerInstance --query registrationState -o tsv)"
az provider register -n Microsoft.ContainerInstance --wait
is registered Registered "$(az provider show -n Microsoft.ContainerInstance --query registrationState -o tsv)"
[ "$(az provider list --query "length([?namespace=='Microsoft.Network'].resourceTypes[])" -o tsv)" -gt 30 ]
[ -n "$(az provider operation show -n Microsoft.Storage --query 'resourceTypes[0].name' -o tsv)" ]
az provider permission list -n Microsoft.Storage -o none

# features
is "a new feature" NotRegistered "$(az feature show --namespace Microsoft.Compute -n EncryptionAtHost --query properties.state -o tsv)"
az feature register --namespace Microsoft.Compute -n EncryptionAtHost -o none
is "a registered feature" Registered "$(az feature show --namespace Microsoft.Compute -n EncryptionAtHost --query properties.state -o tsv)"
az feature unregister --namespace Microsoft.Compute -n EncryptionAtHost -o none
[ "$(az feature list --query 'length(@)' -o tsv)" -gt 10 ]
az feature registration create --namespace Microsoft.Network -n AllowPrivateEndpointNSG -o none
is "feature registrations" 1 "$(az feature registration list --query 'length(@)' -o tsv)"
az feature registration delete --namespace Microsoft.Network -n AllowPrivateEndpointNSG --yes

# groups
az group create -n rm1 -l westeurope --tags env=test team=core -o none
az group create -n rm2 -l westeurope -o none
is exists true "$(az group exists -n rm1)"
is "does not exist" false "$(az group exists -n none)"
is "by tag" rm1 "$(az group list --tag env=test --query '[].name' -o tsv)"
is "group update" 3 "$(az group update -n rm1 --set tags.owner=me --query 'length(tags)' -o tsv)"

# resources
az resource create -g rm1 -n logs --resource-type Microsoft.Network/networkSecurityGroups --properties '{}' -l westeurope -o none
id=$(az resource show -g rm1 -n logs --resource-type Microsoft.Network/networkSecurityGroups --query id -o tsv)
az resource tag --ids "$id" --tags a=1 b=2 -o none
az resource tag --ids "$id" --tags c=3 -i -o none
is "resource tags" 3 "$(az resource show --ids "$id" --query 'length(tags)' -o tsv)"
is "by tag" logs "$(az resource list --tag c=3 --query '[].name' -o tsv)"
is "by type" logs "$(az resource list -g rm1 --resource-type Microsoft.Network/networkSecurityGroups --query '[].name' -o tsv)"
is "by name" logs "$(az resource list -n logs --query '[].name' -o tsv)"
az resource update --ids "$id" --set tags.d=4 -o none
az resource wait --ids "$id" --created
az network route-table create -g rm1 -n routes -o none
az storage account create -g rm1 -n "rmstore$RANDOM$RANDOM" -l westeurope --sku Standard_LRS -o none
store=$(az storage account list -g rm1 --query '[0].id' -o tsv)
az resource invoke-action --action listKeys --ids "$store" -o none

# moves
az resource invoke-action --action validateMoveResources --ids "/subscriptions/$sub/resourceGroups/rm1" --request-body "{\"resources\":[\"$id\"],\"targetResourceGroup\":\"/subscriptions/$sub/resourceGroups/rm2\"}" -o none
az resource move --destination-group rm2 --ids "$id" "$store"
is "moved away" 0 "$(az resource list -g rm1 --query "length([?name=='logs'])" -o tsv)"
is "moved there" 4 "$(az network nsg show -g rm2 -n logs --query 'length(tags)' -o tsv)"
is "its keys" key1 "$(az storage account keys list -g rm2 -n "${store##*/}" --query '[0].keyName' -o tsv)"

# tags
az tag create --resource-id "/subscriptions/$sub/resourceGroups/rm2" --tags x=1 y=2 -o none
az tag update --resource-id "/subscriptions/$sub/resourceGroups/rm2" --operation merge --tags z=3 -o none
is "merged tags" 3 "$(az tag list --resource-id "/subscriptions/$sub/resourceGroups/rm2" --query 'length(properties.tags)' -o tsv)"
az tag update --resource-id "/subscriptions/$sub/resourceGroups/rm2" --operation delete --tags x=1 -o none
az tag delete --resource-id "/subscriptions/$sub/resourceGroups/rm2" --yes
az tag create -n CostCenter -o none
az tag add-value -n CostCenter --value 42 -o none
is "tag names" 42 "$(az tag list --query "[?tagName=='CostCenter'].values[0].tagValue" -o tsv)"
az tag remove-value -n CostCenter --value 42 -o none
az tag delete -n CostCenter --yes
refused InvalidTagNameCharacters az tag create --resource-id "/subscriptions/$sub" --tags 'a?b=1'

az group delete -n rm1 --yes
az group delete -n rm2 --yes --no-wait
az group wait -n rm2 --deleted
echo managed
