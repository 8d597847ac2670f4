package blob

import (
	"encoding/xml"
	"errors"
	"net/http"

	"vauban.dev/internal/storagehttp"
)

// serviceProperties is the body of Set and Get Blob Service Properties. Logging and metrics are Storage Analytics, which Azure has
// retired: they are answered as off.
type serviceProperties struct {
	XMLName         xml.Name               `xml:"StorageServiceProperties"`
	Logging         *storagehttp.Logging   `xml:"Logging"`
	HourMetrics     *storagehttp.Metrics   `xml:"HourMetrics"`
	MinuteMetrics   *storagehttp.Metrics   `xml:"MinuteMetrics"`
	CORS            *storagehttp.CORS      `xml:"Cors"`
	DefaultVersion  *string                `xml:"DefaultServiceVersion"`
	DeleteRetention *storagehttp.Retention `xml:"DeleteRetentionPolicy"`
	StaticWebsite   *staticWebsite         `xml:"StaticWebsite"`
}

type staticWebsite struct {
	Enabled bool
}

func (q *request) getServiceProperties() error {
	b, err := q.s.settings(q.Ctx, q.Account.Name)
	if err != nil {
		return err
	}
	off := &storagehttp.Metrics{Version: "1.0"}
	p := serviceProperties{
		Logging: &storagehttp.Logging{Version: "1.0"}, HourMetrics: off, MinuteMetrics: off, CORS: &storagehttp.CORS{Rules: b.CORS},
		DeleteRetention: &storagehttp.Retention{Enabled: b.DeleteDays > 0, Days: b.DeleteDays}, StaticWebsite: &staticWebsite{},
	}
	if b.DefaultVersion != "" {
		p.DefaultVersion = &b.DefaultVersion
	}
	x := storagehttp.NewXML()
	if err := xml.NewEncoder(x).Encode(p); err != nil {
		return err
	}
	return q.SendXML(x)
}

// setServiceProperties changes what the body says and leaves the rest.
func (q *request) setServiceProperties() error {
	p, err := parseServiceProperties(q)
	if err != nil {
		return err
	}
	if q.s.policy == nil {
		return errNotImplemented("the account's settings are kept nowhere")
	}
	err = q.s.policy.SetBlobSettings(q.Ctx, q.Account.Name, func(b *BlobSettings) {
		if p.CORS != nil {
			b.CORS = p.CORS.Rules
		}
		if p.DefaultVersion != nil {
			b.DefaultVersion = *p.DefaultVersion
		}
		if r := p.DeleteRetention; r != nil {
			b.DeleteDays = 0
			if r.Enabled {
				b.DeleteDays = r.Days
			}
		}
	})
	if err != nil {
		return err
	}
	return q.Send(http.StatusAccepted)
}

func parseServiceProperties(q *request) (p serviceProperties, err error) {
	if err := storagehttp.DecodeXML(q.R.Body, &p); err != nil {
		return p, err
	}
	for _, m := range []*storagehttp.Metrics{p.HourMetrics, p.MinuteMetrics} {
		if m != nil && m.Enabled {
			return p, errNotImplemented("Storage Analytics metrics are not written: use diagnostic settings")
		}
	}
	if l := p.Logging; l != nil && (l.Delete || l.Read || l.Write) {
		return p, errNotImplemented("Storage Analytics logs are not written: use diagnostic settings")
	}
	if p.StaticWebsite != nil && p.StaticWebsite.Enabled {
		return p, errNotImplemented("static websites")
	}
	if r := p.DeleteRetention; r != nil && r.Enabled && (r.Days < 1 || r.Days > 365) {
		return p, errInvalidXML(errors.New("DeleteRetentionPolicy keeps 1 to 365 days"))
	}
	if p.DefaultVersion != nil && *p.DefaultVersion != "" && !storagehttp.IsVersion(*p.DefaultVersion) {
		return p, errInvalidXML(errors.New("DefaultServiceVersion is no version"))
	}
	if p.CORS != nil {
		return p, p.CORS.Check()
	}
	return p, nil
}
