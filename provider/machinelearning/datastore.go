package machinelearning

import (
	"context"
	"fmt"
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
			return validateDatastore(&new.Properties)
		},
		Admit: func(_ context.Context, _ *rp.Tx, _ rp.Op, new, old *rp.Resource[Datastore]) error {
			d := &new.Properties
			name, secrets := d.sentSecrets()
			delete(d.Credentials, name)
			if sent, _ := secrets.(map[string]any); len(sent) > 1 || len(sent) == 1 && sent["secretsType"] == nil { // kept apart: no GET shows them
				d.Secrets = sent
				return nil
			}
			// They stay with the place that they were given for.
			if d.Secrets = nil; old != nil && old.Properties.place() == d.place() {
				d.Secrets = old.Properties.Secrets
			}
			return nil
		},
		Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Datastore]) error {
			if kind := secretTypes[fmt.Sprint(r.Properties.Credentials["credentialsType"])]; kind != "" { // which secrets there are, and none of them
				r.Properties.Credentials["secrets"] = map[string]any{"secretsType": kind}
			}
			return nil
		},
		Actions: map[string]rp.Action[Datastore]{"listSecrets": {Do: listSecrets}},
	})
}

// secretTypes are the kinds of secrets that go with a kind of credentials (DatastoreSecrets).
var secretTypes = map[string]string{"AccountKey": "AccountKey", "Certificate": "Certificate", "Sas": "Sas", "ServicePrincipal": "ServicePrincipal"}

// place is what the secrets of a datastore open.
func (d *Datastore) place() [4]string {
	kind, _ := d.Credentials["credentialsType"].(string)
	return [4]string{d.Type, d.Account, d.Container, kind}
}

// sentSecrets finds the secrets among the credentials that a client sent, however it spells their name.
func (d *Datastore) sentSecrets() (name string, secrets any) {
	for k, v := range d.Credentials {
		if strings.EqualFold(k, "secrets") && v != nil {
			return k, v
		}
	}
	return "", nil
}

func validateDatastore(d *Datastore) error {
	if _, secrets := d.sentSecrets(); secrets != nil {
		if _, ok := secrets.(map[string]any); !ok {
			return userError("properties.credentials.secrets is not an object.")
		}
	}
	switch {
	case d.Type == "":
		return userError("properties.datastoreType is missing.")
	case d.Type != "AzureBlob":
		return nil
	case !accountName.MatchString(d.Account):
		return userError("properties.accountName '%s' of an AzureBlob datastore is not the name of a storage account.", d.Account)
	case !containerName.MatchString(d.Container):
		return userError("properties.containerName '%s' of an AzureBlob datastore is not the name of a container.", d.Container)
	}
	return nil
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
		if err != nil && !isNotFound(err) {
			return nil, err
		}
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
