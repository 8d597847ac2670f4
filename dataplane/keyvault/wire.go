package keyvault

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // x5t is defined with it
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"vauban.dev/dataplane/keyvault/jwk"
)

// attributes of an object on the wire; times are Unix seconds.
type attributes struct {
	Enabled         *bool  `json:"enabled,omitempty"`
	NotBefore       *int64 `json:"nbf,omitempty"`
	Expires         *int64 `json:"exp,omitempty"`
	Created         *int64 `json:"created,omitempty"`
	Updated         *int64 `json:"updated,omitempty"`
	RecoveryLevel   string `json:"recoveryLevel,omitempty"`
	RecoverableDays *int   `json:"recoverableDays,omitempty"`
	Exportable      *bool  `json:"exportable,omitempty"` // of keys
}

// options are the attributes and tags that a new version is written with.
func (a *attributes) options(tags *map[string]string) (o SetOptions) {
	if tags != nil {
		o.Tags = *tags
	}
	if a != nil {
		o.Disabled = a.Enabled != nil && !*a.Enabled
		o.NotBefore, o.Expires = fromSeconds(a.NotBefore), fromSeconds(a.Expires)
	}
	return o
}

// change is what attributes and tags change of a version.
func (a *attributes) change(tags *map[string]string) Change {
	c := Change{Tags: tags}
	if a == nil {
		return c
	}
	c.Enabled = a.Enabled
	if a.NotBefore != nil {
		t := fromSeconds(a.NotBefore)
		c.NotBefore = &t
	}
	if a.Expires != nil {
		t := fromSeconds(a.Expires)
		c.Expires = &t
	}
	return c
}

func (a *attributes) check() error {
	if a == nil {
		return nil
	}
	for _, t := range []*int64{a.NotBefore, a.Expires} {
		if t != nil && (*t < 0 || *t > 253402300799) { // the year 9999
			return errBadParameter("Invalid attributes: %d is not a date.", *t)
		}
	}
	return nil
}

// bundle is an object on the wire (SecretBundle, KeyItem, DeletedCertificateBundle …).
type bundle struct {
	RecoveryID  string             `json:"recoveryId,omitempty"`
	Deleted     *int64             `json:"deletedDate,omitempty"`
	Purge       *int64             `json:"scheduledPurgeDate,omitempty"`
	Value       *string            `json:"value,omitempty"`
	ContentType string             `json:"contentType,omitempty"`
	ID          string             `json:"id,omitempty"`
	KID         string             `json:"kid,omitempty"`
	SID         string             `json:"sid,omitempty"`
	X5T         jwk.Bytes          `json:"x5t,omitempty"`
	CER         []byte             `json:"cer,omitempty"`
	Key         *webKey            `json:"key,omitempty"`
	Policy      *certificatePolicy `json:"policy,omitempty"`
	Attributes  attributes         `json:"attributes"`
	Tags        map[string]string  `json:"tags,omitempty"`
	Managed     bool               `json:"managed,omitempty"`
	Pending     *struct {
		ID string `json:"id"`
	} `json:"pending,omitempty"` // of a certificate
}

// parameters is the body of Set Secret, Update Secret and of every restore.
type parameters struct {
	Value       *string            `json:"value"`
	ContentType *string            `json:"contentType"`
	Attributes  *attributes        `json:"attributes"`
	Tags        *map[string]string `json:"tags"`
}

const maxBody = 256 << 10

// readBody reads the request's body, of at most so many bytes.
func (q *request) readBody(into any, most int64) error { return parseBody(q.r.Body, into, most) }

