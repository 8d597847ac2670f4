package main

import (
	"context"
	"fmt"
	"net/netip"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newVPNCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "vpn",
		Short: "Clients and sites of the region's VPN gateways",
		Long: `The region's VPN gateways speak WireGuard, whatever protocol their resources name: any WireGuard client joins.
A client's private key is made here, printed once with its profile, and kept nowhere.`,
	}
	c.AddCommand(newVPNProfileCmd(a), newVPNClientsCmd(a), newVPNRevokeCmd(a), newVPNUnderlayCmd(a))
	return c
}

func (a *app) vpn(ctx context.Context, p vpnParams) (out vpnResult, err error) {
	dir, err := a.dir()
	if err != nil {
		return out, err
	}
	_, err = region.Call(ctx, dir, methodVPN, p, &out)
	return out, err
}

func newVPNProfileCmd(a *app) *cobra.Command {
	p := vpnParams{Do: vpnProfile}
	c := &cobra.Command{
		Use:   "profile --gateway NAME [--client NAME] | --connection NAME",
		Short: "Print what wg-quick needs to join",
		Long: `Print a WireGuard configuration: a new client of a gateway's point-to-site configuration, or the other end
of a site-to-site connection. A client that is there already gets a new key, and its old one ends.`,
		Example: `  (umask 077; vauban vpn profile --gateway hub-vpn --client alice > alice.conf) && wg-quick up ./alice.conf
  vauban vpn profile --connection to-office --endpoint internet`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := a.vpn(c.Context(), p)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, out.Profile)
			return err
		},
	}
	c.Flags().StringVar(&p.Gateway, "gateway", "", "the gateway: NAME, GROUP/NAME or id")
	c.Flags().StringVar(&p.Client, "client", "client", "the client's name")
	c.Flags().StringVar(&p.Connection, "connection", "", "the connection whose other end it is for: NAME, GROUP/NAME or id")
	c.Flags().StringVar(&p.Endpoint, "endpoint", "", "where the gateway is reached: ADDRESS:PORT, or `internet` for places on the region's internet (default: the region's socket on this machine)")
	c.MarkFlagsOneRequired("gateway", "connection")
	c.MarkFlagsMutuallyExclusive("gateway", "connection")
	return c
}

func newVPNClientsCmd(a *app) *cobra.Command {
	p := vpnParams{Do: vpnClients}
	c := &cobra.Command{
		Use:   "clients --gateway NAME",
		Short: "List a gateway's clients",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := a.vpn(c.Context(), p)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tADDRESS\tCONNECTED\tRECEIVED\tSENT\tTHUMBPRINT")
			for _, x := range out.Clients {
				fmt.Fprintf(t, "%s\t%s\t%t\t%d\t%d\t%s\n", x.Name, x.Address, x.Connected, x.Received, x.Sent, x.Thumbprint)
			}
			return t.Flush()
		},
	}
	c.Flags().StringVar(&p.Gateway, "gateway", "", "the gateway: NAME, GROUP/NAME or id")
	c.MarkFlagRequired("gateway")
	return c
}

func newVPNRevokeCmd(a *app) *cobra.Command {
	p := vpnParams{Do: vpnRevoke}
	c := &cobra.Command{
		Use:   "revoke --gateway NAME --client NAME",
		Short: "End a client, at once and for good",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := a.vpn(c.Context(), p)
			return err
		},
	}
	c.Flags().StringVar(&p.Gateway, "gateway", "", "the gateway: NAME, GROUP/NAME or id")
	c.Flags().StringVar(&p.Client, "client", "", "the client's name")
	c.MarkFlagRequired("gateway")
	c.MarkFlagRequired("client")
	return c
}

func newVPNUnderlayCmd(a *app) *cobra.Command {
	var address, at string
	c := &cobra.Command{
		Use:   "underlay --address ADDRESS --at ADDRESS:PORT",
		Short: "Say where another site's gateway is on this machine's network",
		Long: `A connection names its other end by a public address (gatewayIpAddress). One that is not on this region's
internet, as the gateway of another region on this machine, is reached by this machine's network: say where.
Without --at the address is on the region's internet again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p := vpnParams{Do: vpnUnderlay}
			var err error
			if p.Address, err = netip.ParseAddr(address); err != nil {
				return &usageError{err}
			}
			if at != "" {
				if p.At, err = netip.ParseAddrPort(at); err != nil {
					return &usageError{err}
				}
			}
			_, err = a.vpn(c.Context(), p)
			return err
		},
	}
	c.Flags().StringVar(&address, "address", "", "the gateway's public address, as connections name it")
	c.Flags().StringVar(&at, "at", "", "its UDP address on this machine's network")
	c.MarkFlagRequired("address")
	return c
}
