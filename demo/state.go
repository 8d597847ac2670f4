package demo

import (
	"encoding/json"
	"os"
	"path/filepath"

	"vauban.dev/reach"
)

// State is kept in a demo's data directory: it marks the directory as a demo's, and lets `vauban reach`
// measure again.
type State struct {
	Facts map[reach.Mode]reach.Facts `json:"facts"`
}

func stateFile(dir string) string { return filepath.Join(dir, "demo.json") }

// ReadState fails with fs.ErrNotExist where no demo has been.
func ReadState(dir string) (State, error) {
	var s State
	b, err := os.ReadFile(stateFile(dir))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// Write keeps s in dir.
func (s State) Write(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := stateFile(dir) + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, stateFile(dir))
}
