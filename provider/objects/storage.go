package objects

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/storage"
)

// Share is the properties of a file share (Storage REST: FileShareProperties).
type Share struct {
	Quota             int               `json:"shareQuota"` // GiB
	AccessTier        string            `json:"accessTier,omitempty"`
	Protocols         string            `json:"enabledProtocols,omitempty"`
	RootSquash        string            `json:"rootSquash,omitempty"`
	Metadata          map[string]string `json:"metadata,omitempty"`
	SignedIdentifiers []Identifier      `json:"signedIdentifiers,omitempty"`
	ProvisionedIops   int               `json:"provisionedIops,omitempty"`
	ProvisionedMibps  int               `json:"provisionedBandwidthMibps,omitempty"`

	Modified     *time.Time `json:"lastModifiedTime,omitempty" rp:"readonly"`
	LeaseStatus  string     `json:"leaseStatus,omitempty" rp:"readonly"`
	LeaseState   string     `json:"leaseState,omitempty" rp:"readonly"`
	UsageBytes   int64      `json:"shareUsageBytes" rp:"readonly"`
	BurstIops    int        `json:"includedBurstIops,omitempty" rp:"readonly"`
	BurstCredits int64      `json:"maxBurstCreditsForIops,omitempty" rp:"readonly"`
}

// Identifier is a stored access policy.
type Identifier struct {
	ID     string        `json:"id"`
	Policy *AccessPolicy `json:"accessPolicy,omitempty"`
}

// AccessPolicy is what a stored access policy grants, and when.
type AccessPolicy struct {
	Start      string `json:"startTime,omitempty"`
	Expiry     string `json:"expiryTime,omitempty"`
	Permission string `json:"permission,omitempty"`
}

const badStorage = "InvalidValuesForRequestParameters"

// lowName is the form of names of shares.
const (
	lowName     = `^[a-z0-9](?:-?[a-z0-9]){2,62}$`
	lowNameRule = "The name has 3 to 63 lower-case letters, digits and single hyphens, and begins and ends with a letter or digit."
)

// storageChildren are what an account's services hold, beside blob containers, queues and tables, which their data planes keep.
func storageChildren() []object {
	return slices.Concat([]object{
		of(rp.Type[Share]{
			Name: storage.AccountType + "/fileServices/shares", Kind: rp.Proxy, Versions: rp.Versions[Share](storage.Versions()...),
			StateProperty: "-", SyncDelete: true, ShowETag: true, ImplicitParent: true,
			NamePattern: lowName, NameRule: lowNameRule,
			Default: shareDefaults, Validate: validateShare,
			Admit: func(_ context.Context, tx *rp.Tx, _ rp.Op, r, _ *rp.Resource[Share]) error {
				p := &r.Properties
				p.Modified, p.LeaseStatus, p.LeaseState = ptr(tx.Now.UTC()), "unlocked", "available"
				if p.BurstIops, p.BurstCredits = 0, 0; p.ProvisionedIops > 0 { // "Understand Azure Files billing": bursting of provisioned shares
					p.BurstIops = max(3*p.ProvisionedIops, 10_000)
					p.BurstCredits = int64(p.BurstIops-p.ProvisionedIops) * 3600
				}
				return nil
			},
			Actions: unserved[Share](nil, "lease", "restore"),
		}),
	}, storagePolicies())
}

func shareDefaults(_ string, r *rp.Resource[Share]) {
	p := &r.Properties
	otherwise(&p.Quota, 5120)
	otherwise(&p.AccessTier, "TransactionOptimized")
	otherwise(&p.Protocols, "SMB")
}

func validateShare(_ rp.Op, r, old *rp.Resource[Share]) error {
	p := &r.Properties
	switch {
	case p.Quota < 1 || p.Quota > 262_144:
		return refuse(badStorage, "The shareQuota %d is not between 1 and 262144 GiB.", p.Quota)
	case old != nil && old.Properties.Protocols != p.Protocols:
		return refuse(badStorage, "The enabledProtocols of share '%s' cannot be changed from %s to %s.", r.ID.Name(), old.Properties.Protocols, p.Protocols)
	case p.RootSquash != "" && p.Protocols != "NFS":
		return refuse(badStorage, "rootSquash is for shares with the protocol NFS only.")
	}
	return first(
		oneOf(badStorage, "accessTier", &p.AccessTier, "TransactionOptimized", "Hot", "Cool", "Premium"),
		oneOf(badStorage, "enabledProtocols", &p.Protocols, "SMB", "NFS"),
		oneOf(badStorage, "rootSquash", &p.RootSquash, "NoRootSquash", "RootSquash", "AllSquash"),
		checkIdentifiers(p.SignedIdentifiers),
	)
}

// checkIdentifiers follows "Define a stored access policy".
func checkIdentifiers(list []Identifier) error {
	if len(list) > 5 {
		return refuse(badStorage, "There are %d signedIdentifiers; at most 5 are allowed.", len(list))
	}
	for i, s := range list {
		if s.ID == "" || len(s.ID) > 64 {
			return refuse(badStorage, "signedIdentifiers[%d].id needs 1 to 64 characters.", i)
		}
		if p := s.Policy; p != nil {
			for field, at := range map[string]string{"startTime": p.Start, "expiryTime": p.Expiry} {
				if _, err := time.Parse(time.RFC3339Nano, at); at != "" && err != nil {
					return refuse(badStorage, "signedIdentifiers[%d].accessPolicy.%s '%s' is not a time.", i, field, at)
				}
			}
		}
	}
	return nil
}

// jsonObject reports whether raw is a JSON object.
func jsonObject(raw json.RawMessage) bool {
	var m map[string]any
	return json.Unmarshal(raw, &m) == nil && m != nil
}

var guid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// onlyOne refuses any other name than the one that a type has.
func onlyOne(typ arm.TypeName, name, want string) error {
	if name == want {
		return nil
	}
	return refuse(badStorage, "The name of %s is '%s', not '%s'.", typ, want, name)
}
