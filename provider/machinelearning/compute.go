package machinelearning

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/compute"
	"vauban.dev/internal/isotime"
	"vauban.dev/locks"
)

// Compute is the properties of a compute resource. Nodes run for an AmlCompute; others are object only (attached.go).
type Compute struct {
	ComputeType      string      `json:"computeType"`
	ComputeLocation  string      `json:"computeLocation,omitempty"`
	Description      string      `json:"description,omitempty"`
	DisableLocalAuth *bool       `json:"disableLocalAuth,omitempty"`
	Aml              *AmlCompute `json:"properties,omitempty"`

	CreatedOn  time.Time `json:"createdOn,omitzero" rp:"readonly"`
	ModifiedOn time.Time `json:"modifiedOn,omitzero" rp:"readonly"`
	IsAttached bool      `json:"isAttachedCompute" rp:"readonly"`
	ResourceID *string   `json:"resourceId"`
	Errors     []any     `json:"provisioningErrors" rp:"readonly"`
}

// AmlCompute is a training cluster (Machine Learning REST: AmlComputeProperties).
type AmlCompute struct {
	VMSize       string       `json:"vmSize,omitempty"`
	VMPriority   string       `json:"vmPriority,omitempty"`
	OSType       string       `json:"osType,omitempty"`
	Scale        *Scale       `json:"scaleSettings,omitempty"`
	Subnet       *Reference   `json:"subnet,omitempty"`
	NodePublicIP *bool        `json:"enableNodePublicIp,omitempty"`
	RemoteLogin  string       `json:"remoteLoginPortPublicAccess,omitempty"`
	Isolated     *bool        `json:"isolatedNetwork,omitempty"`
	Account      *UserAccount `json:"userAccountCredentials,omitempty"`

	AllocationState   string      `json:"allocationState,omitempty" rp:"readonly"`
	AllocationChanged time.Time   `json:"allocationStateTransitionTime,omitzero" rp:"readonly"`
	CurrentNodes      *int        `json:"currentNodeCount,omitempty" rp:"readonly"`
	TargetNodes       *int        `json:"targetNodeCount,omitempty" rp:"readonly"`
	Counts            *NodeCounts `json:"nodeStateCounts,omitempty" rp:"readonly"`
	Errors            []ErrorBody `json:"errors,omitzero" rp:"readonly"`

	Attached
}

// Scale is how many nodes a cluster has.
type Scale struct {
	Min  int    `json:"minNodeCount"`
	Max  int    `json:"maxNodeCount"`
	Idle string `json:"nodeIdleTimeBeforeScaleDown,omitempty"` // ISO 8601 duration
}

// UserAccount is who may log in on the nodes.
type UserAccount struct {
	Name     string `json:"adminUserName"`
	Key      string `json:"adminUserSshPublicKey,omitempty"`
	Password string `json:"adminUserPassword,omitempty" rp:"secret"`
}

// Reference to a resource.
type Reference struct {
	ID string `json:"id"`
}

// NodeCounts counts the nodes of a cluster by state.
type NodeCounts struct {
	Idle      int `json:"idleNodeCount"`
	Running   int `json:"runningNodeCount"`
	Preparing int `json:"preparingNodeCount"`
	Unusable  int `json:"unusableNodeCount"`
	Leaving   int `json:"leavingNodeCount"`
	Preempted int `json:"preemptedNodeCount"`
}

// ErrorBody wraps an error as the ML service nests it.
type ErrorBody struct {
	Error *arm.Error `json:"error"`
}

const subnetType = "microsoft.network/virtualnetworks/subnets"

func (p *Provider) computeType() rp.Registration {
	return rp.Of(rp.Type[Compute]{
		Name: ComputeType, Kind: rp.Proxy, Versions: rp.Versions[Compute](versions...),
		NamePattern: `^[a-zA-Z][a-zA-Z0-9-]{0,22}[a-zA-Z0-9]$`,
		NameRule:    "It must be between 2 and 24 characters long, start with a letter, and contain letters, digits and hyphens; it cannot end with a hyphen.",
		Default:     defaultCompute,
		Validate:    validateCompute,
		Admit:       p.admitCompute,
		Links: func(r *rp.Resource[Compute]) []rp.Link {
			if a := r.Properties.Aml; a != nil && a.Subnet != nil {
				if id, err := arm.ParseID(a.Subnet.ID); err == nil {
					return []rp.Link{{Action: "Microsoft.Network/virtualNetworks/subnets/join/action", ID: id}}
				}
			}
			return nil
		},
		Reconcile: p.reconcileCluster,
		Present:   p.presentCompute,
		Release:   releaseCompute,
		Finalize:  p.finalizeCluster,
		Actions:   p.computeActions(),
	})
}

