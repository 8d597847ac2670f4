"""From the internet: makes the scenario's resources with Azure's management SDKs, unmodified."""

import uuid

from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.privatedns import PrivateDnsManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

from common import (CONFIG, GROUP, GROUP_ID, LOCATION, PARTNER_SUB, SECURED, STORAGE, STORAGE_ID, SUB, VAULT, VAULT_ID,
                    WORKSPACE, WORKSPACE_ID, Step, credential, ml_client, result)

cred = credential()
resources = ResourceManagementClient(cred, SUB)
network = NetworkManagementClient(cred, SUB)
dns = PrivateDnsManagementClient(cred, SUB)
storage = StorageManagementClient(cred, SUB)
vaults = KeyVaultManagementClient(cred, SUB)
roles = AuthorizationManagementClient(cred, SUB)

ROLES = {
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Key Vault Secrets Officer": "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
}
VNET = "demo-vnet"
ADDRESSES = {"endpoints": "10.20.0.0/24", "training": "10.20.1.0/24", "jumpbox": "10.20.2.0/24"}
public_access = "Disabled" if SECURED else "Enabled"
default_action = "Deny" if SECURED else "Allow"


def rule(name, priority, direction, access, protocol, source, destination, ports):
    return {"name": name, "properties": {
        "priority": priority, "direction": direction, "access": access, "protocol": protocol, "sourceAddressPrefix": source,
        "sourcePortRange": "*", "destinationAddressPrefix": destination, "destinationPortRanges": ports}}


# Nobody in the virtual network reaches the internet: DenyInternet stands before Azure's
# AllowInternetOutBound. The jump box and the training nodes reach what their work needs (the
# specification's table for a cluster without public IP), and the endpoints inside the network.
SIGN_IN = [
    rule("AllowEntra", 120, "Outbound", "Allow", "Tcp", "VirtualNetwork", "AzureActiveDirectory", ["80", "443"]),
    rule("AllowManagement", 130, "Outbound", "Allow", "Tcp", "VirtualNetwork", "AzureResourceManager", ["443"]),
    rule("DenyInternet", 4000, "Outbound", "Deny", "*", "*", "Internet", ["0-65535"]),
]
NSGS = {
    "endpoints": [],
    "training": [
        rule("AllowBatch", 100, "Outbound", "Allow", "*", "VirtualNetwork", f"BatchNodeManagement.{LOCATION}", ["443"]),
        rule("AllowAzureML", 110, "Outbound", "Allow", "Tcp", "VirtualNetwork", "AzureMachineLearning", ["443", "8787", "18881"]),
        *SIGN_IN,
        rule("AllowSshFromJumpbox", 200, "Inbound", "Allow", "Tcp", ADDRESSES["jumpbox"], "*", ["22"]),
        rule("DenySsh", 300, "Inbound", "Deny", "Tcp", "*", "*", ["22"]),
    ],
    "jumpbox": SIGN_IN,
}


def grant(principal, role, scope):
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{principal} {role} {scope}"))
    roles.role_assignments.create(scope, name, {
        "role_definition_id": f"/subscriptions/{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role]}",
        "principal_id": principal, "principal_type": "ServicePrincipal"})


def virtual_network(name, space, subnets):
    return network.virtual_networks.begin_create_or_update(GROUP, name, {
        "location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": [space]}, "subnets": subnets}}).result()


def private_endpoint(name, target, group_id, zones):
    endpoint = network.private_endpoints.begin_create_or_update(GROUP, name, {"location": LOCATION, "properties": {
        "subnet": {"id": f"{GROUP_ID}/providers/Microsoft.Network/virtualNetworks/{VNET}/subnets/endpoints"},
        "privateLinkServiceConnections": [
            {"name": name, "properties": {"privateLinkServiceId": target, "groupIds": [group_id]}}]}}).result()
    network.private_dns_zone_groups.begin_create_or_update(GROUP, name, "default", {"properties": {
        "privateDnsZoneConfigs": [
            {"name": zone.replace(".", "-"),
             "properties": {"privateDnsZoneId": f"{GROUP_ID}/providers/Microsoft.Network/privateDnsZones/{zone}"}}
            for zone in zones]}}).result()
    return endpoint


with Step("resource group"):
    resources.resource_groups.create_or_update(GROUP, {"location": LOCATION})

if SECURED:
    with Step("network security groups"):
        pollers = [network.network_security_groups.begin_create_or_update(
            GROUP, f"nsg-{name}", {"location": LOCATION, "properties": {"securityRules": rules}}) for name, rules in NSGS.items()]
        groups = dict(zip(NSGS, (p.result() for p in pollers)))
    with Step("virtual network 10.20.0.0/16 with endpoints, training, jumpbox"):
        # They leave by Azure's default outbound access: what stops them is the rules.
        virtual_network(VNET, "10.20.0.0/16", [
            {"name": n, "properties": {"addressPrefix": p, "networkSecurityGroup": {"id": groups[n].id},
                                       "defaultOutboundAccess": n != "endpoints"}} for n, p in ADDRESSES.items()])
    with Step("second virtual network, not peered"):
        virtual_network("other-vnet", "10.30.0.0/16", [
            {"name": "default", "properties": {"addressPrefix": "10.30.0.0/24", "defaultOutboundAccess": True}}])

