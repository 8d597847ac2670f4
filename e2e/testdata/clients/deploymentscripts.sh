# Deployment scripts by az: one that signs in, makes a resource and gives outputs back; one that fails; one in a subnet
# whose security group lets nothing out.
set -eu
is() { # COMMAND's answer is $1
	want=$1
	shift
	got=$("$@" -o tsv)
	[ "$got" = "$want" ] || {
		echo "$*: '$got', not '$want'" >&2
		exit 1
	}
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
az group create -n scripts -l westeurope -o none
az identity create -g scripts -n runner -o none
identity=$(az identity show -g scripts -n runner --query id -o tsv)
az role assignment create --assignee-object-id "$(az identity show -g scripts -n runner --query principalId -o tsv)" --assignee-principal-type ServicePrincipal \
	--role Contributor --scope "$(az group show -n scripts --query id -o tsv)" -o none
template() { # NAME IDENTITY PROPERTIES
	cat >"$dir/$1.json" <<END
{"\$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
 "resources": [{"type": "Microsoft.Resources/deploymentScripts", "apiVersion": "2023-08-01", "name": "$1", "location": "westeurope", "kind": "AzureCLI", $2
  "properties": {"azCliVersion": "2.60.0", "retentionInterval": "PT1H", $3}}],
 "outputs": {"made": {"type": "string", "value": "[reference('$1').outputs.made]"}}}
END
}
template signs-in '"identity": {"type": "UserAssigned", "userAssignedIdentities": {"'"$identity"'": {}}},' \
	'"arguments": "\"a b\" c", "environmentVariables": [{"name": "TOKEN", "secureValue": "not to be shown"}], "scriptContent": "set -e\necho \"$1|$2|${#TOKEN}\"\naz network vnet create -g scripts -n byscript --address-prefixes 10.9.0.0/16 -o none\necho \"{\\\"made\\\": \\\"$(az network vnet list -g scripts --query [0].name -o tsv)\\\"}\" > $AZ_SCRIPTS_OUTPUT_PATH"'
is byscript az deployment group create -g scripts -n signs-in -f "$dir/signs-in.json" --query properties.outputs.made.value
az deployment-scripts show-log -g scripts --name signs-in --query 'value[0].log' -o tsv | grep -qF 'a b|c|15'
if az deployment-scripts show -g scripts --name signs-in | grep -q 'not to be shown'; then
	echo 'a secure value is shown' >&2
	exit 1
fi
template fails '' '"scriptContent": "echo no such thing >&2; exit 3"'
az deployment group create -g scripts -n fails -f "$dir/fails.json" -o none 2>"$dir/err" && exit 1
grep -q DeploymentScriptError "$dir/err" && grep -q 'no such thing' "$dir/err"
is Failed az deployment-scripts show -g scripts --name fails --query provisioningState

az network nsg create -g scripts -n closed -o none
az network nsg rule create -g scripts --nsg-name closed -n out --direction Outbound --access Deny --priority 100 --protocol '*' --destination-address-prefixes Storage --destination-port-ranges '*' -o none
az network vnet create -g scripts -n hub --address-prefixes 10.0.0.0/16 -o none
az network vnet subnet create -g scripts --vnet-name hub -n scripts --address-prefixes 10.0.1.0/24 --network-security-group closed --delegations Microsoft.ContainerInstance/containerGroups -o none
subnet=$(az network vnet subnet show -g scripts --vnet-name hub -n scripts --query id -o tsv)
az storage account create -g scripts -n deployscriptsacct -o none
template inside '' '"containerSettings": {"subnetIds": [{"id": "'"$subnet"'"}]}, "scriptContent": "python3 - <<E\nimport socket\ntry:\n  socket.create_connection((\"deployscriptsacct.blob.core.windows.net\", 443), 3)\n  print(\"open\")\nexcept OSError:\n  print(\"closed\")\nE\necho \"{\\\"made\\\": \\\"$(hostname -I 2>/dev/null || true)inside\\\"}\" > $AZ_SCRIPTS_OUTPUT_PATH"'
az deployment group create -g scripts -n inside -f "$dir/inside.json" -o none
is closed az deployment-scripts show-log -g scripts --name inside --query 'value[0].log'
az deployment-scripts delete -g scripts --name inside -y
az group delete -n scripts -y
echo scripted
