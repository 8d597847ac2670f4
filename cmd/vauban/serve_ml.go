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
	"vauban.dev/fabric"
	"vauban.dev/firewall"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
	kvprovider "vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// machines tells IMDS what stands behind a NIC: a node has the identity of its cluster.
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
	n, err := m.node(ctx, nic)
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(n.Cluster)
	if err != nil {
		return nil, err
	}
	err = m.engine.View(ctx, func(tx *rp.Tx) error {
		c, err := rp.Get[machinelearning.Compute](tx, id)
		if err != nil || c.Identity == nil {
			return err
		}
		if c.Identity.PrincipalID != "" {
			sp, err := m.entra.ByObjectID(tx, c.Identity.PrincipalID)
			if err != nil {
				return err
			}
			out = append(out, entra.ManagedIdentity{Kind: entra.SystemAssigned, ObjectID: sp.ObjectID, ClientID: sp.AppID})
		}
		for user, u := range c.Identity.UserAssignedIdentities {
			out = append(out, entra.ManagedIdentity{Kind: entra.UserAssigned, ObjectID: u.PrincipalID, ClientID: u.ClientID, ResourceID: user})
		}
		return nil
	})
	return out, err
}

func (m machines) Instance(ctx context.Context, nic string) (out entra.Instance, err error) {
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

// originOf is the origin that the destination of an explained flow would see.
func originOf(v *netView, vnet string, nic fabric.NIC, e fabric.Explanation) origin.Origin {
	o := origin.Origin{Kind: origin.Internet, Source: e.Source}
	for _, n := range v.nics[vnet] {
		for _, a := range n.Addrs {
			if a == e.Flow.Dst && n.Kind == fabric.Endpoint && n.Service != nil {
				return origin.Origin{Kind: origin.PrivateEndpoint, Source: e.Source, VNet: vnet, NIC: nic.ID, Subnet: nic.Subnet,
					Endpoint: n.ID, Target: n.Service.Target, GroupID: n.Service.GroupID}
			}
		}
	}
	return o
}

// serviceFirewall is what the firewall of the service behind a host name says of an origin; known is false
// for names that have none.
func (w *world) serviceFirewall(ctx context.Context, host string, o origin.Origin) (d firewall.Decision, known bool, err error) {
	host = httpx.CanonicalHost(host)
	label, suffix, _ := strings.Cut(host, ".")
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		var rules firewall.Rules
		switch {
		case suffix == "blob.core.windows.net":
			r, err := storage.ByName(tx, label)
			if err != nil {
				return err
			}
			rules = storage.Firewall(r, "blob")
		case suffix == "vault.azure.net":
			r, err := kvprovider.ByName(tx, label)
			if err != nil {
				return err
			}
			rules = kvprovider.Firewall(r)
		case strings.HasSuffix(host, ".workspace."+w.settings.Location+".api.azureml.ms"):
			r, err := machinelearning.ByGUID(tx, label)
			if err != nil {
				return err
			}
			rules = machinelearning.Firewall(r)
		default:
			return nil
		}
		d, known = firewall.Decide(rules, o), true
		return nil
	})
	if err == store.ErrNotFound {
		err = nil
	}
	return d, known, err
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
		out[i] = runhistory.Blob{Name: x.Name, ETag: x.ETag, Created: x.Created}
	}
	return out, err
}

func (b mlBlobs) Stat(ctx context.Context, account, container, name string) (runhistory.Blob, error) {
	x, err := b.blobs.Stat(ctx, account, container, name)
	if blob.IsCode(err, blob.CodeContainerNotFound, blob.CodeBlobNotFound) {
		return runhistory.Blob{}, runhistory.ErrNoBlob
	}
	return runhistory.Blob{Name: x.Name, ETag: x.ETag, Created: x.Created}, err
}

func (b mlBlobs) SAS(ctx context.Context, account, container, name, permissions string, expiry time.Time) (string, error) {
	url, err := b.blobs.SAS(ctx, blob.SASRequest{Account: account, Container: container, Blob: name, Permissions: permissions, Expiry: expiry})
	return url, armBlobError(err)
}
