package rp_test

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/store"
)

// directory is an Identities on the store.
type directory struct{}

func (directory) EnsureSystem(tx store.Tx, id arm.ID) (string, string, error) {
	_, err := tx.Put("principal", id.Key(), []byte("{}"), store.Any)
	return "principal-of-" + id.Name(), "tenant", err
}

func (directory) Remove(tx store.Tx, id arm.ID) error {
	return tx.Delete("principal", id.Key(), store.Any)
}

func (directory) Resolve(_ store.Tx, id arm.ID) (string, string, error) {
	if id.Name() == "gone" {
		return "", "", arm.NotFound(id)
	}
	return "p-" + id.Name(), "c-" + id.Name(), nil
}

func TestIdentity(t *testing.T) {
	r := rptest.New(t, rp.Config{Identities: directory{}}, newWorld().types()...)
	r.Must("PUT", sub+v1, `{}`)
	r.Must("PUT", grp+v1, `{"location":"westeurope"}`)
	p := widgetPath("w1")
	user := grp + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	principals := func() (n int) {
		err := r.Store.View(t.Context(), func(tx store.Tx) error {
			return tx.Scan("principal", "", "", func(store.Doc) bool { n++; return true })
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	put := func(identity string) rptest.Answer {
		return r.Request("PUT", p+v1, fmt.Sprintf(`{"location":"westeurope","identity":%s}`, identity))
	}
	a := put(`{"type":"systemassigned,UserAssigned","principalId":"forged","userAssignedIdentities":{"` + user + `u1":{"clientId":"forged"}}}`)
	if a.String("identity", "type") != "SystemAssigned, UserAssigned" || a.String("identity", "principalId") != "principal-of-w1" || a.String("identity", "tenantId") != "tenant" ||
		a.String("identity", "userAssignedIdentities", user+"u1", "clientId") != "c-u1" || principals() != 1 {
		t.Errorf("both: %s", a.Text)
	}
	a = r.Request("PATCH", p+v1, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+user+`u1":null,"`+user+`u2":{}}}}`)
	if a.Status != 200 || a.String("identity", "principalId") != "" || a.String("identity", "userAssignedIdentities", user+"u2", "principalId") != "p-u2" || principals() != 0 {
		t.Errorf("user only: %s", a.Text)
	}
	wantCode(t, "absent identity", put(`{"type":"UserAssigned","userAssignedIdentities":{"`+user+`gone":{}}}`), 400, "FailedIdentityOperation")
	wantCode(t, "no identity's id", put(`{"type":"UserAssigned","userAssignedIdentities":{"`+grp+`":{}}}`), 400, "FailedIdentityOperation")
	wantCode(t, "no ids", put(`{"type":"UserAssigned"}`), 400, "InvalidIdentityType")
	wantCode(t, "ids of none", put(`{"type":"None","userAssignedIdentities":{"`+user+`u1":{}}}`), 400, "InvalidIdentityType")
	if a := put(`{"type":"SystemAssigned"}`); a.String("identity", "principalId") != "principal-of-w1" {
		t.Errorf("system: %s", a.Text)
	}
	if a := put(`{"type":"None"}`); a.String("identity", "type") != "None" || principals() != 0 {
		t.Errorf("none: %s", a.Text)
	}
	put(`{"type":"SystemAssigned"}`)
	r.Must("DELETE", p+v1, "")
	if principals() != 0 {
		t.Error("the identity outlives its resource")
	}
}

// Who gives a resource an identity lets everybody who runs on it act as that identity.
func TestIdentityOfAnother(t *testing.T) {
	r := rptest.New(t, rp.Config{Identities: directory{}}, newWorld().types()...)
	r.Must("PUT", sub+v1, `{}`)
	r.Must("PUT", grp+v1, `{"location":"westeurope"}`)
	r.Deny(stranger, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", "eve may not assign")
	p, id := widgetPath("w1")+v1, grp+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
	identity := func(id string) string {
		return `"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + id + `":{}}}`
	}
	body := `{"location":"westeurope",` + identity(id) + `}`
	a := r.As(stranger, "PUT", p, body)
	wantCode(t, "PUT", a, 403, "LinkedAuthorizationFailed")
	if !strings.Contains(a.String("error", "message"), id) {
		t.Errorf("message: %s", a.Text)
	}
	wantCode(t, "in capitals", r.As(stranger, "PUT", p, strings.Replace(body, id, strings.ToUpper(id), 1)), 403, "LinkedAuthorizationFailed")
	if a := r.As(stranger, "PUT", p, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`); a.Status != 201 {
		t.Errorf("its own: %s", a.Text)
	}
	wantCode(t, "PATCH", r.As(stranger, "PATCH", p, `{`+identity(id)+`}`), 403, "LinkedAuthorizationFailed")
	r.Must("PUT", p, body)
	if a := r.As(stranger, "PATCH", p, `{"tags":{"a":"b"}}`); a.Status != 200 {
		t.Errorf("PATCH of tags: %s", a.Text)
	}
	wantCode(t, "PATCH with another", r.As(stranger, "PATCH", p, `{`+identity(id+"2")+`}`), 403, "LinkedAuthorizationFailed")
}

func TestImplicitParent(t *testing.T) {
	r := region(t, newWorld())
	p := widgetPath("w1")
	r.Must("PUT", p+v1, `{"location":"westeurope"}`)
	r.Must("PUT", p+"/models/m/versions/1"+v1, `{}`)
	if a := r.Request("GET", p+"/models/M"+v1, ""); a.Status != 200 || a.String("name") != "m" || a.String("systemData", "createdBy") == "" {
		t.Errorf("the parent: %d %s", a.Status, a.Text)
	}
	wantCode(t, "the grandparent is not made", r.Request("PUT", widgetPath("w2")+"/models/m/versions/1"+v1, `{}`), 404, "ParentResourceNotFound")
}

func TestSubscriptionsOfACallerWithOneGroup(t *testing.T) {
	r := region(t, newWorld())
	r.Deny(stranger, "Microsoft.Resources/subscriptions/read", "no")
	if a := r.As(stranger, "GET", "/subscriptions"+v1, ""); len(a.At("value").([]any)) != 1 {
		t.Errorf("may read a group: %s", a.Text)
	}
	r.Deny(stranger, "Microsoft.Resources/subscriptions/resourceGroups/read", "no")
	if a := r.As(stranger, "GET", "/subscriptions"+v1, ""); len(a.At("value").([]any)) != 0 {
		t.Errorf("may read nothing: %s", a.Text)
	}
	if a := r.As(stranger, "GET", sub+"/resourceGroups"+v1, ""); a.Status != 403 {
		t.Errorf("groups: %s", a.Text)
	}
}
