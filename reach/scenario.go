package reach

import (
	"fmt"
)

// Facts are what a run of the scenario has made and the table must know.
type Facts struct {
	Mode           Mode   `json:"mode"`
	WorkspaceID    string `json:"workspaceId"`
	WorkspaceHost  string `json:"workspaceHost"` // of its discoveryUrl
	Storage        string `json:"storage"`       // names
	Vault          string `json:"vault"`
	Container      string `json:"container"`
	PartnerStorage string `json:"partnerStorage"`
	PartnerBlob    string `json:"partnerBlob"` // CONTAINER/BLOB, which everybody may read
	Stranger       string `json:"stranger"`    // a web server on the internet
	// Subnets, VNET/SUBNET; "" where there is none.
	Jumpbox   string `json:"jumpbox,omitempty"`
	OtherVNet string `json:"otherVnet,omitempty"`
	// Node is a compute node of the cluster that is up, NodeSSH the address and port where its SSH server is looked
	// for: those of its load balancer if it has one.
	Node    string `json:"node,omitempty"`
	NodeSSH string `json:"nodeSsh,omitempty"`
}

// Scenario is a table before it is measured.
type Scenario struct {
	Mode   Mode
	Places []Place
	Things []Thing
	// Expect by place's and thing's id; a pair without one is not measured.
	Expect map[[2]string]Expectation
}

// Ids of the demo's places and things.
const (
	Internet  = "internet"
	Jumpbox   = "jumpbox"
	Node      = "node"
	OtherVNet = "other-vnet"

	Manager   = "arm"
	Workspace = "workspace"
	Blob      = "blob"
	Vault     = "vault"
	NodeSSH   = "node-ssh"
	Stranger  = "stranger"
	Partner   = "partner-blob"
)

// Audiences of the tokens that targets need, as scopes of the v2 token endpoint without "/.default".
const (
	managerAudience = "https://management.azure.com"
	storageAudience = "https://storage.azure.com"
	vaultAudience   = "https://vault.azure.net"
)

// Demo is the scenario of `vauban demo`.
func Demo(f Facts) Scenario {
	s := Scenario{Mode: f.Mode, Places: []Place{
		{ID: Internet, Title: "internet", From: "internet"},
		{ID: Jumpbox, Title: "jump box", From: f.Jumpbox},
		{ID: Node, Title: "training node", From: from("node:", f.Node)},
		{ID: OtherVNet, Title: "second VNet", From: f.OtherVNet},
	}, Expect: map[[2]string]Expectation{}}
	get := func(url, token string) Target { return Target{Kind: HTTP, URL: url, Token: token} }
	listBlobs := get(fmt.Sprintf("https://%s.blob.core.windows.net/%s?restype=container&comp=list&maxresults=1", f.Storage, f.Container), storageAudience)
	listBlobs.Headers = map[string]string{"x-ms-version": "2023-11-03"}
	s.Things = []Thing{
		{Manager, "Resource Manager", get("https://management.azure.com"+f.WorkspaceID+"?api-version=2024-10-01", managerAudience)},
		{Workspace, "workspace's host", get("https://"+f.WorkspaceHost+"/mlflow/v2.0"+f.WorkspaceID+"/api/2.0/mlflow/experiments/search?max_results=1", managerAudience)},
		{Blob, "blob storage", listBlobs},
		{Vault, "key vault", get(fmt.Sprintf("https://%s.vault.azure.net/secrets?api-version=7.4&maxresults=1", f.Vault), vaultAudience)},
		{NodeSSH, "node's SSH port", Target{Kind: SSH, Address: f.NodeSSH}},
		{Stranger, f.Stranger, get("https://"+f.Stranger+"/", "")},
		{Partner, "foreign open blob", get(fmt.Sprintf("https://%s.blob.core.windows.net/%s", f.PartnerStorage, f.PartnerBlob), "")},
	}
	rows := publicRows
	if f.Mode == Secured {
		rows = securedRows
	}
	for _, row := range rows {
		for i, e := range row.cells {
			if e.Outcome != "" {
				s.Expect[[2]string{s.Places[i].ID, row.thing}] = e
			}
		}
	}
	return s
}

