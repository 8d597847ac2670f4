package storage

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// BlobService is the properties of blobServices/default (Storage REST: BlobServiceProperties).
type BlobService struct {
	CORS               CORS        `json:"cors"`
	DefaultVersion     string      `json:"defaultServiceVersion,omitempty"`
	DeleteRetention    *Retention  `json:"deleteRetentionPolicy,omitempty"`
	ContainerRetention *Retention  `json:"containerDeleteRetentionPolicy,omitempty"`
	Versioning         *bool       `json:"isVersioningEnabled,omitempty"`
	ChangeFeed         *Switch     `json:"changeFeed,omitempty"`
	Restore            *Switch     `json:"restorePolicy,omitempty"`
	LastAccess         *LastAccess `json:"lastAccessTimeTrackingPolicy,omitempty"`
	AutomaticSnapshots *bool       `json:"automaticSnapshotPolicyEnabled,omitempty"`
}

// Switch is a policy that is on or off.
type Switch struct {
	Enabled   bool `json:"enabled"`
	Days      int  `json:"days,omitempty"`
	Retention int  `json:"retentionInDays,omitempty"`
}

// LastAccess is whether the time of the last read of a blob is kept.
type LastAccess struct {
	Enable bool `json:"enable"`
}

// Versions reports whether blobs are versioned.
func (s *BlobService) Versions() bool { return s.Versioning != nil && *s.Versioning }

// Days is how long a retention policy keeps; 0: it is off.
func (r *Retention) KeptDays() int {
	if r == nil || !r.Enabled {
		return 0
	}
	return r.Days
}

// check refuses what the data plane does not do: nobody shall take a protection for granted that is not there.
func (s *BlobService) check() error {
	switch {
	case s.ChangeFeed != nil && s.ChangeFeed.Enabled:
		return arm.NotImplemented("properties.changeFeed: the change feed is not there yet.")
	case s.Restore != nil && s.Restore.Enabled:
		return arm.NotImplemented("properties.restorePolicy: point-in-time restore needs the change feed, which is not there yet.")
	case s.LastAccess != nil && s.LastAccess.Enable:
		return arm.NotImplemented("properties.lastAccessTimeTrackingPolicy: times of access are not kept.")
	case s.AutomaticSnapshots != nil && *s.AutomaticSnapshots:
		return arm.NotImplemented("properties.automaticSnapshotPolicyEnabled: automatic snapshots are not there yet.")
	case s.DeleteRetention != nil && s.DeleteRetention.AllowPermanent:
		return arm.NotImplemented("properties.deleteRetentionPolicy.allowPermanentDelete: what soft delete keeps cannot be deleted before its time.")
	}
	if k := s.ContainerRetention; k != nil {
		return k.check("containerDeleteRetentionPolicy")
	}
	return nil
}

// FileService is the properties of fileServices/default.
type FileService struct {
	CORS            CORS       `json:"cors"`
	DeleteRetention *Retention `json:"shareDeleteRetentionPolicy,omitempty"`
}

// OtherService is the properties of queueServices/default and tableServices/default.
type OtherService struct {
	CORS CORS `json:"cors"`
}

// CORS is what pages of other sites may ask of a service.
type CORS struct {
	Rules []CORSRule `json:"corsRules"`
}

// CORSRule allows some origins.
type CORSRule struct {
	Origins []string `json:"allowedOrigins"`
	Methods []string `json:"allowedMethods"`
	MaxAge  int      `json:"maxAgeInSeconds"`
	Exposed []string `json:"exposedHeaders"`
	Headers []string `json:"allowedHeaders"`
}

// Retention keeps what was deleted for some days.
type Retention struct {
	Enabled        bool `json:"enabled"`
	Days           int  `json:"days,omitempty"`
	AllowPermanent bool `json:"allowPermanentDelete,omitempty"`
}

func (r *Retention) check(name string) error {
	if r.Enabled && (r.Days < 1 || r.Days > 365) {
		return invalid("the days of %s, which is enabled, are between 1 and 365, not %d.", name, r.Days)
	}
	return nil
}

// BlobServiceOf returns what blobServices/default of an account says; the zero one when the account has no blobs.
func BlobServiceOf(tx *rp.Tx, account arm.ID) (*rp.Resource[BlobService], error) {
	r, err := rp.Get[BlobService](tx, account.Child("blobServices", "default"))
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return &rp.Resource[BlobService]{}, nil
	}
	return r, err
}

