package entra

import (
	"encoding/json"
	"errors"
	"time"

	"vauban.dev/store"
)

const (
	kindSession = "entra.session" // key: id
	kindFamily  = "entra.family"  // key: id
)

// ErrNoSession is returned for a session or a family that there is not, or no more.
var ErrNoSession = errors.New("entra: no such session")

// Session is a user's sign-in in one browser. What was proved in it holds for the applications that he opens
// there, until it ends.
type Session struct {
	ID        string    `json:"id"` // the sid claim
	UserID    string    `json:"userId"`
	Secret    []byte    `json:"secret"`    // SHA-256 of what the cookie says
	ValidFrom time.Time `json:"validFrom"` // the user's SessionsValidFrom when it began: when that moves, the session is over
	AMR       []string  `json:"amr"`       // how the user proved who he is: pwd, otp, fido, mfa
	SignedIn  time.Time `json:"signedIn"`
	Factor    time.Time `json:"factor,omitzero"` // when the second factor was proved
	Expires   time.Time `json:"expires"`
}

// Family is what a client has been given for a user: one authorization, the refresh tokens that follow each
// other, and every access token of theirs. It ends as one.
type Family struct {
	ID          string    `json:"id"`
	UserID      string    `json:"userId"`   // as the tenant knows him
	Account     string    `json:"account"`  // who proved his password: the same, or a partner's user
	TenantID    string    `json:"tenantId"` // that the tokens are of
	Session     string    `json:"session,omitempty"`
	Parent      string    `json:"parent,omitempty"` // on behalf of whose token it began
	ClientID    string    `json:"clientId"`
	Scopes      []string  `json:"scopes"`     // of the first resource, as they were granted
	Generation  int       `json:"generation"` // of the refresh token that holds now; 0: none was given yet
	ValidFrom   time.Time `json:"validFrom"`  // the user's SessionsValidFrom when it began
	AccountFrom time.Time `json:"accountFrom"`
	AMR         []string  `json:"amr"`
	SignedIn    time.Time `json:"signedIn"`
	Factor      time.Time `json:"factor,omitzero"`
	Issued      time.Time `json:"issued,omitzero"` // of the refresh token that holds now
	Expires     time.Time `json:"expires"`         // moves with every use
}

// Session returns the session with this id; ErrNoSession.
func (d *Directory) Session(tx store.Tx, id string) (s Session, err error) {
	err = noSession(getJSON(tx, kindSession, id, &s))
	return s, err
}

// PutSession keeps a session.
func (d *Directory) PutSession(tx store.Tx, s Session) error {
	return putJSON(tx, kindSession, s.ID, s, store.Any)
}

// Family returns the family with this id; ErrNoSession.
func (d *Directory) Family(tx store.Tx, id string) (f Family, err error) {
	err = noSession(getJSON(tx, kindFamily, id, &f))
	return f, err
}

// PutFamily keeps a family.
func (d *Directory) PutFamily(tx store.Tx, f Family) error {
	return putJSON(tx, kindFamily, f.ID, f, store.Any)
}

// EndFamily ends a family and those that began on its behalf: their refresh tokens and access tokens are void at
// once.
func (d *Directory) EndFamily(tx store.Tx, id string) error {
	ended := map[string]bool{id: true}
	for n := 0; n != len(ended); { // children of children too
		n = len(ended)
		err := read(tx, kindFamily, func(f Family) {
			if ended[f.Parent] {
				ended[f.ID] = true
			}
		})
		if err != nil {
			return err
		}
	}
	var err error
	for f := range ended {
		err = errors.Join(err, drop(tx, kindFamily, f))
	}
	return err
}

// EndSession ends a session and every family that began in it.
func (d *Directory) EndSession(tx store.Tx, id string) error {
	err := drop(tx, kindSession, id)
	return errors.Join(err, d.endFamilies(tx, func(f Family) bool { return f.Session == id }))
}

// SweepSessions forgets the sessions and families whose time is over.
func (d *Directory) SweepSessions(tx store.Tx, now time.Time) error {
	var over []string
	var bad error
	err := tx.Scan(kindSession, "", "", func(doc store.Doc) bool {
		var s Session
		if bad = json.Unmarshal(doc.Value, &s); bad == nil && !now.Before(s.Expires) {
			over = append(over, doc.Key)
		}
		return bad == nil
	})
	err = errors.Join(err, bad)
	for _, id := range over {
		err = errors.Join(err, drop(tx, kindSession, id))
	}
	return errors.Join(err, d.endFamilies(tx, func(f Family) bool { return !now.Before(f.Expires) }))
}

func (d *Directory) endFamilies(tx store.Tx, which func(Family) bool) error {
	var over []string
	var bad error
	err := tx.Scan(kindFamily, "", "", func(doc store.Doc) bool {
		var f Family
		if bad = json.Unmarshal(doc.Value, &f); bad == nil && which(f) {
			over = append(over, doc.Key)
		}
		return bad == nil
	})
	err = errors.Join(err, bad)
	for _, id := range over {
		err = errors.Join(err, drop(tx, kindFamily, id))
	}
	return err
}

func drop(tx store.Tx, kind, key string) error {
	if err := tx.Delete(kind, key, store.Any); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

func noSession(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoSession
	}
	return err
}
