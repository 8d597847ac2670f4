package httpx

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vauban.dev/arm"
)

func TestReadJSON(t *testing.T) {
	for _, c := range []struct {
		why, contentType, body string
		status                 int // 0: accepted
		code                   string
	}{
		{"plain", "application/json; charset=utf-8", `{"a":1,"unknown":2}`, 0, ""},
		{"no content type", "", `{"a":1}`, 0, ""},
		{"merge patch", "application/merge-patch+json", `{"a":1}`, 0, ""},
		{"other type", "text/xml", `{"a":1}`, 415, "UnsupportedMediaType"},
		{"bad type", ";;", `{"a":1}`, 415, "UnsupportedMediaType"},
		{"broken", "application/json", `{"a":`, 400, "InvalidRequestContent"},
		{"two values", "application/json", `{"a":1} {}`, 400, "InvalidRequestContent"},
		{"empty", "application/json", ``, 400, "InvalidRequestContent"},
		{"wrong kind", "application/json", `{"a":"x"}`, 400, "InvalidRequestContent"},
		{"too long", "application/json", `{"a":1,"b":"` + strings.Repeat("x", 100) + `"}`, 413, "RequestEntityTooLarge"},
	} {
		r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.contentType)
		if c.contentType == "" {
			r.Header.Del("Content-Type")
		}
		var v struct{ A int }
		err := ReadJSON(httptest.NewRecorder(), r, 64, &v)
		e := arm.AsError(err)
		switch {
		case c.status == 0 && (err != nil || v.A != 1):
			t.Errorf("%s: %v, %+v", c.why, err, v)
		case c.status != 0 && (e == nil || e.Status != c.status || e.Code != c.code):
			t.Errorf("%s: %v, want %d %s", c.why, err, c.status, c.code)
		}
	}
}

func TestWriteJSON(t *testing.T) {
	w := httptest.NewRecorder()
	if err := WriteJSON(w, http.StatusCreated, map[string]string{"a": "<&>"}); err != nil {
		t.Fatal(err)
	}
	if w.Code != 201 || w.Body.String() != "{\"a\":\"<&>\"}\n" || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
	w = httptest.NewRecorder()
	if err := WriteJSON(w, http.StatusOK, make(chan int)); err == nil || w.Code != 500 {
		t.Errorf("%v, %d", err, w.Code)
	}
}

func TestHosts(t *testing.T) {
	h := new(Hosts)
	for _, bad := range []string{"", "*.", "a*.test", "a/b", "a:1"} {
		if err := h.Handle(bad, http.NotFoundHandler()); err == nil {
			t.Errorf("pattern %q was accepted", bad)
		}
	}
	if err := h.Handle("A.test", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	if err := h.Handle("a.TEST", http.NotFoundHandler()); err == nil {
		t.Error("two handlers")
	}
	for in, want := range map[string]string{"A.test:443": "a.test", "a.test.": "a.test", "[::1]:80": "::1", "[::1]": "::1", "10.0.0.1": "10.0.0.1", "": ""} {
		if got := CanonicalHost(in); got != want {
			t.Errorf("CanonicalHost(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("comp=list&sig=abc&x")
	f.Add("%73ig=secretvalue&&=&=secretvalue")
	f.Fuzz(func(t *testing.T, query string) {
		got := redact("sig=hunter2hunter2&" + query + "&hunter2hunter2")
		if strings.Contains(got, "hunter2hunter2") && !strings.Contains(query, "hunter2hunter2") {
			t.Errorf("redact(%q) = %q", query, got)
		}
	})
}
