package reach

import (
	"fmt"
	"strings"
)

// Judge compares a cell's measured outcome with its expected one, and with the model.
func (c *Cell) Judge() {
	c.Differs = nil
	if c.Expected == nil {
		return
	}
	differ := func(format string, args ...any) { c.Differs = append(c.Differs, fmt.Sprintf(format, args...)) }
	m := c.Measured
	switch {
	case m == nil:
		differ("it was not measured")
		return
	case m.Failure != "":
		differ("it could not be measured: %s", m.Failure)
		return
	case m.Outcome != c.Expected.Outcome:
		differ("expected %s (%s), measured %s", c.Expected.Outcome, c.Expected.Why, m.Outcome)
	}
	switch m.Outcome {
	case Dropped:
		c.judgeDrop(differ)
	case Forbidden:
		c.judgeRefusal(differ)
	default:
		if m.Model.Allowed != (m.Outcome == Answered || m.Outcome == Banner || m.Outcome == Open) {
			differ("the kernel and the model disagree: measured %s, explain says %s", m.Outcome, m.Model)
		}
	}
}

// judgeDrop asks for one rule: the same in the counters, in the model and in the expectation.
func (c *Cell) judgeDrop(differ func(string, ...any)) {
	m := c.Measured
	switch {
	case m.Model.Rule == nil:
		differ("the kernel and the model disagree: the packets were dropped, explain says %s", m.Model)
		return
	case len(m.Rose) == 0:
		differ("no rule's counter rose; explain names %s", m.Model.Rule)
		return
	case len(m.Rose) > 1:
		differ("more than one rule's counter rose: %s", rises(m.Rose))
		return
	}
	r := m.Rose[0]
	if !r.Rule.same(*m.Model.Rule) {
		differ("the kernel and the model disagree: the counter of %s rose, explain names %s", r.Rule, m.Model.Rule)
	}
	if r.Packets != m.Result.Sent {
		differ("the counter of %s rose by %d packets, and the connection sent %d", r.Rule, r.Packets, m.Result.Sent)
	}
	if by := c.Expected.By; c.Expected.Outcome == Dropped && by != r.Rule.String() {
		differ("expected %s to drop it, and it was %s", by, r.Rule)
	}
}

// judgeRefusal asks that the service's answer names what the model names.
func (c *Cell) judgeRefusal(differ func(string, ...any)) {
	m := c.Measured
	if by := c.Expected.By; by != "" && c.Expected.Outcome == Forbidden && by != m.Result.Code && by != m.Result.Inner {
		differ("expected the error code %s, and it was %s", by, m.Result.code())
	}
	switch {
	case m.Model.Allowed || m.Model.Rule != nil || m.Model.Service == "":
		differ("the service and the model disagree: the service refused, explain says %s", m.Model)
	case !strings.Contains(m.Result.Message, m.Model.Service):
		differ("the service's answer does not name the rule that explain names: %s", m.Model.Service)
	}
}

func (r Rule) same(o Rule) bool {
	return strings.EqualFold(r.Owner, o.Owner) && strings.EqualFold(r.Direction, o.Direction) && r.Name == o.Name
}

// String is the model's verdict in words.
func (m Model) String() string {
	switch {
	case m.Allowed:
		return "allowed"
	case m.Rule != nil:
		return "denied by rule " + m.Rule.String()
	case m.By != "":
		return "denied by " + ShortIDs(m.By)
	}
	return "denied"
}

func (r *Result) code() string {
	if r.Inner != "" {
		return r.Code + "/" + r.Inner
	}
	return r.Code
}

func rises(all []Rise) string {
	var out []string
	for _, r := range all {
		out = append(out, fmt.Sprintf("%s +%d packets", r.Rule, r.Packets))
	}
	return strings.Join(out, ", ")
}
