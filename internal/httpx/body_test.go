package httpx

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// unread fails the test when anything is read of it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }

func TestReadBody(t *testing.T) {
	const limit = 100 << 10
	whole := strings.Repeat("x", limit)
	for name, c := range map[string]struct {
		body     io.Reader
		declared int64
		want     string
		tooLarge bool
	}{
		"declared":           {strings.NewReader(whole), limit, whole, false},
		"empty":              {strings.NewReader(""), 0, "", false},
		"undeclared":         {strings.NewReader(whole), -1, whole, false},
		"undeclared, longer": {strings.NewReader(whole + "x"), -1, "", true},
		"declared, longer":   {unread{t}, limit + 1, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", c.body)
			r.ContentLength = c.declared
			got, err := ReadBody(httptest.NewRecorder(), r, limit)
			var large *http.MaxBytesError
			if errors.As(err, &large) != c.tooLarge || !c.tooLarge && err != nil {
				t.Fatalf("error %v, too large: %t", err, c.tooLarge)
			}
			if !c.tooLarge && string(got) != c.want {
				t.Errorf("%d bytes, want %d", len(got), len(c.want))
			}
		})
	}
}
