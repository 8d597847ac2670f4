// Package directory keeps the objects of the region's Microsoft Entra tenants: users, groups, applications,
// service principals, directory roles, and what binds them. It issues no tokens and serves no requests:
// package entra signs in by it, package entra/graph shows and changes it.
//
// Methods that take a store.Tx read and write in the caller's transaction. Object ids are GUIDs; they are
// compared without case, and a string that is none names nothing.
package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/internal/clock"
	"vauban.dev/store"
)

// The kinds of documents.
const (
	kindTenant      = "entra.tenant"      // key: "default" for the home tenant, else the tenant's id
	kindUser        = "entra.user"        // key: object id
	kindGroup       = "entra.group"       // key: object id
	kindApplication = "entra.application" // key: object id
	kindPrincipal   = "entra.principal"   // service principals; key: object id
	kindByApp       = "entra.byapp"       // key: client id, behind "tenant/" for partners; value: object id of the service principal
	kindByOwner     = "entra.byowner"     // key: resource id in lower case; value: object id of the managed identity
	kindName        = "entra.name"        // names that are unique; key: what/name; value: object id
	kindMember      = "entra.member"      // key: container/member; value: type of the member
	kindMemberOf    = "entra.memberof"    // key: member/container, of members that are no groups; value: type of the container
	kindNested      = "entra.nested"      // key: group/container; value: type of the container
	kindOwner       = "entra.owner"       // key: object/owner; value: type of the owner
	kindOwned       = "entra.owned"       // key: owner/object; value: type of the object
	kindRole        = "entra.role"        // activated directory roles; key: object id
	kindAppRole     = "entra.approle"     // app role assignments; key: id
	kindGrant       = "entra.grant"       // delegated permission grants; key: id
	kindDeleted     = "entra.deleted"     // soft-deleted objects; key: object id
)

// Type is the type of a directory object, in Microsoft Graph's words.
type Type string

const (
	TypeUser             Type = "user"
	TypeGroup            Type = "group"
	TypeApplication      Type = "application"
	TypeServicePrincipal Type = "servicePrincipal"
	TypeRole             Type = "directoryRole"
)

var (
	// ErrNotFound is returned for an id or a name that no object of the wanted type has.
	ErrNotFound = errors.New("directory: no such object")
	// ErrNoPrincipal is ErrNotFound for service principals.
	ErrNoPrincipal = fmt.Errorf("%w: no such service principal", ErrNotFound)
)

// Conflict is returned when a value that must be unique, such as a user principal name, is taken.
type Conflict struct{ Property, Value string }

func (e *Conflict) Error() string {
	return fmt.Sprintf("directory: another object has the value %q for property %s", e.Value, e.Property)
}

// Invalid is returned for a value that a property cannot have.
type Invalid struct{ Property, Rule string }

func (e *Invalid) Error() string { return "directory: property " + e.Property + ": " + e.Rule }

// Objects is the directory. It is safe for concurrent use.
type Objects struct {
	store store.Store
	clock clock.Clock
	home  Tenant

	upgraded  bool
	nesting   *store.Memo[map[string][]edge]
	standings *store.Memo[Standing]
}

// Open opens the directory that is kept in st; the first time it makes the home tenant, which is on disk
// when it returns.
func Open(ctx context.Context, st store.Store, c clock.Clock, o Options) (*Objects, error) {
	d := &Objects{store: st, clock: c}
	d.nesting = store.NewMemo(st, d.readNesting)
	d.standings = store.NewMemo(st, d.readStanding)
	var err error
	if d.home, err = d.ensureHome(ctx, o); err != nil {
		return nil, fmt.Errorf("directory: tenant: %w", err)
	}
	err = st.Update(ctx, func(tx store.Tx) (err error) {
		d.upgraded, err = d.upgrade(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("directory: what an earlier version left: %w", err)
	}
	return d, nil
}

// Upgraded says whether Open found principals of an earlier version and changed them.
func (o *Objects) Upgraded() bool { return o.upgraded }

func newID() string { return uuid.NewString() }

// guid is the form of an id in keys, "" for what is no GUID.
func guid(id string) string {
	if len(id) != 36 {
		return ""
	}
	u, err := uuid.Parse(id)
	if err != nil {
		return ""
	}
	return u.String()
}

func getJSON(tx store.Tx, kind, key string, v any) error {
	doc, err := tx.Get(kind, key)
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotFound
	}
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

// get reads the object with this id; ErrNotFound.
func get[T any](tx store.Tx, kind, id string) (v T, err error) {
	key := guid(id)
	if key == "" {
		return v, ErrNotFound
	}
	err = getJSON(tx, kind, key, &v)
	return v, err
}

// scan yields the objects of a kind after an id, in order of their ids, until yield returns false.
func scan[T any](tx store.Tx, kind, after string, yield func(T) bool) error {
	var bad error
	err := tx.Scan(kind, "", after, func(doc store.Doc) bool {
		var v T
		if bad = json.Unmarshal(doc.Value, &v); bad != nil {
			return false
		}
		return yield(v)
	})
	return errors.Join(err, bad)
}

// claim makes name unique: it belongs to the object from now on; *Conflict when another has it.
func claim(tx store.Tx, what, name, id, property string) error {
	_, err := tx.Put(kindName, what+"/"+fold(name), []byte(id), store.None)
	if errors.Is(err, store.ErrConflict) {
		return &Conflict{Property: property, Value: name}
	}
	return err
}

func release(tx store.Tx, what, name string) error {
	err := tx.Delete(kindName, what+"/"+fold(name), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// named is the id of the object that has a unique name; ErrNotFound.
func named(tx store.Tx, what, name string) (string, error) {
	doc, err := tx.Get(kindName, what+"/"+fold(name))
	if errors.Is(err, store.ErrNotFound) {
		return "", ErrNotFound
	}
	return string(doc.Value), err
}

// fold is the form in which names are compared: only ASCII letters are equal in both cases, so that no
// letter of another script stands for one of them.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
