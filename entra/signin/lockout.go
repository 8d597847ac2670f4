package signin

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"vauban.dev/entra/password"
	"vauban.dev/store"
)

const kindLockout = "entra.lockout" // key: object id of the user

// Smart lock-out as in Entra ("Protect user accounts from attacks with Microsoft Entra smart lockout"): ten wrong
// passwords lock an account for a minute, further ones for longer; the same wrong password again does not count;
// places from which the user has signed in have a counter of their own, so that a stranger cannot lock him out.
const (
	lockThreshold = 10
	lockFirst     = time.Minute
	lockLongest   = time.Hour
	lockForget    = 24 * time.Hour // without a wrong password, the counters begin anew
	maxFamiliar   = 16             // addresses that are remembered of a user
	maxGuesses    = 3              // wrong passwords that are remembered
)

// guesses counts wrong proofs of one user, from one kind of place.
type guesses struct {
	Failures int       `json:"failures"`
	Locks    int       `json:"locks"`
	Until    time.Time `json:"until,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Wrong    [][]byte  `json:"wrong,omitempty"` // keyed hashes of the last ones
}

// lockout is the document of one user.
type lockout struct {
	Familiar []string `json:"familiar,omitempty"` // addresses from which he signed in, the latest last
	Known    guesses  `json:"known"`
	Unknown  guesses  `json:"unknown"`
}

func (l *lockout) from(address netip.Addr) *guesses {
	if slices.Contains(l.Familiar, address.String()) {
		return &l.Known
	}
	return &l.Unknown
}

// fail counts a wrong proof, and reports whether it locked the account; guess is its keyed hash.
func (g *guesses) fail(guess []byte, now time.Time) (locks bool) {
	if now.Sub(g.Last) > lockForget {
		*g = guesses{}
	}
	g.Last = now
	for _, w := range g.Wrong {
		if string(w) == string(guess) {
			return false // a program that has an old password, not somebody who guesses
		}
	}
	g.Wrong = append(g.Wrong, guess)
	if len(g.Wrong) > maxGuesses {
		g.Wrong = g.Wrong[1:]
	}
	if g.Failures++; g.Failures < lockThreshold {
		return false
	}
	g.Until = now.Add(min(lockFirst<<min(g.Locks, 10), lockLongest))
	g.Locks++
	g.Failures = lockThreshold - 1 // the next wrong one locks again
	return true
}

// LockOut is what wrong proofs led to: nobody signs in as the user from such places until a time.
type LockOut struct {
	UserID  string
	Address netip.Addr // of the last wrong proof
	Until   time.Time
}

// TryPassword compares a user's password as a sign-in does: by the same limits and counters. locked is true when it was not
// compared: the user is locked out, or the address tries too often.
func (s *Service) TryPassword(ctx context.Context, userID, hash, secret string, address netip.Addr) (ok, locked bool, err error) {
	if !s.tries.allow(address) {
		return false, true, nil
	}
	if locked, err = s.locked(ctx, userID, address); err != nil || locked {
		return false, locked, err
	}
	if ok, err = password.Verify(ctx, hash, secret); err != nil || ok {
		return ok, false, err
	}
	return false, false, s.failed(ctx, userID, address, secret)
}

// locked reports whether the user is locked out at this address now.
func (s *Service) locked(ctx context.Context, userID string, address netip.Addr) (locked bool, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		l, err := readLockout(tx, userID)
		locked = s.clock.Now().Before(l.from(address).Until)
		return err
	})
	return locked, err
}

// failed counts a wrong password or a wrong second factor.
func (s *Service) failed(ctx context.Context, userID string, address netip.Addr, proof string) error {
	guess := mac(s.keys.guesses, userID+"\x00"+proof)[:16]
	var out *LockOut
	err := s.changeLockout(ctx, userID, func(l *lockout) {
		out = nil
		if g := l.from(address); g.fail(guess, s.clock.Now()) {
			out = &LockOut{UserID: userID, Address: address, Until: g.Until}
		}
	})
	if err != nil || out == nil || s.lockedOut == nil {
		return err
	}
	return s.lockedOut(ctx, *out)
}

// succeeded begins the counters anew, and remembers the place.
func (s *Service) succeeded(ctx context.Context, userID string, address netip.Addr) error {
	return s.changeLockout(ctx, userID, func(l *lockout) {
		*l.from(address) = guesses{}
		a := address.String()
		l.Familiar = append(slices.DeleteFunc(l.Familiar, func(x string) bool { return x == a }), a)
		if len(l.Familiar) > maxFamiliar {
			l.Familiar = l.Familiar[1:]
		}
	})
}

func (s *Service) changeLockout(ctx context.Context, userID string, change func(*lockout)) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		l, err := readLockout(tx, userID)
		if err != nil {
			return err
		}
		change(&l)
		b, err := json.Marshal(l)
		if err != nil {
			return err
		}
		_, err = tx.Put(kindLockout, userID, b, store.Any)
		return err
	})
}

func readLockout(tx store.Tx, userID string) (l lockout, err error) {
	doc, err := tx.Get(kindLockout, userID)
	if errors.Is(err, store.ErrNotFound) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(doc.Value, &l)
}

// limits bounds how often one address may try. They are kept in memory: a restart forgives.
type limits struct {
	mu      sync.Mutex
	buckets map[netip.Prefix]*rate.Limiter
	every   time.Duration
	burst   int
}

// maxBuckets bounds the addresses that are remembered; beyond it all are forgotten.
const maxBuckets = 10000

func newLimits(every time.Duration, burst int) *limits {
	return &limits{buckets: map[netip.Prefix]*rate.Limiter{}, every: every, burst: burst}
}

// allow takes one try of the address, an IPv6 network of 64 bits counting as one.
func (l *limits) allow(address netip.Addr) bool {
	bits := 32
	if address = address.Unmap(); address.Is6() {
		bits = 64
	}
	key, err := address.Prefix(bits)
	if err != nil {
		key = netip.Prefix{} // of unknown origin: all share one
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets)
		}
		b = rate.NewLimiter(rate.Every(l.every), l.burst)
		l.buckets[key] = b
	}
	return b.Allow()
}
