package conformance

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

//go:embed scope.txt
var scopeFile string

// InScope says whether a type is among those that this project serves or is to serve: scope.txt.
func InScope(t string) bool {
	in := false
	for at := strings.ToLower(t); at != ""; at = above(at) {
		if out, listed := scope[at]; listed {
			in = !out
			break
		}
	}
	return in
}

// above is the type without its last word.
func above(t string) string { return t[:max(0, strings.LastIndex(t, "/"))] }

// scope says of the types listed whether they are taken out.
var scope = func() map[string]bool {
	listed := map[string]bool{}
	for _, l := range strings.Split(scopeFile, "\n") {
		if l = strings.ToLower(strings.TrimSpace(l)); l != "" && !strings.HasPrefix(l, "#") {
			t, out := strings.CutPrefix(l, "-")
			listed[t] = out
		}
	}
	return listed
}()

// Score counts the cases of a type.
type Score struct {
	Type       string
	Good, Of   int
	Waits      int      // of all: GETs that a client repeated until Azure was ready
	Difference []string // a few lines that say what differs
}

// Scores are those of the types in scope, in their order, and how many cases are of other types.
func Scores(results []Result) (scores []Score, beyond int) {
	by := map[string]*Score{}
	for _, r := range results {
		t := r.Type()
		if !InScope(t) {
			beyond++
			continue
		}
		key := strings.ToLower(t)
		s := by[key]
		if s == nil {
			s = &Score{Type: t}
			by[key] = s
		}
		s.Of++
		if r.Waits {
			s.Waits++
		}
		if len(r.Differences) == 0 {
			s.Good++
			continue
		}
		s.Difference = append(s.Difference, r.Method+": "+r.Differences[0])
	}
	for _, k := range slices.Sorted(maps.Keys(by)) {
		scores = append(scores, *by[k])
	}
	return scores, beyond
}

// Total adds the scores.
func Total(scores []Score) (good, of int) {
	for _, s := range scores {
		good, of = good+s.Good, of+s.Of
	}
	return good, of
}

// waits counts the cases that only repeat a GET.
func waits(scores []Score) (n int) {
	for _, s := range scores {
		n += s.Waits
	}
	return n
}

// Print writes a table of the scores, and the line that says how many cases are answered as Azure did.
func Print(w io.Writer, scores []Score, beyond int) {
	for _, s := range scores {
		fmt.Fprintf(w, "%-78s %4d of %d\n", s.Type, s.Good, s.Of)
	}
	good, of := Total(scores)
	fmt.Fprintf(w, "cases of types out of scope: %d\nconformance: %d of %d cases\n", beyond, good, of)
}

// Markdown writes docs/conformance.md. The types that are object only, as the server names them, stand below the table.
func Markdown(w io.Writer, scores []Score, beyond int, objectOnly []string) {
	good, of := Total(scores)
	fmt.Fprintf(w, "# Conformance\n\nWritten by `make conformance`: recordings of the tests of Azure's SDKs and examples of Azure's REST specifications,\n"+
		"replayed against a new region. A case counts when status, headers, every key and type, the request's values, error codes\n"+
		"and the spelling of words are Azure's. `make conformance CASES=DIR` replays others of the same form.\n"+
		"What came of templates is in [templates.md](templates.md).\n\n"+
		"**%d of %d cases.** %d more are of types that are not in scope (conformance/scope.txt). %d of the cases repeat a GET with which\n"+
		"a client waited until Azure was ready: they are held against the answer that ended its waiting.\n\n| type | as Azure | of | what differs first |\n|---|---|---|---|\n", good, of, beyond, waits(scores))
	for _, s := range scores {
		first := ""
		if len(s.Difference) > 0 {
			first = strings.ReplaceAll(strings.ReplaceAll(s.Difference[0], "|", "\\|"), "\n", " ")
		}
		fmt.Fprintf(w, "| %s | %d | %d | %s |\n", s.Type, s.Good, s.Of, first)
	}
	fmt.Fprint(w, "\n## Object only\n\nResource Manager does all that it does with these types; the service behind them is not part of a region, and what needs\n"+
		"it answers 501 NotImplemented.\n\n")
	last := ""
	for _, t := range objectOnly {
		namespace, name, _ := strings.Cut(t, "/")
		if namespace != last {
			fmt.Fprintf(w, "%s- %s: %s", strings.Repeat("\n", min(len(last), 1)), namespace, name)
			last = namespace
			continue
		}
		fmt.Fprintf(w, ", %s", name)
	}
	fmt.Fprintln(w)
}
