package servicetags

import (
	"net/netip"
	"sync/atomic"
)

// Live is the list in force. It may be replaced while many read it; who needs one answer to stay the same for
// a while keeps Now.
type Live struct{ now atomic.Pointer[Tags] }

// NewLive makes t the list in force.
func NewLive(t *Tags) *Live {
	l := &Live{}
	l.now.Store(t)
	return l
}

// Now is the list in force.
func (l *Live) Now() *Tags { return l.now.Load() }

// Replace makes t the list in force.
func (l *Live) Replace(t *Tags) { l.now.Store(t) }

// Prefixes are those of the list in force.
func (l *Live) Prefixes(name string) ([]netip.Prefix, bool) { return l.Now().Prefixes(name) }
