package keyvault_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/provider/keyvault"
)

// values is a data plane of secrets in memory.
type values map[string]keyvault.Secret

func (v values) SetSecret(_ context.Context, vault string, s keyvault.Secret) (keyvault.Secret, error) {
	if s.Value == nil {
		s.Value = v[vault+"/"+s.Name].Value
	}
	s.Version = "v" + strings.Repeat("0", len(v))
	v[vault+"/"+s.Name] = s
	return s, nil
}

func (v values) Secret(_ context.Context, vault, name string) (keyvault.Secret, error) {
	s, ok := v[vault+"/"+name]
	if !ok {
		return s, arm.Errorf(404, "SecretNotFound", "A secret with (name/id) %s was not found in this key vault.", name)
	}
	return s, nil
}

func (v values) SecretNames(_ context.Context, vault string) (names []string, err error) {
	for key := range v {
		if name, ok := strings.CutPrefix(key, vault+"/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func TestSecrets(t *testing.T) {
	data := values{}
	r := newRigWith(t, data)
	one := vault + "/secrets/pass" + api
	r.refused(404, "ParentResourceNotFound", "vaults", "PUT", one, `{"properties":{"value":"hush"}}`)
	r.Must("PUT", vault+api, body(""))
	r.refused(400, "BadRequest", "value", "PUT", one, `{"properties":{}}`)
	r.refused(400, "BadRequest", "attributes", "PUT", one, `{"properties":{"value":1}}`)
	a := r.Must("PUT", one, `{"tags":{"a":"b"},"properties":{"value":"hush","contentType":"text","attributes":{"exp":1900000000}}}`)
	uri := a.String("properties", "secretUri")
	if strings.Contains(a.Text, "hush") || !strings.HasSuffix(uri, ".vault.azure.net/secrets/pass") || !strings.HasPrefix(a.String("properties", "secretUriWithVersion"), uri+"/v") || a.String("tags", "a") != "b" {
		t.Errorf("secret: %s", a.Text)
	}
	r.Must("PATCH", one, `{"properties":{"attributes":{"enabled":false}}}`)
	for key, s := range data {
		if *s.Value != "hush" || !s.Disabled || s.ContentType != "text" || s.Expires.Unix() != 1900000000 {
			t.Errorf("%s is %+v", key, s)
		}
	}
	if a := r.Must("GET", vault+"/secrets"+api, ""); strings.Contains(a.Text, "hush") || !strings.Contains(a.Text, `"name":"pass"`) {
		t.Errorf("list: %s", a.Text)
	}
	r.refused(404, "SecretNotFound", "none", "GET", vault+"/secrets/none"+api, "")
}

func TestAccessPolicies(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", vault+api, body(""))
	policy := func(rights string) string {
		return `{"properties":{"accessPolicies":[{"tenantId":"` + tenant + `","objectId":"` + alice + `","permissions":{"secrets":[` + rights + `]}}]}}`
	}
	have := func(want string) {
		t.Helper()
		a := r.Must("GET", vault+api, "")
		list, _ := a.At("properties", "accessPolicies").([]any)
		var got []string
		for _, p := range list {
			for _, s := range p.(map[string]any)["permissions"].(map[string]any)["secrets"].([]any) {
				got = append(got, s.(string))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("the policies are %q, want %q", got, want)
		}
	}
	r.Must("PUT", vault+"/accessPolicies/add"+api, policy(`"get"`))
	r.Must("PUT", vault+"/accessPolicies/add"+api, policy(`"list","Get"`))
	have("get list")
	r.Must("PUT", vault+"/accessPolicies/remove"+api, policy(`"get"`))
	have("list")
	r.Must("PUT", vault+"/accessPolicies/replace"+api, policy(`"set"`))
	have("set")
	r.Must("PUT", vault+"/accessPolicies/remove"+api, policy(`"set"`))
	have("")
	r.refused(400, "BadRequest", "add, replace, remove", "PUT", vault+"/accessPolicies/take"+api, policy(`"get"`))
	r.refused(400, "BadRequest", "ObjectId", "PUT", vault+"/accessPolicies/add"+api, strings.Replace(policy(`"get"`), alice, "alice", 1))
}
