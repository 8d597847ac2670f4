package policy

import "testing"

func TestBuiltinsCompile(t *testing.T) {
	n := 0
	for _, b := range Builtins() {
		if _, err := b.Compile(); err != nil {
			t.Errorf("%s %s: %v", b.Name, b.Properties.DisplayName, err)
			n++
		}
	}
	if len(Builtins()) < 262 {
		t.Errorf("only %d definitions", len(Builtins()))
	}
	t.Log(len(Builtins())-n, "compile")
}
