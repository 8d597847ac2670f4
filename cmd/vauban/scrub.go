package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"vauban.dev/internal/storagehttp/payloads"
	"vauban.dev/region"
)

// methodScrub reads and verifies every payload: nothing → payloads.Scrubbed.
const methodScrub = "scrub"

func newScrubCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "scrub",
		Short: "Read all that the storage accounts keep and verify that it is what was written",
		Long: `Open every payload of every blob, version and uncommitted block, of every file, and of their snapshots, and verify the seal of each of its chunks, while
the region goes on. What is sealed with a customer-provided key is counted and cannot be verified without the key. The
exit code is 1 when something is damaged or missing.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var found payloads.Scrubbed
			if _, err := region.Call(c.Context(), dir, methodScrub, struct{}{}, &found); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%d payloads, %d bytes verified; %d with customers' keys not verified\n", found.Payloads, found.Bytes, found.Skipped)
			for _, d := range found.Damaged {
				fmt.Fprintln(a.stdout, d)
			}
			if len(found.Damaged) > 0 {
				return errors.New("some payloads are damaged or missing")
			}
			return nil
		},
	}
}

func (w *world) scrub(ctx context.Context, _ region.Request) (region.Reply, error) {
	found, err := w.blobs.Scrub(ctx)
	if err != nil {
		return region.Reply{}, err
	}
	files, err := w.files.Scrub(ctx)
	found.Add(files)
	return region.Reply{Result: found}, err
}
