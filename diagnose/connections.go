package diagnose

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"vauban.dev/audit"
	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// connection is one from a site to a host that the workspace needs.
type connection struct {
	site *Site
	kind Kind // of the part, "" of the workspace itself
	host string
	explain.Answer
	seen *Observed // nil: nobody tried
	err  error
}

// connections asks, from every site, for the workspace and for what it stands on. What is tried is tried at once: an
// answer that does not come is waited for once.
func (x *examination) connections(ctx context.Context) error {
	var all []*connection
	for i := range x.Sites {
		s := &x.Sites[i]
		all = append(all, &connection{site: s, host: x.Host})
		for _, p := range x.Parts {
			if p.Missing == "" && p.Host != "" {
				all = append(all, &connection{site: s, kind: p.Kind, host: p.Host})
			}
		}
	}
	var wg sync.WaitGroup
	for _, c := range all {
		if c.Answer, c.err = c.site.World.Explain(ctx, explain.Question{From: c.site.At, Title: c.site.Title, Host: c.host, Protocol: fabric.TCP, Port: 443}); c.err == nil && x.probe != nil {
			wg.Go(func() { c.seen = x.observe(ctx, c) })
		}
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, c := range all {
		if c.err != nil {
			return c.err
		}
		x.judge(c)
	}
	return nil
}

// observe makes the connection; nil where the name has no address, or nothing could be tried from there.
func (x *examination) observe(ctx context.Context, c *connection) *Observed {
	addr, err := netip.ParseAddr(c.Address)
	if err != nil {
		return nil
	}
	seen, err := x.probe(ctx, c.site.At, c.host, addr)
	if err != nil {
		return nil
	}
	return &seen
}

func (x *examination) judge(c *connection) {
	s, a := c.site, &c.Answer
	x.private[s.Title+" "+c.host] = a.Allowed && strings.HasPrefix(a.Service, "private endpoint ")
	met := ""
	if c.seen != nil {
		met = " A connection from there met: " + c.seen.Text + "."
		open := a.Allowed || a.Refused == explain.ByService
		if c.seen.Connected != open || open && (c.seen.Firewall != "") != (a.Refused == explain.ByService) {
			x.add(&x.out.Others, Error, "ModelContradicted", docVNet, "From %s to %s the model says %s, and a connection met: %s.", s.Title, c.host, verdict(a), c.seen.Text)
		}
	}
	if a.Allowed {
		return
	}
	what := fmt.Sprintf("%s does not reach %s: refused by %s.%s%s", s.Title, c.host, strings.TrimSuffix(a.By, "."), met, fixes(a.Fixes))
	closed := a.Refused == explain.ByService
	if a.Refused != explain.ByName && !closed && x.astray(c) { // no rule on the way there would help
		closed = true
		what = fmt.Sprintf("%s does not reach %s: its name is %s there, a public address, and it takes no public connection.%s", s.Title, c.host, a.Address, met)
	}
	switch {
	case a.Refused == explain.ByName:
		x.add(&x.out.Names, Error, "NameNotResolved", docDNS, "%s", what)
	case closed && c.kind == "":
		x.add(&x.out.Others, Error, "WorkspaceRefusesNetwork", docPrivate, "%s", what)
	case closed:
		x.add(x.of(c.kind), Error, codeOf(c.kind)+"RefusesNetwork", docVNet, "%s", what)
	default:
		list, code := x.network(a)
		x.add(list, Error, code, docEgress, "%s", what)
	}
}

// astray: the name leads to the public address of what takes private connections alone.
func (x *examination) astray(c *connection) bool {
	addr, err := netip.ParseAddr(c.Address)
	return err == nil && !addr.IsPrivate() && x.closed(c.host)
}

// closed: the host takes no public connection.
func (x *examination) closed(host string) bool {
	i := slices.IndexFunc(x.Parts, func(p Part) bool { return p.Host == host })
	return i >= 0 && x.Parts[i].Closed || host == x.Host && !x.Public
}

func verdict(a *explain.Answer) string {
	if a.Allowed {
		return "allowed"
	}
	return "refused by " + strings.TrimSuffix(a.By, ".")
}

// network is where a refusal of the network belongs.
func (x *examination) network(a *explain.Answer) (*[]Result, string) {
	owner := ""
	if a.Rule != nil {
		owner = strings.ToLower(a.Rule.Owner)
	}
	switch {
	case strings.Contains(owner, "/networksecuritygroups/"):
		return &x.out.Groups, "SecurityRuleRefuses"
	case strings.Contains(owner, "/azurefirewalls/"):
		return &x.out.Others, "FirewallRefuses"
	case userRoute(a.Steps) || a.Reply != nil && (userRoute(a.Reply.Steps) || userRoute(a.Reply.After)):
		return &x.out.Routes, "RouteLeadsElsewhere"
	}
	return &x.out.Others, "NoWayOut"
}

func userRoute(steps []explain.Step) bool {
	for _, s := range steps {
		if s.Route != nil && s.Route.Source == "User" {
			return true
		}
	}
	return false
}

// required is Microsoft's table of the traffic that nodes need.
func (x *examination) required(ctx context.Context, s *Site) error {
	if !s.Nodes || x.Profile == nil {
		return nil
	}
	r, err := audit.Required(ctx, s.World, s.Subject, x.Profile)
	if err != nil {
		return err
	}
	private := true
	for _, p := range x.Parts {
		private = private && (p.Kind != StorageAccount || p.Closed || x.private[s.Title+" "+p.Host])
	}
	for _, item := range r.Items {
		// Storage's tag is for accounts that are reached by their public address.
		if item.Level != audit.Finding || item.Kind == "storage" && private {
			continue
		}
		what := fmt.Sprintf("%s: %s.", s.Title, strings.TrimSuffix(item.What, "."))
		if item.Text != "" {
			what += " " + item.Text
		}
		what += fixes(item.Fixes)
		if item.Answer == nil { // judged by security rules alone
			x.add(&x.out.Groups, Error, "SecurityRuleRefuses", docEgress, "%s", what)
			continue
		}
		list, code := x.network(item.Answer)
		x.add(list, Error, code, docEgress, "%s", what)
	}
	return nil
}
