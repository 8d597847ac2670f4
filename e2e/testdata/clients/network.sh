# What `az network` draws, by the unmodified client. is WANT COMMAND…: az's answer is WANT; no CODE COMMAND…: az
# refuses with Azure's CODE.
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
	case $said in *"($code)"*) ;; *) echo "az $*: $said; want $code" >&2; exit 1;; esac
}
do_() { az "$@" -o none; }

do_ group create -n net -l westeurope
do_ configure --defaults group=net

# virtual networks and subnets
is 10.0.0.0/16 network vnet create -n hub --address-prefixes 10.0.0.0/16 --subnet-name a --subnet-prefixes 10.0.0.0/24 --query 'newVNet.addressSpace.addressPrefixes[0]'
is northeurope network vnet create -n spoke -l northeurope --address-prefixes 10.1.0.0/16 --subnet-name a --subnet-prefixes 10.1.0.0/24 --query newVNet.location
do_ network vnet update -n hub --address-prefixes 10.0.0.0/16 10.2.0.0/16
no NetcfgSubnetRangeOutsideVnet network vnet subnet create --vnet-name hub -n x --address-prefixes 10.3.0.0/24
is 10.0.0.4 network vnet subnet list-available-ips --vnet-name hub -n a --query '[0]'
is true network vnet check-ip-address -n hub --ip-address 10.0.0.4 --query available
is Microsoft.ContainerInstance/containerGroups network vnet subnet create --vnet-name hub -n aci --address-prefixes 10.2.0.0/24 --delegations Microsoft.ContainerInstance/containerGroups --query 'delegations[0].serviceName'
is acceptable network vnet subnet list-available-delegations -l westeurope --query "[?serviceName=='Microsoft.Network/dnsResolvers'] | [0] && 'acceptable'"
is northeurope network vnet subnet update --vnet-name hub -n a --service-endpoints Microsoft.Storage --query 'serviceEndpoints[0].locations[1]'

# route tables
do_ network route-table create -n rt --disable-bgp-route-propagation true
is VirtualAppliance network route-table route create --route-table-name rt -n out --address-prefix 0.0.0.0/0 --next-hop-type VirtualAppliance --next-hop-ip-address 10.0.0.4 --query nextHopType
is Internet network route-table route create --route-table-name rt -n azure --address-prefix AzureResourceManager --next-hop-type Internet --query nextHopType
no MissingNextHopIpAddress network route-table route create --route-table-name rt -n bad --address-prefix 10.9.0.0/16 --next-hop-type VirtualAppliance
no RouteConflict network route-table route create --route-table-name rt -n bad --address-prefix 0.0.0.0/0 --next-hop-type None
is net network vnet subnet update --vnet-name hub -n a --route-table rt --query routeTable.resourceGroup
no InUseRouteTableCannotBeDeleted network route-table delete -n rt
is 2 network route-table route list --route-table-name rt --query 'length(@)'

# public addresses, their prefixes, a NAT gateway
is 31 network public-ip prefix create -n pre --length 31 --query prefixLength
is shop.westeurope.cloudapp.azure.com network public-ip create -n pip --sku Standard --dns-name shop --query publicIp.dnsSettings.fqdn
no DnsRecordInUse network public-ip create -n pip2 --sku Standard --dns-name shop
do_ network public-ip create -n ofpre --sku Standard --public-ip-prefix pre
no InUsePublicIpPrefixCannotBeDeleted network public-ip prefix delete -n pre
is 10 network nat gateway create -n nat --public-ip-addresses pip --idle-timeout 10 --query idleTimeoutInMinutes
do_ network vnet subnet create --vnet-name hub -n out --address-prefixes 10.0.1.0/24 --nat-gateway nat
no CannotDeleteNatGatewayAssociatedToSubnet network nat gateway delete -n nat

# peerings, across regions
spoke=$(az network vnet show -n spoke --query id -o tsv) hub=$(az network vnet show -n hub --query id -o tsv)
is Initiated network vnet peering create --vnet-name hub -n out --remote-vnet "$spoke" --allow-vnet-access --query peeringState
is Connected network vnet peering create --vnet-name spoke -n back --remote-vnet "$hub" --allow-vnet-access --allow-forwarded-traffic --query peeringState
is FullyInSync network vnet peering show --vnet-name hub -n out --query peeringSyncLevel
do_ network vnet update -n spoke --address-prefixes 10.1.0.0/16 10.4.0.0/16
is LocalNotInSync network vnet peering show --vnet-name hub -n out --query peeringSyncLevel
is FullyInSync network vnet peering sync --vnet-name hub -n out --query peeringSyncLevel
no RemoteVnetHasNoGateways network vnet peering update --vnet-name spoke -n back --set useRemoteGateways=true
no VnetAddressSpacesOverlap network vnet update -n hub --address-prefixes 10.0.0.0/16 10.2.0.0/16 10.4.0.0/24
do_ network vnet peering delete --vnet-name spoke -n back
is Disconnected network vnet peering show --vnet-name hub -n out --query peeringState

