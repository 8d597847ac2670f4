package main

import (
	"context"
	"encoding/json"
	"errors"

	"vauban.dev/arm/door"
	"vauban.dev/region"
	"vauban.dev/store"
)

// methodThrottle shows or changes the throttling of Resource Manager.
const methodThrottle = "throttle" // throttleParams → throttleState

// throttleParams are what `vauban throttle` asks for. Change is "", show, on or off.
type throttleParams struct {
	Change string      `json:"change"`
	Limits door.Limits `json:"limits"` // of on
}

// throttleState is also what is stored, under kindThrottle.
type throttleState struct {
	On     bool        `json:"on"`
	Limits door.Limits `json:"limits"`
}

const kindThrottle = "door.throttle"

func (w *world) setThrottle(ctx context.Context, r region.Request) (region.Reply, error) {
	var p throttleParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	if p.Change == "on" || p.Change == "off" {
		state := throttleState{On: p.Change == "on", Limits: p.Limits}
		b, err := json.Marshal(state)
		if err != nil {
			return region.Reply{}, err
		}
		err = w.db.Update(ctx, func(tx store.Tx) error {
			_, err := tx.Put(kindThrottle, "state", b, store.Any)
			return err
		})
		if err != nil {
			return region.Reply{}, err
		}
		w.throttle.Set(state.Limits, state.On)
	}
	var now throttleState
	now.Limits, now.On = w.throttle.State()
	return region.Reply{Result: now}, nil
}

// loadThrottle puts what was chosen before the server started in force.
func (w *world) loadThrottle(ctx context.Context) error {
	return w.db.View(ctx, func(tx store.Tx) error {
		d, err := tx.Get(kindThrottle, "state")
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		var state throttleState
		if err := json.Unmarshal(d.Value, &state); err != nil {
			return err
		}
		w.throttle.Set(state.Limits, state.On)
		return nil
	})
}
