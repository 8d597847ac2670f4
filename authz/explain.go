package authz

import (
	"fmt"
	"strings"
)

// maxReasons bounds the length of a refusal's text.
const maxReasons = 3

// maxConsidered bounds how many assignments an explanation lists.
const maxConsidered = 50

// Outcome is what became of a role assignment that was looked at.
type Outcome string

// The outcomes.
const (
	Grants          Outcome = "grants"
	Lacks           Outcome = "lacksAction"       // the role does not have the action
	Excepts         Outcome = "excepted"          // the role takes it out again by notActions
	OtherPlane      Outcome = "otherPlane"        // the role has it among actions, and a data action is asked, or the reverse
	ConditionFailed Outcome = "conditionFailed"   // the assignment or the role has a condition that does not hold
	NoSuchRole      Outcome = "roleDoesNotExist"  // the definition is gone
	OutOfScope      Outcome = "assignedElsewhere" // it would count, but at another scope
)

// Considered is a role assignment that was looked at.
type Considered struct {
	Assignment string  `json:"roleAssignmentId,omitempty"`
	Role       string  `json:"roleName,omitempty"`
	Definition string  `json:"roleDefinitionId"`
	Scope      string  `json:"scope"`
	Group      string  `json:"throughGroup,omitempty"` // object id of the group that it is assigned to
	Outcome    Outcome `json:"outcome"`
	ExceptedBy string  `json:"exceptedBy,omitempty"` // the notActions that takes the action out
	Condition  string  `json:"condition,omitempty"`
	// Failed are the comparisons of the condition that did not hold, with what they compared.
	Failed []ConditionTerm `json:"failed,omitempty"`

	text string
}

// Denied is the deny assignment that refuses.
type Denied struct {
	ID    string `json:"denyAssignmentId"`
	Name  string `json:"denyAssignmentName"`
	Scope string `json:"scope"`
}

// RoleHint is a role that would grant, and where.
type RoleHint struct {
	Role       string `json:"roleName"`
	Definition string `json:"roleDefinitionId"`
	Scope      string `json:"scope"`
}

// Explanation is why a request is allowed or refused.
type Explanation struct {
	Allowed   bool   `json:"allowed"`
	Principal string `json:"principalId"`
	Action    string `json:"action"`
	Data      bool   `json:"isDataAction"`
	Scope     string `json:"scope"`
	Reason    string `json:"reason"` // in words
	// Denied is set when a deny assignment refuses, whatever roles grant.
	Denied *Denied `json:"deniedBy,omitempty"`
	// Considered are the role assignments that reach the scope, the one that grants first.
	Considered []Considered `json:"considered,omitempty"`
	// Nearest is an assignment elsewhere, when none reaches the scope.
	Nearest *Considered `json:"nearest,omitempty"`
	// Would is the narrowest built-in role known that would grant.
	Would *RoleHint `json:"wouldGrant,omitempty"`
}

// ConditionFailed says that a role would have granted but for a condition.
func (e *Explanation) ConditionFailed() bool {
	for _, c := range e.Considered {
		if c.Outcome == ConditionFailed {
			return true
		}
	}
	return false
}

// Info is the reason for clients to read: the explanation, or all that there is.
func (d Decision) Info() *Explanation {
	if d.Why != nil {
		return d.Why
	}
	return &Explanation{Allowed: d.Allowed, Reason: d.By}
}

func (f *facts) about() Explanation {
	return Explanation{Principal: f.ids[0], Action: f.request.Action, Data: f.request.Data, Scope: f.request.Scope}
}

func (f *facts) denied(d *DenyAssignment) Explanation {
	e := f.about()
	e.Denied = &Denied{ID: d.ID, Name: d.Name, Scope: d.Scope}
	e.Reason = "deny assignment '" + d.Name + "' at " + d.Scope + " refuses " + f.request.Action
	return e
}