with Step("storage account"):
    storage.storage_accounts.begin_create(GROUP, STORAGE, {
        "location": LOCATION, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {
            "publicNetworkAccess": public_access, "allowBlobPublicAccess": False,
            "networkAcls": {"defaultAction": default_action, "bypass": "AzureServices"}}}).result()
    storage.blob_containers.create(GROUP, STORAGE, "data", {})
with Step("key vault"):
    vaults.vaults.begin_create_or_update(GROUP, VAULT, {
        "location": LOCATION, "properties": {
            "tenantId": CONFIG["tenant"], "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True,
            "publicNetworkAccess": public_access, "accessPolicies": [],
            "networkAcls": {"defaultAction": default_action, "bypass": "AzureServices"}}}).result()
with Step("workspace with a system-assigned identity"):
    workspace = resources.resources.begin_create_or_update_by_id(WORKSPACE_ID, api_version="2024-10-01", parameters={
        "location": LOCATION, "identity": {"type": "SystemAssigned"}, "sku": {"name": "Basic", "tier": "Basic"},
        "properties": {"friendlyName": WORKSPACE, "storageAccount": STORAGE_ID, "keyVault": VAULT_ID,
                       "publicNetworkAccess": public_access}}).result()
with Step("roles of the data scientist"):  # the workspace's identity has got its own
    for role, scope in (("Storage Blob Data Contributor", STORAGE_ID), ("Key Vault Secrets Officer", VAULT_ID)):
        grant(CONFIG["objectId"], role, scope)

if SECURED:
    zones = {
        "blob": ["privatelink.blob.core.windows.net"],
        "vault": ["privatelink.vaultcore.azure.net"],
        "amlworkspace": ["privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"],
    }
    with Step("private DNS zones, linked to the virtual network"):
        vnet_id = f"{GROUP_ID}/providers/Microsoft.Network/virtualNetworks/{VNET}"
        names = [zone for group in zones.values() for zone in group]
        for poller in [dns.private_zones.begin_create_or_update(GROUP, zone, {"location": "global"}) for zone in names]:
            poller.result()
        for poller in [dns.virtual_network_links.begin_create_or_update(GROUP, zone, "demo", {
                "location": "global", "properties": {"virtualNetwork": {"id": vnet_id}, "registrationEnabled": False}}) for zone in names]:
            poller.result()
    with Step("private endpoints for blob, key vault and workspace"):
        for name, target, group_id in (("pe-blob", STORAGE_ID, "blob"), ("pe-vault", VAULT_ID, "vault"),
                                       ("pe-workspace", WORKSPACE_ID, "amlworkspace")):
            private_endpoint(name, target, group_id, zones[group_id])

with Step("compute cluster" + (" without public IP in the training subnet" if SECURED else "") + ", 0 to 2 nodes"):
    from azure.ai.ml.entities import AmlCompute, AmlComputeSshSettings, NetworkSettings

    cluster = AmlCompute(
        name="cpu-cluster", size="STANDARD_DS3_V2", min_instances=0, max_instances=2, idle_time_before_scale_down=CONFIG.get("idleSeconds", 120),
        ssh_public_access_enabled=True,
        ssh_settings=AmlComputeSshSettings(admin_username="azureuser", ssh_key_value=CONFIG["sshPublicKey"]))
    if SECURED:
        cluster.network_settings = NetworkSettings(vnet_name=VNET, subnet=f"{GROUP_ID}/providers/Microsoft.Network/virtualNetworks/{VNET}/subnets/training")
        cluster.enable_node_public_ip = False
    ml_client().compute.begin_create_or_update(cluster).result()

with Step("a storage account of another subscription, open to all"):
    partner_resources = ResourceManagementClient(cred, PARTNER_SUB)
    partner = StorageManagementClient(cred, PARTNER_SUB)
    partner_resources.resource_groups.create_or_update("partner", {"location": LOCATION})
    account = CONFIG["partnerStorage"]
    try:
        partner.storage_accounts.get_properties("partner", account)
    except ResourceNotFoundError:
        partner.storage_accounts.begin_create("partner", account, {
            "location": LOCATION, "kind": "StorageV2", "sku": {"name": "Standard_LRS"},
            "properties": {"allowBlobPublicAccess": True}}).result()
    partner.blob_containers.create("partner", account, "public", {"properties": {"publicAccess": "Blob"}})
    key = partner.storage_accounts.list_keys("partner", account)["keys"][0]["value"]
    from azure.storage.blob import BlobServiceClient

    BlobServiceClient(f"https://{account}.blob.core.windows.net", credential=key).get_blob_client(
        "public", "hello.txt").upload_blob(b"open to all\n", overwrite=True)

result(workspaceId=WORKSPACE_ID, discoveryUrl=resources.resources.get_by_id(WORKSPACE_ID, api_version="2024-10-01").properties["discoveryUrl"])
