package rp

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func tree(t testing.TB, s string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func TestWithoutAndOverlay(t *testing.T) {
	for _, c := range []struct{ what, sent, known, later, shown string }{
		{"unknown members stay", `{"a":1,"x":2,"o":{"b":1,"y":3}}`, `{"a":1,"o":{"b":1}}`, `{"a":5,"o":{"b":6}}`, `{"a":5,"x":2,"o":{"b":6,"y":3}}`},
		{"what the type drops is gone", `{"a":1,"x":2}`, `{"a":1}`, `{}`, `{"x":2}`},
		{"members that the type leaves out when empty", `{"on":false}`, `{}`, `{"on":true}`, `{"on":true}`},
		{"case does not matter", `{"AddressSpace":{"Prefixes":[1]}}`, `{"addressSpace":{"prefixes":[1]}}`, `{"addressSpace":{"prefixes":[2]}}`, `{"addressSpace":{"prefixes":[2]}}`},
		{"elements by name", `{"l":[{"name":"a","x":1},{"name":"b","x":2}]}`, `{"l":[{"name":"a"},{"name":"b"}]}`, `{"l":[{"name":"b"},{"name":"c"}]}`, `{"l":[{"name":"b","x":2},{"name":"c"}]}`},
		{"elements by place", `{"l":[{"p":1,"x":1},{"p":2}]}`, `{"l":[{"p":1},{"p":2}]}`, `{"l":[{"p":3},{"p":4}]}`, `{"l":[{"p":3,"x":1},{"p":4}]}`},
		{"elements that came", `{"l":[{"p":1,"x":1}]}`, `{"l":[{"p":1}]}`, `{"l":[{"p":3},{"p":4}]}`, `{"l":[{"p":3},{"p":4}]}`},
		{"another shape is the type's", `{"a":{"x":1}}`, `{"a":"text"}`, `{"a":"new"}`, `{"a":"new"}`},
	} {
		rest := without(tree(t, c.sent), tree(t, c.known))
		if diff := cmp.Diff(tree(t, c.shown), overlay(tree(t, c.later), rest)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestMergePatch(t *testing.T) { // RFC 7396, appendix A, and names without case
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`}, {`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`["a","b"]`, `["c"]`, `["c"]`}, {`{"a":"foo"}`, `"bar"`, `"bar"`}, {`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`}, {`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`}, {`{"Tags":{"A":1}}`, `{"tags":{"a":2}}`, `{"Tags":{"A":2}}`},
	} {
		if diff := cmp.Diff(tree(t, c[2]), mergePatch(tree(t, c[0]), tree(t, c[1]))); diff != "" {
			t.Errorf("%s with %s (-want +got):\n%s", c[0], c[1], diff)
		}
	}
}

func TestParseFilter(t *testing.T) {
	got, err := parseFilter("resourceType eq 'A.B/c' and  name EQ 'it''s' and eventTimestamp ge '2020'")
	want := []condition{{"resourcetype", "eq", "A.B/c"}, {"name", "eq", "it's"}, {"eventtimestamp", "ge", "2020"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(condition{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"name", "name eq", "name eq x", "name eq 'x", "name has 'x'", "startswith(name, 'x')", "name eq 'x' or name eq 'y'", "name eq 'x' and"} {
		if got, err := parseFilter(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func FuzzTrees(f *testing.F) {
	f.Add(`{"a":1,"l":[{"name":"x","y":1}]}`, `{"A":2,"l":[{"name":"x"}]}`)
	f.Add(`{"a":{"b":[1,2,{"c":null}]}}`, `{"a":{"b":[1,2,3]}}`)
	f.Fuzz(func(t *testing.T, sent, known string) {
		s, err1 := decodeTree([]byte(sent))
		k, err2 := decodeTree([]byte(known))
		if err1 != nil || err2 != nil {
			return
		}
		shown, ok := overlay(k, without(s, k)).(map[string]any)
		if !ok {
			t.Fatal("no object")
		}
		for name := range s { // everything that was sent is shown
			if _, there := fold(shown, name); !there {
				t.Errorf("%q is lost of %s over %s", name, sent, known)
			}
		}
		for name, v := range k { // what the type says stands, at least where it is no tree
			switch v.(type) {
			case map[string]any, []any:
				continue
			}
			if shown[name] != v {
				t.Errorf("%q of %s became %v", name, known, shown[name])
			}
		}
		mergePatch(s, k)
		_ = dropNulls(s)
	})
}

func FuzzParseFilter(f *testing.F) {
	f.Add("name eq 'x' and tagName eq 'it''s'")
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parseFilter(s)
		if err != nil && all != nil {
			t.Errorf("%q: %v and %v", s, all, err)
		}
	})
}
