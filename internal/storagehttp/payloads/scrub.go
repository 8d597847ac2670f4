package payloads

import (
	"errors"
	"fmt"
	"io/fs"

	"vauban.dev/seal"
	"vauban.dev/store"
)

// Scrubbed is what a service has found out by opening its payloads.
type Scrubbed struct {
	Payloads int64    `json:"payloads"` // opened whole, every chunk's tag verified
	Bytes    int64    `json:"bytes"`    // of plaintext
	Skipped  int64    `json:"skipped"`  // sealed with customers' keys, which are not kept
	Damaged  []string `json:"damaged"`  // account/reference: what is wrong
}

// maxDamaged is how many damaged payloads a scrub names.
const maxDamaged = 1000

// Damage notes a payload that did not open.
func (s *Scrubbed) Damage(account, ref string, err error) {
	if len(s.Damaged) < maxDamaged {
		s.Damaged = append(s.Damaged, account+"/"+ref+": "+reason(err))
	}
}

// Add puts together what two services have found.
func (s *Scrubbed) Add(o Scrubbed) {
	s.Payloads, s.Bytes, s.Skipped, s.Damaged = s.Payloads+o.Payloads, s.Bytes+o.Bytes, s.Skipped+o.Skipped, append(s.Damaged, o.Damaged...)
}

func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrNotFound):
		return "it is missing"
	case errors.Is(err, seal.ErrDamaged):
		return "it is damaged"
	}
	return fmt.Sprintf("it cannot be read: %v", err)
}
