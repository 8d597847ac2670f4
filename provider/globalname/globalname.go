// Package globalname keeps the names that are unique in the whole of Azure, because they are the first
// label of a host name: storage accounts, vaults. A name is claimed in the transaction that makes its
// resource and given back in the one in which the record goes.
package globalname

import (
	"errors"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Names are the names of one kind of resource: the store's document kind, which maps a lower-case name to
// the id of its resource.
type Names string

// ErrTaken is returned by Claim for a name that another resource has.
var ErrTaken = errors.New("globalname: taken")

// Claim takes the last name of id for it; ErrTaken. Claiming one's own again is no error.
func (n Names) Claim(tx *rp.Tx, id arm.ID) error {
	name := strings.ToLower(id.Name())
	d, err := tx.Get(string(n), name)
	switch {
	case err == nil && !strings.EqualFold(string(d.Value), id.String()):
		return ErrTaken
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	_, err = tx.Put(string(n), name, []byte(id.String()), store.Any)
	return err
}

// Free reports whether nobody has the name.
func (n Names) Free(tx *rp.Tx, name string) (bool, error) {
	_, err := tx.Get(string(n), strings.ToLower(name))
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// Release gives the name of id back.
func (n Names) Release(tx *rp.Tx, id arm.ID) error {
	return tx.Delete(string(n), strings.ToLower(id.Name()), store.Any)
}

// Move gives the name to the id that its resource has been moved to.
func (n Names) Move(tx *rp.Tx, to arm.ID) error {
	_, err := tx.Put(string(n), strings.ToLower(to.Name()), []byte(to.String()), store.Any)
	return err
}

// Find returns the resource with this name; store.ErrNotFound without one, also while it is being deleted.
func Find[T any](tx *rp.Tx, n Names, name string) (*rp.Resource[T], error) {
	d, err := tx.Get(string(n), strings.ToLower(name))
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(string(d.Value))
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[T](tx, id)
	if err == nil && r.State == arm.Deleting {
		return nil, store.ErrNotFound
	}
	return r, err
}
