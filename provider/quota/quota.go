// Package quota keeps what a subscription may have in a location: Azure's default limits, and those that were set for a
// region to rehearse what happens beyond them.
package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Quota is one limit.
type Quota struct {
	Namespace string // Microsoft.Network
	Name      string // VirtualNetworks, as the service's usages name it
	Localized string // for people
	Limit     int    // Azure's default
	Type      string // the resources that it counts; "": its provider counts by itself
	// Refuse is Azure's refusal of one too many, with limit of them there; for a Type.
	Refuse func(subscription, location string, limit int) *arm.Error
}

// kind are the limits that were set, by subscription|namespace|location|name in lower case.
const kind = "quota.limit"

func key(subscription, namespace, location, name string) string {
	return strings.ToLower(strings.Join([]string{subscription, namespace, normal(location), name}, "|"))
}

func normal(location string) string { return strings.ToLower(strings.ReplaceAll(location, " ", "")) }

// Limit is what is in force: what was set for the location, for all locations (""), or Azure's default.
func Limit(tx *rp.Tx, subscription, location string, q Quota) (int, error) {
	for _, l := range []string{location, ""} {
		doc, err := tx.Get(kind, key(subscription, q.Namespace, l, q.Name))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		limit := 0
		return limit, json.Unmarshal(doc.Value, &limit)
	}
	return q.Limit, nil
}

// Set sets a limit; location "" is all of them. limit < 0 gives Azure's default back.
func Set(tx *rp.Tx, subscription, location string, q Quota, limit int) error {
	at := key(subscription, q.Namespace, location, q.Name)
	if limit < 0 {
		if err := tx.Delete(kind, at, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(limit)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, at, b, store.Any)
	return err
}

// Enforce has the engine refuse what is beyond the quotas that have a Type.
func Enforce(e *rp.Engine, quotas []Quota) {
	byType := map[string][]Quota{}
	var types []string
	for _, q := range quotas {
		if t := strings.ToLower(q.Type); t != "" {
			if byType[t] == nil {
				types = append(types, q.Type)
			}
			byType[t] = append(byType[t], q)
		}
	}
	e.Limit(func(_ context.Context, tx *rp.Tx, r rp.Envelope) error {
		for _, q := range byType[strings.ToLower(r.Type)] {
			limit, err := Limit(tx, r.ID.Subscription(), r.Location, q)
			if err != nil {
				return err
			}
			used, err := rp.Count(tx, q.Type, r.ID.Subscription(), r.Location)
			if err != nil {
				return err
			}
			if used >= limit {
				return q.Refuse(r.ID.Subscription(), r.Location, limit)
			}
		}
		return nil
	}, types...)
}

// Usage is a quota with what is taken of it.
type Usage struct {
	Quota
	Used, Now int // Now is the limit in force
}

// Shown is a usage as services list it (Network REST and Compute REST: Usages).
func (u Usage) Shown() map[string]any {
	return map[string]any{"unit": "Count", "currentValue": u.Used, "limit": u.Now, "name": map[string]string{"value": u.Name, "localizedValue": u.Localized}}
}

// Usages are the quotas with what a subscription has of them in a location. count counts those without a Type.
func Usages(tx *rp.Tx, subscription, location string, quotas []Quota, count func(Quota) (int, error)) ([]Usage, error) {
	all := make([]Usage, len(quotas))
	for i, q := range quotas {
		u := Usage{Quota: q}
		var err error
		if u.Now, err = Limit(tx, subscription, location, q); err != nil {
			return nil, err
		}
		if q.Type != "" {
			u.Used, err = rp.Count(tx, q.Type, subscription, location)
		} else {
			u.Used, err = count(q)
		}
		if err != nil {
			return nil, err
		}
		all[i] = u
	}
	return all, nil
}

// Find is the quota of a name, NAMESPACE/NAME, without regard to case.
func Find(quotas []Quota, name string) (Quota, error) {
	i := slices.IndexFunc(quotas, func(q Quota) bool { return strings.EqualFold(q.Namespace+"/"+q.Name, name) })
	if i < 0 {
		return Quota{}, fmt.Errorf("there is no quota '%s'", name)
	}
	return quotas[i], nil
}
