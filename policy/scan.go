package policy

import "strings"

// The compliance states ("Azure Policy compliance states").
const (
	Compliant    = "Compliant"
	NonCompliant = "NonCompliant"
	Exempt       = "Exempt"
	Unknown      = "Unknown"
	Conflict     = "Conflict"
	Failed       = "Error"
)

// State is the compliance of a resource with a definition in force.
type State struct {
	*Finding
	Compliance string
}

// Attested returns the compliance state that an attestation gives a resource for a manual definition, or "".
type Attested func(*Bound, *Resource) string

// Scan evaluates an existing resource against all that is in force for it and applies to it.
func (x *Index) Scan(rc *RequestContext, scopes []string, res *Resource, related Related, attested Attested) []State {
	var states []State
	x.reaching(scopes, res, func(b *Bound, effect string) bool {
		if s, applies := x.scan(b, effect, rc, scopes, res, related, attested); applies {
			states = append(states, s)
		}
		return true
	})
	return states
}

func (x *Index) scan(b *Bound, effect string, rc *RequestContext, scopes []string, res *Resource, related Related, attested Attested) (State, bool) {
	s := State{Finding: &Finding{Bound: b, Effect: effect}, Compliance: Compliant}
	if b.Broken != nil {
		s.Err, s.Compliance = b.Broken, Failed
		return s, true
	}
	ifNotExists := effect == AuditIfNotExists || effect == DeployIfNotExists
	applies, err := b.Definition.rule.cond.applies(newRun(b, rc, res), false)
	if err == nil && (!applies || effect == DenyAction || effect == AuditAction) {
		return s, false
	}
	r := newRun(b, rc, res)
	r.tracing = true
	holds := false
	if err == nil {
		holds, err = b.Definition.rule.cond.holds(r)
	}
	s.Expressions = r.trace
	switch {
	case err != nil:
	case (ifNotExists || effect == Manual) && !holds:
		return s, false
	case ifNotExists:
		satisfied := false
		if satisfied, err = s.Satisfied(rc, res, related); err == nil && !satisfied {
			s.Compliance = NonCompliant
		}
	case effect == Manual:
		s.Compliance = manualState(b, attested(b, res))
	case holds:
		s.Compliance = NonCompliant
	}
	if err != nil {
		s.Err, s.Compliance = err, Failed
	}
	if s.Exemptions = x.Exempt(b, scopes, res, rc.Now); len(s.Exemptions) > 0 {
		s.Compliance = Exempt
	}
	return s, true
}

// manualState is the attested state, else the rule's default one, else Unknown.
func manualState(b *Bound, attested string) string {
	for _, state := range []string{attested, b.Definition.rule.defaultState} {
		switch strings.ToLower(state) {
		case "compliant":
			return Compliant
		case "noncompliant":
			return NonCompliant
		}
	}
	return Unknown
}
