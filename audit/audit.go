// Package audit asks the model of a region the questions that a security engineer asks of a network: every way
// out of a subnet, everything that is open to the internet, what stays readable in public beside a private
// endpoint, and whether Azure Machine Learning's required traffic passes. It is as pure as package explain; each
// item says what a probe must do to confirm it.
package audit

import (
	"context"
	"fmt"
	"io"
	"strings"

	"vauban.dev/explain"
	"vauban.dev/fabric"
	"vauban.dev/firewall"
	"vauban.dev/reach"
)

// Level of an Item.
type Level string

const (
	Finding Level = "finding" // what the audit looks for: it makes the audit fail
	Note    Level = "note"    // what is as it is in Azure, and good to know
	Passed  Level = "passed"  // looked at, and in order
)

// Item is one thing that an audit looked at.
type Item struct {
	Level Level `json:"level"`
	// Kind groups items, and can be left out of an audit: internet, resource, dns, peering …
	Kind string `json:"kind"`
	What string `json:"what"`
	// Text is Azure's own for what is missing, "" where it has none.
	Text string `json:"text,omitempty"`
	// From is the place that a probe confirms it from, as `vauban explain --from` takes it; "" where no packet can.
	From   string          `json:"from,omitempty"`
	Answer *explain.Answer `json:"answer,omitempty"` // of the connection that the item is about
	Fixes  []explain.Fix   `json:"fixes,omitempty"`
}

// Report of an audit.
type Report struct {
	Audit   string `json:"audit"`
	Subject string `json:"subject"`
	Profile string `json:"profile,omitempty"`
	Items   []Item `json:"items"`
}

// Findings are the items that make the audit fail: findings, and items that a real packet contradicts.
func (r *Report) Findings() (out []*Item) {
	for i := range r.Items {
		if x := &r.Items[i]; x.Level == Finding || x.contradicted() {
			out = append(out, x)
		}
	}
	return out
}

func (x *Item) contradicted() bool {
	return x.Answer != nil && x.Answer.Live != nil && !x.Answer.Live.Agrees
}

// Without leaves out the items of some kinds.
func (r *Report) Without(kinds ...string) {
	items := r.Items[:0]
	for _, x := range r.Items {
		left := false
		for _, k := range kinds {
			left = left || strings.EqualFold(k, x.Kind)
		}
		if !left {
			items = append(items, x)
		}
	}
	r.Items = items
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	findings := len(r.Findings())
	verdict := "nothing found"
	if findings > 0 {
		verdict = fmt.Sprintf("%d findings", findings)
	}
	fmt.Fprintf(&b, "audit %s of %s", r.Audit, reach.ShortIDs(r.Subject))
	if r.Profile != "" {
		fmt.Fprintf(&b, ", profile %s", r.Profile)
	}
	fmt.Fprintf(&b, ": %s\n", verdict)
	marks := map[Level]string{Finding: "✗", Note: "·", Passed: "✓"}
	for i := range r.Items {
		r.Items[i].print(&b, marks[r.Items[i].Level])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (x *Item) print(b *strings.Builder, mark string) {
	fmt.Fprintf(b, "\n%s %s: %s\n", mark, x.Kind, reach.ShortIDs(x.What))
	if a := x.Answer; a != nil {
		if a.By != "" {
			fmt.Fprintf(b, "    refused by %s\n", reach.ShortIDs(a.By))
		}
		switch l := a.Live; {
		case l == nil && x.From != "":
			b.WriteString("    not confirmed by a packet\n")
		case l != nil && l.Agrees:
			fmt.Fprintf(b, "    confirmed by a packet from %s: %s\n", x.From, l.Why)
		case l != nil:
			fmt.Fprintf(b, "    A PACKET FROM %s SAYS OTHERWISE: %s\n", x.From, l.Why)
		}
	}
	if x.Text != "" {
		fmt.Fprintf(b, "    %s\n", strings.ReplaceAll(x.Text, "\n", "\n    "))
	}
	for _, f := range x.Fixes {
		fmt.Fprintf(b, "    %s\n", reach.ShortIDs(f.What))
		for _, c := range f.Commands {
			fmt.Fprintf(b, "      %s\n", c)
		}
	}
}

// World is what audits are asked of.
type World struct {
	explain.World
	// Services are the resources with a data plane of their own, of every subscription.
	Services []Service
	// Policies are the service endpoint policies of a subnet; nil: there are none.
	Policies func(subnet string) ([]firewall.EndpointPolicy, error)
	// Internet is a place on the internet that is nobody's service, Stranger the address of a server there that
	// is nobody's either, and StrangerPort what it listens on.
	Internet     fabric.Place
	Stranger     string
	StrangerPort uint16
}

// Service is a resource with a data plane.
type Service struct {
	explain.Service
	Host string
	// Uses are the resources that a workspace stands on, by lower-case id.
	Uses []string
}

// Place is where an audit begins.
type Place struct {
	At    fabric.Place
	From  string // as `vauban explain --from` takes it
	Title string
}

// ask explains a connection from a place.
func (w *World) ask(ctx context.Context, p Place, host string, protocol fabric.Protocol, port uint16) (explain.Answer, error) {
	return w.Explain(ctx, explain.Question{From: p.At, Title: p.Title, Host: host, Protocol: protocol, Port: port})
}

func subscription(id string) string {
	rest, ok := strings.CutPrefix(strings.ToLower(id), "/subscriptions/")
	if !ok {
		return ""
	}
	sub, _, _ := strings.Cut(rest, "/")
	return sub
}

func planeName(k explain.Kind) string {
	return map[explain.Kind]string{explain.Blob: "storage account", explain.Vault: "key vault", explain.Workspace: "workspace"}[k]
}
