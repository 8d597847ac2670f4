package policy

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed builtin.json
var builtinJSON []byte

// Builtin is one of Azure's built-in definitions.
type Builtin struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Properties Definition `json:"properties"`
	compile    func() (*Compiled, error)
}

// Compile checks the definition, once.
func (b *Builtin) Compile() (*Compiled, error) { return b.compile() }

// Builtins are Azure's built-in definitions that the region has, ordered by name: those of the policy repository's
// folders container-registry, general, key-vault, machine-learning, network, storage and tags, under their real ids.
// https://github.com/Azure/azure-policy
var Builtins = sync.OnceValue(func() []*Builtin {
	var all []*Builtin
	if err := decode(builtinJSON, &all); err != nil {
		panic(fmt.Sprintf("policy: builtin.json: %v", err)) // a part of the program
	}
	for _, b := range all {
		b.Properties.ID = b.ID
		b.compile = sync.OnceValues(func() (*Compiled, error) { return Compile(&b.Properties) })
	}
	return all
})

// FindBuiltin returns the built-in definition of that name.
func FindBuiltin(name string) (*Builtin, bool) {
	all := Builtins()
	i, ok := slices.BinarySearchFunc(all, strings.ToLower(name), func(b *Builtin, name string) int { return strings.Compare(b.Name, name) })
	if !ok {
		return nil, false
	}
	return all[i], true
}

// UnmarshalJSON reads a value and keeps its numbers as they are written.
func (v *Value) UnmarshalJSON(b []byte) error {
	var in struct {
		Value any `json:"value"`
	}
	if err := decode(b, &in); err != nil {
		return err
	}
	v.Value = in.Value
	return nil
}

var _ json.Unmarshaler = (*Value)(nil)
