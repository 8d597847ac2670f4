package rp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"vauban.dev/arm"
)

// body is a PUT's JSON, taken apart.
type body struct {
	location   string
	tags       map[string]string
	kind       string
	sku        json.RawMessage
	identity   *arm.Identity
	zones      []string
	properties map[string]any
	inline     map[string][]any // properties that hold embedded children; present even if empty
	extra      map[string]json.RawMessage
}

// ignored members are the server's to say: clients send them back as they got them.
var ignored = map[string]bool{"id": true, "name": true, "type": true, "etag": true, "systemdata": true}

// parseBody takes a resource apart; 400 InvalidRequestContent for members of the wrong type, 400
// InvalidResourceName-like errors for a name that is not the one in the URI.
func parseBody(d *definition, id arm.ID, data []byte) (*body, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, badContent("", "the request has no body")
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, badContent("", "a JSON object is expected")
	}
	b := &body{extra: map[string]json.RawMessage{}, inline: map[string][]any{}}
	for name, raw := range members {
		var err error
		switch key := strings.ToLower(name); key {
		case "location":
			err = json.Unmarshal(raw, &b.location)
		case "tags":
			err = json.Unmarshal(raw, &b.tags)
		case "kind":
			err = json.Unmarshal(raw, &b.kind)
		case "sku":
			if !isNull(raw) {
				b.sku = raw
			}
		case "identity":
			err = json.Unmarshal(raw, &b.identity)
		case "zones":
			err = json.Unmarshal(raw, &b.zones)
		case "properties":
			b.properties, err = decodeTree(raw)
		case "name":
			err = checkName(raw, id)
		default:
			if !ignored[key] && !isNull(raw) {
				b.extra[name] = raw
			}
		}
		if e := arm.AsError(err); e != nil {
			return nil, e
		}
		var mistyped *json.UnmarshalTypeError
		if errors.As(err, &mistyped) {
			return nil, badContent(name, mistype(mistyped))
		}
		if err != nil {
			return nil, badContent(name, err.Error())
		}
	}
	for property := range d.inline {
		if err := b.takeInline(property); err != nil {
			return nil, err
		}
	}
	if v, ok := fold(b.properties, d.stateName()); ok && d.stateProperty != "-" {
		if _, isText := v.(string); isText || v == nil {
			deleteFold(b.properties, d.stateName())
		}
	}
	return b, checkTags(b.tags)
}

// takeInline moves a property that embeds children out of the properties.
func (b *body) takeInline(property string) error {
	v, ok := fold(b.properties, property)
	if !ok {
		return nil
	}
	deleteFold(b.properties, property)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return badContent("properties."+property, "an array is expected")
	}
	b.inline[property] = list
	return nil
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

func deleteFold(m map[string]any, name string) {
	for k := range m {
		if strings.EqualFold(k, name) {
			delete(m, k)
		}
	}
}

func badContent(path, why string) *arm.Error {
	text := why
	if path != "" {
		text = fmt.Sprintf("%s. Path '%s'.", why, path)
	}
	e := arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", text)
	e.Target = path
	return e
}

// mistype says in JSON's words what was there and what is expected: a client knows nothing of Go's types.
func mistype(err *json.UnmarshalTypeError) string {
	var want string
	t := err.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		want = "boolean"
	case reflect.String:
		want = "string"
	case reflect.Slice, reflect.Array:
		want = "array"
	case reflect.Map, reflect.Struct:
		want = "object"
	case reflect.Float32, reflect.Float64:
		want = "number"
	default:
		want = "whole number"
	}
	return fmt.Sprintf("Cannot convert a JSON %s to a JSON %s", strings.Replace(err.Value, "bool", "boolean", 1), want)
}

// checkName compares the name in a body with that in the URI. A child's is not looked at: templates write it with its
// parents' ("vnet/subnet"), and azurerm gives a private endpoint's zone group the name of the endpoint.
func checkName(raw json.RawMessage, id arm.ID) error {
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		return err
	}
	if name == "" || len(id.Names()) > 1 || strings.EqualFold(name, id.Name()) {
		return nil
	}
	e := arm.Errorf(http.StatusBadRequest, "InvalidResourceName", "The resource name '%s' in the request body does not match the name '%s' in the request URI.", name, id.Name())
	e.Target = "name"
	return e
}

// checkTags applies Azure's limits ("Use tags to organize your Azure resources").
func checkTags(tags map[string]string) error {
	if len(tags) > 50 {
		return arm.Errorf(http.StatusBadRequest, "InvalidTagCount", "The resource has %d tags. A resource may have 50 tags at most.", len(tags))
	}
	seen := map[string]bool{}
	for name, value := range tags {
		switch {
		case name == "" || len(name) > 512 || strings.ContainsAny(name, `<>%&\?/`) && !strings.HasPrefix(name, "hidden-"): // hidden-link:/subscriptions/…
			return arm.Errorf(http.StatusBadRequest, "InvalidTagNameCharacters", "The tag name '%s' is invalid: it must have 1 to 512 characters and none of <>%%&\\?/.", name)
		case len(value) > 256:
			return arm.Errorf(http.StatusBadRequest, "InvalidTagValueLength", "The value of tag '%s' is longer than 256 characters.", name)
		case seen[strings.ToLower(name)]:
			return arm.Errorf(http.StatusBadRequest, "InvalidTagNames", "The tag names must be unique without regard to case: '%s'.", name)
		}
		seen[strings.ToLower(name)] = true
	}
	return nil
}

// dropNulls removes null members of objects: a null says what an absent member says.
func dropNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			if m == nil {
				delete(v, k)
				continue
			}
			v[k] = dropNulls(m)
		}
	case []any:
		for i := range v {
			v[i] = dropNulls(v[i])
		}
	}
	return v
}
