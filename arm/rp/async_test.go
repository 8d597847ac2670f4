package rp_test

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
)

func machinePath(name string) string { return grp + "/providers/Microsoft.Toys/machines/" + name }

func target(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Host == "" {
		t.Fatalf("link %q: %v", link, err)
	}
	return u.RequestURI()
}

func TestAsyncCreate(t *testing.T) {
	w := newWorld()
	r := region(t, w)
	p := machinePath("m1")
	w.setHeld(p, true)
	a := r.Request("PUT", p+v1, `{"location":"westeurope","properties":{"steps":3}}`)
	if a.Status != 201 || a.String("properties", "provisioningState") != "Creating" || a.Header.Get("Retry-After") != "1" {
		t.Fatalf("PUT: %d %v %s", a.Status, a.Header, a.Text)
	}
	operation := target(t, a.Header.Get("Azure-AsyncOperation"))
	if !strings.Contains(operation, "/providers/Microsoft.Toys/locations/westeurope/operations/") {
		t.Errorf("operation: %s", operation)
	}
	result := strings.Replace(operation, "/operations/", "/operationResults/", 1)
	wantCode(t, "PUT while it runs", r.Request("PUT", p+v1, `{"location":"westeurope"}`), 409, "AnotherOperationInProgress")
	r.Deny(stranger, "Microsoft.Toys/machines/read", "no")
	wantCode(t, "a stranger's poll", r.As(stranger, "GET", operation, ""), 404, "OperationNotFound")
	if running := r.Request("GET", result, ""); running.Status != 202 || running.Header.Get("Location") == "" {
		t.Errorf("result while it runs: %d %s", running.Status, running.Text)
	}
	w.setHeld(p, false)
	r.Engine.Wake(arm.MustParseID(p))
	end := r.Wait(a)
	if end.String("status") != "Succeeded" || end.At("percentComplete") != 100.0 || end.String("endTime") == "" || end.String("name") == "" {
		t.Errorf("end: %s", end.Text)
	}
	if got := r.Request("GET", p+v1, ""); got.String("properties", "provisioningState") != "Succeeded" || got.At("properties", "done") != 3.0 {
		t.Errorf("GET: %s", got.Text)
	}
	if got := r.Request("GET", result, ""); got.Status != 200 || got.String("name") != "m1" {
		t.Errorf("result: %d %s", got.Status, got.Text)
	}
	update := r.Request("PUT", p+v1, `{"location":"westeurope","properties":{"steps":4}}`)
	if update.Status != 200 || update.String("properties", "provisioningState") != "Updating" || update.At("properties", "done") != 3.0 {
		t.Errorf("update: %d %s", update.Status, update.Text)
	}
	r.Wait(update)
	if got := r.Request("GET", p+v1, ""); got.At("properties", "done") != 4.0 {
		t.Errorf("GET: %s", got.Text)
	}
}

func TestAsyncFailureAndBackOff(t *testing.T) {
	r := region(t, newWorld())
	end := r.Wait(r.Request("PUT", machinePath("bad")+v1, `{"location":"westeurope","properties":{"fail":"NoCapacity"}}`))
	if end.String("status") != "Failed" || end.Code() != "NoCapacity" {
		t.Errorf("end: %s", end.Text)
	}
	if got := r.Request("GET", machinePath("bad")+v1, ""); got.String("properties", "provisioningState") != "Failed" {
		t.Errorf("GET: %s", got.Text)
	}
	r.Must("PUT", machinePath("bad")+v1, `{"location":"westeurope","properties":{}}`)
	if got := r.Request("GET", machinePath("bad")+v1, ""); got.String("properties", "provisioningState") != "Succeeded" {
		t.Errorf("repaired: %s", got.Text)
	}
	r.Must("PUT", machinePath("flaky")+v1, `{"location":"westeurope","properties":{"flaky":2}}`)
	log := r.Request("GET", sub+"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter="+url.QueryEscape("resourceUri eq '"+machinePath("bad")+"'"), "")
	var got []string
	for _, v := range log.At("value").([]any) {
		got = append(got, v.(map[string]any)["status"].(map[string]any)["value"].(string))
	}
	if diff := cmp.Diff([]string{"Succeeded", "Accepted", "Failed", "Accepted"}, got); diff != "" {
		t.Errorf("log:\n%s", diff)
	}
}

