package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"vauban.dev/fabric/linux"
	"vauban.dev/region"
)

func newExpressRouteCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "expressroute",
		Short: "What ExpressRoute circuits lead to on this machine",
		Long: `An ExpressRoute circuit is a private wire: here it leads to an interface of this machine, in its own network or
in a network namespace, where a router speaks BGP. To attach it is what Azure's connectivity provider does.`,
	}
	c.AddCommand(newAttachCmd(a), newDetachCmd(a))
	return c
}

// defaultInterface is a circuit's interface in a namespace, where nothing else is said.
const defaultInterface = "expressroute"

func newAttachCmd(a *app) *cobra.Command {
	var circuit, netns, iface string
	c := &cobra.Command{
		Use:   "attach --circuit NAME (--netns NAME | --interface NAME)",
		Short: "Make the interface that a circuit leads to",
		Long: `Make an interface that an ExpressRoute circuit leads to, in this machine's own network (--interface) or in a network
namespace (--netns, a name of ` + "`ip netns`" + ` or a path). It gets the customer's address of the circuit's private peering, if
there is one already; a router there calls the other address by BGP. It is gone when the circuit is detached, or the
region is down: attach it again then.`,
		Example: `  sudo vauban expressroute attach --circuit office --netns onprem`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if iface == "" {
				iface = defaultInterface
			}
			return a.attach(c.Context(), circuit, netns, iface)
		},
	}
	c.Flags().StringVar(&circuit, "circuit", "", "the circuit: NAME, GROUP/NAME or id")
	c.Flags().StringVar(&netns, "netns", "", "network namespace of the interface")
	c.Flags().StringVar(&iface, "interface", "", "name of the interface (in a namespace: "+defaultInterface+")")
	c.MarkFlagRequired("circuit")
	c.MarkFlagsOneRequired("netns", "interface")
	return c
}

func (a *app) attach(ctx context.Context, circuit, netns, iface string) error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	var plan circuitResult
	if _, err := region.Call(ctx, dir, methodCircuit, circuitParams{Do: circuitPlan, Circuit: circuit}, &plan); err != nil {
		return err
	}
	f, err := linux.OutsideTunnel(netns, iface, plan.Customer)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := region.Dial(dir).Put(ctx, plan.Kept, f); err != nil {
		return err
	}
	at := "interface " + iface
	if netns != "" {
		at += " of namespace " + netns
	}
	if _, err := region.Call(ctx, dir, methodCircuit, circuitParams{Do: circuitAttach, Circuit: circuit, At: at}, nil); err != nil {
		return errors.Join(err, region.Dial(dir).Drop(ctx, plan.Kept))
	}
	address := "no address: the circuit has no private peering yet"
	if plan.Customer.IsValid() {
		address = fmt.Sprintf("address %s, BGP of Microsoft at %s", plan.Customer, plan.Customer.Addr().Next())
	}
	_, err = fmt.Fprintf(a.stdout, "The circuit leads to %s, %s.\n", at, address)
	return err
}

func newDetachCmd(a *app) *cobra.Command {
	var circuit string
	c := &cobra.Command{
		Use:   "detach --circuit NAME",
		Short: "End what attach did",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			_, err = region.Call(c.Context(), dir, methodCircuit, circuitParams{Do: circuitDetach, Circuit: circuit}, nil)
			return err
		},
	}
	c.Flags().StringVar(&circuit, "circuit", "", "the circuit: NAME, GROUP/NAME or id")
	c.MarkFlagRequired("circuit")
	return c
}

// What the server is asked for about circuits.
const (
	circuitPlan   = "plan"   // how to attach
	circuitAttach = "attach" // after the device was put into the holder
	circuitDetach = "detach"
)

type circuitParams struct {
	Do      string `json:"do"`
	Circuit string `json:"circuit"` // name, GROUP/NAME or id
	At      string `json:"at,omitempty"`
}

type circuitResult struct {
	Kept     string       `json:"kept,omitempty"`    // name in the holder for the device's descriptor
	Customer netip.Prefix `json:"customer,omitzero"` // the device's address
}
