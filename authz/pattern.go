package authz

import "strings"

// pattern is a lower-case action pattern; parts are what stands between its stars.
type pattern struct {
	text  string // as written
	parts []string
}

// rules are the allowed and the excepted patterns of one plane of a permission block.
type rules struct{ allow, except []pattern }

type block struct {
	control, data rules
	conditional   bool
}

func patterns(texts []string) []pattern {
	out := make([]pattern, len(texts))
	for i, t := range texts {
		out[i] = pattern{text: t, parts: strings.Split(lower(t), "*")}
	}
	return out
}

// match reports whether the lower-case action is one of those that the pattern names.
func (p *pattern) match(action string) bool {
	if len(p.parts) == 1 {
		return action == p.parts[0]
	}
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(action) < len(first)+len(last) || !strings.HasPrefix(action, first) || !strings.HasSuffix(action, last) {
		return false
	}
	rest := action[len(first) : len(action)-len(last)]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		i := strings.Index(rest, part) // leftmost is enough: what follows only gets longer
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return true
}

// verdict of one permission block, or of a whole definition, on an action.
type verdict struct {
	granted     bool
	exceptedBy  string // the notActions pattern that takes the action out again
	conditional bool   // it would grant, but for a condition
}

func (r *rules) check(action string) verdict {
	granted := false
	for i := range r.allow {
		if r.allow[i].match(action) {
			granted = true
			break
		}
	}
	if !granted {
		return verdict{}
	}
	for i := range r.except {
		if r.except[i].match(action) {
			return verdict{exceptedBy: r.except[i].text}
		}
	}
	return verdict{granted: true}
}

// Grants reports whether the definition grants the action on its plane, leaving scopes aside.
func (d Definition) Grants(action string, data bool) bool {
	return d.check(lower(action), data).granted
}

func (d *Definition) check(action string, data bool) verdict {
	blocks := d.blocks
	if blocks == nil {
		blocks = d.Compile().blocks
	}
	var v verdict
	for i := range blocks {
		r := &blocks[i].control
		if data {
			r = &blocks[i].data
		}
		w := r.check(action)
		switch {
		case w.granted && !blocks[i].conditional:
			return w
		case w.granted:
			v.conditional = true
		case w.exceptedBy != "":
			v.exceptedBy = w.exceptedBy
		}
	}
	return v
}

// lower folds ASCII letters only: Azure's names are ASCII, and Unicode folding would make other
// letters (the Kelvin sign) equal to them.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + ('a' - 'A')
				}
			}
			return string(b)
		}
	}
	return s
}
