// Package diagnose finds what is wrong with a Machine Learning workspace, for the action `diagnose` of Resource Manager
// ("How to use workspace diagnostics"): each cause by the model that the region runs by, and by a connection from inside
// the virtual network beside it. It is as pure as packages explain and audit: who asks supplies the connections.
package diagnose

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"vauban.dev/audit"
	"vauban.dev/authz"
	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns/doctor"
)

// Level of a Result (Machine Learning REST: DiagnoseResultLevel).
type Level string

// Azure's levels.
const (
	Error       Level = "Error"       // something does not work
	Warning     Level = "Warning"     // something will not, or only for some
	Information Level = "Information" // as it is, and good to know
)

// Result is one thing that was found (Machine Learning REST: DiagnoseResult). The message says what, which rule, what
// confirmed it, what to change, and ends with the document that helps.
type Result struct {
	Code    string `json:"code"`
	Level   Level  `json:"level"`
	Message string `json:"message"`
}

// Report is what Azure answers (Machine Learning REST: DiagnoseResponseResultValue). No list is nil.
type Report struct {
	Routes   []Result `json:"userDefinedRouteResults"`
	Groups   []Result `json:"networkSecurityRuleResults"`
	Locks    []Result `json:"resourceLockResults"`
	Names    []Result `json:"dnsResolutionResults"`
	Storage  []Result `json:"storageAccountResults"`
	Vault    []Result `json:"keyVaultResults"`
	Registry []Result `json:"containerRegistryResults"`
	Insights []Result `json:"applicationInsightsResults"`
	Others   []Result `json:"otherResults"`
}

// Kind of a Part.
type Kind string

// What a workspace stands on.
const (
	StorageAccount      Kind = "storage account"
	KeyVault            Kind = "key vault"
	ContainerRegistry   Kind = "container registry"
	ApplicationInsights Kind = "Application Insights component"
)

// Part is a resource that the workspace stands on.
type Part struct {
	Kind     Kind
	ID       string
	Missing  string // why it is not there; "" if it is
	Location string
	Host     string // of its data plane, "" if it has none in the region
	// Closed: it takes no public connection at all.
	Closed bool
	// Grants are what the workspace's identity may or may not do there.
	Grants []Grant
	// Found are faults of its own properties.
	Found []Result
}

// Grant is a permission that the specification gives the workspace's identity.
type Grant struct {
	Role string // that has it, by name
	At   string // resource id
	authz.Decision
}

// Site is a subnet from where the workspace's work is done, or its private endpoints are asked.
type Site struct {
	audit.Subject
	VNet  string
	Nodes bool // its computes stand here
	World *audit.World
}

// Endpoint is a private endpoint that leads to the workspace.
type Endpoint struct {
	ID, VNet string
	State    string // Approved, Pending, Rejected, Disconnected
}

// Lock is a management lock on the workspace, what it stands on, or their groups.
type Lock struct {
	ID, Scope string
	ReadOnly  bool
	Group     bool // on a whole resource group or subscription
}

// Workspace is what is diagnosed.
type Workspace struct {
	ID, Location string
	Host         string // of its data plane
	Public       bool   // publicNetworkAccess is Enabled
	Identity     string // object id of its own identity, "" if it has none
	ImageBuild   bool   // imageBuildCompute is set
	Clusters     int    // how many clusters it has
	Sites        []Site
	Endpoints    []Endpoint
	Parts        []Part
	Locks        []Lock
	Grants       []Grant // at the workspace's own group
	Unregistered []string
	Full         []string // subnets of computes without a free address
	Profile      *audit.Profile
	// Names is what the DNS doctor says of the region, CustomDNS the servers of the VNets that have their own.
	Names     doctor.Report
	CustomDNS map[string][]netip.Addr
}

// Observed is what a connection from a site met.
type Observed struct {
	Connected bool
	Firewall  string // Azure's code, where the service's firewall refused what was asked
	Text      string // for people
}

// Probe asks host at addr from a place. Its error says that nothing could be tried.
type Probe func(ctx context.Context, at fabric.Place, host string, addr netip.Addr) (Observed, error)

