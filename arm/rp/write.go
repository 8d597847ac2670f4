package rp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/store"
)

// write is the creation or update of one resource in a transaction.
type write struct {
	tx       *Tx
	d        *definition
	id       arm.ID
	version  string // api-version
	body     *body
	entry    *activity.Entry // of the request; nil for a resource that another one's request writes
	header   http.Header     // preconditions
	embedded bool            // by its parent's property: without an operation of its own

	old    *record // nil: it is created
	oldRes any
	rec    *record
	res    any
	op     *operation // begun, when asynchronous
}

// run takes the write through its steps. Any error undoes the transaction.
func (w *write) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		w.readOld, w.preconditions, w.locate, w.interpret, w.validate, w.limit, w.identify, w.inline, w.admit, w.store,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *write) verb() Op {
	if w.old == nil {
		return Create
	}
	return Update
}

// readOld reads what is there, and places what is new.
func (w *write) readOld(ctx context.Context) error {
	old, err := w.tx.read(w.d, w.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	canonical, err := w.tx.place(ctx, w.d, w.id, w.version)
	if err != nil {
		return err
	}
	w.rec = &record{ID: canonical.String(), id: canonical, ETag: newETag()}
	if old == nil {
		return nil
	}
	w.old, w.id = old, old.id
	w.rec.ID, w.rec.id, w.rec.version, w.rec.SystemData = old.ID, old.id, old.version, old.SystemData
	w.rec.Operation, w.rec.Error = old.Operation, old.Error
	w.oldRes, err = w.d.load(old)
	return err
}

// preconditions are those of the headers (RFC 9110, section 13) and of the resource's state.
func (w *write) preconditions(context.Context) error {
	if err := precondition(w.header, w.id, w.old); err != nil {
		return err
	}
	switch {
	case w.old == nil:
	case w.old.State == arm.Deleting:
		return beingDeleted(w.old)
	case w.old.Operation != "" && !w.old.State.Terminal() && !w.embedded:
		e := arm.Errorf(http.StatusConflict, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress: operation '%s' on '%s' is %s.", w.old.Operation, w.old.ID, w.old.State)
		e.Header = map[string]string{"Retry-After": "1"}
		return e
	}
	return nil
}

func precondition(h http.Header, id arm.ID, rec *record) error {
	match, none := h.Get("If-Match"), h.Get("If-None-Match")
	have := ""
	if rec != nil {
		have = rec.ETag
	}
	switch {
	case match != "" && !etagIn(match, have):
		return arm.Errorf(http.StatusPreconditionFailed, "PreconditionFailed", "The condition specified using HTTP conditional header(s) is not met: the etag %s of If-Match is not that of resource '%s', which is '%s'.", match, id, have)
	case none != "" && etagIn(none, have):
		return arm.Errorf(http.StatusPreconditionFailed, "PreconditionFailed", "The condition specified using HTTP conditional header(s) is not met: resource '%s' exists with the etag %s that If-None-Match excludes.", id, have)
	}
	return nil
}

// etagIn says whether the list of a conditional header has the etag; have is "" for an absent resource.
func etagIn(list, have string) bool {
	if have == "" {
		return false
	}
	plain := func(s string) string { return strings.Trim(strings.TrimPrefix(strings.TrimSpace(s), "W/"), `"`) }
	for tag := range strings.SplitSeq(list, ",") {
		if t := plain(tag); t == "*" || t == plain(have) {
			return true
		}
	}
	return false
}

// locate fills in and checks the location.
func (w *write) locate(context.Context) error {
	w.rec.Location = normalLocation(w.body.location)
	if w.old != nil && w.rec.Location == "" && w.d.kind != Tracked {
		w.rec.Location = w.old.Location
	}
	if w.d.kind == Tracked && w.d.name.Key() != subscriptionKey && w.rec.Location == "" {
		return arm.Errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
	}
	known := w.tx.engine.locations
	if w.rec.Location != "" && w.rec.Location != "global" && len(known) > 0 && !slices.Contains(known, w.rec.Location) {
		return arm.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.", w.body.location, w.d.name, strings.Join(known, ","))
	}
	if w.old == nil || w.old.Location == w.rec.Location || w.old.Location == "" && w.d.kind != Tracked {
		return nil
	}
	if w.d.name.Key() == groupKey {
		return arm.Errorf(http.StatusConflict, "InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.", w.rec.Location, w.old.Location)
	}
	return arm.Errorf(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.", w.id.Name(), w.old.Location, w.id.ResourceGroup(), w.rec.Location)
}

// interpret decodes the properties with the converter of the api-version, keeps what the type does not
// know of them, sets defaults and restores what clients may not write.
func (w *write) interpret(context.Context) error {
	w.rec.Tags, w.rec.Kind, w.rec.SKU = w.body.tags, w.body.kind, w.body.sku
	w.rec.Identity, w.rec.Zones, w.rec.Extra = w.body.identity, w.body.zones, w.body.extra
	var err error
	if w.res, err = w.d.load(w.rec); err != nil {
		return err
	}
	sent, _ := dropNulls(w.body.properties).(map[string]any)
	b, err := json.Marshal(sent)
	if err != nil {
		return err
	}
	if err := w.d.decode(w.version, b, w.res); err != nil {
		return err
	}
	known, err := w.d.encode(w.version, w.res)
	if err != nil {
		return err
	}
	w.rec.Sent, _ = without(sent, known).(map[string]any)
	if w.d.defaults != nil {
		w.d.defaults(w.version, w.res)
	}
	w.d.keep(w.res, w.oldRes)
	return nil
}

func (w *write) validate(context.Context) error {
	if w.d.validate == nil {
		return nil
	}
	return w.d.validate(w.verb(), w.res, w.oldRes)
}

func (w *write) identify(context.Context) error {
	if err := w.d.unload(w.res, w.rec); err != nil {
		return err
	}
	if err := w.tx.identify(w.rec, w.old); err != nil {
		return err
	}
	w.d.assign(w.res, w.rec.Identity)
	return nil
}

// inline writes the resource for its children to see, then them.
func (w *write) inline(ctx context.Context) error {
	if len(w.body.inline) == 0 {
		return nil
	}
	w.rec.State = w.pendingState()
	if err := w.rec.write(w.tx); err != nil {
		return err
	}
	for _, property := range slices.Sorted(maps.Keys(w.body.inline)) {
		if err := w.children(ctx, property, w.body.inline[property]); err != nil {
			return err
		}
	}
	return nil
}

// children makes the children of one property what the list says.
func (w *write) children(ctx context.Context, property string, list []any) error {
	d, err := w.tx.engine.definition(arm.ParseTypeName(w.d.inline[property]))
	if err != nil {
		return err
	}
	writes, err := embeddedWrites(w, d, property, list)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, c := range writes {
		keep[c.id.Key()] = true
	}
	present, err := w.tx.scan(d, w.rec.id)
	if err != nil {
		return err
	}
	for _, rec := range present {
		if keep[rec.id.Key()] || rec.State == arm.Deleting || len(rec.id.Names()) != len(w.rec.id.Names())+1 {
			continue
		}
		if _, err := w.tx.remove(context.WithValue(ctx, embeddedKey{}, true), d, rec, nil); err != nil {
			return err
		}
	}
	for _, c := range writes {
		if err := c.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// embeddedWrites makes the writes of the elements of an embedding property.
func embeddedWrites(w *write, d *definition, property string, list []any) ([]*write, error) {
	version := w.version
	if !slices.Contains(d.versions, version) {
		version = d.versions[0]
	}
	last := d.name.Types[len(d.name.Types)-1]
	var writes []*write
	seen := map[string]bool{}
	for _, element := range list {
		m, _ := element.(map[string]any)
		v, _ := fold(m, "name")
		name, _ := v.(string)
		if name == "" || strings.ContainsRune(name, '/') {
			return nil, badContent("properties."+property, "each element needs a name")
		}
		if seen[strings.ToLower(name)] {
			return nil, arm.Errorf(http.StatusBadRequest, "DuplicateResourceName", "Resource %s has two child resources with the same name (%s).", w.rec.ID, name)
		}
		seen[strings.ToLower(name)] = true
		data, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		id := w.rec.id.Child(last, name)
		if id.IsZero() {
			return nil, badContent("properties."+property, "an element's name cannot be part of a resource id")
		}
		b, err := parseBody(d, id, data)
		if err != nil {
			return nil, err
		}
		writes = append(writes, &write{tx: w.tx, d: d, id: id, version: version, body: b, embedded: true})
	}
	return writes, nil
}

type embeddedKey struct{}

// Embedded reports whether ctx is that of the Admit of a child that its parent's PUT writes, or of the Release of
// one that it leaves out. What concerns its siblings is then for the parent's Admit to check, which sees all of
// them as they will be.
func Embedded(ctx context.Context) bool {
	is, _ := ctx.Value(embeddedKey{}).(bool)
	return is
}

// limit asks whether there may be one more of a type whose number is limited.
func (w *write) limit(ctx context.Context) error {
	if f := w.tx.engine.limiter(w.d.name); f != nil && w.old == nil {
		return f(ctx, w.tx, w.rec.common(w.d))
	}
	return nil
}

func (w *write) admit(ctx context.Context) error {
	if w.d.admit == nil {
		return nil
	}
	if w.embedded {
		ctx = context.WithValue(ctx, embeddedKey{}, true)
	}
	return w.d.admit(ctx, w.tx, w.verb(), w.res, w.oldRes)
}

// pendingState is the state right after the write.
func (w *write) pendingState() arm.ProvisioningState {
	switch {
	case !w.tx.engine.async(w.d):
		return arm.Succeeded
	case w.old == nil:
		return arm.Creating
	}
	return arm.Updating
}

// store writes resource, operation, event and activity entry.
func (w *write) store(context.Context) error {
	if err := w.d.unload(w.res, w.rec); err != nil {
		return err
	}
	if w.embedded && w.unchanged() {
		*w.rec = *w.old
		return nil
	}
	w.rec.State, w.rec.Error = w.pendingState(), nil
	w.rec.ETag = newETag()
	w.rec.touch(w.tx)
	status := activity.Succeeded
	if w.rec.State != arm.Succeeded {
		status = activity.Accepted
	}
	if w.entry != nil {
		w.entry.Resource, w.entry.Status, w.entry.HTTPStatus = w.rec.ID, status, w.status()
		if err := w.tx.logged(*w.entry); err != nil {
			return err
		}
		var err error
		switch {
		case status == activity.Accepted:
			w.op, err = w.tx.begin(w.rec, "write", w.version, w.rec.State, *w.entry)
		case w.old == nil && w.d.createStatus == http.StatusAccepted:
			w.op, err = w.tx.begun(w.rec, "write", w.version, *w.entry)
		}
		if err != nil {
			return err
		}
	}
	if status == activity.Succeeded {
		if err := w.tx.event("Microsoft.Resources.ResourceWriteSuccess", w.rec); err != nil {
			return err
		}
	}
	if status == activity.Accepted || w.d.reconcile != nil {
		w.tx.Wake(w.rec.id)
	}
	if err := w.rec.write(w.tx); err != nil {
		return fmt.Errorf("rp: %s was written by another hand in its own write, Admit must change the resource that it is given: %w", w.rec.ID, err)
	}
	return nil
}

// unchanged says that an embedded child is written as it is.
func (w *write) unchanged() bool {
	if w.old == nil || w.old.State != arm.Succeeded {
		return false
	}
	w.rec.State = w.old.State
	return string(w.rec.fingerprint()) == string(w.old.fingerprint())
}

func (w *write) status() int {
	if w.old == nil {
		return w.d.createStatus
	}
	return w.d.updateStatus
}

// async says that writes of the type end in an operation: it, or a type that it embeds, reconciles.
func (e *Engine) async(d *definition) bool {
	if d.reconcile != nil && d.stateProperty != "-" {
		return true
	}
	for _, child := range d.inline {
		if c, err := e.definition(arm.ParseTypeName(child)); err == nil && e.async(c) {
			return true
		}
	}
	return false
}
