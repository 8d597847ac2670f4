// Package entra is the region's Microsoft Entra ID: the tokens that it issues and their verification, the sessions
// that they hang on, the identity endpoint of IMDS, and the part of Microsoft Graph that the clients ask for. The
// objects that sign in and are shown are package entra/directory's, the login service is entra/signin.
//
// Nothing here decides what a caller may do; that is package authz.
package entra

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"vauban.dev/entra/directory"
	"vauban.dev/internal/clock"
	"vauban.dev/store"
)

const kindKey = "entra.key"

// LoginHost is the host of Azure's public cloud; tokens name it as their issuer whichever host
// a client came by.
const LoginHost = directory.LoginHost

// Directory is the tenants' objects, the keys that sign their tokens, and the sessions that tokens hang on. It is
// safe for concurrent use. Methods that take a store.Tx read and write in the caller's transaction.
type Directory struct {
	*directory.Objects
	store store.Store
	clock clock.Clock
	keys  atomic.Pointer[keySet]
	cache tokenCache
}

// New opens the directory that is kept in st; the first time it makes the home tenant and a signing key,
// and both are on disk when it returns.
func New(ctx context.Context, st store.Store, c clock.Clock, o directory.Options) (*Directory, error) {
	d := &Directory{store: st, clock: c}
	var err error
	if d.Objects, err = directory.Open(ctx, st, c, o); err != nil {
		return nil, fmt.Errorf("entra: %w", err)
	}
	if err = d.loadKeys(ctx); err != nil {
		return nil, fmt.Errorf("entra: signing keys: %w", err)
	}
	if d.keys.Load().current == nil {
		if err = d.RotateKey(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func getJSON(tx store.Tx, kind, key string, v any) error {
	doc, err := tx.Get(kind, key)
	if err != nil {
		return err
	}
	return json.Unmarshal(doc.Value, v)
}

func putJSON(tx store.Tx, kind, key string, v any, expect int64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, expect)
	return err
}
