package machinelearning

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/firewall"
	"vauban.dev/provider/keyvault"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// Workspace is the properties of a workspace (Machine Learning REST: WorkspaceProperties).
type Workspace struct {
	FriendlyName        string `json:"friendlyName,omitempty"`
	Description         string `json:"description,omitempty"`
	StorageAccount      string `json:"storageAccount,omitempty"`
	KeyVault            string `json:"keyVault,omitempty"`
	ApplicationInsights string `json:"applicationInsights,omitempty"`
	ContainerRegistry   string `json:"containerRegistry,omitempty"`
	HBI                 bool   `json:"hbiWorkspace"`
	PublicNetworkAccess string `json:"publicNetworkAccess,omitempty"`
	AllowPublicBehind   *bool  `json:"allowPublicAccessWhenBehindVnet,omitempty"`
	V1Legacy            *bool  `json:"v1LegacyMode,omitempty"`
	ImageBuildCompute   string `json:"imageBuildCompute,omitempty"`
	PrimaryIdentity     string `json:"primaryUserAssignedIdentity,omitempty"`

	ManagedNetwork *ManagedNetwork `json:"managedNetwork,omitempty"`
	Encryption     *Encryption     `json:"encryption,omitempty"`

	WorkspaceID     string    `json:"workspaceId,omitempty" rp:"readonly"`
	TenantID        string    `json:"tenantId,omitempty" rp:"readonly"`
	CreationTime    time.Time `json:"creationTime,omitzero" rp:"readonly"`
	DiscoveryURL    string    `json:"discoveryUrl,omitempty" rp:"readonly"`
	MLFlowURI       string    `json:"mlFlowTrackingUri,omitempty" rp:"readonly"`
	PrivateLinks    int       `json:"privateLinkCount" rp:"readonly"`
	HNS             bool      `json:"storageHnsEnabled" rp:"readonly"`
	ProvisionedBy   string    `json:"serviceProvisionedResourceGroup,omitempty" rp:"readonly"`
	Connections     []any     `json:"privateEndpointConnections,omitempty" rp:"readonly"`
	NotebookInfo    *Notebook `json:"notebookInfo,omitempty" rp:"readonly"`
	ContainerPrefix string    `json:"containerPrefix,omitempty" rp:"private"`
}

// ManagedNetwork is the network that the service would make for the workspace; only "Disabled" is there.
type ManagedNetwork struct {
	IsolationMode string `json:"isolationMode,omitempty"`
}

// Encryption with a customer's key; only its absence is there.
type Encryption struct {
	Status string `json:"status,omitempty"`
}

// Notebook tells where the workspace's notebooks are.
type Notebook struct {
	ResourceID string `json:"resourceId"`
	FQDN       string `json:"fqdn"`
	IsPrivate  bool   `json:"isPrivateLinkEnabled"`
}

// ArtifactContainer is where runs keep their artifacts and logs, in the workspace's storage account.
const ArtifactContainer = "azureml"

// BlobContainer is the container of workspaceblobstore.
func BlobContainer(w *rp.Resource[Workspace]) string {
	return "azureml-blobstore-" + w.Properties.WorkspaceID
}

// Host is the workspace's own host for one of its services: api, or cert.api.
func Host(w *rp.Resource[Workspace]) string {
	return w.Properties.WorkspaceID + ".workspace." + w.Location + ".api.azureml.ms"
}

// DataHost is where clients are sent: the regional host, or the workspace's own once it is private
// ("How to use your workspace with a custom DNS server").
func DataHost(w *rp.Resource[Workspace]) string {
	if w.Properties.PrivateLinks > 0 {
		return Host(w)
	}
	return w.Location + ".api.azureml.ms"
}

// NotebookHost is where the workspace's notebooks would be.
func NotebookHost(w *rp.Resource[Workspace]) string {
	name := strings.ToLower(w.ID.Name())
	if len(name) > 15 {
		name = name[:15]
	}
	return "ml-" + name + "-" + w.Location + "-" + w.Properties.WorkspaceID + "." + w.Location + ".notebooks.azure.net"
}

