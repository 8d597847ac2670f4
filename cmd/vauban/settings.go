package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"vauban.dev/provider/resources"
)

// settings are what a region was given at its first start and keeps: `up` writes them, the server reads them.
type settings struct {
	Location string `json:"location"` // the Azure region that it plays
	// RoleDelay is how much later changes of roles count, in nanoseconds.
	RoleDelay time.Duration `json:"roleDelay,omitempty"`
	// KeyDelay is how much later a customer-managed key that may no longer be used closes what it protects, in nanoseconds.
	KeyDelay time.Duration `json:"keyDelay,omitempty"`
	// PasswordGrant lets clients sign users in by their passwords (ROPC).
	PasswordGrant bool              `json:"passwordGrant,omitempty"`
	Images        map[string]string `json:"images,omitempty"` // environments for jobs: reference → directory
	Store         string            `json:"store,omitempty"`  // connection string of a PostgreSQL database, without password
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

// change takes the flags of `up`: images are added, location and store can be chosen for a new region only.
func (s *settings) change(dir, location, database string, images []string) error {
	added, err := parseImages(images)
	if err != nil {
		return err
	}
	old := slices.ContainsFunc([]string{stateFile, homeFile}, func(name string) bool { // it has been started before
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
	if s.Images == nil {
		s.Images = map[string]string{}
	}
	for ref, path := range added {
		s.Images[ref] = path
	}
	if location != "" && location != s.Location {
		if old {
			return fmt.Errorf("--location %s: this region is in %s; use another --data directory", location, s.Location)
		}
		s.Location = strings.ToLower(strings.ReplaceAll(location, " ", ""))
		if !slices.ContainsFunc(resources.AzureLocations(), func(l resources.Location) bool { return l.Name == s.Location }) {
			return fmt.Errorf("--location %s: Azure has no such region; write its name as westeurope or northeurope", location)
		}
	}
	if database != "" && database != s.Store {
		if old {
			return errors.New("--store: the state of this region is elsewhere, and moving it is not implemented; use another --data directory")
		}
		if err := checkDatabase(database); err != nil {
			return err
		}
		s.Store = database
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

// checkDatabase refuses what is no PostgreSQL database, and a password: command lines and region.json are no place for one.
func checkDatabase(connection string) error {
	if u, err := url.Parse(connection); strings.Contains(connection, "password") || (err == nil && hasPassword(u)) {
		return errors.New("--store: everybody on this machine can read a command line: put the password into PGPASSWORD or a PGPASSFILE")
	}
	if _, err := pgconn.ParseConfig(connection); err != nil {
		return fmt.Errorf("--store: write postgres://USER@HOST:PORT/DATABASE or postgres:///DATABASE?host=/DIRECTORY/OF/SOCKET: %w", err)
	}
	return nil
}

// databaseAddresses are the TCP addresses of the database; none where it has a socket, or there is none.
func (s settings) databaseAddresses() (list []string, err error) {
	if s.Store == "" {
		return nil, nil
	}
	c, err := pgconn.ParseConfig(s.Store)
	if err != nil {
		return nil, fmt.Errorf("region.json: store: %w", err)
	}
	add := func(host string, port uint16) {
		if a := net.JoinHostPort(host, strconv.Itoa(int(port))); !filepath.IsAbs(host) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return list, nil
}

func hasPassword(u *url.URL) bool {
	_, ok := u.User.Password()
	return ok
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