// from is prefix + name, or "" for no name.
func from(prefix, name string) string {
	if name == "" {
		return ""
	}
	return prefix + name
}

// row is what is expected of one thing, from the internet, the jump box, a training node and the second
// VNet; a zero expectation says that there is no such connection.
type row struct {
	thing string
	cells [4]Expectation
}

func answered(why string) Expectation { return Expectation{Outcome: Answered, Why: why} }

func forbidden(code, why string) Expectation {
	return Expectation{Outcome: Forbidden, By: code, Why: why}
}

func dropped(rule, why string) Expectation { return Expectation{Outcome: Dropped, By: rule, Why: why} }

func greeted(why string) Expectation { return Expectation{Outcome: Banner, Why: why} }

var none Expectation

const (
	openToAll   = "public network access is enabled, and the caller has a role"
	noRules     = "the node's network is the service's own: nothing stops what goes out"
	rolesDecide = "Resource Manager is open to every network; roles decide"
)

// publicRows: no virtual network. What is not wanted is possible: data may go from a node to anybody.
var publicRows = []row{
	{Manager, [4]Expectation{answered(rolesDecide), none, answered(rolesDecide), none}},
	{Workspace, [4]Expectation{answered(openToAll), none, answered(openToAll), none}},
	{Blob, [4]Expectation{answered(openToAll), none, answered(openToAll), none}},
	{Vault, [4]Expectation{answered(openToAll), none, answered(openToAll), none}},
	{NodeSSH, [4]Expectation{greeted("nodes have public addresses, and SSH access was asked for"), none, none, none}},
	{Stranger, [4]Expectation{answered("a web server on the internet"), none, answered(noRules), none}},
	{Partner, [4]Expectation{answered("the account is open to all"), none, answered(noRules), none}},
}

const (
	privateLink   = "the private DNS zone gives the private endpoint's address"
	onlyEndpoints = "public network access is disabled: only private endpoints may connect"
	notLinked     = "its DNS gives the public address, and public network access is disabled"
	managed       = "AllowManagement opens Resource Manager's service tag"
	trainingDeny  = "the training subnet's DenyInternet stands before AllowInternetOutBound"
	jumpboxDeny   = "the jump box subnet's DenyInternet stands before AllowInternetOutBound"
	unruled       = "its subnet has no security group, and default outbound access"
)

// securedRows: public access disabled, private endpoints, nodes without public addresses.
var securedRows = []row{
	{Manager, [4]Expectation{answered(rolesDecide), answered(managed), answered(managed), answered(unruled)}},
	{Workspace, [4]Expectation{forbidden("Forbidden", onlyEndpoints), answered(privateLink), answered(privateLink), forbidden("Forbidden", notLinked)}},
	{Blob, [4]Expectation{forbidden("AuthorizationFailure", onlyEndpoints), answered(privateLink), answered(privateLink), forbidden("AuthorizationFailure", notLinked)}},
	{Vault, [4]Expectation{forbidden("ForbiddenByConnection", onlyEndpoints), answered(privateLink), answered(privateLink), forbidden("ForbiddenByConnection", notLinked)}},
	{NodeSSH, [4]Expectation{
		dropped("fabric/no-route", "the node has no public address, and its private one is not on the internet"),
		greeted("AllowSshFromJumpbox opens port 22 to the jump box subnet"),
		none,
		dropped("fabric/no-route", "the networks are not peered: Azure's system route for private addresses is None"),
	}},
	{Stranger, [4]Expectation{answered("a web server on the internet"), dropped("nsg-jumpbox/DenyInternet", jumpboxDeny), dropped("nsg-training/DenyInternet", trainingDeny), answered(unruled)}},
	{Partner, [4]Expectation{answered("the account is open to all"), dropped("nsg-jumpbox/DenyInternet", jumpboxDeny), dropped("nsg-training/DenyInternet", trainingDeny), answered(unruled)}},
}
