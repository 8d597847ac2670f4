package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/region"
)

const methodDestroy = "destroy" // destroyParams → destruction

type destroyParams struct {
	Scope string `json:"scope"` // id of a resource group or a resource
}

// destruction is what becomes of a deletion, told beforehand.
type destruction struct {
	Scope string `json:"scope"`
	Steps []step `json:"steps"` // in the order that works
	// Obstacles are what does not go, whatever goes before it.
	Obstacles []obstacle `json:"obstacles"`
	Names     []heldName `json:"names"` // that Azure keeps after the deletion
	Group     bool       `json:"group"` // scope is a resource group: one DELETE takes all
}

type step struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// Holder is no part of what is to be deleted: it holds it.
	Holder bool   `json:"holder,omitempty"`
	After  string `json:"after,omitempty"` // what refused it until the steps before were done
	Code   string `json:"code,omitempty"`
}

type obstacle struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// heldName is a name that cannot be used again at once in Azure.
type heldName struct {
	ID   string `json:"id"`
	Days int    `json:"days"`
	Rule string `json:"rule"`
}

// maxHolderRounds bounds how far what holds a resource is itself held.
const maxHolderRounds = 10

// destroyPlan rehearses a deletion.
func (w *world) destroyPlan(ctx context.Context, r region.Request) (region.Reply, error) {
	var p destroyParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	scope, err := arm.ParseID(p.Scope)
	if err != nil {
		return region.Reply{}, badRequest("%v", err)
	}
	plan := destruction{Scope: scope.String(), Group: scope.Namespace() == "", Steps: []step{}, Obstacles: []obstacle{}, Names: []heldName{}}
	holders, done, left, err := w.rehearse(ctx, scope)
	if e := arm.AsError(err); e != nil {
		return region.Reply{}, &region.CallError{Code: region.CodeNotFound, Message: e.Message}
	}
	if err != nil {
		return region.Reply{}, err
	}
	for _, d := range done {
		if d.Waited != nil && d.Waited.Code == "NicInUseWithPrivateEndpoint" {
			continue // it goes with its private endpoint
		}
		s := step{ID: d.ID.String(), Type: d.Type, Holder: holders[d.ID.Key()]}
		if d.Waited != nil {
			s.After, s.Code = d.Waited.Message, d.Waited.Code
		}
		plan.Steps = append(plan.Steps, s)
	}
	for _, o := range left {
		plan.Obstacles = append(plan.Obstacles, obstacle{o.ID.String(), o.Type, o.Error.Code, o.Error.Message})
	}
	plan.Names, err = w.heldNames(ctx, done)
	return region.Reply{Result: plan}, err
}

// rehearse finds the order of a deletion, and of what holds a resource if something does.
func (w *world) rehearse(ctx context.Context, scope arm.ID) (holders map[string]bool, done []rp.Removal, left []rp.Obstacle, err error) {
	holders = map[string]bool{}
	var first []arm.ID
	for range maxHolderRounds {
		if done, left, err = w.engine.Rehearse(ctx, scope, first...); err != nil || len(left) == 0 || scope.Namespace() == "" {
			return holders, done, left, err
		}
		more, err := w.named(ctx, left, scope, holders)
		if err != nil {
			return nil, nil, nil, err
		}
		if len(more) == 0 {
			break
		}
		for _, id := range more {
			holders[id.Key()] = true
		}
		first = append(first, more...)
	}
	return holders, done, left, nil
}

var idInText = regexp.MustCompile(`(?i)/subscriptions/[^\s'",;()\[\]]+`)

// named are the resources outside of scope that refusals name.
func (w *world) named(ctx context.Context, left []rp.Obstacle, scope arm.ID, known map[string]bool) (ids []arm.ID, err error) {
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		for _, o := range left {
			if o.Error.Code == "ScopeLocked" {
				continue
			}
			for _, s := range idInText.FindAllString(o.Error.Message, -1) {
				id, err := arm.ParseID(strings.TrimRight(s, "./"))
				for ; err == nil && id.Namespace() != ""; id = id.Parent() { // ipConfigurations are no resources
					doc, missing := rp.ReadDocument(ctx, tx, id)
					if missing != nil && arm.AsError(missing) == nil {
						return missing
					}
					if missing != nil {
						continue
					}
					if !known[id.Key()] && !id.Within(scope) && !scope.Within(id) && !slices.ContainsFunc(ids, func(x arm.ID) bool { return x.Key() == id.Key() }) {
						ids = append(ids, doc.ID)
					}
					break
				}
			}
		}
		return nil
	})
	return ids, err
}

// softDeleted are the types whose names Azure keeps after a deletion, with the days that it keeps them at most.
var softDeleted = map[string]struct {
	days int
	rule string
}{
	"microsoft.keyvault/vaults":                    {90, "A deleted vault is kept, and its name with it, for the days of its softDeleteRetentionInDays; `az keyvault purge` gives the name back, unless enablePurgeProtection is on."},
	"microsoft.machinelearningservices/workspaces": {14, "A deleted workspace is kept for 14 days; `az ml workspace delete --permanently-delete` gives its name back at once."},
	"microsoft.operationalinsights/workspaces":     {14, "A deleted Log Analytics workspace is kept for 14 days; `az monitor log-analytics workspace delete --force` gives its name back at once."},
}

// heldNames are the names that Azure keeps of what goes.
func (w *world) heldNames(ctx context.Context, done []rp.Removal) (names []heldName, err error) {
	names = []heldName{}
	err = w.engine.View(ctx, func(tx *rp.Tx) error {
		for _, d := range done {
			rule, ok := softDeleted[strings.ToLower(d.Type)]
			if !ok {
				continue
			}
			n := heldName{d.ID.String(), rule.days, rule.rule}
			doc, err := rp.ReadDocument(ctx, tx, d.ID)
			if err != nil {
				return err
			}
			if p, ok := doc.Body["properties"].(map[string]any); ok {
				if days, ok := p["softDeleteRetentionInDays"]; ok {
					fmt.Sscan(fmt.Sprint(days), &n.Days)
				}
				if p["enablePurgeProtection"] == true {
					n.Rule = "A deleted vault is kept, and its name with it, for the days of its softDeleteRetentionInDays; enablePurgeProtection is on: nobody can purge it before."
				}
			}
			names = append(names, n)
		}
		return nil
	})
	return names, err
}
