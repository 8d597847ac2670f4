package scenario

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStages: every request is an absolute path with an api-version and a JSON object, and all that it names
// has a value.
func TestStages(t *testing.T) {
	stages, err := Stages()
	if err != nil {
		t.Fatal(err)
	}
	values := NewValues("tenant", "0a0a0a0a-0000-4000-8000-000000000000", "caller", "westeurope")
	count := 0
	for _, s := range stages {
		for _, r := range s.Requests {
			count++
			path, err := values.Fill(r.Path)
			if err != nil || !strings.HasPrefix(path, "/subscriptions/0a0a0a0a") || !strings.Contains(path, "?api-version=") {
				t.Errorf("%s: %q %v", s.Name, path, err)
			}
			body, err := values.Fill(string(r.Body))
			var object map[string]any
			if err != nil || json.Unmarshal([]byte(body), &object) != nil {
				t.Errorf("%s: %v: %s", path, err, body)
			}
		}
		for _, r := range s.Requests {
			for name := range r.Keep {
				values[name] = "kept"
			}
		}
	}
	if count < 25 {
		t.Errorf("only %d resources", count)
	}
	if _, err := values.Fill("${nosuch}"); err == nil {
		t.Error("a name without a value is filled")
	}
}

// TestProvision follows operations, keeps members of answers, and stops at a failure.
func TestProvision(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	polls := map[string]int{}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{name}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		name := r.PathValue("name")
		seen = append(seen, "PUT "+name)
		if name == "refused" {
			http.Error(w, "no", http.StatusConflict)
			return
		}
		w.Header().Set("Azure-AsyncOperation", "http://"+r.Host+"/operations/"+name)
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"properties":{"state":"Creating"}}`))
	})
	mux.HandleFunc("GET /operations/{name}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		name := r.PathValue("name")
		polls[name]++
		switch {
		case name == "failing":
			w.Write([]byte(`{"status":"Failed","error":{"code":"Why"}}`))
		case polls[name] < 2:
			w.Write([]byte(`{"status":"InProgress"}`))
		default:
			w.Write([]byte(`{"status":"Succeeded"}`))
		}
	})
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"properties":{"id":"of-` + r.PathValue("name") + `"}}`))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c := Client{HTTP: srv.Client(), Base: srv.URL}
	empty := json.RawMessage(`{}`)
	values := Values{"first": "one"}
	made, err := c.Provision(t.Context(), []Stage{
		{"a", []Request{{Path: "/${first}", Body: empty, Keep: map[string]string{"id": "properties.id"}}}},
		{"b", []Request{{Path: "/${id}", Body: empty}}},
	}, values)
	if err != nil || made != 2 {
		t.Fatalf("%d made: %v", made, err)
	}
	if diff := cmp.Diff([]string{"PUT one", "PUT of-one"}, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for path, want := range map[string]string{"/refused": "409", "/failing": "Why"} {
		if _, err := c.Provision(t.Context(), []Stage{{"c", []Request{{Path: path, Body: empty}}}}, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := c.Provision(t.Context(), []Stage{{"d", []Request{{Path: "/one", Body: empty, Keep: map[string]string{"x": "properties.none"}}}}}, values); err == nil {
		t.Error("a member that is not there is kept")
	}
}
