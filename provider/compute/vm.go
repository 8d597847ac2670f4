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
	// Generalized machines never start again.
	Generalized bool `json:"generalized,omitempty" rp:"private"`
}

// Hardware is the size.
type Hardware struct {
	Size string `json:"vmSize"`
}

// Storage is the image, which is stored only, and the disks.
type Storage struct {
	Image     *ImageReference `json:"imageReference,omitempty"`
	OSDisk    OSDisk          `json:"osDisk"`
	DataDisks []any           `json:"dataDisks"`
}

// ImageReference is a platform image, or another by its id.
type ImageReference struct {
	Publisher    string `json:"publisher,omitempty"`
	Offer        string `json:"offer,omitempty"`
	SKU          string `json:"sku,omitempty"`
	Version      string `json:"version,omitempty"`
	ExactVersion string `json:"exactVersion,omitempty" rp:"readonly"`
}

// image is the region's, nil for another.
func (s *Storage) image() *Image {
	if s.Image == nil {
		return nil
	}
	return imageOf(s.Image.Publisher, s.Image.Offer, s.Image.SKU)
}

// OSDisk is the disk of the system: here the administrator's home directory.
type OSDisk struct {
	OSType       string       `json:"osType,omitempty"`
	Name         string       `json:"name,omitempty"`
	CreateOption string       `json:"createOption,omitempty"`
	Caching      string       `json:"caching,omitempty"`
	SizeGB       int          `json:"diskSizeGB,omitempty"`
	VHD          *VHD         `json:"vhd,omitempty"`
	Managed      *ManagedDisk `json:"managedDisk,omitempty"`
}

// VHD is where an unmanaged disk would be.
type VHD struct {
	URI string `json:"uri"`
}

// ManagedDisk is of which kind the disk is.
type ManagedDisk struct {
	StorageAccountType string `json:"storageAccountType,omitempty"`
}

// OS is who may come in.
type OS struct {
	ComputerName  string `json:"computerName,omitempty"`
	AdminUsername string `json:"adminUsername,omitempty"`
	// AdminPassword is what the client sent until admit, and bcrypt's hash in the store.
	AdminPassword string    `json:"adminPassword,omitempty" rp:"secret"`
	CustomData    string    `json:"customData,omitempty"`
	Secrets       []any     `json:"secrets"`
	Extensions    *bool     `json:"allowExtensionOperations,omitempty"`
	Signal        *bool     `json:"requireGuestProvisionSignal,omitempty"`
	Windows       *struct{} `json:"windowsConfiguration,omitempty"`
	Linux         Linux     `json:"linuxConfiguration"`
}

// Linux is the SSH configuration.
type Linux struct {
	NoPassword bool  `json:"disablePasswordAuthentication"`
	SSH        *SSH  `json:"ssh,omitempty"`
	Agent      *bool `json:"provisionVMAgent,omitempty"`
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
			"start":        {Do: p.mayStart, Async: p.settled},
			"generalize":   {Do: generalize},
			"capture":      {Do: capture},
			"powerOff":     {Do: p.want(stopped), Async: p.settled},
			"deallocate":   {Do: p.want(deallocated), Async: p.settled},
			"restart":      {Do: mayRestart, Async: p.restart},
			"instanceView": {Method: http.MethodGet, Permission: Type + "/instanceView/read", Do: p.instanceView},
		},
	})
}

func defaultVM(_ string, r *rp.Resource[VM]) {
	v := &r.Properties
	v.Storage.OSDisk.defaults(&v.Storage)
	if v.Storage.OSDisk.Name == "" {
		v.Storage.OSDisk.Name = r.ID.Name() + "_OsDisk_1"
	}
	if v.Storage.DataDisks == nil {
		v.Storage.DataDisks = []any{}
	}
	if v.OS != nil {
		v.OS.defaults(r.ID.Name())
	}
}

// defaults are what the image says of the disk, and what Compute chooses.
func (d *OSDisk) defaults(s *Storage) {
	osType, size := "Linux", defaultDiskGB
	if i := s.image(); i != nil {
		osType, size = i.OS, i.DiskGB
	} else if s.Image != nil && strings.HasPrefix(strings.ToLower(s.Image.Publisher), "microsoftwindows") {
		osType = "Windows"
	}
	set(&d.OSType, osType)
	set(&d.CreateOption, "FromImage")
	set(&d.SizeGB, size)
	if d.VHD == nil {
		set(&d.Caching, "ReadWrite")
		if d.Managed == nil {
			d.Managed = &ManagedDisk{}
		}
		set(&d.Managed.StorageAccountType, "Standard_LRS")
	}
}

// defaultDiskGB is the size of most Linux images.
const defaultDiskGB = 30

func (o *OS) defaults(name string) {
	set(&o.ComputerName, name)
	if o.Secrets == nil {
		o.Secrets = []any{}
	}
	yes := true
	for _, flag := range []**bool{&o.Extensions, &o.Signal, &o.Linux.Agent} {
		if *flag == nil {
			*flag = &yes
		}
	}
}

// set gives a value to what has none.
func set[T comparable](v *T, to T) {
	var none T
	if *v == none {
		*v = to
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
	if op == rp.Create || old.Properties.Hardware != v.Hardware {
		if err := withinQuotas(tx, new); err != nil {
			return err
		}
	}
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
	if v.OS.Linux.NoPassword { // templates give the key as the password too
		v.OS.AdminPassword = ""
	}
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
