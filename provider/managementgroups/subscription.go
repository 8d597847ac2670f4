package managementgroups

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// shownSubscription is a subscription under its group (Management Groups REST: SubscriptionUnderManagementGroup).
type shownSubscription struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties"`
}

func (p *Provider) showSubscription(at *node, s subscription) shownSubscription {
	return shownSubscription{
		ID: at.id.String() + "/subscriptions/" + s.id, Type: SubscriptionType, Name: s.id,
		Properties: map[string]any{"tenant": p.cfg.TenantID, "displayName": s.display, "state": "Active", "parent": map[string]string{"id": at.id.String()}},
	}
}

// group finds the group of a route.
func (p *Provider) group(tx *rp.Tx, path map[string]string) (*tree, *node, error) {
	t, err := p.tree(tx)
	if err != nil {
		return nil, nil, err
	}
	at := t.groups[strings.ToLower(prefix+path["management"])]
	if at == nil {
		return nil, nil, arm.Errorf(http.StatusNotFound, "NotFound", "'%s%s' not found", prefix, path["management"])
	}
	return t, at, nil
}

func (p *Provider) listSubscriptions(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	_, at, err := p.group(tx, path)
	if err != nil {
		return nil, err
	}
	value := []shownSubscription{}
	for _, s := range at.subscriptions {
		value = append(value, p.showSubscription(at, s))
	}
	return map[string]any{"value": value}, nil
}

func (p *Provider) getSubscription(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	_, at, err := p.group(tx, path)
	if err != nil {
		return nil, err
	}
	for _, s := range at.subscriptions {
		if strings.EqualFold(s.id, path["subscription"]) {
			return p.showSubscription(at, s), nil
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "NotFound", "'%s/subscriptions/%s' not found", at.id, path["subscription"])
}

// moveSubscription is what a caller needs to take a subscription out of its group and put it elsewhere ("Manage your Azure
// subscriptions at scale: moving management groups and subscriptions"): to give roles on it, and to write to both groups, of
// which the root needs nothing.
func (p *Provider) moveSubscription(_ context.Context, tx *rp.Tx, path map[string]string, _ []byte) ([]rp.Link, error) {
	sub, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	t, err := p.tree(tx)
	if err != nil {
		return nil, err
	}
	links := []rp.Link{{Action: "Microsoft.Authorization/roleAssignments/write", ID: sub}}
	if now := t.subs[strings.ToLower(sub.Subscription())]; now != nil && now != t.root {
		links = append(links, rp.Link{Action: SubscriptionType + "/delete", ID: now.id})
	}
	return links, nil
}

func (p *Provider) addSubscription(ctx context.Context, tx *rp.Tx, path, query map[string]string, body []byte) (any, error) {
	t, at, err := p.group(tx, path)
	if err != nil {
		return nil, err
	}
	key := strings.ToLower(path["subscription"])
	if t.subs[key] == nil {
		return nil, arm.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", path["subscription"])
	}
	doc, err := json.Marshal(place{at.id.Key()})
	if err != nil {
		return nil, err
	}
	if _, err := tx.Put(placeKind, key, doc, store.Any); err != nil {
		return nil, err
	}
	return p.getSubscription(ctx, tx, path, query, body)
}

// removeSubscription puts the subscription back into the root group.
func (p *Provider) removeSubscription(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	t, at, err := p.group(tx, path)
	if err != nil {
		return nil, err
	}
	key := strings.ToLower(path["subscription"])
	if t.subs[key] != at {
		return nil, nil // 204: it is not there
	}
	if err := tx.Delete(placeKind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK}, nil
}
