package resources

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// tagNameKind are the predefined tags of subscriptions, by subscription/name in lower case.
const tagNameKind = "resources.tagname"

// tagName is a predefined tag: its name and values as they were written.
type tagName struct {
	Name   string   `json:"name"`
	Values []string `json:"values,omitempty"`
}

// tagCount is how many resources have a tag, or a value of it.
type tagCount struct {
	Type  string `json:"type"`
	Value int    `json:"value"`
}

type shownTagValue struct {
	ID    string   `json:"id"`
	Value string   `json:"tagValue"`
	Count tagCount `json:"count"`
}

type shownTagName struct {
	ID     string          `json:"id"`
	Name   string          `json:"tagName"`
	Count  tagCount        `json:"count"`
	Values []shownTagValue `json:"values"`
}

const maxTagName, maxTagValue = 512, 256 // characters

// tagNameRoutes are the tags of a subscription, predefined or in use (Resources REST: Tags, List, Create Or Update …).
func (p *Provider) tagNameRoutes() []rp.Route {
	const names = subscriptionPath + "/tagNames"
	route := func(method, pattern, verb string, do func(tx *rp.Tx, path map[string]string) (any, error)) rp.Route {
		return rp.Route{Method: method, Pattern: pattern, Permission: "Microsoft.Resources/subscriptions/" + verb, Versions: versions,
			Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
				return do(tx, path)
			}}
	}
	return []rp.Route{
		route(http.MethodGet, names, "tagNames/read", listTagNames),
		route(http.MethodPut, names+"/{tag}", "tagNames/write", putTagName),
		route(http.MethodDelete, names+"/{tag}", "tagNames/delete", deleteTagName),
		route(http.MethodPut, names+"/{tag}/tagValues/{value}", "tagNames/tagValues/write", putTagValue),
		route(http.MethodDelete, names+"/{tag}/tagValues/{value}", "tagNames/tagValues/delete", deleteTagValue),
	}
}

func tagNameKey(path map[string]string) string {
	return strings.ToLower(path["subscription"] + "/" + path["tag"])
}

func readTagName(tx *rp.Tx, key string) (*tagName, int64, error) {
	doc, err := tx.Get(tagNameKind, key)
	if err != nil {
		return nil, store.None, err
	}
	t := &tagName{}
	return t, doc.Version, json.Unmarshal(doc.Value, t)
}

func (t *tagName) write(tx *rp.Tx, key string, version int64) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = tx.Put(tagNameKind, key, b, version)
	return err
}

// usedTags counts the tags of a subscription: by lower-case name, then by value.
func usedTags(tx *rp.Tx, subscription string) (map[string]map[string]int, map[string]string, error) {
	id, err := arm.ParseID("/subscriptions/" + subscription)
	if err != nil {
		return nil, nil, err
	}
	counts, names := map[string]map[string]int{}, map[string]string{}
	err = rp.EachEnvelope(tx, id, func(e rp.Envelope) error {
		for name, value := range e.Tags {
			key := strings.ToLower(name)
			if counts[key] == nil {
				counts[key], names[key] = map[string]int{}, name
			}
			counts[key][value]++
		}
		return nil
	})
	return counts, names, err
}

func listTagNames(tx *rp.Tx, path map[string]string) (any, error) {
	counts, names, err := usedTags(tx, path["subscription"])
	if err != nil {
		return nil, err
	}
	predefined := map[string]*tagName{}
	var bad error
	prefix := strings.ToLower(path["subscription"]) + "/"
	err = tx.Scan(tagNameKind, prefix, "", func(doc store.Doc) bool {
		t := &tagName{}
		if bad = json.Unmarshal(doc.Value, t); bad != nil {
			return false
		}
		key := doc.Key[len(prefix):]
		predefined[key], names[key] = t, t.Name
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, err
	}
	value := []shownTagName{}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		value = append(value, showTagName(path["subscription"], names[key], predefined[key], counts[key]))
	}
	return map[string]any{"value": value}, nil
}

func showTagName(subscription, name string, predefined *tagName, counts map[string]int) shownTagName {
	id := "/subscriptions/" + subscription + "/tagNames/" + name
	t := shownTagName{ID: id, Name: name, Count: tagCount{Type: "Total"}, Values: []shownTagValue{}}
	values := map[string]bool{}
	if predefined != nil {
		for _, v := range predefined.Values {
			values[v] = true
		}
	}
	for v, n := range counts {
		t.Count.Value += n
		values[v] = true
	}
	for _, v := range slices.Sorted(maps.Keys(values)) {
		t.Values = append(t.Values, shownTagValue{ID: id + "/tagValues/" + v, Value: v, Count: tagCount{Type: "Total", Value: counts[v]}})
	}
	return t
}

