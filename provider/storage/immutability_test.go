package storage_test

import (
	"strings"
	"testing"

	"vauban.dev/provider/storage"
)

// TestImmutability: a policy goes from unlocked to locked, and from then on is extended only; the data plane is told,
// and the account stays.
func TestImmutability(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	con := account + "/blobServices/default/containers/con"
	policy := con + "/immutabilityPolicies/default"
	r.Must("PUT", con+api, `{}`)
	const failed, bad = "ContainerImmutabilityPolicyFailure", "InvalidValuesForRequestParameters"
	days := func(n string) string {
		return `{"properties":{"immutabilityPeriodSinceCreationInDays":` + n + `,"allowProtectedAppendWrites":true}}`
	}
	r.refused(404, "ContainerImmutabilityPolicyNotFound", "", "GET", policy+api, "")
	r.refused(400, bad, "between 1 and 146000", "PUT", policy+api, days("0"))
	r.refused(400, bad, "mutually exclusive", "PUT", policy+api, strings.Replace(days("3"), "}}", `,"allowProtectedAppendWritesAll":true}}`, 1))
	r.refused(400, bad, "'default'", "PUT", con+"/immutabilityPolicies/other"+api, days("3"))
	if a := r.Request("PUT", policy+api, days("3")); a.Status != 201 || a.String("properties", "state") != "Unlocked" || a.String("etag") == "" || a.String("id") != policy {
		t.Errorf("PUT: %d %s", a.Status, a.Text)
	}
	if want := (storage.Guard{Days: 3, Appends: true}); r.guard != want {
		t.Errorf("the data plane keeps %+v, want %+v", r.guard, want)
	}
	r.Must("DELETE", policy+api, "")
	if r.guard != (storage.Guard{}) {
		t.Errorf("the data plane keeps %+v after the policy is gone", r.guard)
	}
	r.Must("PUT", policy+api, days("3"))
	r.refused(409, failed, "not locked", "POST", policy+"/extend"+api, days("5"))
	if a := r.Must("POST", policy+"/lock"+api, ""); a.String("properties", "state") != "Locked" {
		t.Errorf("lock: %s", a.Text)
	}
	r.refused(409, failed, "locked", "PUT", policy+api, days("9"))
	r.refused(409, failed, "locked", "DELETE", policy+api, "")
	r.refused(409, failed, "locked", "POST", policy+"/lock"+api, "")
	r.refused(409, failed, "extended only", "POST", policy+"/extend"+api, days("2"))
	for _, n := range []string{"4", "5", "6", "7", "8"} {
		r.Must("POST", policy+"/extend"+api, days(n))
	}
	r.refused(409, failed, "no more", "POST", policy+"/extend"+api, days("9"))
	if a := r.Must("GET", con+api, ""); a.At("properties", "hasImmutabilityPolicy") != true || len(a.At("properties", "immutabilityPolicy", "updateHistory").([]any)) != 7 {
		t.Errorf("the container: %s", a.Text)
	}
	r.refused(409, "AccountProtectedFromDeletion", "'con'", "DELETE", account+api, "")
}

// TestLegalHold: tags hold what is in a container until the last one is cleared.
func TestLegalHold(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	con := account + "/blobServices/default/containers/con"
	r.Must("PUT", con+api, `{"properties":{"defaultEncryptionScope":"scope1","denyEncryptionScopeOverride":true}}`)
	r.refused(400, "InvalidValuesForRequestParameters", "3 to 23", "POST", con+"/setLegalHold"+api, `{"tags":["x"]}`)
	r.refused(400, "InvalidValuesForRequestParameters", "tags is missing", "POST", con+"/setLegalHold"+api, `{}`)
	if a := r.Must("POST", con+"/setLegalHold"+api, `{"tags":["Case1","case2"]}`); a.At("hasLegalHold") != true || !r.guard.Hold {
		t.Errorf("set: %s, the data plane keeps %+v", a.Text, r.guard)
	}
	r.refused(409, "AccountProtectedFromDeletion", "'con'", "DELETE", account+api, "")
	r.Must("POST", con+"/clearLegalHold"+api, `{"tags":["case1"]}`)
	a := r.Must("GET", con+api, "")
	if tags, _ := a.At("properties", "legalHold", "tags").([]any); len(tags) != 1 || !r.guard.Hold || a.String("properties", "defaultEncryptionScope") != "scope1" || a.At("properties", "denyEncryptionScopeOverride") != true {
		t.Errorf("the container: %s", a.Text)
	}
	if a := r.Must("POST", con+"/clearLegalHold"+api, `{"tags":["case2"]}`); a.At("hasLegalHold") != false || r.guard.Hold {
		t.Errorf("clear: %s, the data plane keeps %+v", a.Text, r.guard)
	}
	r.refused(409, "FeatureNotEnabled", "isVersioningEnabled", "PUT", con+api, `{"properties":{"immutableStorageWithVersioning":{"enabled":true}}}`)
	r.Must("DELETE", account+api, "")
}
