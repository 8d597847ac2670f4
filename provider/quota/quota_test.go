package quota_test

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub   = "aaaaaaaa-0000-0000-0000-000000000001"
	group = "/subscriptions/" + sub + "/resourceGroups/g"
	v     = "?api-version=2024-01-01"
)

var boxes = quota.Quota{Namespace: "Microsoft.Toys", Name: "Boxes", Limit: 3, Type: "Microsoft.Toys/boxes",
	Refuse: func(_, location string, limit int) *arm.Error {
		return arm.Errorf(400, "BoxCountLimitReached", "Cannot create more than %d boxes in %s.", limit, location)
	}}

func TestEnforce(t *testing.T) {
	reg := func(name string) rp.Registration {
		return rp.Of(rp.Type[struct{}]{Name: name, Versions: rp.Versions[struct{}]("2024-01-01")})
	}
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, reg("Microsoft.Resources/resourceGroups"), reg("Microsoft.Toys/boxes"))
	quota.Enforce(r.Engine, []quota.Quota{boxes})
	r.Must("PUT", group+v, `{"location":"westeurope"}`)
	put := func(i int, location string) rptest.Answer {
		return r.Request("PUT", fmt.Sprintf("%s/providers/Microsoft.Toys/boxes/b%d%s", group, i, v), `{"location":"`+location+`"}`)
	}
	set := func(location string, limit int) {
		t.Helper()
		if err := r.Engine.Update(t.Context(), func(tx *rp.Tx) error { return quota.Set(tx, sub, location, boxes, limit) }); err != nil {
			t.Fatal(err)
		}
	}
	usage := func() (u quota.Usage) {
		t.Helper()
		if err := r.Engine.View(t.Context(), func(tx *rp.Tx) error {
			all, err := quota.Usages(tx, sub, "West Europe", []quota.Quota{boxes}, nil)
			u = all[0]
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return u
	}
	for i := range 3 {
		if a := put(i, "westeurope"); a.Status != 201 {
			t.Fatalf("%d: %d %s", i, a.Status, a.Text)
		}
	}
	if a := put(3, "westeurope"); a.Status != 400 || a.Code() != "BoxCountLimitReached" || !strings.Contains(a.Text, "more than 3 boxes in westeurope") {
		t.Errorf("one too many: %d %s", a.Status, a.Text)
	}
	if a := put(2, "westeurope"); a.Status != 200 {
		t.Errorf("what is there: %d %s", a.Status, a.Text)
	}
	if a := put(4, "northeurope"); a.Status != 201 {
		t.Errorf("elsewhere: %d %s", a.Status, a.Text)
	}
	if u := usage(); u.Used != 3 || u.Now != 3 {
		t.Errorf("usage: %+v", u)
	}
	set("", 5)
	if a := put(3, "westeurope"); a.Status != 201 {
		t.Errorf("after more was given: %d %s", a.Status, a.Text)
	}
	set("westeurope", 1)
	if a := put(5, "westeurope"); a.Code() != "BoxCountLimitReached" {
		t.Errorf("less in the location: %d %s", a.Status, a.Text)
	}
	for i := range 4 {
		r.Must("DELETE", fmt.Sprintf("%s/providers/Microsoft.Toys/boxes/b%d%s", group, i, v), "")
	}
	if u := usage(); u.Used != 0 || u.Now != 1 {
		t.Errorf("after deletions: %+v", u)
	}
	set("westeurope", -1)
	set("", -1)
	r.Stop()
	r.Start()
	quota.Enforce(r.Engine, []quota.Quota{boxes})
	if a := put(0, "westeurope"); a.Status != 201 {
		t.Errorf("after a restart: %d %s", a.Status, a.Text)
	}
	if u := usage(); u.Used != 1 || u.Now != 3 {
		t.Errorf("after a restart: %+v", u)
	}
}

func TestFind(t *testing.T) {
	if q, err := quota.Find([]quota.Quota{boxes}, "microsoft.toys/boxes"); err != nil || q.Name != "Boxes" {
		t.Errorf("%v %v", q, err)
	}
	if _, err := quota.Find(nil, "x/y"); err == nil {
		t.Error("found nothing")
	}
}
