package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vauban.dev/audit"
	"vauban.dev/explain"
	"vauban.dev/reach"
	"vauban.dev/region"
)

func newExplainCmd(a *app) *cobra.Command {
	var from, to string
	var udp, icmp, live, asJSON bool
	var p explainParams
	c := &cobra.Command{
		Use:   "explain --from internet|tag:SERVICETAG|VNET/SUBNET|nic:NAME|node:NAME --to HOST:PORT",
		Short: "Say what would become of a connection, what decides, and what to change",
		Long: `Say what would become of a connection, the whole way: how its name is resolved, each judgement of the
network, what answers, what the service's own firewall says and, with --as, whether a principal's roles let
it read there. Of what is refused it names the rule, the firewall or the role that decides, and the az
commands that would make it pass; each of them has been tried on a copy of the model.

It is answered from the region's model; no packet is sent. --live sends one as well, from the same place,
and says whether the kernel and the services do what the model says, and whose counter rose.

The exit status is 0 when the connection is allowed, 1 when it is refused or --live disagrees.`,
		Example: `  vauban explain --from demo-vnet/training --to www.example.com:443
  vauban explain --from internet --to mystorage.blob.core.windows.net:443 --live
  vauban explain --from tag:AzureMachineLearning --to 20.50.0.9:44224 --live
  vauban explain --from demo-vnet/jumpbox --to myvault.vault.azure.net:443 --as my-app
  vauban explain --from node:cpu-cluster --to 168.63.129.16:53 --proto udp
  vauban explain --from demo-vnet/jumpbox --to 10.20.1.4 --proto icmp`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case udp:
				p.Protocol = "udp"
			case icmp:
				p.Protocol = "icmp"
			}
			if _, err := explain.ParseProtocol(p.Protocol); err != nil {
				return &usageError{fmt.Errorf("--proto: %w", err)}
			}
			var err error
			if p.From, err = parseFrom(from); err != nil {
				return &usageError{err}
			}
			if p.Host, p.Port, err = parseTo(to, strings.EqualFold(p.Protocol, "icmp")); err != nil {
				return &usageError{err}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var out explain.Answer
			if _, err := region.Call(c.Context(), dir, methodExplain, p, &out); err != nil {
				return err
			}
			if live {
				if err := compareLive(c.Context(), dir, p, &out); err != nil {
					return err
				}
			}
			if asJSON {
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(out)
			} else {
				err = out.Print(a.stdout)
			}
			if err == nil && (!out.Allowed || out.Live != nil && !out.Live.Agrees) {
				err = &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "internet", "where the connection begins: internet, tag:SERVICETAG (a service of Azure's that the region plays), VNET/SUBNET, nic:NAME or node:NAME")
	c.Flags().StringVar(&to, "to", "", "where it goes: HOST:PORT, a name or an address")
	c.Flags().StringVar(&p.Protocol, "proto", "tcp", "tcp, udp or icmp; ICMP has no port")
	c.Flags().StringVar(&p.As, "as", "", "who asks: an object id, a client id, a display name, or the id of a resource with an identity")
	c.Flags().BoolVar(&udp, "udp", false, "the same as --proto udp")
	c.Flags().BoolVar(&icmp, "icmp", false, "the same as --proto icmp")
	c.Flags().BoolVar(&live, "live", false, "send a packet as well, and compare")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.AddCommand(newExplainAccessCmd(a))
	c.MarkFlagRequired("to")
	c.MarkFlagsMutuallyExclusive("udp", "icmp", "proto")
	c.RegisterFlagCompletionFunc("proto", cobra.FixedCompletions([]string{"tcp", "udp", "icmp"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// parseFrom reads a place: internet, VNET/SUBNET (or GROUP/VNET/SUBNET, or a resource id), nic:NAME or node:NAME.
func parseFrom(s string) (region.PlaceParams, error) {
	kind, name, _ := strings.Cut(s, ":")
	switch {
	case kind == "node" && name != "":
		return region.PlaceParams{Node: name}, nil
	case kind == "nic" && name != "":
		return region.PlaceParams{NIC: name}, nil
	case s == "internet" || kind+":" == audit.TagPlace && name != "":
		return region.PlaceParams{From: s}, nil
	case !strings.Contains(s, ":") && strings.Contains(s, "/"):
		return region.PlaceParams{Subnet: s}, nil
	}
	return region.PlaceParams{}, fmt.Errorf("--from %q: write internet, tag:SERVICETAG, VNET/SUBNET, nic:NAME or node:NAME", s)
}

func parseTo(s string, icmp bool) (host string, port uint16, err error) {
	if icmp {
		if strings.Contains(s, ":") {
			return "", 0, fmt.Errorf("--to %q: ICMP has no ports", s)
		}
		return s, 0, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("--to %q: write HOST:PORT", s)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("--to %q: %w", s, errors.New("write HOST:PORT with a port between 1 and 65535"))
	}
	return host, uint16(n), nil
}

// liveTries is how often a connection is tried until the counters tell of it alone.
const liveTries = 3

// compareLive makes the connection itself and puts what became of it beside the answer.
func compareLive(ctx context.Context, dir string, p explainParams, a *explain.Answer) error {
	w, err := openReachWorld(ctx, dir)
	if err != nil {
		return err
	}
	address := a.Address
	if !strings.EqualFold(p.Protocol, "tcp") && address != "" {
		if address, err = w.ask(ctx, p, address); err != nil {
			return err
		}
	}
	if !strings.EqualFold(p.Protocol, "tcp") && address == "" {
		a.Compare(reach.Result{Connect: reach.ConnectNoName}, nil)
		return nil
	}
	target, err := w.liveTarget(ctx, p, a)
	if err != nil {
		return err
	}
	for range liveTries {
		before, err := w.Counters(ctx)
		if err != nil {
			return err
		}
		result, err := w.liveProbe(ctx, p, address, target)
		if err != nil {
			return err
		}
		after, err := w.Counters(ctx)
		if err != nil {
			return err
		}
		a.Compare(result, reach.Rose(before, after))
		if a.Live.Agrees {
			break
		}
	}
	return nil
}

// ask has the place ask its own DNS for the name, as whoever calls there would: a firewall's network rules for names
// know the addresses that its DNS proxy has told. "" is a name without an address there.
func (w *reachWorld) ask(ctx context.Context, p explainParams, known string) (string, error) {
	if _, err := netip.ParseAddr(p.Host); err == nil || strings.HasPrefix(p.From.From, audit.TagPlace) {
		return known, nil
	}
	results, err := probeAt(ctx, w.dir, p.From, []reach.Target{{Kind: reach.Name, Address: net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))}})
	switch {
	case err != nil:
		return "", err
	case len(results) != 1 || len(results[0].Addresses) == 0:
		return "", nil
	}
	return results[0].Addresses[0], nil
}

func (w *reachWorld) liveProbe(ctx context.Context, p explainParams, address string, t reach.Target) (reach.Result, error) {
	if service := strings.HasPrefix(p.From.From, audit.TagPlace); !service && strings.EqualFold(p.Protocol, "tcp") {
		results, err := probeAt(ctx, w.dir, p.From, []reach.Target{t})
		if err == nil && len(results) != 1 {
			err = fmt.Errorf("%d results of one connection", len(results))
		}
		if err != nil {
			return reach.Result{}, err
		}
		return results[0], nil
	}
	var r reach.Result
	_, err := region.Call(ctx, w.dir, methodProbe, probeParams{From: p.From, Address: address, Port: p.Port, Protocol: p.Protocol}, &r)
	return r, err
}

// liveTarget is a request whose answer shows the service's firewall, or a bare connection where there is none.
func (w *reachWorld) liveTarget(ctx context.Context, p explainParams, a *explain.Answer) (reach.Target, error) {
	t := reach.Target{Kind: reach.TCP, Address: net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))), ConnectMS: 1300}
	if a.Service == "" || p.Port != 443 {
		return t, nil
	}
	t.Kind, t.Headers = reach.HTTP, map[string]string{}
	audience := ""
	switch {
	case strings.HasSuffix(p.Host, ".blob.core.windows.net"):
		t.URL, audience = "https://"+p.Host+"/?comp=list&maxresults=1", "https://storage.azure.com"
		t.Headers["x-ms-version"] = "2023-11-03"
	case strings.HasSuffix(p.Host, ".vault.azure.net"):
		t.URL, audience = "https://"+p.Host+"/secrets?api-version=7.4&maxresults=1", "https://vault.azure.net"
	default:
		t.URL, audience = "https://"+p.Host+"/mlflow/v2.0"+a.Resource+"/api/2.0/mlflow/experiments/search?max_results=1", "https://management.azure.com"
	}
	token, err := w.Token(ctx, audience)
	t.Headers["Authorization"] = "Bearer " + token
	return t, err
}
