package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newDownCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the region: server, jobs, namespaces; the data stay",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := region.ResolveDir(a.data)
			if errors.Is(err, fs.ErrNotExist) {
				err = region.ErrNotRunning
			}
			if err == nil {
				err = region.Stop(c.Context(), dir)
			}
			if errors.Is(err, region.ErrNotRunning) {
				fmt.Fprintln(a.stdout, "The region was not running.")
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, "The region is down. Its data are in "+dir+".")
			return nil
		},
	}
}
