# The same by the management SDK, azure-mgmt-network.
import os
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.network import NetworkManagementClient

group = "net"
client = NetworkManagementClient(DefaultAzureCredential(), os.environ["AZURE_SUBSCRIPTION_ID"])


def refused(code, call):
    try:
        call()
    except HttpResponseError as e:
        assert e.error.code == code, (e.error.code, e.message)
        return
    raise AssertionError("no " + code)


v = client.virtual_networks.begin_create_or_update(group, "sdk", {
    "location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.50.0.0/16"]},
                                             "subnets": [{"name": "a", "properties": {"addressPrefix": "10.50.0.0/24"}}]}}).result()
assert v.subnets[0].address_prefix == "10.50.0.0/24", v
t = client.route_tables.begin_create_or_update(group, "sdk", {
    "location": "westeurope", "properties": {"routes": [{"name": "r", "properties": {"addressPrefix": "10.51.0.0/16", "nextHopType": "None"}}]}}).result()
assert t.routes[0].next_hop_type == "None", t
route = client.routes.begin_create_or_update(group, "sdk", "q", {"properties": {"addressPrefix": "10.52.0.0/16", "nextHopType": "VnetLocal"}}).result()
assert route.has_bgp_override is False, route
refused("RouteConflict", lambda: client.routes.begin_create_or_update(group, "sdk", "p", {"properties": {"addressPrefix": "10.52.0.0/16", "nextHopType": "None"}}).result())
subnet = client.subnets.begin_create_or_update(group, "sdk", "a", {"properties": {"addressPrefix": "10.50.0.0/24", "routeTable": {"id": t.id}}}).result()
assert subnet.route_table.id == t.id, subnet
refused("InUseRouteTableCannotBeDeleted", lambda: client.route_tables.begin_delete(group, "sdk").result())
w = client.virtual_networks.begin_create_or_update(group, "sdk2", {"location": "northeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.60.0.0/16"]}}}).result()
for near, far in ((v, w), (w, v)):
    peering = client.virtual_network_peerings.begin_create_or_update(group, near.name, "p", {
        "properties": {"remoteVirtualNetwork": {"id": far.id}, "allowVirtualNetworkAccess": True}}).result()
assert peering.peering_state == "Connected" and peering.peering_sync_level == "FullyInSync", peering
assert [p.name for p in client.virtual_network_peerings.list(group, "sdk")] == ["p"]
nat = client.nat_gateways.begin_create_or_update(group, "sdk", {"location": "westeurope", "sku": {"name": "Standard"}, "properties": {}}).result()
assert nat.idle_timeout_in_minutes == 4, nat
b = client.subnets.begin_create_or_update(group, "sdk", "b", {"properties": {"addressPrefix": "10.50.1.0/24", "privateLinkServiceNetworkPolicies": "Disabled"}}).result()
lb_id = v.id.replace("virtualNetworks/sdk", "loadBalancers/sdk")
frontend, pool = {"id": lb_id + "/frontendIPConfigurations/f"}, {"id": lb_id + "/backendAddressPools/p"}
lb = client.load_balancers.begin_create_or_update(group, "sdk", {
    "location": "westeurope", "sku": {"name": "Standard"}, "properties": {
        "frontendIPConfigurations": [{"name": "f", "properties": {"subnet": {"id": b.id}}}], "backendAddressPools": [{"name": "p"}],
        "loadBalancingRules": [{"name": "r", "properties": {"protocol": "Tcp", "frontendPort": 80, "backendPort": 8080,
                                                            "frontendIPConfiguration": frontend, "backendAddressPool": pool}}]}}).result()
assert lb.frontend_ip_configurations[0].load_balancing_rules[0].id == lb_id + "/loadBalancingRules/r", lb
members = client.load_balancer_backend_address_pools.begin_create_or_update(group, "sdk", "p", {"properties": {"loadBalancerBackendAddresses": [
    {"name": "a", "properties": {"virtualNetwork": {"id": v.id}, "ipAddress": "10.50.0.99"}}]}}).result()
assert members.load_balancer_backend_addresses[0].ip_address == "10.50.0.99", members
link = client.private_link_services.begin_create_or_update(group, "sdk", {"location": "westeurope", "properties": {
    "loadBalancerFrontendIpConfigurations": [frontend],
    "ipConfigurations": [{"name": "n", "properties": {"primary": True, "subnet": {"id": b.id}}}]}}).result()
assert link.alias.startswith("sdk."), link
endpoint = client.private_endpoints.begin_create_or_update(group, "sdk", {"location": "westeurope", "properties": {
    "subnet": {"id": b.id}, "manualPrivateLinkServiceConnections": [{"name": "c", "properties": {"privateLinkServiceId": link.alias}}]}}).result()
assert endpoint.manual_private_link_service_connections[0].private_link_service_connection_state.status == "Pending", endpoint
refused("InUseSubnetCannotBeDeleted", lambda: client.subnets.begin_delete(group, "sdk", "b").result())
assert client.service_tags.list("westeurope").change_number == "72"
assert {u.name.value for u in client.usages.list("westeurope")} >= {"VirtualNetworks", "RouteTables"}
usage = next(client.virtual_networks.list_usage(group, "sdk"))
assert usage.limit == 251 and usage.current_value == 0, usage
client.virtual_networks.begin_delete(group, "sdk2").result()
assert client.virtual_network_peerings.get(group, "sdk", "p").peering_state == "Disconnected"
print("drawn")
