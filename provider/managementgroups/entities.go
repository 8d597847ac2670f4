package managementgroups

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

func (p *Provider) routes() []rp.Route {
	const (
		group = prefix + "{management}"
		sub   = group + "/subscriptions/{subscription}"
		space = "/providers/Microsoft.Management/"
	)
	return []rp.Route{
		{Method: http.MethodGet, Pattern: group + "/descendants", Permission: GroupType + "/descendants/read", Versions: versions, Do: p.descendants},
		{Method: http.MethodGet, Pattern: group + "/subscriptions", Permission: SubscriptionType + "/read", Versions: versions, Do: p.listSubscriptions},
		{Method: http.MethodGet, Pattern: sub, Permission: SubscriptionType + "/read", Versions: versions, Do: p.getSubscription},
		{Method: http.MethodPut, Pattern: sub, Permission: SubscriptionType + "/write", Versions: versions, Links: p.moveSubscription, Do: p.addSubscription},
		{Method: http.MethodDelete, Pattern: sub, Permission: SubscriptionType + "/delete", Versions: versions, Links: p.moveSubscription, Do: p.removeSubscription},
		{Method: http.MethodPost, Pattern: space + "getEntities", Permission: "-", Versions: versions, Reads: true, Do: p.entities},
		{Method: http.MethodPost, Pattern: space + "checkNameAvailability", Permission: "-", Versions: versions, Reads: true, Do: p.checkName},
		{Method: http.MethodPost, Pattern: space + "tenantBackfillStatus", Permission: "-", Versions: versions, Reads: true, Do: p.backfill},
		{Method: http.MethodPost, Pattern: space + "startTenantBackfill", Permission: "-", Versions: versions, Reads: true, Do: p.backfill},
	}
}

// descendants are the groups and subscriptions below a group ("Management Groups - Get Descendants").
func (p *Provider) descendants(_ context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	_, at, err := p.group(tx, path)
	if err != nil {
		return nil, err
	}
	value := []any{}
	var add func(n *node)
	show := func(id, typ, name, display string, parent *node) {
		value = append(value, map[string]any{"id": id, "type": typ, "name": name,
			"properties": map[string]any{"displayName": display, "parent": map[string]string{"id": parent.id.String()}}})
	}
	add = func(n *node) {
		for _, g := range n.groups {
			show(g.id.String(), GroupType, g.id.Name(), g.display, n)
		}
		for _, s := range n.subscriptions {
			show("/subscriptions/"+s.id, SubscriptionType, s.id, s.display, n)
		}
		for _, g := range n.groups {
			add(g)
		}
	}
	add(at)
	return top(value, query)
}

// top shortens a list to $top; all of it is one page.
func top(value []any, query map[string]string) (any, error) {
	if s := query["$top"]; s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidTopQueryString", "The $top query string '%s' is not a positive number.", s)
		}
		value = value[:min(n, len(value))]
	}
	return map[string]any{"value": value, "count": len(value), "nextLink": nil}, nil
}

