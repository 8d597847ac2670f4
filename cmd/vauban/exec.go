package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newExecCmd(a *app) *cobra.Command {
	var place region.PlaceParams
	c := &cobra.Command{
		Use:   "exec [--from internet | --subnet VNET/SUBNET | --nic NAME | --node NAME] -- COMMAND [ARG]…",
		Short: "Run a command at a place in the region",
		Long: `Run a command at a place in the region: on its internet, in a subnet, behind a network interface, or on a
compute node. Network, name
servers and certificate authorities are the place's; user, files, terminal and environment stay yours.
The exit status is the command's.

Commands can reach the region's addresses only. sudo and other set-uid programs have no power there.`,
		Example: `  vauban exec -- az group list
  vauban exec --subnet hub/jumpbox -- python submit.py
  vauban exec --subnet hub/training -- bash
  vauban exec --nic web1 -- python3 -m http.server 80`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{errors.New("exec needs a command: vauban exec [--subnet VNET/SUBNET] -- COMMAND")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if place == (region.PlaceParams{}) {
				place.From = "internet"
			}
			dir, err := a.dir()
			if err != nil {
				return &execError{err}
			}
			environ := os.Environ()
			if dir := azExtensions(os.Getenv); dir != "" {
				environ = append(environ, "AZURE_EXTENSION_DIR="+dir)
			}
			end, err := region.Exec(c.Context(), dir, place, args, environ)
			if err != nil {
				return &execError{err}
			}
			if end != (region.Exit{}) {
				return &exitError{end}
			}
			return nil
		},
	}
	c.Flags().StringVar(&place.From, "from", "", `"internet", the default`)
	c.Flags().StringVar(&place.Subnet, "subnet", "", "a subnet, VNET/SUBNET or its resource id")
	c.Flags().StringVar(&place.NIC, "nic", "", "a network interface, NAME or GROUP/NAME or its resource id")
	c.Flags().StringVar(&place.Node, "node", "", "a compute node")
	c.MarkFlagsMutuallyExclusive("from", "subnet", "nic", "node")
	c.Flags().SetInterspersed(false)
	return c
}
