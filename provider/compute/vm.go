package compute

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// VM is the properties of a virtual machine (Compute REST: VirtualMachineProperties). What is not named here
// is stored and shown, and does nothing.
type VM struct {
	VMID     string     `json:"vmId,omitempty" rp:"readonly"`
	Hardware Hardware   `json:"hardwareProfile"`
	Storage  Storage    `json:"storageProfile"`
	OS       *OS        `json:"osProfile,omitempty"`
	Network  Interfaces `json:"networkProfile"`
	Created  time.Time  `json:"timeCreated,omitzero" rp:"readonly"`
	View     *View      `json:"instanceView,omitempty" rp:"readonly"` // with $expand=instanceView
	UserData string     `json:"userData,omitempty"`
	Power    Power      `json:"power,omitempty" rp:"private"` // that is desired
	Since    time.Time  `json:"powerSince,omitzero" rp:"private"`
}

// Hardware is the size.
type Hardware struct {
	Size string `json:"vmSize"`
}

// Storage is the image, which is stored only, and the disks.
type Storage struct {
	OSDisk    OSDisk `json:"osDisk"`
	DataDisks []any  `json:"dataDisks"`
}

// OSDisk is the disk of the system: here the administrator's home directory.
type OSDisk struct {
	OSType       string `json:"osType,omitempty"`
	Name         string `json:"name,omitempty"`
	CreateOption string `json:"createOption,omitempty"`
}

// OS is who may come in.
type OS struct {
	ComputerName  string `json:"computerName,omitempty"`
	AdminUsername string `json:"adminUsername,omitempty"`
	// AdminPassword is what the client sent until admit, and bcrypt's hash in the store.
	AdminPassword string    `json:"adminPassword,omitempty" rp:"secret"`
	CustomData    string    `json:"customData,omitempty"`
	Windows       *struct{} `json:"windowsConfiguration,omitempty"`
	Linux         Linux     `json:"linuxConfiguration"`
}

// Linux is the SSH configuration.
type Linux struct {
	NoPassword bool `json:"disablePasswordAuthentication"`
	SSH        *SSH `json:"ssh,omitempty"`
}

// SSH has the keys of the administrator.
type SSH struct {
	Keys []Key `json:"publicKeys"`
}

// Key is a line of the file Path.
type Key struct {
	Path string `json:"path"`
	Data string `json:"keyData"`
}

// Interfaces of a machine.
type Interfaces struct {
	NICs    []NICRef `json:"networkInterfaces"`
	Configs []any    `json:"networkInterfaceConfigurations,omitempty"`
}

// NICRef is one of them.
type NICRef struct {
	ID         string         `json:"id"`
	Properties *NICProperties `json:"properties,omitempty"`
}

// NICProperties of a NICRef.
type NICProperties struct {
	Primary      *bool  `json:"primary,omitempty"`
	DeleteOption string `json:"deleteOption,omitempty"`
}

// Names of Linux machines: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
const (
	namePattern = `^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?$`
	nameRule    = "Linux machine names may be up to 64 characters long and contain letters, digits, '.' and '-'; they begin and end with a letter or a digit."
)

func (p *Provider) vmType() rp.Registration {
	return rp.Of(rp.Type[VM]{
		Name: Type, Kind: rp.Tracked, Versions: rp.Versions[VM](versions...), NamePattern: namePattern, NameRule: nameRule,
		Default:   defaultVM,
		Validate:  p.validate,
		Admit:     p.admit,
		Links:     links,
		Reconcile: p.reconcile,
		Present:   p.present,
		Finalize:  p.finalize,
		Erase:     erase,
		Actions: map[string]rp.Action[VM]{
			"start":        {Do: p.want(running), Async: p.settled},
			"powerOff":     {Do: p.want(stopped), Async: p.settled},
			"deallocate":   {Do: p.want(deallocated), Async: p.settled},
			"restart":      {Do: mayRestart, Async: p.restart},
			"instanceView": {Method: http.MethodGet, Permission: Type + "/instanceView/read", Do: p.instanceView},
		},
	})
}

func defaultVM(_ string, r *rp.Resource[VM]) {
	v := &r.Properties
	if v.Storage.OSDisk.OSType == "" {
		v.Storage.OSDisk.OSType = "Linux"
	}
	if v.Storage.OSDisk.Name == "" {
		v.Storage.OSDisk.Name = r.ID.Name() + "_OsDisk_1"
	}
	if v.Storage.DataDisks == nil {
		v.Storage.DataDisks = []any{}
	}
	if v.OS != nil && v.OS.ComputerName == "" {
		v.OS.ComputerName = r.ID.Name()
	}
}

// nic is the machine's interface.
func (v *VM) nic() (arm.ID, error) {
	if len(v.Network.NICs) == 0 {
		return arm.ID{}, invalid("networkProfile", "Required parameter 'networkProfile' is missing (null).")
	}
	id, err := arm.ParseID(v.Network.NICs[0].ID)
	if err != nil || !strings.EqualFold(id.Type().String(), network.NICType) {
		return arm.ID{}, invalid("networkInterfaces.id", "'%s' is not the id of a network interface.", clip(v.Network.NICs[0].ID))
	}
	return id, nil
}

// links: https://learn.microsoft.com/azure/role-based-access-control/permissions/compute
func links(r *rp.Resource[VM]) []rp.Link {
	id, err := r.Properties.nic()
	if err != nil {
		return nil // Validate refuses it
	}
	return []rp.Link{{Action: network.NICType + "/join/action", ID: id}}
}

// admit takes the interface. The password is kept as its hash.
func (p *Provider) admit(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[VM]) error {
	v := &new.Properties
	nic, err := v.nic()
	if err != nil {
		return err
	}
	if _, err := network.AttachVM(tx, nic, new.ID, new.Location); err != nil {
		return err
	}
	if op == rp.Update {
		v.OS.AdminPassword = old.Properties.OS.AdminPassword
		return nil
	}
	v.VMID, v.Created, v.Power, v.Since = uuid.NewString(), tx.Now, running, tx.Now
	if v.OS.AdminPassword == "" {
		return nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(v.OS.AdminPassword), bcrypt.DefaultCost)
	v.OS.AdminPassword = string(hash)
	return err
}

// erase gives the interface back when the machine is gone.
func erase(_ context.Context, tx *rp.Tx, r *rp.Resource[VM]) error {
	nic, err := r.Properties.nic()
	if err != nil {
		return err
	}
	return network.DetachVM(tx, nic, r.ID)
}

// same compares what clients write of two values.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }
