package graph

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// TestEveryRouteNeedsSomething: a caller with nothing gets nothing, and the refusal says what is missing.
func TestEveryRouteNeedsSomething(t *testing.T) {
	w := newWorld(t)
	u, _ := w.user("ada")
	nobody, unscoped := w.app("nobody", nil), w.tokenOf(u, "openid")
	id := strings.Repeat("0", 8) + "-0000-4000-8000-000000000000"
	for _, r := range w.graph.routes {
		path := r.Pattern
		for strings.Contains(path, "{") {
			a, b := strings.Index(path, "{"), strings.Index(path, "}")
			path = path[:a] + id + path[b+1:]
		}
		for who, token := range map[string]string{"an application without permissions": nobody, "a user whose token has no scope": unscoped} {
			got := w.call(token, r.Method, path, m{"@odata.id": host + "/v1.0/directoryObjects/" + id})
			open := strings.HasPrefix(path, "me") && token == nobody // says that it has no profile
			if open && got.status == 400 {
				continue
			}
			if got.status != http.StatusForbidden || got.code() != "Authorization_RequestDenied" || !strings.Contains(got.text, "permissions ") && !strings.Contains(got.text, "does not own") && !strings.Contains(got.text, "has no right") {
				t.Errorf("%s: %s %s: %d %s", who, r.Method, path, got.status, got.text)
			}
		}
	}
	for name, token := range map[string]string{"none": "", "garbage": "x"} {
		if got := w.call(token, "GET", "users", nil); got.status != 401 || got.code() != "InvalidAuthenticationToken" {
			t.Errorf("%s: %s", name, got.text)
		}
	}
	for _, path := range []string{"/v2.0/users", "/"} {
		if got := w.call(w.admin, "GET", host+path, nil); got.status != 400 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := w.call(w.admin, "GET", "devices", nil); got.status != 501 || got.code() != "NotImplemented" {
		t.Errorf("not served: %s", got.text)
	}
	if got := w.call(w.admin, "PUT", "users", nil); got.status != 405 {
		t.Errorf("a method that there is not: %s", got.text)
	}
}

// TestOrdinaryUser is an employee who tries to become more than that.
func TestOrdinaryUser(t *testing.T) {
	w := newWorld(t)
	eve, token := w.user("eve")
	ada, _ := w.user("ada")
	g := w.must(201, w.admin, "POST", "groups", m{"displayName": "g", "mailNickname": "g", "mailEnabled": false, "securityEnabled": true}).id()
	app := w.must(201, w.admin, "POST", "applications", m{"displayName": "app"})
	sp := w.must(201, w.admin, "POST", "servicePrincipals", m{"appId": app.body["appId"]}).id()
	role := w.must(201, w.admin, "POST", "directoryRoles", m{"roleTemplateId": "fe930be7-5e62-47db-91af-98c3a49a38b1"}).id()
	graphSP := w.must(200, w.admin, "GET", "servicePrincipals(appId='"+directory.GraphAppID+"')", nil).id()
	link := func(id string) m { return m{"@odata.id": host + "/v1.0/directoryObjects/" + id} }
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", "users/" + ada.ID, m{"passwordProfile": m{"password": "Changed-By-Eve1"}}},
		{"PATCH", "users/" + ada.ID, m{"mobilePhone": "1"}},
		{"PATCH", "users/" + eve.ID, m{"passwordProfile": m{"password": "Without-The-Old1"}}},
		{"PATCH", "users/" + eve.ID, m{"accountEnabled": true}},
		{"PATCH", "users/" + eve.ID, m{"userPrincipalName": "ceo@contoso.test"}},
		{"PATCH", "users/" + eve.ID, m{"displayName": "Chief Executive"}},
		{"PATCH", "users/" + eve.ID, m{"mobilePhone": "1", "userType": "Guest"}},
		{"PATCH", "me", m{"jobTitle": "CEO"}},
		{"DELETE", "users/" + ada.ID, nil}, {"DELETE", "users/" + eve.ID, nil},
		{"POST", "users/" + ada.ID + "/revokeSignInSessions", nil},
		{"POST", "users/" + ada.ID + "/changePassword", m{"currentPassword": "x", "newPassword": "Y"}},
		{"POST", "users", m{"displayName": "x", "mailNickname": "x", "userPrincipalName": "x@contoso.test", "accountEnabled": true, "passwordProfile": m{"password": "Passw0rd!"}}},
		{"POST", "groups/" + g + "/members/$ref", link(eve.ID)}, {"POST", "groups/" + g + "/owners/$ref", link(eve.ID)},
		{"PATCH", "groups/" + g, m{"description": "x"}}, {"PATCH", "groups/" + g, m{"members@odata.bind": []string{host + "/v1.0/directoryObjects/" + eve.ID}}}, {"DELETE", "groups/" + g, nil},
		{"POST", "groups", m{"displayName": "r", "mailNickname": "r", "mailEnabled": false, "securityEnabled": true, "isAssignableToRole": true}},
		{"POST", "directoryRoles/" + role + "/members/$ref", link(eve.ID)},
		{"POST", "directoryRoles/roleTemplateId=fe930be7-5e62-47db-91af-98c3a49a38b1/members/$ref", link(eve.ID)},
		{"POST", "groups/" + role + "/members/$ref", link(eve.ID)}, // a role by the way of groups
		{"POST", "directoryRoles", m{"roleTemplateId": directory.GlobalAdministrator}},
		{"POST", "roleManagement/directory/roleAssignments", m{"principalId": eve.ID, "roleDefinitionId": directory.GlobalAdministrator, "directoryScopeId": "/"}},
		{"POST", "applications/" + app.id() + "/addPassword", m{}}, {"POST", "servicePrincipals/" + sp + "/addPassword", m{}},
		{"PATCH", "applications/" + app.id(), m{"displayName": "x"}}, {"POST", "applications/" + app.id() + "/owners/$ref", link(eve.ID)}, {"DELETE", "applications/" + app.id(), nil},
		{"POST", "servicePrincipals/" + sp + "/appRoleAssignments", m{"principalId": sp, "resourceId": graphSP, "appRoleId": "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8"}},
		{"POST", "oauth2PermissionGrants", m{"clientId": sp, "consentType": "AllPrincipals", "resourceId": graphSP, "scope": "Directory.ReadWrite.All"}},
	} {
		if got := w.call(token, c.method, c.path, c.body); got.status != 403 && !(got.status == 404 && strings.HasPrefix(c.path, "groups/"+role)) {
			t.Errorf("eve: %s %s %v: %d %s", c.method, c.path, c.body, got.status, got.text)
		}
	}
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{"GET", "users", nil, 200}, {"GET", "me", nil, 200}, {"GET", "groups/" + g, nil, 200},
		{"PATCH", "me", m{"mobilePhone": "1"}, 204}, {"POST", "me/revokeSignInSessions", nil, 200},
	} {
		if got := w.call(token, c.method, c.path, c.body); got.status != c.want {
			t.Errorf("eve: %s %s: %d %s", c.method, c.path, got.status, got.text)
		}
	}
	if got := w.call(token, "GET", "me", nil); got.status != 401 {
		t.Errorf("after she revoked her sessions: %d", got.status)
	}
	token = w.tokenOfName("eve")
	own := w.must(201, token, "POST", "groups", m{"displayName": "mine", "mailNickname": "mine", "mailEnabled": false, "securityEnabled": true}).id()
	w.must(204, token, "POST", "groups/"+own+"/members/$ref", link(ada.ID))
	mine := w.must(201, token, "POST", "applications", m{"displayName": "mine"})
	w.must(200, token, "POST", "applications/"+mine.id()+"/addPassword", m{})
	mySP := w.must(201, token, "POST", "servicePrincipals", m{"appId": mine.body["appId"]}).id()
	w.must(403, token, "POST", "servicePrincipals/"+mySP+"/appRoleAssignments", m{"principalId": mySP, "resourceId": graphSP, "appRoleId": "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8"})
	if got := w.call(token, "POST", "groups/"+g+"/members/$ref", link(own)); got.status != 403 {
		t.Errorf("her group becomes a member: %s", got.text)
	}
}

// TestAdministrators: lesser roles do not touch greater ones, nor themselves up.
func TestAdministrators(t *testing.T) {
	w := newWorld(t)
	boss, _ := w.user("boss")
	help, _ := w.user("help")
	apps, _ := w.user("apps")
	ada, _ := w.user("ada")
	w.update(func(tx store.Tx) error {
		for template, id := range map[string]string{directory.GlobalAdministrator: boss.ID, "729827e3-9c14-49f7-bb1b-9608f156bbb8": help.ID, "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3": apps.ID} {
			if err := w.dir.AssignRole(tx, "", template, id); err != nil {
				return err
			}
		}
		return nil
	})
	reset := m{"passwordProfile": m{"password": "Reset-By-Help1"}}
	helpdesk := w.tokenOf(help)
	w.must(204, helpdesk, "PATCH", "users/"+ada.ID, reset)
	w.must(403, helpdesk, "PATCH", "users/"+boss.ID, reset)
	w.must(403, helpdesk, "PATCH", "users/"+apps.ID, reset)
	w.must(403, helpdesk, "POST", "users/"+boss.ID+"/revokeSignInSessions", nil)
	w.must(403, helpdesk, "DELETE", "users/"+ada.ID, nil)
	app := w.permitted("User.ReadWrite.All")
	w.must(204, app, "PATCH", "users/"+ada.ID, reset)
	w.must(403, app, "PATCH", "users/"+boss.ID, reset)
	w.must(403, app, "DELETE", "users/"+boss.ID, nil)
	w.must(204, app, "PATCH", "users/"+boss.ID, m{"jobTitle": "Boss"})
	w.must(204, w.tokenOf(boss), "PATCH", "users/"+boss.ID, reset)

	// application administrators grant no permissions on Graph: that would be every role
	sp := w.must(201, w.admin, "POST", "servicePrincipals", m{"appId": w.must(201, w.admin, "POST", "applications", m{"displayName": "a"}).body["appId"]}).id()
	graphSP := w.must(200, w.admin, "GET", "servicePrincipals(appId='"+directory.GraphAppID+"')", nil).id()
	give := m{"principalId": sp, "resourceId": graphSP, "appRoleId": "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8"}
	w.must(403, w.tokenOf(apps), "POST", "servicePrincipals/"+sp+"/appRoleAssignments", give)
	given := w.must(201, w.tokenOf(boss), "POST", "servicePrincipals/"+sp+"/appRoleAssignments", give)
	w.must(400, w.tokenOf(boss), "POST", "servicePrincipals/"+sp+"/appRoleAssignments", give)
	w.must(204, w.tokenOf(boss), "DELETE", "servicePrincipals/"+sp+"/appRoleAssignments/"+given.id(), nil)

	// a group that holds a role is managed by those who give roles
	vip := w.must(201, w.tokenOf(boss), "POST", "groups", m{"displayName": "vip", "mailNickname": "vip", "mailEnabled": false, "securityEnabled": true, "isAssignableToRole": true}).id()
	w.must(201, w.tokenOf(boss), "POST", "roleManagement/directory/roleAssignments", m{"principalId": vip, "roleDefinitionId": directory.GlobalAdministrator, "directoryScopeId": "/"})
	link := m{"@odata.id": host + "/v1.0/directoryObjects/" + ada.ID}
	w.must(403, w.permitted("Group.ReadWrite.All"), "POST", "groups/"+vip+"/members/$ref", link)
	w.must(204, w.tokenOf(boss), "POST", "groups/"+vip+"/members/$ref", link)
	w.must(403, helpdesk, "PATCH", "users/"+ada.ID, reset) // she is an administrator now
	plain := w.must(201, w.admin, "POST", "groups", m{"displayName": "p", "mailNickname": "p", "mailEnabled": false, "securityEnabled": true}).id()
	w.must(400, w.admin, "POST", "roleManagement/directory/roleAssignments", m{"principalId": plain, "roleDefinitionId": directory.GlobalAdministrator, "directoryScopeId": "/"})
	w.must(400, w.admin, "POST", "groups/"+vip+"/members/$ref", m{"@odata.id": host + "/v1.0/groups/" + plain})
}

// TestOwnedBy: an application that may manage what it owns manages nothing else.
func TestOwnedBy(t *testing.T) {
	w := newWorld(t)
	token := w.permitted("Application.ReadWrite.OwnedBy")
	theirs := w.must(201, w.admin, "POST", "applications", m{"displayName": "theirs"}).id()
	mine := w.must(201, token, "POST", "applications", m{"displayName": "mine"}).id()
	w.must(200, token, "POST", "applications/"+mine+"/addPassword", m{})
	w.must(403, token, "POST", "applications/"+theirs+"/addPassword", m{})
	w.must(403, token, "PATCH", "applications/"+theirs, m{"displayName": "x"})
	w.must(204, token, "DELETE", "applications/"+mine, nil)
}

// TestRevokedPermission: what was taken away gives nothing, whatever the token still says.
func TestRevokedPermission(t *testing.T) {
	w := newWorld(t)
	token := w.permitted("Directory.Read.All")
	w.must(200, token, "GET", "users", nil)
	all := w.must(200, w.admin, "GET", "servicePrincipals?$filter=displayName%20eq%20%27Directory.Read.All%27", nil)
	given := w.must(200, w.admin, "GET", "servicePrincipals/"+all.ids()[0]+"/appRoleAssignments", nil)
	w.must(204, w.admin, "DELETE", "servicePrincipals/"+all.ids()[0]+"/appRoleAssignments/"+given.ids()[0], nil)
	w.must(403, token, "GET", "users", nil)
	w.must(204, w.admin, "DELETE", "servicePrincipals/"+all.ids()[0], nil)
	w.must(401, token, "GET", "users", nil)
}

