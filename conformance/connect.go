package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// connect makes a private endpoint of a connection's resource: that is how connections are made. The region names them,
// so the connection's name in the case becomes that of the region.
func (s *seeder) connect(ctx context.Context, id string) error {
	up := parent(id)
	group := strings.Join(strings.Split(id, "/")[:5], "/")
	s.endpoints++
	endpoint := fmt.Sprintf("%s/providers/Microsoft.Network/privateEndpoints/seedendpoint%d", group, s.endpoints)
	if s.endpoint != "" { // as the case says
		endpoint = s.endpoint
		if err := s.group(ctx, endpoint); err != nil {
			return err
		}
	}
	subnet := group + "/providers/Microsoft.Network/virtualNetworks/seed/subnets/seed"
	if err := s.ensure(ctx, subnet); err != nil {
		return err
	}
	const network, root = "?api-version=2024-05-01", "https://" + managementHost
	version := "?api-version=" + s.versionOf(id)
	link := object{"privateLinkServiceId": s.w.path(up)}
	if member, err := s.member(ctx, root+s.w.path(up)+"/privateLinkResources"+version); err != nil {
		return err
	} else if member != "" {
		link["groupIds"] = []any{member}
	}
	have, err := s.names(ctx, root+s.w.path(up)+"/privateEndpointConnections"+version)
	if err != nil {
		return err
	}
	a, err := s.send(ctx, http.MethodPut, root+s.w.path(endpoint)+network, object{"location": s.w.location, "properties": object{
		"subnet": object{"id": s.w.path(subnet)}, "privateLinkServiceConnections": []any{object{"name": "seed", "properties": link}}}})
	if err != nil {
		return err
	}
	if !a.ok() {
		s.refused = append(s.refused, fmt.Sprintf("%s could not be made: %s", id, a.code()))
		return nil
	}
	if _, _, err := s.settle(ctx, a); err != nil {
		return err
	}
	now, err := s.names(ctx, root+s.w.path(up)+"/privateEndpointConnections"+version)
	for name := range now {
		if !have[name] {
			s.w.names[id[strings.LastIndex(id, "/")+1:]] = name
		}
	}
	return err
}

// versionOf is the api-version by which cases speak of the resource, or of one of its kind.
func (s *seeder) versionOf(id string) string {
	if own := s.shown[strings.ToLower(id)]; own != nil {
		return own.version
	}
	for t := (Case{Host: managementHost, Path: id}).Type(); ; {
		if some := s.makers[strings.ToLower(t)]; len(some) > 0 {
			return some[len(some)-1].version
		}
		i := strings.LastIndex(t, "/")
		if i < 0 {
			return "2024-05-01"
		}
		t = t[:i]
	}
}

// member is the first group of a resource that can be linked, "" when there is none.
func (s *seeder) member(ctx context.Context, url string) (string, error) {
	a, err := s.send(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	m, _ := a.body.(map[string]any)
	for _, e := range asList(m["value"]) {
		one, _ := e.(map[string]any)
		properties, _ := one["properties"].(map[string]any)
		for _, v := range []any{properties["groupId"], one["groupId"], one["name"]} {
			if name, _ := v.(string); name != "" {
				return name, nil
			}
		}
	}
	return "", nil
}

// names are those of the elements of a list.
func (s *seeder) names(ctx context.Context, url string) (map[string]bool, error) {
	a, err := s.send(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	m, _ := a.body.(map[string]any)
	for _, e := range asList(m["value"]) {
		one, _ := e.(map[string]any)
		if name, _ := one["name"].(string); name != "" {
			out[name] = true
		}
	}
	return out, nil
}
