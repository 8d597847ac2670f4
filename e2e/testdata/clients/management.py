# Resource groups, storage, vaults, roles, policies, locks, identities and machine learning by the management SDKs, unmodified: create,
# list by pages, update, wait for pollers, delete, and typed errors for wrong input. It ends with "managed".
import os
import sys
import traceback
import uuid

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.deployments import DeploymentsMgmtClient
from azure.mgmt.resource.locks import ManagementLockClient
from azure.mgmt.resource.policy import PolicyClient
from azure.mgmt.storage import StorageManagementClient

cred = DefaultAzureCredential()
sub = os.environ["AZURE_SUBSCRIPTION_ID"]
tenant = os.environ["AZURE_TENANT_ID"]
group, location = "py-sdk", "westeurope"
scope = f"/subscriptions/{sub}/resourceGroups/{group}"

resources = ResourceManagementClient(cred, sub)
network = NetworkManagementClient(cred, sub)
storage = StorageManagementClient(cred, sub)
vaults = KeyVaultManagementClient(cred, sub)
roles = AuthorizationManagementClient(cred, sub)
ml = MachineLearningServicesMgmtClient(cred, sub)
identities = ManagedServiceIdentityClient(cred, sub)
deployments = DeploymentsMgmtClient(cred, sub)
locks = ManagementLockClient(cred, sub)
policies = PolicyClient(cred, sub)

parts = []


def part(f):
    parts.append(f)
    return f


def same(got, want, what=""):
    assert got == want, f"{what}: {got!r}, want {want!r}"


def refused(code, call, kind=HttpResponseError, status=None):
    try:
        call()
    except HttpResponseError as e:
        assert isinstance(e, kind), (type(e), str(e))
        assert e.error is not None and e.error.code == code, (e.status_code, str(e))
        assert status in (None, e.status_code), (e.status_code, status)
        return
    raise AssertionError(f"no {code}")


@part
def groups():
    g = resources.resource_groups.create_or_update(group, {"location": location, "tags": {"by": "python"}})
    same(g.properties.provisioning_state, "Succeeded")
    same(resources.resource_groups.update(group, {"tags": {"by": "python", "n": "2"}}).tags, {"by": "python", "n": "2"})
    same(resources.resource_groups.check_existence(group), True)
    same(resources.resource_groups.check_existence("py-none"), False)
    refused("ResourceGroupNotFound", lambda: resources.resource_groups.get("py-none"), ResourceNotFoundError, 404)
    refused("InvalidResourceGroupLocation", lambda: resources.resource_groups.create_or_update(group, {"location": "northeurope"}), ResourceExistsError, 409)
    same([x.name for x in resources.resource_groups.list(filter="tagName eq 'by' and tagValue eq 'python'")], [group])
    assert "Microsoft.Network" in {p.namespace for p in resources.providers.list()}
    same(resources.providers.register("Microsoft.KeyVault").registration_state, "Registered")
    nsg = f"{scope}/providers/Microsoft.Network/networkSecurityGroups/generic"
    made = resources.resources.begin_create_or_update_by_id(nsg, {"location": location, "tags": {"a": "b"}}, api_version="2023-09-01").result()
    same(made.properties["provisioningState"], "Succeeded")
    same(resources.resources.check_existence_by_id(nsg, api_version="2023-09-01"), True)
    same(resources.tags.begin_create_or_update_at_scope(nsg, {"properties": {"tags": {"x": "y"}}}).result().properties.tags, {"x": "y"})
    resources.resources.begin_delete_by_id(nsg, api_version="2023-09-01").result()
    refused("ResourceNotFound", lambda: resources.resources.get_by_id(nsg, api_version="2023-09-01"), ResourceNotFoundError, 404)
    refused("NoRegisteredProviderFound", lambda: resources.resources.get_by_id(nsg, api_version="1999-01-01"), HttpResponseError, 400)


