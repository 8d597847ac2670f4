package storage

import (
	"net/http"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Shares is the data plane's side of file shares. Errors are *arm.Error.
type Shares interface {
	// Share returns a share; 404 ShareNotFound.
	Share(tx store.Tx, account arm.ID, name string) (Share, error)
	// PutShare makes it, or changes what is said of one that is there: zero fields stay.
	PutShare(tx store.Tx, account arm.ID, name string, in ShareProperties) (created bool, err error)
	// DeleteShare removes it with its snapshots, and keeps it for days when that is not 0; 404 ShareNotFound.
	DeleteShare(tx store.Tx, account arm.ID, name string, days int) error
	// ListShares lists all of the account, in order.
	ListShares(tx store.Tx, account arm.ID) ([]Share, error)
}

// Share is a file share as the data plane has it.
type Share struct {
	Name string
	ETag string
	ShareProperties
}

// ShareProperties are the properties of a share (Storage REST: FileShareProperties).
type ShareProperties struct {
	Quota            int64             `json:"shareQuota,omitempty"` // GiB
	Tier             string            `json:"accessTier,omitempty"`
	TierAt           *time.Time        `json:"accessTierChangeTime,omitempty"`
	Protocols        string            `json:"enabledProtocols,omitempty"`
	RootSquash       string            `json:"rootSquash,omitempty"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	Identifiers      []Identifier      `json:"signedIdentifiers,omitempty"`
	ProvisionedIOPS  int64             `json:"provisionedIops,omitempty"`
	ProvisionedMibps int64             `json:"provisionedBandwidthMibps,omitempty"`
	Modified         *time.Time        `json:"lastModifiedTime,omitempty"`
	LeaseStatus      string            `json:"leaseStatus,omitempty"`
	LeaseState       string            `json:"leaseState,omitempty"`
	Usage            int64             `json:"shareUsageBytes"`
}

// shareRoutes serve fileServices/default/shares: routes and no stored type, because the data plane owns shares.
func (p *Provider) shareRoutes() rp.Registration {
	if p.shares == nil {
		return rp.Routes()
	}
	shares := child{
		path: "fileServices/default/shares", permission: "fileServices/shares/",
		list: p.listShares, get: p.getShare, put: p.putShare, del: p.deleteShare,
	}
	return rp.Routes(shares.routes()...)
}

func shareBody(a *rp.Resource[Account], s Share) map[string]any {
	return map[string]any{
		"id": a.ID.String() + "/fileServices/default/shares/" + s.Name, "name": s.Name, "type": AccountType + "/fileServices/shares",
		"etag": s.ETag, "properties": s.ShareProperties,
	}
}

func (p *Provider) listShares(tx *rp.Tx, a *rp.Resource[Account], _ string, _ []byte) (any, error) {
	list, err := p.shares.ListShares(tx, a.ID)
	if err != nil {
		return nil, err
	}
	value := make([]any, len(list))
	for i, s := range list {
		value[i] = shareBody(a, s)
	}
	return map[string]any{"value": value}, nil
}

func (p *Provider) getShare(tx *rp.Tx, a *rp.Resource[Account], name string, _ []byte) (any, error) {
	s, err := p.shares.Share(tx, a.ID, name)
	if err != nil {
		return nil, err
	}
	return shareBody(a, s), nil
}

func (p *Provider) putShare(tx *rp.Tx, a *rp.Resource[Account], name string, body []byte) (any, error) {
	var in struct {
		Properties struct {
			ShareProperties
			Quota *int64 `json:"shareQuota"`
		} `json:"properties"`
	}
	if err := readBody(body, &in); err != nil {
		return nil, err
	}
	if q := in.Properties.Quota; q != nil {
		if *q < 1 {
			return nil, invalid("The shareQuota %d is not between 1 and 262144 GiB.", *q)
		}
		in.Properties.ShareProperties.Quota = *q
	}
	created, err := p.shares.PutShare(tx, a.ID, name, in.Properties.ShareProperties)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	b, err := p.getShare(tx, a, name, nil)
	return &rp.Response{Status: status, Body: b}, err
}

func (p *Provider) deleteShare(tx *rp.Tx, a *rp.Resource[Account], name string, _ []byte) (any, error) {
	service, err := FileServiceOf(tx, a.ID)
	if err != nil {
		return nil, err
	}
	err = p.shares.DeleteShare(tx, a.ID, name, service.Properties.DeleteRetention.KeptDays())
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil, nil // 204
	}
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK}, nil
}

// FileServiceOf returns what fileServices/default of an account says; the zero one when the account has no files.
func FileServiceOf(tx *rp.Tx, account arm.ID) (*rp.Resource[FileService], error) {
	r, err := rp.Get[FileService](tx, account.Child("fileServices", "default"))
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return &rp.Resource[FileService]{}, nil
	}
	return r, err
}
