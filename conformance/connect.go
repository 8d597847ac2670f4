package conformance

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// connection is the id of what a private endpoint makes at its target.
var connection = regexp.MustCompile(`(?i)/privateEndpointConnections/[^/]+$`)

// connect makes a connection the way Azure does: by a private endpoint to the resource. The name that the connection
// gets stands for the recorded one from then on.
func (s *seeder) connect(ctx context.Context, id string) error {
	target, name := parent(id), id[strings.LastIndex(id, "/")+1:]
	all := s.candidates(target)
	if len(all) == 0 {
		return nil
	}
	url := func(tail string) string {
		return "https://" + managementHost + s.w.path(target) + tail + "?api-version=" + all[0].version
	}
	refuse := func(why string) error {
		s.refused = append(s.refused, fmt.Sprintf("%s could not be made: %s", id, why))
		return nil
	}
	groups, err := s.send(ctx, http.MethodGet, url("/privateLinkResources"), nil)
	if err != nil {
		return err
	}
	group, _ := lookup(first(groups.body, "value"), "properties", "groupId").(string)
	if group == "" {
		return refuse("the target has no private link resource: " + groups.code())
	}
	s.endpoints++
	endpoint := fmt.Sprintf("%s/providers/Microsoft.Network/privateEndpoints/seed%d", strings.Join(strings.Split(id, "/")[:5], "/"), s.endpoints)
	made, _ := s.basic("microsoft.network/privateendpoints", endpoint)
	properties, _ := made.body.(object)["properties"].(object)
	subnet, _ := lookup(properties, "subnet", "id").(string)
	if err := s.ensure(ctx, subnet); err != nil {
		return err
	}
	properties["privateLinkServiceConnections"] = []any{object{"name": "seed", "properties": object{"privateLinkServiceId": target, "groupIds": []any{group}}}}
	a, err := s.send(ctx, http.MethodPut, "https://"+managementHost+s.w.path(endpoint)+"?api-version="+made.version, s.w.own(made.body))
	if err != nil {
		return err
	}
	if !a.ok() {
		return refuse(a.code())
	}
	if failure, _, err := s.settle(ctx, a); err != nil || failure != "" {
		return refuse(failure)
	}
	shown, err := s.send(ctx, http.MethodGet, url(""), nil)
	if err != nil {
		return err
	}
	for _, c := range asList(lookup(shown.body, "properties", "privateEndpointConnections")) {
		from, _ := lookup(c, "properties", "privateEndpoint", "id").(string)
		if got, _ := lookup(c, "id").(string); strings.EqualFold(from, s.w.path(endpoint)) && got != "" {
			s.w.names[name] = got[strings.LastIndex(got, "/")+1:]
			return nil
		}
	}
	return refuse("its target does not show the connection")
}

// lookup follows keys into objects; nil where one is missing.
func lookup(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// first is the first element of a list in an object.
func first(v any, key string) any {
	if list := asList(lookup(v, key)); len(list) > 0 {
		return list[0]
	}
	return nil
}
