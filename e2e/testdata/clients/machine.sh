# The life of a virtual machine by az: one made by its REST call, one by az vm create with all that it makes itself.
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
az group create -n machines -l westeurope -o none
az network vnet create -g machines -n hub --address-prefixes 10.0.0.0/16 --subnet-name jump --subnet-prefixes 10.0.1.0/24 -o none
az network nic create -g machines -n nic --vnet-name hub --subnet jump -o none
group=$(az group show -n machines --query id -o tsv)
az rest --method put --url "https://management.azure.com$group/providers/Microsoft.Compute/virtualMachines/jump?api-version=2024-11-01" -o none --body '{
	"location": "westeurope", "properties": {"hardwareProfile": {"vmSize": "Standard_DS2_v2"}, "storageProfile": {"osDisk": {"createOption": "FromImage"}},
	"osProfile": {"adminUsername": "azureuser", "adminPassword": "Correct-Horse-7"},
	"networkProfile": {"networkInterfaces": [{"id": "'"$group"'/providers/Microsoft.Network/networkInterfaces/nic"}]}}}'
is Succeeded az vm show -g machines -n jump --query provisioningState
is jump az vm list -g machines --query '[].name'
is PowerState/running az vm get-instance-view -g machines -n jump --query 'instanceView.statuses[1].code'
az vm stop -g machines -n jump --only-show-errors
is 'VM stopped' az vm show -d -g machines -n jump --query powerState
az vm deallocate -g machines -n jump
is 'VM deallocated' az vm show -d -g machines -n jump --query powerState
az vm start -g machines -n jump -o none
az vm restart -g machines -n jump -o none
is 'VM running' az vm show -d -g machines -n jump --query powerState
is Allow az network watcher test-ip-flow -g machines --vm jump --direction Outbound --protocol TCP --local 10.0.1.4:50000 --remote 10.0.1.9:443 --query access
is VnetLocal az network watcher show-next-hop -g machines --vm jump --source-ip 10.0.1.4 --dest-ip 10.0.1.9 --query nextHopType
is "$group/providers/Microsoft.Network/networkInterfaces/nic" az network watcher show-security-group-view -g machines --vm jump --query 'networkInterfaces[0].id'
if refusal=$(az network nic delete -g machines -n nic 2>&1); then
	echo "the interface of a machine was deleted" >&2
	exit 1
fi
case $refusal in *NicInUse*) ;; *)
	echo "$refusal" >&2
	exit 1
	;;
esac
az vm delete -g machines -n jump --yes
is '' az vm list -g machines --query '[].name'
az network nic delete -g machines -n nic
tmp=$(mktemp -d)
ssh-keygen -q -t ed25519 -N '' -f "$tmp/key"
az vm create -g machines -n box --image Ubuntu2204 --size Standard_D2s_v3 --admin-username azureuser --ssh-key-values "$tmp/key.pub" --only-show-errors -o none
is 'VM running' az vm show -d -g machines -n box --query powerState
is Linux az vm show -g machines -n box --query storageProfile.osDisk.osType
is 'azureuser' ssh -q -i "$tmp/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "azureuser@$(az vm show -d -g machines -n box --query publicIps -o tsv)" 'echo $USER #'
is Linux az vm image show --urn Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest -l westeurope --query osDiskImage.operatingSystem --only-show-errors
is Standard_A2 az vm list-sizes -l westeurope --query "[?name=='Standard_A2'].name" --only-show-errors
is Standard_D2s_v3 az vm list-skus -l westeurope --size Standard_D2s_v3 --query '[0].name'
is 2 az vm list-usage -l westeurope --query "[?localName=='Total Regional vCPUs'].currentValue"
is CustomScript az vm extension image list -l westeurope -p Microsoft.Azure.Extensions -n CustomScript --query '[0].name'
az vm resize -g machines -n box --size Standard_B2s -o none 2>/dev/null && exit 1 || true # not while it runs
az vm deallocate -g machines -n box
az vm resize -g machines -n box --size Standard_A2 -o none
az vm generalize -g machines -n box
az vm delete -g machines -n box --yes
echo lived
