package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/conformance"
	"vauban.dev/region"
)

func newConformanceCmd(a *app) *cobra.Command {
	var cases, write, only, database string
	var verbose bool
	c := &cobra.Command{
		Use:   "conformance --cases DIR",
		Short: "Replay recorded requests of Azure's clients against a new region, and compare the answers",
		Long: `Start a region of its own, replay cases against it, and compare status, headers, keys, types, the request's
values and error codes with Azure's. Cases are JSON lines (*.jsonl, *.jsonl.gz): recordings of clients' tests, and
examples of Azure's REST specifications, for which what they take for granted is made first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			j := &judge{app: a, cases: cases, write: write, only: strings.ToLower(only), database: database, verbose: verbose}
			return j.run(ctx)
		},
	}
	c.Flags().StringVar(&cases, "cases", "", "folder of cases")
	c.Flags().StringVar(&write, "write", "", "also write the table to this Markdown file")
	c.Flags().StringVar(&database, "store", "", "keep the region's state in this PostgreSQL database, which is empty, instead of a file")
	c.Flags().StringVar(&only, "only", "", "only types that begin so, as Microsoft.Network/virtualNetworks; several with commas")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "say of each case what differs")
	_ = c.MarkFlagRequired("cases") // the flag is there
	return c
}

// judge replays cases against a region of its own.
type judge struct {
	*app
	cases, write, only string
	database           string
	verbose            bool
}

func (j *judge) run(ctx context.Context) (err error) {
	all, err := conformance.Load(j.cases)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vauban-conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r, err := (&benchmark{app: j.app, exe: exe, dir: dir, database: j.database}).up(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.down()) }()
	target, err := conformanceTarget(r)
	if err != nil {
		return err
	}
	results, err := conformance.Run(ctx, target, all, j.wanted, j.say)
	if err != nil {
		return err
	}
	scores, beyond := conformance.Scores(results)
	conformance.Print(j.stdout, scores, beyond)
	if j.write == "" {
		return nil
	}
	st, err := region.Inspect(ctx, r.dir)
	if err != nil {
		return err
	}
	f, err := os.Create(j.write)
	if err != nil {
		return err
	}
	conformance.Markdown(f, scores, beyond, st.ObjectOnly)
	return f.Close()
}

func (j *judge) wanted(c conformance.Case) bool {
	return slices.ContainsFunc(strings.Split(j.only, ","), func(only string) bool { return strings.HasPrefix(strings.ToLower(c.Type()), only) })
}

func (j *judge) say(r conformance.Result) {
	if !j.verbose || len(r.Differences) == 0 {
		return
	}
	fmt.Fprintf(j.stdout, "%s %s %s\n    %s\n", r.Type(), r.Method, r.Path, strings.Join(r.Differences, "\n    "))
}

// conformanceTarget reaches the region by its loopback listener, as its first principal.
func conformanceTarget(r *benchRegion) (*conformance.Region, error) {
	proxy, err := url.Parse(r.env["HTTPS_PROXY"])
	if err != nil {
		return nil, err
	}
	bundle, err := os.ReadFile(r.env["SSL_CERT_FILE"])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	first, err := readCredentials(r.dir)
	if err != nil {
		return nil, err
	}
	given, err := readSettings(r.dir)
	if err != nil {
		return nil, err
	}
	c := &benchClient{first: first, http: &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       2 * time.Minute,
	}}
	tokens := map[string]string{}
	token := func(ctx context.Context, resource string) (t string, err error) {
		if tokens[resource] == "" {
			tokens[resource], err = c.token(ctx, resource)
		}
		return tokens[resource], err
	}
	return &conformance.Region{
		HTTP: c.http, Subscription: first.SubscriptionID, Tenant: first.TenantID, Location: given.Location, ObjectID: first.ObjectID,
		Token: token,
	}, nil
}
