package resourcegraph

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/kql"
	rules "vauban.dev/policy"
)

// columns are those of every table.
var columns = []kql.Column{
	{Name: "id", Type: kql.String}, {Name: "name", Type: kql.String}, {Name: "type", Type: kql.String}, {Name: "tenantId", Type: kql.String}, {Name: "kind", Type: kql.String},
	{Name: "location", Type: kql.String}, {Name: "resourceGroup", Type: kql.String}, {Name: "subscriptionId", Type: kql.String}, {Name: "managedBy", Type: kql.String},
	{Name: "sku", Type: kql.Dynamic}, {Name: "plan", Type: kql.Dynamic}, {Name: "properties", Type: kql.Dynamic}, {Name: "tags", Type: kql.Dynamic},
	{Name: "identity", Type: kql.Dynamic}, {Name: "zones", Type: kql.Dynamic}, {Name: "extendedLocation", Type: kql.Dynamic},
}

// The lower-case types of what is in a table of its own.
const (
	groupsShown        = "microsoft.resources/subscriptions/resourcegroups"
	subscriptionsShown = "microsoft.resources/subscriptions"
	managementShown    = "microsoft.management/managementgroups"
	statesShown        = "microsoft.policyinsights/policystates"
)

// held tells which table has a type; tables that the region has nothing for are not there.
var held = map[string]func(typ string, kind rp.Kind) bool{
	"resources": func(typ string, kind rp.Kind) bool {
		return kind == rp.Tracked && typ != groupsShown && typ != subscriptionsShown && !strings.HasPrefix(typ, "microsoft.authorization/")
	},
	"resourcecontainers": func(typ string, _ rp.Kind) bool {
		return typ == groupsShown || typ == subscriptionsShown || typ == managementShown
	},
	"authorizationresources": func(typ string, _ rp.Kind) bool {
		return typ == "microsoft.authorization/roleassignments" || typ == "microsoft.authorization/roledefinitions"
	},
	"policyresources": func(typ string, _ rp.Kind) bool {
		return slices.Contains([]string{"microsoft.authorization/policyassignments", "microsoft.authorization/policydefinitions", "microsoft.authorization/policysetdefinitions", "microsoft.authorization/policyexemptions", statesShown, "microsoft.policyinsights/attestations", "microsoft.policyinsights/remediations"}, typ)
	},
	"dnsresources": func(typ string, kind rp.Kind) bool {
		return kind == rp.Proxy && strings.HasPrefix(typ, "microsoft.network/privatednszones/")
	},
}

// source is the region as one caller may read it, within the scope of one request.
type source struct {
	p    *Provider
	r    *rp.Request
	subs map[string]bool // lower-case ids of subscriptions; nil: all
	ok   map[string]bool // what the caller may read, by action and scope
}

// source finds the subscriptions of a request: those named, those of management groups, or all.
func (p *Provider) source(ctx context.Context, r *rp.Request, q *queryRequest) (*source, error) {
	s := &source{p: p, r: r, ok: map[string]bool{}}
	if len(q.Subscriptions) == 0 && len(q.ManagementGroups) == 0 {
		return s, nil
	}
	s.subs = map[string]bool{}
	err := p.engine.View(ctx, func(tx *rp.Tx) error {
		for _, name := range q.Subscriptions {
			id, err := subscriptionID(name)
			if err != nil {
				continue
			}
			switch _, err := rp.ReadDocument(ctx, tx, id); {
			case err == nil:
				s.subs[strings.ToLower(id.Name())] = true
			case arm.AsError(err) == nil:
				return err
			}
		}
		if len(q.Subscriptions) > 0 && len(s.subs) == 0 {
			return refuse("NoValidSubscriptionsInQueryRequest", fmt.Sprintf("There must be at least one subscription that is eligible to contain resources. Given: '%s'.", strings.Join(q.Subscriptions, ",")))
		}
		return s.underGroups(ctx, tx, q.ManagementGroups)
	})
	return s, err
}

// underGroups adds the subscriptions below management groups. Who may not read a group is not told whether there is one.
func (s *source) underGroups(ctx context.Context, tx *rp.Tx, groups []string) error {
	if len(groups) == 0 {
		return nil
	}
	want := map[string]bool{}
	for _, g := range groups {
		id, err := arm.ParseID("/providers/Microsoft.Management/managementGroups/" + g)
		if err == nil {
			_, err = rp.ReadDocument(ctx, tx, id)
		}
		may := false
		if err == nil {
			may, err = s.may(ctx, "Microsoft.Management/managementGroups/read", id)
		}
		if e := arm.AsError(err); err != nil && e == nil {
			return err
		}
		if !may {
			return refuse("AccessDenied", fmt.Sprintf("Access is denied to the requested resource. The user might not have enough permission: the management group '%s' does not exist, or may not be read.", g))
		}
		want[id.Key()] = true
	}
	return rp.EachDocument(ctx, tx, arm.MustParseID("/"), "Microsoft.Resources/subscriptions", func(d *rp.Document) error {
		above, err := s.p.cfg.Hierarchy.ManagementGroups(ctx, d.ID.Key())
		for _, g := range above {
			if want[strings.ToLower(g)] {
				s.subs[strings.ToLower(d.ID.Name())] = true
			}
		}
		return err
	})
}

