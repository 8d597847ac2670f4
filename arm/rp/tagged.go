package rp

import (
	"encoding/json"
	"maps"
	"net/http"

	"vauban.dev/arm"
)

// Envelope is what Resource Manager itself knows of a resource.
type Envelope struct {
	ID       arm.ID
	Type     string // as registered
	Kind     Kind
	Location string
	Tags     map[string]string
	SKU      json.RawMessage
	State    arm.ProvisioningState
	ETag     string
}

func (rec *record) common(d *definition) Envelope {
	return Envelope{ID: rec.id, Type: d.name.String(), Kind: d.kind, Location: rec.Location, Tags: rec.Tags, SKU: rec.SKU, State: rec.State, ETag: rec.ETag}
}

// Look reads the envelope of any resource; a resource that does not exist is Azure's 404.
func Look(tx *Tx, id arm.ID) (Envelope, error) {
	d, err := tx.engine.definition(id.Type())
	if err != nil {
		return Envelope{}, err
	}
	rec, err := tx.existing(d, id)
	if err != nil {
		return Envelope{}, err
	}
	return rec.common(d), nil
}

// EachEnvelope calls yield for the subscriptions, resource groups and tracked resources that are scope or lie under it,
// until it returns an error.
func EachEnvelope(tx *Tx, scope arm.ID, yield func(Envelope) error) error {
	for _, d := range tx.inUse() {
		if !taggable(d) {
			continue
		}
		recs, err := tx.scan(d, scope)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			if err := yield(rec.common(d)); err != nil {
				return err
			}
		}
	}
	return nil
}

func taggable(d *definition) bool { return d.kind == Tracked || d.name.Key() == subscriptionKey }

// SetTags replaces the tags of a resource, a group or a subscription, and nothing else: nothing is reconciled. 400 for tags
// that Azure does not take and for a type without tags, 409 for what is being deleted.
func SetTags(tx *Tx, id arm.ID, tags map[string]string) error {
	d, err := tx.engine.definition(id.Type())
	if err != nil {
		return err
	}
	rec, err := tx.existing(d, id)
	if err != nil {
		return err
	}
	switch {
	case rec.State == arm.Deleting:
		return beingDeleted(rec)
	case !taggable(d):
		return arm.Errorf(http.StatusBadRequest, "TagsNotSupported", "The resource '%s' cannot have tags: resources of type '%s' do not support them.", rec.ID, d.name)
	}
	if err := checkTags(tags); err != nil {
		return err
	}
	if maps.Equal(rec.Tags, tags) {
		return nil
	}
	rec.Tags = maps.Clone(tags)
	rec.ETag = newETag()
	rec.touch(tx)
	if err := tx.event("Microsoft.Resources.ResourceWriteSuccess", rec); err != nil {
		return err
	}
	return rec.write(tx)
}
