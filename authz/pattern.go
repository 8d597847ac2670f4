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
	condition     *guard // nil: none
}

func (b *block) plane(data bool) *rules {
	if data {
		return &b.data
	}
	return &b.control
}

func patterns(texts []string) []pattern {
	out := make([]pattern, len(texts))
	for i, t := range texts {
		out[i] = pattern{text: t, parts: strings.Split(lower(t), "*")}
	}
	return out
}

// match reports whether the lower-case action is one of those that the pattern names. A star stands
// for any run of characters. Between two slashes it may also stand for no segment at all, so that
// workspaces/*/read names workspaces/read too: Azure's own roles rest on it (AzureML Data Scientist
// reads the workspace by workspaces/*/read and must except workspaces/write from workspaces/*/write).
func (p *pattern) match(action string) bool {
	last := len(p.parts) - 1
	if last == 0 {
		return action == p.parts[0]
	}
	if !strings.HasPrefix(action, p.parts[0]) || !strings.HasSuffix(action, p.parts[last]) {
		return false
	}
	at := len(p.parts[0])
	for i := 1; i < last; i++ { // leftmost is enough: what follows has only more room
		at = p.from(i, at)
		found := strings.Index(action[at:], p.parts[i])
		if found < 0 {
			return false
		}
		at += found + len(p.parts[i])
	}
	return p.from(last, at) <= len(action)-len(p.parts[last])
}

// from is where part i may begin when the part before it ends at: a slash on both sides of the star
// may be the same one.
func (p *pattern) from(i, at int) int {
	if strings.HasSuffix(p.parts[i-1], "/") && strings.HasPrefix(p.parts[i], "/") {
		return at - 1
	}
	return at
}

// verdict of one permission block, or of a whole definition, on an action.
type verdict struct {
	granted    bool
	exceptedBy string // the notActions pattern that takes the action out again
	condition  *guard // what the grant still hangs on; nil: nothing
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

// Grants reports whether the definition grants the action on its plane, leaving scopes and conditions aside.
func (d Definition) Grants(action string, data bool) bool {
	return d.check(lower(action), data, nil).granted
}

// check finds the block that grants the action. Of blocks with a condition it is one whose condition holds of q, or,
// without q, the first.
func (d *Definition) check(action string, data bool, q *asked) verdict {
	blocks := d.blocks
	if blocks == nil {
		blocks = compile(d.Permissions)
	}
	var v verdict
	for i := range blocks {
		w := blocks[i].plane(data).check(action)
		if w.granted {
			w.condition = blocks[i].condition
		}
		switch {
		case w.granted && (w.condition == nil || q == nil || w.condition.holds(q)):
			return w
		case w.granted:
			v.condition = w.condition
		case w.exceptedBy != "":
			v.exceptedBy = w.exceptedBy
		}
	}
	return v
}

// Matches reports whether an action is one of those that a pattern of a role names.
func Matches(pattern, action string) bool {
	p := patterns([]string{pattern})[0]
	return p.match(lower(action))
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