func (s *source) Columns(table string) ([]kql.Column, bool) {
	_, ok := held[strings.ToLower(table)]
	return columns, ok
}

func (s *source) Rows(ctx context.Context, table string, types []string) (rows [][]any, err error) {
	table = strings.ToLower(table)
	has := held[table]
	wanted := func(typ string, kind rp.Kind) bool {
		return has(typ, kind) && (types == nil || slices.Contains(types, typ))
	}
	err = s.p.engine.View(ctx, func(tx *rp.Tx) error {
		for _, info := range s.p.engine.Describe() {
			if typ := shownType(info.Name.String()); wanted(typ, info.Kind) {
				if err := s.each(ctx, tx, info, typ, func(row []any) { rows = append(rows, row) }); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	builtin, err := s.builtin(ctx, table, wanted)
	if err != nil {
		return nil, err
	}
	rows = append(rows, builtin...)
	slices.SortStableFunc(rows, func(a, b []any) int {
		return cmp.Compare(strings.ToLower(a[0].(string)), strings.ToLower(b[0].(string)))
	})
	return rows, nil
}

// shownType is a type as Resource Graph writes it.
func shownType(registered string) string {
	if typ := strings.ToLower(registered); typ != "microsoft.resources/resourcegroups" {
		return typ
	}
	return groupsShown
}

// each yields the resources of a type that are in scope and that the caller may read.
func (s *source) each(ctx context.Context, tx *rp.Tx, info rp.TypeInfo, typ string, yield func([]any)) error {
	return rp.EachDocument(ctx, tx, arm.MustParseID("/"), info.Name.String(), func(d *rp.Document) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		sub := d.ID.Subscription()
		if s.subs != nil && sub != "" && !s.subs[strings.ToLower(sub)] {
			return nil
		}
		if s.subs != nil && typ == managementShown {
			return nil
		}
		ok, err := s.readable(ctx, info.Permission+"/read", d.ID)
		if err != nil || !ok {
			return err
		}
		row := s.row(d.ID, typ, d.Body)
		if typ == subscriptionsShown || typ == groupsShown {
			if err := s.contain(ctx, tx, typ, d, row); err != nil {
				return err
			}
		}
		yield(row)
		return nil
	})
}

// may asks once for each action and scope.
func (s *source) may(ctx context.Context, action string, at arm.ID) (bool, error) {
	key := action + " " + at.Key()
	if ok, asked := s.ok[key]; asked {
		return ok, nil
	}
	d := authz.Decision{}
	if s.r.Check != nil {
		var err error
		if d, err = s.r.Check(ctx, action, at); err != nil {
			return false, err
		}
	}
	s.ok[key] = d.Allowed
	return d.Allowed, nil
}

// readable looks at the subscription, the group, and then the resource: a right above is asked for once.
func (s *source) readable(ctx context.Context, action string, id arm.ID) (bool, error) {
	for _, at := range []string{"/subscriptions/" + id.Subscription(), "/subscriptions/" + id.Subscription() + "/resourceGroups/" + id.ResourceGroup()} {
		above, err := arm.ParseID(at)
		if err != nil || !id.Within(above) {
			continue
		}
		if ok, err := s.may(ctx, action, above); ok || err != nil {
			return ok, err
		}
	}
	return s.may(ctx, action, id)
}

// row is a resource as the tables have it: type and group in lower case, texts that are not there empty.
func (s *source) row(id arm.ID, typ string, body map[string]any) []any {
	str := func(name string) any { v, _ := body[name].(string); return v }
	return []any{
		id.String(), id.Name(), typ, s.p.cfg.TenantID, str("kind"), str("location"), strings.ToLower(id.ResourceGroup()), id.Subscription(), str("managedBy"),
		kql.Plain(body["sku"]), kql.Plain(body["plan"]), kql.Plain(body["properties"]), kql.Plain(body["tags"]), kql.Plain(body["identity"]), kql.Plain(body["zones"]), kql.Plain(body["extendedLocation"]),
	}
}

// cell is where a column is in a row.
func cell(name string) int {
	return slices.IndexFunc(columns, func(c kql.Column) bool { return c.Name == name })
}

// contain shows subscriptions and groups as Resource Graph does: with the management groups above, the nearest first.
func (s *source) contain(ctx context.Context, tx *rp.Tx, typ string, d *rp.Document, row []any) error {
	if typ == groupsShown {
		return nil
	}
	chain := []any{}
	if s.p.cfg.Hierarchy != nil {
		above, err := s.p.cfg.Hierarchy.ManagementGroups(ctx, d.ID.Key())
		if err != nil {
			return err
		}
		for _, g := range above {
			id, err := arm.ParseID(g)
			if err != nil {
				return err
			}
			title := id.Name()
			if doc, err := rp.ReadDocument(ctx, tx, id); err == nil {
				if p, ok := doc.Body["properties"].(map[string]any); ok {
					if t, ok := p["displayName"].(string); ok {
						title = t
					}
				}
			}
			chain = append(chain, map[string]any{"displayName": title, "name": id.Name()})
		}
	}
	properties, _ := row[cell("properties")].(map[string]any)
	row[cell("name")] = properties["displayName"]
	row[cell("properties")] = map[string]any{
		"managedByTenants": []any{}, "managementGroupAncestorsChain": chain, "state": "Enabled",
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
	}
	return nil
}

// builtin are the rows that are no stored resources: Azure's roles and policies, and policy states.
func (s *source) builtin(ctx context.Context, table string, wanted func(string, rp.Kind) bool) (rows [][]any, err error) {
	add := func(id, typ string, properties any) error {
		parsed, err := arm.ParseID(id)
		if err != nil {
			return err
		}
		b, err := json.Marshal(properties)
		if err != nil {
			return err
		}
		var body map[string]any
		if err := json.Unmarshal(b, &body); err != nil {
			return err
		}
		rows = append(rows, s.row(parsed, typ, map[string]any{"properties": body}))
		return nil
	}
	if table == "authorizationresources" && wanted("microsoft.authorization/roledefinitions", rp.Extension) {
		for _, d := range authz.Builtins() {
			err = add("/providers/Microsoft.Authorization/roleDefinitions/"+d.Name, "microsoft.authorization/roledefinitions",
				map[string]any{"roleName": d.RoleName, "type": d.RoleType, "description": d.Description, "assignableScopes": d.AssignableScopes, "permissions": d.Permissions, "isServiceRole": false})
			if err != nil {
				return nil, err
			}
		}
	}
	if table == "policyresources" && wanted("microsoft.authorization/policydefinitions", rp.Extension) {
		for _, b := range rules.Builtins() {
			if err := add(b.ID, "microsoft.authorization/policydefinitions", &b.Properties); err != nil {
				return nil, err
			}
		}
	}
	if table == "policyresources" && wanted(statesShown, rp.Extension) && s.p.cfg.States != nil {
		states, err := s.states(ctx)
		return append(rows, states...), err
	}
	return rows, nil
}

// states are the latest policy states of what the caller may read (PolicyInsights REST: PolicyState).
func (s *source) states(ctx context.Context) (rows [][]any, err error) {
	records, err := s.p.cfg.States(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		id, err := arm.ParseID(r.ResourceID)
		if err != nil {
			return nil, err
		}
		if s.subs != nil && !s.subs[strings.ToLower(id.Subscription())] {
			continue
		}
		ok, err := s.readable(ctx, "Microsoft.PolicyInsights/policyStates/queryResults/read", id)
		if err == nil && !ok {
			ok, err = s.readable(ctx, "Microsoft.PolicyInsights/policyStates/queryResults/action", id)
		}
		if e := arm.AsError(err); err != nil && (e == nil || e.Status != http.StatusNotFound) {
			return nil, err
		}
		if !ok {
			continue
		}
		sum := sha256.Sum256([]byte(strings.ToLower(r.ResourceID + r.Assignment + r.Definition + r.ReferenceID)))
		state, err := arm.ParseID(strings.TrimSuffix(r.ResourceID, "/") + "/providers/Microsoft.PolicyInsights/policyStates/" + hex.EncodeToString(sum[:20]))
		if err != nil {
			return nil, err
		}
		name := func(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
		properties := map[string]any{
			"resourceId": r.ResourceID, "resourceType": r.ResourceType, "resourceLocation": r.Location, "resourceGroup": id.ResourceGroup(), "subscriptionId": id.Subscription(),
			"timestamp": r.Timestamp.UTC().Format("2006-01-02T15:04:05.0000000Z"), "complianceState": r.Compliance, "isCompliant": r.Compliance == rules.Compliant, "stateWeight": stateWeight(r.Compliance),
			"policyAssignmentId": r.Assignment, "policyAssignmentName": name(r.Assignment), "policyAssignmentScope": r.Scope,
			"policyDefinitionId": r.Definition, "policyDefinitionName": name(r.Definition), "policyDefinitionAction": r.Effect, "policyDefinitionReferenceId": r.ReferenceID,
			"policySetDefinitionId": r.Set, "policySetDefinitionName": name(r.Set),
		}
		rows = append(rows, s.row(state, statesShown, map[string]any{"properties": properties}))
	}
	return rows, nil
}

// stateWeight orders states by how bad they are, as Azure's queries of compliance use it.
func stateWeight(state string) int64 {
	switch state {
	case rules.NonCompliant:
		return 300
	case rules.Compliant:
		return 200
	}
	return 50
}
