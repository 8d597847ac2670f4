package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"vauban.dev/arm/expr"
)

// Query says which related resources auditIfNotExists and deployIfNotExists look at.
type Query struct {
	Type  string
	Name  string // "" = all of the type; parent/? = all under the parent
	Scope string // a resource, a group or a subscription
}

// Related finds resources.
type Related func(Query) ([]*Resource, error)

// Satisfied says whether what the rule wants to exist does: a related resource for which the existence condition
// holds.
func (f *Finding) Satisfied(rc *RequestContext, res *Resource, related Related) (bool, error) {
	x := f.Definition.rule.existence
	if x == nil {
		return false, fmt.Errorf("the policy rule does not say which resource is to exist")
	}
	q, err := f.query(rc, res)
	if err != nil {
		return false, err
	}
	found, err := related(q)
	if err != nil {
		return false, err
	}
	for _, o := range found {
		r := newRun(f.Bound, rc, o)
		r.subject = res
		ok, err := x.condition.holds(r)
		if err != nil {
			return false, err
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

func (f *Finding) text(r *run, v *value) (string, error) {
	if v == nil {
		return "", nil
	}
	got, err := v.get(r)
	if err != nil {
		return "", err
	}
	s, ok := text(got)
	if !ok {
		return "", fmt.Errorf("%s is not a text", v.text)
	}
	return s, nil
}

// query is where the related resources are: under the resource, in its group, or in its subscription.
func (f *Finding) query(rc *RequestContext, res *Resource) (q Query, err error) {
	x, r := f.Definition.rule.existence, newRun(f.Bound, rc, res)
	if q.Type, err = f.text(r, x.typ); err != nil {
		return q, err
	}
	if q.Name, err = f.text(r, x.name); err != nil {
		return q, err
	}
	group, err := f.text(r, x.group)
	if err != nil {
		return q, err
	}
	scope, err := f.text(r, x.scope)
	if err != nil {
		return q, err
	}
	subscription, own := scopesOf(res.ID)
	if group == "" {
		group = own
	}
	under := strings.HasPrefix(strings.ToLower(q.Type), strings.ToLower(res.Type)+"/")
	switch {
	case under && !strings.Contains(q.Name, "/"):
		q.Scope = res.ID
	case !strings.HasPrefix(strings.ToLower(q.Type), "microsoft.resources/") && extensionTypes[strings.ToLower(q.Type)]:
		q.Scope = res.ID
	case strings.EqualFold(scope, "Subscription") || group == "":
		q.Scope = "/subscriptions/" + subscription
	default:
		q.Scope = "/subscriptions/" + subscription + "/resourceGroups/" + group
	}
	return q, nil
}

// extensionTypes are looked for on the resource itself.
var extensionTypes = map[string]bool{
	"microsoft.insights/diagnosticsettings": true, "microsoft.security/advancedthreatprotectionsettings": true,
	"microsoft.authorization/locks": true, "microsoft.guestconfiguration/guestconfigurationassignments": true,
}

func scopesOf(id string) (subscription, group string) {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	if len(parts) > 1 && strings.EqualFold(parts[0], "subscriptions") {
		subscription = parts[1]
	}
	if len(parts) > 3 && strings.EqualFold(parts[2], "resourceGroups") {
		group = parts[3]
	}
	return subscription, group
}

// Deployment is what deployIfNotExists deploys.
type Deployment struct {
	Scope    string         // of the group or the subscription
	Location string         // of a deployment to a subscription
	Body     map[string]any // properties with mode, template and parameters
	Roles    []string       // that the assignment's identity needs
}

// Deployment resolves the deployment of a deployIfNotExists rule: the values of its parameters are evaluated here,
// the template is left as it is.
func (f *Finding) Deployment(rc *RequestContext, res *Resource) (*Deployment, error) {
	x := f.Definition.rule.existence
	if x == nil || x.deployment == nil {
		return nil, fmt.Errorf("the policy rule has no deployment")
	}
	r := newRun(f.Bound, rc, res)
	var body map[string]any
	if err := decode(x.deployment, &body); err != nil {
		return nil, err
	}
	d := &Deployment{Body: body, Roles: f.Definition.rule.roles}
	properties, _ := body["properties"].(map[string]any)
	if given, ok := properties["parameters"].(map[string]any); ok {
		v, err := newValue(given)
		if err != nil {
			return nil, err
		}
		if properties["parameters"], err = v.get(r); err != nil {
			return nil, err
		}
	}
	if at, ok := body["location"].(string); ok {
		v, err := newValue(at)
		if err != nil {
			return nil, err
		}
		if d.Location, err = f.text(r, v); err != nil {
			return nil, err
		}
		body["location"] = d.Location
	}
	scope, err := f.text(r, x.deploymentScope)
	if err != nil {
		return nil, err
	}
	group, err := f.text(r, x.group)
	if err != nil {
		return nil, err
	}
	subscription, own := scopesOf(res.ID)
	if group == "" {
		group = own
	}
	d.Scope = "/subscriptions/" + subscription
	if !strings.EqualFold(scope, "Subscription") && group != "" {
		d.Scope += "/resourceGroups/" + group
	}
	return d, nil
}

// Delay is how long after a write the existence is looked at: as the rule says, or ten minutes. provisioned says
// that the rule waits for the end of the resource's provisioning and no longer.
func (f *Finding) Delay(rc *RequestContext, res *Resource) (after time.Duration, provisioned bool) {
	x := f.Definition.rule.existence
	if x == nil || x.delay == nil {
		return 10 * time.Minute, false
	}
	s, err := f.text(newRun(f.Bound, rc, res), x.delay)
	if err != nil || strings.HasPrefix(strings.ToLower(s), "afterprovisioning") {
		return 0, true
	}
	d, ok := isoDuration(s)
	if !ok {
		return 10 * time.Minute, false
	}
	return min(d, 6*time.Hour), false
}

// isoDuration reads PT#H#M#S.
func isoDuration(s string) (time.Duration, bool) {
	rest, ok := strings.CutPrefix(strings.ToUpper(s), "PT")
	if !ok || rest == "" {
		return 0, false
	}
	d, err := time.ParseDuration(strings.ToLower(rest))
	return d, err == nil && d >= 0
}

// Remediation rewrites an existing resource as append and modify would a new one; nil when nothing changes.
func (f *Finding) Remediation(rc *RequestContext, res *Resource) (map[string]any, error) {
	changes, err := f.changes(rc, res)
	if err != nil {
		return nil, err
	}
	body, _ := clone(res.Body).(map[string]any)
	some := false
	for _, c := range changes {
		made, conflict := c.apply(res, body)
		if conflict != "" {
			return nil, fmt.Errorf("%s", conflict)
		}
		some = some || made
	}
	if !some {
		return nil, nil
	}
	return body, nil
}

// Roles are the role definitions that the rule needs for remediation.
func (b *Bound) Roles() []string {
	if b.Broken != nil {
		return nil
	}
	return b.Definition.rule.roles
}

// jsonOf is a value as compliance results show it.
func jsonOf(v any) string {
	b, err := json.Marshal(expr.To(expr.From(v)))
	if err != nil {
		return ""
	}
	return string(b)
}
