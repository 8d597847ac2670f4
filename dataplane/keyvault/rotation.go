package keyvault

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vauban.dev/store"
)

// rotationPolicy is a key's rotation policy on the wire (KeyRotationPolicy).
type rotationPolicy struct {
	ID         string             `json:"id,omitempty"`
	Actions    []lifetimeAction   `json:"lifetimeActions"`
	Attributes rotationAttributes `json:"attributes"`
}

type lifetimeAction struct {
	Trigger lifetimeTrigger `json:"trigger"`
	Action  struct {
		Type string `json:"type"` // Rotate, Notify
	} `json:"action"`
}

type lifetimeTrigger struct {
	AfterCreate  string `json:"timeAfterCreate,omitempty"` // ISO 8601: P90D
	BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
}

type rotationAttributes struct {
	Expiry  string `json:"expiryTime,omitempty"`
	Created *int64 `json:"created,omitempty"`
	Updated *int64 `json:"updated,omitempty"`
}

// span is a duration in calendar units, as ISO 8601 has it.
type span struct{ years, months, days int }

var spanForm = regexp.MustCompile(`^P(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,6})D)?$`)

// parseSpan parses P1Y2M3W4D; Key Vault takes whole days and no times of day.
func parseSpan(s string) (span, error) {
	m := spanForm.FindStringSubmatch(strings.ToUpper(s))
	if m == nil || len(s) < 3 {
		return span{}, fmt.Errorf("'%s' is not a duration of whole days in ISO 8601, such as P90D", s)
	}
	n := func(i int) int {
		v, _ := strconv.Atoi(m[i]) // digits or nothing
		return v
	}
	return span{years: n(1), months: n(2), days: n(3)*7 + n(4)}, nil
}

func (d span) after(t time.Time) time.Time  { return t.AddDate(d.years, d.months, d.days) }
func (d span) before(t time.Time) time.Time { return t.AddDate(-d.years, -d.months, -d.days) }

// least is the span's shortest length in days.
func (d span) least() int { return d.years*365 + d.months*28 + d.days }

func (p *rotationPolicy) expiry() (span, bool) {
	if p.Attributes.Expiry == "" {
		return span{}, false
	}
	d, err := parseSpan(p.Attributes.Expiry)
	return d, err == nil
}

// check says what is wrong with a policy that a client sent ("Configure cryptographic key auto-rotation": policy).
func (p *rotationPolicy) check() error {
	life, expires := span{}, p.Attributes.Expiry != ""
	if expires {
		var err error
		if life, err = parseSpan(p.Attributes.Expiry); err != nil {
			return errBadParameter("Invalid rotation policy: attributes.expiryTime: %s.", err)
		}
		if life.least() < 28 {
			return errBadParameter("Invalid rotation policy: attributes.expiryTime '%s' is less than 28 days.", p.Attributes.Expiry)
		}
	}
	seen := map[string]bool{}
	for i := range p.Actions {
		a := &p.Actions[i]
		kind := strings.ToLower(a.Action.Type)
		switch kind {
		case "rotate":
			a.Action.Type = "Rotate"
		case "notify":
			a.Action.Type = "Notify"
		default:
			return errBadParameter("Invalid rotation policy: lifetimeActions[%d].action.type '%s' is none of Rotate, Notify.", i, a.Action.Type)
		}
		if seen[kind] {
			return errBadParameter("Invalid rotation policy: there is more than one action of type %s.", a.Action.Type)
		}
		seen[kind] = true
		if err := a.check(i, life, expires); err != nil {
			return err
		}
	}
	return nil
}

