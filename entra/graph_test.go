package entra

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

func TestGraph(t *testing.T) {
	w := newWorld(t, testTenant)
	h := w.Graph(quiet())
	vm := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm")
	var reader, machine directory.ServicePrincipal
	w.update(t, func(tx store.Tx) (err error) {
		reader, _, err = w.CreateServicePrincipal(tx, "o'reader")
		if err == nil {
			machine, err = w.EnsureManagedIdentity(tx, vm, directory.SystemAssigned)
		}
		return errors.Join(err, w.GrantGraph(tx, reader.ObjectID, "Directory.Read.All", "Directory.Read.All"))
	})
	token := func(p directory.ServicePrincipal, audience string) string {
		tok, err := w.IssueFor(t.Context(), p.ObjectID, audience)
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	may := token(reader, AudienceGraph)
	filter := func(f string) string { return "/v1.0/servicePrincipals?$filter=" + url.QueryEscape(f) }
	for name, c := range map[string]struct {
		method, path, body, token string
		want                      int
		say                       any // object ids, or the error code
	}{
		"by name, as az asks":    {"GET", filter("servicePrincipalNames/any(c:c eq '" + w.app.AppID + "')"), "", may, 200, []string{w.app.ObjectID}},
		"by client id":           {"GET", filter("appId eq '" + strings.ToUpper(w.app.AppID) + "'"), "", may, 200, []string{w.app.ObjectID}},
		"by display name":        {"GET", filter("displayName eq 'o''reader'"), "", may, 200, []string{reader.ObjectID}},
		"by start of its name":   {"GET", filter("startswith(displayName,'DEP')"), "", may, 200, []string{w.app.ObjectID}},
		"by object id":           {"GET", filter("id eq '" + machine.ObjectID + "'"), "", may, 200, []string{machine.ObjectID}},
		"nobody":                 {"GET", filter("appId eq 'x'"), "", may, 200, []string{}},
		"one":                    {"GET", "/v1.0/servicePrincipals/" + machine.ObjectID, "", may, 200, machine.ObjectID},
		"one by key":             {"GET", "/beta/servicePrincipals(appId='" + machine.AppID + "')", "", may, 200, machine.ObjectID},
		"one that is not there":  {"GET", "/v1.0/servicePrincipals/x", "", may, 404, "Request_ResourceNotFound"},
		"by ids":                 {"POST", "/v1.0/directoryObjects/getByIds", `{"ids":["` + machine.ObjectID + `","x"],"types":["user","group","servicePrincipal"]}`, may, 200, []string{machine.ObjectID}},
		"by ids, users only":     {"POST", "/v1.0/directoryObjects/getByIds", `{"ids":["` + machine.ObjectID + `"],"types":["user"]}`, may, 200, []string{}},
		"by ids, broken":         {"POST", "/v1.0/directoryObjects/getByIds", `{`, may, 400, "BadRequest"},
		"a filter not served":    {"GET", filter("tags/any(t:t eq 'x')"), "", may, 400, "Request_UnsupportedQuery"},
		"two comparisons":        {"GET", filter("appId eq 'x' or appId eq '" + w.app.AppID + "'"), "", may, 400, "Request_UnsupportedQuery"},
		"users":                  {"GET", "/v1.0/users", "", may, 501, "NotImplemented"},
		"another version":        {"GET", "/v2.0/users", "", may, 400, "BadRequest"},
		"no permission":          {"GET", "/v1.0/servicePrincipals", "", token(w.app, AudienceGraph), 403, "Authorization_RequestDenied"},
		"a token for ARM":        {"GET", "/v1.0/servicePrincipals", "", token(reader, AudienceARM), 401, "InvalidAuthenticationToken"},
		"no token":               {"GET", "/v1.0/servicePrincipals", "", "", 401, "InvalidAuthenticationToken"},
		"a page size of nothing": {"GET", "/v1.0/servicePrincipals?$top=0", "", may, 400, "BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			r := get(AudienceGraph + c.path)
			r.Method, r.Body = c.method, readCloser(c.body)
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
			rec, body := call(t, h, r)
			if rec.Code != c.want {
				t.Fatalf("%d, want %d: %s", rec.Code, c.want, rec.Body)
			}
			var got any
			if e, ok := body["error"].(map[string]any); ok {
				got = e["code"]
			} else if list, ok := body["value"].([]any); ok {
				ids := []string{}
				for _, o := range list {
					ids = append(ids, o.(map[string]any)["id"].(string))
				}
				got = ids
			} else {
				got = body["id"]
			}
			if diff := cmp.Diff(c.say, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(rec.Body.String(), "hash") {
				t.Error("a secret's hash is published")
			}
		})
	}
}

func TestGraphPages(t *testing.T) {
	w := newWorld(t, testTenant)
	h := w.Graph(quiet())
	w.update(t, func(tx store.Tx) error {
		for i := range 6 {
			if _, _, err := w.CreateServicePrincipal(tx, fmt.Sprint("p", i)); err != nil {
				return err
			}
		}
		return w.GrantGraph(tx, w.app.ObjectID, "Directory.Read.All")
	})
	seen := map[any]bool{}
	next, pages := AudienceGraph+"/v1.0/servicePrincipals?$top=3", 0
	for ; next != ""; pages++ {
		r := get(next)
		r.Header.Set("Authorization", "Bearer "+w.tokenFor(t, AudienceGraph))
		rec, body := call(t, h, r)
		if rec.Code != http.StatusOK {
			t.Fatal(rec.Body)
		}
		for _, o := range body["value"].([]any) {
			seen[o.(map[string]any)["id"]] = true
		}
		next, _ = body["@odata.nextLink"].(string)
	}
	if len(seen) != 7 || pages != 3 {
		t.Errorf("%d principals on %d pages, want 7 on 3", len(seen), pages)
	}
}

func TestManagedIdentities(t *testing.T) {
	w := newWorld(t, testTenant)
	vm := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm")
	upper := arm.MustParseID(strings.ToUpper(vm.String()))
	user := arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u")
	w.update(t, func(tx store.Tx) error {
		first, tenant, err := w.EnsureSystem(tx, vm)
		again, _, err2 := w.EnsureSystem(tx, upper)
		if first == "" || first != again || tenant != testTenant {
			t.Errorf("%s and %s of tenant %s", first, again, tenant)
		}
		_, _, missing := w.Resolve(tx, user)
		if e := arm.AsError(missing); e == nil || e.Status != 400 || e.Code != "FailedIdentityOperation" {
			t.Errorf("missing: %v", missing)
		}
		if _, _, err := w.Resolve(tx, vm); err == nil {
			t.Error("a system-assigned identity is resolved as a user-assigned one")
		}
		oid, cid, _, err3 := w.EnsureUser(tx, user)
		gotOID, gotCID, err4 := w.Resolve(tx, user)
		if oid != gotOID || cid != gotCID {
			t.Errorf("%s %s, resolved as %s %s", oid, cid, gotOID, gotCID)
		}
		if _, _, err := w.EnsureSystem(tx, user); err == nil {
			t.Error("two kinds of identity on one id")
		}
		if _, _, err := w.AddSecret(tx, oid, "x", 1); err == nil {
			t.Error("a managed identity is given a secret")
		}
		err5 := errors.Join(w.Remove(tx, vm), w.Remove(tx, vm), w.Remove(tx, user))
		if _, err := w.ByObjectID(tx, first); !errors.Is(err, directory.ErrNoPrincipal) {
			t.Errorf("removed: %v", err)
		}
		if _, err := w.ByObjectID(tx, oid); err != nil {
			t.Errorf("the user-assigned identity went with the system-assigned one: %v", err)
		}
		renewed, _, err6 := w.EnsureSystem(tx, vm)
		if renewed == first {
			t.Error("a resource made again has the old identity")
		}
		if named, err := w.ByDisplayName(tx, "VM"); err != nil || len(named) != 1 || named[0].ObjectID != renewed {
			t.Errorf("by name: %v %v", named, err)
		}
		return errors.Join(err, err2, err3, err4, err5, err6, w.RemoveUser(tx, user), w.RemovePrincipal(tx, renewed))
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"appId eq 'x'", "servicePrincipalNames/any(c:c eq 'x')", "startswith(displayName,'a''b')", "id eq '", "((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseFilter(text)
		if err == nil && strings.TrimSpace(text) != "" && parsed.field == "" {
			t.Errorf("%q is read as no filter", text)
		}
		parsed.match(directory.ServicePrincipal{DisplayName: "é", AppID: "x"})
	})
}
