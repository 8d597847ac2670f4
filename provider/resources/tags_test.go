package resources_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm/rp/rptest"
)

const tagsAPI = "/providers/Microsoft.Resources/tags/default?api-version=2024-11-01"

func tagsOf(a rptest.Answer) any { return a.At("properties", "tags") }

func TestTagsAtScope(t *testing.T) {
	r, _ := newRegion(t)
	group := one + "/resourceGroups/rg"
	r.Must("PUT", group+api, `{"location":"westeurope"}`)
	widget := group + "/providers/Microsoft.Toys/widgets/w"
	r.Must("PUT", widget+"?api-version=2024-01-01", `{"location":"westeurope","properties":{"x":1}}`)
	for _, scope := range []string{one, group, widget} {
		if a := r.Request("GET", scope+tagsAPI, ""); a.Status != 200 || fmt.Sprint(tagsOf(a)) != "map[]" || a.String("name") != "default" || a.String("id") != scope+"/providers/Microsoft.Resources/tags/default" {
			t.Errorf("%s: %d %s", scope, a.Status, a.Text)
		}
		for _, step := range []struct {
			method, body string
			want         map[string]any
		}{
			{"PUT", `{"properties":{"tags":{"a":"1","B":"2"}}}`, map[string]any{"a": "1", "B": "2"}},
			{"PATCH", `{"operation":"Merge","properties":{"tags":{"b":"3","c":"4"}}}`, map[string]any{"a": "1", "B": "3", "c": "4"}},
			{"PATCH", `{"operation":"delete","properties":{"tags":{"A":"1","c":"other"}}}`, map[string]any{"B": "3", "c": "4"}},
			{"PATCH", `{"operation":"Replace","properties":{"tags":{"z":"9"}}}`, map[string]any{"z": "9"}},
		} {
			a := r.Request(step.method, scope+tagsAPI, step.body)
			if d := cmp.Diff(any(step.want), tagsOf(a)); a.Status != 200 || d != "" {
				t.Errorf("%s %s %s: %d %s", step.method, scope, step.body, a.Status, d)
			}
		}
	}
	if a := r.Request("GET", widget+"?api-version=2024-01-01", ""); a.String("tags", "z") != "9" || fmt.Sprint(a.At("properties", "x")) != "1" {
		t.Errorf("the resource: %s", a.Text)
	}
	if a := r.Request("GET", one+api, ""); a.String("tags", "z") != "9" {
		t.Errorf("the subscription: %s", a.Text)
	}
	if a := r.Request("DELETE", widget+tagsAPI, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", widget+tagsAPI, ""); fmt.Sprint(tagsOf(a)) != "map[]" {
		t.Errorf("after: %s", a.Text)
	}
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf(`"t%d":""`, i)
	}
	for what, c := range map[string]struct{ path, method, body, code string }{
		"too many":       {group, "PUT", `{"properties":{"tags":{` + strings.Join(many, ",") + `}}}`, "InvalidTagCount"},
		"bad name":       {group, "PUT", `{"properties":{"tags":{"a?b":"1"}}}`, "InvalidTagNameCharacters"},
		"long value":     {group, "PUT", `{"properties":{"tags":{"a":"` + strings.Repeat("v", 257) + `"}}}`, "InvalidTagValueLength"},
		"no properties":  {group, "PUT", `{}`, "InvalidRequestContent"},
		"no operation":   {group, "PATCH", `{"properties":{"tags":{}}}`, "InvalidRequestContent"},
		"wrong type":     {group, "PUT", `{"properties":{"tags":{"a":1}}}`, "InvalidRequestContent"},
		"merged to many": {group, "PATCH", `{"operation":"Merge","properties":{"tags":{` + strings.Join(many, ",") + `}}}`, "InvalidTagCount"},
		"no group":       {one + "/resourceGroups/none", "PUT", `{"properties":{"tags":{}}}`, "ResourceGroupNotFound"},
		"no resource":    {widget + "2", "PUT", `{"properties":{"tags":{}}}`, "ResourceNotFound"},
	} {
		if a := r.Request(c.method, c.path+tagsAPI, c.body); a.Code() != c.code {
			t.Errorf("%s: %d %s, want %s", what, a.Status, a.Text, c.code)
		}
	}
}

