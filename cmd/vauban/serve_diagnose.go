package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/audit"
	"vauban.dev/authz"
	"vauban.dev/diagnose"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
	"vauban.dev/firewall"
	"vauban.dev/locks"
	kvprovider "vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/network"
	"vauban.dev/provider/objects"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/storage"
	"vauban.dev/region"
)

// diagnose is the action of a workspace: its resources as package diagnose asks for them, and connections of its own.
func (w *world) diagnose(ctx context.Context, id arm.ID) (*diagnose.Report, error) {
	if err := w.sync.Sync(ctx); err != nil {
		return nil, err
	}
	d := &diagnosis{world: w, out: &diagnose.Workspace{}}
	if err := w.engine.View(ctx, func(tx *rp.Tx) error { return d.read(ctx, tx, id) }); err != nil {
		return nil, err
	}
	profile, err := audit.ProfileAsOf("")
	if err != nil {
		return nil, err
	}
	d.out.Profile = profile
	for _, namespace := range []string{machinelearning.Namespace, "Microsoft.Storage", "Microsoft.KeyVault", "Microsoft.ContainerRegistry", "Microsoft.Insights"} {
		ok, err := w.engine.Registered(ctx, id.Subscription(), namespace)
		if err != nil {
			return nil, err
		}
		if !ok {
			d.out.Unregistered = append(d.out.Unregistered, namespace)
		}
	}
	if err := d.sites(ctx); err != nil {
		return nil, err
	}
	if d.out.Names, err = w.examineNames(ctx); err != nil {
		return nil, err
	}
	return diagnose.Run(ctx, d.out, w.meet)
}

// diagnosis gathers what a workspace is diagnosed by.
type diagnosis struct {
	*world
	out      *diagnose.Workspace
	subnets  []site
	hbi      bool
	identity *authz.Principal
}

// site is a subnet to ask from.
type site struct {
	subnet   string
	nodes    bool
	publicIP bool
}

func (d *diagnosis) read(ctx context.Context, tx *rp.Tx, id arm.ID) error {
	ws, err := rp.Get[machinelearning.Workspace](tx, id)
	if err != nil {
		return err
	}
	o, p := d.out, &ws.Properties
	o.ID, o.Location, o.Host, o.Public, o.ImageBuild = ws.ID.String(), ws.Location, machinelearning.Host(ws), p.PublicNetworkAccess == "Enabled", p.ImageBuildCompute != ""
	d.hbi = p.HBI
	if i := ws.Identity; i != nil && i.PrincipalID != "" {
		o.Identity = i.PrincipalID
		s, err := d.entra.StandingIn(ctx, tx, i.PrincipalID)
		if err != nil {
			return err
		}
		d.identity = &authz.Principal{TenantID: s.TenantID, ObjectID: s.ID, Name: s.Name, Type: s.PrincipalType(), Groups: s.Groups, Resource: s.Resource}
	}
	if err := d.endpoints(tx, ws.ID); err != nil {
		return err
	}
	if err := d.computes(tx, ws.ID); err != nil {
		return err
	}
	parts := []string{ws.ID.String(), p.StorageAccount, p.KeyVault, p.ContainerRegistry, p.ApplicationInsights}
	for i, read := range []func(context.Context, *rp.Tx, arm.ID, *diagnose.Part) error{d.account, d.vault, d.registry, d.insights} {
		if parts[i+1] == "" {
			continue
		}
		part := diagnose.Part{Kind: []diagnose.Kind{diagnose.StorageAccount, diagnose.KeyVault, diagnose.ContainerRegistry, diagnose.ApplicationInsights}[i], ID: parts[i+1]}
		target, err := arm.ParseID(part.ID)
		if err != nil {
			return err
		}
		err = read(ctx, tx, target, &part)
		if isStatus(err, http.StatusNotFound) {
			part.Missing, err = "does not exist", nil
		}
		if err != nil {
			return err
		}
		o.Parts = append(o.Parts, part)
	}
	return d.locks(tx, parts)
}

