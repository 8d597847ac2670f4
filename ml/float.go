package ml

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Float is a metric's value. Metrics may be NaN or infinite, which JSON numbers cannot be: those are
// written as the strings that MLflow's wire format (protobuf JSON) has for them.
type Float float64

func (f Float) MarshalJSON() ([]byte, error) {
	switch v := float64(f); {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Infinity"`), nil
	default:
		return json.Marshal(v)
	}
}

func (f *Float) UnmarshalJSON(b []byte) error {
	var v float64
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("metric value %q is not a number", s)
		}
		*f = Float(v)
		return nil
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*f = Float(v)
	return nil
}
