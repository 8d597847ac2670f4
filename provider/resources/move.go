package resources

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/locks"
)

// maxMoved is how many resources a request moves at most.
const maxMoved = 800

// moveBody is the body of moveResources and validateMoveResources (Resources REST: Move Resources).
type moveBody struct {
	Resources []string `json:"resources"`
	Target    string   `json:"targetResourceGroup"`
}

// moving reads the body of a move out of a group: 400 for what no region could move.
func moving(source arm.ID, body []byte) (m rp.Moving, err error) {
	var b moveBody
	if err := json.Unmarshal(body, &b); err != nil {
		return m, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: 'resources' is a list of resource ids, 'targetResourceGroup' a group's id.")
	}
	m.Source = source
	if m.Target, err = arm.ParseID(b.Target); err != nil || m.Target.Type().String() != GroupType {
		return m, arm.Errorf(http.StatusBadRequest, "InvalidTargetResourceGroup", "The target resource group '%s' of the move is not the id of a resource group.", b.Target)
	}
	switch {
	case m.Target.Key() == source.Key():
		return m, arm.Errorf(http.StatusBadRequest, "InvalidTargetResourceGroup", "The source and the target resource group of the move are the same: '%s'.", source)
	case len(b.Resources) == 0:
		return m, arm.Errorf(http.StatusBadRequest, "InvalidMoveResources", "The move request names no resources.")
	case len(b.Resources) > maxMoved:
		return m, arm.Errorf(http.StatusBadRequest, "MoveResourcesCountExceeded", "The move request names %d resources. It may name %d at most.", len(b.Resources), maxMoved)
	}
	seen := map[string]bool{}
	for _, text := range b.Resources {
		id, err := arm.ParseID(text)
		switch {
		case err != nil:
			return m, err
		case len(id.Names()) != 1 || id.Scope().Key() != source.Key():
			return m, arm.Errorf(http.StatusBadRequest, "InvalidMoveResources", "The resource '%s' cannot be moved by itself out of '%s': only top-level resources of the source resource group are moved, their children go along.", text, source)
		case !seen[id.Key()]:
			m.Resources = append(m.Resources, id)
		}
		seen[id.Key()] = true
	}
	return m, nil
}

// moveLinks is what the caller needs besides: to write in the target.
func moveLinks(r *rp.Resource[Group], body []byte) []rp.Link {
	m, err := moving(r.ID, body)
	if err != nil {
		return nil // mayMove refuses it
	}
	return []rp.Link{{Action: "Microsoft.Resources/subscriptions/resourceGroups/write", ID: m.Target}}
}

// mayMove refuses at once what Azure refuses before it answers 202.
func (p *Provider) mayMove(_ context.Context, tx *rp.Tx, r *rp.Resource[Group], body []byte) (any, error) {
	m, err := moving(r.ID, body)
	if err != nil {
		return nil, err
	}
	if _, err := rp.Look(tx, m.Target); err != nil {
		return nil, err
	}
	return nil, rp.CheckLocks(tx, locks.Write, append(m.Resources, m.Target)...)
}

func (p *Provider) move(ctx context.Context, r *rp.Resource[Group], body []byte) (any, error) {
	m, err := moving(r.ID, body)
	if err != nil {
		return nil, err
	}
	return nil, p.engine.Update(ctx, func(tx *rp.Tx) error { return rp.Move(ctx, tx, m) })
}

// errUndo takes a move back that has succeeded.
var errUndo = errors.New("resources: the move was a rehearsal")

// validateMove moves, and takes it back: so what it says is what a move would.
func (p *Provider) validateMove(ctx context.Context, r *rp.Resource[Group], body []byte) (any, error) {
	m, err := moving(r.ID, body)
	if err != nil {
		return nil, err
	}
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		if err := rp.Move(ctx, tx, m); err != nil {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil, nil
	}
	return nil, err
}
