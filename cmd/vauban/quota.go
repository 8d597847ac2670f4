package main

import (
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newQuotaCmd(a *app) *cobra.Command {
	var p quotaParams
	c := &cobra.Command{
		Use:   "quota [list | set NAMESPACE/NAME LIMIT | reset NAMESPACE/NAME]",
		Short: "Show what a subscription may have, or set it, to see Azure's refusals beyond",
		Long: `Show the quotas of a subscription in a location with what is taken of them, or set one. A region begins with
Azure's default limits. What is beyond a limit is refused with Azure's code and text; what is there stays.`,
		Example: `  vauban quota list
  vauban quota set Microsoft.Network/PublicIPAddresses 2
  vauban quota set Microsoft.Compute/cores 4 --location westeurope
  vauban quota reset Microsoft.Compute/cores`,
		Args: cobra.MaximumNArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || len(args) == 1 && args[0] == "list":
			case len(args) == 3 && args[0] == "set":
				n, err := strconv.Atoi(args[2])
				if err != nil || n < 0 {
					return &usageError{fmt.Errorf("%q: a limit is a number", args[2])}
				}
				p.Name, p.Limit = args[1], n
			case len(args) == 2 && args[0] == "reset":
				p.Name, p.Limit = args[1], -1
			default:
				return &usageError{fmt.Errorf("give list, set NAMESPACE/NAME LIMIT, or reset NAMESPACE/NAME")}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var all []quotaUsage
			if _, err := region.Call(c.Context(), dir, methodQuota, p, &all); err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "QUOTA\tUSED\tLIMIT\tAZURE'S")
			for _, u := range all {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", u.Name, u.Used, u.Limit, u.Default)
			}
			return w.Flush()
		},
	}
	c.Flags().StringVar(&p.Subscription, "subscription", "", "id of the subscription (default: the first principal's own)")
	c.Flags().StringVar(&p.Location, "location", "", "location (default: list shows the region's own, set and reset are for all)")
	return c
}
