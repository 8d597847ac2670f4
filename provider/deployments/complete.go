package deployments

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/template"
)

func lower(s string) string { return strings.ToLower(s) }

// present is a resource of a group.
type present struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Name string `json:"name"`
}

// inGroup lists the resources of a group, as who deploys sees them.
func (h host) inGroup(ctx context.Context, group arm.ID) ([]present, error) {
	a, err := h.do(ctx, http.MethodGet, group.String()+"/resources", "2021-04-01", nil)
	if err != nil {
		return nil, err
	}
	var page struct{ Value []present }
	return page.Value, json.Unmarshal(a.Body, &page)
}

// surplus are the resources of a group that a template does not have. What stands in one that goes, goes with it.
func surplus(all []present, wanted []string) []present {
	var out []present
	for _, r := range all {
		key := lower(r.ID)
		if strings.HasPrefix(lower(r.Type), "microsoft.resources/deployments") || slices.ContainsFunc(wanted, func(id string) bool { return lower(id) == key || strings.HasPrefix(lower(id), key+"/") }) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// complete deletes what the group has and the template has not, in whatever order the resources' uses of each other
// allow ("Complete mode").
func (j *job) complete(ctx context.Context) error {
	wanted := slices.Clone(j.ids)
	for _, r := range j.d.Resources {
		if r.Condition { // without, it goes: so it is from api-version 2019-05-10 on
			wanted = append(wanted, r.ID)
		}
	}
	left := -1
	for {
		all, err := j.host.inGroup(ctx, j.rec.scope())
		if err != nil {
			return err
		}
		extra := surplus(all, wanted)
		if len(extra) == 0 {
			return nil
		}
		if len(extra) == left {
			e := arm.Errorf(http.StatusConflict, "DeploymentFailed", "The deployment in complete mode could not delete all resources that are not in the template.")
			e.Target, e.Details = j.rec.ID, j.bad
			return e
		}
		left, j.bad = len(extra), nil
		for _, r := range extra {
			if err := j.delete(ctx, r); err != nil {
				failure := arm.AsError(err)
				if failure == nil {
					return err
				}
				failure.Target = r.ID
				j.bad = append(j.bad, failure)
			}
		}
	}
}

// delete deletes one resource with the api-version that its type has.
func (j *job) delete(ctx context.Context, r present) error {
	s := j.step("Delete", &template.Resource{ID: r.ID, Type: r.Type, Name: r.Name})
	version, err := j.host.version(ctx, r.Type)
	if err != nil {
		return err
	}
	a, err := j.host.do(ctx, http.MethodDelete, r.ID, version, nil)
	if err == nil {
		err = j.follow(ctx, &template.Resource{ID: r.ID, Type: r.Type}, a.Header)
	}
	s.State, s.StatusCode = succeeded, "OK"
	if e := arm.AsError(err); e != nil {
		s.State, s.StatusCode, s.Failure = failed, strings.ReplaceAll(http.StatusText(e.Status), " ", ""), map[string]any{"error": e}
	}
	if serr := j.save(ctx, s); serr != nil && err == nil {
		return serr
	}
	return err
}

// version is the newest api-version of a type.
func (h host) version(ctx context.Context, resourceType string) (string, error) {
	namespace, typ, _ := strings.Cut(resourceType, "/")
	o, err := h.Providers(ctx, namespace, typ)
	if err != nil {
		return "", err
	}
	list, _ := o.Lookup("apiVersions")
	versions, _ := list.([]any)
	best := ""
	for _, v := range versions {
		if s, ok := v.(string); ok && s > best && !strings.Contains(s, "preview") {
			best = s
		}
	}
	if best == "" && len(versions) > 0 {
		best, _ = expr.String(versions[0])
	}
	return best, nil
}