func TestAsyncDelete(t *testing.T) {
	w := newWorld()
	r := region(t, w)
	p := machinePath("m1")
	r.Must("PUT", p+v1, `{"location":"westeurope","properties":{"parts":[{"name":"p1","properties":{"inUse":true}}]}}`)
	wantCode(t, "in use", r.Request("DELETE", p+v1, ""), 400, "InUsePartCannotBeDeleted")
	r.Must("PUT", p+v1, `{"location":"westeurope","properties":{"parts":[{"name":"p1"}]}}`)
	w.setHeld(p, true)
	a := r.Request("DELETE", p+v1, "")
	if a.Status != 202 || a.Header.Get("Location") == "" || a.Header.Get("Azure-AsyncOperation") == "" {
		t.Fatalf("DELETE: %d %v", a.Status, a.Header)
	}
	if got := r.Request("GET", p+v1, ""); got.String("properties", "provisioningState") != "Deleting" {
		t.Errorf("GET: %s", got.Text)
	}
	if again := r.Request("DELETE", p+v1, ""); again.Status != 202 || again.Header.Get("Azure-AsyncOperation") != a.Header.Get("Azure-AsyncOperation") {
		t.Errorf("second DELETE: %d %v", again.Status, again.Header)
	}
	wantCode(t, "PUT", r.Request("PUT", p+v1, `{"location":"westeurope"}`), 409, "AnotherOperationInProgress")
	wantCode(t, "PUT of a child", r.Request("PUT", p+"/parts/p2"+v1, `{}`), 409, "AnotherOperationInProgress")
	w.setHeld(p, false)
	r.Engine.Wake(arm.MustParseID(p))
	if end := r.Wait(a); end.String("status") != "Succeeded" {
		t.Errorf("end: %s", end.Text)
	}
	if got := r.Request("GET", target(t, a.Header.Get("Location")), ""); got.Status != 204 {
		t.Errorf("result: %d %s", got.Status, got.Text)
	}
	wantCode(t, "GET", r.Request("GET", p+v1, ""), 404, "ResourceNotFound")
	if diff := cmp.Diff([]string{"m1"}, w.finalized); diff != "" {
		t.Errorf("finalized:\n%s", diff)
	}
}

