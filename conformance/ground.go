package conformance

import (
	"context"
	"net/http"
	"regexp"
	"strings"
)

// plain is the body that most types take, for one of which no case makes any, by the version that the region lists first.
func (s *seeder) plain(ctx context.Context, id string) []maker {
	namespace, kind, _ := strings.Cut(Case{Host: managementHost, Path: id}.Type(), "/")
	a, err := s.send(ctx, http.MethodGet, "https://"+managementHost+"/subscriptions/"+s.Subscription+"/providers/"+namespace+"?api-version=2021-04-01", nil)
	if err != nil || !a.ok() {
		return nil
	}
	m, _ := a.body.(map[string]any)
	for _, e := range asList(m["resourceTypes"]) {
		t, _ := e.(map[string]any)
		name, _ := t["resourceType"].(string)
		if versions := asList(t["apiVersions"]); strings.EqualFold(name, kind) && len(versions) > 0 {
			version, _ := versions[0].(string)
			return []maker{{version: version, body: object{"location": s.w.location, "properties": object{}}}}
		}
	}
	return nil
}

var deletedVault = regexp.MustCompile(`(?i)/providers/Microsoft\.KeyVault/locations/([^/]+)/deletedVaults/([^/]+)`)

// delete makes and deletes the vault that an example finds among the deleted ones.
func (s *seeder) delete(ctx context.Context, c Case, path string) error {
	m := deletedVault.FindStringSubmatch(path)
	if m == nil {
		return nil
	}
	s.w.names[m[1]] = s.w.location
	id := c.groupID() + "/providers/Microsoft.KeyVault/vaults/" + m[2]
	if err := s.ensure(ctx, id); err != nil {
		return err
	}
	a, err := s.send(ctx, http.MethodDelete, "https://"+managementHost+s.w.path(id)+"?api-version="+c.version(), nil)
	if err == nil {
		_, _, err = s.settle(ctx, a)
	}
	return err
}

// otherwise plays an action again that was refused, on each of the other kinds of its resource that cases make: an
// example names one and does not say which.
func (s *seeder) otherwise(ctx context.Context, c Case, diffs []string) ([]string, error) {
	path, _, _ := strings.Cut(c.Path, "?")
	target := path[:strings.LastIndex(path, "/")]
	if !armID.MatchString(target) {
		return diffs, nil
	}
	tried := map[string]bool{}
	for _, m := range s.makers[strings.ToLower(Case{Host: managementHost, Path: target}.Type())] {
		kind := kindOfBody(m.body)
		if !m.asked || tried[kind] {
			continue
		}
		tried[kind] = true
		url := "https://" + managementHost + s.w.path(target) + "?api-version=" + m.version
		gone, err := s.send(ctx, http.MethodDelete, url, nil)
		if err != nil {
			return nil, err
		}
		if _, _, err := s.settle(ctx, gone); err != nil {
			return nil, err
		}
		for _, ref := range ids(m.body) {
			if err := s.ensure(ctx, ref); err != nil {
				return nil, err
			}
		}
		made, err := s.send(ctx, http.MethodPut, url, s.w.located(s.w.own(m.body), target))
		if err != nil {
			return nil, err
		}
		if _, _, err := s.settle(ctx, made); err != nil {
			return nil, err
		}
		if again, err := s.play(ctx, s.w, c); err != nil || len(again) == 0 {
			return again, err
		}
	}
	return diffs, nil
}

// kindOfBody is the word by which the bodies of a type differ: a compute's computeType, a connection's authType.
func kindOfBody(body any) string {
	m, _ := body.(map[string]any)
	properties, _ := m["properties"].(map[string]any)
	for key, v := range properties {
		if word, ok := v.(string); ok && strings.HasSuffix(key, "Type") {
			return word
		}
	}
	return ""
}
