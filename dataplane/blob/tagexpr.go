package blob

import (
	"errors"
	"fmt"
	"strings"
)

// tagExpr is a condition on index tags ("Find Blobs by Tags", "Specifying conditional headers"): comparisons joined by
// AND, and in x-ms-if-tags also by OR, which binds less.
type tagExpr struct {
	or [][]tagTest // a disjunction of conjunctions
}

type tagTest struct {
	key, op, value string // op: = <> < <= > >=
	container      bool   // @container
}

// container is the container that the expression is confined to, "" for all.
func (e *tagExpr) container() string {
	for _, t := range e.or[0] {
		if t.container {
			return t.value
		}
	}
	return ""
}

// match reports whether a blob with these tags in the container fulfils the expression. Values are compared byte by byte.
func (e *tagExpr) match(container string, tags map[string]string) bool {
	for _, and := range e.or {
		all := true
		for _, t := range and {
			value, ok := tags[t.key]
			if t.container {
				value, ok = container, true
			}
			all = all && t.test(value, ok)
		}
		if all {
			return true
		}
	}
	return false
}

func (t tagTest) test(value string, ok bool) bool {
	switch c := strings.Compare(value, t.value); t.op {
	case "=":
		return ok && c == 0
	case "<>": // as in SQL, what is not there is not unequal either
		return ok && c != 0
	case "<":
		return ok && c < 0
	case "<=":
		return ok && c <= 0
	case ">":
		return ok && c > 0
	default:
		return ok && c >= 0
	}
}

// named returns the tags that the expression speaks of, as Find Blobs by Tags answers them.
func (e *tagExpr) named(tags map[string]string) map[string]string {
	out := map[string]string{}
	for _, and := range e.or {
		for _, t := range and {
			if v, ok := tags[t.key]; ok && !t.container {
				out[t.key] = v
			}
		}
	}
	return out
}

// parseTagExpr reads an expression; condition: one of x-ms-if-tags, which has OR and <> and no @container.
func parseTagExpr(text string, condition bool) (*tagExpr, error) {
	p := &tagParser{rest: text, condition: condition}
	e := &tagExpr{or: [][]tagTest{nil}}
	keys := map[string]bool{}
	for n := 1; ; n++ {
		t, err := p.test()
		if err != nil {
			return nil, &tagSyntaxError{len(text) - len(p.rest) + 1, err}
		}
		if n > maxComparisons {
			return nil, fmt.Errorf("it has more than %d comparisons", maxComparisons)
		}
		if !t.container {
			keys[t.key] = true
		}
		if len(keys) > maxTags {
			return nil, fmt.Errorf("there can be at most %d unique tags in a query", maxTags)
		}
		last := len(e.or) - 1
		e.or[last] = append(e.or[last], t)
		switch word := strings.ToUpper(p.word()); {
		case word == "" && p.rest == "":
			return e, nil
		case word == "AND":
		case word == "OR" && condition:
			e.or = append(e.or, nil)
		default:
			return nil, &tagSyntaxError{len(text) - len(p.rest) + 1, fmt.Errorf("'%s' stands where AND is expected", word+p.rest)}
		}
	}
}

// maxComparisons is how many comparisons an expression has.
const maxComparisons = 1000

// parseTagQuery is parseTagExpr of Find Blobs by Tags, with errors as that operation answers them.
func parseTagQuery(text string) (*tagExpr, error) {
	e, err := parseTagExpr(text, false)
	var at *tagSyntaxError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("Error parsing query at or near character position %d: %w", at.position, err)
	}
	if err != nil {
		return nil, fmt.Errorf("Error parsing query: %w", err)
	}
	return e, nil
}

// tagSyntaxError is what is wrong at a place of an expression, counted from 1.
type tagSyntaxError struct {
	position int
	error
}

type tagParser struct {
	rest      string
	condition bool
}

func (p *tagParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *tagParser) word() string {
	p.space()
	i := strings.IndexFunc(p.rest, func(r rune) bool {
		return !(r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	})
	if i < 0 {
		i = len(p.rest)
	}
	w := p.rest[:i]
	p.rest = p.rest[i:]
	p.space()
	return w
}

func (p *tagParser) test() (t tagTest, err error) {
	p.space()
	switch {
	case strings.HasPrefix(p.rest, "@"):
		p.rest = p.rest[1:]
		if w := p.word(); w != "container" || p.condition {
			return t, fmt.Errorf("unsupported parameter '@%s'", w)
		}
		t.container, t.key = true, "@container"
	case strings.HasPrefix(p.rest, `"`):
		if t.key, err = p.quoted('"'); err != nil {
			return t, err
		}
	default:
		t.key = p.word()
	}
	if t.key == "" {
		return t, fmt.Errorf("a tag's key is expected at '%s'", p.rest)
	}
	if len(t.key) > maxTagKey && !p.condition { // a condition may name a tag that no blob can have
		return t, fmt.Errorf("tag must be between 1 and %d characters in length", maxTagKey)
	}
	p.space()
	for _, op := range []string{"<>", "<=", ">=", "=", "<", ">"} {
		if strings.HasPrefix(p.rest, op) {
			t.op, p.rest = op, p.rest[len(op):]
			break
		}
	}
	if t.op == "" || t.op == "<>" && !p.condition || t.container && t.op != "=" {
		return t, fmt.Errorf("a comparison is expected after '%s'", t.key)
	}
	p.space()
	if !strings.HasPrefix(p.rest, "'") {
		return t, fmt.Errorf("the value compared with '%s' stands in single quotes", t.key)
	}
	if t.value, err = p.quoted('\''); err != nil {
		return t, err
	}
	if len(t.value) > maxTagValue && !p.condition {
		return t, fmt.Errorf("tag value must be between 0 and %d characters in length", maxTagValue)
	}
	if !t.container && !tagText(t.value) {
		return t, fmt.Errorf("the value compared with '%s' has a character that is not permitted in tag name or value", t.key)
	}
	return t, nil
}

// quoted reads a string in quotes; a quote in it is written twice.
func (p *tagParser) quoted(quote byte) (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != quote {
			b.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		p.rest = p.rest[i+1:]
		return b.String(), nil
	}
	return "", fmt.Errorf("the quote that begins %s is not closed", p.rest)
}
