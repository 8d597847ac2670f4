package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/compute"
	"vauban.dev/demo"
	"vauban.dev/explain"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/reach"
	"vauban.dev/region"
)

func newReachCmd(a *app) *cobra.Command {
	var mode string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reach",
		Short: "Measure the demo's reach table again: who reaches what, and what refuses",
		Long: `Measure the reach table of a region that ` + "`vauban demo --keep`" + ` has left: every cell is a real connection
from its place. Change a rule, a firewall or a role, and see which cells differ. Training nodes are there
while a job runs and a while after it.

The exit status is 1 when a cell differs from what the scenario expects.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			modes, err := parseMode(mode)
			if err != nil {
				return &usageError{err}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			kept, err := demo.ReadState(dir)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is not the region of a demo: `vauban demo --keep` makes one", dir)
			}
			if err != nil {
				return err
			}
			var tables []*reach.Table
			for _, m := range modes {
				facts, ok := kept.Facts[m]
				if !ok {
					continue
				}
				t, err := measureReach(c.Context(), dir, facts)
				if err != nil {
					return err
				}
				tables = append(tables, t)
			}
			return a.showTables(tables, asJSON)
		},
	}
	c.Flags().StringVar(&mode, "mode", "both", "which of the demo's scenarios: public, secured, both")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"public", "secured", "both"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// parseMode reads --mode.
func parseMode(s string) ([]reach.Mode, error) {
	switch s {
	case "both":
		return []reach.Mode{reach.Public, reach.Secured}, nil
	case string(reach.Public), string(reach.Secured):
		return []reach.Mode{reach.Mode(s)}, nil
	}
	return nil, fmt.Errorf("--mode %q: public, secured or both", s)
}

func (a *app) showTables(tables []*reach.Table, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(tables); err != nil {
			return err
		}
	}
	differ := 0
	for _, t := range tables {
		differ += len(t.Differing())
		if asJSON {
			continue
		}
		if err := t.Render(a.stdout); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	if differ > 0 {
		return fmt.Errorf("%d cells differ from what is expected", differ)
	}
	return nil
}

// measureReach measures the table of a scenario in the region at dir, with a node of it that is up, if any.
func measureReach(ctx context.Context, dir string, f reach.Facts) (*reach.Table, error) {
	nodes, err := demoNodes(ctx, dir, f.WorkspaceID)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.State != string(compute.NodeIdle) && n.State != string(compute.NodeRunning) {
			continue
		}
		f.Node, f.NodeSSH = n.ID, net.JoinHostPort(n.Private, "22")
		if n.SSH != 0 {
			f.NodeSSH = net.JoinHostPort(n.Public, strconv.Itoa(n.SSH))
		}
		break
	}
	w, err := openReachWorld(ctx, dir)
	if err != nil {
		return nil, err
	}
	return reach.Measure(ctx, w, reach.Demo(f))
}

// demoNodes are the nodes of a workspace's clusters.
func demoNodes(ctx context.Context, dir, workspace string) ([]machinelearning.NodeInfo, error) {
	var nodes []machinelearning.NodeInfo
	if _, err := region.Call(ctx, dir, methodNodes, nil, &nodes); err != nil {
		return nil, err
	}
	prefix := strings.ToLower(workspace) + "/"
	return slices.DeleteFunc(nodes, func(n machinelearning.NodeInfo) bool { return !strings.HasPrefix(strings.ToLower(n.Cluster), prefix) }), nil
}

// reachWorld is the region at dir as a reach.World.
type reachWorld struct {
	dir    string
	creds  credentials
	client *http.Client
}

var _ reach.World = (*reachWorld)(nil)

func openReachWorld(ctx context.Context, dir string) (*reachWorld, error) {
	creds, err := readCredentials(dir)
	if err != nil {
		return nil, err
	}
	var ready region.ReadyResult
	if _, err := region.Call(ctx, dir, region.MethodReady, nil, &ready); err != nil {
		return nil, err
	}
	client, err := loopbackClient(ready.Env)
	return &reachWorld{dir: dir, creds: creds, client: client}, err
}

// loopbackClient calls the region's names from outside, as `vauban env` tells clients to.
func loopbackClient(env map[string]string) (*http.Client, error) {
	proxy, err := url.Parse(env["HTTPS_PROXY"])
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(env["SSL_CERT_FILE"])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", env["SSL_CERT_FILE"])
	}
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
	}, nil
}

func (w *reachWorld) Probe(ctx context.Context, p reach.Place, targets []reach.Target) ([]reach.Result, error) {
	at, err := parseFrom(p.From)
	if err != nil {
		return nil, err
	}
	return probeAt(ctx, w.dir, at, targets)
}

func (w *reachWorld) Explain(ctx context.Context, p reach.Place, host string, port uint16) (reach.Model, error) {
	at, err := parseFrom(p.From)
	if err != nil {
		return reach.Model{}, err
	}
	var out explain.Answer
	if _, err := region.Call(ctx, w.dir, methodExplain, explainParams{From: at, Host: host, Port: port}, &out); err != nil {
		return reach.Model{}, err
	}
	return reach.Model{Allowed: out.Allowed, By: out.By, Service: out.Service, Rule: out.Rule}, nil
}

func (w *reachWorld) Counters(ctx context.Context) (map[reach.Rule]uint64, error) {
	var all []ruleCounter
	if _, err := region.Call(ctx, w.dir, methodCounters, nil, &all); err != nil {
		return nil, err
	}
	out := map[reach.Rule]uint64{}
	for _, c := range all {
		out[c.Rule] = c.Packets
	}
	return out, nil
}

// Token is of the region's first principal, by client credentials.
func (w *reachWorld) Token(ctx context.Context, audience string) (string, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {w.creds.ClientID}, "client_secret": {w.creds.ClientSecret}, "scope": {audience + "/.default"},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.microsoftonline.com/"+w.creds.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := w.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var out struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return "", fmt.Errorf("%s: %w", answer.Status, err)
	}
	if out.AccessToken == "" {
		return "", fmt.Errorf("%s: %s", answer.Status, out.Description)
	}
	return out.AccessToken, nil
}
