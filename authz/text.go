package authz

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the explanation for people; name is what the principal is called.
func (e *Explanation) Print(w io.Writer, name string) error {
	var b strings.Builder
	verdict := "ALLOWED"
	if !e.Allowed {
		verdict = "REFUSED"
	}
	kind := ""
	if e.Data {
		kind = " (data action)"
	}
	fmt.Fprintf(&b, "%s  %s: %s%s at %s\n", verdict, name, e.Action, kind, e.Scope)
	section := func(title string, lines ...string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	if d := e.Denied; d != nil {
		section("Denied by", fmt.Sprintf("deny assignment '%s' at %s (%s): no role outweighs it", d.Name, d.Scope, d.ID))
	}
	var lines []string
	for _, c := range e.Considered {
		lines = append(lines, c.line())
	}
	section("Role assignments that reach the scope", lines...)
	if len(e.Considered) == 0 && e.Denied == nil {
		section("Why", e.Reason)
	}
	if e.Nearest != nil {
		section("Nearest", e.Nearest.line())
	}
	if e.Would != nil {
		section("To grant it", fmt.Sprintf("az role assignment create --assignee-object-id %s --role '%s' --scope %s", e.Principal, e.Would.Role, e.Would.Scope))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Considered) line() string {
	text := fmt.Sprintf("%-16s %s at %s", c.Outcome, c.called(), c.Scope)
	if c.Group != "" {
		text += ", through group " + c.Group
	}
	if c.ExceptedBy != "" {
		text += ", taken out by '" + c.ExceptedBy + "'"
	}
	for _, f := range c.Failed {
		text += "\n" + strings.Repeat(" ", 19) + "does not hold: " + f.String()
	}
	if c.Condition != "" && len(c.Failed) == 0 {
		text += ", on the condition " + c.Condition
	}
	return text
}
