package linux

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"vauban.dev/fabric"
)

// stage gives every chain, set and map a name that is a hash of what it says, and of what it refers to.
// Base chains have to keep their names: each becomes one rule that goes to its content. Entries keep theirs, and change all
// at once.
//
// So nothing but that one rule and entries ever changes under its name, and a packet that is on its way through the
// old rules while the new ones become the law finds all of the old ones. The kernel exchanges the rules of chains
// atomically, but a packet looks at each chain, set and element by itself: one that meets a
// chain of the old ruleset and an element of the new one is judged by neither.
func stage(objects []fabric.Object) ([]fabric.Object, error) {
	names := map[string]string{} // new by old
	out := make([]fabric.Object, 0, len(objects))
	for _, o := range objects {
		if o.Kind == fabric.CounterObject || o.Learned { // they keep what they hold, and with it their names
			out = append(out, o)
			continue
		}
		lines := make([]string, len(o.Lines))
		for i, l := range o.Lines {
			toks, err := tokens(l)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err)
			}
			lines[i] = spell(rename(toks, names))
		}
		if o.Entry {
			out = append(out, fabric.Object{Kind: o.Kind, Name: o.Name, Entry: true, Lines: lines})
			continue
		}
		content := fabric.Object{Kind: o.Kind, Name: o.Name, Spec: o.Spec, Lines: lines, Content: true}
		if keepsName(o) {
			content.Spec = nil
		}
		content.Name = o.Name + "." + hash(content)
		out = append(out, content)
		if keepsName(o) {
			out = append(out, fabric.Object{Kind: o.Kind, Name: o.Name, Spec: o.Spec, Lines: []string{"goto " + content.Name}})
			continue
		}
		if names[o.Name] != "" {
			return nil, fmt.Errorf("%s %s stands twice", o.Kind, o.Name)
		}
		names[o.Name] = content.Name
	}
	return out, nil
}

func keepsName(o fabric.Object) bool {
	return o.Kind == fabric.ChainObject && (len(o.Spec) > 0 || o.Entry)
}

// rename puts new names where a statement or element refers to a chain, set or map.
func rename(toks []token, names map[string]string) []token {
	for i, t := range toks {
		switch {
		case t.quoted:
		case strings.HasPrefix(t.text, "@") && names[t.text[1:]] != "":
			toks[i].text = "@" + names[t.text[1:]]
		case i > 0 && (toks[i-1].text == "goto" || toks[i-1].text == "jump") && names[t.text] != "":
			toks[i].text = names[t.text]
		}
	}
	return toks
}

func hash(o fabric.Object) string {
	h := sha256.New()
	for _, part := range [][]string{{string(o.Kind)}, o.Spec, o.Lines} {
		for _, s := range part {
			fmt.Fprintf(h, "%d:%s", len(s), s)
		}
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
