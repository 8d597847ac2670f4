package storage

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Containers is the data plane's side of blob containers: it owns them, Resource Manager and the blob
// service are two ways to them. Errors are *arm.Error.
type Containers interface {
	Signer
	// Container returns it, or 404 ContainerNotFound.
	Container(tx store.Tx, account arm.ID, name string) (Container, error)
	// PutContainer makes it or changes its access and metadata; created is false when it existed.
	PutContainer(tx store.Tx, account arm.ID, c Container) (created bool, err error)
	// DeleteContainer removes it, and keeps it for days when that is not 0; 404 ContainerNotFound.
	DeleteContainer(tx store.Tx, account arm.ID, name string, days int) error
	// ListContainers lists all of the account.
	ListContainers(tx store.Tx, account arm.ID) ([]Container, error)
	// Guard has the data plane keep what is in a container; managed is returned by Container as it is.
	Guard(tx store.Tx, account arm.ID, name string, g Guard, managed json.RawMessage) error
	// DropAccount removes all data of a deleted account.
	DropAccount(ctx context.Context, id, name string) error
}

// Container is a blob container.
type Container struct {
	Name         string
	PublicAccess string // None, Blob, Container
	Metadata     map[string]string
	ETag         string
	LastModified time.Time
	Versioned    bool            // immutableStorageWithVersioning: single versions can be made immutable
	Managed      json.RawMessage // what Resource Manager keeps of it (Guard)
}

const containerPath = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{account}/blobServices/default/containers"

// containerRoutes serve blobServices/default/containers. They are routes and no stored type, because the
// data plane owns containers.
func (p *Provider) containerRoutes() rp.Registration {
	permission := AccountType + "/blobServices/containers/"
	one := containerPath + "/{container}"
	return rp.Routes(append(p.guardRoutes(),
		rp.Route{Method: http.MethodGet, Pattern: containerPath, Permission: permission + "read", Versions: versions, Do: p.listContainers},
		rp.Route{Method: http.MethodGet, Pattern: one, Permission: permission + "read", Versions: versions, Do: p.getContainer},
		rp.Route{Method: http.MethodPut, Pattern: one, Permission: permission + "write", Versions: versions, Do: p.writeContainer(false)},
		rp.Route{Method: http.MethodPatch, Pattern: one, Permission: permission + "write", Versions: versions, Do: p.writeContainer(true)},
		rp.Route{Method: http.MethodDelete, Pattern: one, Permission: permission + "delete", Versions: versions, Do: p.deleteContainer},
	)...)
}

func accountOf(tx *rp.Tx, path map[string]string) (*rp.Resource[Account], error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + AccountType + "/" + path["account"])
	if err != nil {
		return nil, err
	}
	a, err := rp.Get[Account](tx, id)
	if err == nil && a.State == arm.Deleting {
		return nil, arm.Errorf(http.StatusConflict, "AnotherOperationInProgress", "The storage account '%s' is being deleted.", a.ID)
	}
	return a, err
}

func body(account arm.ID, c Container) (map[string]any, error) {
	access := c.PublicAccess
	if access == "" {
		access = "None"
	}
	properties := map[string]any{
		"publicAccess": access, "metadata": c.Metadata, "etag": c.ETag, "lastModifiedTime": c.LastModified,
		"leaseStatus": "Unlocked", "leaseState": "Available", "deleted": false, "remainingRetentionDays": 0,
		"defaultEncryptionScope": "$account-encryption-key",
	}
	if c.Versioned {
		properties["immutableStorageWithVersioning"] = map[string]any{"enabled": true}
	}
	m, err := readManaged(c.Managed)
	if err != nil {
		return nil, err
	}
	m.show(properties)
	return map[string]any{"id": containerID(account, c.Name), "name": c.Name, "type": AccountType + "/blobServices/containers", "etag": c.ETag, "properties": properties}, nil
}

func containerID(account arm.ID, name string) string {
	return account.String() + "/blobServices/default/containers/" + name
}

func (p *Provider) listContainers(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	a, err := accountOf(tx, path)
	if err != nil {
		return nil, err
	}
	cs, err := p.containers.ListContainers(tx, a.ID)
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, c := range cs {
		b, err := body(a.ID, c)
		if err != nil {
			return nil, err
		}
		value = append(value, b)
	}
	return map[string]any{"value": value}, nil
}

