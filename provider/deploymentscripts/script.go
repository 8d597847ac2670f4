// Package deploymentscripts is Microsoft.Resources/deploymentScripts: a script that a template runs, in a container on an
// interface of its own, whose outputs the template reads. Scripts of the Azure CLI run; those of PowerShell are refused
// ("Use deployment scripts in ARM templates"). A run is a process that outlives the server; reconcile follows it.
package deploymentscripts

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/clock"
)

// Type is the resource type.
const Type = "Microsoft.Resources/deploymentScripts"

var versions = []string{"2019-10-01-preview", "2020-10-01", "2023-08-01", "2026-04-01"}

// Script is the properties (DeploymentScripts REST: AzureCliScriptProperties).
type Script struct {
	CLIVersion        string             `json:"azCliVersion,omitempty"`
	PowerShellVersion string             `json:"azPowerShellVersion,omitempty"`
	PrimaryURI        string             `json:"primaryScriptUri,omitempty"`
	SupportingURIs    []string           `json:"supportingScriptUris,omitempty"`
	Content           string             `json:"scriptContent,omitempty"`
	Arguments         string             `json:"arguments,omitempty"`
	Environment       []Variable         `json:"environmentVariables,omitempty"`
	ForceUpdateTag    string             `json:"forceUpdateTag,omitempty"`
	Retention         string             `json:"retentionInterval,omitempty"`
	Timeout           string             `json:"timeout,omitempty"`
	Cleanup           string             `json:"cleanupPreference,omitempty"`
	Container         *ContainerSettings `json:"containerSettings,omitempty"`
	Storage           *StorageSettings   `json:"storageAccountSettings,omitempty"`

	Status  *Status         `json:"status,omitempty" rp:"readonly"`
	Outputs json.RawMessage `json:"outputs,omitempty" rp:"readonly"`
	Run     *Run            `json:"run,omitempty" rp:"private"`
}

// Variable of the script's environment. Secure values are in no answer and are kept until the script has ended.
type Variable struct {
	Name   string `json:"name"`
	Value  string `json:"value,omitempty"`
	Secure string `json:"secureValue,omitempty"`
}

// ContainerSettings say where the container is.
type ContainerSettings struct {
	Group   string   `json:"containerGroupName,omitempty"`
	Subnets []Subnet `json:"subnetIds,omitempty"`
}

// Subnet in which the container stands; it must be delegated to Microsoft.ContainerInstance/containerGroups.
type Subnet struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// StorageSettings name an account for the script's files. Ours are on the container's own disk: the settings are checked
// as Azure checks them, and the account is left alone.
type StorageSettings struct {
	Account string `json:"storageAccountName,omitempty"`
	Key     string `json:"storageAccountKey,omitempty" rp:"secret"`
}

// Status is what came of the script.
type Status struct {
	StorageAccount string     `json:"storageAccountId,omitempty"`
	Start          time.Time  `json:"startTime,omitzero"`
	End            time.Time  `json:"endTime,omitzero"`
	Expiration     time.Time  `json:"expirationTime,omitzero"`
	Error          *arm.Error `json:"error,omitempty"`
}

// Run is one execution.
type Run struct {
	ID      string            `json:"id"`                // names its process and its directory
	Before  string            `json:"before,omitempty"`  // the run before it, of which the files go when it starts
	NIC     string            `json:"nic"`               // id of its interface
	Secure  map[string]string `json:"secure,omitempty"`  // values of secure variables, until it has ended
	Started bool              `json:"started,omitempty"` // its process has been started
	Ended   bool              `json:"ended,omitempty"`
	// Salt and Sum tell whether a later PUT says something else; Sums are those of the secure values.
	Salt string            `json:"salt"`
	Sum  string            `json:"sum"`
	Sums map[string]string `json:"sums,omitempty"`
}

// Task is what a process is started with.
type Task struct {
	ID, NIC       string
	Content, URI  string
	Supporting    []string
	Args          []string
	Env           map[string]string
	Timeout       time.Duration
	ClientID      string // of the identity that the CLI signs in as; "" for none
	Identity      string // its resource id
	Subscription  string
	ContainerName string
}

// Result is what came of a Task; Code is Azure's error code, "" for success.
type Result struct {
	Start, End    time.Time
	Outputs       json.RawMessage
	Code, Message string
	Lines         []string
}

