package resources_test

import (
	"fmt"
	"strings"
	"testing"
)

const subscriptionAPI = "?api-version=2021-10-01"

func TestRenameCancelEnable(t *testing.T) {
	r, _ := newRegion(t)
	verbs := one + "/providers/Microsoft.Subscription/"
	if a := r.Request("POST", verbs+"rename"+subscriptionAPI, `{"subscriptionName":"Payments"}`); a.Status != 200 || "/subscriptions/"+a.String("subscriptionId") != one {
		t.Fatalf("rename: %d %s", a.Status, a.Text)
	}
	if a := r.Request("POST", verbs+"rename"+subscriptionAPI, `{"subscriptionName":""}`); a.Status != 400 {
		t.Errorf("rename to nothing: %d %s", a.Status, a.Text)
	}
	group := one + "/resourceGroups/rg"
	r.Must("PUT", group+api, `{"location":"westeurope"}`)
	widget := group + "/providers/Microsoft.Toys/widgets/w?api-version=2024-01-01"
	r.Must("PUT", widget, `{"location":"westeurope"}`)
	if a := r.Request("POST", verbs+"cancel"+subscriptionAPI, ""); a.Status != 400 || a.Code() != "SubscriptionHasResources" {
		t.Errorf("cancel with resources: %d %s", a.Status, a.Text)
	}
	if a := r.Request("POST", verbs+"cancel"+subscriptionAPI+"&IgnoreResourceCheck=true", ""); a.Status != 200 {
		t.Errorf("cancel all the same: %d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", one+api, ""); a.String("state") != "Disabled" || a.String("displayName") != "Payments" {
		t.Errorf("after: %s", a.Text)
	}
	for _, c := range [][3]string{{"PUT", widget, `{"location":"westeurope"}`}, {"DELETE", widget, ""}, {"PUT", group + tagsAPI, `{"properties":{"tags":{}}}`}} {
		if a := r.Request(c[0], c[1], c[2]); a.Status != 409 || a.Code() != "ReadOnlyDisabledSubscription" {
			t.Errorf("%s %s: %d %s", c[0], c[1], a.Status, a.Text)
		}
	}
	if a := r.Request("GET", widget, ""); a.Status != 200 {
		t.Errorf("read: %d %s", a.Status, a.Text)
	}
	if a := r.Request("POST", verbs+"enable"+subscriptionAPI, ""); a.Status != 200 {
		t.Errorf("enable: %d %s", a.Status, a.Text)
	}
	r.Must("PUT", widget, `{"location":"westeurope"}`)
}

func TestOldLocations(t *testing.T) {
	r, _ := newRegion(t)
	got := r.Request("GET", one+"/locations?api-version=2018-06-01", "").At("value").([]any)[0]
	want := "map[displayName:West Europe id:" + one + "/locations/westeurope latitude:52.3667 longitude:4.9 name:westeurope]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
}

func TestCheckResourceName(t *testing.T) {
	r, _ := newRegion(t)
	at := "/providers/Microsoft.Resources/checkResourceName?api-version=2022-12-01"
	for name, ok := range map[string]bool{"payments": true, "loginpage": false, "mylogin": true, "azure": false, "azurestore": true, "MyMicrosoftThing": false, "xbox1": false} {
		a := r.Request("POST", at, `{"name":"`+name+`","type":"Microsoft.Storage/storageAccounts"}`)
		if ok && a.String("status") != "Allowed" || !ok && (a.Status != 400 || a.Code() != "ReservedResourceName") {
			t.Errorf("%s: %d %s", name, a.Status, a.Text)
		}
	}
}

func TestCheckZonePeers(t *testing.T) {
	r, _ := newRegion(t)
	at := one + "/providers/Microsoft.Resources/checkZonePeers?api-version=2022-12-01"
	a := r.Request("POST", at, `{"location":"West Europe","subscriptionIds":["subscriptions/`+strings.TrimPrefix(two, "/subscriptions/")+`"]}`)
	peers, _ := a.At("availabilityZonePeers").([]any)
	if len(peers) != 3 || !strings.Contains(fmt.Sprint(peers[1]), "availabilityZone:2 subscriptionId:"+strings.TrimPrefix(two, "/subscriptions/")) {
		t.Errorf("%d %s", a.Status, a.Text)
	}
	if a := r.Request("POST", at, `{"location":"moon","subscriptionIds":["x"]}`); a.Status != 400 {
		t.Errorf("%d %s", a.Status, a.Text)
	}
}
