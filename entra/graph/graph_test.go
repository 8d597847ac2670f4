package graph

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/password"
	"vauban.dev/store"
)

// TestUsers goes through the life of a user as az ad user does.
func TestUsers(t *testing.T) {
	w := newWorld(t)
	ada := m{"displayName": "Ada", "mailNickname": "ada", "userPrincipalName": "ada@contoso.test", "accountEnabled": true, "passwordProfile": m{"password": "Analytical-1", "forceChangePasswordNextSignIn": true}}
	a := w.must(201, w.admin, "POST", "users", ada)
	id := a.id()
	if a.body["@odata.context"] != host+"/v1.0/$metadata#users/$entity" || strings.Contains(a.text, "argon2") || strings.Contains(a.text, "Analytical") {
		t.Errorf("created: %s", a.text)
	}
	for path, want := range map[string]int{"users/" + id: 200, "users/ada@contoso.test": 200, "users('ADA@contoso.test')": 200, "users/" + strings.ToUpper(id): 200, "users/x": 404, "users/..%2f" + id: 404, "users/%2e%2e": 404, "users/ada%00": 404} {
		if got := w.call(w.admin, "GET", path, nil); got.status != want || want == 404 && got.code() != "Request_ResourceNotFound" {
			t.Errorf("%s: %d %s", path, got.status, got.text)
		}
	}
	if got := w.call(w.admin, "POST", "users", ada); got.status != 400 || !strings.Contains(got.text, "userPrincipalName already exists") {
		t.Errorf("twice: %s", got.text)
	}
	ada["userPrincipalName"] = "ADA@contoso.test"
	if got := w.call(w.admin, "POST", "users", ada); got.status != 400 {
		t.Errorf("in other letters: %s", got.text)
	}
	w.must(204, w.admin, "PATCH", "users/"+id, m{"displayName": "Ada L.", "jobTitle": "Countess", "accountEnabled": false})
	got := w.must(200, w.admin, "GET", "users/"+id+"?$select=displayName,jobTitle,accountEnabled", nil)
	if got.body["displayName"] != "Ada L." || got.body["jobTitle"] != "Countess" || got.body["accountEnabled"] != false || len(got.body) != 4 {
		t.Errorf("changed: %s", got.text)
	}
	w.must(204, w.admin, "PATCH", "users/"+id, m{"jobTitle": nil})
	if got := w.must(200, w.admin, "GET", "users/"+id, nil); got.body["jobTitle"] != nil {
		t.Errorf("emptied: %s", got.text)
	}
	for body, why := range map[string]string{`{"password":"short"}`: "short", `{"password":"alllowercase"}`: "one class"} {
		if got := w.call(w.admin, "PATCH", "users/"+id, m{"passwordProfile": rawJSON(body)}); got.status != 400 {
			t.Errorf("password %s: %d", why, got.status)
		}
	}
	w.must(204, w.admin, "DELETE", "users/"+id, nil)
	if got := w.call(w.admin, "GET", "users/"+id, nil); got.status != 404 {
		t.Errorf("deleted: %s", got.text)
	}
	if got := w.must(200, w.admin, "GET", "directory/deletedItems/microsoft.graph.user", nil); !slices.Equal(got.ids(), []string{id}) {
		t.Errorf("recycle bin: %s", got.text)
	}
	w.must(200, w.admin, "POST", "directory/deletedItems/"+id+"/restore", nil)
	w.must(200, w.admin, "GET", "users/ada@contoso.test", nil)
	w.must(204, w.admin, "DELETE", "users/"+id, nil)
	w.clock.SetOffset(31 * 24 * time.Hour)
	w.admin = w.app("later", func(tx store.Tx, p directory.ServicePrincipal) error {
		return w.dir.AssignRole(tx, "", directory.GlobalAdministrator, p.ObjectID)
	})
	if got := w.call(w.admin, "POST", "directory/deletedItems/"+id+"/restore", nil); got.status != 404 {
		t.Errorf("after 31 days: %s", got.text)
	}
}

