package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vauban.dev/provider/resources"
)

// settings are what a region was given at its first start and keeps: `up` writes them, the server reads them.
type settings struct {
	Location string            `json:"location"`         // the Azure region that it plays
	Images   map[string]string `json:"images,omitempty"` // environments for jobs: reference → directory
}

func settingsFile(dir string) string { return filepath.Join(dir, "region.json") }

func readSettings(dir string) (settings, error) {
	s := settings{Location: "westeurope"}
	b, err := os.ReadFile(settingsFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", settingsFile(dir), err)
	}
	return s, nil
}

// change takes the flags of `up`: images are added, a location can be chosen for a new region only.
func (s *settings) change(dir, location string, images []string) error {
	added, err := parseImages(images)
	if err != nil {
		return err
	}
	if s.Images == nil {
		s.Images = map[string]string{}
	}
	for ref, path := range added {
		s.Images[ref] = path
	}
	if location != "" && location != s.Location {
		if _, err := os.Stat(filepath.Join(dir, "state.db")); err == nil {
			return fmt.Errorf("--location %s: this region is in %s; use another --data directory", location, s.Location)
		}
		s.Location = strings.ToLower(strings.ReplaceAll(location, " ", ""))
		if !slices.ContainsFunc(resources.AzureLocations(), func(l resources.Location) bool { return l.Name == s.Location }) {
			return fmt.Errorf("--location %s: Azure has no such region; write its name as westeurope or northeurope", location)
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := settingsFile(dir) + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, settingsFile(dir))
}

// parseImages reads the --image flags, REFERENCE=DIRECTORY.
func parseImages(flags []string) (map[string]string, error) {
	images := map[string]string{}
	for _, f := range flags {
		ref, dir, ok := strings.Cut(f, "=")
		if !ok || ref == "" || !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("--image %q: write REFERENCE=/absolute/directory", f)
		}
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("--image %s: %w", ref, err)
		}
		images[ref] = dir
	}
	return images, nil
}
