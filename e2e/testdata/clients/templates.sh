#!/usr/bin/env bash
# Queries, exports and what follows from them, by az as it is. `az graph query` is an extension of Microsoft's index: its
# requests are made by az rest.
set -euo pipefail
cd "$(mktemp -d)"
query() { # QUERY [JMESPATH]
	python3 -c 'import json,sys; print(json.dumps({"query": sys.argv[1], "options": {"$top": 100, "$skip": 0, "resultFormat": "objectArray", "allowPartialScopes": False}}))' "$1" > body.json
	az rest --method post --url "https://management.azure.com/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01" --body @body.json --query "${2:-data}" -o json
}
same() { # WHAT GOT WANT
	[ "$2" = "$3" ] || { echo "$1: got $2, want $3"; exit 1; }
}
az group create -n one -l westeurope -o none
az network nsg create -g one -n nsg --tags env=prod -o none
az network vnet create -g one -n hub --address-prefixes 10.1.0.0/16 --subnet-name default --subnet-prefixes 10.1.0.0/24 --nsg nsg -o none
az network vnet create -g one -n spoke --address-prefixes 10.2.0.0/16 --subnet-name default --subnet-prefixes 10.2.0.0/24 -o none
az network vnet peering create -g one -n to-spoke --vnet-name hub --remote-vnet spoke --allow-vnet-access -o none
az network vnet peering create -g one -n to-hub --vnet-name spoke --remote-vnet hub --allow-vnet-access -o none
az storage account create -g one -n sttemplates1 -l westeurope --sku Standard_LRS -o none
az storage container-rm create -g one --storage-account sttemplates1 -n data -o none
az keyvault create -g one -n kvtemplates1 -l westeurope -o none
az network private-endpoint create -g one -n pe --vnet-name hub --subnet default --connection-name c --group-id blob \
	--private-connection-resource-id "$(az storage account show -g one -n sttemplates1 --query id -o tsv)" -o none
az network private-dns zone create -g one -n privatelink.blob.core.windows.net -o none
az network private-dns link vnet create -g one -z privatelink.blob.core.windows.net -n l -v hub -e false -o none
az network private-endpoint dns-zone-group create -g one --endpoint-name pe -n default --zone-name blob --private-dns-zone privatelink.blob.core.windows.net -o none

same count "$(query "resources | where type =~ 'Microsoft.Network/virtualNetworks' | count" 'data[0].Count')" 2
same tags "$(query "resources | where tags.env == 'prod' | project name" 'data[0].name')" '"nsg"'
same join "$(query "resources | where name == 'hub' | join kind=leftouter (resourcecontainers | where type =~ 'microsoft.resources/subscriptions' | project sub = name, subscriptionId) on subscriptionId | project sub" 'data[0].sub')" '"Vauban"'
same expand "$(query "resources | where name == 'hub' | mv-expand s = properties.subnets | project tostring(s.name)" 'data[0].s_name')" '"default"'
query "resources | summarise count()" 2> refusal || true
grep -q InvalidQueryLanguage refusal

az group export -g one --include-parameter-default-value > one.json
az group export -g one --export-format bicep | grep -q "resource virtualNetworks_hub" || { echo "no Bicep"; exit 1; }
az group create -n two -l westeurope -o none
az deployment group create -g two -f one.json -p storageAccounts_sttemplates1_name=sttemplates2 vaults_kvtemplates1_name=kvtemplates2 -o none
az group export -g one --skip-all-params | sed 's/templates1/templatesN/g; s#resourceGroups/one/#resourceGroups/X/#g' > a
az group export -g two --skip-all-params | sed 's/templates[12]/templatesN/g; s#resourceGroups/two/#resourceGroups/X/#g' > b
diff a b
echo templated