// endpoints are those that lead to the workspace, and their subnets.
func (d *diagnosis) endpoints(tx *rp.Tx, ws arm.ID) error {
	all, err := privatelink.Connections(tx, ws)
	if err != nil {
		return err
	}
	for _, c := range all {
		e := diagnose.Endpoint{ID: c.Properties.PrivateEndpoint.ID, State: c.Properties.State.Status}
		id, err := arm.ParseID(e.ID)
		if err != nil {
			return err
		}
		r, err := rp.Get[network.Endpoint](tx, id)
		if err == nil && r.Properties.Subnet != nil {
			var subnet arm.ID
			if subnet, err = arm.ParseID(r.Properties.Subnet.ID); err != nil {
				return err
			}
			e.VNet = subnet.Parent().String()
			if e.State == "Approved" {
				d.from(site{subnet: subnet.String()})
			}
		} else if err != nil && !isStatus(err, http.StatusNotFound) {
			return err
		}
		d.out.Endpoints = append(d.out.Endpoints, e)
	}
	return nil
}

func (d *diagnosis) computes(tx *rp.Tx, ws arm.ID) error {
	all, err := rp.List[machinelearning.Compute](tx, machinelearning.ComputeType, ws)
	for _, c := range all {
		aml := c.Properties.Aml
		if aml == nil || c.Properties.ComputeType != "AmlCompute" {
			continue
		}
		d.out.Clusters++
		if aml.Subnet != nil {
			d.from(site{aml.Subnet.ID, true, aml.NodePublicIP == nil || *aml.NodePublicIP})
		}
	}
	return err
}

// from adds a subnet; one that nodes stand in counts as theirs.
func (d *diagnosis) from(s site) {
	i := slices.IndexFunc(d.subnets, func(x site) bool { return strings.EqualFold(x.subnet, s.subnet) })
	if i < 0 {
		d.subnets = append(d.subnets, s)
		return
	}
	d.subnets[i].nodes, d.subnets[i].publicIP = d.subnets[i].nodes || s.nodes, d.subnets[i].publicIP || s.publicIP
}

// granted asks for a data permission of the workspace's identity.
func (d *diagnosis) granted(ctx context.Context, role, action, at string) ([]diagnose.Grant, error) {
	if d.identity == nil {
		return nil, nil
	}
	decision, err := d.access.Check(ctx, *d.identity, authz.Request{Action: action, Data: true, Scope: at})
	return []diagnose.Grant{{Role: role, At: at, Decision: decision}}, err
}

