package jsonc

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestStandard(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": 1}`: `{"a":1}`,
		"{\"properties\": {\"mode\": \"Incremental\", template:{ // why\n \"a\": [1, 2,], /* more\n */ \"b\": 'it''s',}}}":    "",
		"{\"properties\": {\"mode\": \"Incremental\", template:{ // why\n \"a\": [1, 2,], /* more\n */ \"b\": 'x\\'y\"z',}}}": `{"properties":{"mode":"Incremental","template":{"a":[1,2],"b":"x'y\"z"}}}`,
		"{\"a\": \"one\ntwo\t//no comment\", \"b\": true, $c: null}":                                                          `{"a":"one\ntwo\t//no comment","b":true,"$c":null}`,
		`{"a": "\\", "b": [ ], }`: `{"a":"\\","b":[]}`,
		`{"a": /* `:               "",
		`{"a": "x`:                "",
		`{"a": 1,, }`:             "",
	} {
		got, err := Standard([]byte(in))
		var b bytes.Buffer
		if err == nil {
			err = json.Compact(&b, got)
		}
		if want == "" {
			if err == nil {
				t.Errorf("%s: became %s", in, b.String())
			}
			continue
		}
		if err != nil || b.String() != want {
			t.Errorf("%s: got %s (%s), want %s: %v", in, b.String(), got, want, err)
		}
	}
}

// FuzzStandard: JSON keeps its meaning.
func FuzzStandard(f *testing.F) {
	f.Add([]byte(`{"a": [1, true, "x\"y\u0041"], "b": {}}`))
	f.Add([]byte("{a: 'b', // c\n}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := Standard(data)
		if !json.Valid(data) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		var a, b bytes.Buffer
		if json.Compact(&a, data) != nil || json.Compact(&b, out) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("%q became %q", data, out)
		}
	})
}