func defaultCompute(_ string, r *rp.Resource[Compute]) {
	c := &r.Properties
	if c.ComputeLocation == "" {
		c.ComputeLocation = r.Location
	}
	a := c.Aml
	if !c.cluster() {
		return
	}
	c.ResourceID = nil
	if a == nil {
		return
	}
	if a.VMPriority == "" {
		a.VMPriority = "Dedicated"
	}
	if a.OSType == "" {
		a.OSType = "Linux"
	}
	if a.RemoteLogin == "" {
		a.RemoteLogin = "NotSpecified"
	}
	if a.NodePublicIP == nil {
		yes := true
		a.NodePublicIP = &yes
	}
	if a.Scale == nil {
		a.Scale = &Scale{Max: 1}
	}
	if a.Scale.Idle == "" {
		a.Scale.Idle = "PT120S"
	}
}

func validateCompute(op rp.Op, new, old *rp.Resource[Compute]) error {
	c := &new.Properties
	switch {
	case c.ComputeType == "":
		return userError("properties.computeType is missing.")
	case op == rp.Update && !strings.EqualFold(old.Properties.ComputeType, c.ComputeType):
		return userError("properties.computeType of a compute cannot be changed: it is %s.", old.Properties.ComputeType)
	case !c.cluster():
		return validateAttached(c)
	case c.Aml == nil:
		return userError("properties.properties of an AmlCompute is missing.")
	}
	a := c.Aml
	switch {
	case a.VMSize == "":
		return userError("properties.properties.vmSize is missing.")
	case sizeOf(a.VMSize) == nil:
		return userError("properties.properties.vmSize '%s' is not available in location '%s'.", a.VMSize, c.ComputeLocation)
	case a.Scale.Min < 0 || a.Scale.Max < 1 || a.Scale.Min > a.Scale.Max || a.Scale.Max > 100:
		return userError("scaleSettings: 0 ≤ minNodeCount (%d) ≤ maxNodeCount (%d) ≤ 100 does not hold.", a.Scale.Min, a.Scale.Max)
	case a.OSType != "Linux":
		return arm.NotImplemented("properties.properties.osType '%s': nodes run Linux.", a.OSType)
	case a.VMPriority != "Dedicated":
		return arm.NotImplemented("properties.properties.vmPriority '%s': low-priority nodes are not there yet.", a.VMPriority)
	}
	if _, err := isotime.ParseDuration(a.Scale.Idle); err != nil {
		return userError("scaleSettings.nodeIdleTimeBeforeScaleDown '%s' is not an ISO 8601 duration.", a.Scale.Idle)
	}
	if a.Subnet != nil {
		id, err := arm.ParseID(a.Subnet.ID)
		if err != nil || id.Type().Key() != subnetType {
			return userError("properties.properties.subnet.id '%s' is not the id of a subnet.", a.Subnet.ID)
		}
	}
	switch {
	case !slices.Contains([]string{"Enabled", "Disabled", "NotSpecified"}, a.RemoteLogin):
		return userError("properties.properties.remoteLoginPortPublicAccess '%s' is none of Enabled, Disabled, NotSpecified.", a.RemoteLogin)
	case op == rp.Update && a.rebuilt(old.Properties.Aml):
		return userError("Only scaleSettings, tags and description of a cluster can be changed: delete and recreate it to change its size, subnet, enableNodePublicIp, remote login or administrator.")
	case op == rp.Create && a.Account != nil && (a.Account.Name == "" || a.Account.Key == "" && a.Account.Password == ""):
		return userError("properties.properties.userAccountCredentials needs adminUserName, and adminUserSshPublicKey or adminUserPassword.")
	}
	return nil
}

// rebuilt reports whether a cluster would have to be made anew to become this one. What an update leaves out stays.
func (a *AmlCompute) rebuilt(old *AmlCompute) bool {
	account := a.Account
	return subnetID(old) != subnetID(a) || *old.NodePublicIP != *a.NodePublicIP || !strings.EqualFold(old.VMSize, a.VMSize) ||
		a.RemoteLogin != "NotSpecified" && a.RemoteLogin != old.RemoteLogin ||
		account != nil && (old.Account == nil || account.Name != old.Account.Name || account.Key != "" && account.Key != old.Account.Key)
}

func subnetID(a *AmlCompute) string {
	if a.Subnet == nil {
		return ""
	}
	return strings.ToLower(a.Subnet.ID)
}

