package rp

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestMistypeSpeaksJSON(t *testing.T) {
	var into struct {
		Text   string
		Whole  *int
		Real   float64
		Flag   bool
		List   []string
		Object map[string]any
		Struct *struct{}
	}
	for sent, want := range map[string]string{
		`{"Text":1}`:      "Cannot convert a JSON number to a JSON string",
		`{"Whole":"1"}`:   "Cannot convert a JSON string to a JSON whole number",
		`{"Real":{}}`:     "Cannot convert a JSON object to a JSON number",
		`{"Flag":[]}`:     "Cannot convert a JSON array to a JSON boolean",
		`{"List":"a"}`:    "Cannot convert a JSON string to a JSON array",
		`{"Object":[]}`:   "Cannot convert a JSON array to a JSON object",
		`{"Struct":true}`: "Cannot convert a JSON boolean to a JSON object",
	} {
		mistyped := new(json.UnmarshalTypeError)
		if err := json.Unmarshal([]byte(sent), &into); !errors.As(err, &mistyped) || mistype(mistyped) != want {
			t.Errorf("%s: %v, want %s", sent, err, want)
		}
	}
}