@part
def networks():
    for i in range(30):
        poller = network.public_ip_addresses.begin_create_or_update(group, f"ip{i:02}", {
            "location": location, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}})
    same(poller.result().provisioning_state, "Succeeded")
    same(len(list(network.public_ip_addresses.list(group))), 30)
    pages = list(resources.resources.list_by_resource_group(group, top=7).by_page())
    same(sum(len(list(p)) for p in pages), 30, "resources by pages")
    v = network.virtual_networks.begin_create_or_update(group, "v", {"location": location, "properties": {
        "addressSpace": {"addressPrefixes": ["10.70.0.0/16"]}, "subnets": [{"name": "pe", "properties": {"addressPrefix": "10.70.1.0/24"}}]}}).result()
    same(v.subnets[0].provisioning_state, "Succeeded")
    refused("NetcfgSubnetRangesOverlap", lambda: network.subnets.begin_create_or_update(group, "v", "x", {"properties": {"addressPrefix": "10.70.1.0/25"}}).result())
    for i in range(30):
        network.public_ip_addresses.begin_delete(group, f"ip{i:02}").wait()
    same(list(network.public_ip_addresses.list(group)), [])


@part
def accounts():
    name = "pysdkaccount"
    same(storage.storage_accounts.check_name_availability({"name": name, "type": "Microsoft.Storage/storageAccounts"}).name_available, True)
    a = storage.storage_accounts.begin_create(group, name, {"location": location, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {
        "minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": False}}).result()
    same((a.provisioning_state, a.primary_endpoints.blob), ("Succeeded", f"https://{name}.blob.core.windows.net/"))
    same(storage.storage_accounts.check_name_availability({"name": name, "type": "Microsoft.Storage/storageAccounts"}).reason, "AlreadyExists")
    same(storage.storage_accounts.update(group, name, {"properties": {"networkAcls": {"defaultAction": "Deny"}}}).network_rule_set.default_action, "Deny")
    same([k.key_name for k in storage.storage_accounts.list_keys(group, name).keys_property], ["key1", "key2"])
    for c in "one", "two", "three":
        storage.blob_containers.create(group, name, c, {})
    same([c.name for c in storage.blob_containers.list(group, name, maxpagesize="2")], ["one", "three", "two"])
    storage.blob_containers.delete(group, name, "two")
    refused("ContainerNotFound", lambda: storage.blob_containers.get(group, name, "two"), ResourceNotFoundError, 404)
    refused("AccountNameInvalid", lambda: storage.storage_accounts.begin_create(group, "Bad_Name", {"location": location, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}), HttpResponseError, 400)
    refused("ResourceNotFound", lambda: storage.storage_accounts.get_properties(group, "pysdknone"), ResourceNotFoundError, 404)
    same(storage.blob_services.set_service_properties(group, name, {"properties": {"isVersioningEnabled": True}}).is_versioning_enabled, True)
    e = network.private_endpoints.begin_create_or_update(group, "pe", {"location": location, "properties": {
        "subnet": {"id": f"{scope}/providers/Microsoft.Network/virtualNetworks/v/subnets/pe"},
        "privateLinkServiceConnections": [{"name": "c", "properties": {"privateLinkServiceId": a.id, "groupIds": ["blob"]}}]}}).result()
    same(e.private_link_service_connections[0].private_link_service_connection_state.status, "Approved")
    same(len(list(storage.private_endpoint_connections.list(group, name))), 1)
    refused("InUseSubnetCannotBeDeleted", lambda: network.subnets.begin_delete(group, "v", "pe").result())


@part
def key_vaults():
    name = "pysdkvault"
    props = {"location": location, "properties": {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True, "softDeleteRetentionInDays": 7}}
    v = vaults.vaults.begin_create_or_update(group, name, props).result()
    same(v.properties.vault_uri, f"https://{name}.vault.azure.net/")
    same(vaults.vaults.update(group, name, {"tags": {"a": "b"}}).tags, {"a": "b"})
    same(vaults.secrets.create_or_update(group, name, "s", {"properties": {"value": "v"}}).name, "s")
    same([s.name for s in vaults.secrets.list(group, name)], ["s"])
    refused("VaultNameNotValid", lambda: vaults.vaults.begin_create_or_update(group, "1x", props).result(), HttpResponseError, 400)
    vaults.vaults.delete(group, name)
    same(vaults.vaults.get_deleted(name, location).properties.vault_id, v.id)
    refused("ConflictError", lambda: vaults.vaults.begin_create_or_update("py-sdk", name, props).result(), ResourceExistsError, 409)
    vaults.vaults.begin_purge_deleted(name, location).result()
    same([d.name for d in vaults.vaults.list_deleted() if d.name == name], [])
    vaults.vaults.begin_create_or_update(group, name, props).result()