// Documents that help, of Microsoft Learn.
const (
	learn        = "https://learn.microsoft.com/azure/"
	docEgress    = learn + "machine-learning/how-to-access-azureml-behind-firewall"
	docDNS       = learn + "machine-learning/how-to-custom-dns"
	docVNet      = learn + "machine-learning/how-to-secure-workspace-vnet"
	docPrivate   = learn + "machine-learning/how-to-configure-private-link"
	docIdentity  = learn + "machine-learning/how-to-identity-based-service-authentication"
	docLocks     = learn + "azure-resource-manager/management/lock-resources"
	docProviders = learn + "azure-resource-manager/management/resource-providers-and-types"
	docRegistry  = learn + "machine-learning/how-to-secure-workspace-vnet#enable-azure-container-registry-acr"
	docMoves     = learn + "machine-learning/how-to-high-availability-machine-learning"
	docInsights  = learn + "azure-monitor/app/create-workspace-resource"
)

// examination is one run.
type examination struct {
	*Workspace
	probe Probe
	out   Report
	said  map[string]bool // codes and messages, so that each cause is told once
	// private are the hosts that a site reaches by a private endpoint, by site and host.
	private map[string]bool
}

// Run diagnoses a workspace. probe nil leaves out the connections. The error is that of a check that could not be made.
func Run(ctx context.Context, w *Workspace, probe Probe) (*Report, error) {
	none := func() []Result { return []Result{} }
	x := &examination{Workspace: w, probe: probe, said: map[string]bool{}, private: map[string]bool{},
		out: Report{none(), none(), none(), none(), none(), none(), none(), none(), none()}}
	x.endpoints()
	x.parts()
	x.locks()
	x.names()
	x.others()
	if err := x.connections(ctx); err != nil {
		return nil, err
	}
	for i := range w.Sites {
		if err := x.required(ctx, &w.Sites[i]); err != nil {
			return nil, err
		}
	}
	return &x.out, nil
}

func (x *examination) add(list *[]Result, level Level, code, doc, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if x.said[code+message] {
		return
	}
	x.said[code+message] = true
	*list = append(*list, Result{code, level, message + " See " + doc})
}

// of is the list of a part's results.
func (x *examination) of(k Kind) *[]Result {
	switch k {
	case StorageAccount:
		return &x.out.Storage
	case KeyVault:
		return &x.out.Vault
	case ContainerRegistry:
		return &x.out.Registry
	case ApplicationInsights:
		return &x.out.Insights
	}
	return &x.out.Others
}

// codeOf begins the codes of a part's results.
func codeOf(k Kind) string {
	return map[Kind]string{StorageAccount: "StorageAccount", KeyVault: "KeyVault", ContainerRegistry: "ContainerRegistry", ApplicationInsights: "ApplicationInsights"}[k]
}

// endpoints: whether anybody gets to the workspace at all.
func (x *examination) endpoints() {
	approved := 0
	for _, e := range x.Endpoints {
		if e.State == "Approved" {
			approved++
			continue
		}
		x.add(&x.out.Others, Error, "PrivateEndpointNotApproved", docPrivate,
			"The connection of private endpoint %s is %s: it leads nowhere. Approve it: az network private-endpoint-connection approve.", e.ID, e.State)
	}
	if !x.Public && approved == 0 {
		x.add(&x.out.Others, Error, "WorkspaceUnreachable", docPrivate,
			"publicNetworkAccess is Disabled and no private endpoint leads to the workspace: nobody reaches it. Make one for the sub-resource amlworkspace.")
	}
	for _, g := range x.Grants {
		if !g.Allowed {
			x.add(&x.out.Others, Error, "WorkspaceIdentityLacksRole", docIdentity,
				"The workspace's identity %s lacks %s at %s: %s. Give it back: az ml workspace sync-keys, or az role assignment create.", x.Identity, g.Role, g.At, reason(g))
		}
	}
}

func reason(g Grant) string { return strings.TrimSuffix(g.By, ".") }