type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// TestQueries lists with every option.
func TestQueries(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for i := range 7 {
		u, _ := w.user(fmt.Sprintf("user%d", i))
		ids = append(ids, u.ID)
	}
	sorted := slices.Sorted(slices.Values(ids))
	q := func(s string) string { return "users?" + strings.NewReplacer("'", "%27").Replace(s) }
	for query, want := range map[string][]string{
		"": sorted, "$filter=userPrincipalName eq 'USER3@contoso.test'": {ids[3]}, "$filter=startswith(displayName,'user4')": {ids[4]},
		"$filter=id in ('" + ids[1] + "','" + ids[2] + "')": slices.Sorted(slices.Values(ids[1:3])), "$filter=accountEnabled eq false": {},
		"$orderby=displayName desc&$top=2": {ids[6], ids[5]}, "$filter=displayName eq 'user1' or displayName eq 'user2'&$orderby=userPrincipalName": {ids[1], ids[2]},
		"$filter=userPrincipalName eq 'user3@contoso.test' and accountEnabled eq false": {}, "$filter=mail eq null&$top=3": sorted[:3],
	} {
		if got := w.must(200, w.admin, "GET", q(query), nil); !slices.Equal(got.ids(), want) {
			t.Errorf("%s: %v, want %v", query, got.ids(), want)
		}
	}
	for query, code := range map[string]string{
		"$filter=nope eq 'x'": "BadRequest", "$filter=displayName": "BadRequest", "$top=0": "Request_UnsupportedQuery", "$top=1000": "Request_UnsupportedQuery", "$search=\"displayName:x\"": "Request_UnsupportedQuery",
		"$filter=displayName ne 'x'": "Request_UnsupportedQuery", "$select=passwordHash": "BadRequest", "$expand=manager": "BadRequest", "$skip=3": "Request_UnsupportedQuery", "$skiptoken=%25": "Directory_ExpiredPageToken",
		"$filter=passwordHash ge 'a'": "BadRequest", "$orderby=passwordHash": "BadRequest",
	} {
		if got := w.call(w.admin, "GET", q(query), nil); got.status != 400 || got.code() != code {
			t.Errorf("%s: %s", query, got.text)
		}
	}
	eventual := []string{"ConsistencyLevel", "eventual"}
	got := w.call(w.admin, "GET", q("$count=true&$filter=not startswith(displayName,'user1')&$top=2"), nil, eventual...)
	if got.status != 200 || got.body["@odata.count"] != 6.0 {
		t.Errorf("count: %s", got.text)
	}
	if got := w.call(w.admin, "GET", "users/$count", nil, eventual...); got.text != "7" {
		t.Errorf("$count: %s", got.text)
	}
	if got := w.call(w.admin, "GET", q(`$search="displayName:user5"`), nil, eventual...); !slices.Equal(got.ids(), []string{ids[5]}) {
		t.Errorf("search: %s", got.text)
	}
	for _, base := range []string{"users?$top=3&$select=id", "users?$top=3&$orderby=displayName"} {
		var seen []string
		pages := 0
		for next := base; next != ""; pages++ {
			got := w.must(200, w.admin, "GET", next, nil)
			seen = append(seen, got.ids()...)
			next, _ = got.body["@odata.nextLink"].(string)
		}
		slices.Sort(seen)
		if pages != 3 || !slices.Equal(seen, sorted) {
			t.Errorf("%s: %d pages, %v", base, pages, seen)
		}
	}
}

