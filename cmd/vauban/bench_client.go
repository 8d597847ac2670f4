package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/bench"
	"vauban.dev/bench/limit"
	"vauban.dev/bench/load"
	"vauban.dev/bench/scenario"
)

// benchClient is the side of the benchmark that asks. It runs at a place in the region, as any client of
// Azure would, and knows of the server nothing but its process, for the time that it uses.
type benchClient struct {
	exe    string
	dir    string // the region's data
	server int
	time   time.Duration // of one measurement of a rate
	http   *http.Client
	first  credentials
	values scenario.Values
	print  func(bench.Figure) error
	limit  *limit.Process // the reference, at the same place
}

func newBenchClientCmd(a *app) *cobra.Command {
	c := &benchClient{}
	cmd := &cobra.Command{
		Use: "client WORK", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			enc := json.NewEncoder(a.stdout)
			c.dir, c.print = a.data, func(f bench.Figure) error { return enc.Encode(f) }
			return c.run(ctx, args[0])
		},
	}
	cmd.Flags().IntVar(&c.server, "server", 0, "process of the region's server")
	cmd.Flags().DurationVar(&c.time, "time", rateTime, "how long a rate is measured at a time; longer for profiles")
	return cmd
}

func newBenchLimitCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "limit DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return limit.Main(cmd.Context(), args[0], os.Stdin, a.stdout)
		},
	}
}

// benchWork is a measurement that the client makes.
type benchWork struct {
	name, about string
	place       string // a subnet, or "" for the region's internet
	quick       bool
	do          func(*benchClient, context.Context) error
}

// workResources is the work that the others stand on; measurements name it themselves.
const workResources = "resources"

func (c *benchClient) run(ctx context.Context, name string) (err error) {
	do := (*benchClient).resources
	if name != workResources {
		do = nil
		for _, w := range benchWorks {
			if w.name == name {
				do = w.do
			}
		}
		if do == nil {
			return &usageError{fmt.Errorf("there is no work %q", name)}
		}
	}
	if c.exe, err = os.Executable(); err != nil {
		return err
	}
	if c.first, err = readCredentials(c.dir); err != nil {
		return err
	}
	given, err := readSettings(c.dir)
	if err != nil {
		return err
	}
	c.values = scenario.NewValues(c.first.TenantID, c.first.SubscriptionID, c.first.ObjectID, given.Location)
	// The names are real ones of this place: no proxy of the machine leads to them.
	transport := &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	c.http = &http.Client{Transport: transport, Timeout: time.Minute}
	if c.limit, err = limit.Start(ctx, c.dir, c.exe, "bench", "limit"); err != nil {
		return err
	}
	if err = do(c, ctx); err != nil {
		c.limit.Stop()
		return err
	}
	return c.limit.Stop()
}

// token signs in for a resource by the client credentials grant.
func (c *benchClient) token(ctx context.Context, resource string) (string, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.first.ClientID}, "client_secret": {c.first.ClientSecret},
		"scope": {resource + "/.default"},
	}
	at := "https://login.microsoftonline.com/" + c.first.TenantID + "/oauth2/v2.0/token"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, err := c.do(r)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	return answer.Token, json.Unmarshal(b, &answer)
}

// get wants a 200.
func (c *benchClient) get(ctx context.Context, at, token string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	_, err = c.do(r)
	return err
}

// do wants a 2xx and returns its body.
func (c *benchClient) do(r *http.Request) ([]byte, error) {
	res, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %w", r.Method, r.URL.Redacted(), &load.StatusError{Got: res.StatusCode, Want: http.StatusOK, Body: string(b)})
	}
	return b, err
}

// resources makes the scenario's resources, and the same requests rows of a minimal server.
func (c *benchClient) resources(ctx context.Context) error {
	stages, err := scenario.Stages()
	if err != nil {
		return err
	}
	began := time.Now()
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return err
	}
	arm := scenario.Client{HTTP: c.http, Base: "https://management.azure.com", Token: token}
	made, err := arm.Provision(ctx, stages, c.values)
	if err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	for _, s := range stages {
		for i := range s.Requests {
			s.Requests[i].Keep = nil
		}
	}
	transport := &http.Transport{TLSClientConfig: c.limit.TLS, MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	bare := scenario.Client{HTTP: &http.Client{Transport: transport}, Base: "https://" + c.limit.HTTPS + strings.TrimSuffix(limit.PathRow, "/")}
	began = time.Now()
	if _, err := bare.Provision(ctx, stages, c.values); err != nil {
		return err
	}
	ref := time.Since(began).Seconds()
	return c.print(bench.Figure{
		Name: fmt.Sprintf("secured workspace, %d resources created by REST", made), Value: took, Unit: "s",
		Reference: bench.Reference{Name: "the same requests as durable rows, minimal Go", Value: ref}, Ratio: took / ref,
		Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 5},
	})
}
