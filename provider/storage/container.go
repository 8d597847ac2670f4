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
	// DeleteContainer removes it; 404 ContainerNotFound.
	DeleteContainer(tx store.Tx, account arm.ID, name string) error
	// ListContainers lists all of the account.
	ListContainers(tx store.Tx, account arm.ID) ([]Container, error)
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
}

const containerPath = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{account}/blobServices/default/containers"

// containerRoutes serve blobServices/default/containers. They are routes and no stored type, because the
// data plane owns containers.
func (p *Provider) containerRoutes() rp.Registration {
	permission := AccountType + "/blobServices/containers/"
	one := containerPath + "/{container}"
	return rp.Routes(
		rp.Route{Method: http.MethodGet, Pattern: containerPath, Permission: permission + "read", Versions: versions, Do: p.listContainers},
		rp.Route{Method: http.MethodGet, Pattern: one, Permission: permission + "read", Versions: versions, Do: p.getContainer},
		rp.Route{Method: http.MethodPut, Pattern: one, Permission: permission + "write", Versions: versions, Do: p.writeContainer(false)},
		rp.Route{Method: http.MethodPatch, Pattern: one, Permission: permission + "write", Versions: versions, Do: p.writeContainer(true)},
		rp.Route{Method: http.MethodDelete, Pattern: one, Permission: permission + "delete", Versions: versions, Do: p.deleteContainer},
	)
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

func body(account arm.ID, c Container) map[string]any {
	access := c.PublicAccess
	if access == "" {
		access = "None"
	}
	return map[string]any{
		"id":   account.String() + "/blobServices/default/containers/" + c.Name,
		"name": c.Name, "type": AccountType + "/blobServices/containers", "etag": c.ETag,
		"properties": map[string]any{
			"publicAccess": access, "metadata": c.Metadata, "etag": c.ETag, "lastModifiedTime": c.LastModified,
			"leaseStatus": "Unlocked", "leaseState": "Available", "deleted": false, "remainingRetentionDays": 0,
			"hasImmutabilityPolicy": false, "hasLegalHold": false, "defaultEncryptionScope": "$account-encryption-key",
			"denyEncryptionScopeOverride": false,
		},
	}
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
		value = append(value, body(a.ID, c))
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
	return body(a.ID, c), nil
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
		if c, err = p.containers.Container(tx, a.ID, c.Name); err != nil {
			return nil, err
		}
		status := http.StatusOK
		if created {
			status = http.StatusCreated
		}
		return &rp.Response{Status: status, Body: body(a.ID, c)}, nil
	}
}

// containerBody reads what a request wants a container to be. A PublicAccess of "" was not said.
func containerBody(a *rp.Resource[Account], name string, in []byte) (Container, error) {
	var req struct {
		Properties struct {
			PublicAccess string            `json:"publicAccess"`
			Metadata     map[string]string `json:"metadata"`
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
	return Container{Name: name, PublicAccess: access, Metadata: req.Properties.Metadata}, nil
}

func (p *Provider) deleteContainer(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	a, err := accountOf(tx, path)
	if err != nil {
		return nil, err
	}
	err = p.containers.DeleteContainer(tx, a.ID, path["container"])
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, nil // 204
	}
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK}, nil
}