// refused says why nothing grants: what the assignments that reach the scope lack, or that none does.
func (f *facts) refused() (Explanation, error) {
	e := f.about()
	e.Would = f.would()
	more := 0
	for i := range f.assignments {
		if len(e.Considered) == maxConsidered {
			more++
			continue
		}
		e.Considered = append(e.Considered, f.consider(&f.assignments[i]))
	}
	if n := len(e.Considered); n > 0 {
		var texts []string
		for _, c := range e.Considered[:min(n, maxReasons)] {
			texts = append(texts, c.text)
		}
		e.Reason = strings.Join(texts, "; ")
		if more += n - maxReasons; more > 0 {
			e.Reason += fmt.Sprintf("; and %d more role assignments that do not grant it", more)
		}
		return e, nil
	}
	others, err := f.others()
	if err != nil {
		return e, fmt.Errorf("authz: role assignments: %w", err)
	}
	if len(others) == 0 {
		e.Reason = "this principal has no role assignment"
		return e, nil
	}
	near := f.consider(nearest(f.scope, others))
	e.Reason = "no role assignment of this principal reaches this scope; nearest: " + near.called() + " at " + near.Scope
	if near.Outcome != Grants && near.Outcome != NoSuchRole {
		e.Reason += " lacks " + f.request.Action
	}
	if near.Outcome == Grants {
		near.Outcome = OutOfScope
	}
	e.Nearest = &near
	return e, nil
}

// explain completes a decision for a reader who asked why.
func (f *facts) explain(d Decision) Explanation {
	if !d.Allowed {
		return *d.Why
	}
	e := f.about()
	e.Allowed, e.Reason = true, d.By
	for i := range f.assignments {
		if len(e.Considered) == maxConsidered {
			break
		}
		c := f.consider(&f.assignments[i])
		if c.Outcome == Grants && (len(e.Considered) == 0 || e.Considered[0].Outcome != Grants) {
			e.Considered = append([]Considered{c}, e.Considered...)
			continue
		}
		e.Considered = append(e.Considered, c)
	}
	return e
}

func (c *Considered) called() string {
	if c.Outcome == NoSuchRole {
		return "role " + DefinitionName(c.Definition) + " (which does not exist)"
	}
	return "role '" + c.Role + "'"
}

// consider says what an assignment makes of the request, its scope aside.
func (f *facts) consider(a *Assignment) Considered {
	c := Considered{Assignment: a.ID, Definition: a.Definition, Scope: a.Scope, Condition: a.Condition}
	if lower(a.PrincipalID) != lower(f.ids[0]) {
		c.Group = a.PrincipalID
	}
	d, ok := f.definition(a.Definition)
	if !ok {
		c.Outcome, c.text = NoSuchRole, "role "+DefinitionName(a.Definition)+" assigned at "+a.Scope+" does not exist"
		return c
	}
	c.Role = d.RoleName
	head := "role '" + d.RoleName + "' assigned at " + a.Scope
	not, kind := "notActions", ""
	if f.request.Data {
		not, kind = "notDataActions", "data action "
	}
	q := f.question(true)
	switch v := d.check(f.action, f.request.Data, q); {
	case v.granted && a.guarded().holds(q):
		c.Outcome, c.text = Grants, head
	case v.granted || v.condition != nil:
		c.Outcome, c.Failed = ConditionFailed, q.failed
		if v.condition != nil && !v.granted {
			c.Condition = v.condition.text()
		}
		c.text = head + " has a condition that does not hold" + whyNot(a.guarded(), v.condition, q)
	case v.exceptedBy != "":
		c.Outcome, c.ExceptedBy = Excepts, v.exceptedBy
		c.text = head + " excepts " + kind + f.request.Action + " by " + not + " '" + v.exceptedBy + "'"
	case f.request.Data && d.check(f.action, false, nil).granted:
		c.Outcome, c.text = OtherPlane, head+" lacks data action "+f.request.Action+" (its actions do not reach the data plane)"
	default:
		c.Outcome, c.text = Lacks, head+" lacks "+kind+f.request.Action
	}
	return c
}

func (g *guard) text() string {
	if g.condition == nil {
		return ""
	}
	return g.condition.String()
}

// whyNot is what a condition missed, "" if there is no more to say.
func whyNot(assigned, defined *guard, q *asked) string {
	for _, g := range []*guard{assigned, defined} {
		if g != nil && g.bad != nil {
			return ": it cannot be read, " + g.bad.Error()
		}
	}
	if len(q.failed) == 0 {
		return ""
	}
	return ": " + q.failed[0].String()
}

// nearest is the assignment whose scope has most segments in common with the request's.
func nearest(scope string, assignments []Assignment) *Assignment {
	best, most := &assignments[0], -1
	for i := range assignments {
		if n := shared(assignments[i].scopeKey(), scope); n > most {
			best, most = &assignments[i], n
		}
	}
	return best
}

func shared(a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	n := 0
	for n < len(as) && n < len(bs) && as[n] == bs[n] {
		n++
	}
	return n
}
