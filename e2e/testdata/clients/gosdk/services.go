package main

import (
	"context"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
)

const (
	accountName = "gosdkaccount"
	vaultName   = "gosdkvault"
	workspace   = "gosdkworkspace"
)

func (a *account) storage(ctx context.Context) {
	f, err := armstorage.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("storage", err) {
		return
	}
	c := f.NewAccountsClient()
	name, err := c.CheckNameAvailability(ctx, armstorage.AccountCheckNameAvailabilityParameters{Name: to.Ptr(accountName), Type: to.Ptr("Microsoft.Storage/storageAccounts")}, nil)
	if a.ok("a free name", err) {
		is(a, "name available", value(a, "available", name.NameAvailable), true)
	}
	p, err := c.BeginCreate(ctx, group, accountName, armstorage.AccountCreateParameters{Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr(location),
		SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)}, Properties: &armstorage.AccountPropertiesCreateParameters{AllowBlobPublicAccess: to.Ptr(false)}}, nil)
	made := wait(ctx, a, "create an account", p, err)
	if made.Properties != nil {
		is(a, "state", value(a, "state", made.Properties.ProvisioningState), armstorage.ProvisioningStateSucceeded)
		is(a, "endpoint", value(a, "blob", made.Properties.PrimaryEndpoints.Blob), "https://"+accountName+".blob.core.windows.net/")
	}
	name, err = c.CheckNameAvailability(ctx, armstorage.AccountCheckNameAvailabilityParameters{Name: to.Ptr(accountName), Type: to.Ptr("Microsoft.Storage/storageAccounts")}, nil)
	if a.ok("a taken name", err) {
		is(a, "reason", value(a, "reason", name.Reason), armstorage.ReasonAlreadyExists)
	}
	u, err := c.Update(ctx, group, accountName, armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{
		MinimumTLSVersion: to.Ptr(armstorage.MinimumTLSVersionTLS12), NetworkRuleSet: &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionDeny)}}}, nil)
	if a.ok("update an account", err) {
		is(a, "default action", value(a, "action", u.Properties.NetworkRuleSet.DefaultAction), armstorage.DefaultActionDeny)
	}
	keys, err := c.ListKeys(ctx, group, accountName, nil)
	if a.ok("keys", err) {
		is(a, "keys", len(keys.Keys), 2)
	}
	again, err := c.RegenerateKey(ctx, group, accountName, armstorage.AccountRegenerateKeyParameters{KeyName: to.Ptr("key1")}, nil)
	if a.ok("a new key", err) {
		is(a, "the key changed", *again.Keys[0].Value != *keys.Keys[0].Value, true)
	}
	containers := f.NewBlobContainersClient()
	for _, n := range []string{"one", "two", "three"} {
		_, err := containers.Create(ctx, group, accountName, n, armstorage.BlobContainer{}, nil)
		a.ok("create a container", err)
	}
	list := all(ctx, a, "containers", containers.NewListPager(group, accountName, &armstorage.BlobContainersClientListOptions{Maxpagesize: to.Ptr("2")}),
		func(p armstorage.BlobContainersClientListResponse) []*armstorage.ListContainerItem { return p.Value })
	is(a, "containers", len(list), 3)
	_, err = containers.Get(ctx, group, accountName, "none", nil)
	a.refused("a container that is not there", err, http.StatusNotFound, "ContainerNotFound")
	_, err = containers.Delete(ctx, group, accountName, "three", nil)
	a.ok("delete a container", err)
	_, err = c.BeginCreate(ctx, group, "Bad_Name", armstorage.AccountCreateParameters{Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr(location), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)}}, nil)
	a.refused("a bad account name", err, http.StatusBadRequest, "AccountNameInvalid")
	_, err = c.BeginCreate(ctx, group, "gosdkother", armstorage.AccountCreateParameters{Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr(location), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUName("Standard_None"))}}, nil)
	a.refused("a bad SKU", err, http.StatusBadRequest, "InvalidValuesForRequestParameters")
	_, err = c.GetProperties(ctx, group, "gosdknone", nil)
	a.refused("an account that is not there", err, http.StatusNotFound, "ResourceNotFound")
}

func (a *account) vaults(ctx context.Context) {
	f, err := armkeyvault.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("vaults", err) {
		return
	}
	c := f.NewVaultsClient()
	p, err := c.BeginCreateOrUpdate(ctx, group, vaultName, armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr(location), Properties: &armkeyvault.VaultProperties{
		TenantID: to.Ptr(os.Getenv("AZURE_TENANT_ID")), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		EnableRbacAuthorization: to.Ptr(true), SoftDeleteRetentionInDays: to.Ptr[int32](7)}}, nil)
	v := wait(ctx, a, "create a vault", p, err)
	if v.Properties != nil {
		is(a, "URI", value(a, "URI", v.Properties.VaultURI), "https://"+vaultName+".vault.azure.net/")
	}
	_, err = c.Update(ctx, group, vaultName, armkeyvault.VaultPatchParameters{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	a.ok("update a vault", err)
	secrets := f.NewSecretsClient()
	_, err = secrets.CreateOrUpdate(ctx, group, vaultName, "s", armkeyvault.SecretCreateOrUpdateParameters{Properties: &armkeyvault.SecretProperties{Value: to.Ptr("v")}}, nil)
	a.ok("a secret", err)
	list := all(ctx, a, "secrets", secrets.NewListPager(group, vaultName, nil), func(p armkeyvault.SecretsClientListResponse) []*armkeyvault.Secret { return p.Value })
	is(a, "secrets", len(list), 1)
	_, err = c.BeginCreateOrUpdate(ctx, group, "1bad", armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr(location), Properties: &armkeyvault.VaultProperties{
		TenantID: to.Ptr(os.Getenv("AZURE_TENANT_ID")), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)}}}, nil)
	a.refused("a bad vault name", err, http.StatusBadRequest, "VaultNameNotValid")
	_, err = c.Delete(ctx, group, vaultName, nil)
	a.ok("delete a vault", err)
	_, err = c.GetDeleted(ctx, vaultName, location, nil)
	a.ok("the deleted vault", err)
	pp, err := c.BeginPurgeDeleted(ctx, vaultName, location, nil)
	wait(ctx, a, "purge", pp, err)
	_, err = c.GetDeleted(ctx, vaultName, location, nil)
	a.refused("the purged vault", err, http.StatusNotFound, "DeletedVaultNotFound")
	p, err = c.BeginCreateOrUpdate(ctx, group, vaultName, armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr(location), Properties: &armkeyvault.VaultProperties{
		TenantID: to.Ptr(os.Getenv("AZURE_TENANT_ID")), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)}, EnableRbacAuthorization: to.Ptr(true)}}, nil)
	wait(ctx, a, "create it again", p, err)
}

