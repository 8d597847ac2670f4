package features_test

import (
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/features"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	root = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001/providers/Microsoft.Features"
	v    = "?api-version=2021-07-01"
	host = root + "/providers/Microsoft.Compute/features/EncryptionAtHost"
)

func TestFeature(t *testing.T) {
	r := rptest.New(t, rp.Config{}, features.Types()...)
	state := func(a rptest.Answer) string { return a.String("properties", "state") }
	if a := r.Request("GET", host+v, ""); state(a) != "NotRegistered" || a.String("name") != "Microsoft.Compute/EncryptionAtHost" {
		t.Errorf("before: %s", a.Text)
	}
	if a := r.Request("POST", host+"/register"+v, ""); a.Status != 200 || state(a) != "Registering" {
		t.Errorf("register: %d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", host+v, ""); state(a) != "Registered" {
		t.Errorf("after: %s", a.Text)
	}
	if a := r.Request("POST", host+"/register"+v, ""); state(a) != "Registered" {
		t.Errorf("again: %s", a.Text)
	}
	other := "/subscriptions/aaaaaaaa-0000-0000-0000-000000000002" + host[len("/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"):]
	if a := r.Request("GET", other+v, ""); state(a) != "NotRegistered" {
		t.Errorf("another subscription: %s", a.Text)
	}
	if a := r.Request("POST", host+"/unregister"+v, ""); state(a) != "Unregistering" {
		t.Errorf("unregister: %s", a.Text)
	}
	if a := r.Request("GET", host+v, ""); state(a) != "Unregistered" {
		t.Errorf("after unregister: %s", a.Text)
	}
	if a := r.Request("GET", root+"/providers/Microsoft.Compute/features/Nothing"+v, ""); a.Status != 404 || a.Code() != "FeatureNotFound" {
		t.Errorf("unknown: %d %s", a.Status, a.Text)
	}
	all := r.Request("GET", root+"/features"+v, "").At("value").([]any)
	some := r.Request("GET", root+"/providers/microsoft.network/features"+v, "").At("value").([]any)
	if len(some) == 0 || len(some) >= len(all) {
		t.Errorf("%d features, %d of Microsoft.Network", len(all), len(some))
	}
}

func TestFeatureRegistration(t *testing.T) {
	r := rptest.New(t, rp.Config{}, features.Types()...)
	at := root + "/featureProviders/Microsoft.Compute/subscriptionFeatureRegistrations/EncryptionAtHost"
	if a := r.Request("GET", at+v, ""); a.Status != 404 {
		t.Errorf("before: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PUT", at+v, `{"properties":{"description":"for tests"}}`); a.String("properties", "state") != "Registered" || a.String("properties", "description") != "for tests" {
		t.Errorf("PUT: %d %s", a.Status, a.Text)
	}
	for path, want := range map[string]int{root + "/subscriptionFeatureRegistrations": 1, root + "/featureProviders/Microsoft.Compute/subscriptionFeatureRegistrations": 1, root + "/featureProviders/Microsoft.Network/subscriptionFeatureRegistrations": 0} {
		if got := len(r.Request("GET", path+v, "").At("value").([]any)); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if a := r.Request("GET", host+v, ""); a.String("properties", "state") != "Registered" {
		t.Errorf("the feature: %s", a.Text)
	}
	for _, want := range []int{200, 204} {
		if a := r.Request("DELETE", at+v, ""); a.Status != want {
			t.Errorf("DELETE: %d %s", a.Status, a.Text)
		}
	}
	if a := r.Request("PUT", at+v, `{"properties":{"metadata":[1]}}`); a.Status != 400 || a.Code() != "InvalidRequestContent" {
		t.Errorf("bad body: %d %s", a.Status, a.Text)
	}
}
