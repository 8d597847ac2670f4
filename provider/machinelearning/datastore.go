package machinelearning

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/storage"
)

// Datastore is the properties of a datastore; AzureBlob is the kind that jobs and assets use here, the
// others are kept as they were sent.
type Datastore struct {
	Type          string         `json:"datastoreType"`
	Account       string         `json:"accountName,omitempty"`
	Container     string         `json:"containerName,omitempty"`
	Endpoint      string         `json:"endpoint,omitempty"`
	Protocol      string         `json:"protocol,omitempty"`
	Credentials   map[string]any `json:"credentials,omitempty"`
	Description   string         `json:"description,omitempty"`
	IsDefault     bool           `json:"isDefault" rp:"readonly"`
	Subscription  string         `json:"subscriptionId,omitempty"`
	ResourceGroup string         `json:"resourceGroup,omitempty"`
	// Secrets are what listSecrets shows.
	Secrets map[string]any `json:"secrets,omitempty" rp:"private"`
}

func datastoreType() rp.Registration {
	return rp.Of(rp.Type[Datastore]{
		Name: DatastoreType, Kind: rp.Proxy, Versions: rp.Versions[Datastore](versions...), StateProperty: "-", SyncDelete: true,
		NamePattern: `^[a-zA-Z0-9_]{1,255}$`,
		NameRule:    "Datastore names contain letters, digits and underscores only.",
		Default: func(_ string, r *rp.Resource[Datastore]) {
			if r.Properties.Endpoint == "" {
				r.Properties.Endpoint = "core.windows.net"
			}
			if r.Properties.Protocol == "" {
				r.Properties.Protocol = "https"
			}
		},
		Validate: func(_ rp.Op, new, _ *rp.Resource[Datastore]) error {
			d := &new.Properties
			if d.Type == "AzureBlob" && (d.Account == "" || d.Container == "") {
				return userError("An AzureBlob datastore needs properties.accountName and properties.containerName.")
			}
			return nil
		},
		Admit: func(_ context.Context, _ *rp.Tx, _ rp.Op, new, old *rp.Resource[Datastore]) error {
			d := &new.Properties
			if secrets, ok := d.Credentials["secrets"].(map[string]any); ok { // kept apart: no GET shows them
				d.Secrets = secrets
				delete(d.Credentials, "secrets")
			} else if old != nil {
				d.Secrets = old.Properties.Secrets
			}
			return nil
		},
		Actions: map[string]rp.Action[Datastore]{"listSecrets": {Do: listSecrets}},
	})
}

func listSecrets(_ context.Context, tx *rp.Tx, r *rp.Resource[Datastore], _ []byte) (any, error) {
	d := &r.Properties
	if d.Secrets != nil {
		return d.Secrets, nil
	}
	w, err := Get(tx, r.ID.Parent())
	if err != nil {
		return nil, err
	}
	// The workspace knows the key of its own account; any other is its owner's to store.
	if d.Credentials["credentialsType"] == "AccountKey" && ownAccount(w, d.Account) {
		a, err := storage.ByName(tx, d.Account)
		if err != nil {
			return nil, userError("The storage account '%s' of datastore '%s' does not exist.", d.Account, r.ID.Name())
		}
		return map[string]any{"secretsType": "AccountKey", "key": a.Properties.Keys[0]}, nil
	}
	return nil, userError("Datastore '%s' has no secrets: its credentials are of type %v.", r.ID.Name(), d.Credentials["credentialsType"])
}

// saveDefaultDatastores makes the datastores that every workspace starts with, on its storage account.
func saveDefaultDatastores(tx *rp.Tx, w *rp.Resource[Workspace], account arm.ID) error {
	for name, container := range map[string]string{"workspaceblobstore": BlobContainer(w), "workspaceartifactstore": ArtifactContainer} {
		d := &rp.Resource[Datastore]{ID: w.ID.Child("datastores", name), State: arm.Succeeded, Properties: Datastore{
			Type: "AzureBlob", Account: account.Name(), Container: container, Endpoint: "core.windows.net", Protocol: "https",
			IsDefault: name == "workspaceblobstore", Credentials: map[string]any{"credentialsType": "AccountKey"},
			Subscription: account.Subscription(), ResourceGroup: account.ResourceGroup(),
		}}
		if err := rp.Save(tx, d); err != nil {
			return err
		}
	}
	return nil
}

// BlobPath is a place in blob storage, with the secret that a datastore has for it.
type BlobPath struct {
	Account, Container, Path string

	key, sas string
}

// URL of the place.
func (b BlobPath) URL() string {
	u := url.URL{Scheme: "https", Host: b.Account + ".blob.core.windows.net", Path: "/" + b.Container}
	if b.Path != "" {
		u.Path += "/" + b.Path
	}
	return u.String()
}

