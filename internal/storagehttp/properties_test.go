package storagehttp

import "testing"

// TestOrigins: a rule's origins are names, all, or all names below one.
func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		origins, from string
		want          bool
	}{
		{"https://a.example.com, https://b.example.com", "https://b.example.com", true},
		{"*", "https://a.example.com", true},
		{"https://*.example.com", "https://x.EXAMPLE.com", true},
		{"https://*.example.com", "https://x.y.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "http://x.example.com", false},
		{"https://*.example.com", "https://xexample.com", false},
		{"https://*.example.com", "https://x.example.com.evil.net", false},
	} {
		if got := (CORSRule{Origins: c.origins}).fromOrigin(c.from); got != c.want {
			t.Errorf("%s from %s: %v", c.origins, c.from, got)
		}
	}
}
