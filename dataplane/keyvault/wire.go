package keyvault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// attributes of a secret on the wire; times are Unix seconds.
type attributes struct {
	Enabled         *bool  `json:"enabled,omitempty"`
	NotBefore       *int64 `json:"nbf,omitempty"`
	Expires         *int64 `json:"exp,omitempty"`
	Created         *int64 `json:"created,omitempty"`
	Updated         *int64 `json:"updated,omitempty"`
	RecoveryLevel   string `json:"recoveryLevel,omitempty"`
	RecoverableDays *int   `json:"recoverableDays,omitempty"`
}

// bundle is a secret on the wire (SecretBundle, SecretItem, DeletedSecretBundle, DeletedSecretItem).
type bundle struct {
	RecoveryID  string            `json:"recoveryId,omitempty"`
	Deleted     *int64            `json:"deletedDate,omitempty"`
	Purge       *int64            `json:"scheduledPurgeDate,omitempty"`
	Value       *string           `json:"value,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	ID          string            `json:"id"`
	Attributes  attributes        `json:"attributes"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// parameters is the body of Set Secret and Update Secret.
type parameters struct {
	Value       *string            `json:"value"`
	ContentType *string            `json:"contentType"`
	Attributes  *attributes        `json:"attributes"`
	Tags        *map[string]string `json:"tags"`
}

const maxBody = 256 << 10

// parseParameters reads a body of at most so many bytes. Unknown members are ignored, as Azure does.
func parseParameters(r io.Reader, most int64) (p parameters, err error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return p, err
	}
	if int64(len(b)) > most {
		return p, newError(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "", "The request body is too large.")
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return p, errBadParameter("The request body is missing or invalid.")
	}
	if err := json.Unmarshal(b, &p); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) {
			return p, errBadParameter("Property %s has an invalid type.", typed.Field)
		}
		return p, errBadParameter("The request body is not valid JSON.")
	}
	if a := p.Attributes; a != nil {
		for _, t := range []*int64{a.NotBefore, a.Expires} {
			if t != nil && (*t < 0 || *t > 253402300799) { // the year 9999
				return p, errBadParameter("Invalid attributes: %d is not a date.", *t)
			}
		}
	}
	return p, nil
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

func (q *request) base() string {
	return "https://" + strings.ToLower(q.vault.Name) + q.s.HostSuffix
}

// bundle renders a secret; the id has the version unless it is an item of a list of secrets.
func (q *request) bundle(s Secret, withVersion bool) bundle {
	b := bundle{ContentType: s.ContentType, ID: q.base() + "/secrets/" + s.Name, Tags: s.Tags}
	if withVersion {
		b.ID += "/" + s.Version
	}
	days := q.vault.retention()
	b.Attributes = attributes{
		Enabled: &s.Enabled, NotBefore: seconds(s.NotBefore), Expires: seconds(s.Expires), Created: seconds(s.Created), Updated: seconds(s.Updated),
		RecoveryLevel: q.vault.recoveryLevel(), RecoverableDays: &days,
	}
	if !s.Deleted.IsZero() {
		b.RecoveryID = q.base() + "/deletedsecrets/" + s.Name
		b.Deleted, b.Purge = seconds(s.Deleted), seconds(s.Purge)
	}
	return b
}

func (q *request) set() error {
	p, err := parseParameters(q.r.Body, maxBody)
	if err != nil {
		return err
	}
	if p.Value == nil {
		return errBadParameter("Property value is required.")
	}
	var o SetOptions
	if p.ContentType != nil {
		o.ContentType = *p.ContentType
	}
	if p.Tags != nil {
		o.Tags = *p.Tags
	}
	if a := p.Attributes; a != nil {
		o.Disabled = a.Enabled != nil && !*a.Enabled
		o.NotBefore, o.Expires = fromSeconds(a.NotBefore), fromSeconds(a.Expires)
	}
	s, err := q.s.Set(q.r.Context(), q.vault.Name, q.name, *p.Value, o)
	if err != nil {
		return err
	}
	b := q.bundle(s, true)
	b.Value = p.Value
	q.send(http.StatusOK, b)
	return nil
}

func fromSeconds(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.Unix(*n, 0).UTC()
}

func (q *request) get() error {
	s, err := q.s.Get(q.r.Context(), q.vault.Name, q.name, q.version)
	if err != nil {
		return err
	}
	b := q.bundle(s, true)
	b.Value = &s.Value
	q.send(http.StatusOK, b)
	return nil
}

func (q *request) update() error {
	p, err := parseParameters(q.r.Body, maxBody)
	if err != nil {
		return err
	}
	c := Change{ContentType: p.ContentType, Tags: p.Tags}
	if a := p.Attributes; a != nil {
		c.Enabled = a.Enabled
		if a.NotBefore != nil {
			t := fromSeconds(a.NotBefore)
			c.NotBefore = &t
		}
		if a.Expires != nil {
			t := fromSeconds(a.Expires)
			c.Expires = &t
		}
	}
	s, err := q.s.Update(q.r.Context(), q.vault.Name, q.name, q.version, c)
	return q.answer(s, err)
}

func (q *request) delete() error {
	s, err := q.s.Delete(q.r.Context(), q.vault.Name, q.name)
	return q.answer(s, err)
}

func (q *request) recover() error {
	s, err := q.s.Recover(q.r.Context(), q.vault.Name, q.name)
	if IsNotFound(err) {
		err = errDeletedNotFound(q.name)
	}
	return q.answer(s, err)
}

func (q *request) getDeleted() error {
	s, err := q.s.GetDeleted(q.r.Context(), q.vault.Name, q.name)
	return q.answer(s, err)
}

func (q *request) answer(s Secret, err error) error {
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.bundle(s, true))
	return nil
}

func (q *request) purge() error {
	if err := q.s.Purge(q.r.Context(), q.vault.Name, q.name); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (q *request) list() error        { return q.sendPage(q.secrets(false), false) }
func (q *request) listDeleted() error { return q.sendPage(q.secrets(true), false) }

func (q *request) listVersions() error {
	return q.sendPage(func(after string, limit int) ([]Secret, string, error) {
		return q.s.ListVersions(q.r.Context(), q.vault.Name, q.name, after, limit)
	}, true)
}

func (q *request) secrets(deleted bool) func(string, int) ([]Secret, string, error) {
	return func(after string, limit int) ([]Secret, string, error) {
		return q.s.List(q.r.Context(), q.vault.Name, deleted, after, limit)
	}
}

// sendPage answers with one page of a list and the link to the next.
func (q *request) sendPage(list func(after string, limit int) ([]Secret, string, error), withVersion bool) error {
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
	secrets, next, err := list(string(after), limit)
	if err != nil {
		return err
	}
	page := struct {
		Value    []bundle `json:"value"`
		NextLink *string  `json:"nextLink"`
	}{Value: []bundle{}}
	for _, s := range secrets {
		page.Value = append(page.Value, q.bundle(s, withVersion))
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