// parseBody reads a JSON object of at most so many bytes. Unknown members are ignored, as Azure does.
func parseBody(r io.Reader, into any, most int64) error {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return err
	}
	if int64(len(b)) > most {
		return newError(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "", "The request body is too large.")
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return errBadParameter("The request body is missing or invalid.")
	}
	if err := json.Unmarshal(b, into); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) {
			return errBadParameter("Property %s has an invalid type.", typed.Field)
		}
		return errBadParameter("The request body is not valid JSON of this operation: %s.", plainJSONError(err))
	}
	var a *attributes
	switch p := into.(type) {
	case *parameters:
		a = p.Attributes
	case *keyParameters:
		a = p.Attributes
	case *certificateParameters:
		a = p.Attributes
	}
	return a.check()
}

// plainJSONError says what is wrong without words of the program.
func plainJSONError(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return "at byte " + strconv.FormatInt(syntax.Offset, 10)
	}
	return "a value is not in base64url"
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

func fromSeconds(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.Unix(*n, 0).UTC()
}

func (q *request) base() string {
	return "https://" + strings.ToLower(q.vault.Name) + q.s.HostSuffix
}

// form is how much of an object is shown.
type form int

const (
	whole       form = iota // alone
	item                    // in a list of names: ids have no version
	versionItem             // in a list of versions
)

// bundle renders an object.
func (q *request) bundle(o object, f form) bundle {
	id := func(c *class) string {
		s := q.base() + "/" + c.path + "/" + o.head.Name
		if f != item && o.ID != "" {
			s += "/" + o.ID
		}
		return s
	}
	b := bundle{Tags: o.Tags, Managed: o.Managed && o.class != certificateClass}
	days := q.vault.retention()
	b.Attributes = attributes{
		Enabled: &o.Enabled, NotBefore: seconds(fromUnix(o.NotBefore)), Expires: seconds(fromUnix(o.Expires)),
		Created: seconds(fromUnix(o.Created)), Updated: seconds(fromUnix(o.Updated)),
		RecoveryLevel: q.vault.recoveryLevel(), RecoverableDays: &days,
	}
	switch o.class {
	case secretClass:
		b.ID, b.ContentType = id(secretClass), o.ContentType
		if o.Managed && f == whole {
			b.KID = id(keyClass)
		}
	case keyClass:
		no := false
		b.Attributes.Exportable = &no
		if f == whole {
			b.Key = &webKey{KID: id(keyClass), Type: o.Key.kind(), Operations: o.Key.Operations, Public: o.Key.Public}
		} else {
			b.KID = id(keyClass)
		}
	case certificateClass:
		b.ID = id(certificateClass)
		if o.DER != nil {
			sum := sha1.Sum(o.DER) //nolint:gosec // as above
			b.X5T = sum[:]
		}
		if f == whole {
			b.CER, b.ContentType = o.DER, o.ContentType
			if o.ID != "" {
				b.KID, b.SID = id(keyClass), id(secretClass)
			}
			b.Policy = q.policy(o.head)
			if o.head.Pending != nil {
				b.Pending = &struct {
					ID string `json:"id"`
				}{q.base() + "/certificates/" + o.head.Name + "/pending"}
			}
		}
	}
	if o.head.Deleted != 0 {
		b.RecoveryID = q.base() + "/deleted" + o.class.path + "/" + o.head.Name
		b.Deleted, b.Purge = seconds(fromUnix(o.head.Deleted)), seconds(fromUnix(o.head.Purge))
	}
	return b
}

func (q *request) setSecret() error {
	var p parameters
	if err := q.readBody(&p, maxBody); err != nil {
		return err
	}
	if p.Value == nil {
		return errBadParameter("Property value is required.")
	}
	o := p.Attributes.options(p.Tags)
	if p.ContentType != nil {
		o.ContentType = *p.ContentType
	}
	s, err := q.s.set(q.r.Context(), q.vault.Name, q.name, *p.Value, o)
	if err != nil {
		return err
	}
	b := q.bundle(s, whole)
	b.Value = p.Value
	q.send(http.StatusOK, b)
	return nil
}

func (q *request) getSecret() error {
	o, value, err := q.s.getSecret(q.r.Context(), q.vault.Name, q.name, q.version)
	if err != nil {
		return err
	}
	b := q.bundle(o, whole)
	b.Value = &value
	q.send(http.StatusOK, b)
	return nil
}

