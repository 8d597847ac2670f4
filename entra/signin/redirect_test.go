package signin

import "testing"

func TestMatchRedirect(t *testing.T) {
	for _, c := range []struct {
		registered, asked string
		want              bool
	}{
		{"https://app.test/cb", "https://app.test/cb", true},
		{"https://app.test/cb", "https://app.test/cb/", false},
		{"https://app.test/cb", "https://app.test/cb?x=1", false},
		{"https://app.test/cb", "https://app.test.evil.test/cb", false},
		{"https://app.test/cb", "https://app.test/cb/../evil", false},
		{"https://app.test/cb", "https://app.test@evil.test/cb", false},
		{"https://app.test/cb", "HTTPS://app.test/cb", false},
		{"https://app.test/cb", "https://app.test:443/cb", false},
		{"https://app.test/cb", "//app.test/cb", false},
		{"https://app.test/cb", "", false},
		{"", "", false},
		{"http://localhost", "http://localhost:8400", true},
		{"http://localhost", "http://localhost:8400/", true},
		{"http://localhost:3000/cb", "http://localhost:4000/cb", true},
		{"http://localhost:3000/cb", "http://localhost:4000/other", false},
		{"http://localhost", "http://localhost:8400/evil", false},
		{"http://localhost", "http://localhost:8400?x", false},
		{"http://localhost", "http://localhost:8400#x", false},
		{"http://localhost", "http://user@localhost:8400", false},
		{"http://localhost", "http://localhost.evil.test:8400", false},
		{"http://localhost", "http://127.0.0.1:8400", false},
		{"http://127.0.0.1", "http://127.0.0.1:9", true},
		{"http://localhost", "https://localhost:8400", false},
		{"https://localhost", "https://localhost:8400", false},
		{"http://localhost", "http://localhost:8400\\@evil.test", false},
		{"urn:ietf:wg:oauth:2.0:oob", "urn:ietf:wg:oauth:2.0:oob", true},
	} {
		if got := matchRedirect(c.registered, c.asked); got != c.want {
			t.Errorf("%q as %q: %v", c.asked, c.registered, got)
		}
	}
}

func FuzzMatchRedirect(f *testing.F) {
	f.Add("http://localhost", "http://localhost:1")
	f.Fuzz(func(t *testing.T, registered, asked string) {
		if matchRedirect("https://app.test/cb", asked) && asked != "https://app.test/cb" {
			t.Errorf("%q", asked)
		}
		matchRedirect(registered, asked)
	})
}
