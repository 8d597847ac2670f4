package authz

import (
	"strings"
	"testing"
)

// glob is an independent oracle: the textbook table over all prefixes, on bytes.
func glob(pattern, s string) bool {
	fold := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			return c + 32
		}
		return c
	}
	row := make([]bool, len(s)+1)
	row[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(s)+1)
		if pattern[i] == '*' {
			for j := range next {
				next[j] = row[j] || j > 0 && next[j-1]
			}
		} else {
			for j := 1; j <= len(s); j++ {
				next[j] = row[j-1] && fold(pattern[i]) == fold(s[j-1])
			}
		}
		row = next
	}
	return row[len(s)]
}

// names is glob for a pattern and for every form of it in which some /*/ has become a single slash.
func names(pattern, s string) bool {
	if glob(pattern, s) {
		return true
	}
	for i := 0; i+3 <= len(pattern); i++ {
		if pattern[i:i+3] == "/*/" && names(pattern[:i]+pattern[i+2:], s) {
			return true
		}
	}
	return false
}

func matches(p, action string) bool { return patterns([]string{p})[0].match(lower(action)) }

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Microsoft.Storage/storageAccounts/read", true},
		{"*/read", "Microsoft.Storage/storageAccounts/read", true},
		{"*/read", "Microsoft.Storage/storageAccounts/blobServices/containers/read", true},
		{"*/read", "Microsoft.Storage/storageAccounts/listKeys/action", false},
		{"*/read", "read", false},
		{"Microsoft.Authorization/*/Write", "microsoft.authorization/roleAssignments/write", true},
		{"Microsoft.Authorization/*/Write", "Microsoft.Authorization/write", true},
		{"Microsoft.Authorization/*/Write", "Microsoft.Authorization/a/b/write", true},
		{"Microsoft.Network/*", "Microsoft.NetworkFunction/x/read", false},
		{"Microsoft.Network*", "Microsoft.NetworkFunction/x/read", true},
		{"a*b*b", "ab", false},
		{"a*b*b", "abb", true},
		{"a*b*c", "axxbyybzzc", true},
		{"a**c", "ac", true},
		{"a/*/b", "a/b", true},
		{"a/*/b", "ab", false},
		{"a/*/b", "a//b", true},
		{"a/*/*/b", "a/b", true},
		{"a/*b", "a/b", true},
		{"a/*/", "a/", true},
		{"aba*aba", "aba", false},
		{"aba*aba", "abaaba", true},
		{"Microsoft.Kelvin/read", "Microsoft.\u212Aelvin/read", false}, // the Kelvin sign is no k
		{"", "", true},
		{"", "x", false},
	} {
		if got := matches(c.pattern, c.action); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.action, got, c.want)
		}
		if got := names(c.pattern, c.action); got != c.want {
			t.Errorf("the oracle: %q matches %q: %v, want %v", c.pattern, c.action, got, c.want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("Microsoft.Authorization/*/Write", "Microsoft.Authorization/roleAssignments/write")
	f.Add("*/read", "a/read")
	f.Add("a*b*b", "abab")
	f.Add("*a*aa*", "aaaaa")
	f.Add("a/*/*/b*", "a/b/b")
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if len(pattern) > 64 || strings.Count(pattern, "/*/") > 6 || len(action) > 256 {
			return
		}
		if got, want := matches(pattern, action), names(pattern, action); got != want {
			t.Errorf("%q matches %q: %v, the oracle says %v", pattern, action, got, want)
		}
	})
}

func TestPatternsExhaustively(t *testing.T) {
	var words func(n int, letters string) []string
	words = func(n int, letters string) []string {
		if n == 0 {
			return []string{""}
		}
		shorter := words(n-1, letters)
		out := shorter
		for _, w := range shorter {
			if len(w) == n-1 {
				for i := range len(letters) {
					out = append(out, w+letters[i:i+1])
				}
			}
		}
		return out
	}
	actions := words(6, "a/")
	for _, p := range words(6, "a/*") {
		for _, a := range actions {
			if got, want := matches(p, a), names(p, a); got != want {
				t.Fatalf("%q matches %q: %v, the oracle says %v", p, a, got, want)
			}
		}
	}
}
