package expr

import (
	"context"
	"strconv"
	"strings"
)

// Reduce evaluates what it can of an expression: everything but the calls of which later is true and what is made of
// them. It returns the value, or the expression that remains.
func (x *Expression) Reduce(ctx context.Context, env *Env, later func(name string) bool) (value any, rest string, err error) {
	r := reducer{ctx: ctx, env: env, later: later}
	n, err := r.reduce(x.root)
	if err != nil {
		return nil, "", err
	}
	if l, ok := n.(literal); ok {
		return l.value, "", nil
	}
	var b strings.Builder
	if err := write(&b, n); err != nil {
		return nil, "", err
	}
	return nil, "[" + b.String() + "]", nil
}

type reducer struct {
	ctx   context.Context
	env   *Env
	later func(string) bool
}

// open says that a part cannot be evaluated here: it has a call for later, or the variable of a lambda around it.
func (r *reducer) open(n node, bound int) bool {
	switch n := n.(type) {
	case access:
		return r.open(n.of, bound) || r.open(n.key, bound)
	case call:
		name := strings.ToLower(n.name)
		if r.later(name) || name == "lambdavariables" && bound == 0 || name == "lambda" && bound == 0 {
			return true
		}
		for _, a := range n.args {
			inside := bound
			if c, ok := a.(call); ok && strings.EqualFold(c.name, "lambda") {
				inside++
			}
			if r.open(a, inside) {
				return true
			}
		}
	}
	return false
}

func (r *reducer) reduce(n node) (node, error) {
	if !r.open(n, 0) {
		v, err := (&Expression{root: n}).Eval(r.ctx, r.env)
		return literal{v}, err
	}
	switch n := n.(type) {
	case access:
		of, err := r.reduce(n.of)
		if err != nil {
			return nil, err
		}
		key, err := r.reduce(n.key)
		return access{of: of, key: key, safe: n.safe}, err
	case call:
		out := call{name: n.name}
		for _, a := range n.args {
			reduced, err := r.reduce(a)
			if err != nil {
				return nil, err
			}
			out.args = append(out.args, reduced)
		}
		return out, nil
	}
	return n, nil
}

// write writes a part as the text of an expression.
func write(b *strings.Builder, n node) error {
	if b.Len() > maxString {
		return errorf("The expression is too long.")
	}
	switch n := n.(type) {
	case literal:
		return writeValue(b, n.value)
	case access:
		if err := write(b, n.of); err != nil {
			return err
		}
		b.WriteByte('[')
		if n.safe {
			b.WriteByte('?')
		}
		if err := write(b, n.key); err != nil {
			return err
		}
		b.WriteByte(']')
	case call:
		b.WriteString(n.name)
		b.WriteByte('(')
		for i, a := range n.args {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := write(b, a); err != nil {
				return err
			}
		}
		b.WriteByte(')')
	}
	return nil
}

func writeValue(b *strings.Builder, v any) error {
	switch v := v.(type) {
	case string:
		b.WriteString("'" + strings.ReplaceAll(v, "'", "''") + "'")
		return nil
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
		return nil
	case nil:
		b.WriteString("null()")
		return nil
	case bool:
		b.WriteString(strconv.FormatBool(v) + "()")
		return nil
	}
	text, err := Encode(v, maxString)
	if err != nil {
		return err
	}
	b.WriteString("json('" + strings.ReplaceAll(string(text), "'", "''") + "')")
	return nil
}

// Hash is the hash that uniqueString writes.
func Hash(s string) uint64 { return murmur(s) }