// purgeVault removes what the end of the group left.
func (a *account) purgeVault(ctx context.Context) {
	c, err := armkeyvault.NewVaultsClient(a.subscription, a.cred, nil)
	if a.ok("vaults", err) {
		p, err := c.BeginPurgeDeleted(ctx, vaultName, location, nil)
		wait(ctx, a, "purge what the group had", p, err)
	}
}

func (a *account) machineLearning(ctx context.Context) {
	f, err := armmachinelearning.NewClientFactory(a.subscription, a.cred, nil)
	if !a.ok("machine learning", err) {
		return
	}
	c := f.NewWorkspacesClient()
	p, err := c.BeginCreateOrUpdate(ctx, group, workspace, armmachinelearning.Workspace{Location: to.Ptr(location),
		Identity: &armmachinelearning.ManagedServiceIdentity{Type: to.Ptr(armmachinelearning.ManagedServiceIdentityTypeSystemAssigned)},
		Properties: &armmachinelearning.WorkspaceProperties{FriendlyName: to.Ptr("Go"), StorageAccount: to.Ptr(a.id("Microsoft.Storage/storageAccounts/" + accountName)),
			KeyVault: to.Ptr(a.id("Microsoft.KeyVault/vaults/" + vaultName))}}, nil)
	w := wait(ctx, a, "create a workspace", p, err)
	if w.Properties != nil {
		is(a, "state", value(a, "state", w.Properties.ProvisioningState), armmachinelearning.ProvisioningStateSucceeded)
	}
	up, err := c.BeginUpdate(ctx, group, workspace, armmachinelearning.WorkspaceUpdateParameters{Properties: &armmachinelearning.WorkspacePropertiesUpdateParameters{Description: to.Ptr("changed")}}, nil)
	if u := wait(ctx, a, "update a workspace", up, err); u.Properties != nil {
		is(a, "description", value(a, "description", u.Properties.Description), "changed")
	}
	_, err = c.ListKeys(ctx, group, workspace, nil)
	a.ok("keys", err)
	computes := f.NewComputeClient()
	cp, err := computes.BeginCreateOrUpdate(ctx, group, workspace, "cpu", armmachinelearning.ComputeResource{Location: to.Ptr(location), Properties: &armmachinelearning.AmlCompute{
		ComputeType: to.Ptr(armmachinelearning.ComputeTypeAmlCompute), Properties: &armmachinelearning.AmlComputeProperties{VMSize: to.Ptr("STANDARD_DS2_V2"), VMPriority: to.Ptr(armmachinelearning.VMPriorityDedicated),
			ScaleSettings: &armmachinelearning.ScaleSettings{MaxNodeCount: to.Ptr[int32](1), MinNodeCount: to.Ptr[int32](0)}}}}, nil)
	if made := wait(ctx, a, "create a cluster", cp, err); made.Properties != nil {
		_, cluster := made.Properties.(*armmachinelearning.AmlCompute)
		is(a, "the cluster is an AmlCompute", cluster, true)
	}
	list := all(ctx, a, "computes", computes.NewListPager(group, workspace, nil), func(p armmachinelearning.ComputeClientListResponse) []*armmachinelearning.ComputeResource {
		return p.Value
	})
	is(a, "computes", len(list), 1)
	stores := all(ctx, a, "datastores", f.NewDatastoresClient().NewListPager(group, workspace, nil),
		func(p armmachinelearning.DatastoresClientListResponse) []*armmachinelearning.Datastore {
			return p.Value
		})
	is(a, "datastores", len(stores) >= 2, true)
	_, err = computes.BeginCreateOrUpdate(ctx, group, workspace, "bad", armmachinelearning.ComputeResource{Location: to.Ptr(location), Properties: &armmachinelearning.AmlCompute{
		ComputeType: to.Ptr(armmachinelearning.ComputeTypeAmlCompute), Properties: &armmachinelearning.AmlComputeProperties{VMSize: to.Ptr("STANDARD_NONE")}}}, nil)
	a.refused("a bad VM size", err, http.StatusBadRequest, "ValidationError")
	_, err = c.Get(ctx, group, "none", nil)
	a.refused("a workspace that is not there", err, http.StatusNotFound, "ResourceNotFound")
	dp, err := computes.BeginDelete(ctx, group, workspace, "cpu", armmachinelearning.UnderlyingResourceActionDelete, nil)
	wait(ctx, a, "delete a cluster", dp, err)
	wp, err := c.BeginDelete(ctx, group, workspace, &armmachinelearning.WorkspacesClientBeginDeleteOptions{ForceToPurge: to.Ptr(true)})
	wait(ctx, a, "delete a workspace", wp, err)
}
