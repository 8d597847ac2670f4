package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/region"
)

func newUpCmd(a *app) *cobra.Command {
	var detach bool
	var listen, datagrams, location, store string
	var images []string
	var roleDelay, keyDelay time.Duration
	var passwordGrant bool
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the region, or its server again after it was killed",
		Long: `Start the region and stay with it: Ctrl-C ends it as ` + "`vauban down`" + ` does. With --detach, return as
soon as it is ready.

When the server of a region was killed, its namespaces, jobs and listeners have stayed: up starts the
server again and connections that waited meanwhile are served.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			u := &up{app: a, listen: listen, datagrams: datagrams, detach: detach, location: location, store: store, images: images}
			if c.Flags().Changed("password-grant") {
				u.passwordGrant = &passwordGrant
			}
			if c.Flags().Changed("role-delay") {
				u.roleDelay = &roleDelay
			}
			if c.Flags().Changed("key-delay") {
				u.keyDelay = &keyDelay
			}
			return u.run(c.Context())
		},
	}
	c.Flags().BoolVarP(&detach, "detach", "d", false, "return when the region is ready")
	c.Flags().StringVar(&listen, "listen", "", "loopback address for clients outside the region, HOST:PORT (default: a free port, the same at every start)")
	c.Flags().StringVar(&datagrams, "vpn-listen", "", "UDP address for VPN clients outside the region, ADDRESS:PORT (default: a free port of the loopback, the same at every start)")
	c.Flags().StringVar(&location, "location", "", "the Azure region that a new region plays (default westeurope)")
	c.Flags().StringVar(&store, "store", "", "a PostgreSQL database for the state of a new region, postgres://USER@HOST:PORT/DATABASE or postgres:///DATABASE?host=/DIRECTORY/OF/SOCKET (default: a file in the data directory)")
	c.Flags().BoolVar(&passwordGrant, "password-grant", false, "let clients sign users in by password alone, without a page (az login -u -p); kept for later starts")
	c.Flags().DurationVar(&roleDelay, "role-delay", 0, "rehearse Azure: changes of roles count that much later by the region's clock; kept for later starts (0: at once)")
	c.Flags().DurationVar(&keyDelay, "key-delay", 0, "rehearse Azure: a customer-managed key that was taken away closes its storage accounts that much later by the region's clock, in Azure up to 1h; kept for later starts (0: within seconds)")
	c.Flags().StringArrayVar(&images, "image", nil, "an environment for jobs, REFERENCE=DIRECTORY of a Python environment; kept for later starts")
	return c
}

type up struct {
	*app
	listen        string
	datagrams     string
	detach        bool
	location      string
	store         string
	images        []string
	roleDelay     *time.Duration // nil: as it was
	keyDelay      *time.Duration // nil: as it was
	passwordGrant *bool          // nil: as it was
}

func (u *up) run(ctx context.Context) error {
	began := time.Now()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	r, err := region.Open(u.data)
	if err != nil {
		return err
	}
	defer r.Close()
	given, err := readSettings(r.Dir())
	if err != nil {
		return err
	}
	if u.passwordGrant != nil {
		given.PasswordGrant = *u.passwordGrant
	}
	if u.roleDelay != nil {
		given.RoleDelay = max(0, *u.roleDelay)
	}
	if u.keyDelay != nil {
		given.KeyDelay = max(0, *u.keyDelay)
	}
	if err := given.change(r.Dir(), u.location, u.store, u.images); err != nil {
		return err
	}
	if !region.Alive(r.Dir()) {
		if err := u.preflight(); err != nil {
			return err
		}
	}
	resumed, err := r.Start(ctx)
	if err != nil {
		return err
	}
	server, ready, err := u.startServer(ctx, r)
	if err != nil {
		if !resumed { // nothing is worth keeping
			err = errors.Join(err, u.end(r.Dir()))
		}
		return err
	}
	u.announce(ready, resumed, time.Since(began))
	if u.detach {
		return nil
	}
	return u.stay(ctx, r, server)
}

// preflight refuses to start where a region cannot run, with the remedies.
func (u *up) preflight() error {
	var fatal []string
	for _, p := range region.Preflight() {
		text := p.What + "\n    remedy: " + p.Remedy
		if p.Fatal {
			fatal = append(fatal, text)
			continue
		}
		fmt.Fprintln(u.stderr, "vauban: warning: "+text)
	}
	if len(fatal) > 0 {
		return errors.New("this machine cannot run a region yet:\n  - " + strings.Join(fatal, "\n  - "))
	}
	return nil
}

func (u *up) startServer(ctx context.Context, r *region.Region) (*region.ServerProcess, region.ReadyResult, error) {
	stderr := os.Stderr
	if u.detach {
		log, err := os.OpenFile(serverLog(r.Dir()), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, region.ReadyResult{}, err
		}
		defer log.Close()
		stderr = log
	}
	given, err := readSettings(r.Dir())
	if err != nil {
		return nil, region.ReadyResult{}, err
	}
	dial, err := given.databaseAddresses()
	if err != nil {
		return nil, region.ReadyResult{}, err
	}
	server, err := r.StartServer(ctx, region.ServerOptions{Listen: u.listen, Datagrams: u.datagrams, Dial: dial, Stdout: stderr, Stderr: stderr})
	if err != nil {
		return nil, region.ReadyResult{}, err
	}
	ready, err := server.Ready(ctx)
	if err != nil {
		err = fmt.Errorf("the region's server: %w", err)
		if u.detach && ctx.Err() == nil {
			_ = server.Wait() // it has written why; its exit status says nothing more
			err = fmt.Errorf("%w; its log, %s, ends with\n  %s", err, serverLog(r.Dir()), lastWords(serverLog(r.Dir())))
		}
	}
	return server, ready, err
}

// lastWords is the line where a program that ends says why.
func lastWords(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func serverLog(dir string) string { return filepath.Join(dir, "server.log") }

func (u *up) announce(ready region.ReadyResult, resumed bool, took time.Duration) {
	what := "The region is up"
	if resumed {
		what = "The region is up again, as it stood"
	}
	fmt.Fprintf(u.stdout, "%s: ready in %d ms. Loopback listener: %s\n\n", what, took.Milliseconds(), ready.Loopback)
	const hint = "  %-48s %s\n"
	fmt.Fprintf(u.stdout, hint, "vauban exec -- az group list", "a client on the region's internet")
	fmt.Fprintf(u.stdout, hint, "vauban exec --subnet VNET/SUBNET -- COMMAND", "the same inside a subnet")
	fmt.Fprintf(u.stdout, hint, `eval "$(vauban env)"`, "point clients of this shell at the listener")
	fmt.Fprintf(u.stdout, hint, "vauban status", "how it stands")
	if u.detach {
		fmt.Fprintf(u.stdout, hint, "vauban down", "end it")
		return
	}
	fmt.Fprintln(u.stdout, "\nCtrl-C ends the region.")
}

// stay waits for a signal, which ends the region, or for the server's end, which does not.
func (u *up) stay(ctx context.Context, r *region.Region, server *region.ServerProcess) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	select {
	case <-ctx.Done():
		fmt.Fprintln(u.stderr, "vauban: ending the region…")
		err := u.end(r.Dir())
		return errors.Join(err, <-ended)
	case err := <-ended:
		if !region.Alive(r.Dir()) {
			return nil // `vauban down` from elsewhere
		}
		if err == nil { // `vauban down` is half way
			return nil
		}
		return fmt.Errorf("%w. The region's namespaces, jobs and listeners stand: `vauban up` serves them again, `vauban down` ends them", err)
	}
}

// end ends the region, also after Ctrl-C has ended every other context.
func (a *app) end(dir string) error {
	err := region.Stop(context.Background(), dir)
	if errors.Is(err, region.ErrNotRunning) {
		return nil
	}
	return err
}

func newHoldCmd() *cobra.Command {
	return &cobra.Command{
		Use:    region.HoldCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return region.Hold(c.Context()) },
	}
}

func newDialCmd() *cobra.Command {
	return &cobra.Command{
		Use:    region.DialCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return region.DialOut(c.Context()) },
	}
}

func newServeCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    region.ServeCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			log := newLogger(a.stderr)
			return region.Serve(ctx, a.data, log, func(ctx context.Context, s *region.Server) error {
				return runServe(ctx, s, log)
			})
		},
	}
}
