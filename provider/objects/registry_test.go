package objects_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/provider/objects"
	"vauban.dev/provider/privatelink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub   = "/subscriptions/11111111-1111-1111-1111-111111111111"
	group = sub + "/resourceGroups/rg"
	acr   = group + "/providers/Microsoft.ContainerRegistry/registries/"
	acrV  = "?api-version=2023-07-01"
)

func newRegion(t *testing.T) *rptest.Region {
	t.Helper()
	p := objects.New()
	links := privatelink.New(p.Target())
	p.Use(links)
	return rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, append(p.Types(), links.Types()...)...)
}

// refused checks a refusal: its status, its code and a word of its message.
func refused(t *testing.T, a rptest.Answer, status int, code, word string) {
	t.Helper()
	if a.Status != status || a.Code() != code || !strings.Contains(a.Text, word) {
		t.Errorf("%d %s, want %d %s with %q", a.Status, a.Text, status, code, word)
	}
}

func TestRegistry(t *testing.T) {
	r := newRegion(t)
	a := r.Request("PUT", acr+"First1"+acrV, `{"location":"westeurope","sku":{"name":"standard"},"properties":{"adminUserEnabled":false,"loginServer":"mine"}}`)
	if a.Status != 200 || a.String("properties", "loginServer") != "first1.azurecr.io" || a.String("sku", "tier") != "Standard" || a.String("properties", "policies", "exportPolicy", "status") != "enabled" {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	refused(t, r.Request("POST", acr+"First1/listCredentials"+acrV, ""), 400, "UnAuthorizedForCredentialOperations", "admin user is disabled")
	refused(t, r.Request("POST", acr+"First1/importImage"+acrV, "{}"), 501, "NotImplemented", "object only")
	r.Must("PATCH", acr+"First1"+acrV, `{"properties":{"adminUserEnabled":true}}`)
	list := func(a rptest.Answer) (out []string) {
		for _, p := range a.At("passwords").([]any) {
			out = append(out, p.(map[string]any)["value"].(string))
		}
		return out
	}
	before := list(r.Must("POST", acr+"First1/listCredentials"+acrV, ""))
	after := list(r.Must("POST", acr+"First1/regenerateCredential"+acrV, `{"name":"password2"}`))
	if len(before[0]) != 52 || before[0] != after[0] || before[1] == after[1] {
		t.Errorf("the second password changes, the first does not: %v, then %v", before, after)
	}
	if got := r.Request("GET", acr+"First1"+acrV, "").Text; strings.Contains(got, after[0]) || !strings.Contains(got, `"tags":{}`) {
		t.Errorf("GET: %s", got)
	}
	taken := func(name string) any {
		return r.Must("POST", sub+"/providers/Microsoft.ContainerRegistry/checkNameAvailability"+acrV, `{"name":"`+name+`","type":"Microsoft.ContainerRegistry/registries"}`).At("nameAvailable")
	}
	if taken("FIRST1") != false || taken("other") != true || taken("a-b-c") != false {
		t.Error("checkNameAvailability")
	}
	second := strings.Replace(acr, "/rg/", "/rg2/", 1)
	refused(t, r.Request("PUT", second+"first1"+acrV, `{"location":"westeurope","sku":{"name":"Basic"}}`), 409, "AlreadyInUse", "first1.azurecr.io")
	r.Must("DELETE", acr+"First1"+acrV, "")
	if taken("first1") != true {
		t.Error("the name of a deleted registry is free")
	}
}

func TestRegistryRefusals(t *testing.T) {
	r := newRegion(t)
	for body, want := range map[string][2]string{
		`{"location":"westeurope"}`:                       {"MissingSku", "sku.name"},
		`{"location":"westeurope","sku":{"name":"Gold"}}`: {"InvalidSku", "Gold"},
		`{"location":"westeurope","sku":{"name":"Basic"},"properties":{"publicNetworkAccess":"Disabled"}}`:                  {"DisablingPublicNetworkAccessNotSupported", "Basic"},
		`{"location":"westeurope","sku":{"name":"Basic"},"properties":{"networkRuleSet":{"defaultAction":"Deny"}}}`:         {"NetworkRulesNotSupported", "Premium"},
		`{"location":"westeurope","sku":{"name":"Premium"},"properties":{"networkRuleSet":{"ipRules":[{"value":"here"}]}}}`: {"InvalidNetworkRuleSet", "ipRules[0]"},
		`{"location":"westeurope","sku":{"name":"Basic"},"properties":{"policies":{"trustPolicy":{"status":"maybe"}}}}`:     {"InvalidRequestContent", "trustPolicy.status"},
		`{"location":"westeurope","sku":{"name":"Basic"},"properties":{"adminUserEnabled":"yes"}}`:                          {"InvalidRequestContent", "adminUserEnabled"},
	} {
		refused(t, r.Request("PUT", acr+"abcde"+acrV, body), 400, want[0], want[1])
	}
	refused(t, r.Request("PUT", acr+"a-b-c-d"+acrV, `{"location":"westeurope","sku":{"name":"Basic"}}`), 400, "InvalidResourceName", "alphanumeric")
}

func TestRegistryChildren(t *testing.T) {
	r := newRegion(t)
	r.Must("PUT", acr+"basic"+acrV, `{"location":"westeurope","sku":{"name":"Basic"}}`)
	r.Must("PUT", acr+"prime"+acrV, `{"location":"westeurope","sku":{"name":"Premium"}}`)
	refused(t, r.Request("PUT", acr+"basic/replications/northeurope"+acrV, `{"location":"northeurope"}`), 400, "ReplicationNotSupported", "Premium")
	r.Must("PUT", acr+"prime/replications/northeurope"+acrV, `{"location":"northeurope"}`)
	if all := r.Must("GET", acr+"prime/replications"+acrV, "").At("value").([]any); len(all) != 2 {
		t.Errorf("a registry with a replication has one of its own location: %v", all)
	}
	hook := `{"location":"westeurope","properties":{"serviceUri":"https://hooks.example/a","customHeaders":{"Authorization":"hidden"},"actions":["Push"]}}`
	for _, name := range []string{"hook1", "hook2"} {
		if a := r.Request("PUT", acr+"basic/webhooks/"+name+acrV, hook); a.Status != 200 || strings.Contains(a.Text, "hidden") || strings.Contains(a.Text, "hooks.example") {
			t.Errorf("a webhook: %d %s", a.Status, a.Text)
		}
	}
	refused(t, r.Request("PUT", acr+"basic/webhooks/hook3"+acrV, hook), 403, "QuotaExceeded", "2 webhooks")
	r.Must("PATCH", acr+"basic/webhooks/hook1"+acrV, `{"properties":{"scope":"mine"}}`)
	if a := r.Must("POST", acr+"basic/webhooks/hook1/getCallbackConfig"+acrV, ""); a.String("customHeaders", "Authorization") != "hidden" {
		t.Errorf("getCallbackConfig: %s", a.Text)
	}
	ping := r.Must("POST", acr+"basic/webhooks/hook1/ping"+acrV, "")
	events := r.Must("POST", acr+"basic/webhooks/hook1/listEvents"+acrV, "")
	if ping.String("id") == "" || !strings.Contains(events.Text, ping.String("id")) || !strings.Contains(events.Text, "nothing calls") || strings.Contains(events.Text, "hooks.example") {
		t.Errorf("ping %s, events %s", ping.Text, events.Text)
	}
	refused(t, r.Request("PUT", acr+"basic/webhooks/hook4"+acrV, strings.Replace(hook, "Push", "shove", 1)), 400, "InvalidRequestContent", "shove")
	refused(t, r.Request("PUT", acr+"basic/tokens/token-1"+acrV, `{"properties":{"scopeMapId":"`+acr+`basic/scopeMaps/none-here"}}`), 404, "ResourceNotFound", "scopeMaps")
	refused(t, r.Request("PUT", acr+"none1/webhooks/hook1"+acrV, hook), 404, "ParentResourceNotFound", "none1")
}

func TestTaskSecrets(t *testing.T) {
	r := newRegion(t)
	r.Must("PUT", acr+"basic"+acrV, `{"location":"westeurope","sku":{"name":"Basic"}}`)
	task, v := acr+"basic/tasks/build", "?api-version=2019-06-01-preview"
	body := `{"location":"westeurope","properties":{"platform":{"os":"Linux"},
		"step":{"type":"Docker","dockerFilePath":"Dockerfile","contextAccessToken":"hush-1","arguments":[{"name":"a","value":"1"},{"name":"b","value":"hush-2","isSecret":true}]},
		"trigger":{"sourceTriggers":[{"name":"s","sourceRepository":{"repositoryUrl":"https://git.example/r","sourceControlAuthProperties":{"token":"hush-3"}}}]},
		"credentials":{"customRegistries":{"other.example":{"password":{"value":"hush-4"}}}}}}`
	hushed := func(a rptest.Answer) {
		t.Helper()
		if strings.Contains(a.Text, "hush-") || !strings.Contains(a.Text, "other.example") {
			t.Errorf("what is shown: %s", a.Text)
		}
	}
	hushed(r.Must("PUT", task+v, body))
	hushed(r.Must("PATCH", task+v, `{"properties":{"status":"Disabled"}}`))
	hushed(r.Must("PUT", task+v, r.Must("GET", task+v, "").Text))
	source := func(more string) string {
		return `{"properties":{"trigger":{"sourceTriggers":[{"name":"s","sourceTriggerEvents":["commit"]` + more + `}]}}}`
	}
	if a := r.Must("PATCH", task+v, source("")); !strings.Contains(a.Text, "git.example/r") || !strings.Contains(a.Text, "commit") {
		t.Errorf("a change of a trigger's events: %s", a.Text)
	}
	details := r.Must("POST", task+"/listDetails"+v, "").Text
	for _, s := range []string{"hush-1", "hush-2", "hush-3", "hush-4"} {
		if !strings.Contains(details, s) {
			t.Errorf("listDetails without %s: %s", s, details)
		}
	}
	r.Must("PATCH", task+v, source(`,"sourceRepository":{"repositoryUrl":"https://elsewhere.example/r"}`))
	if a := r.Must("POST", task+"/listDetails"+v, ""); strings.Contains(a.Text, "hush-3") {
		t.Errorf("a token went to another repository: %s", a.Text)
	}
}
