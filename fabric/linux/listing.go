package linux

import (
	"errors"
	"fmt"
	"strings"

	"vauban.dev/fabric"
)

// parseListing reads what `nft -s -n -y list table` prints of one table.
func parseListing(text string) ([]fabric.Object, error) {
	p := listing{rest: text}
	head := p.until("{")
	if f := strings.Fields(head); len(f) != 3 || f[0] != "table" {
		return nil, fmt.Errorf("not a table's listing: %.40q", text)
	}
	var out []fabric.Object
	for {
		p.space()
		if p.rest == "" {
			return nil, errors.New("the listing of a table ends early")
		}
		if p.rest[0] == '}' {
			return out, nil
		}
		f := strings.Fields(p.until("{"))
		if len(f) != 2 {
			return nil, fmt.Errorf("not an object of a table: %q", strings.Join(f, " "))
		}
		o := fabric.Object{Kind: fabric.ObjectKind(f[0]), Name: f[1]}
		body, ok := p.body()
		if !ok {
			return nil, fmt.Errorf("the listing of %s %s ends early", o.Kind, o.Name)
		}
		if err := fill(&o, body); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
}

// fill sorts the statements of an object into declaration and content.
func fill(o *fabric.Object, body string) error {
	for _, st := range statements(body) {
		switch o.Kind {
		case fabric.CounterObject:
			// Its value, which is not part of the ruleset.
		case fabric.ChainObject:
			if strings.HasPrefix(st, "type ") || strings.HasPrefix(st, "policy ") {
				o.Spec = append(o.Spec, st)
			} else {
				o.Lines = append(o.Lines, st)
			}
		case fabric.SetObject, fabric.MapObject:
			elems, ok := strings.CutPrefix(st, "elements = {")
			if !ok {
				o.Spec = append(o.Spec, st)
				continue
			}
			toks, err := tokens(strings.TrimSuffix(strings.TrimSpace(elems), "}"))
			if err != nil {
				return fmt.Errorf("%s %s: %w", o.Kind, o.Name, err)
			}
			for _, e := range splitElements(toks) {
				o.Lines = append(o.Lines, spell(e))
			}
		default:
			return fmt.Errorf("an object of unknown kind %q", o.Kind)
		}
	}
	return nil
}

// spell is the inverse of tokens.
func spell(toks []token) string {
	words := make([]string, len(toks))
	for i, t := range toks {
		if words[i] = t.text; t.quoted {
			words[i] = `"` + t.text + `"`
		}
	}
	return strings.Join(words, " ")
}

// statements of a body: they end at a newline or semicolon outside braces.
func statements(body string) []string {
	var out []string
	depth, start, quoted := 0, 0, false
	flush := func(end int) {
		if s := strings.TrimSpace(body[start:end]); s != "" {
			out = append(out, s)
		}
		start = end + 1
	}
	for i := range len(body) {
		switch c := body[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			depth--
		case (c == '\n' || c == ';') && depth == 0:
			flush(i)
		}
	}
	if start < len(body) {
		flush(len(body))
	}
	return out
}

// listing is a cursor in the text.
type listing struct{ rest string }

func (l *listing) space() { l.rest = strings.TrimLeft(l.rest, " \t\n") }

func (l *listing) until(sep string) string {
	head, tail, _ := strings.Cut(l.rest, sep)
	l.rest = tail
	return head
}

// body takes what stands before the brace that closes the one just read.
func (l *listing) body() (string, bool) {
	depth, quoted := 1, false
	for i := range len(l.rest) {
		switch c := l.rest[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				body := l.rest[:i]
				l.rest = l.rest[i+1:]
				return body, true
			}
		}
	}
	return "", false
}