func (p *Provider) getContainer(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	a, err := accountOf(tx, path)
	if err != nil {
		return nil, err
	}
	c, err := p.containers.Container(tx, a.ID, path["container"])
	if err != nil {
		return nil, err
	}
	return body(a.ID, c)
}

// writeContainer is PUT, or PATCH, which changes a container that is there and keeps what it does not say.
func (p *Provider) writeContainer(patch bool) func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	return func(_ context.Context, tx *rp.Tx, path, _ map[string]string, in []byte) (any, error) {
		a, err := accountOf(tx, path)
		if err != nil {
			return nil, err
		}
		c, err := containerBody(a, path["container"], in)
		if err != nil {
			return nil, err
		}
		if c.Versioned {
			if err := mayVersion(tx, a.ID); err != nil {
				return nil, err
			}
		}
		if patch {
			old, err := p.containers.Container(tx, a.ID, c.Name)
			if err != nil {
				return nil, err
			}
			if c.PublicAccess == "" {
				c.PublicAccess = old.PublicAccess
			}
		}
		created, err := p.containers.PutContainer(tx, a.ID, c)
		if err != nil {
			return nil, err
		}
		wanted, err := readManaged(c.Managed)
		if err != nil {
			return nil, err
		}
		if c, err = p.withScope(tx, a.ID, c.Name, wanted); err != nil {
			return nil, err
		}
		status := http.StatusOK
		if created {
			status = http.StatusCreated
		}
		b, err := body(a.ID, c)
		return &rp.Response{Status: status, Body: b}, err
	}
}

// withScope gives a container the encryption scope that a request wants, if it says any, and reads it.
func (p *Provider) withScope(tx *rp.Tx, account arm.ID, name string, wanted managed) (Container, error) {
	c, err := p.containers.Container(tx, account, name)
	if err != nil || wanted.Scope == "" && !wanted.Deny {
		return c, err
	}
	m, err := readManaged(c.Managed)
	if err != nil {
		return c, err
	}
	m.Scope, m.Deny = wanted.Scope, wanted.Deny
	if err := p.keep(tx, account, name, c.Managed, m); err != nil {
		return c, err
	}
	return p.containers.Container(tx, account, name)
}

// containerBody reads what a request wants a container to be. A PublicAccess of "" was not said.
func containerBody(a *rp.Resource[Account], name string, in []byte) (Container, error) {
	var req struct {
		Properties struct {
			PublicAccess string            `json:"publicAccess"`
			Metadata     map[string]string `json:"metadata"`
			Scope        string            `json:"defaultEncryptionScope"`
			Deny         bool              `json:"denyEncryptionScopeOverride"`
			Versioned    *Immutable        `json:"immutableStorageWithVersioning"`
		} `json:"properties"`
	}
	if len(in) > 0 {
		if err := json.Unmarshal(in, &req); err != nil {
			return Container{}, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", err)
		}
	}
	access := req.Properties.PublicAccess
	if access != "" {
		if err := oneOf("properties.publicAccess", access, "None", "Blob", "Container"); err != nil {
			return Container{}, err
		}
		if access != "None" && !*a.Properties.AllowBlobPublic {
			return Container{}, arm.Errorf(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account. (allowBlobPublicAccess of '%s' is false.)", a.ID.Name())
		}
	}
	c := Container{Name: name, PublicAccess: access, Metadata: req.Properties.Metadata}
	if v := req.Properties.Versioned; v != nil {
		c.Versioned = v.Enabled
	}
	if req.Properties.Scope == "" && !req.Properties.Deny {
		return c, nil
	}
	var err error
	c.Managed, err = json.Marshal(managed{Scope: req.Properties.Scope, Deny: req.Properties.Deny})
	return c, err
}

// mayVersion refuses immutable versions in an account that keeps no versions.
func mayVersion(tx *rp.Tx, account arm.ID) error {
	s, err := BlobServiceOf(tx, account)
	if err != nil || s.Properties.Versions() {
		return err
	}
	return arm.Errorf(http.StatusConflict, "FeatureNotEnabled", "properties.immutableStorageWithVersioning needs versions: set isVersioningEnabled of blobServices/default of '%s' first.", account.Name())
}

func (p *Provider) deleteContainer(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	a, err := accountOf(tx, path)
	if err != nil {
		return nil, err
	}
	service, err := BlobServiceOf(tx, a.ID)
	if err != nil {
		return nil, err
	}
	err = p.containers.DeleteContainer(tx, a.ID, path["container"], service.Properties.ContainerRetention.KeptDays())
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, nil // 204
	}
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK}, nil
}