func (q *request) updateSecret() error {
	var p parameters
	if err := q.readBody(&p, maxBody); err != nil {
		return err
	}
	c := p.Attributes.change(p.Tags)
	c.ContentType = p.ContentType
	o, err := q.s.update(q.r.Context(), secretClass, q.vault.Name, q.name, q.version, c.apply)
	return q.answer(o, err)
}

func (q *request) delete() error {
	o, err := q.s.delete(q.r.Context(), q.class, q.vault.Name, q.name)
	return q.answer(o, err)
}

func (q *request) recover() error {
	o, err := q.s.recover(q.r.Context(), q.class, q.vault.Name, q.name)
	return q.answer(o, err)
}

func (q *request) getDeleted() error {
	o, err := q.s.deleted(q.r.Context(), q.class, q.vault.Name, q.name)
	return q.answer(o, err)
}

func (q *request) answer(o object, err error) error {
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.bundle(o, whole))
	return nil
}

func (q *request) purge() error {
	if err := q.s.purge(q.r.Context(), q.class, q.vault.Name, q.name); err != nil {
		return err
	}
	q.status = http.StatusNoContent
	q.w.WriteHeader(q.status)
	return nil
}

func (q *request) backup() error {
	b, err := q.s.backup(q.r.Context(), q.class, q.vault.Name, q.name)
	if err != nil {
		return err
	}
	q.send(http.StatusOK, map[string]string{"value": base64.RawURLEncoding.EncodeToString(b)})
	return nil
}

// maxBackup is the body of a restore: the versions at their largest, encoded twice in base64, with room for attributes.
const maxBackup = maxVersions * maxValue * 2

func (q *request) restore() error {
	var p parameters
	if err := q.readBody(&p, maxBackup); err != nil {
		return err
	}
	if p.Value == nil {
		return errBadParameter("Property value is required.")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*p.Value, "="))
	if err != nil {
		return errBadParameter("Property value is not a backup: it is not base64url.")
	}
	o, err := q.s.restore(q.r.Context(), q.class, q.vault.Name, b)
	return q.answer(o, err)
}

func (q *request) list() error {
	return q.sendPage(item, func(after string, limit int) ([]object, string, error) {
		return q.s.list(q.r.Context(), q.class, q.vault.Name, q.deleted, after, limit)
	})
}

func (q *request) listVersions() error {
	return q.sendPage(versionItem, func(after string, limit int) ([]object, string, error) {
		return q.s.versions(q.r.Context(), q.class, q.vault.Name, q.name, after, limit)
	})
}

// sendPage answers with one page of a list and the link to the next.
func (q *request) sendPage(f form, list func(after string, limit int) ([]object, string, error)) error {
	query := q.r.URL.Query()
	limit := 0
	if v := query.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxPage {
			return errBadParameter("Invalid maxresults: it must be between 1 and %d.", maxPage)
		}
		limit = n
	}
	after, err := base64.RawURLEncoding.DecodeString(query.Get("$skiptoken"))
	if err != nil {
		return errBadParameter("Invalid $skiptoken.")
	}
	objects, next, err := list(string(after), limit)
	if err != nil {
		return err
	}
	page := struct {
		Value    []bundle `json:"value"`
		NextLink *string  `json:"nextLink"`
	}{Value: []bundle{}}
	for _, o := range objects {
		page.Value = append(page.Value, q.bundle(o, f))
	}
	if next != "" {
		v := url.Values{"api-version": {query.Get("api-version")}, "$skiptoken": {base64.RawURLEncoding.EncodeToString([]byte(next))}}
		if limit > 0 {
			v.Set("maxresults", strconv.Itoa(limit))
		}
		link := q.base() + q.r.URL.Path + "?" + v.Encode()
		page.NextLink = &link
	}
	q.send(http.StatusOK, page)
	return nil
}
