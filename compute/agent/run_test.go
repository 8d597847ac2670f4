package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// A poll that crosses the last report says that the task is lost: nothing is written any more into the
// directory that is being removed, or its removal would fail.
func TestStopWhileTracesAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "task")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &run{dir: dir, j: &journal{Phase: phaseDeliver}, stopped: make(chan struct{}), log: slog.New(slog.DiscardHandler), gone: true}
	r.stop(stopLost, 0)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("written: %v, %v", left, err)
	}
}
