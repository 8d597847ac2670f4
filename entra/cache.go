package entra

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
)

// cacheSize bounds each of the cache's two generations.
const cacheSize = 4096

// knownToken is a token whose signature was found good: what it says, and what was found last of those that it
// hangs on.
type knownToken struct {
	caller Caller
	stamp  stamp
	last   atomic.Pointer[finding]
}

// tokenCache remembers tokens whose signature was found good, by their hash, so that a client's next
// request with the same token costs a hash instead of an RSA verification. It has two generations:
// when the young one is full it becomes the old one, and what is used comes back to the young.
// Audience, times and standing are checked on every use; only what cannot change is kept.
type tokenCache struct {
	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]*knownToken
}

func (c *tokenCache) get(key [sha256.Size]byte) *knownToken {
	c.mu.RLock()
	v, young := c.young[key]
	if !young {
		v = c.old[key]
	}
	c.mu.RUnlock()
	if v != nil && !young {
		c.put(key, v)
	}
	return v
}

func (c *tokenCache) put(key [sha256.Size]byte, v *knownToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= cacheSize {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[[sha256.Size]byte]*knownToken)
	}
	c.young[key] = v
}

func (c *tokenCache) clear() {
	c.mu.Lock()
	c.young, c.old = nil, nil
	c.mu.Unlock()
}
