package directory

import (
	"testing"
	"time"
)

// A secret is an argument of az login: with a dash in front it would be an option.
func TestSecretIsNoOption(t *testing.T) {
	for range 2000 {
		if s, value := NewSecret("s", time.Time{}, time.Time{}); value[0] == '-' || s.Hint != value[:3] || value[3:6] != "8Q~" {
			t.Fatalf("secret %q, hint %q", value, s.Hint)
		}
	}
}