// parts: what they say of themselves.
func (x *examination) parts() {
	for _, p := range x.Parts {
		list, code := x.of(p.Kind), codeOf(p.Kind)
		if p.Missing != "" {
			x.add(list, Error, code+"NotFound", docVNet, "The workspace's %s %s %s.", p.Kind, p.ID, p.Missing)
			continue
		}
		for _, r := range p.Found {
			if !x.said[r.Code+r.Message] {
				x.said[r.Code+r.Message] = true
				*list = append(*list, r)
			}
		}
		for _, g := range p.Grants {
			if !g.Allowed {
				x.add(list, Error, code+"AccessDenied", docIdentity,
					"The workspace's identity %s lacks %s at %s: %s. Give it back: az ml workspace sync-keys, or az role assignment create.", x.Identity, g.Role, g.At, reason(g))
			}
		}
		if p.Location != "" && !strings.EqualFold(p.Location, x.Location) {
			x.add(list, Information, code+"InAnotherRegion", docMoves,
				"The %s %s is in %s, the workspace in %s: data travel between regions, which costs time and money.", p.Kind, p.ID, p.Location, x.Location)
		}
	}
}

func (x *examination) locks() {
	for _, l := range x.Locks {
		switch {
		case l.ReadOnly:
			x.add(&x.out.Locks, Error, "ReadOnlyLock", docLocks,
				"Lock %s makes %s read-only: computes, jobs and keys of the workspace cannot be written. Remove it: az lock delete --ids %s.", l.ID, l.Scope, l.ID)
		case l.Group && x.Clusters > 0:
			x.add(&x.out.Locks, Error, "DeleteLockBlocksScaling", docLocks,
				"Lock %s forbids deletion in %s: clusters cannot scale down, since their resources there cannot be deleted. Remove it, or lock single resources: az lock delete --ids %s.", l.ID, l.Scope, l.ID)
		}
	}
}

// others: what stands in the way of everything.
func (x *examination) others() {
	for _, s := range x.Full {
		x.add(&x.out.Others, Error, "SubnetFull", docVNet, "Subnet %s has no free address: each node needs one, so no node can come.", s)
	}
	for _, p := range x.Unregistered {
		x.add(&x.out.Others, Error, "ResourceProviderNotRegistered", docProviders,
			"The subscription is not registered for %s. Register it: az provider register -n %s.", p, p)
	}
}

// names are the DNS doctor's findings about the networks of the workspace and the names that it needs there.
func (x *examination) names() {
	networks, hosts := map[string]bool{}, map[string]bool{x.Host: true}
	for _, s := range x.Sites {
		networks[strings.ToLower(s.VNet)] = true
	}
	for _, p := range x.Parts {
		hosts[p.Host] = true
	}
	for _, f := range x.Names.Findings {
		ours := false
		for _, v := range f.VNets {
			ours = ours || networks[strings.ToLower(v)]
		}
		if !ours || f.Name != "" && !x.needs(hosts, f.Name) {
			continue
		}
		x.add(&x.out.Names, Error, string(f.Code), docDNS, "%s. %s.%s", strings.TrimSuffix(f.What, "."), strings.TrimSuffix(f.Why, "."), change(f.Do))
	}
	for _, e := range x.Endpoints {
		if servers := x.CustomDNS[strings.ToLower(e.VNet)]; len(servers) > 0 {
			// Azure's own code and sense (Machine Learning REST: example DiagnoseWorkspace).
			x.add(&x.out.Names, Warning, "CustomDNSInUse", docDNS,
				"The network %s of private endpoint %s has DNS servers of its own (%s): they must forward the workspace's names to 168.63.129.16.", e.VNet, e.ID, text(servers))
		}
	}
}

// needs tells whether a name is one of the hosts, with or without privatelink.
func (x *examination) needs(hosts map[string]bool, name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if hosts[name] || hosts[strings.Replace(strings.Replace(name, ".privatelink.", ".", 1), ".vaultcore.", ".vault.", 1)] {
		return true
	}
	label, _, _ := strings.Cut(x.Host, ".")
	return label != "" && strings.HasPrefix(name, label+".")
}

func text(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

func change(commands []string) string {
	if len(commands) == 0 {
		return ""
	}
	return " To change it: " + strings.Join(commands, "; ") + "."
}

// fixes are the commands of an answer.
func fixes(all []explain.Fix) string {
	var commands []string
	for _, f := range all {
		commands = append(commands, f.Commands...)
	}
	return change(commands)
}
