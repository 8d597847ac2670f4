package odata

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var row = Values{"name": "Ada", "count": int64(4), "price": 2.5, "open": true, "when": time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), "none": nil, "text": "it's"}

func TestFilters(t *testing.T) {
	calls := map[string]Call{"atscope": func(args []any, _ Row) (any, error) { return len(args) == 0, nil }}
	for text, want := range map[string]bool{
		"": true, "name eq 'ADA'": true, "NAME ne 'ada'": false, "count gt 3": true, "count ge 4 and price lt 3": true, "price le 2.4": false,
		"open eq true": true, "open": true, "not open": false, "not (open and count eq 5)": true, "none eq null": true, "none gt 1": false,
		"when ge 2026-11-22": true, "when lt 2026-11-22T08:00:00Z": false, "when eq '2026-11-22T08:00:00Z'": true,
		"name in ('x', 'ada')": true, "count in (1,2)": false, "contains(name,'d')": true, "substringof('d', name)": true, "startswith(tolower(name),'a')": true,
		"endswith(name,'x')": false, "length(name) eq 3": true, "text eq 'it''s'": true, "atScope()": true, "atscope(1)": false,
		"name eq 'x' or name eq 'y' or open": true, "name eq 'ada' and (count eq 1 or count eq 4)": true, "name eq 'x' and open or open": true,
	} {
		f, err := ParseFilter(text, calls)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := f.Match(row); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"name", "nobody eq 1", "count and open", "length(name)"} { // no filter of these rows
		f, err := ParseFilter(text, nil)
		if err == nil {
			_, err = f.Match(row)
		}
		if err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	for _, text := range []string{"name eq", "eq 'x'", "name eq 'x", "(name eq 'x'", "name eq 'x')", "name in ()", "name in 'x'", "f(name)", "a-b eq 1", "name eq 'x' 'y'", "not", ",",
		strings.Repeat("(", 100) + "open" + strings.Repeat(")", 100), strings.Repeat("not ", 100) + "open", strings.Repeat("tolower(", 100), strings.Repeat("x", maxLength+1)} {
		if _, err := ParseFilter(text, nil); err == nil {
			t.Errorf("%.40s: no error", text)
		}
	}
}

func TestRequired(t *testing.T) {
	for filter, want := range map[string][]string{
		"resourceType eq 'A.B/c'":                               {"A.B/c"},
		"ResourceType EQ 'A.B/c' and substringof('x', name)":    {"A.B/c"},
		"name eq 'x' and (resourceType eq 'a' and kind eq 'b')": {"a"},
		"resourceType eq 'a' and resourceType eq 'b'":           {"a", "b"},
		"resourceType eq 'a' or resourceType eq 'b'":            nil,
		"not (resourceType eq 'a')":                             nil,
		"resourceType ne 'a'":                                   nil,
		"name eq 'x' and (resourceType eq 'a' or name eq 'y')":  nil,
		"": nil,
	} {
		f, err := ParseFilter(filter, nil)
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		if got := Required(f, "resourceType"); !slices.Equal(got, want) {
			t.Errorf("%s requires %q, want %q", filter, got, want)
		}
	}
}

func TestApply(t *testing.T) {
	rows := []Values{{"kind": "a", "n": 1.0, "id": "x"}, {"kind": "A", "n": 3.0, "id": "y"}, {"kind": "b", "n": 5.0, "id": "y"}}
	for text, want := range map[string][]Values{
		"filter(n gt 1)":                        {rows[1], rows[2]},
		"groupby((kind))":                       {{"kind": "a"}, {"kind": "b"}},
		"aggregate($count as c)":                {{"c": int64(3)}},
		"filter(n gt 9)/aggregate($count as c)": {{"c": int64(0)}},
		"groupby((kind), aggregate($count as c, n with sum as s, n with max as m, n with min as l, id with countdistinct as d))": {
			{"kind": "a", "c": int64(2), "s": 4.0, "m": 3.0, "l": 1.0, "d": int64(2)}, {"kind": "b", "c": int64(1), "s": 5.0, "m": 5.0, "l": 5.0, "d": int64(1)}},
		"groupby((kind,id))/filter(kind eq 'b')": {{"kind": "b", "id": "y"}},
	} {
		a, err := ParseApply(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := a.Run(rows)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", text, err, d)
		}
	}
	for _, text := range []string{"", "filter", "filter(", "sort(n)", "groupby(kind)", "groupby(())", "groupby((kind), count())", "aggregate(n)", "aggregate(n with median as m)", "groupby((kind),aggregate($count as c),x)"} {
		if _, err := ParseApply(text); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	a, err := ParseApply("groupby((nobody))")
	if err == nil {
		_, err = a.Run(rows)
	}
	if err == nil {
		t.Error("a member that rows do not have")
	}
}

// FuzzFilter: what clients send ends in a filter or an error, quickly, and so does matching.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"name eq 'x' and not (count in (1, 2.5))", "contains(tolower(name),'a''b')", "filter(n gt 1)/groupby((kind), aggregate($count as c))", "((((", "'", "name eq \x00", "when ge 2026-11-22T08:00:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if filter, err := ParseFilter(s, nil); err == nil {
			first, failure := filter.Match(row)
			second, again := filter.Match(row)
			if first != second || (failure == nil) != (again == nil) {
				t.Fatalf("%q: %v %v, then %v %v", s, first, failure, second, again)
			}
			if strings.TrimSpace(s) != "" {
				not, err := ParseFilter("not ("+s+")", nil)
				if err != nil {
					return // one level too deep, or too long
				}
				if opposite, err := not.Match(row); failure == nil && err == nil && opposite == first {
					t.Fatalf("%q and its negation: %v", s, first)
				}
			}
		}
		if a, err := ParseApply(s); err == nil {
			if _, err := a.Run([]Values{row}); errors.Is(err, errors.ErrUnsupported) {
				t.Fatal(err)
			}
		}
	})
}