# security groups
do_ network nsg create -n nsg
do_ network asg create -n web
is Esp network nsg rule create --nsg-name nsg -n esp --priority 100 --protocol Esp --query protocol
is 2 network nsg rule create --nsg-name nsg -n many --priority 110 --source-address-prefixes 10.0.0.0/8 192.168.0.0/16 --destination-port-ranges 80 443-445 --query 'length(destinationPortRanges)'
is 1 network nsg rule create --nsg-name nsg -n group --priority 120 --destination-asgs web --destination-port-ranges 443 --query 'length(destinationApplicationSecurityGroups)'
no SecurityRuleConflict network nsg rule create --nsg-name nsg -n again --priority 120
no SecurityRuleInvalidAddressPrefix network nsg rule create --nsg-name nsg -n tag --priority 130 --source-address-prefixes Storage.Mars
no InUseApplicationSecurityGroupCannotBeDeleted network asg delete -n web
is 6 network nsg show -n nsg --query 'length(defaultSecurityRules)'

# load balancers (az draws a new one by a template), private link services and endpoints
do_ network vnet subnet create --vnet-name hub -n front --address-prefixes 10.0.2.0/24 --private-link-service-network-policies Disabled
net=$(az group show -n net --query id -o tsv)/providers/Microsoft.Network
do_ rest --method put --url "$net/loadBalancers/lb?api-version=2024-05-01" --body '{"location":"westeurope","sku":{"name":"Standard"},"properties":{"frontendIPConfigurations":[{"name":"f","properties":{"subnet":{"id":"'"$net"'/virtualNetworks/hub/subnets/front"}}}]}}'
do_ network lb wait -n lb --created
is 10.0.2.9 network lb frontend-ip create --lb-name lb -n g --vnet-name hub --subnet front --private-ip-address 10.0.2.9 --query privateIPAddress
is 10.0.2.77 network lb address-pool create --lb-name lb -n p --vnet hub --backend-addresses '[{name:x,ip-address:10.0.2.77}]' --query 'loadBalancerBackendAddresses[0].ipAddress'
is 10.0.2.78 network lb address-pool address add --lb-name lb --pool-name p -n y --ip-address 10.0.2.78 --vnet hub --query 'loadBalancerBackendAddresses[1].ipAddress'
is 1 network lb probe create --lb-name lb -n h --protocol Tcp --port 80 --query probeThreshold
is Tcp network lb rule create --lb-name lb -n r --protocol Tcp --frontend-ip f --frontend-port 80 --backend-port 80 --backend-pool-name p --probe h --query protocol
is SourceIP network lb rule update --lb-name lb -n r --load-distribution SourceIP --query loadDistribution
no RulesUseSameBackendPortProtocolAndPool network lb rule create --lb-name lb -n s --protocol Tcp --frontend-ip g --frontend-port 80 --backend-port 80 --backend-pool-name p
is 2222 network lb inbound-nat-rule create --lb-name lb -n ssh --protocol Tcp --frontend-ip g --frontend-port 2222 --backend-port 22 --query frontendPort
do_ network nic create -n machine --vnet-name hub --subnet front
do_ network lb address-pool create --lb-name lb -n q
do_ network nic ip-config address-pool add --nic-name machine --ip-config-name ipconfig1 --lb-name lb --address-pool q
is machine network lb list-nic --name lb --query '[0].name'
is true network private-link-service create -n pls --vnet-name hub --subnet front --lb-name lb --lb-frontend-ip-configs f -l westeurope --enable-proxy-protocol true --query enableProxyProtocol
is Approved network private-endpoint create -n pe --vnet-name hub --subnet front --private-connection-resource-id "$net/privateLinkServices/pls" --connection-name c --query 'privateLinkServiceConnections[0].privateLinkServiceConnectionState.status'
connection=$(az network private-endpoint-connection list --id "$net/privateLinkServices/pls" --query '[0].name' -o tsv)
is Rejected network private-link-service connection update --service-name pls -n "$connection" --connection-status Rejected --query privateLinkServiceConnectionState.status
is Rejected network private-endpoint show -n pe --query 'privateLinkServiceConnections[0].privateLinkServiceConnectionState.status'
no PrivateLinkServiceWithPrivateEndpointConnectionsCannotBeDeleted network private-link-service delete -n pls
do_ network private-endpoint delete -n pe

# service endpoint policies, lists, usages
do_ network service-endpoint policy create -n sep
is Microsoft.Storage network service-endpoint policy-definition create --policy-name sep -n d --service Microsoft.Storage --service-resources "$(az group show -n net --query id -o tsv)" --query service
is Microsoft.Storage network service-endpoint list -l westeurope --query "[?name=='Microsoft.Storage'] | [0].name"
is 72 network list-service-tags -l westeurope --query changeNumber
is 2 network list-usages -l westeurope --query "[?name.value=='PublicIPAddresses'] | [0].currentValue"
is 1 network list-usages -l northeurope --query "[?name.value=='VirtualNetworks'] | [0].currentValue"
echo drawn
