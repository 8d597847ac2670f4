package demo

import (
	"strings"
	"time"

	"vauban.dev/reach"
)

// ConfigEnv is the variable that a script finds its Config in, as JSON (clients/common.py).
const ConfigEnv = "VAUBAN_DEMO"

// Config is what a script is told. Credentials are not in it: it finds them where Azure's SDKs look.
type Config struct {
	Subscription        string `json:"subscription"`
	PartnerSubscription string `json:"partnerSubscription"`
	Tenant              string `json:"tenant"`
	ObjectID            string `json:"objectId"` // of the caller, who gets data roles
	Location            string `json:"location"`
	Group               string `json:"group"`
	Storage             string `json:"storage"`
	Vault               string `json:"vault"`
	Workspace           string `json:"workspace"`
	PartnerStorage      string `json:"partnerStorage"`
	Secured             bool   `json:"secured"`
	Image               string `json:"image"` // of the job's environment
	SSHPublicKey        string `json:"sshPublicKey"`
	IdleSeconds         int    `json:"idleSeconds"` // until an idle node goes
}

// Caller is whom the scenario is run by: the region's first principal.
type Caller struct{ Subscription, PartnerSubscription, Tenant, ObjectID string }

// Image is the reference of the environment that jobs run in.
const Image = "vauban/sklearn:1"

// NewConfig names everything of one mode.
func NewConfig(mode reach.Mode, c Caller, location, sshKey string, idle time.Duration) Config {
	name := string(mode)
	return Config{
		Subscription: c.Subscription, PartnerSubscription: c.PartnerSubscription, Tenant: c.Tenant, ObjectID: c.ObjectID, Location: location,
		Group: "demo-" + name, Storage: "stdemo" + name, Vault: "kv-demo-" + name, Workspace: "ws-" + name, PartnerStorage: "stpartneropen",
		Secured: mode == reach.Secured, Image: Image, SSHPublicKey: sshKey, IdleSeconds: int(idle / time.Second),
	}
}

// WorkspaceID is the workspace's resource id.
func (c Config) WorkspaceID() string {
	return "/subscriptions/" + c.Subscription + "/resourceGroups/" + c.Group + "/providers/Microsoft.MachineLearningServices/workspaces/" + c.Workspace
}

// Place of the data scientist: the jump box if there is one.
func (c Config) Place() string {
	if c.Secured {
		return JumpboxSubnet
	}
	return "internet"
}

// Subnets that clients/provision.py makes.
const (
	JumpboxSubnet = "demo-vnet/jumpbox"
	OtherSubnet   = "other-vnet/default"
)

// Facts are what the reach table must know; discoveryURL is the workspace's.
func (c Config) Facts(discoveryURL, stranger string) reach.Facts {
	host := strings.TrimPrefix(discoveryURL, "https://")
	host, _, _ = strings.Cut(host, "/")
	f := reach.Facts{
		Mode: reach.Public, WorkspaceID: c.WorkspaceID(), WorkspaceHost: host, Storage: c.Storage, Vault: c.Vault, Container: "data",
		PartnerStorage: c.PartnerStorage, PartnerBlob: "public/hello.txt", Stranger: stranger,
	}
	if c.Secured {
		f.Mode, f.Jumpbox, f.OtherVNet = reach.Secured, JumpboxSubnet, OtherSubnet
	}
	return f
}
