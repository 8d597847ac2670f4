package rp

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/store"
)

// record is a resource as the store keeps it: one document of Kind(type) under the lower-case id.
type record struct {
	ID         string                     `json:"id"`
	Location   string                     `json:"location,omitempty"`
	Tags       map[string]string          `json:"tags,omitzero"` // those that a client sent, none among them, come back
	Kind       string                     `json:"kind,omitempty"`
	SKU        json.RawMessage            `json:"sku,omitempty"`
	Identity   *arm.Identity              `json:"identity,omitempty"`
	Zones      []string                   `json:"zones,omitempty"`
	SystemData arm.SystemData             `json:"systemData,omitzero"`
	ETag       string                     `json:"etag"`
	State      arm.ProvisioningState      `json:"state"`
	Error      *arm.Error                 `json:"error,omitempty"`     // why State is Failed
	Operation  string                     `json:"operation,omitempty"` // the operation under way
	Properties json.RawMessage            `json:"properties"`          // T
	Sent       map[string]any             `json:"sent,omitempty"`      // properties that T does not interpret
	Extra      map[string]json.RawMessage `json:"extra,omitempty"`     // top-level members that the engine does not interpret (plan, managedBy)

	id      arm.ID
	version int64 // of the document; store.None when it is not stored yet
}

// StoreKind is the document kind of the store that holds the resources of a type: what Store.Watch takes.
func StoreKind(typeName string) string { return "resource/" + arm.ParseTypeName(typeName).Key() }

func storeKind(t arm.TypeName) string { return "resource/" + t.Key() }

func parseRecord(d store.Doc) (*record, error) {
	rec := &record{}
	if err := json.Unmarshal(d.Value, rec); err != nil {
		return nil, fmt.Errorf("rp: stored resource %s: %w", d.Key, err)
	}
	id, err := arm.ParseID(rec.ID)
	if err != nil {
		return nil, fmt.Errorf("rp: stored resource %s: %w", d.Key, err)
	}
	rec.id, rec.version = id, d.Version
	return rec, nil
}

func (rec *record) write(tx store.Tx) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("rp: resource %s: %w", rec.ID, err)
	}
	fresh := rec.version == store.None
	if rec.version, err = tx.Put(storeKind(rec.id.Type()), rec.id.Key(), b, rec.version); err != nil {
		return err
	}
	if own, ok := tx.(*Tx); ok && fresh {
		return own.counted(rec, 1)
	}
	return nil
}

// newETag is what Microsoft.Network answers: a weak validator around a fresh GUID.
func newETag() string { return `W/"` + uuid.NewString() + `"` }

func load[T any](rec *record) (*Resource[T], error) {
	r := &Resource[T]{
		ID: rec.id, Location: rec.Location, Tags: maps.Clone(rec.Tags), Kind: rec.Kind, SKU: slices.Clone(rec.SKU),
		Identity: cloneIdentity(rec.Identity), Zones: slices.Clone(rec.Zones), SystemData: rec.SystemData,
		ETag: rec.ETag, State: rec.State,
	}
	if len(rec.Properties) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(rec.Properties, &r.Properties); err != nil {
		return nil, fmt.Errorf("rp: stored properties of %s: %w", rec.ID, err)
	}
	return r, nil
}

func unload[T any](r *Resource[T], rec *record) error {
	b, err := json.Marshal(&r.Properties)
	if err != nil {
		return fmt.Errorf("rp: properties of %s: %w", rec.ID, err)
	}
	rec.Location, rec.Tags, rec.Kind, rec.SKU = r.Location, maps.Clone(r.Tags), r.Kind, slices.Clone(r.SKU)
	rec.Identity, rec.Zones, rec.SystemData = cloneIdentity(r.Identity), slices.Clone(r.Zones), r.SystemData
	rec.State, rec.Properties = r.State, b
	return nil
}

func cloneIdentity(i *arm.Identity) *arm.Identity {
	if i == nil {
		return nil
	}
	c := *i
	c.UserAssignedIdentities = maps.Clone(i.UserAssignedIdentities)
	for k, u := range c.UserAssignedIdentities {
		if u != nil {
			v := *u
			c.UserAssignedIdentities[k] = &v
		}
	}
	return &c
}

// touch notes a write by the caller of tx in the systemData. What the system does by itself modifies nothing.
func (rec *record) touch(tx *Tx) {
	by, kind := tx.Caller.Name, createdByType(tx.Caller.Type)
	if by == "" {
		by = tx.Caller.ObjectID
	}
	now := tx.Now.UTC().Truncate(100 * time.Nanosecond) // .NET's tick, the precision of Azure's times
	if rec.SystemData.CreatedAt.IsZero() {
		rec.SystemData.CreatedBy, rec.SystemData.CreatedByType, rec.SystemData.CreatedAt = by, kind, now
	}
	if by == "" && !rec.SystemData.LastModifiedAt.IsZero() {
		return
	}
	rec.SystemData.LastModifiedBy, rec.SystemData.LastModifiedByType, rec.SystemData.LastModifiedAt = by, kind, now
}

func createdByType(principal string) string {
	switch principal {
	case "ServicePrincipal", "Application":
		return "Application"
	case "ManagedIdentity", "User":
		return principal
	}
	return ""
}
