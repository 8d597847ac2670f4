# What `az deployment` does at each scope, and commands of az that deploy templates of their own, by the unmodified
# client.
set -euo pipefail
export AZURE_CORE_NO_COLOR=1 AZURE_CORE_ONLY_SHOW_ERRORS=1
is() {
	local want=$1; shift
	local got; got=$(az "$@" -o tsv)
	[ "$got" = "$want" ] || { echo "az $*: $got, want $want" >&2; exit 1; }
}
no() {
	local code=$1; shift
	local said; if said=$(az "$@" -o none 2>&1); then echo "az $* succeeded, want $code" >&2; exit 1; fi
	case $said in *"$code"*) ;; *) echo "az $*: $said; want $code" >&2; exit 1;; esac
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

az group create -n deployed -l westeurope -o none
cat >"$work/group.json" <<'T'
{
  // az sends the file as it is: comments, trailing commas
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "subnets": {"type": "array"},
    "password": {"type": "secureString", "defaultValue": "hush"}, /* not shown */
  },
  "resources": [{
    "type": "Microsoft.Network/virtualNetworks", "apiVersion": "2023-05-01", "name": "[toLower(concat('VNET-', uniqueString('fu')))]",
    "location": "[resourceGroup().location]",
    "properties": {
      "addressSpace": {"addressPrefixes": ["10.4.0.0/16"]},
      "copy": [{"name": "subnets", "count": "[length(parameters('subnets'))]", "input": {
        "name": "[parameters('subnets')[copyIndex('subnets')]]", "properties": {"addressPrefix": "[cidrSubnet('10.4.0.0/16', 24, copyIndex('subnets'))]"}}}],
    },
  }],
  "outputs": {"second": {"type": "string", "value": "[reference('vnet-6rkxbspxjmsho').subnets[1].properties.addressPrefix]"}},
}
T
subnets='subnets=["one","two"]'
is Create deployment group what-if -g deployed -f "$work/group.json" -p "$subnets" --no-pretty-print --query 'changes[0].changeType'
is 10.4.1.0/24 deployment group create -g deployed -n first -f "$work/group.json" -p "$subnets" --query properties.outputs.second.value
is NoChange deployment group what-if -g deployed -f "$work/group.json" -p "$subnets" --no-pretty-print --query 'changes[0].changeType'
is 2 deployment operation group list -g deployed -n first --query 'length(@)'
no DeploymentCannotBeCancelled deployment group cancel -g deployed -n first
is Succeeded network lb create -g deployed -n lb --sku Standard --query loadBalancer.provisioningState
cat >"$work/sub.json" <<'T'
{"$schema": "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#", "contentVersion": "1.0.0.0",
 "resources": [{"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2021-04-01", "name": "made", "location": "[deployment().location]"}]}
T
is Succeeded deployment sub create -l westeurope -n sub -f "$work/sub.json" --query properties.provisioningState
is made group show -n made --query name
echo deployed
