package authz

import (
	"fmt"
	"strings"
)

// maxReasons bounds the length of a refusal's text.
const maxReasons = 3

// explain says why nothing grants: what the assignments that reach the scope lack, or that none does.
func explain(r Request, scope string, enclosing []string, assignments []Assignment, definition func(string) (Definition, bool)) string {
	if len(assignments) == 0 {
		return "this principal has no role assignment"
	}
	var lacks []string
	for i := range assignments {
		if a := &assignments[i]; reaches(a, scope, enclosing) {
			lacks = append(lacks, lack(a, r, definition))
		}
	}
	if len(lacks) > 0 {
		text := strings.Join(lacks[:min(len(lacks), maxReasons)], "; ")
		if more := len(lacks) - maxReasons; more > 0 {
			text += fmt.Sprintf("; and %d more role assignments that do not grant it", more)
		}
		return text
	}
	a := nearest(scope, assignments)
	text := "no role assignment of this principal reaches this scope; nearest: " + called(a, definition) + " at " + a.Scope
	if d, ok := definition(a.Definition); ok && !d.check(lower(r.Action), r.Data).granted {
		text += " lacks " + r.Action
	}
	return text
}

func called(a *Assignment, definition func(string) (Definition, bool)) string {
	if d, ok := definition(a.Definition); ok {
		return "role '" + d.RoleName + "'"
	}
	return "role " + DefinitionName(a.Definition) + " (which does not exist)"
}

func lack(a *Assignment, r Request, definition func(string) (Definition, bool)) string {
	d, ok := definition(a.Definition)
	if !ok {
		return "role " + DefinitionName(a.Definition) + " assigned at " + a.Scope + " does not exist"
	}
	head := "role '" + d.RoleName + "' assigned at " + a.Scope
	not, kind := "notActions", ""
	if r.Data {
		not, kind = "notDataActions", "data action "
	}
	switch v := d.check(lower(r.Action), r.Data); {
	case v.granted || v.conditional:
		return head + " has a condition, and conditions are not evaluated"
	case v.exceptedBy != "":
		return head + " excepts " + kind + r.Action + " by " + not + " '" + v.exceptedBy + "'"
	case r.Data && d.check(lower(r.Action), false).granted:
		return head + " lacks data action " + r.Action + " (its actions do not reach the data plane)"
	}
	return head + " lacks " + kind + r.Action
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
