package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vauban.dev/fabric/servicetags"
	"vauban.dev/region"
)

// tagsFile is the list of service tags that a region was given; without it, the program's own is in force. An
// update waits beside it, under newTags, until the region has taken it.
func tagsFile(dir string) string { return filepath.Join(dir, "service-tags.json") }

func newTagsFile(dir string) string { return tagsFile(dir) + ".new" }

// loadTags reads the list in force in a data directory.
func loadTags(dir string) (*servicetags.Tags, error) {
	tags, err := readTags(tagsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return servicetags.Load()
	}
	return tags, err
}

func readTags(file string) (*servicetags.Tags, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tags, err := servicetags.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return tags, nil
}

func newTagsCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "tags",
		Short: "Show and update the list of service tags",
		Long: `Show and update the list of service tags: which addresses each Azure service has, in each region. Microsoft
publishes a new one every week: "Azure IP Ranges and Service Tags - Public Cloud".`,
	}
	c.AddCommand(newTagsShowCmd(a), newTagsUpdateCmd(a))
	return c
}

func newTagsShowCmd(a *app) *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "show [TAG]",
		Short: "Show a tag's prefixes, or which list is in force",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			tags, err := loadTags(dir)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				list := tags.List()
				_, err := fmt.Fprintf(a.stdout, "change number %s, cloud %s, %d tags\n", list.ChangeNumber, list.Cloud, len(list.Values))
				return err
			}
			e, ok := tags.Entry(args[0])
			if !ok {
				return fmt.Errorf("there is no service tag %q", args[0])
			}
			return showTag(a.stdout, e, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func showTag(w io.Writer, e servicetags.Entry, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(e)
	}
	for _, p := range e.Properties.AddressPrefixes {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	return nil
}

func newTagsUpdateCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "update FILE",
		Short: "Put another list in force, in the running region and for good",
		Long: `Put another list in force, in the running region and for good: Microsoft's weekly file, or the answer of
az network list-service-tags. Rules that name tags have the new addresses at once; connections that stand go on.
A list that lacks a tag which a rule names is refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			if _, err := readTags(args[0]); err != nil {
				return err
			}
			if err := copyFile(args[0], newTagsFile(dir)); err != nil {
				return err
			}
			defer os.Remove(newTagsFile(dir)) // the region has taken it, or refused it
			var done tagsUpdated
			if _, err := region.Call(c.Context(), dir, methodTags, nil, &done); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "change number %s is in force, after %s: %d tags, %d came, %d went\n", done.Now, done.Before, done.Tags, done.Came, done.Went)
			return err
		},
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