func TestPatchReplacesTags(t *testing.T) {
	r, _ := newRegion(t)
	group := one + "/resourceGroups/rg"
	r.Must("PUT", group+api, `{"location":"westeurope","tags":{"a":"1"}}`)
	if a := r.Request("PATCH", group+api, `{"tags":{"b":"2"}}`); fmt.Sprint(a.At("tags")) != "map[b:2]" {
		t.Errorf("%s", a.Text)
	}
	if a := r.Request("PATCH", group+api, `{"managedBy":"/x"}`); fmt.Sprint(a.At("tags")) != "map[b:2]" {
		t.Errorf("without tags: %s", a.Text)
	}
}

func TestTagNames(t *testing.T) {
	r, _ := newRegion(t)
	names := one + "/tagNames"
	for _, c := range []struct {
		method, path string
		want         int
		code         string
	}{
		{"PUT", "/Env", 201, ""},
		{"PUT", "/env", 200, ""},
		{"PUT", "/Env/tagValues/prod", 201, ""},
		{"PUT", "/Env/tagValues/prod", 200, ""},
		{"PUT", "/none/tagValues/x", 404, "TagNotFound"},
		{"PUT", "/azureTag", 400, "ReservedTagName"},
		{"PUT", "/a%26b", 400, "InvalidTagNameCharacters"},
		{"DELETE", "/Env", 409, "TagHasValues"},
	} {
		if a := r.Request(c.method, names+c.path+api, ""); a.Status != c.want || a.Code() != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.Status, a.Text)
		}
	}
	r.Must("PUT", one+"/resourceGroups/a"+api, `{"location":"westeurope","tags":{"ENV":"prod","Owner":"me"}}`)
	r.Must("PUT", one+"/resourceGroups/b"+api, `{"location":"westeurope","tags":{"env":"test"}}`)
	count := func(n float64) any { return map[string]any{"type": "Total", "value": n} }
	want := []any{
		map[string]any{"id": names + "/Env", "tagName": "Env", "count": count(2), "values": []any{
			map[string]any{"id": names + "/Env/tagValues/prod", "tagValue": "prod", "count": count(1)},
			map[string]any{"id": names + "/Env/tagValues/test", "tagValue": "test", "count": count(1)},
		}},
		map[string]any{"id": names + "/Owner", "tagName": "Owner", "count": count(1), "values": []any{
			map[string]any{"id": names + "/Owner/tagValues/me", "tagValue": "me", "count": count(1)},
		}},
	}
	if d := cmp.Diff(any(want), r.Request("GET", names+api, "").At("value")); d != "" {
		t.Error(d)
	}
	if a := r.Request("DELETE", names+"/Env/tagValues/prod"+api, ""); a.Status != 409 || a.Code() != "TagInUse" {
		t.Errorf("in use: %d %s", a.Status, a.Text)
	}
	for _, g := range []string{"a", "b"} {
		r.Must("PATCH", one+"/resourceGroups/"+g+api, `{"tags":{}}`)
	}
	for _, path := range []string{"/Env/tagValues/prod", "/Env"} {
		for _, want := range []int{200, 204} {
			if a := r.Request("DELETE", names+path+api, ""); a.Status != want {
				t.Errorf("DELETE %s: %d %s, want %d", path, a.Status, a.Text, want)
			}
		}
	}
	if got := r.Request("GET", names+api, "").At("value").([]any); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestLinks(t *testing.T) {
	r, _ := newRegion(t)
	group := one + "/resourceGroups/rg"
	r.Must("PUT", group+api, `{"location":"westeurope"}`)
	link, v := group+"/providers/Microsoft.Resources/links/l", "?api-version=2016-09-01"
	a := r.Request("PUT", link+v, `{"properties":{"targetId":"`+one+`/resourceGroups/other","notes":"why"}}`)
	want := map[string]any{"sourceId": group + "/", "targetId": one + "/resourceGroups/other/", "notes": "why"}
	if d := cmp.Diff(any(want), a.At("properties")); a.Status != 201 || d != "" {
		t.Errorf("PUT: %d %s", a.Status, d)
	}
	for path, want := range map[string]int{one: 1, group: 1, two: 0} {
		if got := r.Request("GET", path+"/providers/Microsoft.Resources/links"+v, "").At("value").([]any); len(got) != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if got := r.Request("GET", one+"/providers/Microsoft.Resources/links"+v+"&$filter=atScope()", "").At("value").([]any); len(got) != 0 {
		t.Errorf("at the subscription: %v", got)
	}
	if a := r.Request("PUT", link+v, `{"properties":{"targetId":"nowhere"}}`); a.Status != 400 || a.Code() != "InvalidResourceLinkTarget" {
		t.Errorf("bad target: %d %s", a.Status, a.Text)
	}
	if a := r.Request("DELETE", link+v, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
}