// TestReadOnly: nothing is written that no table names.
func TestReadOnly(t *testing.T) {
	w := newWorld(t)
	u, _ := w.user("ada")
	g := w.must(201, w.admin, "POST", "groups", m{"displayName": "g", "mailNickname": "g", "mailEnabled": false, "securityEnabled": true}).id()
	a := w.must(201, w.admin, "POST", "applications", m{"displayName": "a"})
	sp := w.must(201, w.admin, "POST", "servicePrincipals", m{"appId": a.body["appId"]}).id()
	for path, bodies := range map[string][]m{
		"users/" + u.ID:           {{"id": g}, {"createdDateTime": "2020-01-01T00:00:00Z"}, {"passwordHash": "x"}, {"tenantId": "x"}, {"homeObjectId": "x"}, {"signInSessionsValidFromDateTime": nil}, {"userType": "Admin"}, {"displayName": 1}, {"nope": 1}, {"displayName": ""}, {"DisplayName": "x"}},
		"groups/" + g:             {{"id": u.ID}, {"isAssignableToRole": true}, {"members": []string{u.ID}}, {"mailEnabled": true}, {"tenantId": "x"}, {"groupTypes": []string{"Unified"}}},
		"applications/" + a.id():  {{"id": g}, {"appId": g}, {"secrets": []m{}}, {"passwordCredentials": []m{{"secretText": "x"}}}, {"api": m{"nope": 1}}, {"signInAudience": "PersonalMicrosoftAccount"}, {"appRoles": []m{{"id": "x"}}}, {"keyCredentials": []m{{"key": "AAAA"}}}},
		"servicePrincipals/" + sp: {{"appId": g}, {"identity": "UserAssigned"}, {"resource": "/x"}, {"appOwnerOrganizationId": directory.MicrosoftTenant}, {"servicePrincipalType": "ManagedIdentity"}},
	} {
		before := w.must(200, w.admin, "GET", path, nil).text
		for _, body := range bodies {
			if got := w.call(w.admin, "PATCH", path, body); got.status != 400 || got.code() != "Request_BadRequest" {
				t.Errorf("%s %v: %d %s", path, body, got.status, got.text)
			}
		}
		if now := w.must(200, w.admin, "GET", path, nil).text; now != before {
			t.Errorf("%s changed: %s, was %s", path, now, before)
		}
	}
}

