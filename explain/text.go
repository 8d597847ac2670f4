package explain

import (
	"fmt"
	"io"
	"strings"

	"vauban.dev/reach"
)

// Print writes the answer for people: verdict, names, way, what answers, who may, and what to change.
func (a *Answer) Print(w io.Writer) error {
	var b strings.Builder
	verdict := "ALLOWED"
	if !a.Allowed {
		verdict = "REFUSED"
	}
	to := a.Host
	if a.Port != 0 {
		to = fmt.Sprintf("%s:%d", a.Host, a.Port)
	}
	fmt.Fprintf(&b, "%s  %s from %s to %s", verdict, strings.ToUpper(a.Protocol), reach.ShortIDs(a.From), to)
	if a.By != "" {
		fmt.Fprintf(&b, ", by %s", a.refusal())
	}
	if a.Refused == ByReply {
		b.WriteString(": it arrives, and the answer does not come back")
		if a.Reply.Allowed {
			b.WriteString(" by the same way")
		}
	}
	b.WriteString("\n")
	section := func(title string, lines ...string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	section("Names", a.nameLines()...)
	section("Way", wayLines(a.Steps)...)
	if a.Destination != "" {
		section("Answers", reach.ShortIDs(a.Destination))
	}
	if r := a.Reply; r != nil {
		section("Way of the answer, from "+r.From, wayLines(r.Steps)...)
		section("What follows the answer", wayLines(r.After)...)
	}
	if a.Service != "" {
		section("Firewall of the service", mark(a.Refused != ByService)+reach.ShortIDs(a.Service))
	}
	if p := a.Permission; p != nil {
		section("Role", mark(p.Allowed)+fmt.Sprintf("%s: %s on %s: %s", p.Principal, p.Action, reach.ShortID(p.Scope), reach.ShortIDs(p.By)))
	}
	if a.Rule != nil {
		counter := "counter " + a.Counter
		if a.Counter == "" {
			counter = "in the firewall's log, not in a counter"
		}
		section("Decides", "rule "+a.Rule.String(), "of "+a.Rule.Owner, counter)
	}
	section(a.fixTitle(), a.fixLines()...)
	if l := a.Live; l != nil {
		agrees := "the model and the kernel agree: "
		if !l.Agrees {
			agrees = "THE MODEL AND THE KERNEL DISAGREE: "
		}
		section("Live", mark(l.Agrees)+agrees+l.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(ok bool) string {
	if ok {
		return "✓ "
	}
	return "✗ "
}

func (a *Answer) refusal() string {
	if a.Rule != nil {
		return "rule " + a.Rule.String()
	}
	return reach.ShortIDs(a.By)
}

func (a *Answer) nameLines() (out []string) {
	for _, n := range a.Names {
		out = append(out, reach.ShortIDs(n))
	}
	if a.Address != "" && a.Address != a.Host {
		out = append(out, "so it goes to "+a.Address)
	}
	return out
}

func wayLines(steps []Step) (out []string) {
	for i, s := range steps {
		rule := ""
		if s.Rule != nil {
			rule = ": " + s.Rule.String()
		}
		out = append(out, fmt.Sprintf("%s%d. %s: %s%s", mark(s.Allowed), i+1, reach.ShortID(s.Where), reach.ShortIDs(s.What), rule))
	}
	return out
}

func (a *Answer) fixTitle() string {
	if a.Fixed {
		return "To make it pass (the model allows it after these changes)"
	}
	return "To make it pass (these changes alone are not enough, or cannot be tried on the model)"
}

func (a *Answer) fixLines() (out []string) {
	for i, f := range a.Fixes {
		out = append(out, fmt.Sprintf("%d. %s", i+1, reach.ShortIDs(f.What)))
		for _, c := range f.Commands {
			out = append(out, "   "+c)
		}
	}
	return out
}
