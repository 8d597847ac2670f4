package rp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/activity"
	"vauban.dev/arm"
	"vauban.dev/store"
)

// Moving is a request to move resources of one group to another, in the same subscription or not.
type Moving struct {
	Source, Target arm.ID // groups
	Resources      []arm.ID
}

// MovingIdentities are Identities that follow a resource to its new id.
type MovingIdentities interface {
	Move(tx store.Tx, from, to arm.ID) error
}

// orphaned are extension resources that Azure leaves behind: who was given a role at a resource has none where it goes.
// https://learn.microsoft.com/azure/azure-resource-manager/management/move-resource-group-and-subscription
const orphaned = "microsoft.authorization/roleassignments"

// elsewhere are types that Azure moves and a region cannot.
// https://learn.microsoft.com/azure/azure-resource-manager/management/move-support-resources
var elsewhere = map[string]bool{
	"microsoft.compute/virtualmachines": true, "microsoft.network/connections": true, "microsoft.network/localnetworkgateways": true,
	"microsoft.network/bastionhosts": true, "microsoft.network/networkwatchers": true,
}

// mover is a Moving under way.
type mover struct {
	*Tx
	Moving
	tops  []owned
	moved []owned // tops and all that lies under them, the outermost first
	to    map[string]arm.ID
}