// TestOtherTenant: to a partner's administrator the home tenant's objects do not exist.
func TestOtherTenant(t *testing.T) {
	w := newWorld(t)
	ada, _ := w.user("ada")
	var id string
	w.update(func(tx store.Tx) error {
		partner, err := w.dir.CreatePartner(tx, "Fabrikam", "fabrikam.test")
		if err != nil {
			return err
		}
		bob := directory.User{TenantID: partner.ID, UserPrincipalName: "bob@fabrikam.test", DisplayName: "Bob", AccountEnabled: true}
		id = bob.ID
		if err := w.dir.CreateUser(tx, &bob); err != nil {
			return err
		}
		id = bob.ID
		if err := w.dir.AddMember(tx, ada.ID, bob.ID); err == nil {
			t.Error("a user has members")
		}
		g := directory.Group{DisplayName: "g", MailNickname: "g", SecurityEnabled: true}
		if err := w.dir.CreateGroup(tx, &g); err != nil {
			return err
		}
		if err := w.dir.AddMember(tx, g.ID, bob.ID); err == nil {
			t.Error("another tenant's user is a member")
		}
		return nil
	})
	for _, path := range []string{"users/" + id, "users/bob@fabrikam.test", "directoryObjects/" + id, "users/" + id + "/memberOf"} {
		if got := w.call(w.admin, "GET", path, nil); got.status != 404 {
			t.Errorf("%s: %d %s", path, got.status, got.text)
		}
	}
	if got := w.must(200, w.admin, "GET", "users?$filter=userPrincipalName%20eq%20%27bob@fabrikam.test%27", nil); len(got.ids()) != 0 {
		t.Errorf("%s", got.text)
	}
	if got := w.must(200, w.admin, "GET", "users", nil); len(got.ids()) != 1 {
		t.Errorf("%s", got.text)
	}
}

// FuzzPath: no path and no query breaks, and none reads more than its route.
func FuzzPath(f *testing.F) {
	w := newWorld(f)
	u, _ := w.user("ada")
	for _, s := range []string{"users/" + u.ID, "users('x')", "servicePrincipals(appId='x')", "users/..%2f..%2fx", "users?$filter=a eq 'b'", "me//memberOf", "groups/x/members/$ref", "users/%00", "directory/deletedItems/microsoft.graph.user", "users?$select=id,*&$top=1&$expand=memberOf($select=id)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		parsed, err := url.Parse(host + "/v1.0/" + path)
		if err != nil || parsed.Host != "graph.microsoft.com" {
			return
		}
		r := httptest.NewRequest("GET", host+"/", nil)
		r.URL = parsed
		r.Header.Set("Authorization", "Bearer "+w.admin)
		rec := httptest.NewRecorder()
		w.graph.ServeHTTP(rec, r)
		if rec.Code == 500 {
			t.Errorf("%q: %s %s", path, rec.Body, w.log)
		}
		if strings.Contains(rec.Body.String(), "argon2id") || strings.Contains(rec.Body.String(), `"hash"`) {
			t.Errorf("%q shows a hash", path)
		}
	})
}
