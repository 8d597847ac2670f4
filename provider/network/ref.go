package network

import (
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Ref is a reference to another resource.
type Ref struct {
	ID string `json:"id"`
}

// is reports whether the reference names id.
func (r *Ref) is(id arm.ID) bool {
	return r != nil && strings.EqualFold(strings.TrimSuffix(r.ID, "/"), id.String())
}

// sameRef reports whether two references, or the absence of both, say the same.
func sameRef(a, b *Ref) bool {
	if a == nil || b == nil {
		return a == b
	}
	return strings.EqualFold(a.ID, b.ID)
}

// isText is is for an id as text.
func (r *Ref) isText(id string) bool {
	return r != nil && strings.EqualFold(strings.TrimSuffix(r.ID, "/"), id)
}

// live is the resource that a reference names; Validate has found the reference well-formed. What does not
// exist or is being deleted is InvalidResourceReference.
func live[T any](tx *rp.Tx, ref *Ref, of arm.ID) (*rp.Resource[T], error) {
	id, err := arm.ParseID(ref.ID)
	if err != nil {
		return nil, err
	}
	r, err := rp.Get[T](tx, id)
	if notFound(err) || (err == nil && r.State == arm.Deleting) {
		return nil, missing(id, of)
	}
	return r, err
}

// mustExist checks a reference; nil is none.
func mustExist[T any](tx *rp.Tx, ref *Ref, of arm.ID) error {
	if ref == nil {
		return nil
	}
	_, err := live[T](tx, ref, of)
	return err
}

// inRegion checks a reference to what must be in the region of the resource that names it; nil is none.
func inRegion[T any](tx *rp.Tx, ref *Ref, location string, of arm.ID) error {
	if ref == nil {
		return nil
	}
	r, err := live[T](tx, ref, of)
	if err != nil {
		return err
	}
	if r.Location != location {
		return missing(r.ID, of)
	}
	return nil
}
