package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vauban.dev/audit"
	"vauban.dev/explain"
	"vauban.dev/region"
)

func newAuditCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Find the ways out of a subnet, what is public, and what Azure Machine Learning lacks",
		Long: `Ask the region's model what a security engineer asks of a network, and confirm each answer by a real packet.

The exit status is 0 when nothing is found, 1 when something is, or when a packet says otherwise than the model.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("audit exfil, public, exposure, required or verify")}
		},
	}
	c.AddCommand(a.auditExfil(), a.auditPublic(), a.auditExposure(), a.auditRequired(), a.auditVerify())
	return c
}

// auditFlags are those of every audit.
type auditFlags struct {
	auditParams
	json, unconfirmed bool
}

func (f *auditFlags) add(c *cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.Flags().BoolVar(&f.json, "json", false, "as JSON")
	c.Flags().BoolVar(&f.unconfirmed, "model-only", false, "send no packets")
	c.Flags().StringSliceVar(&f.Without, "without", nil, "kinds of items to leave out, such as dns")
	return c
}

func (a *app) auditExfil() *cobra.Command {
	f := &auditFlags{auditParams: auditParams{Audit: "exfil"}}
	c := f.add(&cobra.Command{
		Use:   "exfil --subnet VNET/SUBNET",
		Short: "Every way by which data can leave a subnet",
		Long: `Every way by which data can leave a subnet: hosts of the internet, by exactly which ports; accounts, vaults and
workspaces of other subscriptions; service endpoints; DNS; other virtual networks; private endpoints that lead
into other subscriptions; gateways.`,
		RunE: func(c *cobra.Command, _ []string) error { return a.runAudit(c.Context(), f) },
	})
	c.Flags().StringVar(&f.Subnet, "subnet", "", "VNET/SUBNET, or its resource id")
	c.MarkFlagRequired("subnet")
	return c
}

func (a *app) auditPublic() *cobra.Command {
	f := &auditFlags{auditParams: auditParams{Audit: "public"}}
	return f.add(&cobra.Command{
		Use: "public", Short: "Everything that the internet reaches: addresses with their ports, accounts, vaults, workspaces",
		RunE: func(c *cobra.Command, _ []string) error { return a.runAudit(c.Context(), f) },
	})
}

func (a *app) auditExposure() *cobra.Command {
	f := &auditFlags{auditParams: auditParams{Audit: "exposure"}}
	return f.add(&cobra.Command{
		Use: "exposure", Short: "What stays readable in public beside a private endpoint, plane by plane",
		RunE: func(c *cobra.Command, _ []string) error { return a.runAudit(c.Context(), f) },
	})
}

func (a *app) auditRequired() *cobra.Command {
	f := &auditFlags{auditParams: auditParams{Audit: "required"}}
	var diff bool
	c := f.add(&cobra.Command{
		Use:   "required --workspace NAME [--subnet VNET/SUBNET]",
		Short: "Whether the traffic that Azure Machine Learning requires passes, and Azure's text where it does not",
		Long: `Whether the traffic that Azure Machine Learning requires of the subnets of a workspace's clusters passes. What is
required has changed over the years: --as-of takes the profile that held at a date, --diff says what changed
from it to the latest.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if diff {
				return a.diffProfiles(f)
			}
			if f.Workspace == "" {
				return &usageError{errors.New("--workspace is missing")}
			}
			return a.runAudit(c.Context(), f)
		},
	})
	c.Flags().StringVar(&f.Workspace, "workspace", "", "its name, or its resource id")
	c.Flags().StringVar(&f.Subnet, "subnet", "", "a subnet to check instead of those of the clusters")
	c.Flags().BoolVar(&f.PublicIP, "public-ip", false, "nodes in --subnet have public addresses")
	c.Flags().StringVar(&f.AsOf, "as-of", audit.Latest, "YYYY-MM, YYYY-MM-DD or latest")
	c.Flags().BoolVar(&diff, "diff", false, "what changed from --as-of to the latest profile; no region is asked")
	return c
}

// diffProfiles prints what Microsoft changed.
func (a *app) diffProfiles(f *auditFlags) error {
	older, err := audit.ProfileAsOf(f.AsOf)
	if err != nil {
		return &usageError{fmt.Errorf("--as-of: %w", err)}
	}
	newer, err := audit.ProfileAsOf(audit.Latest)
	if err != nil {
		return err
	}
	changes := audit.Diff(older, newer)
	if f.json {
		return a.printJSON(struct {
			From    string         `json:"from"`
			To      string         `json:"to"`
			Changes []audit.Change `json:"changes"`
		}{older.Name, newer.Name, changes})
	}
	fmt.Fprintf(a.stdout, "from %s (%s) to %s\n", older.Name, older.Source, newer.Name)
	for _, c := range changes {
		fmt.Fprintf(a.stdout, "%s %s: %s\n", c.Sign, c.What, c.Why)
	}
	return nil
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) runAudit(ctx context.Context, f *auditFlags) error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	var reports []*audit.Report
	if _, err := region.Call(ctx, dir, methodAudit, f.auditParams, &reports); err != nil {
		return err
	}
	findings := 0
	for _, r := range reports {
		if !f.unconfirmed {
			if err := confirm(ctx, dir, r); err != nil {
				return err
			}
		}
		findings += len(r.Findings())
	}
	if f.json {
		err = a.printJSON(reports)
	} else {
		for _, r := range reports {
			err = errors.Join(err, r.Print(a.stdout))
		}
	}
	if err == nil && findings > 0 {
		err = &exitError{region.Exit{Code: codeFailed}}
	}
	return err
}

// confirm makes each item's connection, and puts what became of it beside its answer.
func confirm(ctx context.Context, dir string, r *audit.Report) error {
	done := map[string]*explain.Live{}
	for i := range r.Items {
		x := &r.Items[i]
		if x.From == "" || x.Answer == nil {
			continue
		}
		from, err := parseFrom(x.From)
		if err != nil {
			return err
		}
		p := explainParams{From: from, Host: x.Answer.Host, Port: x.Answer.Port, Protocol: strings.ToLower(x.Answer.Protocol)}
		key := fmt.Sprint(p)
		if live := done[key]; live != nil {
			x.Answer.Live = live
			continue
		}
		if err := compareLive(ctx, dir, p, x.Answer); err != nil {
			return err
		}
		done[key] = x.Answer.Live
	}
	slices.SortStableFunc(r.Items, func(a, b audit.Item) int { return rank(a.Level) - rank(b.Level) })
	return nil
}

func rank(l audit.Level) int {
	return slices.Index([]audit.Level{audit.Finding, audit.Note, audit.Passed}, l)
}
