package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/odata"
	rules "vauban.dev/policy"
)

// shown is a document as lists and the built-in ones' GET show it.
type shown struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Location   string          `json:"location,omitempty"`
	Identity   *arm.Identity   `json:"identity,omitempty"`
	SKU        json.RawMessage `json:"sku,omitempty"`
	Properties any             `json:"properties"`
	SystemData *arm.SystemData `json:"systemData,omitempty"`
}

func show[T any](r *rp.Resource[T]) shown {
	t := r.ID.Type().String()
	return shown{ID: r.ID.String(), Name: r.ID.Name(), Type: t, Location: r.Location, Identity: r.Identity, SKU: r.SKU, Properties: &r.Properties, SystemData: &r.SystemData}
}

func showBuiltin(b *rules.Builtin) shown {
	return shown{ID: b.ID, Name: b.Name, Type: DefinitionType, Properties: &b.Properties}
}

const (
	managementGroup = "/providers/Microsoft.Management/managementGroups/{management}"
	subscription    = "/subscriptions/{subscription}"
)

// scopes are the places at which assignments and exemptions are listed.
var scopes = []string{
	managementGroup, subscription, subscription + "/resourceGroups/{group}",
	subscription + "/resourceGroups/{group}/providers/{namespace}/{type}/{name}",
	subscription + "/resourceGroups/{group}/providers/{namespace}/{type}/{name}/{type2}/{name2}",
	subscription + "/resourceGroups/{group}/providers/{namespace}/{type}/{name}/{type2}/{name2}/{type3}/{name3}",
}

// ScopeOf is the scope that the segments of a route name.
func ScopeOf(path map[string]string) (arm.ID, error) {
	var b strings.Builder
	for _, part := range []struct{ before, name string }{
		{"/providers/Microsoft.Management/managementGroups/", "management"}, {"/subscriptions/", "subscription"}, {"/resourceGroups/", "group"},
		{"/providers/", "namespace"}, {"/", "type"}, {"/", "name"}, {"/", "type2"}, {"/", "name2"}, {"/", "type3"}, {"/", "name3"},
	} {
		if v, ok := path[part.name]; ok {
			b.WriteString(part.before + v)
		}
	}
	return arm.ParseID(cmp.Or(b.String(), "/"))
}

type routeFunc = func(ctx context.Context, tx *rp.Tx, path, query map[string]string, body []byte) (any, error)

func (p *Provider) listings() rp.Registration {
	var routes []rp.Route
	get := func(pattern, permission string, versions []string, do routeFunc) {
		routes = append(routes, rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: permission, Versions: versions, Do: do})
	}
	for _, scope := range []string{"", managementGroup, subscription} {
		read := func(typeName string) string {
			if scope == "" { // the built-in ones are everybody's
				return "-"
			}
			return typeName + "/read"
		}
		get(scope+"/providers/"+DefinitionType, read(DefinitionType), definitionVersions, p.listDefinitions)
		get(scope+"/providers/"+SetType, read(SetType), definitionVersions, p.listSets)
	}
	for _, scope := range []string{managementGroup, subscription} {
		get(scope+"/providers/"+DefinitionType+"/{definition}/versions", DefinitionVersionType+"/read", definitionVersions, p.listVersions)
	}
	get("/providers/"+DefinitionType+"/{definition}", "-", definitionVersions, getBuiltin)
	get("/providers/"+DefinitionType+"/{definition}/versions", "-", definitionVersions, listBuiltinVersions)
	get("/providers/"+DefinitionType+"/{definition}/versions/{version}", "-", definitionVersions, getBuiltinVersion)
	for _, scope := range scopes {
		get(scope+"/providers/"+AssignmentType, AssignmentType+"/read", definitionVersions, p.listAssignments)
		get(scope+"/providers/"+ExemptionType, ExemptionType+"/read", exemptionVersions, p.listExemptions)
	}
	return rp.Routes(routes...)
}

func getBuiltin(_ context.Context, _ *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	b, ok := rules.FindBuiltin(path["definition"])
	if !ok {
		return nil, arm.Errorf(http.StatusNotFound, "PolicyDefinitionNotFound", "The policy definition '%s' could not be found.", path["definition"])
	}
	return showBuiltin(b), nil
}

// version is a definition as one of its versions is shown.
func version(b *rules.Builtin) shown {
	return shown{ID: b.ID + "/versions/" + b.Properties.Version, Name: b.Properties.Version, Type: DefinitionVersionType, Properties: &b.Properties}
}

func listBuiltinVersions(ctx context.Context, tx *rp.Tx, path, query map[string]string, body []byte) (any, error) {
	b, ok := rules.FindBuiltin(path["definition"])
	if !ok {
		return getBuiltin(ctx, tx, path, query, body)
	}
	return map[string]any{"value": []shown{version(b)}}, nil
}

// listVersions are the versions of a custom definition, or of a built-in one: clients ask for both at a subscription.
func (p *Provider) listVersions(ctx context.Context, tx *rp.Tx, path, query map[string]string, body []byte) (any, error) {
	scope, err := ScopeOf(path)
	if err != nil {
		return nil, err
	}
	id, err := arm.ParseID(scope.String() + "/providers/" + DefinitionType + "/" + path["definition"])
	if err != nil {
		return nil, err
	}
	if err := rp.Exists(tx, id); err != nil {
		return listBuiltinVersions(ctx, tx, path, query, body)
	}
	all, err := rp.List[rules.Definition](tx, DefinitionVersionType, id)
	if err != nil {
		return nil, err
	}
	value := []shown{}
	for _, r := range all {
		value = append(value, show(r))
	}
	return map[string]any{"value": value}, nil
}

