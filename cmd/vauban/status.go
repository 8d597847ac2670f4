package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newStatusCmd(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the region stands, and which isolation and limits hold",
		Long: `Show how the region stands, and which isolation and limits hold on this machine.

The exit status is 0 when it runs, 3 when it does not or its server was killed.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s := region.Status{State: region.Stopped, Dir: a.data}
			dir, err := region.ResolveDir(a.data)
			switch {
			case err == nil:
				s, err = region.Inspect(c.Context(), dir)
			case errors.Is(err, fs.ErrNotExist):
				err = nil
			}
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(s)
			} else {
				printStatus(a.stdout, s, time.Now())
			}
			if err == nil && s.State != region.Running {
				err = &exitError{region.Exit{Code: codeNotRunning}}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func printStatus(w io.Writer, s region.Status, now time.Time) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("data", "%s", s.Dir)
	switch s.State {
	case region.Stopped:
		row("state", "stopped; `vauban up -d` starts it")
		return
	case region.Held:
		row("state", "held: the server is away, namespaces, jobs and listeners (%d) stand; `vauban up -d` serves them again", s.Kept)
		row("holder", "process %d", s.Holder)
		return
	}
	row("state", "running for %s", now.Sub(s.Started).Round(time.Second))
	row("processes", "server %d, holder %d", s.Server, s.Holder)
	row("loopback", "%s", s.Loopback)
	row("listeners", "%d kept", s.Kept)
	row("isolation", "%s", isolationText(s.Isolation))
	row("limits", "%s", limitsText(s.Limits))
	row("runtime", "%s", runtimeText(s.Runtime))
	if s.Clock.Offset > 0 {
		row("clock", "%s (%s ahead)", s.Clock.Now.Format(time.RFC3339), s.Clock.Offset)
	}
	row("objects", "%s", objectsText(s.ObjectOnly))
	for _, warning := range s.Warnings {
		row("warning", "%s", warning)
	}
}

// objectsText counts the types without a service.
func objectsText(types []string) string {
	namespaces := map[string]bool{}
	for _, t := range types {
		namespace, _, _ := strings.Cut(t, "/")
		namespaces[namespace] = true
	}
	return fmt.Sprintf("%d types of %d namespaces without their service: stored and deployed, their actions answer NotImplemented; --json names them", len(types), len(namespaces))
}

func isolationText(i region.Isolation) string {
	if i.Mode == "root" {
		return "root, in a user namespace of the region's own"
	}
	if i.SubIDs == 0 {
		return fmt.Sprintf("rootless as user %d, without subordinate ids", i.UID)
	}
	return fmt.Sprintf("rootless as user %d, with %d subordinate ids for containers", i.UID, i.SubIDs)
}

func limitsText(l region.Limits) string {
	var have []string
	for _, one := range []struct {
		name string
		ok   bool
	}{{"memory", l.Memory}, {"cpu", l.CPU}, {"processes", l.Pids}} {
		if one.ok {
			have = append(have, one.name)
		}
	}
	if len(have) == 0 {
		return l.How
	}
	return strings.Join(have, ", ") + " of nodes, by " + l.How
}

func runtimeText(r region.Runtime) string {
	if r.Name == "" {
		return "none"
	}
	return r.Name + " (" + r.Path + ")"
}
