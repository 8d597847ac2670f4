package resources

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// tagsPath ends the path of the tags of whatever stands before it (Resources REST: Tags, at scope).
const tagsPath = "/providers/Microsoft.Resources/tags/default"

// tagScopes are the paths that may stand before tagsPath.
var tagScopes = []string{
	subscriptionPath, groupPath,
	groupPath + "/providers/{namespace}/{type}/{name}",
	groupPath + "/providers/{namespace}/{type}/{name}/{type2}/{name2}",
	groupPath + "/providers/{namespace}/{type}/{name}/{type2}/{name2}/{type3}/{name3}",
}

const (
	subscriptionPath = "/subscriptions/{subscription}"
	groupPath        = subscriptionPath + "/resourceGroups/{group}"
)

// scopeOf is the scope that the segments of a route name.
func scopeOf(path map[string]string) (arm.ID, error) {
	var b strings.Builder
	for _, part := range []struct{ before, name string }{
		{"/subscriptions/", "subscription"}, {"/resourceGroups/", "group"}, {"/providers/", "namespace"}, {"/", "type"}, {"/", "name"},
		{"/", "type2"}, {"/", "name2"}, {"/", "type3"}, {"/", "name3"},
	} {
		if v, ok := path[part.name]; ok {
			b.WriteString(part.before + v)
		}
	}
	return arm.ParseID(cmp.Or(b.String(), "/"))
}

// tagsBody is the body of a PUT or PATCH of tags.
type tagsBody struct {
	Operation  string `json:"operation"` // of a PATCH: Merge, Replace, Delete
	Properties *struct {
		Tags map[string]string `json:"tags"`
	} `json:"properties"`
}

func readTags(body []byte) (*tagsBody, error) {
	b := &tagsBody{}
	if err := json.Unmarshal(body, b); err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: 'properties.tags is an object of texts'.")
	}
	if b.Properties == nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: the member 'properties' with its 'tags' is missing.")
	}
	return b, nil
}

func (p *Provider) tagRoutes() (routes []rp.Route) {
	type change func(now map[string]string, body []byte) (map[string]string, error)
	for _, scope := range tagScopes {
		routes = append(routes, rp.Route{Method: http.MethodGet, Pattern: scope + tagsPath, Permission: "Microsoft.Resources/tags/read", Versions: versions,
			Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
				id, err := scopeOf(path)
				if err != nil {
					return nil, err
				}
				e, err := rp.Look(tx, id)
				if err != nil {
					return nil, err
				}
				return shownTags(e.ID, e.Tags), nil
			}})
		for method, f := range map[string]change{http.MethodPut: replaceTags, http.MethodPatch: patchTags, http.MethodDelete: dropTags} {
			permission := "Microsoft.Resources/tags/write"
			if method == http.MethodDelete {
				permission = "Microsoft.Resources/tags/delete"
			}
			routes = append(routes, rp.Route{Method: method, Pattern: scope + tagsPath, Permission: permission, Versions: versions,
				Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
					id, err := scopeOf(path)
					if err != nil {
						return nil, err
					}
					e, err := rp.Look(tx, id)
					if err != nil {
						return nil, err
					}
					tags, err := f(e.Tags, body)
					if err != nil {
						return nil, err
					}
					if err := rp.SetTags(tx, e.ID, tags); err != nil {
						return nil, err
					}
					if method == http.MethodDelete {
						return &rp.Response{Status: http.StatusOK}, nil
					}
					return shownTags(e.ID, tags), nil
				}})
		}
	}
	return routes
}

func shownTags(scope arm.ID, tags map[string]string) map[string]any {
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{
		"id": scope.String() + tagsPath, "name": "default", "type": "Microsoft.Resources/tags", "properties": map[string]any{"tags": tags},
	}
}

func replaceTags(_ map[string]string, body []byte) (map[string]string, error) {
	b, err := readTags(body)
	if err != nil {
		return nil, err
	}
	return b.Properties.Tags, nil
}

func dropTags(map[string]string, []byte) (map[string]string, error) { return nil, nil }

// patchTags merges, replaces or deletes. The names of tags are compared without case; a tag that is there keeps its
// spelling. Delete takes tags whose value is the one given, or any if none is.
func patchTags(now map[string]string, body []byte) (map[string]string, error) {
	b, err := readTags(body)
	if err != nil {
		return nil, err
	}
	tags := maps.Clone(now)
	if tags == nil {
		tags = map[string]string{}
	}
	switch strings.ToLower(b.Operation) {
	case "replace":
		return b.Properties.Tags, nil
	case "merge":
		for name, value := range b.Properties.Tags {
			tags[spelled(tags, name)] = value
		}
	case "delete":
		for name, value := range b.Properties.Tags {
			if has, ok := tags[spelled(tags, name)]; ok && (value == "" || value == has) {
				delete(tags, spelled(tags, name))
			}
		}
	default:
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: 'operation' is '%s'. It must be one of Merge, Replace, Delete.", b.Operation)
	}
	return tags, nil
}

// spelled is the name as the tags have it.
func spelled(tags map[string]string, name string) string {
	for k := range tags {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return name
}
