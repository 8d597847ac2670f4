package odata

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func ada(path string) (any, bool) {
	v, ok := map[string]any{
		"displayName": "Ada O'Neil", "mail": nil, "accountEnabled": true, "size": 7, "tags": []string{"x", "Y"}, "none": []string{},
		"created": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"keys": []Values{func(p string) (any, bool) {
			if p == "kind" {
				return "rsa", true
			}
			return 2, p == "n"
		}},
		"web/url": "https://x",
	}[path]
	return v, ok
}

func TestFilter(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                          true,
		"displayName eq 'ada o''neil'":              true,
		"displayName ne 'x'":                        true,
		"startswith(displayName,'ADA')":             true,
		"startswith(displayName, 'x') eq false":     true,
		"endswith(displayName,'neil')":              true,
		"contains(displayName,'o''')":               true,
		"mail eq null":                              true,
		"mail ne null":                              false,
		"unknown eq null":                           true,
		"accountEnabled eq true":                    true,
		"accountEnabled eq 'true'":                  false,
		"size gt 6 and size le 7":                   true,
		"size in (1, 7)":                            true,
		"displayName in ('x','y')":                  false,
		"created ge 2026-01-02T00:00:00Z":           true,
		"created lt 2026-01-02":                     false,
		"tags/any(t:t eq 'y')":                      true,
		"tags/any(t:startswith(t,'z'))":             false,
		"tags/all(t:t ne 'z')":                      true,
		"none/any()":                                false,
		"none/all(t:t eq 'x')":                      true,
		"tags/$count eq 2":                          true,
		"keys/any(k:k/kind eq 'RSA' and k/n eq 2)":  true,
		"keys/any(k:k/kind eq 'rsa' and k/n eq 3)":  false,
		"web/url eq 'https://x'":                    true,
		"not (size eq 7)":                           false,
		"not startswith(displayName,'x')":           true,
		"size eq 1 or size eq 7 and mail eq null":   true,
		"(size eq 1 or size eq 7) and mail ne null": false,
	} {
		f, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(ada); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	for _, text := range []string{"x", "x eq", "x eq 'a", "x eq 'a' y", "eq 'a'", "x eq a b", "(x eq 1", "x/any(", "x/any(y)", "x/all()", "startswith(x)", "startswith(x,1)", "x in ()", "x in 1",
		"not", "x eq 1 and", strings.Repeat("(", 100) + "x eq 1" + strings.Repeat(")", 100), strings.Repeat("x eq 1 or ", 200) + "x eq 1", "x eq '" + strings.Repeat("a", MaxLength) + "'", "x eq '\xff'", "x//y eq 1"} {
		wrong := new(Error)
		if _, err := Parse(text); !errors.As(err, &wrong) {
			t.Errorf("%.60s is read: %v", text, err)
		}
	}
}

func TestMust(t *testing.T) {
	f, err := Parse("appId eq 'A' and (names/any(n:n eq 'B') and x eq 1) and not (y eq 'no')")
	if err != nil {
		t.Fatal(err)
	}
	if m := f.Must(); len(m) != 2 || m["appId"] != "A" || m["names"] != "B" || !f.Advanced {
		t.Errorf("%v", m)
	}
	if f, _ := Parse("a eq 'x' or a eq 'y'"); len(f.Must()) != 0 {
		t.Errorf("of an or: %v", f.Must())
	}
}

func TestSearch(t *testing.T) {
	for text, want := range map[string]bool{
		`"displayName:ada"`: true, `"displayName:nei ad"`: true, `"displayName:da"`: false, `"displayName:x" OR "displayName:ad"`: true,
		`"displayName:ada" AND "mail:x"`: false, "": true,
	} {
		s, err := ParseSearch(text)
		if err != nil || s.Match(ada) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"ada", `"ada"`, `"a:b" "c:d"`, `"a:b" AND`, `"a:`} {
		if _, err := ParseSearch(text); err == nil {
			t.Errorf("%s is read", text)
		}
	}
}

// FuzzFilter: nothing that is read breaks, and what must hold does when it matches.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"appId eq 'x'", "names/any(c:c eq 'x')", "startswith(displayName,'a''b')", "id eq '", "(((", "not (a ne null)", "a in ('x',2)", "a/$count gt 0", "created ge 2026-01-02T00:00:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		if strings.TrimSpace(text) != "" && parsed.root == nil {
			t.Errorf("%q is read as no filter", text)
		}
		if !parsed.Match(ada) {
			return
		}
		for path, want := range parsed.Must() {
			switch v, _ := ada(path); v := v.(type) {
			case string:
				if !strings.EqualFold(v, want) && strings.ToLower(v) != strings.ToLower(want) {
					t.Errorf("%q: %s is %q", text, path, v)
				}
			case []string:
			default:
				t.Errorf("%q matches without its %s = %q", text, path, want)
			}
		}
	})
}

// FuzzSearch holds the other two parsers.
func FuzzSearch(f *testing.F) {
	f.Add(`"displayName:ada" AND "mail:x"`, "displayName desc, mail")
	f.Fuzz(func(_ *testing.T, search, order string) {
		if s, err := ParseSearch(search); err == nil {
			s.Match(ada)
		}
		if o, err := ParseOrder(order); err == nil {
			o.Compare(ada, ada)
		}
	})
}