func (a *lifetimeAction) check(i int, life span, expires bool) error {
	after, before := a.Trigger.AfterCreate, a.Trigger.BeforeExpiry
	if (after == "") == (before == "") {
		return errBadParameter("Invalid rotation policy: lifetimeActions[%d].trigger has one of timeAfterCreate, timeBeforeExpiry.", i)
	}
	if a.Action.Type == "Notify" && after != "" {
		return errBadParameter("Invalid rotation policy: lifetimeActions[%d]: Notify is triggered by timeBeforeExpiry only.", i)
	}
	d, err := parseSpan(after + before)
	if err != nil {
		return errBadParameter("Invalid rotation policy: lifetimeActions[%d].trigger: %s.", i, err)
	}
	switch {
	case d.least() < 7:
		return errBadParameter("Invalid rotation policy: lifetimeActions[%d].trigger '%s' is less than 7 days.", i, after+before)
	case before != "" && !expires && a.Action.Type == "Rotate":
		return errBadParameter("Invalid rotation policy: lifetimeActions[%d].trigger.timeBeforeExpiry needs attributes.expiryTime.", i)
	case expires && d.least()+7 > life.least():
		return errBadParameter("Invalid rotation policy: lifetimeActions[%d].trigger '%s' leaves less than 7 days of attributes.expiryTime '%s'.", i, after+before, life)
	}
	return nil
}

func (d span) String() string { return fmt.Sprintf("P%dY%dM%dD", d.years, d.months, d.days) }

// next is when a version that was made at created and expires at expires (0: never) rotates.
func (p *rotationPolicy) next(created, expires int64) (time.Time, bool) {
	for _, a := range p.Actions {
		if a.Action.Type != "Rotate" {
			continue
		}
		if d, err := parseSpan(a.Trigger.AfterCreate); err == nil {
			return d.after(fromUnix(created)), true
		}
		if d, err := parseSpan(a.Trigger.BeforeExpiry); err == nil && expires != 0 {
			return d.before(fromUnix(expires)), true
		}
	}
	return time.Time{}, false
}

// rotates reports whether the key's rotation is due by the region's clock.
func (s *Service) rotates(head *headDoc) bool {
	if head.Rotation == nil || head.Deleted != 0 || head.Current.Managed {
		return false
	}
	at, ok := head.Rotation.Policy.next(head.Current.Created, head.Current.Expires)
	return ok && !s.Clock.Now().Before(at)
}

// Rotate gives every key whose rotation is due a new version, once.
func (s *Service) Rotate(ctx context.Context) error {
	due, err := s.heads(ctx, keyClass, s.rotates)
	if err != nil {
		return err
	}
	for _, p := range due {
		o, err := s.rotate(ctx, p.vault, p.name, s.rotates)
		if err != nil {
			return err
		}
		s.Log.Info("keyvault: key rotated by its policy", "vault", p.vault, "key", p.name, "version", o.ID)
	}
	return nil
}

func (s *Service) rotationPolicy(ctx context.Context, vault, name string) (p rotationPolicy, err error) {
	o, err := s.get(ctx, keyClass, vault, name, "")
	if err != nil {
		return p, err
	}
	if r := o.head.Rotation; r != nil {
		p = r.Policy
		p.Attributes.Created, p.Attributes.Updated = &r.Created, &r.Updated
		return p, nil
	}
	notify := lifetimeAction{Trigger: lifetimeTrigger{BeforeExpiry: "P30D"}}
	notify.Action.Type = "Notify"
	p.Actions = []lifetimeAction{notify} // what Azure says of keys without a policy
	return p, nil
}

func (s *Service) setRotationPolicy(ctx context.Context, vault, name string, p rotationPolicy) error {
	if err := p.check(); err != nil {
		return err
	}
	p.ID, p.Attributes.Created, p.Attributes.Updated = "", nil, nil
	return s.Store.Update(ctx, func(tx store.Tx) error {
		head, err := s.active(tx, keyClass, vault, name)
		if err != nil {
			return err
		}
		if head.Current.Managed {
			return errManaged(keyClass, name)
		}
		now := s.Clock.Now().Unix()
		doc := &rotationDoc{Policy: p, Created: now, Updated: now}
		if head.Rotation != nil {
			doc.Created = head.Rotation.Created
		}
		head.Rotation = doc
		return put(tx, keyClass.head, headKey(vault, name), head)
	})
}