@part
def authorization():
    i = identities.user_assigned_identities.create_or_update(group, "identity", {"location": location})
    reader = list(roles.role_definitions.list(scope, filter="roleName eq 'Reader'"))
    same(len(reader), 1)
    name = str(uuid.uuid4())
    body = {"role_definition_id": reader[0].id, "principal_id": i.principal_id, "principal_type": "ServicePrincipal"}
    r = roles.role_assignments.create(scope, name, body)
    same(r.scope, scope)
    refused("RoleAssignmentExists", lambda: roles.role_assignments.create(scope, str(uuid.uuid4()), body), ResourceExistsError, 409)
    same([x.name for x in roles.role_assignments.list_for_scope(scope, filter=f"principalId eq '{i.principal_id}'")], [name])
    roles.role_assignments.delete(scope, name)
    refused("RoleAssignmentNotFound", lambda: roles.role_assignments.get(scope, name), ResourceNotFoundError, 404)
    d = roles.role_definitions.create_or_update(scope, str(uuid.uuid4()), {"role_name": "py-role", "type": "CustomRole", "assignable_scopes": [scope],
                                                                          "permissions": [{"actions": ["Microsoft.KeyVault/vaults/read"], "not_actions": []}]})
    same(roles.role_definitions.get_by_id(d.id).role_name, "py-role")
    roles.role_definitions.delete(scope, d.name)


@part
def governance():
    definition = policies.policy_definitions.create_or_update("py-deny", {"properties": {"mode": "All", "policyType": "Custom", "policyRule": {
        "if": {"field": "name", "equals": "forbidden"}, "then": {"effect": "deny"}}}})
    policies.policy_assignments.create(scope, "py", {"properties": {"policyDefinitionId": definition.id}})
    refused("RequestDisallowedByPolicy", lambda: identities.user_assigned_identities.create_or_update(group, "forbidden", {"location": location}), HttpResponseError, 403)
    assert "py" in [a.name for a in policies.policy_assignments.list_for_resource_group(group)]
    policies.policy_assignments.delete(scope, "py")
    policies.policy_definitions.delete("py-deny")
    at = (group, "Microsoft.Storage", "", "storageAccounts", "pysdkaccount")
    locks.management_locks.create_or_update_at_resource_level(*at, "keep", {"properties": {"level": "CanNotDelete"}})
    refused("ScopeLocked", lambda: storage.storage_accounts.delete(group, "pysdkaccount"), ResourceExistsError, 409)
    same([x.name for x in locks.management_locks.list_at_resource_level(*at)], ["keep"])
    locks.management_locks.delete_at_resource_level(*at, "keep")