// TestGroups: members, owners and what follows from them.
func TestGroups(t *testing.T) {
	w := newWorld(t)
	ada, _ := w.user("ada")
	make := func(name string) string {
		return w.must(201, w.admin, "POST", "groups", m{"displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true}).id()
	}
	inner, outer := make("inner"), make("outer")
	link := func(id string) m { return m{"@odata.id": host + "/v1.0/directoryObjects/" + id} }
	w.must(204, w.admin, "POST", "groups/"+inner+"/members/$ref", link(ada.ID))
	w.must(204, w.admin, "POST", "groups/"+outer+"/members/$ref", link(inner))
	if got := w.call(w.admin, "POST", "groups/"+inner+"/members/$ref", link(ada.ID)); got.status != 400 || !strings.Contains(got.text, "already exist") {
		t.Errorf("twice: %s", got.text)
	}
	for path, want := range map[string][]string{
		"groups/" + inner + "/members": {ada.ID}, "groups/" + outer + "/transitiveMembers/microsoft.graph.user": {ada.ID}, "users/" + ada.ID + "/memberOf": {inner},
		"users/" + ada.ID + "/transitiveMemberOf": slices.Sorted(slices.Values([]string{inner, outer})), "groups/" + outer + "/members/microsoft.graph.user": {},
		"groups?$filter=displayName eq 'inner'": {inner},
	} {
		if got := w.must(200, w.admin, "GET", path, nil); !slices.Equal(got.ids(), want) {
			t.Errorf("%s: %v, want %v", path, got.ids(), want)
		}
	}
	if got := w.must(200, w.admin, "POST", "users/"+ada.ID+"/getMemberGroups", m{"securityEnabledOnly": true}); len(got.ids()) != 2 {
		t.Errorf("getMemberGroups: %s", got.text)
	}
	if got := w.must(200, w.admin, "POST", "directoryObjects/"+ada.ID+"/checkMemberGroups", m{"groupIds": []string{outer, ada.ID}}); !slices.Equal(got.ids(), []string{outer}) {
		t.Errorf("checkMemberGroups: %s", got.text)
	}
	got := w.must(200, w.admin, "GET", "groups/"+inner+"?$expand=members($select=id)&$select=displayName", nil)
	if list, _ := got.body["members"].([]any); len(list) != 1 {
		t.Errorf("expanded: %s", got.text)
	}
	w.must(204, w.admin, "POST", "groups/"+inner+"/owners/$ref", link(ada.ID))
	if got := w.must(200, w.tokenOfName("ada"), "GET", "me/ownedObjects", nil); !slices.Equal(got.ids(), []string{inner}) {
		t.Errorf("ownedObjects: %s", got.text)
	}
	w.must(204, w.admin, "DELETE", "groups/"+outer+"/members/"+inner+"/$ref", nil)
	if got := w.call(w.admin, "DELETE", "groups/"+outer+"/members/"+inner+"/$ref", nil); got.status != 404 {
		t.Errorf("removed twice: %s", got.text)
	}
	if got := w.must(200, w.admin, "POST", "users/"+ada.ID+"/getMemberGroups", m{}); !slices.Equal(got.ids(), []string{inner}) {
		t.Errorf("after the inner group left: %s", got.text)
	}
	w.must(204, w.admin, "DELETE", "groups/"+inner, nil)
	if got := w.must(200, w.admin, "GET", "users/"+ada.ID+"/memberOf", nil); len(got.ids()) != 0 {
		t.Errorf("of a deleted group: %s", got.text)
	}
}

func (w *world) tokenOfName(name string) string {
	var u directory.User
	w.update(func(tx store.Tx) (err error) {
		u, err = w.dir.UserByName(tx, name+"@contoso.test")
		return err
	})
	return w.tokenOf(u)
}

// TestApplications goes through what az ad app and az ad sp do.
func TestApplications(t *testing.T) {
	w := newWorld(t)
	role := "11111111-0000-4000-8000-000000000001"
	a := w.must(201, w.admin, "POST", "applications", m{"displayName": "api", "identifierUris": []string{"api://contoso.test/api"}, "web": m{"redirectUris": []string{"https://x.test/cb"}},
		"appRoles": []m{{"id": role, "value": "Do.It", "displayName": "Do it", "description": "d", "allowedMemberTypes": []string{"Application"}, "isEnabled": true}}})
	id, appID := a.id(), a.body["appId"].(string)
	if got := w.call(w.admin, "POST", "applications", m{"displayName": "other", "identifierUris": []string{"API://contoso.test/api/"}}); got.status != 400 || !strings.Contains(got.text, "identifierUris") {
		t.Errorf("a URI twice: %s", got.text)
	}
	sp := w.must(201, w.admin, "POST", "servicePrincipals", m{"appId": appID, "accountEnabled": "true"[:0] == ""}).id()
	if got := w.call(w.admin, "POST", "servicePrincipals", m{"appId": appID}); got.status != 409 {
		t.Errorf("a second principal: %s", got.text)
	}
	for _, filter := range []string{"appId eq '" + appID + "'", "servicePrincipalNames/any(c:c eq '" + appID + "')", "servicePrincipalNames/any(c:c eq 'api://contoso.test/api')", "displayName eq 'api'"} {
		if got := w.must(200, w.admin, "GET", "servicePrincipals?$filter="+url.QueryEscape(filter), nil); !slices.Equal(got.ids(), []string{sp}) {
			t.Errorf("%s: %s", filter, got.text)
		}
	}
	w.must(200, w.admin, "GET", "servicePrincipals(appId='"+appID+"')", nil)
	if got := w.must(200, w.admin, "GET", "applications?$filter="+url.QueryEscape("identifierUris/any(s:s eq 'api://contoso.test/api')"), nil); !slices.Equal(got.ids(), []string{id}) {
		t.Errorf("by URI: %s", got.text)
	}
	w.must(204, w.admin, "PATCH", "applications/"+id, m{"web": m{"homePageUrl": "https://x.test"}, "api": m{"requestedAccessTokenVersion": 2}})
	got := w.must(200, w.admin, "GET", "applications/"+id, nil)
	if web := got.body["web"].(map[string]any); web["homePageUrl"] != "https://x.test" || len(web["redirectUris"].([]any)) != 1 {
		t.Errorf("a part of web is written: %s", got.text)
	}
	for _, uri := range []string{"http://evil.test/", "https://*.x.test/", "javascript:alert(1)", "https://x.test/#a", "/relative"} {
		if got := w.call(w.admin, "PATCH", "applications/"+id, m{"web": m{"redirectUris": []string{uri}}}); got.status != 400 {
			t.Errorf("redirect to %s: %d", uri, got.status)
		}
	}
	secret := w.must(200, w.admin, "POST", "applications/"+id+"/addPassword", m{"passwordCredential": m{"displayName": "rbac"}})
	if secret.body["secretText"] == "" || secret.body["keyId"] == "" {
		t.Errorf("addPassword: %s", secret.text)
	}
	if got := w.must(200, w.admin, "GET", "applications/"+id, nil); strings.Contains(got.text, secret.body["secretText"].(string)) || strings.Contains(got.text, "hash") {
		t.Errorf("a secret is shown again: %s", got.text)
	}
	w.must(204, w.admin, "POST", "applications/"+id+"/removePassword", m{"keyId": secret.body["keyId"]})
	w.must(400, w.admin, "POST", "applications/"+id+"/removePassword", m{"keyId": secret.body["keyId"]})

	cert := base64.StdEncoding.EncodeToString(certificate(t))
	w.must(204, w.admin, "PATCH", "applications/"+id, m{"keyCredentials": []m{{"type": "AsymmetricX509Cert", "usage": "Verify", "key": cert}}})
	shown := w.must(200, w.admin, "GET", "applications/"+id+"?$select=keyCredentials", nil)
	key := shown.body["keyCredentials"].([]any)[0].(map[string]any)
	if key["key"] != cert || len(key["customKeyIdentifier"].(string)) != 40 {
		t.Errorf("certificate: %s", shown.text)
	}
	key["key"] = nil
	w.must(204, w.admin, "PATCH", "applications/"+id, m{"keyCredentials": []any{key, m{"key": base64.StdEncoding.EncodeToString(certificate(t))}}})
	if got := w.must(200, w.admin, "GET", "applications/"+id, nil); len(got.body["keyCredentials"].([]any)) != 2 {
		t.Errorf("appended: %s", got.text)
	}

	fic := m{"name": "gh-main", "issuer": "https://token.actions.githubusercontent.com", "subject": "repo:a/b:ref:refs/heads/main", "audiences": []string{"api://AzureADTokenExchange"}}
	base := "applications/" + id + "/federatedIdentityCredentials"
	w.must(201, w.admin, "POST", base, fic)
	if got := w.call(w.admin, "POST", base, fic); got.status != 409 {
		t.Errorf("a federated credential twice: %s", got.text)
	}
	w.must(204, w.admin, "PATCH", base+"/gh-main", m{"subject": "repo:a/b:environment:prod"})
	if got := w.must(200, w.admin, "GET", base+"/gh-main", nil); got.body["subject"] != "repo:a/b:environment:prod" {
		t.Errorf("changed: %s", got.text)
	}
	w.must(204, w.admin, "DELETE", base+"/gh-main", nil)

	client := w.must(201, w.admin, "POST", "applications", m{"displayName": "client"})
	clientSP := w.must(201, w.admin, "POST", "servicePrincipals", m{"appId": client.body["appId"]}).id()
	w.must(201, w.admin, "POST", "servicePrincipals/"+sp+"/appRoleAssignedTo", m{"principalId": clientSP, "resourceId": sp, "appRoleId": role})
	if got := w.must(200, w.admin, "GET", "servicePrincipals/"+clientSP+"/appRoleAssignments", nil); len(got.ids()) != 1 {
		t.Errorf("app roles: %s", got.text)
	}
	grant := w.must(201, w.admin, "POST", "oauth2PermissionGrants", m{"clientId": clientSP, "consentType": "AllPrincipals", "resourceId": sp, "scope": "a b"})
	if got := w.must(200, w.admin, "GET", "oauth2PermissionGrants?$filter=clientId%20eq%20%27"+clientSP+"%27", nil); !slices.Equal(got.ids(), []string{grant.id()}) {
		t.Errorf("grants: %s", got.text)
	}
	w.must(204, w.admin, "DELETE", "oAuth2PermissionGrants/"+grant.id(), nil)

	w.must(204, w.admin, "DELETE", "applications/"+id, nil)
	if got := w.call(w.admin, "GET", "servicePrincipals/"+sp, nil); got.status != 404 {
		t.Errorf("the principal of a deleted application: %s", got.text)
	}
	w.must(200, w.admin, "POST", "directory/deletedItems/"+id+"/restore", nil)
	w.must(200, w.admin, "GET", "servicePrincipals/"+sp, nil)
	if got := w.must(200, w.admin, "GET", "servicePrincipals/"+clientSP+"/appRoleAssignments", nil); len(got.ids()) != 1 {
		t.Errorf("app roles after restoring: %s", got.text)
	}
}

func certificate(t testing.TB) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestAssignees: every way in which az role assignment create finds whom --assignee names.
func TestAssignees(t *testing.T) {
	w := newWorld(t)
	vm := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm")
	var machine directory.ServicePrincipal
	w.update(func(tx store.Tx) (err error) {
		machine, err = w.dir.EnsureManagedIdentity(tx, vm, directory.SystemAssigned)
		return err
	})
	ada, _ := w.user("ada")
	g := w.must(201, w.admin, "POST", "groups", m{"displayName": "g", "mailNickname": "g", "mailEnabled": false, "securityEnabled": true}).id()
	reader := w.permitted("Directory.Read.All")
	got := w.must(200, reader, "POST", "directoryObjects/getByIds", m{"ids": []string{machine.ObjectID, ada.ID, g, "x", g}, "types": []string{"user", "group", "servicePrincipal", "directoryObjectPartnerReference"}})
	kinds := []string{}
	for _, v := range got.body["value"].([]any) {
		kinds = append(kinds, v.(map[string]any)["@odata.type"].(string))
	}
	if !slices.Equal(kinds, []string{"#microsoft.graph.servicePrincipal", "#microsoft.graph.user", "#microsoft.graph.group"}) {
		t.Errorf("%v", kinds)
	}
	one := w.must(200, reader, "GET", "servicePrincipals/"+machine.ObjectID, nil)
	if one.body["servicePrincipalType"] != "ManagedIdentity" || one.body["alternativeNames"].([]any)[1] != vm.String() {
		t.Errorf("%s", one.text)
	}
	if got := w.must(200, reader, "GET", "servicePrincipals(appId='"+directory.GraphAppID+"')", nil); len(got.body["appRoles"].([]any)) < 300 {
		t.Errorf("Graph offers %d app roles", len(got.body["appRoles"].([]any)))
	}
	if got := w.must(200, reader, "GET", "servicePrincipals?$top=999", nil); len(got.ids()) < len(directory.FirstParties)+2 || !slices.IsSorted(got.ids()) {
		t.Errorf("all: %d, sorted %v", len(got.ids()), slices.IsSorted(got.ids()))
	}
	for _, method := range []string{"DELETE", "PATCH"} {
		if got := w.call(w.admin, method, "servicePrincipals/"+machine.ObjectID, m{"displayName": "x"}); got.status != 403 {
			t.Errorf("%s of a managed identity: %s", method, got.text)
		}
	}
}

func TestGuests(t *testing.T) {
	w := newWorld(t)
	var partner directory.Tenant
	w.update(func(tx store.Tx) (err error) {
		if partner, err = w.dir.CreatePartner(tx, "Fabrikam", "fabrikam.test"); err != nil {
			return err
		}
		return w.dir.CreateUser(tx, &directory.User{TenantID: partner.ID, UserPrincipalName: "bob@fabrikam.test", DisplayName: "Bob", AccountEnabled: true})
	})
	invite := func(address string) answer {
		return w.call(w.admin, "POST", "invitations", m{"invitedUserEmailAddress": address, "inviteRedirectUrl": "https://x.test"})
	}
	for address, want := range map[string]int{"eve@gmail.com": 400, "eve@outlook.com": 400, "ada@contoso.test": 400, "nobody@fabrikam.test": 404, "x": 400, "eve@sub.fabrikam.test": 400} {
		if got := invite(address); got.status != want {
			t.Errorf("%s: %d %s", address, got.status, got.text)
		}
	}
	a := invite("Bob@fabrikam.test")
	if a.status != 201 || a.body["status"] != "PendingAcceptance" {
		t.Fatal(a.text)
	}
	id := a.body["invitedUser"].(map[string]any)["id"].(string)
	if again := invite("bob@fabrikam.test"); again.id() != a.id() {
		t.Errorf("invited twice: %s", again.text)
	}
	got := w.must(200, w.admin, "GET", "users/"+id+"?$select=userPrincipalName,userType,mail", nil)
	if got.body["userPrincipalName"] != "Bob_fabrikam.test#EXT#@contoso.test" || got.body["userType"] != "Guest" {
		t.Errorf("%s", got.text)
	}
	w.must(200, w.admin, "GET", "users/Bob_fabrikam.test%23EXT%23@contoso.test", nil)
	if got := w.call(w.admin, "PATCH", "users/"+id, m{"userType": "Member"}); got.status != 400 {
		t.Errorf("a guest becomes a member: %s", got.text)
	}
	var guest directory.User
	w.update(func(tx store.Tx) (err error) { guest, err = w.dir.User(tx, id); return err })
	token := w.tokenOf(guest)
	u, _ := w.user("ada")
	for path, want := range map[string]int{"me": 200, "users/" + id: 200, "me/memberOf": 200, "users": 403, "groups": 403, "applications": 403, "servicePrincipals": 403, "users/" + u.ID: 403, "users/ada@contoso.test": 403, "users/nobody@contoso.test": 403, "users/" + u.ID + "/memberOf": 403, "users/nobody/memberOf": 403, "users/$count": 403, "directoryRoles": 403, "directory/deletedItems/microsoft.graph.user": 403} {
		if got := w.call(token, "GET", path, nil, "ConsistencyLevel", "eventual"); got.status != want {
			t.Errorf("a guest reads %s: %d", path, got.status)
		}
	}
	for _, path := range []string{"directoryObjects/getByIds", "groups", "applications", "invitations", "users/" + u.ID + "/getMemberGroups"} {
		if got := w.call(token, "POST", path, m{"ids": []string{u.ID}, "displayName": "x"}); got.status != 403 {
			t.Errorf("a guest posts to %s: %d %s", path, got.status, got.text)
		}
	}
}

// TestChangePasswordIsLimited: who has a token cannot guess the password by it.
func TestChangePasswordIsLimited(t *testing.T) {
	w := newWorld(t)
	hash, err := password.Hash(t.Context(), "Correct-Horse-7")
	if err != nil {
		t.Fatal(err)
	}
	ada, _ := w.user("ada")
	w.update(func(tx store.Tx) error { return w.dir.SetPassword(tx, ada.ID, hash, false) })
	token := w.tokenOf(ada)
	change := func(current string) answer {
		return w.call(token, "POST", "me/changePassword", m{"currentPassword": current, "newPassword": "Another-Horse-8"})
	}
	for i := range 10 {
		if a := change(fmt.Sprint("guess ", i)); a.status != 400 {
			t.Fatalf("guess %d: %d %s", i, a.status, a.text)
		}
	}
	if a := change("Correct-Horse-7"); a.status != 429 || a.code() != "TooManyRequests" {
		t.Errorf("after ten guesses: %d %s", a.status, a.text)
	}
	w.clock.SetOffset(2 * time.Minute)
	if a := change("Correct-Horse-7"); a.status != 204 {
		t.Errorf("later: %d %s", a.status, a.text)
	}
}
