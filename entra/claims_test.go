package entra

import (
	"fmt"
	"testing"

	"vauban.dev/entra/directory"
)

// TestUserClaims: what a user's token says of him, and that it lists at most 200 groups.
func TestUserClaims(t *testing.T) {
	w := newWorld(t, testTenant)
	of := func(groups int) map[string]any {
		t.Helper()
		s := Subject{ObjectID: w.app.ObjectID, ClientID: directory.CLIAppID, User: &UserSubject{Name: "Ada", UPN: "ada@contoso.test", Scopes: []string{"user_impersonation"}, WIDs: []string{directory.GlobalAdministrator}}}
		for i := range groups {
			s.User.Groups = append(s.User.Groups, fmt.Sprint(i))
		}
		tok, err := w.Issue(s, Target{Audience: AudienceARM, AppID: directory.ARMAppID, Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := w.open(tok.AccessToken, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := of(200)
	if len(c["groups"].([]any)) != 200 || c["wids"].([]any)[0] != directory.GlobalAdministrator || c["upn"] != "ada@contoso.test" || c["unique_name"] != "ada@contoso.test" || c["idtyp"] != "user" || c["scp"] != "user_impersonation" || c["oid"] != w.app.ObjectID || c["tid"] != testTenant {
		t.Errorf("%v", c)
	}
	if c = of(201); c["groups"] != nil || c["_claim_names"].(map[string]any)["groups"] != "src1" {
		t.Errorf("overage: %v", c)
	}
}
