package objects

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// The types of Microsoft.Compute.
const (
	DiskType            = "Microsoft.Compute/disks"
	AvailabilitySetType = "Microsoft.Compute/availabilitySets"
)

// Disk is the properties of a managed disk.
type Disk struct {
	CreationData struct {
		CreateOption     string `json:"createOption"`
		SourceResourceID string `json:"sourceResourceId,omitempty"`
		SourceURI        string `json:"sourceUri,omitempty"`
	} `json:"creationData"`
	OSType              string     `json:"osType,omitempty"`
	SizeGB              int        `json:"diskSizeGB,omitempty"`
	IOPS                int        `json:"diskIOPSReadWrite,omitempty"`
	MBps                int        `json:"diskMBpsReadWrite,omitempty"`
	NetworkAccessPolicy string     `json:"networkAccessPolicy,omitempty"`
	PublicNetworkAccess string     `json:"publicNetworkAccess,omitempty"`
	Encryption          *diskKey   `json:"encryption,omitempty"`
	SizeBytes           int64      `json:"diskSizeBytes,omitempty" rp:"readonly"`
	Created             *time.Time `json:"timeCreated,omitempty" rp:"readonly"`
	State               string     `json:"diskState,omitempty" rp:"readonly"`
	UniqueID            string     `json:"uniqueId,omitempty" rp:"readonly"`
	ARM                 bool       `json:"isArmResource" rp:"readonly"`
}

type diskKey struct {
	Type string `json:"type,omitempty"`
	Set  string `json:"diskEncryptionSetId,omitempty"`
}

// AvailabilitySet is the properties of an availability set.
type AvailabilitySet struct {
	UpdateDomains *int                `json:"platformUpdateDomainCount,omitempty"`
	FaultDomains  *int                `json:"platformFaultDomainCount,omitempty"`
	Machines      []map[string]string `json:"virtualMachines" rp:"readonly"`
}

var (
	diskVersions = []string{
		"2016-04-30-preview", "2017-03-30", "2018-04-01", "2018-06-01", "2018-09-30", "2019-03-01", "2019-07-01", "2019-11-01", "2020-05-01", "2020-06-30",
		"2020-09-30", "2020-12-01", "2021-04-01", "2021-08-01", "2021-12-01", "2022-03-02", "2022-07-02", "2023-01-02", "2023-04-02", "2023-10-02",
		"2024-03-02", "2025-01-02", "2026-03-02",
	}
	setVersions = []string{
		"2015-05-01-preview", "2015-06-15", "2016-03-30", "2016-04-30-preview", "2017-03-30", "2017-12-01", "2018-04-01", "2018-06-01", "2018-10-01",
		"2019-03-01", "2019-07-01", "2019-12-01", "2020-06-01", "2020-12-01", "2021-03-01", "2021-04-01", "2021-07-01", "2021-11-01", "2022-03-01",
		"2022-08-01", "2022-11-01", "2023-03-01", "2023-07-01", "2023-09-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-04-01", "2025-11-01",
		"2026-03-01", "2026-04-01",
	}
)

func (p *Provider) machines() []object {
	return []object{
		of(rp.Type[Disk]{
			Move: rp.Moved[Disk],
			Name: DiskType, Versions: rp.Versions[Disk](diskVersions...), CreateStatus: http.StatusAccepted, UpdateStatus: http.StatusAccepted,
			NamePattern: `^[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`, NameRule: "Disk names have up to 80 letters, digits, underscores, periods and hyphens.",
			Default: diskDefaults, Validate: validateDisk, Admit: admitDisk, Reconcile: done[Disk],
			Actions: unserved[Disk](nil, "beginGetAccess", "endGetAccess"),
		}),
		of(rp.Type[AvailabilitySet]{
			Move: rp.Moved[AvailabilitySet],
			Name: AvailabilitySetType, Versions: rp.Versions[AvailabilitySet](setVersions...), CreateStatus: http.StatusOK, SyncDelete: true, StateProperty: "-",
			NamePattern: `^[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`, NameRule: "Availability set names have up to 80 letters, digits, underscores, periods and hyphens.",
			Default: setDefaults, Validate: validateSet,
			Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[AvailabilitySet]) error {
				r.Properties.Machines = []map[string]string{} // machines keep the set that they name, and the region is one fault domain
				return nil
			},
			Actions: map[string]rp.Action[AvailabilitySet]{
				"vmSizes": {Method: http.MethodGet, Permission: AvailabilitySetType + "/vmSizes/read", Do: func(context.Context, *rp.Tx, *rp.Resource[AvailabilitySet], []byte) (any, error) {
					return p.sizes, nil
				}},
			},
		}),
	}
}

func missingMember(name string) error {
	e := arm.Errorf(http.StatusBadRequest, "InvalidParameter", "Required parameter '%s' is missing (null).", name)
	e.Target = name
	return e
}

