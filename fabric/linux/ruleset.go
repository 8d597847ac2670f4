package linux

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"vauban.dev/fabric"
)

// ruleset is a table in canonical form: what it says, not how it is written. The kernel's listing of a
// table and the text that was loaded have equal rulesets, or the table is not what was asked for.
type ruleset map[objectKey]object

type objectKey struct {
	kind fabric.ObjectKind
	name string
}

// object is one named thing of a table: as it is written, and in canonical form.
type object struct {
	fabric.Object
	spec  string
	lines []string // elements are sorted, rules are in order
}

func (o object) key() objectKey { return objectKey{o.Kind, o.Name} }

func (o object) base() bool { return o.Kind == fabric.ChainObject && o.spec != "" }

func (o object) equal(p object) bool { return o.spec == p.spec && slices.Equal(o.lines, p.lines) }

// newRuleset brings objects to canonical form. It refuses a concatenation of more than maxFields
// fields, which nft 1.0.6 accepts and reads back broken. What is written as in known, which may be nil, is taken from
// there.
func newRuleset(objects []fabric.Object, known ruleset) (ruleset, error) {
	rs := make(ruleset, len(objects))
	for _, o := range objects {
		c := object{Object: o}
		if k, ok := known[c.key()]; ok && slices.Equal(k.Spec, o.Spec) && slices.Equal(k.Lines, o.Lines) && rs[c.key()].Kind == "" {
			c.spec, c.lines = k.spec, k.lines
			rs[c.key()] = c
			continue
		}
		var spec []string
		for _, s := range o.Spec {
			for part := range strings.SplitSeq(s, ";") {
				toks, err := tokens(part)
				if err != nil {
					return nil, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err)
				}
				if len(toks) > 0 {
					spec = append(spec, canonical(toks))
				}
			}
		}
		c.spec = strings.Join(spec, "; ")
		for _, l := range o.Lines {
			toks, err := tokens(l)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err)
			}
			c.lines = append(c.lines, canonical(toks))
		}
		if isLearned(c) {
			c.lines = nil
		} else if o.Kind == fabric.SetObject || o.Kind == fabric.MapObject {
			c.lines = canonicalElements(c.lines, o.Kind == fabric.SetObject && strings.Contains(c.spec, "interval"))
		}
		if rs[c.key()].Kind != "" {
			return nil, fmt.Errorf("%s %s stands twice", o.Kind, o.Name)
		}
		rs[c.key()] = c
	}
	return rs, nil
}

// isLearned tells a set whose elements come and go by themselves.
func isLearned(o object) bool {
	return o.Kind == fabric.SetObject && (strings.Contains(o.spec, "timeout") || strings.Contains(o.spec, "dynamic"))
}

// maxFields of a concatenation.
const maxFields = 5

func (rs ruleset) equal(other ruleset) bool { return maps.EqualFunc(rs, other, object.equal) }

// difference names the first thing in which two rulesets differ, "" if they are equal.
func difference(want, have ruleset) string {
	if want.equal(have) {
		return ""
	}
	var keys []objectKey
	for k := range want {
		keys = append(keys, k)
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b objectKey) int {
		return strings.Compare(string(a.kind)+" "+a.name, string(b.kind)+" "+b.name)
	})
	for _, k := range keys {
		w, wok := want[k]
		h, hok := have[k]
		switch {
		case !hok:
			return fmt.Sprintf("%s %s is missing", k.kind, k.name)
		case !wok:
			return fmt.Sprintf("%s %s is not wanted", k.kind, k.name)
		case w.spec != h.spec:
			return fmt.Sprintf("%s %s is declared %q, not %q", k.kind, k.name, h.spec, w.spec)
		case !slices.Equal(w.lines, h.lines):
			return fmt.Sprintf("%s %s: %s", k.kind, k.name, firstDifference(w.lines, h.lines))
		}
	}
	return ""
}

func firstDifference(want, have []string) string {
	for i := range min(len(want), len(have)) {
		if want[i] != have[i] {
			return fmt.Sprintf("%q is %q", want[i], have[i])
		}
	}
	if len(have) < len(want) {
		return fmt.Sprintf("%q is missing", want[len(have)])
	}
	return fmt.Sprintf("%q is not wanted", have[len(want)])
}
