package authorization

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
)

func TestParseFilter(t *testing.T) {
	for in, want := range map[string][]term{
		"":                         nil,
		"  ":                       nil,
		"atScope()":                {{"atscope()", ""}},
		" atScope( ) ":             {{"atscope()", ""}},
		"assignedTo('x')":          {{"assignedto()", "x"}},
		"roleName eq 'a and b'":    {{"rolename", "a and b"}},
		"roleName eq 'it''s'":      {{"rolename", "it's"}},
		"atScope() and a eq 'b'":   {{"atscope()", ""}, {"a", "b"}},
		"a eq 'b' AND b Eq '' ":    {{"a", "b"}, {"b", ""}},
		"a eq 'b' and c() and d()": {{"a", "b"}, {"c()", ""}, {"d()", ""}},
	} {
		got, err := parseFilter(in)
		if d := cmp.Diff(want, got, cmp.AllowUnexported(term{})); err != nil || d != "" {
			t.Errorf("%q: %v\n%s", in, err, d)
		}
	}
	for _, in := range []string{"a", "a eq b", "a eq 'b", "a eq 'b' or c eq 'd'", "a eq 'b'and", "and", "a eq 'b' and ", "atScope", "f('a','b')", "(a eq 'b')", strings.Repeat("x", 1000)} {
		if got, err := parseFilter(in); arm.AsError(err) == nil || arm.AsError(err).Status != 400 {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", "atScope() and assignedTo('x')", "roleName eq 'it''s'", "a eq 'b' and", "a eq ''''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		terms, err := parseFilter(s)
		if err != nil {
			if arm.AsError(err) == nil {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		var again []string
		for _, x := range terms {
			if call, ok := strings.CutSuffix(x.name, "()"); ok {
				again = append(again, call+"('"+strings.ReplaceAll(x.value, "'", "''")+"')")
			} else {
				again = append(again, x.name+" eq '"+strings.ReplaceAll(x.value, "'", "''")+"'")
			}
		}
		got, err := parseFilter(strings.Join(again, " and "))
		if d := cmp.Diff(terms, got, cmp.AllowUnexported(term{})); err != nil || d != "" {
			t.Fatalf("%q again as %q: %v\n%s", s, again, err, d)
		}
	})
}
