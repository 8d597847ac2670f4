package entra

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/entra/directory"
	"vauban.dev/origin"
	"vauban.dev/store"
)

// machines are the machines of a test: what stands behind each NIC.
type machines map[string][]ManagedIdentity

func (m machines) Identities(_ context.Context, nic string) ([]ManagedIdentity, error) {
	switch list, ok := m[nic]; {
	case nic == "broken":
		return nil, errors.New("disk")
	case !ok:
		return nil, ErrNoMachine
	default:
		return list, nil
	}
}

func (m machines) Instance(_ context.Context, nic string) (in Instance, err error) {
	if _, ok := m[nic]; !ok {
		return in, ErrNoMachine
	}
	in.Compute.Name, in.Compute.VMSize = nic, "Standard_DS3_v2"
	in.Network.Interface = make([]InstanceNIC, 1)
	in.Network.Interface[0].MAC = "000D3A000001"
	return in, nil
}

func TestIMDS(t *testing.T) {
	w := newWorld(t, testTenant)
	const base = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	identity := func(id string, kind directory.IdentityKind) ManagedIdentity {
		var p directory.ServicePrincipal
		w.update(t, func(tx store.Tx) (err error) {
			p, err = w.EnsureManagedIdentity(tx, arm.MustParseID(id), kind)
			return err
		})
		return ManagedIdentity{Kind: kind, ObjectID: p.ObjectID, ClientID: p.AppID, ResourceID: id}
	}
	sys := identity("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm", directory.SystemAssigned)
	a, b := identity(base+"a", directory.UserAssigned), identity(base+"b", directory.UserAssigned)
	gone := ManagedIdentity{Kind: directory.SystemAssigned, ObjectID: "00000000-0000-0000-0000-000000000000"}
	h := w.IMDS(machines{"all": {a, sys, b}, "one": {a}, "two": {a, b}, "bare": {}, "gone": {gone}}, quiet())

	const path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://storage.azure.com/"
	for name, c := range map[string]struct {
		nic, path string
		header    string // "name: value" beside Metadata, "-" without it
		want      int
		say       string // client id of the token, or part of the description
	}{
		"system":                  {"all", path, "", 200, sys.ClientID},
		"by client id":            {"all", path + "&client_id=" + strings.ToUpper(b.ClientID), "", 200, b.ClientID},
		"by object id":            {"all", path + "&object_id=" + a.ObjectID, "", 200, a.ClientID},
		"by resource id":          {"all", path + "&msi_res_id=" + strings.ToLower(base) + "b", "", 200, b.ClientID},
		"by resource id, new":     {"all", path + "&mi_res_id=" + base + "b", "", 200, b.ClientID},
		"the only user-assigned":  {"one", path, "", 200, a.ClientID},
		"several user-assigned":   {"two", path, "", 400, "Multiple user assigned identities exist"},
		"another machine's":       {"one", path + "&client_id=" + b.ClientID, "", 400, "Identity not found"},
		"no identity":             {"bare", path, "", 400, "Identity not found"},
		"identity deleted since":  {"gone", path, "", 400, "Identity not found"},
		"named twice":             {"all", path + "&client_id=" + a.ClientID + "&object_id=" + a.ObjectID, "", 400, "Only one"},
		"no Metadata header":      {"all", path, "-", 400, "Required metadata header not specified"},
		"through a proxy":         {"all", path, "X-Forwarded-For: 1.2.3.4", 400, "X-Forwarded-For"},
		"no api-version":          {"all", "/metadata/identity/oauth2/token?resource=x", "", 400, "'api-version'"},
		"no resource":             {"all", "/metadata/identity/oauth2/token?api-version=2018-02-01", "", 400, "'resource'"},
		"unknown resource":        {"all", strings.Replace(path, "storage.azure.com", "example.com", 1), "", 400, "AADSTS500011"},
		"a NIC without a machine": {"none", path, "", 401, "Unknown Source"},
		"no NIC":                  {"", path, "", 401, "Unknown Source"},
		"failure":                 {"broken", path, "", 500, "logs"},
		"another path":            {"all", "/metadata/attested/document", "", 404, "does not serve"},
	} {
		t.Run(name, func(t *testing.T) {
			r := get("http://169.254.169.254" + c.path)
			if c.header != "-" {
				r.Header.Set("Metadata", "true")
			}
			if k, v, ok := strings.Cut(c.header, ": "); ok {
				r.Header.Set(k, v)
			}
			r = r.WithContext(origin.NewContext(r.Context(), origin.Origin{Kind: origin.PrivateEndpoint, NIC: c.nic}))
			rec, body := call(t, h, r)
			if rec.Code != c.want {
				t.Fatalf("%d, want %d: %s", rec.Code, c.want, rec.Body)
			}
			if c.want != 200 {
				if text, _ := body["error_description"].(string); !strings.Contains(text, c.say) || body["error"] == "" {
					t.Errorf("%s, want %q", rec.Body, c.say)
				}
				return
			}
			if body["client_id"] != c.say || body["resource"] != "https://storage.azure.com/" || body["token_type"] != "Bearer" || body["expires_in"] != "86399" || len(body) != 8 {
				t.Errorf("%s", rec.Body)
			}
			for k, v := range body {
				if _, ok := v.(string); !ok {
					t.Errorf("%s is %v, want a string", k, v)
				}
			}
			p, err := w.Verify(context.Background(), body["access_token"].(string), AudienceStorage)
			if err != nil || p.AppID != c.say || p.Type != "ManagedIdentity" {
				t.Errorf("%+v %v", p, err)
			}
		})
	}
}

func TestInstanceMetadata(t *testing.T) {
	h := newWorld(t, testTenant).IMDS(machines{"node-0": {}}, quiet())
	for path, want := range map[string]string{
		"/metadata/instance/compute/name?api-version=2021-02-01&format=text":                   "node-0",
		"/metadata/instance/network/interface/0/macAddress?api-version=2021-02-01&format=text": "000D3A000001",
		"/metadata/instance/compute?api-version=2021-02-01":                                    `"vmSize":"Standard_DS3_v2"`,
		"/metadata/instance?api-version=2021-02-01":                                            `"compute":{`,
		"/metadata/instance/network/interface/7?api-version=2021-02-01":                        "Not found",
		"/metadata/instance/network/interface/-1?api-version=2021-02-01":                       "Not found",
		"/metadata/instance/compute?api-version=2021-02-01&format=text":                        "format",
		"/metadata/instance":                        "newest-versions",
		"/metadata/instance?api-version=1999-01-01": "newest-versions",
		"/metadata/versions":                        "apiVersions",
	} {
		r := get("http://169.254.169.254" + path)
		r.Header.Set("Metadata", "TRUE")
		rec, _ := call(t, h, r.WithContext(origin.NewContext(r.Context(), origin.Origin{NIC: "node-0"})))
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	r := get("http://169.254.169.254/metadata/instance?api-version=2021-02-01")
	r.Method = http.MethodPost
	if rec, _ := call(t, h, r); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", rec.Code)
	}
}
