package machinelearning

import (
	"encoding/json"
	"reflect"
)

// StringMap is a dictionary of strings. The ML service takes numbers and booleans as their text, and its
// SDK sends them (hash_version).
type StringMap map[string]string

func (m *StringMap) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if raw == nil {
		*m = nil
		return nil
	}
	out := StringMap{}
	for k, v := range raw {
		var s string
		switch {
		case len(v) > 0 && v[0] == '"':
			if err := json.Unmarshal(v, &s); err != nil {
				return err
			}
		case len(v) > 0 && (v[0] == '{' || v[0] == '['):
			return &json.UnmarshalTypeError{Value: "value of a dictionary", Field: k, Type: stringType}
		case string(v) == "null":
			continue
		default:
			s = string(v)
		}
		out[k] = s
	}
	*m = out
	return nil
}

var stringType = reflect.TypeFor[string]()
