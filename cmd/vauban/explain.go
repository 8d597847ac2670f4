package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vauban.dev/fabric"
	"vauban.dev/reach"
	"vauban.dev/region"
)

func newExplainCmd(a *app) *cobra.Command {
	var from, to string
	var udp, icmp, asJSON bool
	c := &cobra.Command{
		Use:   "explain --from internet|VNET/SUBNET|node:NAME --to HOST:PORT",
		Short: "Say what would become of a connection, and which rule or firewall decides",
		Long: `Say what would become of a connection: how its name is resolved, each judgement on its way, the rule or
firewall that decides, and what answers. It is answered from the region's model; no packet is sent.

The exit status is 0 when the connection is allowed, 1 when it is refused.`,
		Example: `  vauban explain --from demo-vnet/training --to www.example.com:443
  vauban explain --from internet --to mystorage.blob.core.windows.net:443
  vauban explain --from node:cpu-cluster --to 168.63.129.16:53 --udp
  vauban explain --from demo-vnet/jumpbox --to 10.20.1.4 --icmp`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p := explainParams{UDP: udp, ICMP: icmp}
			var err error
			if p.From, err = parseFrom(from); err != nil {
				return &usageError{err}
			}
			if p.Host, p.Port, err = parseTo(to, icmp); err != nil {
				return &usageError{err}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var out explainResult
			if _, err := region.Call(c.Context(), dir, methodExplain, p, &out); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(out)
			} else {
				err = printExplanation(a.stdout, p, out)
			}
			if err == nil && !out.Allowed {
				err = &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "internet", "where the connection begins: internet, VNET/SUBNET, or node:NAME")
	c.Flags().StringVar(&to, "to", "", "where it goes: HOST:PORT, a name or an address")
	c.Flags().BoolVar(&udp, "udp", false, "UDP; TCP is the default")
	c.Flags().BoolVar(&icmp, "icmp", false, "an ICMP echo; no port")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.MarkFlagRequired("to")
	c.MarkFlagsMutuallyExclusive("udp", "icmp")
	return c
}

// parseFrom reads a place: internet, VNET/SUBNET (or GROUP/VNET/SUBNET, or a resource id), or node:NAME.
func parseFrom(s string) (region.PlaceParams, error) {
	node, isNode := strings.CutPrefix(s, "node:")
	switch {
	case isNode && node != "":
		return region.PlaceParams{Node: node}, nil
	case s == "internet":
		return region.PlaceParams{From: s}, nil
	case !isNode && strings.Contains(s, "/"):
		return region.PlaceParams{Subnet: s}, nil
	}
	return region.PlaceParams{}, fmt.Errorf("--from %q: write internet, VNET/SUBNET or node:NAME", s)
}

func parseTo(s string, icmp bool) (host string, port uint16, err error) {
	if icmp {
		if strings.Contains(s, ":") {
			return "", 0, fmt.Errorf("--to %q: ICMP has no ports", s)
		}
		return s, 0, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("--to %q: write HOST:PORT", s)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("--to %q: %w", s, errors.New("write HOST:PORT with a port between 1 and 65535"))
	}
	return host, uint16(n), nil
}

// explainStep is one judgement on the way of an explained connection.
type explainStep struct {
	Where   string     `json:"where"` // a NIC, subnet, VNet …
	What    string     `json:"what"`
	Rule    *ruleNamed `json:"rule,omitempty"`
	Allowed bool       `json:"allowed"`
}

func explainSteps(e fabric.Explanation) (out []explainStep) {
	for _, s := range e.Steps {
		step := explainStep{Where: s.Where, What: s.What, Allowed: s.Verdict == fabric.Allowed}
		if s.Rule != (fabric.RuleRef{}) {
			r := nameRule(s.Rule)
			step.Rule = &r
		}
		out = append(out, step)
	}
	return out
}

// nameRule is a rule as the control socket names it. The fabric's own rules have no direction.
func nameRule(r fabric.RuleRef) ruleNamed {
	n := ruleNamed{Owner: r.Owner, Rule: r.Rule}
	if r.Owner != fabric.FabricOwner {
		n.Direction = r.Direction.String()
	}
	return n
}

// explainDestination says what answers an explained connection, "" if nothing does.
func explainDestination(d fabric.Destination) string {
	switch {
	case d.Kind == fabric.ToNothing:
		return ""
	case d.Service != nil:
		return fmt.Sprintf("%s %s, which leads to %s (%s)", d.Kind, d.ID, d.Service.Target, d.Service.GroupID)
	case d.ID != "":
		return fmt.Sprintf("%s %s", d.Kind, d.ID)
	}
	return fmt.Sprintf("%s at %s", d.Kind, d.Addr)
}

// rule is the reach table's name of the rule.
func (r ruleNamed) rule() reach.Rule {
	return reach.Rule{Owner: r.Owner, Direction: r.Direction, Name: r.Rule}
}

func printExplanation(w io.Writer, p explainParams, r explainResult) error {
	var b strings.Builder
	verdict := "ALLOWED"
	if !r.Allowed {
		verdict = "REFUSED"
	}
	to, protocol := net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))), "TCP"
	switch {
	case p.UDP:
		protocol = "UDP"
	case p.ICMP:
		to, protocol = p.Host, "ICMP"
	}
	fmt.Fprintf(&b, "%s  %s from %s to %s", verdict, protocol, reach.ShortIDs(r.From), to)
	if r.By != "" {
		fmt.Fprintf(&b, ", by %s", refusal(r))
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
	var names []string
	for _, n := range r.Names {
		names = append(names, reach.ShortIDs(n))
	}
	if r.Address != "" && r.Address != p.Host {
		names = append(names, "so it goes to "+r.Address)
	}
	section("Names", names...)
	var steps []string
	for i, s := range r.Steps {
		mark, rule := "✓", ""
		if !s.Allowed {
			mark = "✗"
		}
		if s.Rule != nil {
			rule = ": " + s.Rule.rule().String()
		}
		steps = append(steps, fmt.Sprintf("%s %d. %s: %s%s", mark, i+1, reach.ShortID(s.Where), reach.ShortIDs(s.What), rule))
	}
	section("Way", steps...)
	if r.Destination != "" {
		section("Answers", reach.ShortIDs(r.Destination))
	}
	if r.Service != "" {
		mark := "✓ "
		if !r.Allowed {
			mark = "✗ "
		}
		section("Firewall of the service", mark+reach.ShortIDs(r.Service))
	}
	if r.Rule != nil {
		section("Decides", "rule "+r.Rule.rule().String(), "of "+r.Rule.Owner, "counter "+r.Counter)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func refusal(r explainResult) string {
	if r.Rule != nil {
		return "rule " + r.Rule.rule().String()
	}
	return reach.ShortIDs(r.By)
}