// ErrRunning is that a task has no result yet.
var ErrRunning = errors.New("the script runs")

// Launcher starts and ends the processes of scripts. They live on when the server ends.
type Launcher interface {
	// Start starts a task that has not been started.
	Start(ctx context.Context, t Task) error
	// Result of a task: ErrRunning while its process is there.
	Result(id string) (Result, error)
	// Log is what the script has printed, up to 4 MiB of its end; nil when its files are gone.
	Log(id string) ([]byte, error)
	// Clean removes the files that the script worked with; its log and its result stay.
	Clean(ctx context.Context, id string) error
	// Remove ends a task and removes its files; no error when there are none.
	Remove(ctx context.Context, id string) error
}

// Network is where scripts stand.
type Network interface {
	// Allocate makes the interface of a script, in the subnet or, when that is zero, in a network that the service itself
	// makes in the location. *arm.Error when the subnet refuses.
	Allocate(tx *rp.Tx, script, subnet arm.ID, location, run string) (nic string, err error)
	// Release gives it back, with what Allocate made for it; no error when it is gone.
	Release(tx *rp.Tx, script arm.ID, nic string) error
	// Sync returns when the kernel holds what the store says.
	Sync(ctx context.Context) error
}

// Engine is what the provider needs of rp.Engine outside the functions of its type.
type Engine interface {
	View(ctx context.Context, f func(*rp.Tx) error) error
	Update(ctx context.Context, f func(*rp.Tx) error) error
}

// Config of a Provider.
type Config struct {
	Engine   Engine
	Network  Network
	Launcher Launcher
	Clock    clock.Clock
	// CLI says whether the region has an Azure CLI, without which no identity can sign in.
	CLI bool
	// Account reads the kind of a storage account by its name; "" when there is none.
	Account func(tx *rp.Tx, name string) (id arm.ID, kind string, err error)
}

// Provider is the deployment scripts of a region.
type Provider struct{ cfg Config }

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg} }

// Names: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
const (
	namePattern = `^[A-Za-z0-9_.()-]{0,89}[A-Za-z0-9_()-]$`
	nameRule    = "Names of deployment scripts have 1 to 90 letters, digits, '_', '-', '.', '(' and ')', and do not end with '.'."
)

// Types are the type and the routes of its logs.
func (p *Provider) Types() []rp.Registration {
	const logs = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + Type + "/{script}/logs"
	return []rp.Registration{
		rp.Of(rp.Type[Script]{
			Name: Type, Kind: rp.Tracked, Versions: rp.Versions[Script](versions...), NamePattern: namePattern, NameRule: nameRule, SyncDelete: true,
			Default: defaults, Validate: p.validate, Admit: p.admit, Links: links, Reconcile: p.reconcile, Release: release, Finalize: p.finalize, Erase: p.erase,
		}),
		rp.Routes(
			rp.Route{Method: http.MethodGet, Pattern: logs, Permission: Type + "/logs/read", Versions: versions, Do: p.logs, Reads: true},
			rp.Route{Method: http.MethodGet, Pattern: logs + "/{log}", Permission: Type + "/logs/read", Versions: versions, Do: p.log, Reads: true},
		),
	}
}

func defaults(_ string, r *rp.Resource[Script]) {
	s := &r.Properties
	if s.Timeout == "" {
		s.Timeout = "P1D"
	}
	if s.Cleanup == "" {
		s.Cleanup = "Always"
	}
	for kind := range kinds {
		if strings.EqualFold(kind, r.Kind) {
			r.Kind = kind
		}
	}
}

// links: the container joins the subnet.
func links(r *rp.Resource[Script]) []rp.Link {
	id, ok := r.Properties.subnet()
	if !ok {
		return nil
	}
	return []rp.Link{{Action: "Microsoft.Network/virtualNetworks/subnets/join/action", ID: id}}
}

// subnet is that of the container; ok is false when it has none, or one that validate refuses.
func (s *Script) subnet() (id arm.ID, ok bool) {
	if s.Container == nil || len(s.Container.Subnets) == 0 {
		return arm.ID{}, false
	}
	id, err := arm.ParseID(s.Container.Subnets[0].ID)
	return id, err == nil && id.Type().Key() == "microsoft.network/virtualnetworks/subnets"
}
