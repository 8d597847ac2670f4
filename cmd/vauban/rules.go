package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/audit"
	"vauban.dev/region"
	"vauban.dev/rulegen"
)

func newRulesCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "rules", Short: "Write the security rules that a workspace's nodes need", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return &usageError{errors.New("rules generate, rules learn")} },
	}
	c.AddCommand(a.rulesGenerate(), a.rulesLearn())
	return c
}

func (a *app) rulesGenerate() *cobra.Command {
	var p auditParams
	var format string
	names := rulegen.Names{}
	var prove bool
	c := &cobra.Command{
		Use:   "generate --workspace NAME [--subnet VNET/SUBNET]",
		Short: "The least network rules for the subnet of a workspace's nodes, proved",
		Long: `Write the least security group for the subnet of a workspace's nodes: what Azure Machine Learning requires of it,
with and without public addresses, and nothing else to the internet. Each rule is proved on the model: with all of
them every requirement passes, without any one of them a requirement fails, which --format json names.

Of nodes that leave by an Azure Firewall, also its policy and the route table that leads there: what is HTTP or TLS is
let through by name in application rules; what is not, as UDP 5831 and TCP 8787 and 18881, in network rules, by name
where it is whole, else by service tag. Nodes with public addresses need a route AzureMachineLearning to the internet:
the calls that they answer do not come by the firewall.

--prove makes a network with these rules in the region, sends the packets, and deletes it.`,
		Example: `  vauban rules generate --workspace myws
  vauban rules generate --workspace myws --subnet hub/training --format bicep >nsg.bicep
  vauban rules generate --workspace myws --subnet hub/training --firewall 10.1.9.4 --format terraform >rules.tf
  vauban rules generate --workspace myws --as-of 2022-06 --format json --prove`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(rulegen.Formats, format) {
				return &usageError{fmt.Errorf("--format %q: %s", format, strings.Join(rulegen.Formats, ", "))}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var out []generated
			if _, err := region.Call(c.Context(), dir, methodRules, p, &out); err != nil {
				return err
			}
			for _, g := range out {
				more := ""
				if g.Egress != nil {
					more = fmt.Sprintf(", %d rules of the firewall, %d routes", len(g.Egress.Rules), len(g.Egress.Routes))
				}
				fmt.Fprintf(a.stderr, "%s, profile %s: %d security rules%s, proved on the model\n", g.Subject, g.Profile, len(g.Rules), more)
				if prove {
					if err := a.proveRules(c.Context(), dir, p, g); err != nil {
						return err
					}
				}
				if err := rulegen.Write(a.stdout, format, names, g.Location, g.Rules, g.Egress); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&p.Workspace, "workspace", "", "its name, or its resource id")
	c.Flags().StringVar(&p.Subnet, "subnet", "", "a subnet instead of those of the clusters")
	c.Flags().BoolVar(&p.PublicIP, "public-ip", false, "nodes in --subnet have public addresses")
	c.Flags().BoolVar(&p.Situational, "situational", false, "allow what only some features require as well")
	c.Flags().StringVar(&p.AsOf, "as-of", audit.Latest, "the profile that held then: YYYY-MM, YYYY-MM-DD or latest")
	c.Flags().StringVar(&format, "format", "az", strings.Join(rulegen.Formats, ", "))
	c.Flags().StringVar(&names.Group, "name", "nsg-azureml", "of the security group")
	c.Flags().StringVar(&names.Policy, "policy-name", "policy-azureml", "of the firewall policy")
	c.Flags().StringVar(&names.RouteTable, "route-table-name", "rt-azureml", "of the route table")
	c.Flags().StringVar(&p.Firewall, "firewall", "auto", "private address of the firewall that the nodes leave by; auto: the subnet's default route's; none")
	c.Flags().BoolVar(&prove, "prove", false, "send packets from a network with these rules")
	c.MarkFlagRequired("workspace")
	return c
}

// proofNetwork is the network that --prove makes, in a resource group of its own.
const (
	proofGroup   = "vauban-rules-proof"
	proofVersion = "2024-05-01"
)

// proveRules makes a network with the rules, audits it by packets, and deletes it.
func (a *app) proveRules(ctx context.Context, dir string, p auditParams, g generated) (err error) {
	w, err := openReachWorld(ctx, dir)
	if err != nil {
		return err
	}
	group := "/subscriptions/" + w.creds.SubscriptionID + "/resourceGroups/" + proofGroup
	network := group + "/providers/Microsoft.Network/"
	defer func() {
		err = errors.Join(err, w.arm(context.WithoutCancel(ctx), http.MethodDelete, group, "2024-03-01", nil))
	}()
	type object = map[string]any
	var rules []object
	for _, r := range g.Rules {
		rules = append(rules, object{"name": r.Name, "properties": object{
			"priority": r.Priority, "direction": r.Direction, "access": r.Access, "protocol": r.Protocol, "sourceAddressPrefix": r.Source, "sourcePortRange": "*",
			"destinationAddressPrefix": r.Destination, "destinationPortRanges": r.Ports}})
	}
	for _, x := range []struct {
		id, version string
		body        any
	}{
		{group, "2024-03-01", object{"location": g.Location}},
		{network + "networkSecurityGroups/proof", proofVersion, object{"location": g.Location, "properties": object{"securityRules": rules}}},
		{network + "virtualNetworks/proof", proofVersion, object{"location": g.Location, "properties": object{
			"addressSpace": object{"addressPrefixes": []string{"10.250.0.0/24"}}, "subnets": []object{{"name": "nodes", "properties": object{
				"addressPrefix": "10.250.0.0/26", "defaultOutboundAccess": true, "networkSecurityGroup": object{"id": network + "networkSecurityGroups/proof"}}}}}}},
	} {
		if err := w.arm(ctx, http.MethodPut, x.id, x.version, x.body); err != nil {
			return err
		}
	}
	p.Subnet, p.PublicIP = network+"virtualNetworks/proof/subnets/nodes", g.PublicIP
	for _, kind := range []string{"required", "exfil"} {
		p.Audit, p.Without = kind, []string{"hosts", audit.KindDNS, audit.KindResource, audit.KindPeering, audit.KindPrivate}
		var reports []*audit.Report
		if _, err := region.Call(ctx, dir, methodAudit, p, &reports); err != nil {
			return err
		}
		for _, r := range reports {
			if err := confirm(ctx, dir, r); err != nil {
				return err
			}
			if len(r.Findings()) > 0 {
				return errors.Join(errors.New("the packets say otherwise"), r.Print(a.stderr))
			}
		}
	}
	if g.Egress != nil {
		if err := a.proveEgress(ctx, w, dir, network, g); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.stderr, "proved by packets")
	return nil
}

// arm makes a write of Resource Manager and waits for its end.
func (w *reachWorld) arm(ctx context.Context, method, id, version string, body any) error {
	token, err := w.Token(ctx, "https://management.azure.com")
	if err != nil {
		return err
	}
	send := func(method, url string, body any) (*http.Response, []byte, error) {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, nil, err
		}
		r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
		if err != nil {
			return nil, nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		answer, err := w.client.Do(r)
		if err != nil {
			return nil, nil, err
		}
		defer answer.Body.Close()
		data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		if err == nil && answer.StatusCode >= 400 {
			err = fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, data)
		}
		return answer, data, err
	}
	answer, _, err := send(method, "https://management.azure.com"+id+"?api-version="+version, body)
	if err != nil {
		return err
	}
	poll := answer.Header.Get("Azure-AsyncOperation")
	for deadline := time.Now().Add(2 * time.Minute); poll != ""; { // each poll waits for the end
		_, data, err := send(http.MethodGet, poll, nil)
		if err != nil {
			return err
		}
		var status struct {
			Status string
			Error  json.RawMessage
		}
		if err := json.Unmarshal(data, &status); err != nil {
			return err
		}
		switch {
		case status.Status == "Succeeded":
			return nil
		case status.Status == "Failed" || status.Status == "Canceled":
			return fmt.Errorf("%s %s: %s", method, id, status.Error)
		case time.Now().After(deadline):
			return fmt.Errorf("%s %s has not ended", method, id)
		}
	}
	return nil
}
