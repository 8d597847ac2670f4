package odata

import (
	"strings"
	"unicode"
)

// Search is a $search of clauses "property:text", joined by AND and OR ("Use the $search query parameter").
type Search struct{ any [][]clause }

type clause struct{ property, text string }

// ParseSearch reads a $search; "" matches everything. AND binds closer than OR; there are no parentheses.
func ParseSearch(text string) (Search, error) {
	rest := strings.TrimSpace(text)
	if rest == "" {
		return Search{}, nil
	}
	fail := func(what string) error { return (&parser{text: text, at: len(text) - len(rest)}).fail(what) }
	if len(text) > MaxLength {
		return Search{}, fail("the expression is too long")
	}
	s := Search{any: [][]clause{nil}}
	for n := 0; ; n++ {
		if n > maxTerms {
			return Search{}, fail("the expression has too many terms")
		}
		inner, after, ok := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
		property, value, named := strings.Cut(inner, ":")
		if !strings.HasPrefix(rest, `"`) || !ok || !named || property == "" || value == "" {
			return Search{}, fail(`a clause of the form "property:text" is expected`)
		}
		last := len(s.any) - 1
		s.any[last] = append(s.any[last], clause{property, strings.ToLower(value)})
		if rest = strings.TrimSpace(after); rest == "" {
			return s, nil
		}
		if next, ok := strings.CutPrefix(rest, "AND "); ok {
			rest = strings.TrimSpace(next)
		} else if next, ok := strings.CutPrefix(rest, "OR "); ok {
			rest = strings.TrimSpace(next)
			s.any = append(s.any, nil)
		} else {
			return Search{}, fail("AND or OR is expected")
		}
	}
}

// Properties are those that the search names.
func (s Search) Properties() (out []string) {
	for _, all := range s.any {
		for _, c := range all {
			out = append(out, c.property)
		}
	}
	return out
}

// Match reports whether every clause of one of the alternatives fits: each of its words begins a word of the property.
func (s Search) Match(v Values) bool {
	if len(s.any) == 0 {
		return true
	}
	for _, all := range s.any {
		fits := true
		for _, c := range all {
			value, _ := v(c.property)
			text, _ := value.(string)
			fits = fits && c.fits(strings.ToLower(text))
		}
		if fits {
			return true
		}
	}
	return false
}

func (c clause) fits(text string) bool {
	split := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	words := strings.FieldsFunc(text, split)
	for _, want := range strings.FieldsFunc(c.text, split) {
		found := false
		for _, w := range words {
			found = found || strings.HasPrefix(w, want)
		}
		if !found {
			return false
		}
	}
	return true
}

// Order is a $orderby: properties and their direction, the first one first.
type Order []struct {
	Path       string
	Descending bool
}

// ParseOrder reads a $orderby.
func ParseOrder(text string) (out Order, err error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && !strings.EqualFold(words[1], "asc") && !strings.EqualFold(words[1], "desc") || len(out) > 8 {
			return nil, (&parser{text: text}).fail("properties with asc or desc are expected")
		}
		out = append(out, struct {
			Path       string
			Descending bool
		}{words[0], len(words) == 2 && strings.EqualFold(words[1], "desc")})
	}
	return out, nil
}

// Compare is negative when a comes before b.
func (o Order) Compare(a, b Values) int {
	for _, by := range o {
		x, _ := a(by.Path)
		y, _ := b(by.Path)
		c, _ := compare(x, y)
		if x == nil && y != nil {
			c = -1
		} else if x != nil && y == nil {
			c = 1
		}
		if by.Descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}