@part
def machine_learning():
    w = ml.workspaces.begin_create_or_update(group, "pysdkws", {
        "location": location, "identity": {"type": "SystemAssigned"}, "properties": {
            "friendlyName": "Python", "storageAccount": f"{scope}/providers/Microsoft.Storage/storageAccounts/pysdkaccount",
            "keyVault": f"{scope}/providers/Microsoft.KeyVault/vaults/pysdkvault"}}).result()
    same((w.name, w.provisioning_state), ("pysdkws", "Succeeded"))
    same(ml.workspaces.update(group, "pysdkws", {"properties": {"description": "changed"}}).description, "changed")
    made = ml.machine_learning_compute.begin_create_or_update(group, "pysdkws", "cpu", {"location": location, "properties": {"computeType": "AmlCompute", "properties": {
        "vmSize": "STANDARD_DS2_V2", "vmPriority": "Dedicated", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1}}}}).result()
    same(made.properties.compute_type, "AmlCompute")
    same([x.name for x in ml.machine_learning_compute.list_by_workspace(group, "pysdkws")], ["cpu"])
    same(ml.workspaces.list_keys(group, "pysdkws").user_storage_resource_id, f"{scope}/providers/Microsoft.Storage/storageAccounts/pysdkaccount")
    refused("ResourceNotFound", lambda: ml.workspaces.get(group, "none"), ResourceNotFoundError, 404)
    ml.machine_learning_compute.begin_delete(group, "pysdkws", "cpu", "Delete").result()
    ml.workspaces.begin_delete(group, "pysdkws").result()


@part
def ai_ml():
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import AmlCompute, Environment, Workspace
    client = MLClient(cred, sub, group, "pyaiml")
    w = client.workspaces.begin_create(Workspace(
        name="pyaiml", location=location, storage_account=f"{scope}/providers/Microsoft.Storage/storageAccounts/pysdkaccount",
        key_vault=f"{scope}/providers/Microsoft.KeyVault/vaults/pysdkvault")).result()
    same(w.name, "pyaiml")
    same(client.workspaces.begin_update(Workspace(name="pyaiml", description="d")).result().description, "d")
    same(client.compute.begin_create_or_update(AmlCompute(name="cpu", size="STANDARD_DS2_V2", max_instances=1)).result().name, "cpu")
    same([c.name for c in client.compute.list()], ["cpu"])
    client.environments.create_or_update(Environment(name="e", version="1", image="mcr.microsoft.com/azureml/base:latest"))
    same([e.name for e in client.environments.list(name="e")], ["e"])
    assert "workspaceblobstore" in [d.name for d in client.datastores.list()]
    refused("ResourceNotFound", lambda: client.workspaces.get("none"), ResourceNotFoundError, 404)
    client.compute.begin_delete("cpu").wait()
    client.workspaces.begin_delete("pyaiml", delete_dependent_resources=False, permanently_delete=True).wait()


@part
def templates():
    template = {"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
                "resources": [{"type": "Microsoft.Network/routeTables", "apiVersion": "2023-09-01", "name": "rt", "location": "[resourceGroup().location]", "properties": {}}],
                "outputs": {"id": {"type": "string", "value": "[resourceId('Microsoft.Network/routeTables', 'rt')]"}}}
    d = deployments.deployments.begin_create_or_update(group, "d", {"properties": {"mode": "Incremental", "template": template}}).result()
    same(d.properties.provisioning_state, "Succeeded")
    same(d.properties.outputs["id"]["value"], f"{scope}/providers/Microsoft.Network/routeTables/rt")
    wrong = {**template, "resources": [{"type": "Microsoft.Nothing/things", "apiVersion": "2023-09-01", "name": "x", "properties": {}}]}
    refused("InvalidResourceNamespace", lambda: deployments.deployments.begin_create_or_update(group, "w", {"properties": {"mode": "Incremental", "template": wrong}}).result())
    change = deployments.deployments.begin_what_if(group, "d2", {"properties": {"mode": "Incremental", "template": template}}).result()
    same([c.change_type for c in change.changes if c.resource_id.endswith("/rt")], ["NoChange"])
    assert "d" in [x.name for x in deployments.deployments.list_by_resource_group(group)]
    deployments.deployments.begin_delete(group, "d").result()


@part
def end():
    resources.resource_groups.begin_delete(group).result()
    vaults.vaults.begin_purge_deleted("pysdkvault", location).result()
    refused("ResourceGroupNotFound", lambda: resources.resource_groups.begin_delete(group), ResourceNotFoundError, 404)


bad = 0
for f in parts:
    print("--", f.__name__, flush=True)
    try:
        f()
    except Exception:
        bad += 1
        traceback.print_exc(limit=-2, file=sys.stdout)
print(f"{bad} parts disagree" if bad else "managed")
