package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"vauban.dev/fabric/dns/doctor"
	"vauban.dev/reach"
	"vauban.dev/region"
)

func newDNSCmd(a *app) *cobra.Command {
	c := &cobra.Command{Use: "dns", Short: "The names of the region"}
	c.AddCommand(newDoctorCmd(a))
	return c
}

func newDoctorCmd(a *app) *cobra.Command {
	var p doctorParams
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [--vnet VNET] [--json]",
		Short: "Find what is wrong with the names of private endpoints",
		Long: `Find what is wrong with the names of private endpoints: zones that are missing, linked to nothing or made twice,
records that are missing or lead to what is gone, peered networks that are not linked, links whose fallback
policy hides it, DNS servers that cannot be asked or cannot ask 168.63.129.16. Each finding says what the name
resolves to today, what comes of it, and the az commands that put it right. After them stand the domains that
DNS servers on-premises must forward, and to which inbound endpoint.

It is answered from the region's model; no packet is sent. The exit status is 1 when there are findings.`,
		Example: `  vauban dns doctor
  vauban dns doctor --vnet hub --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var out doctor.Report
			if _, err := region.Call(c.Context(), dir, methodDoctor, p, &out); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(out)
			} else {
				err = out.Print(a.stdout, reach.ShortIDs)
			}
			if err == nil && len(out.Findings) > 0 {
				err = &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().StringVar(&p.VNet, "vnet", "", "what concerns one virtual network: its name, GROUP/NAME or its resource id")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