func (p *Provider) admitCompute(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Compute]) error {
	c, a := &new.Properties, new.Properties.Aml
	c.ModifiedOn = tx.Now
	if !c.cluster() {
		return p.admitAttached(tx, op, new)
	}
	if op == rp.Update {
		a.Account, a.RemoteLogin = old.Properties.Aml.Account, old.Properties.Aml.RemoteLogin
		return nil
	}
	c.CreatedOn = tx.Now
	a.AllocationState, a.AllocationChanged = "Steady", tx.Now
	w, err := Get(tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if new.Location == "" {
		new.Location = w.Location
		c.ComputeLocation = w.Location
	}
	if err := withinQuotas(tx, new); err != nil {
		return err
	}
	if !*a.NodePublicIP {
		// The specification (training, "no public IP"): such compute speaks to the service by the
		// workspace's private endpoint.
		if a.Subnet == nil {
			return userError("enableNodePublicIp is false: a cluster without public IP needs properties.properties.subnet.")
		}
		if w.Properties.PrivateLinks == 0 {
			return userError("enableNodePublicIp is false: a compute without public IP needs a private endpoint of the workspace '%s', through which it communicates with Azure Machine Learning.", w.ID.Name())
		}
	}
	if a.Subnet == nil {
		return nil
	}
	subnet, err := arm.ParseID(a.Subnet.ID)
	if err != nil {
		return err
	}
	if !strings.EqualFold(subnet.Subscription(), w.ID.Subscription()) {
		return userError("The virtual network of subnet '%s' must be in the subscription of the workspace.", subnet)
	}
	if err := networkLocked(tx, locks.Write, new); err != nil {
		return err
	}
	return p.Network.CheckSubnet(tx, subnet, w.Location)
}

func (p *Provider) presentCompute(_ context.Context, tx *rp.Tx, r *rp.Resource[Compute]) error {
	a := r.Properties.Aml
	if !r.Properties.cluster() || a == nil {
		return nil
	}
	nodes, err := nodesOf(tx, r.ID)
	if err != nil {
		return err
	}
	a.Counts = &NodeCounts{}
	for _, n := range nodes {
		switch n.State {
		case compute.NodeCreating, compute.NodeStarting:
			a.Counts.Preparing++
		case compute.NodeIdle:
			a.Counts.Idle++
		case compute.NodeRunning:
			a.Counts.Running++
		case compute.NodeLeaving:
			a.Counts.Leaving++
		case compute.NodePreempted:
			a.Counts.Preempted++
		case compute.NodeUnusable:
			a.Counts.Unusable++
		}
	}
	current, target := len(nodes), len(nodes)-a.Counts.Leaving
	a.CurrentNodes, a.TargetNodes = &current, &target
	a.AllocationState = "Steady"
	if a.Counts.Preparing+a.Counts.Leaving > 0 {
		a.AllocationState = "Resizing"
	}
	if a.Errors, err = noted(tx, r.ID); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Error != nil && !slices.ContainsFunc(a.Errors, func(e ErrorBody) bool { return e.Error.Message == n.Error.Message }) {
			a.Errors = append(a.Errors, ErrorBody{n.Error})
		}
	}
	return nil
}

func (p *Provider) listNodes(_ context.Context, tx *rp.Tx, r *rp.Resource[Compute], _ []byte) (any, error) {
	nodes, err := nodesOf(tx, r.ID)
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, n := range nodes {
		e := map[string]any{"nodeId": n.ID, "nodeState": shownState(n.State), "privateIpAddress": n.NIC.Private, "runId": n.Task, "port": 22}
		if n.NIC.Public != "" {
			e["publicIpAddress"] = n.NIC.Public
		}
		if n.NIC.SSH != 0 {
			e["port"] = n.NIC.SSH
		}
		list = append(list, e)
	}
	return map[string]any{"nodes": list}, nil
}

// shownState is a state as Azure names it: idle, running, preparing, unusable, leaving, preempted.
func shownState(s compute.NodeState) string {
	if s == compute.NodeCreating || s == compute.NodeStarting {
		return "preparing"
	}
	return string(s)
}

// Sizes are the virtual machine sizes that the region has.
func Sizes() []Size { return slices.Clone(sizes) }

func sizeOf(name string) *Size {
	i := slices.IndexFunc(sizes, func(s Size) bool { return strings.EqualFold(s.Name, name) })
	if i < 0 {
		return nil
	}
	return &sizes[i]
}

func listSizes(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	all := slices.Clone(sizes)
	for i := range all {
		all[i].Supported = []string{"AmlCompute"}
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"value": all, "amlCompute": all}}, nil
}
