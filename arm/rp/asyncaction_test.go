package rp_test

import (
	"context"
	"encoding/json"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
)

// lens is a type with an asynchronous action, which waits for the test.
type lens struct {
	Size int `json:"size"`
}

// TestAsyncAction: 202 with an operation, the result at Location for who asked and nobody else, refusals before
// and after the 202, and a restart in between.
func TestAsyncAction(t *testing.T) {
	calls, hold := make(chan string, 10), make(chan struct{})
	look := rp.Action[lens]{
		Do: func(_ context.Context, _ *rp.Tx, _ *rp.Resource[lens], body []byte) (any, error) {
			var in struct{ At string }
			if json.Unmarshal(body, &in) != nil || in.At == "" {
				return nil, arm.Errorf(400, "NoTarget", "at is missing")
			}
			return nil, nil
		},
		Async: func(ctx context.Context, r *rp.Resource[lens], body []byte) (any, error) {
			calls <- string(body)
			if string(body) == `{"at":"sun"}` {
				return nil, arm.Errorf(422, "TooBright", "not there")
			}
			select {
			case <-hold:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return map[string]any{"seen": r.Properties.Size}, nil
		},
	}
	w := newWorld()
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(w.types(), rp.Of(rp.Type[lens]{
		Name: "Microsoft.Toys/lenses", Versions: rp.Versions[lens]("2024-01-01"), Actions: map[string]rp.Action[lens]{"look": look}}))...)
	r.Must("PUT", sub+v1, `{}`)
	r.Must("PUT", grp+v1, `{"location":"westeurope"}`)
	p := grp + "/providers/Microsoft.Toys/lenses/l"
	r.Must("PUT", p+v1, `{"location":"westeurope","properties":{"size":7}}`)

	wantCode(t, "refused before", r.Request("POST", p+"/look"+v1, `{}`), 400, "NoTarget")
	wantCode(t, "no resource", r.Request("POST", p+"x/look"+v1, `{"at":"sun"}`), 404, "ResourceNotFound")
	bright := r.Request("POST", p+"/look"+v1, `{"at":"sun"}`)
	if bright.Status != 202 {
		t.Fatalf("%d %s", bright.Status, bright.Text)
	}
	if end := r.Wait(bright); end.String("status") != "Failed" || end.String("error", "code") != "TooBright" {
		t.Errorf("the failed operation: %s", end.Text)
	}
	wantCode(t, "its result", r.Request("GET", target(t, bright.Header.Get("Location")), ""), 422, "TooBright")
	<-calls

	a := r.Request("POST", p+"/look"+v1, `{"at":"moon"}`)
	if a.Status != 202 || a.Header.Get("Retry-After") == "" || a.Header.Get("Azure-AsyncOperation") == "" {
		t.Fatalf("%d %v %s", a.Status, a.Header, a.Text)
	}
	if got := <-calls; got != `{"at":"moon"}` {
		t.Errorf("called with %s", got)
	}
	result := target(t, a.Header.Get("Location"))
	r.Stop()
	r.Start()
	if got := <-calls; got != `{"at":"moon"}` {
		t.Errorf("after a restart called with %s", got)
	}
	close(hold)
	if end := r.Wait(a); end.String("status") != "Succeeded" || end.At("properties", "seen") != 7.0 {
		t.Errorf("operation: %s", end.Text)
	}
	if got := r.Request("GET", result, ""); got.Status != 200 || got.At("seen") != 7.0 {
		t.Errorf("result: %d %s", got.Status, got.Text)
	}
	wantCode(t, "another's look at the result", r.As(stranger, "GET", result, ""), 404, "OperationNotFound")
}
