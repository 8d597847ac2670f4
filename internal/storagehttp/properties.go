package storagehttp

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/store"
)

// Properties are what Set Service Properties keeps of a queue or table service.
type Properties struct {
	XMLName       xml.Name `json:"-" xml:"StorageServiceProperties"`
	Logging       *Logging `json:"logging,omitempty"`
	HourMetrics   *Metrics `json:"hourMetrics,omitempty"`
	MinuteMetrics *Metrics `json:"minuteMetrics,omitempty"`
	CORS          *CORS    `json:"cors,omitempty" xml:"Cors"`
}

// Logging are the settings of Storage Analytics logs; none are written, so only false is taken.
type Logging struct {
	Version   string    `json:"version"`
	Delete    bool      `json:"delete"`
	Read      bool      `json:"read"`
	Write     bool      `json:"write"`
	Retention Retention `json:"retention" xml:"RetentionPolicy"`
}

// Metrics are the settings of Storage Analytics metrics (classic), which Azure has retired: they are kept and have no
// effect.
type Metrics struct {
	Version     string    `json:"version"`
	Enabled     bool      `json:"enabled"`
	IncludeAPIs *bool     `json:"includeAPIs,omitempty"`
	Retention   Retention `json:"retention" xml:"RetentionPolicy"`
}

// Retention is how many days something is kept.
type Retention struct {
	Enabled bool `json:"enabled"`
	Days    int  `json:"days,omitempty" xml:",omitempty"`
}

// CORS are the rules by which pages of other origins may call; lists are separated by commas.
type CORS struct {
	Rules []CORSRule `json:"rules" xml:"CorsRule"`
}

// CORSRule allows some origins.
type CORSRule struct {
	Origins string `json:"origins" xml:"AllowedOrigins"`
	Methods string `json:"methods" xml:"AllowedMethods"`
	Headers string `json:"headers" xml:"AllowedHeaders"`
	Exposed string `json:"exposed" xml:"ExposedHeaders"`
	MaxAge  int    `json:"maxAge" xml:"MaxAgeInSeconds"`
}

const maxCORSRules = 5

var corsMethods = []string{"DELETE", "GET", "HEAD", "MERGE", "POST", "OPTIONS", "PUT", "PATCH", "CONNECT", "TRACE"}

// ParseProperties reads the body of Set Service Properties.
func ParseProperties(r io.Reader) (p Properties, err error) {
	if err := DecodeXML(r, &p); err != nil {
		return p, err
	}
	if l := p.Logging; l != nil {
		if l.Delete || l.Read || l.Write {
			return p, NotImplemented("Storage Analytics logs are not written")
		}
		if err := l.Retention.check(); err != nil {
			return p, err
		}
	}
	for _, m := range []*Metrics{p.HourMetrics, p.MinuteMetrics} {
		if m == nil {
			continue
		}
		if m.Enabled && m.IncludeAPIs == nil {
			return p, InvalidXML(errors.New("metrics that are enabled say IncludeAPIs"))
		}
		if err := m.Retention.check(); err != nil {
			return p, err
		}
	}
	if p.CORS == nil {
		return p, nil
	}
	return p, p.CORS.Check()
}

// Check refuses rules that a service does not take ("Cross-Origin Resource Sharing (CORS) support for Azure Storage").
func (c *CORS) Check() error {
	if len(c.Rules) > maxCORSRules {
		return InvalidXML(fmt.Errorf("%d CORS rules; a service has at most %d", len(c.Rules), maxCORSRules))
	}
	for _, r := range c.Rules {
		if r.Origins == "" || r.Methods == "" || r.MaxAge < 0 {
			return InvalidXML(errors.New("a CORS rule needs AllowedOrigins, AllowedMethods and a MaxAgeInSeconds that is not negative"))
		}
		for m := range strings.SplitSeq(r.Methods, ",") {
			if !slices.Contains(corsMethods, strings.TrimSpace(m)) {
				return InvalidXML(fmt.Errorf("AllowedMethods has '%s', which is none of %v", m, corsMethods))
			}
		}
	}
	return nil
}

func (r Retention) check() error {
	if r.Enabled && (r.Days < 1 || r.Days > 365) {
		return InvalidXML(fmt.Errorf("the days of a retention policy that is enabled are 1 to 365, not %d", r.Days))
	}
	return nil
}

// over is p with what it does not say taken from old, and from Azure's defaults.
func (p Properties) over(old Properties) Properties {
	if p.Logging == nil {
		p.Logging = old.Logging
	}
	if p.HourMetrics == nil {
		p.HourMetrics = old.HourMetrics
	}
	if p.MinuteMetrics == nil {
		p.MinuteMetrics = old.MinuteMetrics
	}
	if p.CORS == nil {
		p.CORS = old.CORS
	}
	return p
}

func defaultProperties() Properties {
	return Properties{
		Logging: &Logging{Version: "1.0"}, HourMetrics: &Metrics{Version: "1.0"}, MinuteMetrics: &Metrics{Version: "1.0"}, CORS: &CORS{},
	}
}

// KindProperties are the documents of service properties: account/service.
const KindProperties = "storage.properties"

// PropertiesTx reads the properties of an account's service.
func PropertiesTx(tx store.Tx, account, service string) (p Properties, err error) {
	d, err := tx.Get(KindProperties, account+"/"+service)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return defaultProperties(), nil
	case err != nil:
		return p, err
	}
	err = json.Unmarshal(d.Value, &p)
	return p.over(defaultProperties()), err
}

// SetPropertiesTx changes what p says of the properties of an account's service.
func SetPropertiesTx(tx store.Tx, account, service string, p Properties) error {
	old, err := PropertiesTx(tx, account, service)
	if err != nil {
		return err
	}
	b, err := json.Marshal(p.over(old))
	if err != nil {
		return err
	}
	_, err = tx.Put(KindProperties, account+"/"+service, b, store.Any)
	return err
}