// entities are the groups and subscriptions that the caller may see, with what it may do there ("Entities - List").
func (p *Provider) entities(ctx context.Context, tx *rp.Tx, _, query map[string]string, _ []byte) (any, error) {
	if s := query["$search"]; s != "" {
		return nil, arm.NotImplemented("$search=%s: entities are listed as a whole, by $view and $filter.", s)
	}
	match, err := entityFilter(query)
	if err != nil {
		return nil, err
	}
	view := strings.ToLower(query["$view"])
	t, err := p.tree(tx)
	if err != nil {
		return nil, err
	}
	value := []any{}
	add := func(id arm.ID, typ, name, display string, parent *node, more map[string]any) error {
		permission, err := permissionAt(ctx, id, typ)
		if err != nil || permission == "noaccess" || !match(name, display) {
			return err
		}
		names, displays := []string{}, []string{}
		for at := parent; at != nil; at = at.parent {
			names, displays = append([]string{at.id.Name()}, names...), append([]string{at.display}, displays...)
		}
		properties := map[string]any{"tenantId": p.cfg.TenantID, "displayName": display, "permissions": permission, "inheritedPermissions": permission,
			"parentDisplayNameChain": displays, "parentNameChain": names, "parent": map[string]any{"id": nil}}
		if parent != nil {
			properties["parent"] = map[string]any{"id": parent.id.String()}
		}
		for k, v := range more {
			properties[k] = v
		}
		value = append(value, map[string]any{"id": id.String(), "type": typ, "name": name, "properties": properties})
		return nil
	}
	var walk func(n *node) error
	walk = func(n *node) error {
		if view != "subscriptionsonly" {
			groups, subs := n.below()
			if err := add(n.id, GroupType, n.id.Name(), n.display, n.parent, map[string]any{
				"numberOfDescendants": groups + subs, "numberOfChildren": len(n.groups) + len(n.subscriptions), "numberOfChildGroups": len(n.groups)}); err != nil {
				return err
			}
		}
		for _, s := range n.subscriptions {
			if view == "groupsonly" {
				break
			}
			id, err := arm.ParseID("/subscriptions/" + s.id)
			if err == nil {
				err = add(id, "/subscriptions", s.id, s.display, n, nil)
			}
			if err != nil {
				return err
			}
		}
		for _, g := range n.groups {
			if err := walk(g); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(t.root); err != nil {
		return nil, err
	}
	return top(value, query)
}

// below counts the groups and subscriptions under n.
func (n *node) below() (groups, subs int) {
	subs = len(n.subscriptions)
	for _, g := range n.groups {
		a, b := g.below()
		groups, subs = groups+1+a, subs+b
	}
	return groups, subs
}

// permissionAt is what the caller may do with an entity, in the words of getEntities.
func permissionAt(ctx context.Context, id arm.ID, typ string) (string, error) {
	right := typ
	if typ != GroupType {
		right = "Microsoft.Resources/subscriptions"
	}
	for _, p := range []struct{ verb, name string }{{"delete", "delete"}, {"write", "edit"}, {"read", "view"}} {
		ok, err := rp.Allowed(ctx, right+"/"+p.verb, id)
		if err != nil {
			return "", err
		}
		if ok {
			return p.name, nil
		}
	}
	return "noaccess", nil
}

// entityFilter reads groupName and $filter: name eq '…', contains(name, '…'), contains(displayName, '…').
func entityFilter(query map[string]string) (func(name, display string) bool, error) {
	filter := strings.TrimSpace(query["$filter"])
	if g := query["groupName"]; g != "" && filter == "" {
		filter = "name eq '" + g + "'"
	}
	if filter == "" {
		return func(string, string) bool { return true }, nil
	}
	quoted := func(head, tail string) (string, bool) {
		s, ok := strings.CutPrefix(filter, head)
		if !ok {
			return "", false
		}
		s, ok = strings.CutSuffix(strings.TrimSpace(s), tail)
		s = strings.TrimSpace(s)
		if !ok || len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
			return "", false
		}
		return strings.ToLower(strings.ReplaceAll(s[1:len(s)-1], "''", "'")), true
	}
	if v, ok := quoted("name eq", ""); ok {
		return func(name, _ string) bool { return strings.ToLower(name) == v }, nil
	}
	if v, ok := quoted("contains(name,", ")"); ok {
		return func(name, _ string) bool { return strings.Contains(strings.ToLower(name), v) }, nil
	}
	if v, ok := quoted("contains(displayName,", ")"); ok {
		return func(_, display string) bool { return strings.Contains(strings.ToLower(display), v) }, nil
	}
	return nil, arm.Errorf(http.StatusBadRequest, "BadRequest", "$filter takes name eq '…', contains(name, '…') or contains(displayName, '…').")
}

func (p *Provider) checkName(_ context.Context, tx *rp.Tx, _, _ map[string]string, body []byte) (any, error) {
	var sent struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: name and type are texts.")
	}
	no := func(reason, message string) (any, error) {
		return map[string]any{"nameAvailable": false, "reason": reason, "message": message}, nil
	}
	id, err := arm.ParseID(prefix + sent.Name)
	if err != nil || sent.Name == "" || strings.Contains(sent.Name, "/") {
		return no("Invalid", "The name is not that of a management group.")
	}
	switch _, err := rp.Get[Group](tx, id); {
	case err == nil:
		return no("AlreadyExists", "The group with the specified name already exists")
	case arm.AsError(err) == nil:
		return nil, err
	}
	return map[string]any{"nameAvailable": true}, nil
}

// backfill: all subscriptions are in the hierarchy from the beginning.
func (p *Provider) backfill(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	return map[string]any{"tenantId": p.cfg.TenantID, "status": "Completed"}, nil
}
