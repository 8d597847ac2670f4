package policyinsights

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/odata"
	rules "vauban.dev/policy"
	"vauban.dev/provider/policy"
	"vauban.dev/store"
)

// maxRows is how many rows a page has at most.
const maxRows = 1000

// queryStates is POST …/policyStates/{latest|default}/queryResults ("Policy States - List Query Results"). Only the
// latest states are kept, so that both views are the same.
func (p *Provider) queryStates(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	records, err := p.states(ctx, path)
	if err != nil {
		return nil, err
	}
	rows := make([]odata.Values, len(records))
	details := strings.EqualFold(option(r, "$expand"), "PolicyEvaluationDetails") || strings.HasPrefix(strings.ToLower(option(r, "$expand")), "policyevaluationdetails")
	for i, rec := range records {
		rows[i] = stateRow(rec, details)
	}
	return p.answer(r, rows, "policyStates/$metadata#"+path["view"], false)
}

// Latest are the latest states of all resources.
func (p *Provider) Latest(ctx context.Context) ([]policy.Record, error) {
	return p.states(ctx, map[string]string{"view": "latest"})
}

// states are the records that a path asks for, evaluated now.
func (p *Provider) states(ctx context.Context, path map[string]string) ([]policy.Record, error) {
	if v := strings.ToLower(path["view"]); v != "latest" && v != "default" {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidPolicyStatesResource", "The policy states '%s' are not 'latest' or 'default'.", path["view"])
	}
	scope, err := policy.ScopeOf(path)
	if err != nil {
		return nil, err
	}
	if err := p.scans.settle(ctx); err != nil {
		return nil, err
	}
	if err := p.expire(ctx); err != nil {
		return nil, err
	}
	var all []policy.Record
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		if err := rp.Exists(tx, scope); err != nil {
			return err
		}
		under := scope
		if scope.ManagementGroup() != "" {
			under = arm.MustParseID("/")
		}
		docs, err := readStates(tx, under)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(keys(docs)) {
			all = append(all, docs[key].Records...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p.chosen(ctx, all, path, scope)
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// chosen keeps the records of the definition, initiative or assignment that the path names, and of the management
// group's subscriptions.
func (p *Provider) chosen(ctx context.Context, all []policy.Record, path map[string]string, scope arm.ID) ([]policy.Record, error) {
	out := all[:0:0]
	for _, r := range all {
		switch {
		case path["assignment"] != "" && (!strings.EqualFold(last(r.Assignment), path["assignment"]) || !strings.EqualFold(r.Scope, scope.String())):
			continue
		case path["definition"] != "" && !strings.EqualFold(last(r.Definition), path["definition"]):
			continue
		case path["set"] != "" && !strings.EqualFold(last(r.Set), path["set"]):
			continue
		}
		if scope.ManagementGroup() != "" {
			id, err := arm.ParseID(r.ResourceID)
			if err != nil {
				continue
			}
			enclosing, err := p.cfg.Policies.Enclosing(ctx, id)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(enclosing, scope.Key()) {
				continue
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func last(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// expire evaluates again what an exemption excused that has ended since.
func (p *Provider) expire(ctx context.Context) error {
	now := p.cfg.Clock.Now()
	stale := false
	err := p.engine.View(ctx, func(tx *rp.Tx) error {
		docs, err := readStates(tx, arm.MustParseID("/"))
		for _, s := range docs {
			for _, r := range s.Records {
				stale = stale || r.Until != nil && !now.Before(*r.Until)
			}
		}
		return err
	})
	if err != nil || !stale {
		return err
	}
	return p.scans.everything(ctx)
}

// stateRow is a record as states are shown.
func stateRow(r policy.Record, details bool) odata.Values {
	v := row(r)
	v["policyDefinitionGroupNames"] = groupNames(r)
	v["policyDefinitionVersion"], v["policySetDefinitionVersion"], v["policyAssignmentVersion"] = r.Version, r.SetVersion, ""
	v["@odata.context"] = "https://management.azure.com/subscriptions/" + subscriptionOf(r.ResourceID) + "/providers/Microsoft.PolicyInsights/policyStates/$metadata#latest/$entity"
	if details {
		d := map[string]any{"evaluatedExpressions": r.Expressions}
		if r.Reason != "" {
			d["reason"] = r.Reason
		}
		v["policyEvaluationDetails"] = d
	}
	return v
}

func groupNames(r policy.Record) []string {
	if r.Groups == nil {
		return []string{}
	}
	return r.Groups
}

func subscriptionOf(id string) string {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return ""
	}
	return parsed.Subscription()
}

// row are the members that states and events have.
func row(r policy.Record) odata.Values {
	id, _ := arm.ParseID(r.ResourceID)
	return odata.Values{
		"@odata.id": nil, "timestamp": r.Timestamp.UTC().Format("2006-01-02T15:04:05.0000000Z"), "resourceId": r.ResourceID,
		"policyAssignmentId": r.Assignment, "policyDefinitionId": r.Definition, "effectiveParameters": r.Args,
		"isCompliant": r.Compliance == rules.Compliant, "subscriptionId": id.Subscription(), "resourceType": r.ResourceType,
		"resourceLocation": r.Location, "resourceGroup": id.ResourceGroup(), "resourceTags": orTBD(r.Tags),
		"policyAssignmentName": last(r.Assignment), "policyAssignmentOwner": "tbd", "policyAssignmentParameters": r.AssignmentArgs, "policyAssignmentScope": r.Scope,
		"policyDefinitionName": last(r.Definition), "policyDefinitionAction": r.Effect, "policyDefinitionCategory": orTBD(r.Category),
		"policySetDefinitionId": r.Set, "policySetDefinitionName": last(r.Set), "policySetDefinitionOwner": "", "policySetDefinitionCategory": r.SetCategory,
		"policySetDefinitionParameters": "", "managementGroupIds": "", "policyDefinitionReferenceId": r.ReferenceID, "complianceState": r.Compliance,
	}
}

// orTBD is what Azure shows for what it does not know.
func orTBD(s string) string {
	if s == "" {
		return "tbd"
	}
	return s
}

// queryEvents is POST …/policyEvents/default/queryResults ("Policy Events - List Query Results"): of the last day
// unless $from says otherwise.
func (p *Provider) queryEvents(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
	scope, err := policy.ScopeOf(path)
	if err != nil {
		return nil, err
	}
	var all []policy.Record
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		if err := rp.Exists(tx, scope); err != nil {
			return err
		}
		var bad error
		err := tx.Scan(policy.EventKind, "", "", func(d store.Doc) bool {
			var rec policy.Record
			if bad = json.Unmarshal(d.Value, &rec); bad != nil {
				return false
			}
			id, err := arm.ParseID(rec.ResourceID)
			if err == nil && (scope.ManagementGroup() != "" || id.Within(scope)) {
				all = append(all, rec)
			}
			return true
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return nil, err
	}
	if all, err = p.chosen(ctx, all, path, scope); err != nil {
		return nil, err
	}
	rows := make([]odata.Values, len(all))
	for i, rec := range all {
		rows[i] = row(rec)
		rows[i]["tenantId"], rows[i]["principalOid"] = p.cfg.TenantID, rec.Principal
		rows[i]["@odata.context"] = "https://management.azure.com/subscriptions/" + subscriptionOf(rec.ResourceID) + "/providers/Microsoft.PolicyInsights/policyEvents/$metadata#default/$entity"
	}
	return p.answer(r, rows, "policyEvents/$metadata#default", true)
}

// option is a query option, whatever its case.
func option(r *rp.Request, name string) string {
	for k, v := range r.Query {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

func badQuery(name, value, why string) *arm.Error {
	if len(value) > 256 {
		value = value[:256] + "…"
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidQueryOption", "The query option %s '%s' is not valid: %s.", name, value, why)
}

// answer applies the query options to rows. recent says that only the last day counts unless $from is given.
func (p *Provider) answer(r *rp.Request, rows []odata.Values, context string, recent bool) (*rp.Response, error) {
	rows, err := p.within(r, rows, recent)
	if err != nil {
		return nil, err
	}
	filter, err := odata.ParseFilter(option(r, "$filter"), nil)
	if err == nil {
		rows, err = odata.Select(rows, filter)
	}
	if err != nil {
		return nil, badQuery("$filter", option(r, "$filter"), err.Error())
	}
	if s := option(r, "$apply"); s != "" {
		apply, err := odata.ParseApply(s)
		if err == nil {
			rows, err = apply.Run(rows)
		}
		if err != nil {
			return nil, badQuery("$apply", s, err.Error())
		}
	}
	if err := orderBy(rows, option(r, "$orderby")); err != nil {
		return nil, err
	}
	count := len(rows)
	rows, next, err := page(r, rows)
	if err != nil {
		return nil, err
	}
	if s := option(r, "$select"); s != "" {
		rows = pick(rows, s)
	}
	if rows == nil {
		rows = []odata.Values{}
	}
	body := map[string]any{"@odata.context": r.Base + strings.TrimSuffix(r.Path, "/queryResults")[:strings.Index(strings.ToLower(r.Path), "/microsoft.policyinsights/")] + "/Microsoft.PolicyInsights/" + context, "@odata.count": count, "value": rows}
	if next != "" {
		body["@odata.nextLink"] = next
	}
	return &rp.Response{Status: http.StatusOK, Body: body}, nil
}

// within applies $from and $to.
func (p *Provider) within(r *rp.Request, rows []odata.Values, recent bool) ([]odata.Values, error) {
	from, to := time.Time{}, time.Time{}
	for name, t := range map[string]*time.Time{"$from": &from, "$to": &to} {
		s := option(r, name)
		if s == "" {
			continue
		}
		var err error
		if *t, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return nil, badQuery(name, s, "a time in ISO 8601 is expected")
		}
	}
	if recent && from.IsZero() {
		until := to
		if until.IsZero() {
			until = p.cfg.Clock.Now()
		}
		from = until.Add(-cycle)
	}
	return slices.DeleteFunc(rows, func(v odata.Values) bool {
		s, _ := v["timestamp"].(string)
		t, err := time.Parse(time.RFC3339Nano, s)
		return err != nil || !from.IsZero() && t.Before(from) || !to.IsZero() && t.After(to)
	}), nil
}

// orderBy sorts by "member [asc|desc], …".
func orderBy(rows []odata.Values, s string) error {
	if s == "" {
		return nil
	}
	type by struct {
		member string
		desc   bool
	}
	var all []by
	for part := range strings.SplitSeq(s, ",") {
		f := strings.Fields(part)
		if len(f) == 0 || len(f) > 2 || len(f) == 2 && !strings.EqualFold(f[1], "asc") && !strings.EqualFold(f[1], "desc") {
			return badQuery("$orderby", s, "members with asc or desc are expected")
		}
		if len(rows) > 0 {
			if _, ok := rows[0].Member(f[0]); !ok {
				return badQuery("$orderby", s, "there is no member '"+f[0]+"'")
			}
		}
		all = append(all, by{f[0], len(f) == 2 && strings.EqualFold(f[1], "desc")})
	}
	sort.SliceStable(rows, func(i, j int) bool {
		for _, b := range all {
			x, _ := rows[i].Member(b.member)
			y, _ := rows[j].Member(b.member)
			if n := odata.Compare(x, y); n != 0 {
				return (n < 0) != b.desc
			}
		}
		return false
	})
	return nil
}

// page applies $top and $skiptoken.
func page(r *rp.Request, rows []odata.Values) (_ []odata.Values, next string, err error) {
	size, skip := maxRows, 0
	top := option(r, "$top")
	if top != "" {
		if size, err = strconv.Atoi(top); err != nil || size < 0 {
			return nil, "", badQuery("$top", top, "a number is expected")
		}
		size = min(size, maxRows)
	}
	if s := option(r, "$skiptoken"); s != "" {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil {
			skip, err = strconv.Atoi(string(b))
		}
		if err != nil || skip < 0 {
			return nil, "", badQuery("$skiptoken", s, "it is not one that this service gave out")
		}
	}
	rows = rows[min(skip, len(rows)):]
	if len(rows) <= size {
		return rows, "", nil
	}
	if top == "" {
		q := r.Query
		q.Del("$skiptoken")
		q.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(skip+size))))
		next = r.Base + r.Path + "?" + q.Encode()
	}
	return rows[:size], next, nil
}

// pick keeps the members that $select names.
func pick(rows []odata.Values, s string) []odata.Values {
	out := make([]odata.Values, len(rows))
	for i, v := range rows {
		out[i] = odata.Values{}
		for name := range strings.SplitSeq(s, ",") {
			name = strings.TrimSpace(name)
			for k, x := range v {
				if strings.EqualFold(k, name) {
					out[i][k] = x
				}
			}
		}
	}
	return out
}