func TestInlineChildren(t *testing.T) {
	r := region(t, newWorld())
	p := machinePath("m1")
	parts := func(a rptest.Answer) (all []string) {
		list, _ := a.At("properties", "parts").([]any)
		for _, v := range list {
			m := v.(map[string]any)
			props := m["properties"].(map[string]any)
			s := m["name"].(string)
			if pre, ok := props["prefix"]; ok {
				s += "=" + pre.(string)
			}
			if x, ok := props["note"]; ok {
				s += " " + x.(string)
			}
			all = append(all, s)
		}
		return all
	}
	r.Must("PUT", p+v1, `{"location":"westeurope","properties":{"parts":[{"name":"b","properties":{"prefix":"1","note":"n","steps":2}},{"name":"a"}]}}`)
	got := r.Request("GET", p+v1, "")
	if diff := cmp.Diff([]string{"a", "b=1 n"}, parts(got)); diff != "" {
		t.Errorf("parts:\n%s", diff)
	}
	b := r.Request("GET", p+"/parts/b"+v1, "")
	if b.String("properties", "provisioningState") != "Succeeded" || b.At("properties", "done") != 2.0 {
		t.Errorf("the parent's operation ended before the child's: %s", b.Text)
	}
	// Sending back what was got changes no child.
	r.Must("PUT", p+v1, got.Text)
	if again := r.Request("GET", p+"/parts/b"+v1, ""); again.String("etag") != b.String("etag") {
		t.Errorf("the child was written: %s", again.Text)
	}
	// Without the property the children stay, by themselves they change, with it they follow.
	r.Must("PUT", p+v1, `{"location":"westeurope"}`)
	r.Must("PUT", p+"/parts/c"+v1, `{"properties":{"prefix":"3"}}`)
	r.Must("PATCH", p+v1, `{"tags":{"x":"y"}}`)
	if diff := cmp.Diff([]string{"a", "b=1 n", "c=3"}, parts(r.Request("GET", p+v1, ""))); diff != "" {
		t.Errorf("parts:\n%s", diff)
	}
	r.Must("PUT", p+v1, `{"location":"westeurope","properties":{"parts":[{"name":"C","properties":{"prefix":"4"}}]}}`)
	if diff := cmp.Diff([]string{"c=4"}, parts(r.Request("GET", p+v1, ""))); diff != "" {
		t.Errorf("parts:\n%s", diff)
	}
	for _, c := range []struct{ body, code string }{
		{`{"location":"westeurope","properties":{"parts":[{"name":"x"},{"name":"X"}]}}`, "DuplicateResourceName"},
		{`{"location":"westeurope","properties":{"parts":[{}]}}`, "InvalidRequestContent"},
		{`{"location":"westeurope","properties":{"parts":{"x":1}}}`, "InvalidRequestContent"},
		{`{"location":"westeurope","properties":{"parts":[{"name":"new"},{"name":"bad","properties":{"prefix":"forbidden"}}]}}`, "ForbiddenPart"},
	} {
		wantCode(t, c.body, r.Request("PUT", p+v1, c.body), 400, c.code)
	}
	if diff := cmp.Diff([]string{"c=4"}, parts(r.Request("GET", p+v1, ""))); diff != "" {
		t.Errorf("parts after refusals:\n%s", diff)
	}
}

func TestGroupDeletion(t *testing.T) {
	w := newWorld()
	r := region(t, w)
	r.Must("PUT", widgetPath("w1")+v1, `{"location":"westeurope"}`)
	r.Must("PUT", widgetPath("w1")+"/versions/1"+v1, `{}`)
	r.Must("PUT", machinePath("m1")+v1, `{"location":"westeurope","properties":{"parts":[{"name":"p1","properties":{"inUse":true}}]}}`)
	end := r.Wait(r.Request("DELETE", grp+v1, ""))
	if end.String("status") != "Failed" || end.Code() != "ResourceGroupDeletionBlocked" || !strings.Contains(end.Text, "InUsePartCannotBeDeleted") {
		t.Errorf("blocked: %s", end.Text)
	}
	if a := r.Request("GET", grp+v1, ""); a.String("properties", "provisioningState") != "Succeeded" {
		t.Errorf("the group after a blocked deletion: %s", a.Text)
	}
	r.Must("PUT", machinePath("m1")+v1, `{"location":"westeurope","properties":{"parts":[{"name":"p1"}]}}`)
	w.setHeld(machinePath("m1"), true)
	a := r.Request("DELETE", grp+v1, "")
	if a.Status != 202 {
		t.Fatalf("DELETE: %d %s", a.Status, a.Text)
	}
	wantCode(t, "PUT", r.Request("PUT", widgetPath("w2")+v1, `{"location":"westeurope"}`), 409, "ResourceGroupBeingDeleted")
	w.setHeld(machinePath("m1"), false)
	if end := r.Wait(a); end.String("status") != "Succeeded" {
		t.Errorf("end: %s", end.Text)
	}
	wantCode(t, "GET", r.Request("GET", grp+v1, ""), 404, "ResourceGroupNotFound")
	if a := r.Request("GET", sub+"/resources"+v1, ""); len(a.At("value").([]any)) != 0 {
		t.Errorf("left: %s", a.Text)
	}
}