func (p *Provider) workspaceType() rp.Registration {
	return rp.Of(rp.Type[Workspace]{
		Name: WorkspaceType,
		Kind: rp.Tracked,
		// Azure accepts workspaces; clients before 2025 take nothing else (Machine Learning REST: Workspaces - Create Or Update).
		CreateStatus: http.StatusAccepted,
		Versions:     rp.Versions[Workspace](versions...),
		NamePattern:  `^[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}$`,
		NameRule:     "Workspace name must be between 3 and 33 characters long. Its first character has to be alphanumeric, and the rest may contain hyphens and underscores.",
		Default: func(_ string, r *rp.Resource[Workspace]) {
			w := &r.Properties
			if w.PublicNetworkAccess == "" {
				w.PublicNetworkAccess = "Enabled"
			}
			for _, flag := range []**bool{&w.AllowPublicBehind, &w.V1Legacy} {
				if *flag == nil {
					*flag = new(bool)
				}
			}
			if w.FriendlyName == "" {
				w.FriendlyName = r.ID.Name()
			}
			if r.Kind == "" {
				r.Kind = "Default"
			}
		},
		Validate:  validateWorkspace,
		Links:     workspaceLinks,
		Admit:     p.admitWorkspace,
		Reconcile: p.reconcileWorkspace,
		Present:   presentWorkspace,
		Release:   releaseWorkspace,
		Actions: map[string]rp.Action[Workspace]{
			"listKeys":                             {Do: p.listKeys},
			"listStorageAccountKeys":               {Do: listStorageKeys},
			"listNotebookKeys":                     rp.Missing[Workspace](noNotebooks),
			"listNotebookAccessToken":              rp.Missing[Workspace](noNotebooks),
			"prepareNotebook":                      rp.Missing[Workspace](noNotebooks),
			"provisionManagedNetwork":              rp.Missing[Workspace]("Managed networks are not there yet; use a virtual network of your own."),
			"features":                             {Method: http.MethodGet, Permission: WorkspaceType + "/features/read", Do: workspaceFeatures},
			"outboundNetworkDependenciesEndpoints": {Method: http.MethodGet, Permission: WorkspaceType + "/outboundNetworkDependenciesEndpoints/read", Do: outboundEndpoints},
			"resyncKeys":                           {Do: resyncKeys, Links: resyncLinks},
			"diagnose":                             {Do: checkDiagnose, Async: p.diagnose},
			"privateLinkResources": {Method: http.MethodGet, Permission: WorkspaceType + "/privateLinkResources/read",
				Do: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace], _ []byte) (any, error) {
					return p.links.Resources(tx, r.ID)
				}},
		},
	})
}

const noNotebooks = "Notebooks are not there yet: the workspace has no file share that would keep them."

// workspaceLinks are the account and the vault that the service will keep the workspace's files and secrets in,
// by its own powers: who makes the workspace must have the right to write them ("Manage access to Azure Machine
// Learning workspaces": creating a workspace takes the write permissions of what it depends on).
func workspaceLinks(r *rp.Resource[Workspace]) (links []rp.Link) {
	w := &r.Properties
	for typ, text := range map[string]string{storage.AccountType: w.StorageAccount, keyvault.VaultType: w.KeyVault} {
		// What is no id of such a resource is refused later.
		if id, err := arm.ParseID(text); err == nil && strings.EqualFold(id.Type().String(), typ) {
			links = append(links, rp.Link{Action: typ + "/write", ID: id})
		}
	}
	return links
}