// resolveURI finds the place that a data URI of the workspace means: a blob URL, an azureml://datastores
// URI in its short or long form, the artifacts of a job, or the id of a data, model or code version.
func resolveURI(tx *rp.Tx, w *rp.Resource[Workspace], uri string) (BlobPath, error) {
	bad := func(why string) error { return userError("The URI '%s' cannot be used: %s.", uri, why) }
	switch {
	case strings.HasPrefix(uri, "https://"), strings.HasPrefix(uri, "http://"):
		u, err := url.Parse(uri)
		if err != nil {
			return BlobPath{}, bad("it is not a URL")
		}
		account, rest, ok := strings.Cut(u.Hostname(), ".")
		if !ok || rest != "blob.core.windows.net" {
			return BlobPath{}, bad("only blob storage can be read by URL")
		}
		container, path, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		return BlobPath{Account: account, Container: container, Path: path}, nil
	case strings.HasPrefix(uri, "azureml://"):
		return resolveScheme(tx, w, uri, bad)
	case strings.HasPrefix(uri, "azureml:"):
		name, version, ok := strings.Cut(strings.TrimPrefix(uri, "azureml:"), ":")
		if !ok {
			return BlobPath{}, bad("an asset is written azureml:NAME:VERSION")
		}
		return resolveAsset(tx, w, w.ID.Child("data", name).Child("versions", version))
	case strings.HasPrefix(uri, "/subscriptions/"):
		id, err := arm.ParseID(uri)
		if err != nil {
			return BlobPath{}, bad("it is not a resource id")
		}
		return resolveAsset(tx, w, id)
	}
	return BlobPath{}, bad("it is none of a blob URL, azureml://…, azureml:NAME:VERSION and a resource id")
}

func resolveScheme(tx *rp.Tx, w *rp.Resource[Workspace], uri string, bad func(string) error) (BlobPath, error) {
	parts := strings.Split(strings.TrimPrefix(uri, "azureml://"), "/")
	at := func(word string) int {
		for i, s := range parts {
			if strings.EqualFold(s, word) {
				return i
			}
		}
		return -1
	}
	if i := at("workspaces"); i >= 0 && i+1 < len(parts) && !strings.EqualFold(parts[i+1], w.ID.Name()) && !strings.EqualFold(parts[i+1], w.Properties.WorkspaceID) {
		return BlobPath{}, bad("it is of another workspace")
	}
	if i, j := at("datastores"), at("paths"); i >= 0 && j == i+2 {
		d, err := rp.Get[Datastore](tx, w.ID.Child("datastores", parts[i+1]))
		if isNotFound(err) {
			return BlobPath{}, bad(fmt.Sprintf("there is no datastore '%s'", parts[i+1]))
		}
		if err != nil {
			return BlobPath{}, err
		}
		if d.Properties.Type != "AzureBlob" {
			return BlobPath{}, arm.NotImplemented("Datastore '%s' is of type %s: jobs read AzureBlob datastores only, as yet.", parts[i+1], d.Properties.Type)
		}
		at := BlobPath{Account: d.Properties.Account, Container: d.Properties.Container, Path: strings.Join(parts[j+1:], "/")}
		at.key, _ = d.Properties.Secrets["key"].(string)
		at.sas, _ = d.Properties.Secrets["sasToken"].(string)
		return at, nil
	}
	// azureml://jobs/{job}/outputs/artifacts/paths/{path}
	if i, j := at("jobs"), at("paths"); i >= 0 && j == i+4 && strings.EqualFold(parts[i+2], "outputs") {
		account, err := arm.ParseID(w.Properties.StorageAccount)
		if err != nil {
			return BlobPath{}, err
		}
		if !strings.EqualFold(parts[i+3], "artifacts") {
			return BlobPath{}, arm.NotImplemented("Output '%s' of job '%s': only the artifacts of a job can be named, as yet.", parts[i+3], parts[i+1])
		}
		return BlobPath{Account: account.Name(), Container: ArtifactContainer, Path: "ExperimentRun/dcid." + parts[i+1] + "/" + strings.Join(parts[j+1:], "/")}, nil
	}
	return BlobPath{}, bad("it names neither a datastore's path nor a job's artifacts")
}

func resolveAsset(tx *rp.Tx, w *rp.Resource[Workspace], id arm.ID) (BlobPath, error) {
	if !id.Within(w.ID) {
		return BlobPath{}, userError("The asset '%s' is of another workspace.", id)
	}
	v, err := rp.Get[AssetVersion](tx, id)
	if isNotFound(err) {
		return BlobPath{}, arm.Errorf(http.StatusNotFound, "UserError", "The asset '%s' does not exist.", id)
	}
	if err != nil {
		return BlobPath{}, err
	}
	uri := v.Properties.place()
	if uri == "" || strings.HasPrefix(uri, "/subscriptions/") || strings.HasPrefix(uri, "azureml:") && !strings.HasPrefix(uri, "azureml://") {
		return BlobPath{}, userError("The asset '%s' has no data that can be read.", id)
	}
	return resolveURI(tx, w, uri)
}