func checkTagName(name string) error {
	if name == "" || len([]rune(name)) > maxTagName || strings.ContainsAny(name, `<>%&\?/`) {
		return arm.Errorf(http.StatusBadRequest, "InvalidTagNameCharacters", "The tag name '%s' is invalid: it must have 1 to %d characters and none of <>%%&\\?/.", name, maxTagName)
	}
	for _, reserved := range []string{"microsoft", "azure", "windows"} {
		if strings.HasPrefix(strings.ToLower(name), reserved) {
			return arm.Errorf(http.StatusBadRequest, "ReservedTagName", "The tag name '%s' is invalid: it must not begin with 'microsoft', 'azure' or 'windows', which are reserved.", name)
		}
	}
	return nil
}

func putTagName(tx *rp.Tx, path map[string]string) (any, error) {
	if err := checkTagName(path["tag"]); err != nil {
		return nil, err
	}
	key, status := tagNameKey(path), http.StatusOK
	t, _, err := readTagName(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		t, status = &tagName{Name: path["tag"]}, http.StatusCreated
		err = t.write(tx, key, store.None)
	}
	if err != nil {
		return nil, err
	}
	counts, _, err := usedTags(tx, path["subscription"])
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: status, Body: showTagName(path["subscription"], t.Name, t, counts[strings.ToLower(t.Name)])}, nil
}

// deleteTagName deletes a predefined tag without values of which nothing makes use: 409 else, 204 if it is not there.
func deleteTagName(tx *rp.Tx, path map[string]string) (any, error) {
	key := tagNameKey(path)
	t, version, err := readTagName(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	counts, _, err := usedTags(tx, path["subscription"])
	switch {
	case err != nil:
		return nil, err
	case len(counts[strings.ToLower(t.Name)]) > 0:
		return nil, arm.Errorf(http.StatusConflict, "TagInUse", "The tag name '%s' cannot be deleted: resources have the tag. Remove it from them first.", t.Name)
	case len(t.Values) > 0:
		return nil, arm.Errorf(http.StatusConflict, "TagHasValues", "The tag name '%s' cannot be deleted: it has the value '%s'. Delete its values first.", t.Name, t.Values[0])
	}
	return &rp.Response{Status: http.StatusOK}, tx.Delete(tagNameKind, key, version)
}

func putTagValue(tx *rp.Tx, path map[string]string) (any, error) {
	if len([]rune(path["value"])) > maxTagValue {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidTagValueLength", "The value of tag '%s' is longer than %d characters.", path["tag"], maxTagValue)
	}
	key, status := tagNameKey(path), http.StatusOK
	t, version, err := readTagName(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, arm.Errorf(http.StatusNotFound, "TagNotFound", "The tag name '%s' could not be found.", path["tag"])
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.Values, path["value"]) {
		status = http.StatusCreated
		t.Values = append(t.Values, path["value"])
		if err := t.write(tx, key, version); err != nil {
			return nil, err
		}
	}
	counts, _, err := usedTags(tx, path["subscription"])
	if err != nil {
		return nil, err
	}
	id := "/subscriptions/" + path["subscription"] + "/tagNames/" + t.Name + "/tagValues/" + path["value"]
	return &rp.Response{Status: status, Body: shownTagValue{ID: id, Value: path["value"], Count: tagCount{Type: "Total", Value: counts[strings.ToLower(t.Name)][path["value"]]}}}, nil
}

func deleteTagValue(tx *rp.Tx, path map[string]string) (any, error) {
	key := tagNameKey(path)
	t, version, err := readTagName(tx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && !slices.Contains(t.Values, path["value"]) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	counts, _, err := usedTags(tx, path["subscription"])
	if err != nil {
		return nil, err
	}
	if counts[strings.ToLower(t.Name)][path["value"]] > 0 {
		return nil, arm.Errorf(http.StatusConflict, "TagInUse", "The value '%s' of the tag name '%s' cannot be deleted: resources have it. Remove it from them first.", path["value"], t.Name)
	}
	t.Values = slices.DeleteFunc(t.Values, func(v string) bool { return v == path["value"] })
	return &rp.Response{Status: http.StatusOK}, t.write(tx, key, version)
}