func diskDefaults(_ string, r *rp.Resource[Disk]) {
	v, s := &r.Properties, skuOf(r)
	otherwise(&s.Name, "Standard_LRS")
	if oneOf("", "", &s.Name, diskSKUs...) == nil {
		s.Tier, _, _ = strings.Cut(s.Name, "_")
		r.SKU, _ = json.Marshal(s) // two strings
	}
	otherwise(&v.NetworkAccessPolicy, "AllowAll")
	otherwise(&v.PublicNetworkAccess, "Enabled")
	if v.Encryption == nil {
		v.Encryption = &diskKey{Type: "EncryptionAtRestWithPlatformKey"}
	}
	otherwise(&v.IOPS, 500)
	otherwise(&v.MBps, 60)
}

var diskSKUs = []string{"Standard_LRS", "Premium_LRS", "StandardSSD_LRS", "UltraSSD_LRS", "Premium_ZRS", "StandardSSD_ZRS", "PremiumV2_LRS"}

func validateDisk(_ rp.Op, new, old *rp.Resource[Disk]) error {
	v, name := &new.Properties, skuOf(new).Name
	option := &v.CreationData.CreateOption
	if *option == "" {
		return missingMember("disk.creationData.createOption")
	}
	if err := first(oneOf("InvalidParameter", "disk.sku.name", &name, diskSKUs...),
		oneOf("InvalidParameter", "disk.creationData.createOption", option, "Empty", "Attach", "FromImage", "Import", "Copy", "Restore", "Upload", "CopyStart", "ImportSecure", "UploadPreparedSecure"),
		oneOf("InvalidParameter", "disk.osType", &v.OSType, "Linux", "Windows"),
		oneOf("InvalidParameter", "disk.networkAccessPolicy", &v.NetworkAccessPolicy, "AllowAll", "AllowPrivate", "DenyAll"),
		oneOf("InvalidParameter", "disk.publicNetworkAccess", &v.PublicNetworkAccess, "Enabled", "Disabled")); err != nil {
		return err
	}
	switch {
	case *option == "Empty" && v.SizeGB == 0:
		return missingMember("disk.diskSizeGB")
	case v.SizeGB < 0 || v.SizeGB > 65536:
		return refuse("InvalidParameter", "The value '%d' of 'disk.diskSizeGB' is invalid. It must be between 1 and 65536.", v.SizeGB)
	case (*option == "Copy" || *option == "Restore") && v.CreationData.SourceResourceID == "":
		return missingMember("disk.creationData.sourceResourceId")
	case *option == "Import" && v.CreationData.SourceURI == "":
		return missingMember("disk.creationData.sourceUri")
	case old != nil && old.Properties.CreationData.CreateOption != *option:
		return arm.Errorf(http.StatusConflict, "PropertyChangeNotAllowed", "Changing property 'creationData.createOption' is not allowed.")
	case old != nil && v.SizeGB < old.Properties.SizeGB:
		return refuse("OperationNotAllowed", "Disk '%s' can not be made smaller: it has %d GB.", new.ID.Name(), old.Properties.SizeGB)
	}
	return nil
}

func admitDisk(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Disk]) error {
	v := &new.Properties
	created(&v.Created, op, tx.Now)
	if id, err := arm.ParseID(v.CreationData.SourceResourceID); err == nil && v.SizeGB == 0 && id.Type().Key() == strings.ToLower(DiskType) {
		source, err := live[Disk](tx, id)
		if err != nil {
			return err
		}
		v.SizeGB = source.Properties.SizeGB
		otherwise(&v.OSType, source.Properties.OSType)
	}
	v.State, v.ARM, v.SizeBytes = "Unattached", true, int64(v.SizeGB)<<30
	if op == rp.Create {
		v.UniqueID = uuid.NewString()
	}
	return nil
}

func setDefaults(_ string, r *rp.Resource[AvailabilitySet]) {
	s := skuOf(r)
	otherwise(&s.Name, "Classic")
	if oneOf("", "", &s.Name, "Classic", "Aligned") == nil {
		r.SKU, _ = json.Marshal(s) // two strings
	}
	otherwise(&r.Properties.UpdateDomains, ptr(5))
	otherwise(&r.Properties.FaultDomains, ptr(2))
}

func validateSet(_ rp.Op, new, old *rp.Resource[AvailabilitySet]) error {
	v, name := &new.Properties, skuOf(new).Name
	if err := oneOf("InvalidParameter", "sku.name", &name, "Classic", "Aligned"); err != nil {
		return err
	}
	for _, c := range []struct {
		name  string
		value int
		most  int
	}{{"platformUpdateDomainCount", *v.UpdateDomains, 20}, {"platformFaultDomainCount", *v.FaultDomains, 3}} {
		if c.value < 1 || c.value > c.most {
			e := arm.Errorf(http.StatusBadRequest, "InvalidParameter", "The specified %s %d must fall in the range 1 to %d.", c.name, c.value, c.most)
			e.Target = c.name
			return e
		}
	}
	if old != nil && (*old.Properties.UpdateDomains != *v.UpdateDomains || *old.Properties.FaultDomains != *v.FaultDomains) {
		return arm.Errorf(http.StatusConflict, "PropertyChangeNotAllowed", "Changing the domain counts of availability set '%s' is not allowed.", new.ID.Name())
	}
	return nil
}
