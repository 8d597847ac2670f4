package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vauban.dev/compute"
	"vauban.dev/compute/batch"
)

// phase is the next thing to do for a task; each is safe to do again after a crash in it.
type phase string

const (
	phasePrepare  phase = "prepare"  // directories and downloads; begins anew
	phaseStart    phase = "start"    // the container may have been started
	phaseWait     phase = "wait"     // it was
	phaseFinalize phase = "finalize" // it has ended, or the task failed before: outputs and logs
	phaseDeliver  phase = "deliver"  // the last report waits to be acknowledged
)

// stopReason is why a task was ended before its time.
type stopReason string

const (
	stopCancel  stopReason = "cancel"
	stopTimeout stopReason = "timeout"
	stopPreempt stopReason = "preempt"
	stopNode    stopReason = "stop"
	stopLost    stopReason = "lost" // the task is another node's now: nothing is reported or uploaded
)

// journal is what the agent knows of a task, on disk.
type journal struct {
	Assignment batch.Assignment `json:"assignment"`
	Phase      phase            `json:"phase"`
	Started    time.Time        `json:"started,omitzero"` // of the command
	Stop       stopReason       `json:"stop,omitempty"`
	Exit       *int             `json:"exit,omitempty"`
	Failure    *compute.Failure `json:"failure,omitempty"`
	Seq        int              `json:"seq"`
	Pending    []compute.Report `json:"pending,omitempty"` // not acknowledged, oldest first
}

const journalName = "journal.json"

// save writes the journal so that a crash leaves the old or the new one; durable: so that a power cut
// does as well.
func (j *journal) save(dir string, durable bool) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, journalName+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if durable {
		err = errors.Join(err, f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, journalName)); err != nil || !durable {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// loadJournals reads all tasks of the node; a directory without a journal was never accepted and is removed.
func loadJournals(tasks string) ([]*journal, error) {
	es, err := os.ReadDir(tasks)
	if err != nil {
		return nil, err
	}
	var out []*journal
	for _, e := range es {
		dir := filepath.Join(tasks, e.Name())
		b, err := os.ReadFile(filepath.Join(dir, journalName))
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.RemoveAll(dir); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		j := &journal{}
		if err := json.Unmarshal(b, j); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		out = append(out, j)
	}
	return out, nil
}
