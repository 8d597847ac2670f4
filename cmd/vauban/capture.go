package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/capture"
	"vauban.dev/reach"
	"vauban.dev/region"
)

func newCaptureCmd(a *app) *cobra.Command {
	var p region.PlaceParams
	var file string
	var limits capture.Limits
	var duration time.Duration
	c := &cobra.Command{
		Use:   "capture --subnet VNET/SUBNET | --nic NAME | --node NAME -w FILE",
		Short: "Write the packets of interfaces to a pcap file",
		Long: `Write the packets of an interface, of a compute node, or of every interface of a subnet to a pcap file, as they
leave and enter it, until Ctrl-C or a limit. A packet between two interfaces of a subnet stands there twice.
Interfaces that come later are not captured.`,
		Example: `  vauban capture --subnet hub/training -w training.pcap
  vauban capture --node cpu-cluster --count 100 -w - | tcpdump -nr -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if limits.PerPacket < 0 || limits.Packets < 0 || duration < 0 {
				return &usageError{errors.New("a limit is negative")}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
			defer stop()
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			return a.runCapture(ctx, dir, p, file, limits)
		},
	}
	c.Flags().StringVar(&p.Subnet, "subnet", "", "all interfaces of a subnet, VNET/SUBNET or its resource id")
	c.Flags().StringVar(&p.Node, "node", "", "a compute node")
	c.Flags().StringVar(&p.NIC, "nic", "", "an interface, NAME or GROUP/NAME, or its resource id")
	c.Flags().StringVarP(&file, "write", "w", "", "the file; - is standard output")
	c.Flags().IntVar(&limits.Packets, "count", 0, "end after so many packets")
	c.Flags().IntVar(&limits.PerPacket, "snaplen", 0, "keep so many bytes of each packet; 0 is all")
	c.Flags().DurationVar(&duration, "duration", 0, "end after this time")
	c.MarkFlagRequired("write")
	c.MarkFlagsMutuallyExclusive("subnet", "node", "nic")
	c.MarkFlagsOneRequired("subnet", "node", "nic")
	return c
}

func (a *app) runCapture(ctx context.Context, dir string, p region.PlaceParams, file string, limits capture.Limits) (err error) {
	var nics []captured
	sockets, err := region.Call(ctx, dir, methodCapture, p, &nics)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	var to io.Writer = a.stdout
	if file != "-" {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // packets may hold secrets
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		to = f
	}
	w, err := capture.NewWriter(to, limits, nil, nil)
	if err != nil {
		return err
	}
	for _, n := range nics {
		fmt.Fprintf(a.stderr, "capturing %s %v\n", reach.ShortID(n.NIC), n.Addresses)
	}
	reading, enough := context.WithCancel(ctx)
	defer enough()
	var wg sync.WaitGroup
	failed := make([]error, len(sockets))
	for i, s := range sockets {
		wg.Go(func() {
			failed[i] = capture.Read(reading, s, w.Write)
			enough()
		})
	}
	wg.Wait()
	fmt.Fprintf(a.stderr, "%d packets\n", w.Packets())
	return errors.Join(failed...)
}
