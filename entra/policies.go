package entra

import (
	"encoding/json"
	"errors"
	"strings"

	"vauban.dev/entra/conditionalaccess"
	"vauban.dev/store"
)

const (
	kindPolicy   = "entra.policy"   // conditional access policies; key: id
	kindLocation = "entra.location" // named locations; key: id
)

// ConditionalAccess returns the policies in the order of their ids, and the named locations by id.
func (d *Directory) ConditionalAccess(tx store.Tx) (policies []conditionalaccess.Policy, locations map[string]conditionalaccess.Location, err error) {
	if err = read(tx, kindPolicy, func(p conditionalaccess.Policy) { policies = append(policies, p) }); err != nil {
		return nil, nil, err
	}
	locations = map[string]conditionalaccess.Location{}
	err = read(tx, kindLocation, func(l conditionalaccess.Location) { locations[l.ID] = l })
	return policies, locations, err
}

// PutPolicy keeps a policy.
func (d *Directory) PutPolicy(tx store.Tx, p conditionalaccess.Policy) error {
	return putJSON(tx, kindPolicy, strings.ToLower(p.ID), p, store.Any)
}

// RemovePolicy takes a policy away; store.ErrNotFound.
func (d *Directory) RemovePolicy(tx store.Tx, id string) error {
	return tx.Delete(kindPolicy, strings.ToLower(id), store.Any)
}

// PutLocation keeps a named location.
func (d *Directory) PutLocation(tx store.Tx, l conditionalaccess.Location) error {
	return putJSON(tx, kindLocation, strings.ToLower(l.ID), l, store.Any)
}

// RemoveLocation takes a named location away; store.ErrNotFound.
func (d *Directory) RemoveLocation(tx store.Tx, id string) error {
	return tx.Delete(kindLocation, strings.ToLower(id), store.Any)
}

func read[T any](tx store.Tx, kind string, take func(T)) error {
	var bad error
	err := tx.Scan(kind, "", "", func(doc store.Doc) bool {
		var v T
		if bad = json.Unmarshal(doc.Value, &v); bad == nil {
			take(v)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}
