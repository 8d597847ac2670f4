package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vauban.dev/arm"
	"vauban.dev/region"
)

func newDestroyCmd(a *app) *cobra.Command {
	var f struct {
		dry, yes, json, holders bool
		subscription            string
	}
	c := &cobra.Command{
		Use:   "destroy GROUP|ID",
		Short: "Delete a resource group or a resource; --dry-run says what will hold it, and the order that works",
		Long: `Delete a resource group, or one resource by its id. With --dry-run nothing is deleted: the deletions are rehearsed in
a transaction that is undone, so that refusals are the services' own: subnets held by interfaces and private
endpoints, locks, networks with peerings and gateways. What Azure keeps after a deletion is told too: names
held by soft delete.

Of a resource that something else holds, only the resource is deleted, and the holders are named: --holders deletes
them as well.

The exit status is 0 when all can go (or is gone), 1 when something is in the way.`,
		Example: `  vauban destroy rg --dry-run
  vauban destroy /subscriptions/…/virtualNetworks/vnet/subnets/training --dry-run
  vauban destroy rg --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.dry == f.yes {
				return &usageError{errors.New("either --dry-run or --yes: a deletion cannot be undone")}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			m := resourceManager{dir}
			scope, err := m.scope(c.Context(), args[0], f.subscription)
			if err != nil {
				return err
			}
			var plan destruction
			if _, err := region.Call(c.Context(), dir, methodDestroy, destroyParams{Scope: scope.String()}, &plan); err != nil {
				return err
			}
			if f.yes {
				return a.destroy(c.Context(), m, &plan, f.holders)
			}
			if f.json {
				err = a.printJSON(plan)
			} else {
				err = plan.print(a.stdout)
			}
			if err == nil && len(plan.Obstacles) > 0 {
				err = &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().BoolVar(&f.dry, "dry-run", false, "delete nothing: say what would happen")
	c.Flags().BoolVar(&f.yes, "yes", false, "delete")
	c.Flags().BoolVar(&f.holders, "holders", false, "delete also what holds the resource")
	c.Flags().BoolVar(&f.json, "json", false, "as JSON, with --dry-run")
	c.Flags().StringVar(&f.subscription, "subscription", "", "the group's subscription, by name or id (default: Vauban)")
	return c
}

func (p *destruction) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n", p.Scope)
	if len(p.Steps) > 0 {
		fmt.Fprintln(w, "\nThe order that works:")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, s := range p.Steps {
		id, err := arm.ParseID(s.ID)
		if err != nil {
			return err
		}
		note := ""
		if s.Holder {
			note = "holds it"
		}
		fmt.Fprintf(t, "%4d\t%s\t%s\t%s\n", i+1, s.Type, nameIn(id, p.Scope), note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, s := range p.Steps {
		if s.After != "" {
			fmt.Fprintf(w, "%4d only then, before: %s: %s\n", i+1, s.Code, shortened(s.After))
		}
	}
	for _, o := range p.Obstacles {
		fmt.Fprintf(w, "\nheld  %s\n      %s: %s\n", o.ID, o.Code, o.Message)
	}
	for _, n := range p.Names {
		fmt.Fprintf(w, "\nname  %s: in Azure taken for %d more days\n      %s\n", n.ID, n.Days, n.Rule)
	}
	switch {
	case len(p.Obstacles) > 0:
		fmt.Fprintf(w, "\nNot all can go: %d in the way.\n", len(p.Obstacles))
	default:
		fmt.Fprintf(w, "\nAll can go: %d deletions.\n", len(p.Steps))
	}
	return nil
}

// shortened is a text for a person: the whole one is in the JSON.
func shortened(s string) string {
	const most = 300
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// nameIn is a resource as it is called in its group; with its group where that is another one.
func nameIn(id arm.ID, scope string) string {
	name := ""
	for i, n := range id.Names() {
		if i > 0 {
			name += "/"
		}
		name += n
	}
	in, err := arm.ParseID(scope)
	if err == nil && in.ResourceGroup() != id.ResourceGroup() {
		name = id.ResourceGroup() + ": " + name
	}
	return name
}

// destroy deletes: a group by one request, as Azure does, a resource after what holds it.
func (a *app) destroy(ctx context.Context, m resourceManager, p *destruction, holders bool) error {
	if len(p.Obstacles) > 0 {
		o := p.Obstacles[0]
		return fmt.Errorf("nothing is deleted: %s: %s: %s", o.ID, o.Code, o.Message)
	}
	if p.Group {
		answer, err := m.do(ctx, armParams{Method: http.MethodDelete, Path: p.Scope, Version: groupsVersion}, nil, nil)
		if err == nil {
			err = m.wait(ctx, answer)
		}
		if err == nil {
			fmt.Fprintf(a.stdout, "%s is gone, with %d resources.\n", p.Scope, len(p.Steps))
		}
		return err
	}
	for _, s := range p.Steps {
		if s.Holder && !holders {
			return fmt.Errorf("nothing is deleted: %s holds it; delete that first, or use --holders", s.ID)
		}
	}
	for _, s := range p.Steps {
		version, err := m.version(ctx, s.Type)
		if err != nil {
			return err
		}
		answer, err := m.do(ctx, armParams{Method: http.MethodDelete, Path: s.ID, Version: version}, nil, nil)
		if err == nil {
			err = m.wait(ctx, answer)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.ID, err)
		}
		fmt.Fprintf(a.stdout, "%s is gone.\n", s.ID)
	}
	return nil
}