// ServiceProperties reads the properties of an account's service of this kind.
func (f *Front) ServiceProperties(ctx context.Context, s store.Store, account string) (p Properties, err error) {
	err = s.View(ctx, func(tx store.Tx) (err error) {
		p, err = PropertiesTx(tx, account, f.Service)
		return err
	})
	return p, err
}

// GetProperties answers Get Service Properties.
func (q *Request) GetProperties(s store.Store) error {
	p, err := q.Front.ServiceProperties(q.Ctx, s, q.Account.Name)
	if err != nil {
		return err
	}
	x := NewXML()
	if err := xml.NewEncoder(x).Encode(p); err != nil {
		return err
	}
	return q.SendXML(x)
}

// SetProperties answers Set Service Properties: what the body does not say stays.
func (q *Request) SetProperties(s store.Store) error {
	p, err := ParseProperties(q.R.Body)
	if err != nil {
		return err
	}
	err = s.Update(q.Ctx, func(tx store.Tx) error { return SetPropertiesTx(tx, q.Account.Name, q.Front.Service, p) })
	if err != nil {
		return err
	}
	return q.Send(http.StatusAccepted)
}

// ForgetProperties removes the service's properties of a deleted account.
func (f *Front) ForgetProperties(tx store.Tx, account string) error {
	err := tx.Delete(KindProperties, account+"/"+f.Service, store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// NoSecondary refuses Get Service Stats: it is for the secondary location of geo-redundant accounts.
func (q *Request) NoSecondary() error {
	return NewError(http.StatusBadRequest, "InvalidQueryParameterValue", "Value for one of the query parameters specified in the request URI is invalid.").
		Because("statistics are of the secondary location, which this account (%s) does not have", q.Account.SKU)
}

// Cross answers a preflight request, done is true then, and gives the headers of CORS to any other that comes from a page.
func (q *Request) Cross(s store.Store) (done bool, err error) {
	if q.R.Header.Get("Origin") == "" && q.R.Method != http.MethodOptions {
		return false, nil
	}
	p, err := q.Front.ServiceProperties(q.Ctx, s, q.Account.Name)
	if err != nil {
		return false, err
	}
	return q.CrossBy(p.CORS.Rules)
}

// CrossBy is Cross by rules that the caller has at hand.
func (q *Request) CrossBy(rules []CORSRule) (done bool, err error) {
	from := q.R.Header.Get("Origin")
	method := q.R.Method
	preflight := method == http.MethodOptions
	if preflight {
		method = q.R.Header.Get("Access-Control-Request-Method")
		if from == "" || method == "" {
			return false, NewError(http.StatusBadRequest, "InvalidHeaderValue", "A required CORS header is not present.").Because("a preflight request has Origin and Access-Control-Request-Method")
		}
	}
	h := q.W.Header()
	for _, rule := range rules {
		if !rule.fromOrigin(from) || !listed(rule.Methods, method, false) || preflight && !rule.admits(q.R.Header.Get("Access-Control-Request-Headers")) {
			continue
		}
		all := listed(rule.Origins, "*", false)
		h.Set("Access-Control-Allow-Origin", from)
		if all {
			h.Set("Access-Control-Allow-Origin", "*")
		} else {
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Add("Vary", "Origin")
		}
		if !preflight {
			if rule.Exposed != "" {
				h.Set("Access-Control-Expose-Headers", rule.Exposed)
			}
			return false, nil
		}
		h.Set("Access-Control-Allow-Methods", method)
		if wanted := q.R.Header.Get("Access-Control-Request-Headers"); wanted != "" {
			h.Set("Access-Control-Allow-Headers", wanted)
		}
		h.Set("Access-Control-Max-Age", strconv.Itoa(rule.MaxAge))
		return true, q.Send(http.StatusOK)
	}
	if preflight {
		return false, NewError(http.StatusForbidden, "CorsPreflightFailure", "CORS not enabled or no matching rule found for this request.").
			Because("none of the %d rules of the service allows %s from '%s'", len(rules), method, from)
	}
	if len(rules) > 0 && (method == http.MethodGet || method == http.MethodHead) {
		h.Add("Vary", "Origin") // another origin's answer may have headers that this one has not
	}
	return false, nil
}

// fromOrigin reports whether an origin is one of the rule's, of which "https://*.example.com" stands for all names below example.com.
func (c CORSRule) fromOrigin(from string) bool {
	if listed(c.Origins, from, false) {
		return true
	}
	from = strings.ToLower(from)
	for v := range strings.SplitSeq(strings.ToLower(c.Origins), ",") {
		before, after, ok := strings.Cut(strings.TrimSpace(v), "*.")
		if ok && len(from) > len(before)+len(after)+1 && strings.HasPrefix(from, before) && strings.HasSuffix(from, "."+after) {
			return true
		}
	}
	return false
}

func (c CORSRule) admits(headers string) bool {
	for h := range strings.SplitSeq(headers, ",") {
		if h = strings.TrimSpace(h); h != "" && !listed(c.Headers, h, true) {
			return false
		}
	}
	return true
}

// listed reports whether a list, separated by commas, has the item or "*"; a prefix may end in "*".
func listed(list, item string, prefixes bool) bool {
	for v := range strings.SplitSeq(list, ",") {
		v = strings.TrimSpace(v)
		if v == "*" || v != "" && strings.EqualFold(v, item) {
			return true
		}
		if p, ok := strings.CutSuffix(v, "*"); ok && prefixes && len(item) >= len(p) && strings.EqualFold(item[:len(p)], p) {
			return true
		}
	}
	return false
}
