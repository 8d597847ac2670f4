package demo

import (
	"encoding/json"
	"strings"
)

// Line is one line that a script printed: a step that ended, results, or its clients' own words.
type Line struct {
	Step   *Step
	Result map[string]any
	Text   string
}

// Step of a scenario, as clients/common.py prints it.
type Step struct {
	Name    string  `json:"step"`
	State   string  `json:"state"` // "ok" or "failed"
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// ParseLine tells the scripts' own lines from what clients print.
func ParseLine(s string) Line {
	if !strings.HasPrefix(s, "{") {
		return Line{Text: s}
	}
	var l struct {
		Step
		Result map[string]any `json:"result"`
	}
	switch err := json.Unmarshal([]byte(s), &l); {
	case err == nil && l.Name != "" && (l.State == "ok" || l.State == "failed"):
		return Line{Step: &l.Step}
	case err == nil && l.Result != nil:
		return Line{Result: l.Result}
	}
	return Line{Text: s}
}
