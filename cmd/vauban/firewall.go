package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/azurefirewall/proxy"
	"vauban.dev/region"
)

func newFirewallCmd(a *app) *cobra.Command {
	c := &cobra.Command{Use: "firewall", Short: "The region's Azure Firewalls"}
	c.AddCommand(newFirewallLogCmd(a))
	return c
}

func newFirewallLogCmd(a *app) *cobra.Command {
	p := firewallLogParams{Lines: 50}
	asJSON := false
	c := &cobra.Command{
		Use:   "log",
		Short: "Show what firewalls allowed and denied, and by which rule",
		Long: `Show the last records of the firewalls' logs, the oldest first: what network, NAT and application rules decided, and which
names were asked for. With --json each line has the columns of Azure's tables (AZFWNetworkRule, AZFWApplicationRule,
AZFWNatRule, AZFWDnsQuery). The region keeps the last records in memory: they end with its server.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var out []proxy.Record
			if _, err := region.Call(c.Context(), dir, methodFirewallLog, p, &out); err != nil {
				return err
			}
			for i := range out {
				if asJSON {
					err = json.NewEncoder(a.stdout).Encode(&out[i])
				} else {
					err = printRecord(a.stdout, &out[i])
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&p.Firewall, "firewall", "", "one firewall: NAME, GROUP/NAME or id (default: all)")
	c.Flags().IntVarP(&p.Lines, "lines", "n", p.Lines, "how many records")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one record a line")
	return c
}

// printRecord writes a record as a sentence.
func printRecord(w io.Writer, r *proxy.Record) error {
	at := func(ip string, port uint16) string {
		if port == 0 {
			return ip
		}
		return net.JoinHostPort(ip, strconv.Itoa(int(port)))
	}
	head := fmt.Sprintf("%s %-19s %s", r.TimeGenerated.Format(time.RFC3339), r.Category, at(r.SourceIP, r.SourcePort))
	if r.Category == proxy.DNSQuery {
		_, err := fmt.Fprintf(w, "%s asked for %s %s: %s %s\n", head, r.QueryType, r.QueryName, r.ResponseCode, r.ErrorMessage)
		return err
	}
	to := at(r.DestinationIP, r.DestinationPort)
	if r.TranslatedIP != "" {
		to += " (" + at(r.TranslatedIP, r.TranslatedPort) + ")"
	}
	if r.TargetURL != "" {
		to = r.TargetURL + " at " + to
	} else if r.FQDN != "" {
		to = r.FQDN + " at " + to
	}
	by := r.ActionReason
	if r.Rule != "" {
		by = r.Collection + "/" + r.Rule
		if r.Group != "" {
			by = r.Group + "/" + by
		}
		if r.ActionReason != "" {
			by += ": " + r.ActionReason
		}
	}
	_, err := fmt.Fprintf(w, "%s %s to %s: %s by %s\n", head, r.Protocol, to, r.Action, by)
	return err
}
