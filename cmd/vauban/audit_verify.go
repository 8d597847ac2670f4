package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/activity"
	"vauban.dev/region"
	"vauban.dev/seal"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

func (a *app) auditVerify() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "verify",
		Short: "Whether the activity log is whole: nothing changed, removed, moved or cut off",
		Long: `Read the whole activity log and check its chain: each entry is bound to the one before it under a key of the region
(activity.key), and the newest is sealed and witnessed beside the store (activity.witness). The region may run or not; its
data are read only.

The exit status is 0 when the log is whole and 1 when it is not; each problem is a line that says where. Write the hash of
the newest entry down elsewhere: who holds the whole data directory, keys included, can make another log.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			r, err := verifyActivity(c.Context(), dir)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(r)
			} else {
				err = a.printVerified(r)
			}
			if err == nil && len(r.Problems) > 0 {
				return &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// verifyActivity verifies the log in a data directory. The witness is read first: what it has seen is in any later snapshot.
func verifyActivity(ctx context.Context, dir string) (r activity.Report, err error) {
	key, err := seal.ReadKeyFile(filepath.Join(dir, activityKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("%s holds no activity log: there is no %s", dir, activityKeyFile)
	}
	if err != nil {
		return r, err
	}
	witness, err := readWitness(dir)
	if err != nil {
		return r, err
	}
	db, err := sqlite.OpenReader(filepath.Join(dir, "state.db"))
	if err != nil {
		return r, err
	}
	defer db.Close()
	err = db.View(ctx, func(tx store.Tx) (err error) {
		r, err = activity.NewLog(key).Verify(tx, witness)
		return err
	})
	if witness == nil && r.Entries > 0 {
		r.Problems = append(r.Problems, activity.Problem{What: "there is no witness of the log (" + activityWitnessFile + ")"})
	}
	return r, err
}

func (a *app) printVerified(r activity.Report) (err error) {
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, format+"\n", args...)
		}
	}
	for _, p := range r.Problems {
		line("%s", p)
	}
	state := "whole"
	if n := len(r.Problems); n > 0 {
		state = fmt.Sprintf("NOT whole: %d problems", n)
	}
	line("the activity log is %s; %d entries, %d to %d, %d older ones trimmed", state, r.Entries, r.First, r.Last, r.Trimmed)
	if r.Head != "" {
		line("newest entry: %s, hash %s", r.Time.UTC().Format(time.RFC3339), r.Head)
	}
	return err
}
