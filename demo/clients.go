// Package demo is the scenario of `vauban demo`: its scripts, which are real clients and nothing else, the
// names of what they make, and the account of a run.
package demo

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed clients/*.py clients/job/*.py
var clients embed.FS

// WriteClients writes the scripts below dir, for Python to run.
func WriteClients(dir string) error {
	files, err := fs.Sub(clients, "clients")
	if err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
}
