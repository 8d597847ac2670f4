package policyinsights

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm/rp"
	"vauban.dev/internal/odata"
	rules "vauban.dev/policy"
	"vauban.dev/provider/policy"
)

// summarize is POST …/policyStates/latest/summarize ("Policy States - Summarize").
func (p *Provider) summarize(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	records, err := p.states(ctx, path)
	if err != nil {
		return nil, err
	}
	filter, err := odata.ParseFilter(option(r, "$filter"), nil)
	if err != nil {
		return nil, badQuery("$filter", option(r, "$filter"), err.Error())
	}
	kept := records[:0:0]
	for _, rec := range records {
		ok, err := filter.Match(stateRow(rec, false))
		if err != nil {
			return nil, badQuery("$filter", option(r, "$filter"), err.Error())
		}
		if ok {
			kept = append(kept, rec)
		}
	}
	query := r.Base + strings.TrimSuffix(r.Path, "/summarize") + "/queryResults?api-version=" + stateVersion
	body := map[string]any{
		"@odata.context": r.Base + strings.TrimSuffix(r.Path, "/latest/summarize") + "/$metadata#summary", "@odata.count": 1,
		"value": []any{map[string]any{
			"@odata.id": nil, "@odata.context": r.Base + strings.TrimSuffix(r.Path, "/latest/summarize") + "/$metadata#summary/$entity",
			"results": results(kept, query), "policyAssignments": byAssignment(kept, query, option(r, "$top")),
		}},
	}
	return &rp.Response{Status: http.StatusOK, Body: body}, nil
}

// rank orders states for a roll-up: the first wins ("Compliance rollup").
var rank = []string{rules.NonCompliant, rules.Failed, rules.Compliant, rules.Conflict, rules.Exempt, rules.Unknown}

func worse(a, b string) string {
	if a == "" || slices.Index(rank, b) < slices.Index(rank, a) {
		return b
	}
	return a
}

// results counts resources and definitions by their worst state.
func results(records []policy.Record, query string) map[string]any {
	resources, definitions, groups := map[string]string{}, map[string]string{}, map[string]string{}
	for _, r := range records {
		key := strings.ToLower(r.ResourceID)
		resources[key] = worse(resources[key], r.Compliance)
		key = strings.ToLower(r.Assignment + " " + r.Definition + " " + r.ReferenceID)
		definitions[key] = worse(definitions[key], r.Compliance)
		for _, g := range r.Groups {
			key = strings.ToLower(r.Assignment + " " + g)
			groups[key] = worse(groups[key], r.Compliance)
		}
	}
	return map[string]any{
		"queryResultsUri": query, "nonCompliantResources": counted(resources, rules.NonCompliant), "nonCompliantPolicies": counted(definitions, rules.NonCompliant),
		"resourceDetails": details(resources), "policyDetails": details(definitions), "policyGroupDetails": details(groups),
	}
}

func counted(m map[string]string, state string) int {
	n := 0
	for _, s := range m {
		if s == state {
			n++
		}
	}
	return n
}

func details(m map[string]string) []map[string]any {
	out := []map[string]any{}
	for _, s := range rank {
		if n := counted(m, s); n > 0 {
			out = append(out, map[string]any{"complianceState": strings.ToLower(s), "count": n})
		}
	}
	return out
}

func byAssignment(records []policy.Record, query, top string) []any {
	out := []any{}
	for _, a := range grouped(records, func(r policy.Record) string { return strings.ToLower(r.Assignment) }) {
		definitions, groups := []any{}, []any{}
		for _, d := range grouped(a, func(r policy.Record) string { return strings.ToLower(r.Definition + " " + r.ReferenceID) }) {
			definitions = append(definitions, map[string]any{
				"policyDefinitionId": d[0].Definition, "policyDefinitionReferenceId": d[0].ReferenceID, "policyDefinitionGroupNames": groupNames(d[0]),
				"effect": d[0].Effect, "results": results(d, query),
			})
		}
		byGroup := map[string][]policy.Record{}
		for _, r := range a {
			for _, g := range r.Groups {
				byGroup[g] = append(byGroup[g], r)
			}
		}
		for _, name := range slices.Sorted(keys(byGroup)) {
			groups = append(groups, map[string]any{"policyGroupName": name, "results": results(byGroup[name], query)})
		}
		out = append(out, map[string]any{
			"policyAssignmentId": a[0].Assignment, "policySetDefinitionId": a[0].Set, "results": results(a, query),
			"policyDefinitions": definitions, "policyGroups": groups,
		})
		if top == "1" {
			break
		}
	}
	return out
}

// grouped splits records by a key, in the order of their first ones.
func grouped(records []policy.Record, key func(policy.Record) string) [][]policy.Record {
	at := map[string]int{}
	var out [][]policy.Record
	for _, r := range records {
		k := key(r)
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], r)
	}
	return out
}