// Move moves the resources with all that lies under them, roles excepted, and has every reference to them follow. It is
// all or nothing. Locks and other extensions go along. What is moved already stays where it is. Errors: 404 for what is
// not there, 409 ResourceMoveNotSupported, and ResourceMoveProviderValidationFailed with details.
func Move(ctx context.Context, tx *Tx, m Moving) error {
	w, err := tx.mover(m)
	if err != nil {
		return err
	}
	for _, o := range w.moved {
		if err := w.rekey(o); err != nil {
			return err
		}
	}
	if err := w.follow(); err != nil {
		return err
	}
	for _, o := range w.moved {
		if err := w.arrive(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) mover(m Moving) (*mover, error) {
	w := &mover{Tx: tx, Moving: m, to: map[string]arm.ID{}}
	for _, check := range []func() error{w.groups, w.find, w.quiet, w.free, w.together} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// groups checks where the move begins and ends.
func (w *mover) groups() error {
	for _, g := range []arm.ID{w.Source, w.Target} {
		rec, _, err := w.Tx.find(g)
		if err != nil {
			return err
		}
		if rec.State == arm.Deleting {
			return arm.Errorf(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", g.Name())
		}
	}
	return nil
}

// find reads what is to be moved.
func (w *mover) find() error {
	var missing, fixed []*arm.Error
	types := []string{}
	for _, id := range w.Resources {
		rec, d, err := w.Tx.find(id)
		if e := arm.AsError(err); e != nil {
			if _, moved, err := w.arrived(id); err != nil || moved {
				if err != nil {
					return err
				}
				continue
			}
			missing = append(missing, &arm.Error{Code: "ResourceNotFound", Target: id.String(), Message: e.Message})
			continue
		}
		if err != nil {
			return err
		}
		if elsewhere[d.name.Key()] && d.moves == nil {
			return arm.NotImplemented("Resources of type '%s' cannot be moved in this region, as Azure does: '%s' has processes or connections that are bound to its id.", d.name, rec.ID)
		}
		if d.moves == nil {
			fixed = append(fixed, &arm.Error{Code: "ResourceMoveNotSupported", Target: rec.ID, Message: "Resource move is not supported for resource type '" + d.name.String() + "'."})
			if !slices.Contains(types, strings.ToLower(d.name.String())) {
				types = append(types, strings.ToLower(d.name.String()))
			}
			continue
		}
		if err := w.Tx.registered(w.Target, d); err != nil {
			return err
		}
		w.tops = append(w.tops, owned{d, rec})
	}
	switch {
	case len(missing) > 0:
		e := arm.Errorf(http.StatusNotFound, "MoveResourcesNotFound", "The move resources request contains resources that cannot be found. Please check details for these resource IDs.")
		e.Details = missing
		return e
	case len(fixed) > 0:
		e := arm.Errorf(http.StatusConflict, "ResourceMoveNotSupported", "Resource move is not supported for resource types '%s'.", strings.Join(types, ","))
		e.Details = fixed
		return e
	}
	for _, o := range w.tops {
		under, err := w.Tx.under(o.rec.id)
		if err != nil {
			return err
		}
		slices.Reverse(under)
		for _, c := range append([]owned{o}, under...) {
			if c.d.name.Key() == orphaned {
				continue
			}
			to, err := w.place(c.rec.id)
			if err != nil {
				return err
			}
			w.moved, w.to[c.rec.id.Key()] = append(w.moved, c), to
		}
	}
	return nil
}

// arrived says whether a resource is in the target already: the move was cut short after it was done.
func (w *mover) arrived(id arm.ID) (arm.ID, bool, error) {
	to, err := w.place(id)
	if err != nil {
		return to, false, err
	}
	_, _, err = w.Tx.find(to)
	if arm.AsError(err) != nil {
		return to, false, nil
	}
	return to, err == nil, err
}

// place is the id that a resource of the source, or what lies under one, has in the target.
func (w *mover) place(id arm.ID) (arm.ID, error) {
	return arm.ParseID(w.Target.String() + id.String()[len(w.Source.String()):])
}

// quiet refuses what is at work.
func (w *mover) quiet() error {
	var busy []*arm.Error
	for _, o := range w.moved {
		if s := o.rec.State; !s.Terminal() {
			busy = append(busy, &arm.Error{Code: "AnotherOperationInProgress", Target: o.rec.ID, Message: "Another operation on this or dependent resource is in progress: the resource is " + string(s) + "."})
		}
	}
	if len(busy) == 0 {
		return nil
	}
	return w.refused(&arm.Error{Code: "MoveCannotProceedWithResourcesNotInSucceededState", Target: w.moved[0].d.name.String(), Details: busy,
		Message: "One of the resources being migrated or its dependency is not in Succeeded state. Please check details for information about each resource/operation."})
}

// free refuses names that the target has already.
func (w *mover) free() error {
	for _, o := range w.tops {
		to := w.to[o.rec.id.Key()]
		if _, err := w.Tx.read(o.d, to); err == nil {
			return w.refused(&arm.Error{Code: "ResourceExistsInTarget", Target: o.d.name.String(), Message: "The target resource group has the resource '" + to.String() + "' already."})
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// together has what uses each other go together to another subscription.
func (w *mover) together() error {
	if strings.EqualFold(w.Source.Subscription(), w.Target.Subscription()) {
		return nil
	}
	var missing []*arm.Error
	seen := map[string]bool{}
	need := func(id arm.ID, by string) {
		if top := topLevel(id); !seen[top.Key()] && !top.IsZero() {
			seen[top.Key()] = true
			missing = append(missing, &arm.Error{Code: "MissingMoveDependentResource", Target: top.String(), Message: "The resource '" + top.String() + "' is to be moved together with '" + by + "'."})
		}
	}
	from := arm.MustParseID("/subscriptions/" + w.Source.Subscription())
	for _, d := range w.Tx.inUse() {
		if d.kind == Extension || scopeType(d) {
			continue
		}
		recs, err := w.Tx.scan(d, from)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			_, goes := w.to[rec.id.Key()]
			for _, ref := range references(rec) {
				_, refGoes := w.to[ref.Key()]
				switch {
				case goes && !refGoes && ref.Within(from):
					if ok, err := w.stored(ref); err != nil {
						return err
					} else if ok {
						need(ref, rec.ID)
					}
				case !goes && refGoes:
					need(rec.id, ref.String())
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return w.refused(&arm.Error{Code: "MissingMoveDependentResources", Target: w.tops[0].d.name.String(), Details: missing,
		Message: "The move resources request does not contain all the dependent resources. Please check details for missing resource IDs."})
}

func (w *mover) stored(id arm.ID) (bool, error) {
	_, _, err := w.Tx.find(topLevel(id))
	if arm.AsError(err) != nil {
		return false, nil
	}
	return err == nil, err
}

// topLevel is the resource of a group that id is, or lies under; zero without one.
func topLevel(id arm.ID) arm.ID {
	for !id.IsZero() && (len(id.Names()) != 1 || id.Scope().Namespace() != "") {
		id = id.Parent()
	}
	if id.ResourceGroup() == "" {
		return arm.ID{}
	}
	return id
}

// references are the ids of resources that a record names beside its own.
func references(rec *record) (ids []arm.ID) {
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if strings.HasPrefix(v, "/subscriptions/") || strings.HasPrefix(v, "/Subscriptions/") {
				if id, err := arm.ParseID(v); err == nil && id.ResourceGroup() != "" && id.Namespace() != "" && topLevel(id).Key() != topLevel(rec.id).Key() {
					ids = append(ids, id)
				}
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	var tree any
	if json.Unmarshal(rec.Properties, &tree) == nil {
		walk(tree)
	}
	walk(map[string]any(rec.Sent))
	return ids
}

// refused is a provider's refusal, in the form that Resource Manager gives it.
func (w *mover) refused(detail *arm.Error) *arm.Error {
	e := arm.Errorf(http.StatusConflict, "ResourceMoveProviderValidationFailed", "Resource move validation failed. Please see details. Diagnostic information: timestamp '%s', subscription id '%s', tracking id '%s', request correlation id '%s'.",
		w.Now.UTC().Format("20060102T150405Z"), w.Source.Subscription(), activity.NewID(), activity.NewID())
	e.Details = []*arm.Error{detail}
	return e
}

// rekey stores a record under its new id.
func (w *mover) rekey(o owned) error {
	if err := w.Tx.Delete(o.d.stored, o.rec.id.Key(), o.rec.version); err != nil {
		return err
	}
	if err := w.counted(o.rec, -1); err != nil {
		return err
	}
	to := w.to[o.rec.id.Key()]
	if limit := w.engine.limiter(o.d.name); limit != nil && !strings.EqualFold(w.Source.Subscription(), w.Target.Subscription()) {
		e := o.rec.common(o.d)
		e.ID = to
		if err := limit(context.Background(), w.Tx, e); err != nil {
			return err
		}
	}
	moved := *o.rec
	moved.ID, moved.id, moved.version, moved.ETag = to.String(), to, store.None, newETag()
	return moved.write(w.Tx)
}

// follow rewrites the references to what was moved, in all resources of the region.
func (w *mover) follow() error {
	var from [][]byte
	for _, o := range w.tops {
		from = append(from, []byte(o.rec.id.Key()))
	}
	for _, d := range w.Tx.inUse() {
		var stale []store.Doc
		err := w.Tx.Scan(d.stored, "", "", func(doc store.Doc) bool {
			lower := bytes.ToLower(doc.Value)
			if slices.ContainsFunc(from, func(id []byte) bool { return bytes.Contains(lower, id) }) {
				stale = append(stale, doc)
			}
			return true
		})
		if err != nil {
			return err
		}
		for _, doc := range stale {
			rec, err := parseRecord(doc)
			if err != nil {
				return err
			}
			if d.name.Key() == orphaned {
				continue
			}
			if err := w.rewrite(d, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewrite puts the new ids into a record.
func (w *mover) rewrite(d *definition, rec *record) error {
	own := rec.ID
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tree, err := decodeTree(b)
	if err != nil {
		return err
	}
	out, err := json.Marshal(w.renamed(tree))
	if err != nil {
		return err
	}
	fresh := &record{}
	if err := json.Unmarshal(out, fresh); err != nil {
		return err
	}
	fresh.ID, fresh.id, fresh.version, fresh.ETag = own, rec.id, rec.version, newETag()
	if d.reconcile != nil {
		w.Wake(rec.id)
	}
	return fresh.write(w.Tx)
}

// renamed replaces the ids of what was moved in texts, and in the names of members (user-assigned identities).
func (w *mover) renamed(v any) any {
	switch v := v.(type) {
	case string:
		return w.rename(v)
	case []any:
		for i := range v {
			v[i] = w.renamed(v[i])
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[w.rename(k)] = w.renamed(x)
		}
		return out
	}
	return v
}

func (w *mover) rename(s string) string {
	for _, o := range w.tops {
		old := o.rec.ID
		if len(s) < len(old) || !strings.EqualFold(s[:len(old)], old) || len(s) > len(old) && s[len(old)] != '/' {
			continue
		}
		return w.to[o.rec.id.Key()].String() + s[len(old):]
	}
	return s
}

// arrive tells provider, identities and the world of a record that has its new id.
func (w *mover) arrive(ctx context.Context, o owned) error {
	to := w.to[o.rec.id.Key()]
	rec, err := w.Tx.read(o.d, to)
	if err != nil {
		return err
	}
	if m, ok := w.Tx.engine.identities.(MovingIdentities); ok && hasSystem(rec.Identity) {
		if err := m.Move(w.Tx, o.rec.id, to); err != nil {
			return err
		}
	}
	if o.d.moves != nil {
		res, err := o.d.load(rec)
		if err != nil {
			return err
		}
		err = o.d.moves(ctx, w.Tx, o.rec.id, res)
		if why := arm.AsError(err); why != nil {
			return w.refused(&arm.Error{Code: "CannotMoveResource", Target: o.d.name.String(), Details: []*arm.Error{why},
				Message: "Cannot move one or more resources in the request. Please check details for information about each resource."})
		}
		if err != nil {
			return err
		}
		if _, err := w.Tx.save(o.d, rec, res); err != nil {
			return err
		}
	}
	if o.d.reconcile != nil {
		w.Wake(to)
	}
	if err := w.Tx.event("Microsoft.Resources.ResourceDeleteSuccess", o.rec); err != nil {
		return err
	}
	return w.Tx.event("Microsoft.Resources.ResourceWriteSuccess", rec)
}