func (d *diagnosis) account(ctx context.Context, tx *rp.Tx, id arm.ID, part *diagnose.Part) error {
	a, err := rp.Get[storage.Account](tx, id)
	if err != nil {
		return err
	}
	part.Location, part.Host = a.Location, strings.ToLower(id.Name())+".blob.core.windows.net"
	part.Closed = closedToPublic(a.Properties.PublicNetworkAccess)
	if k := a.Properties.AllowSharedKey; k != nil && !*k {
		part.Found = append(part.Found, diagnose.Result{Code: "StorageAccountSharedKeyDisabled", Level: diagnose.Warning,
			Message: fmt.Sprintf("allowSharedKeyAccess of %s is false: datastores with a stored key, and what is signed with the account's keys, are refused. Use identity-based datastores, or az storage account update --allow-shared-key-access true. See https://learn.microsoft.com/azure/machine-learning/how-to-disable-local-auth-storage", id)})
	}
	part.Grants, err = d.granted(ctx, "Storage Blob Data Contributor", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", id.String())
	return err
}

func closedToPublic(access string) bool {
	return access != "" && !strings.EqualFold(access, firewall.Enabled)
}

func (d *diagnosis) vault(ctx context.Context, tx *rp.Tx, id arm.ID, part *diagnose.Part) error {
	v, err := rp.Get[kvprovider.Vault](tx, id)
	if isStatus(err, http.StatusNotFound) {
		if deleted, err := kvprovider.IsDeleted(tx, id); err != nil || deleted {
			part.Missing = "is deleted and can be recovered: az keyvault recover -n " + id.Name()
			return err
		}
	}
	if err != nil {
		return err
	}
	part.Location, part.Host = v.Location, strings.ToLower(id.Name())+".vault.azure.net"
	part.Closed = closedToPublic(v.Properties.PublicNetworkAccess)
	if rbac := v.Properties.RBAC; rbac == nil || !*rbac {
		if d.identity != nil {
			part.Grants = []diagnose.Grant{{Role: "an access policy for secrets", At: id.String(), Decision: byPolicies(v.Properties.AccessPolicies, *d.identity)}}
		}
		return nil
	}
	part.Grants, err = d.granted(ctx, "Key Vault Administrator", "Microsoft.KeyVault/vaults/secrets/setSecret/action", id.String())
	return err
}

func (d *diagnosis) registry(_ context.Context, tx *rp.Tx, id arm.ID, part *diagnose.Part) error {
	r, err := rp.Get[objects.Registry](tx, id)
	if err != nil {
		return err
	}
	part.Location = r.Location
	if r.Properties.PublicNetworkAccess == "Disabled" && !d.out.ImageBuild {
		part.Found = append(part.Found, diagnose.Result{Code: "ContainerRegistryNeedsImageBuildCompute", Level: diagnose.Error,
			Message: fmt.Sprintf("publicNetworkAccess of %s is Disabled: registries behind a virtual network build no images themselves. Name a cluster that does: az ml workspace update --image-build-compute NAME. See https://learn.microsoft.com/azure/machine-learning/how-to-secure-workspace-vnet", id)})
	}
	return nil
}

func (d *diagnosis) insights(_ context.Context, tx *rp.Tx, id arm.ID, part *diagnose.Part) error {
	r, err := rp.Get[objects.Component](tx, id)
	if err != nil {
		return err
	}
	part.Location = r.Location
	if r.Properties.WorkspaceResourceID == "" {
		part.Found = append(part.Found, diagnose.Result{Code: "ApplicationInsightsClassic", Level: diagnose.Warning,
			Message: fmt.Sprintf("%s stands on no Log Analytics workspace: classic Application Insights is retired. Migrate it: az monitor app-insights component update --workspace ID. See https://learn.microsoft.com/azure/azure-monitor/app/create-workspace-resource", id)})
	}
	return nil
}

// locks are those that hold on the workspace and its parts, and on the groups of its networks.
func (d *diagnosis) locks(tx *rp.Tx, parts []string) error {
	set, err := rp.Locks(tx)
	if err != nil {
		return err
	}
	for _, s := range d.subnets {
		if id, err := arm.ParseID(s.subnet); err == nil && s.nodes {
			parts = append(parts, id.Parent().String())
		}
	}
	seen := map[string]bool{}
	for _, part := range parts {
		id, err := arm.ParseID(part)
		if err != nil { // an empty reference
			continue
		}
		for _, l := range set.Holding(locks.Delete, id) {
			scope := l.ID.Scope()
			if !seen[l.ID.Key()] {
				seen[l.ID.Key()] = true
				d.out.Locks = append(d.out.Locks, diagnose.Lock{ID: l.ID.String(), Scope: scope.String(), ReadOnly: l.Level != locks.CanNotDelete, Group: scope.Namespace() == ""})
			}
		}
	}
	return nil
}

// sites looks from a machine that stands in each subnet; into a subnet without one it puts an interface, as `vauban exec`
// does. A subnet that has no address for it is a result of its own.
func (d *diagnosis) sites(ctx context.Context) error {
	d.out.CustomDNS = map[string][]netip.Addr{}
	current := d.sync.current.Load()
	for _, s := range d.subnets {
		id := arm.MustParseID(s.subnet)
		place := audit.Place{From: s.subnet, Title: "subnet " + id.Parent().Name() + "/" + id.Name()}
		var full bool
		if place.At, full = current.standingIn(s.subnet); full && s.nodes {
			d.out.Full = append(d.out.Full, s.subnet)
		}
		if place.At.ID == "" {
			var err error
			if _, place.At, err = d.where(ctx, region.PlaceParams{Subnet: s.subnet}, true); err != nil {
				if ctx.Err() != nil {
					return err
				}
				d.log.Warn("diagnose: no interface in a subnet", "subnet", s.subnet, "err", err)
				continue
			}
			current = d.sync.current.Load()
		}
		world, err := d.audited(ctx, current)
		if err != nil {
			return err
		}
		d.out.Sites = append(d.out.Sites, diagnose.Site{
			Subject: audit.Subject{Place: place, PublicIP: s.publicIP, Region: d.out.Location, HBI: d.hbi}, VNet: id.Parent().String(), Nodes: s.nodes, World: world})
	}
	for _, v := range current.topology.VNets {
		d.out.CustomDNS[strings.ToLower(v.ID)] = current.resolvers[v.ID].Servers
	}
	return nil
}

// standingIn is a machine's interface in a subnet that only the subnet's rules hold for, and whether the subnet is full.
func (v *netView) standingIn(subnet string) (at fabric.Place, full bool) {
	for i := range v.topology.VNets {
		net := &v.topology.VNets[i]
		for _, s := range net.Subnets {
			if !strings.EqualFold(s.ID, subnet) {
				continue
			}
			for _, n := range net.NICs {
				if n.Subnet == s.ID && n.Kind == fabric.Guest && n.NSG == "" {
					at = fabric.Place{Kind: fabric.AtNIC, ID: n.ID}
				}
			}
			_, free := explain.FreeAddress(net, s.ID)
			return at, !free
		}
	}
	return at, false
}

// asks are what is asked of a data plane without a token: its firewall answers 403, what comes after it something else.
func asks(host string) string {
	switch {
	case strings.HasSuffix(host, ".blob.core.windows.net"):
		return "/?comp=list"
	case strings.HasSuffix(host, ".vault.azure.net"):
		return "/secrets?api-version=7.4"
	}
	return "/mlflow/v2.0/"
}

// meet connects to a host from a place and asks it.
func (w *world) meet(ctx context.Context, at fabric.Place, host string, addr netip.Addr) (seen diagnose.Observed, _ error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := w.driver.Dial(ctx, at, "tcp", netip.AddrPortFrom(addr, 443).String())
	if errors.Is(err, linux.ErrNoNamespace) { // the subnet took no interface
		return seen, err
	}
	if err != nil {
		seen.Text = "no connection: " + err.Error()
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			seen.Text = "no answer"
		}
		return seen, nil
	}
	defer conn.Close()
	seen.Connected = true
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.authority.PEM())
	c := tls.Client(conn, &tls.Config{ServerName: host, RootCAs: roots, NextProtos: []string{"http/1.1"}})
	if err := conn.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return seen, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+asks(host), nil)
	if err != nil {
		return seen, err
	}
	q.Header.Set("X-Ms-Version", "2023-11-03")
	var resp *http.Response
	if err = q.Write(c); err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(c), q)
	}
	if err != nil {
		seen.Text = "a connection, and no answer to what it asked: " + err.Error()
		return seen, nil
	}
	defer resp.Body.Close()
	code := errorCode(resp)
	seen.Text = strings.TrimSpace(resp.Status + " " + code)
	if resp.StatusCode == http.StatusForbidden {
		seen.Firewall = "403 " + code
	}
	return seen, nil
}

// errorCode is the code of an error in a form of Azure's data planes.
func errorCode(resp *http.Response) string {
	if code := resp.Header.Get("X-Ms-Error-Code"); code != "" {
		return code
	}
	var body struct {
		Error struct {
			Code       string
			InnerError struct{ Code string }
		}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(data, &body) != nil {
		return ""
	}
	if body.Error.InnerError.Code != "" {
		return body.Error.InnerError.Code
	}
	return body.Error.Code
}
