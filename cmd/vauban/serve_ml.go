package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/blob"
	"vauban.dev/dataplane/runhistory"
	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/store"
)

// machines tells IMDS what stands behind a NIC: a virtual machine, or a node, which has the identity of its cluster.
type machines struct{ *world }

func (m machines) node(ctx context.Context, nic string) (machinelearning.NodeInfo, error) {
	nodes, err := m.ml.Nodes(ctx)
	if err != nil {
		return machinelearning.NodeInfo{}, err
	}
	for _, n := range nodes {
		if n.NIC == nic {
			return n, nil
		}
	}
	return machinelearning.NodeInfo{}, entra.ErrNoMachine
}

func (m machines) Identities(ctx context.Context, nic string) (out []entra.ManagedIdentity, err error) {
	vm, err := m.vm(ctx, nic)
	if err != nil {
		return nil, err
	}
	if vm != nil {
		return m.identities(ctx, vm.Identity)
	}
	script, err := m.script(ctx, nic)
	if err != nil {
		return nil, err
	}
	if script != nil {
		return m.identities(ctx, script.Identity)
	}
	n, err := m.node(ctx, nic)
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(n.Cluster)
	if err != nil {
		return nil, err
	}
	var c *rp.Resource[machinelearning.Compute]
	err = m.engine.View(ctx, func(tx *rp.Tx) error {
		c, err = rp.Get[machinelearning.Compute](tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.identities(ctx, c.Identity)
}

// identities are those of a resource's identity block.
func (m machines) identities(ctx context.Context, i *arm.Identity) (out []entra.ManagedIdentity, err error) {
	if i == nil {
		return nil, nil
	}
	if i.PrincipalID != "" {
		err = m.engine.View(ctx, func(tx *rp.Tx) error {
			sp, err := m.entra.ByObjectID(tx, i.PrincipalID)
			if err != nil {
				return err
			}
			out = append(out, entra.ManagedIdentity{Kind: directory.SystemAssigned, ObjectID: sp.ObjectID, ClientID: sp.AppID})
			return nil
		})
	}
	for user, u := range i.UserAssignedIdentities {
		out = append(out, entra.ManagedIdentity{Kind: directory.UserAssigned, ObjectID: u.PrincipalID, ClientID: u.ClientID, ResourceID: user})
	}
	return out, err
}

func (m machines) Instance(ctx context.Context, nic string) (out entra.Instance, err error) {
	vm, err := m.vm(ctx, nic)
	if err != nil {
		return out, err
	}
	if vm != nil {
		c := &out.Compute
		c.AzEnvironment, c.Location, c.Name, c.OSType = "AzurePublicCloud", vm.Location, vm.ID.Name(), "Linux"
		c.SubscriptionID, c.ResourceGroupName, c.ResourceID, c.VMID = vm.ID.Subscription(), vm.ID.ResourceGroup(), vm.ID.String(), vm.Properties.VMID
		return out, nil
	}
	script, err := m.script(ctx, nic)
	if err != nil {
		return out, err
	}
	if script != nil { // a container, of which the service says nothing
		return out, entra.ErrNoMachine
	}
	n, err := m.node(ctx, nic)
	if err != nil {
		return out, err
	}
	id, err := arm.ParseID(n.Cluster)
	if err != nil {
		return out, err
	}
	c := &out.Compute
	c.AzEnvironment, c.Location, c.Name, c.OSType = "AzurePublicCloud", m.settings.Location, n.ID, "Linux"
	c.SubscriptionID, c.ResourceGroupName, c.ResourceID, c.VMID = id.Subscription(), id.ResourceGroup(), nic, n.ID
	return out, nil
}

// mlWorkspaces answers dataplane/runhistory from provider/machinelearning.
type mlWorkspaces struct {
	byID, byGUID *rp.Memo[runhistory.Workspace]
} // by lower-case id

func newMLWorkspaces(engine *rp.Engine) mlWorkspaces {
	return mlWorkspaces{
		byID: rp.NewMemo(engine, func(tx *rp.Tx, key string) (runhistory.Workspace, error) {
			id, err := arm.ParseID(key)
			if err != nil {
				return runhistory.Workspace{}, err
			}
			return mlWorkspace(machinelearning.Get(tx, id))
		}),
		byGUID: rp.NewMemo(engine, func(tx *rp.Tx, guid string) (runhistory.Workspace, error) {
			return mlWorkspace(machinelearning.ByGUID(tx, guid))
		}),
	}
}

func mlWorkspace(w *rp.Resource[machinelearning.Workspace], err error) (out runhistory.Workspace, _ error) {
	if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
		return out, runhistory.ErrNoWorkspace
	}
	if err != nil {
		return out, err
	}
	account, err := arm.ParseID(w.Properties.StorageAccount)
	if err != nil {
		return out, err
	}
	out = runhistory.Workspace{
		ID: w.ID, GUID: w.Properties.WorkspaceID, Location: w.Location, Host: machinelearning.DataHost(w),
		Firewall: machinelearning.Firewall(w), StorageAccount: accountName(account),
	}
	if w.Identity != nil {
		out.IdentityObjectID = w.Identity.PrincipalID
	}
	return out, nil
}

func (m mlWorkspaces) Lookup(ctx context.Context, id arm.ID) (runhistory.Workspace, error) {
	return m.byID.Get(ctx, id.Key())
}

func (m mlWorkspaces) ByGUID(ctx context.Context, guid string) (runhistory.Workspace, error) {
	return m.byGUID.Get(ctx, strings.ToLower(guid))
}

// mlBlobs gives the ML data plane the workspace's files.
type mlBlobs struct{ blobs *blob.Service }

func (b mlBlobs) List(ctx context.Context, account, container, prefix, after string, limit int) ([]runhistory.Blob, error) {
	page, err := b.blobs.List(ctx, account, container, blob.ListOptions{Prefix: prefix, After: after, MaxResults: limit})
	if blob.IsCode(err, blob.CodeContainerNotFound) {
		return nil, nil
	}
	out := make([]runhistory.Blob, len(page.Blobs))
	for i, x := range page.Blobs {
		out[i] = runhistory.Blob{Name: x.Name, ETag: x.ETag, Size: x.Size, Created: x.Created}
	}
	return out, err
}

func (b mlBlobs) Stat(ctx context.Context, account, container, name string) (runhistory.Blob, error) {
	x, err := b.blobs.Stat(ctx, account, container, name)
	if blob.IsCode(err, blob.CodeContainerNotFound, blob.CodeBlobNotFound) {
		return runhistory.Blob{}, runhistory.ErrNoBlob
	}
	return runhistory.Blob{Name: x.Name, ETag: x.ETag, Size: x.Size, Created: x.Created}, err
}

func (b mlBlobs) SAS(ctx context.Context, account, container, name, permissions string, expiry time.Time) (string, error) {
	url, err := b.blobs.SAS(ctx, blob.SASRequest{Account: account, Container: container, Blob: name, Permissions: permissions, Expiry: expiry})
	return url, armBlobError(err)
}