func TestRestartResumesOperations(t *testing.T) {
	w := newWorld()
	r := region(t, w)
	w.setHeld(machinePath("m1"), true)
	create := r.Request("PUT", machinePath("m1")+v1, `{"location":"westeurope","properties":{"steps":2}}`)
	r.Must("PUT", machinePath("m2")+v1, `{"location":"westeurope"}`)
	w.setHeld(machinePath("m2"), true)
	remove := r.Request("DELETE", machinePath("m2")+v1, "")
	r.Stop()
	w.setHeld(machinePath("m1"), false)
	w.setHeld(machinePath("m2"), false)
	r.Start()
	for _, a := range []rptest.Answer{create, remove} {
		if end := r.Wait(a); end.String("status") != "Succeeded" {
			t.Errorf("after the restart: %s", end.Text)
		}
	}
	if !slices.Contains(w.finalized, "m2") {
		t.Errorf("finalized: %v", w.finalized)
	}
}

func TestOverlappingWritesLoseNothing(t *testing.T) {
	r := region(t, newWorld())
	p := machinePath("m1")
	r.Must("PUT", p+v1, `{"location":"westeurope"}`)
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		all.Go(func() {
			if a := r.Request("PUT", p+"/parts/"+name+v1, `{}`); a.Status != 201 {
				t.Errorf("PUT %s: %d %s", name, a.Status, a.Text)
			}
		})
	}
	all.Wait()
	if a := r.Request("GET", p+v1, ""); len(a.At("properties", "parts").([]any)) != 8 {
		t.Errorf("parts: %s", a.Text)
	}
}

func TestTransactionsOfTheSystem(t *testing.T) {
	r := region(t, newWorld())
	ctx := authz.NewContext(t.Context(), authz.Principal{Name: "the system"})
	id := arm.MustParseID(grp + "/providers/Microsoft.Toys/readings/r1")
	err := r.Engine.Update(ctx, func(tx *rp.Tx) error {
		if _, err := rp.Get[widget](tx, id); arm.AsError(err) == nil || arm.AsError(err).Status != 404 {
			t.Errorf("absent: %v", err)
		}
		if _, err := rp.Get[machine](tx, id); err == nil {
			t.Error("another type's T")
		}
		return rp.Save(tx, &rp.Resource[widget]{ID: id, Properties: widget{Size: 3, Key: "k"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := r.Request("GET", id.String()+v1, ""); a.At("properties", "size") != 3.0 || a.At("properties", "key") != nil || a.String("properties", "provisioningState") != "Succeeded" {
		t.Errorf("GET: %s", a.Text)
	}
	var etag string
	err = r.Engine.Update(ctx, func(tx *rp.Tx) error {
		got, err := rp.Get[widget](tx, id)
		if err != nil {
			return err
		}
		etag = got.ETag
		if err := rp.Save(tx, got); err != nil || got.ETag != etag {
			t.Errorf("saving what is there: %v, %s then %s", err, etag, got.ETag)
		}
		list, err := rp.List[widget](tx, "Microsoft.Toys/readings", arm.MustParseID(sub))
		if err != nil || len(list) != 1 || list[0].Properties.Key != "k" {
			t.Errorf("list: %v, %v", list, err)
		}
		if err := rp.Remove(tx, id); err != nil {
			return err
		}
		return rp.Remove(tx, id)
	})
	if err != nil {
		t.Fatal(err)
	}
	machineID := arm.MustParseID(machinePath("sys"))
	err = r.Engine.Update(ctx, func(tx *rp.Tx) error {
		return rp.Save(tx, &rp.Resource[machine]{ID: machineID, Location: "westeurope", Properties: machine{Steps: 2}})
	})
	if err != nil {
		t.Fatal(err)
	}
	for r.Request("GET", machineID.String()+v1, "").String("properties", "provisioningState") == "Creating" {
	}
	if a := r.Request("GET", machineID.String()+v1, ""); a.At("properties", "done") != 2.0 {
		t.Errorf("reconciled: %s", a.Text)
	}
}