func validateWorkspace(op rp.Op, new, old *rp.Resource[Workspace]) error {
	w := &new.Properties
	if w.PublicNetworkAccess != "Enabled" && w.PublicNetworkAccess != "Disabled" {
		return userError("properties.publicNetworkAccess '%s' is none of Enabled, Disabled.", w.PublicNetworkAccess)
	}
	// What isolates or encrypts is never accepted and left undone.
	if n := w.ManagedNetwork; n != nil && n.IsolationMode != "" && n.IsolationMode != "Disabled" {
		return arm.NotImplemented("properties.managedNetwork.isolationMode '%s': managed networks are not there yet; use a virtual network of your own.", n.IsolationMode)
	}
	if e := w.Encryption; e != nil && e.Status != "Disabled" {
		return arm.NotImplemented("properties.encryption: customer-managed keys are not there yet; the workspace's data are encrypted with the platform's key.")
	}
	if op == rp.Create {
		if w.StorageAccount == "" || w.KeyVault == "" {
			return userError("A workspace needs properties.storageAccount and properties.keyVault: the ids of a storage account and a key vault of its region.")
		}
		return nil
	}
	for field, pair := range map[string][2]string{
		"storageAccount": {old.Properties.StorageAccount, w.StorageAccount},
		"keyVault":       {old.Properties.KeyVault, w.KeyVault},
	} {
		if !strings.EqualFold(pair[0], pair[1]) {
			return userError("properties.%s of a workspace cannot be changed.", field)
		}
	}
	if old.Properties.HBI != w.HBI {
		return userError("properties.hbiWorkspace of a workspace cannot be changed.")
	}
	return nil
}

func linked[T any](tx *rp.Tx, field, id, typ string) (*rp.Resource[T], error) {
	parsed, err := arm.ParseID(id)
	if err != nil || !strings.EqualFold(parsed.Type().String(), typ) {
		return nil, userError("properties.%s '%s' is not the id of a %s.", field, id, typ)
	}
	r, err := rp.Get[T](tx, parsed)
	if isNotFound(err) {
		return nil, userError("properties.%s: %s '%s' does not exist.", field, typ, id)
	}
	return r, err
}

// kindGUID maps a workspace's GUID, which its host names carry, to its id.
const kindGUID = "ml.guid"

func (p *Provider) admitWorkspace(ctx context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Workspace]) error {
	w := &new.Properties
	account, err := linked[storage.Account](tx, "storageAccount", w.StorageAccount, storage.AccountType)
	if err != nil {
		return err
	}
	if _, err := linked[keyvault.Vault](tx, "keyVault", w.KeyVault, keyvault.VaultType); err != nil {
		return err
	}
	if op == rp.Update {
		return nil
	}
	w.WorkspaceID, w.TenantID, w.CreationTime = uuid.NewString(), p.TenantID, tx.Now
	if _, err := tx.Put(kindGUID, w.WorkspaceID, []byte(new.ID.String()), store.Any); err != nil {
		return err
	}
	for _, c := range []string{BlobContainer(new), ArtifactContainer} {
		if _, err := p.Containers.PutContainer(tx, account.ID, storage.Container{Name: c}); err != nil {
			return err
		}
	}
	if i := new.Identity; i != nil && i.PrincipalID != "" {
		// As Azure does ("How Azure Machine Learning uses managed identity"): what runs in the workspace acts as it.
		if err := errors.Join(grantOwn(tx, new), noteMaker(ctx, tx, new.ID)); err != nil {
			return err
		}
	}
	return saveDefaultDatastores(tx, new, account.ID)
}

func presentWorkspace(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace]) error {
	w := &r.Properties
	var err error
	if w.Connections, err = privatelink.Present(tx, r.ID); err != nil {
		return err
	}
	if w.PrivateLinks, err = privatelink.Approvals(tx, r.ID); err != nil {
		return err
	}
	host := DataHost(r)
	w.DiscoveryURL = "https://" + host + "/discovery"
	w.MLFlowURI = "azureml://" + host + "/mlflow/v1.0" + r.ID.String()
	w.NotebookInfo = &Notebook{ResourceID: strings.ReplaceAll(w.WorkspaceID, "-", ""), FQDN: NotebookHost(r), IsPrivate: w.PrivateLinks > 0}
	return nil
}

