package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

const managementHost = "management.azure.com"

// plane is the data plane of a type of resource: {name}.{suffix}.
type plane struct {
	suffix   string
	audience string // what its tokens are for
	kind     string // the type of the resource that a host names
	version  string // of Resource Manager's api, to make one
	// body makes one in which the caller may do everything.
	body func(r *Region) object
	// destroy is where what was deleted is removed for good; "" if the plane keeps nothing.
	destroy func(path string) string
}

var planes = []plane{{
	suffix: "vault.azure.net", audience: "https://vault.azure.net", kind: "Microsoft.KeyVault/vaults", version: "2023-07-01",
	body: func(r *Region) object {
		all := []any{"all", "purge"}
		return object{"location": r.Location, "properties": object{
			"tenantId": r.Tenant, "sku": object{"family": "A", "name": "standard"},
			"accessPolicies": []any{object{"tenantId": r.Tenant, "objectId": r.ObjectID, "permissions": object{"secrets": all, "keys": all, "certificates": all}}},
		}}
	},
	destroy: func(path string) string { return "/deleted" + strings.TrimPrefix(path, "/") },
}}

func planeOf(host string) (plane, bool) {
	_, suffix, _ := strings.Cut(host, ".")
	for _, p := range planes {
		if strings.EqualFold(p.suffix, suffix) {
			return p, true
		}
	}
	return plane{}, false
}

// audience is what a token for a host is for.
func audience(host string) string {
	if p, ok := planeOf(host); ok {
		return p.audience
	}
	return "https://" + managementHost
}

// plane plays a case of a data plane. The resource that its host names was made before the recording began.
func (s *seeder) plane(ctx context.Context, c Case) ([]string, error) {
	p, ok := planeOf(c.Host)
	if !ok {
		return []string{"a data plane that this project does not serve"}, nil
	}
	if refused, err := s.host(ctx, p, c.Host); err != nil || refused != "" {
		return []string{refused}, err
	}
	diffs, err := s.play(ctx, s.w, c)
	if shown, _ := c.Response.(map[string]any); err == nil && c.Method == http.MethodDelete && c.Status == http.StatusOK && shown["recoveryId"] == nil {
		// The recording's resource kept nothing of what was deleted, as Azure's do no more.
		path, query, _ := strings.Cut(c.Path, "?")
		_, err = s.send(ctx, http.MethodDelete, s.w.url("https://"+c.Host+p.destroy(path)+"?"+query), nil)
	}
	return diffs, err
}

// host makes the resource of a host; why it could not be made, or "".
func (s *seeder) host(ctx context.Context, p plane, host string) (refused string, err error) {
	name, _, _ := strings.Cut(host, ".")
	id := "/subscriptions/" + s.w.subscription + "/resourceGroups/planes/providers/" + p.kind + "/" + name
	s.w.rename(id)
	key := strings.ToLower(s.w.path(id))
	if s.made[key] {
		return "", nil
	}
	if err := s.group(ctx, id); err != nil {
		return "", err
	}
	a, err := s.send(ctx, http.MethodPut, "https://"+managementHost+s.w.path(id)+"?api-version="+p.version, p.body(s.Region))
	if err != nil {
		return "", err
	}
	if !a.ok() {
		return fmt.Sprintf("%s could not be made: %s", id, a.code()), nil
	}
	failure, _, err := s.settle(ctx, a)
	if failure != "" {
		return fmt.Sprintf("%s could not be made: %s", id, failure), err
	}
	s.made[key] = err == nil
	return "", err
}