// serviceTypes are an account's services: each has one resource, default, that is there with the account.
func (p *Provider) serviceTypes() []rp.Registration {
	return []rp.Registration{
		serviceType("blobServices", true, func(s *BlobService) *CORS {
			if s.DeleteRetention == nil {
				s.DeleteRetention = &Retention{}
			}
			return &s.CORS
		}, func(s *BlobService) *Retention { return s.DeleteRetention }, (*BlobService).check, nil),
		serviceType("fileServices", true, func(s *FileService) *CORS {
			if s.DeleteRetention == nil {
				s.DeleteRetention = &Retention{Enabled: true, Days: 7}
			}
			return &s.CORS
		}, func(s *FileService) *Retention { return s.DeleteRetention }, nil, p.rules),
		serviceType("queueServices", false, func(s *OtherService) *CORS { return &s.CORS }, nil, nil, p.rules),
		serviceType("tableServices", false, func(s *OtherService) *CORS { return &s.CORS }, nil, nil, p.rules),
	}
}

// serviceType is the type of one service. rules fills in what was not said and tells where its CORS rules are; kept is the
// data plane that keeps them, if one does.
func serviceType[T any](name string, sku bool, rules func(*T) *CORS, retention func(*T) *Retention, check func(*T) error, kept ServiceRules) rp.Registration {
	t := rp.Type[T]{
		Name: AccountType + "/" + name, Kind: rp.Proxy, Versions: rp.Versions[T](versions...), StateProperty: "-",
		NamePattern: "^default$", NameRule: "The service of an account is named 'default'.", NoDelete: true,
		Default: func(_ string, r *rp.Resource[T]) {
			if c := rules(&r.Properties); c.Rules == nil {
				c.Rules = []CORSRule{}
			}
		},
		Validate: func(_ rp.Op, r, _ *rp.Resource[T]) error {
			if err := checkCORS(rules(&r.Properties).Rules); err != nil || retention == nil {
				return err
			}
			if check != nil {
				if err := check(&r.Properties); err != nil {
					return err
				}
			}
			return retention(&r.Properties).check("deleteRetentionPolicy")
		},
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[T]) (err error) {
			c := rules(&r.Properties)
			if kept != nil {
				if c.Rules, err = kept.CORS(tx, r.ID.Parent(), serviceName(name)); err != nil {
					return err
				}
			}
			if c.Rules == nil { // made with the account
				c.Rules = []CORSRule{}
			}
			if !sku {
				return nil
			}
			a, err := rp.Get[Account](tx, r.ID.Parent())
			if err == nil {
				r.SKU = a.SKU
			}
			return err
		},
	}
	if kept != nil {
		t.Admit = func(_ context.Context, tx *rp.Tx, _ rp.Op, r, _ *rp.Resource[T]) error {
			return kept.SetCORS(tx, r.ID.Parent(), serviceName(name), rules(&r.Properties).Rules)
		}
	}
	return rp.Of(t)
}

// serviceName is queue of queueServices.
func serviceName(collection string) string { return strings.TrimSuffix(collection, "Services") }

var corsMethods = []string{"DELETE", "GET", "HEAD", "MERGE", "POST", "OPTIONS", "PUT", "PATCH", "CONNECT", "TRACE"}

// checkCORS follows "Cross-Origin Resource Sharing (CORS) support for Azure Storage".
func checkCORS(rules []CORSRule) error {
	if len(rules) > 5 {
		return invalid("cors.corsRules has %d rules; a service takes 5.", len(rules))
	}
	for i, r := range rules {
		switch {
		case len(r.Origins) == 0 || len(r.Methods) == 0:
			return invalid("cors.corsRules[%d] needs allowedOrigins and allowedMethods.", i)
		case r.MaxAge < 0:
			return invalid("cors.corsRules[%d].maxAgeInSeconds %d is negative.", i, r.MaxAge)
		}
		for _, m := range r.Methods {
			if !slices.Contains(corsMethods, m) {
				return invalid("cors.corsRules[%d].allowedMethods has '%s', which is none of %v.", i, m, corsMethods)
			}
		}
	}
	return nil
}

// saveServices makes the services of a new account: those that its kind has.
func saveServices(tx *rp.Tx, account *rp.Resource[Account]) error {
	names := map[string][]string{
		"BlobStorage": {"blobServices"}, "BlockBlobStorage": {"blobServices"}, "FileStorage": {"fileServices"},
	}[account.Kind]
	if names == nil {
		names = []string{"blobServices", "fileServices", "queueServices", "tableServices"}
	}
	for _, name := range names {
		id := account.ID.Child(name, "default")
		var err error
		switch name {
		case "blobServices":
			err = rp.Save(tx, &rp.Resource[BlobService]{ID: id, State: arm.Succeeded, Properties: BlobService{DeleteRetention: &Retention{}}})
		case "fileServices":
			err = rp.Save(tx, &rp.Resource[FileService]{ID: id, State: arm.Succeeded, Properties: FileService{DeleteRetention: &Retention{Enabled: true, Days: 7}}})
		default:
			err = rp.Save(tx, &rp.Resource[OtherService]{ID: id, State: arm.Succeeded})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
