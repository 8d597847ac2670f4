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

// Texts that say numbers and booleans are taken for them, as Azure's providers do.
func TestTextsOfNumbers(t *testing.T) {
	type inner struct{ Port *int }
	type into struct {
		Text  string `json:"text"`
		Whole int64  `json:"whole"`
		Flag  *bool  `json:"flag"`
		List  []inner
	}
	var got into
	if err := decodeJSON([]byte(`{"text":443,"Whole":"7","flag":"false","list":[{"port":"80"}],"other":"5"}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.Text != "443" || got.Whole != 7 || *got.Flag || *got.List[0].Port != 80 {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{`{"whole":"x"}`, `{"flag":"maybe"}`, `{"whole":{}}`, `{"whole":"99999999999999999999"}`, `{"flag":"1"}`} {
		if err := decodeJSON([]byte(bad), &got); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