func getBuiltinVersion(ctx context.Context, tx *rp.Tx, path, query map[string]string, body []byte) (any, error) {
	b, ok := rules.FindBuiltin(path["definition"])
	if !ok {
		return getBuiltin(ctx, tx, path, query, body)
	}
	if !versionMatches(b.Properties.Version, path["version"]) {
		return nil, arm.Errorf(http.StatusNotFound, "PolicyDefinitionVersionNotFound", "The version '%s' of the policy definition '%s' could not be found: the region has version %s.", path["version"], b.Name, b.Properties.Version)
	}
	return version(b), nil
}

// listDefinitions are the built-in definitions, then the custom ones at the scope and above it ("Policy Definitions -
// List"). $filter takes atExactScope(), policyType eq '…' and category eq '…'.
func (p *Provider) listDefinitions(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	scope, rows, err := p.scoped(ctx, tx, path)
	if err != nil {
		return nil, err
	}
	for _, b := range rules.Builtins() {
		rows = append(rows, row{"/", showBuiltin(b), odata.Values{"policyType": "BuiltIn", "category": category(b.Properties.Metadata)}})
	}
	custom, err := rp.List[rules.Definition](tx, DefinitionType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	for _, r := range custom {
		rows = append(rows, row{r.ID.Scope().Key(), show(r), odata.Values{"policyType": r.Properties.PolicyType, "category": category(r.Properties.Metadata)}})
	}
	return p.answer(ctx, scope, rows, query, false)
}

func (p *Provider) listSets(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	scope, rows, err := p.scoped(ctx, tx, path)
	if err != nil {
		return nil, err
	}
	custom, err := rp.List[rules.SetDefinition](tx, SetType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	for _, r := range custom {
		rows = append(rows, row{r.ID.Scope().Key(), show(r), odata.Values{"policyType": r.Properties.PolicyType, "category": category(r.Properties.Metadata)}})
	}
	return p.answer(ctx, scope, rows, query, false)
}

// listAssignments are those at the scope, above and below it ("Policy Assignments - List"): atScope() leaves out those
// below, atExactScope() those above too; policyDefinitionId eq '…'.
func (p *Provider) listAssignments(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	scope, rows, err := p.scoped(ctx, tx, path)
	if err != nil {
		return nil, err
	}
	all, err := rp.List[rules.Assignment](tx, AssignmentType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		rows = append(rows, row{r.ID.Scope().Key(), show(r), odata.Values{"policyDefinitionId": r.Properties.DefinitionID}})
	}
	return p.answer(ctx, scope, rows, query, true)
}

// listExemptions is like listAssignments; $filter also takes excludeExpired() and policyAssignmentId eq '…'.
func (p *Provider) listExemptions(ctx context.Context, tx *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
	scope, rows, err := p.scoped(ctx, tx, path)
	if err != nil {
		return nil, err
	}
	all, err := rp.List[rules.Exemption](tx, ExemptionType, arm.MustParseID("/"))
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		expired := r.Properties.ExpiresOn != nil && !tx.Now.Before(*r.Properties.ExpiresOn)
		rows = append(rows, row{r.ID.Scope().Key(), show(r), odata.Values{"policyAssignmentId": r.Properties.AssignmentID, "expired": expired}})
	}
	return p.answer(ctx, scope, rows, query, true)
}

// row is a document that may be in a list.
type row struct {
	scope  string // lower case
	shown  shown
	values odata.Values
}

func (r row) Member(name string) (any, bool) {
	if name == "scope" {
		return r.scope, true
	}
	return r.values.Member(name)
}

func (p *Provider) scoped(_ context.Context, tx *rp.Tx, path map[string]string) (arm.ID, []row, error) {
	scope, err := ScopeOf(path)
	if err != nil {
		return scope, nil, err
	}
	return scope, nil, rp.Exists(tx, scope)
}

// answer filters rows. below says that what lies under the scope is listed too.
func (p *Provider) answer(ctx context.Context, scope arm.ID, rows []row, query map[string]string, below bool) (any, error) {
	exact, narrow := false, false
	is := func(flag *bool) odata.Call {
		return func([]any, odata.Row) (any, error) { *flag = true; return true, nil }
	}
	calls := map[string]odata.Call{
		"atexactscope": is(&exact), "atscope": is(&narrow), "atscopeandbelow": func([]any, odata.Row) (any, error) { return true, nil },
		"excludeexpired": func(_ []any, r odata.Row) (any, error) {
			v, _ := r.Member("expired")
			return v != true, nil
		},
	}
	bad := func(why string) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string: %s.", query["$filter"], why)
	}
	filter, err := odata.ParseFilter(query["$filter"], calls)
	if err != nil {
		return nil, bad(err.Error())
	}
	enclosing, err := p.enclosing(ctx, scope)
	if err != nil {
		return nil, err
	}
	top := -1
	if s := query["$top"]; s != "" {
		if top, err = strconv.Atoi(s); err != nil || top < 1 || top > 1000 {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidTopQueryString", "The $top query string '%s' is not a number from 1 to 1000.", s)
		}
	}
	value := []shown{}
	for _, r := range rows {
		ok, err := filter.Match(r)
		if err != nil {
			return nil, bad(err.Error())
		}
		within := r.scope == scope.Key()
		if !exact {
			within = within || slices.Contains(enclosing, r.scope) || below && !narrow && strings.HasPrefix(r.scope, strings.TrimSuffix(scope.Key(), "/")+"/")
		}
		if ok && within {
			value = append(value, r.shown)
		}
	}
	if top >= 0 && len(value) > top {
		value = value[:top]
	}
	return map[string]any{"value": value}, nil
}
