package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newTenantCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "tenant",
		Short: "The Microsoft Entra tenants of the region: its own, and those of partners",
		Long: `A region trusts one tenant, its own. Partners' tenants are there to try what becomes of other organisations' people:
their users can be invited as guests (POST /invitations of Microsoft Graph), and nobody else from outside can.

  vauban tenant add Fabrikam fabrikam.onmicrosoft.com
  vauban user add bob@fabrikam.onmicrosoft.com`,
	}
	c.AddCommand(newTenantAddCmd(a), newTenantListCmd(a))
	return c
}

func newTenantAddCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME DOMAIN",
		Short: "Make a partner's tenant",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var t tenantInfo
			if _, err := region.Call(c.Context(), dir, methodTenantAdd, tenantInfo{Name: args[0], Domain: args[1]}, &t); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "tenant  %s\ndomain  %s\n", t.ID, t.Domain)
			return nil
		},
	}
}

func newTenantListCmd(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "The tenants",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var all []tenantInfo
			if _, err := region.Call(c.Context(), dir, methodTenants, nil, &all); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, all)
			}
			t := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "DOMAIN\tNAME\tKIND\tTENANT ID")
			for _, x := range all {
				kind := "the region's own"
				if x.Partner {
					kind = "partner"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Domain, x.Name, kind, x.ID)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