// releaseWorkspace closes the workspace's hosts. Its computes, jobs and datastores go with it: nodes are stopped and
// runs are ended before its record goes.
func releaseWorkspace(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace]) error {
	return errors.Join(deleteDoc(tx, kindGUID, r.Properties.WorkspaceID), deleteDoc(tx, kindMaker, r.ID.Key()), dropUploads(tx, r.Properties.WorkspaceID))
}

// ByGUID finds the workspace of a host name's first label; 404 without one.
func ByGUID(tx *rp.Tx, guid string) (*rp.Resource[Workspace], error) {
	d, err := tx.Get(kindGUID, strings.ToLower(guid))
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(string(d.Value))
	if err != nil {
		return nil, err
	}
	return Get(tx, id)
}

// Get returns a workspace with its read-only properties filled.
func Get(tx *rp.Tx, id arm.ID) (*rp.Resource[Workspace], error) {
	w, err := rp.Get[Workspace](tx, id)
	if err != nil {
		return nil, err
	}
	return w, presentWorkspace(context.Background(), tx, w)
}

// Firewall is the workspace's network rules: its own hosts refuse the internet when public access is
// disabled. Resource Manager's plane is not behind it ("Network isolation with v2").
func Firewall(w *rp.Resource[Workspace]) firewall.Rules {
	return firewall.Rules{
		ResourceID: w.ID.String(), GroupIDs: []string{"amlworkspace"}, PublicNetworkAccess: w.Properties.PublicNetworkAccess, DefaultAction: "Allow",
	}
}

// Target tells privatelink how workspaces are linked: three addresses, and the names of "How to use your
// workspace with a custom DNS server". cert.api is an alias of the api name's record.
func (p *Provider) Target() privatelink.Target {
	return privatelink.Target{Type: WorkspaceType, Versions: versions, Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
		w, err := privatelink.Live[Workspace](tx, id)
		if err != nil {
			return nil, err
		}
		const apiZone, notebookZone = "privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"
		guid, at := w.Properties.WorkspaceID, ".workspace."+w.Location
		inference := "*." + guid + ".inference." + w.Location
		return []privatelink.Group{{ID: "amlworkspace", Zones: []string{apiZone, notebookZone}, Members: []privatelink.Member{
			{GroupID: "amlworkspace", Name: "default", FQDNs: []string{Host(w), guid + at + ".cert.api.azureml.ms"},
				Records: []privatelink.Record{{Zone: apiZone, Name: guid + at}}}, // cert.api is an alias of the same record
			{GroupID: "amlworkspace", Name: "notebook", FQDNs: []string{NotebookHost(w)},
				Records: []privatelink.Record{{Zone: notebookZone, Name: strings.TrimSuffix(NotebookHost(w), ".notebooks.azure.net")}}},
			{GroupID: "amlworkspace", Name: "inference", FQDNs: []string{inference + ".api.azureml.ms"},
				Records: []privatelink.Record{{Zone: apiZone, Name: inference}}},
		}}}, nil
	}}
}

func (p *Provider) listKeys(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace], _ []byte) (any, error) {
	a, err := linked[storage.Account](tx, "storageAccount", r.Properties.StorageAccount, storage.AccountType)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"userStorageKey": a.Properties.Keys[0], "userStorageResourceId": a.ID.String(), "userStorageArmId": a.ID.String(),
		"notebookAccessKeys": map[string]any{}, "containerRegistryCredentials": nil, "appInsightsInstrumentationKey": nil,
	}, nil
}

func listStorageKeys(_ context.Context, tx *rp.Tx, r *rp.Resource[Workspace], _ []byte) (any, error) {
	a, err := linked[storage.Account](tx, "storageAccount", r.Properties.StorageAccount, storage.AccountType)
	if err != nil {
		return nil, err
	}
	return map[string]any{"userStorageKey": a.Properties.Keys[0]}, nil
}
