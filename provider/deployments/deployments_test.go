package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub   = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"
	group = sub + "/resourceGroups/rg"
	api   = "?api-version=2021-04-01"
	head  = `"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0"`
)

// toy is a resource that takes time, fails when told to, and may be used by another.
type toy struct {
	Size int    `json:"size,omitempty"`
	Fail string `json:"fail,omitempty"`
	Uses string `json:"uses,omitempty"`
	Note string `json:"note,omitempty"`
	Made string `json:"made,omitempty" rp:"readonly"`
}

// region is a region with deployments and toys.
type region struct {
	*rptest.Region
	t      testing.TB
	p      *Provider
	stop   func()
	mu     sync.Mutex
	made   []string // names of toys in the order in which their reconciles ended
	hold   map[string]chan struct{}
	links  map[string]string
	secret func(vault arm.ID, name string) (string, error)
}

func (g *region) types() []rp.Registration {
	toys := rp.Type[toy]{
		Name: "Microsoft.Toys/toys", Versions: rp.Versions[toy]("2024-01-01"),
		Validate: func(_ rp.Op, new, _ *rp.Resource[toy]) error {
			if new.Properties.Size > 100 {
				return arm.Errorf(400, "TooLarge", "The toy '%s' is too large.", new.ID.Name())
			}
			return nil
		},
		Reconcile: func(ctx context.Context, r *rp.Resource[toy]) (rp.Result, error) {
			g.mu.Lock()
			hold := g.hold[r.ID.Name()]
			g.mu.Unlock()
			if hold != nil {
				select {
				case <-hold:
				case <-ctx.Done():
					return rp.Result{}, ctx.Err()
				}
			}
			if r.Properties.Fail != "" {
				return rp.Result{}, arm.Errorf(409, "Broken", "%s", r.Properties.Fail)
			}
			g.mu.Lock()
			if !strings.Contains(strings.Join(g.made, " "), r.ID.Name()) {
				g.made = append(g.made, r.ID.Name())
			}
			g.mu.Unlock()
			r.Properties.Made = "made of " + r.ID.Name()
			return rp.Result{}, nil
		},
		Release: func(ctx context.Context, tx *rp.Tx, r *rp.Resource[toy]) error {
			all, err := rp.List[toy](tx, "Microsoft.Toys/toys", r.ID.Scope())
			for _, o := range all {
				if strings.EqualFold(o.Properties.Uses, r.ID.Name()) && o.State != arm.Deleting {
					return arm.Errorf(409, "InUse", "The toy '%s' is in use by '%s'.", r.ID.Name(), o.ID.Name())
				}
			}
			return err
		},
		Actions: map[string]rp.Action[toy]{"listKeys": {Do: func(context.Context, *rp.Tx, *rp.Resource[toy], []byte) (any, error) {
			return map[string]string{"key": "the key"}, nil
		}}},
	}
	parts := rp.Type[toy]{Name: "Microsoft.Toys/toys/parts", Kind: rp.Proxy, Versions: rp.Versions[toy]("2024-01-01")}
	notes := rp.Type[toy]{Name: "Microsoft.Toys/notes", Kind: rp.Extension, Versions: rp.Versions[toy]("2024-01-01")}
	t := resources.Tenant{ID: rptest.Owner.TenantID, DisplayName: "Contoso", Domain: "contoso.onmicrosoft.com"}
	groups := resources.New(t, nil, &authz.Index{})
	groups.Erasing(EraseScope)
	types := groups.Types()
	return append(append(types, rp.Of(toys), rp.Of(parts), rp.Of(notes)), g.p.Types()...)
}

func newRegion(t testing.TB) *region {
	g := &region{t: t, hold: map[string]chan struct{}{}, links: map[string]string{}}
	g.p = g.provider()
	g.Region = rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope"}}, g.types()...)
	g.run()
	t.Cleanup(func() { g.stop() })
	err := g.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		return resources.Ensure(tx, strings.TrimPrefix(sub, "/subscriptions/"), "one")
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Must("PUT", group+api, `{"location":"westeurope","tags":{"a":"b"}}`)
	return g
}

func (g *region) provider() *Provider {
	return New(Config{
		TenantID: rptest.Owner.TenantID, TenantName: "Contoso", Authorizer: check{g},
		Environment: expr.ObjectOf("name", "AzureCloud"),
		Fetch: func(_ context.Context, uri string) ([]byte, error) {
			if text, ok := g.links[uri]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("The server answered 404")
		},
		Secret: func(_ context.Context, vault arm.ID, name, _ string) (string, error) { return g.secret(vault, name) },
	})
}

// check is the region's authorizer, which is there after the provider.
type check struct{ g *region }

func (c check) Check(ctx context.Context, p authz.Principal, q authz.Request) (authz.Decision, error) {
	return c.g.Region.Check(ctx, p, q)
}

func (g *region) run() {
	g.p.Attach(g.Engine, g.Handler.(*door.Door))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.p.Run(ctx) }()
	g.stop = func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Error(err)
		}
		g.stop = func() {}
	}
}

func body(template, rest string) string {
	return `{"properties":{"mode":"Incremental","template":{` + head + `,` + template + `}` + rest + `}}`
}

// deploy makes a deployment and returns how it ended.
func (g *region) deploy(name, body string) rptest.Answer {
	g.t.Helper()
	a := g.Request("PUT", group+"/providers/Microsoft.Resources/deployments/"+name+api, body)
	if a.Status >= 300 {
		return a
	}
	g.end(group + "/providers/Microsoft.Resources/deployments/" + name)
	return g.Request("GET", group+"/providers/Microsoft.Resources/deployments/"+name+api, "")
}

// end waits for the end of a deployment.
func (g *region) end(id string) {
	g.t.Helper()
	for {
		parsed, err := arm.ParseID(id)
		if err != nil {
			g.t.Fatal(err)
		}
		if err := g.p.await(g.t.Context(), parsed.Key()); err != nil {
			g.t.Fatal(err)
		}
		rec, err := g.p.find(g.t.Context(), parsed)
		if err != nil || !rec.active() {
			return
		}
	}
}

func (g *region) exists(name string) bool {
	return g.Request("GET", group+"/providers/Microsoft.Toys/toys/"+name+"?api-version=2024-01-01", "").Status == 200
}

func one(name, rest string) string {
	return `{"type":"Microsoft.Toys/toys","apiVersion":"2024-01-01","name":"` + name + `","location":"[resourceGroup().location]"` + rest + `}`
}

func TestDeployment(t *testing.T) {
	g := newRegion(t)
	a := g.deploy("d", body(`/* toys */ "parameters":{"size":{"type":"int"},"word":{"type":"secureString","defaultValue":"hush"}},
		"resources":[`+one("c", `,"dependsOn":["b"],"properties":{"note":"[reference('a').made]"}`)+`,`+one("b", `,"dependsOn":["[resourceId('Microsoft.Toys/toys','a')]"]`)+`,`+one("a", `,"properties":{"size":"[parameters('size')]"}`)+`,
			{"type":"Microsoft.Toys/toys/parts","apiVersion":"2024-01-01","name":"a/p","dependsOn":["a"],"properties":{}},
			{"type":"Microsoft.Toys/notes","apiVersion":"2024-01-01","name":"n","scope":"Microsoft.Toys/toys/a","dependsOn":["a"],"properties":{}},],
		"outputs":{"key":{"type":"string","value":"[listKeys('a','2024-01-01').key]"},"note":{"type":"string","value":"[reference('c').note]"},"secret":{"type":"secureString","value":"[parameters('word')]"},"where":{"type":"string","value":"[reference('a','2024-01-01','Full').location]"}}`, `,"parameters":{"size":{"value":5}}`))
	if a.String("properties", "provisioningState") != "Succeeded" {
		t.Fatal(a.Text)
	}
	g.mu.Lock()
	if got := strings.Join(g.made, ""); got != "abc" {
		t.Errorf("order %s", got)
	}
	g.mu.Unlock()
	if strings.Contains(a.Text, "hush") {
		t.Error("a secret is shown: " + a.Text)
	}
	for path, want := range map[string]string{"key": "the key", "note": "made of a", "where": "westeurope"} {
		if got := a.String("properties", "outputs", path, "value"); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got, _ := json.Marshal(a.At("properties", "parameters")); string(got) != `{"size":{"type":"Int","value":5},"word":{"type":"SecureString"}}` {
		t.Errorf("parameters %s", got)
	}
	if got := len(a.At("properties", "outputResources").([]any)); got != 5 {
		t.Errorf("%d resources", got)
	}
	ops := g.Request("GET", group+"/deployments/d/operations"+api, "")
	if list, _ := ops.At("value").([]any); len(list) != 6 || !strings.Contains(ops.Text, "EvaluateDeploymentOutput") || !strings.Contains(ops.Text, `"statusCode":"Created"`) {
		t.Errorf("operations: %s", ops.Text)
	}
	if x := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/exportTemplate"+api, ""); x.String("template", "resources", "x") != "" || !strings.Contains(x.Text, "[reference('a').made]") {
		t.Errorf("export: %s", x.Text)
	}
	if l := g.Request("GET", group+"/providers/Microsoft.Resources/deployments/"+api+"&$filter=provisioningState%20eq%20'Succeeded'", ""); len(l.At("value").([]any)) != 1 {
		t.Errorf("list: %s", l.Text)
	}
	if c := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/cancel"+api, ""); c.Status != 409 || c.Code() != "DeploymentCannotBeCancelled" {
		t.Errorf("cancel: %s", c.Text)
	}
	if h := g.Request("HEAD", group+"/providers/Microsoft.Resources/deployments/none"+api, ""); h.Status != 404 {
		t.Errorf("HEAD: %d", h.Status)
	}
	if d := g.Request("DELETE", group+"/providers/Microsoft.Resources/deployments/d"+api, ""); d.Status != 202 || g.Request("GET", d.Header.Get("Location"), "").Status != 204 {
		t.Errorf("DELETE: %d %s", d.Status, d.Text)
	}
	// what is stored holds no secret
	err := g.Engine.View(t.Context(), func(tx *rp.Tx) error {
		all, err := scan[json.RawMessage](tx, contentKind, "")
		for _, raw := range all {
			if strings.Contains(string(*raw), `"word":"hush"`) {
				t.Errorf("kept: %s", *raw)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	g := newRegion(t)
	for name, c := range map[string]struct {
		body, code string
		status     int
	}{
		"no template":   {`{"properties":{"mode":"Incremental"}}`, "InvalidDeployment", 400},
		"both":          {`{"properties":{"template":{},"templateLink":{"uri":"https://x/y"}}}`, "InvalidDeployment", 400},
		"no properties": {`{}`, "InvalidRequestContent", 400},
		"location":      {`{"location":"westeurope","properties":{"template":{}}}`, "InvalidDeployment", 400},
		"mode":          {`{"properties":{"mode":"Perhaps","template":{}}}`, "InvalidDeployment", 400},
		"schema":        {`{"properties":{"template":{"resources":[]}}}`, "InvalidTemplate", 400},
		"namespace":     {body(`"resources":[{"type":"Microsoft.Nothing/x","apiVersion":"2024-01-01","name":"a"}]`, ""), "InvalidResourceNamespace", 400},
		"type":          {body(`"resources":[{"type":"Microsoft.Toys/x","apiVersion":"2024-01-01","name":"a"}]`, ""), "InvalidResourceType", 400},
		"api-version":   {body(`"resources":[{"type":"Microsoft.Toys/toys","apiVersion":"2011-01-01","name":"a"}]`, ""), "NoRegisteredProviderFound", 400},
		"stack":         {body(`"resources":[{"type":"Microsoft.Resources/deploymentStacks","apiVersion":"2024-03-01","name":"s"}]`, ""), "NotImplemented", 501},
		"itself":        {body(`"resources":[{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"d","properties":{"mode":"Incremental","template":{}}}]`, ""), "InvalidTemplate", 400},
		"link":          {`{"properties":{"templateLink":{"uri":"https://nowhere/x.json?sig=hush"}}}`, "InvalidContentLink", 400},
		"bad link":      {`{"properties":{"templateLink":{"uri":"file:///etc/passwd"}}}`, "InvalidContentLink", 400},
	} {
		for _, verb := range []string{"PUT ", "POST /validate", "POST /whatIf"} {
			method, action, _ := strings.Cut(verb, " ")
			a := g.Request(method, group+"/providers/Microsoft.Resources/deployments/d"+action+api, c.body)
			status := c.status
			if action == "/whatIf" && !slices.Contains([]string{"InvalidDeployment", "InvalidRequestContent", "InvalidContentLink"}, c.code) {
				if status = http.StatusOK; a.String("status") != "Failed" { // as the template is at fault, and not the request
					t.Errorf("%s: %s", name, a.Text)
				}
			}
			if a.Status != status || a.Code() != c.code || strings.Contains(a.Text, "hush") {
				t.Errorf("%s %s: %d %s", name, verb, a.Status, a.Text)
			}
		}
	}
	if a := g.Request("PUT", sub+"/resourceGroups/none/providers/Microsoft.Resources/deployments/d"+api, body(`"resources":[]`, "")); a.Status != 404 || a.Code() != "ResourceGroupNotFound" {
		t.Errorf("no group: %s", a.Text)
	}
	// a caller who may deploy but not write toys
	g.Deny(rptest.Owner, "Microsoft.Toys/toys/write", "no toys for them")
	a := g.Request("PUT", group+"/providers/Microsoft.Resources/deployments/d"+api, body(`"resources":[`+one("a", "")+`]`, ""))
	if a.Status != 403 || a.Code() != "InvalidTemplateDeployment" || !strings.Contains(a.Text, "no toys for them") || !strings.Contains(a.Text, "Authorization failed for template resource 'a' of type 'Microsoft.Toys/toys'") {
		t.Errorf("role: %d %s", a.Status, a.Text)
	}
	if a := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/whatIf"+api, body(`"resources":[`+one("a", "")+`]`, "")); a.Status != 200 || a.String("status") != "Failed" || a.Code() != "InvalidTemplateDeployment" {
		t.Errorf("role, what-if: %d %s", a.Status, a.Text)
	}
	if a := g.Request("POST", sub+"/resourceGroups/none/providers/Microsoft.Resources/deployments/d/whatIf"+api, body(`"resources":[]`, "")); a.Status != 404 {
		t.Errorf("no group, what-if: %d %s", a.Status, a.Text)
	}
	if g.exists("a") {
		t.Error("it was written")
	}
}

// When a resource fails, those that do not depend on it go on, and the deployment says what failed.
func TestFailure(t *testing.T) {
	g := newRegion(t)
	a := g.deploy("d", body(`"resources":[`+one("bad", `,"properties":{"fail":"it broke"}`)+`,`+one("after", `,"dependsOn":["bad"]`)+`,`+one("large", `,"properties":{"size":"[if(equals(reference('good').note,'x'),1,500)]"}`)+`,`+one("good", `,"properties":{"note":"y"}`)+`],"outputs":{"o":{"type":"string","value":"x"}}`, ""))
	if a.String("properties", "provisioningState") != "Failed" || a.String("properties", "error", "code") != "DeploymentFailed" || a.At("properties", "outputs") != nil {
		t.Fatal(a.Text)
	}
	codes := ""
	for _, d := range a.At("properties", "error", "details").([]any) {
		m := d.(map[string]any)
		codes += fmt.Sprint(m["code"], " ")
		if m["code"] == "ResourceDeploymentFailure" && !strings.Contains(fmt.Sprint(m["details"]), "it broke") {
			t.Errorf("details %v", m)
		}
	}
	if codes != "TooLarge ResourceDeploymentFailure " && codes != "ResourceDeploymentFailure TooLarge " {
		t.Errorf("codes %s", codes)
	}
	if !g.exists("good") || g.exists("after") {
		t.Error("good must be there, after must not")
	}
	if ops := g.Request("GET", group+"/providers/Microsoft.Resources/deployments/d/operations"+api, ""); !strings.Contains(ops.Text, `"statusCode":"BadRequest"`) || !strings.Contains(ops.Text, `"statusCode":"Conflict"`) {
		t.Errorf("operations %s", ops.Text)
	}
}

func TestScopesAndNesting(t *testing.T) {
	g := newRegion(t)
	nested := func(name, extra, template string) string {
		return `{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"` + name + `"` + extra + `,"properties":{"mode":"Incremental",` + template + `}}`
	}
	text := `{"location":"westeurope","properties":{"mode":"Incremental","template":{"$schema":"https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[
		{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"new","location":"[deployment().location]"},
		` + nested("inner", `,"resourceGroup":"new","dependsOn":["new"]`, `"expressionEvaluationOptions":{"scope":"inner"},"parameters":{"n":{"value":"[concat('t','1')]"}},"template":{`+head+`,"parameters":{"n":{"type":"string"}},"resources":[`+one("[parameters('n')]", "")+`],"outputs":{"id":{"type":"string","value":"[resourceGroup().name]"}}}`) + `],
		"outputs":{"o":{"type":"string","value":"[reference(resourceId(subscription().subscriptionId,'new','Microsoft.Resources/deployments','inner'),'2021-04-01').outputs.id.value]"}}}}}`
	id := sub + "/providers/Microsoft.Resources/deployments/s"
	if a := g.Request("PUT", id+api, text); a.Status != 201 {
		t.Fatal(a.Text)
	}
	g.end(id)
	a := g.Request("GET", id+api, "")
	if a.String("properties", "provisioningState") != "Failed" && a.String("properties", "outputs", "o", "value") != "new" {
		t.Error(a.Text)
	}
	if x := g.Request("GET", sub+"/resourceGroups/new/providers/Microsoft.Toys/toys/t1?api-version=2024-01-01", ""); x.Status != 200 {
		t.Error(x.Text)
	}
	if x := g.Request("PUT", id+"x"+api, strings.Replace(text, `"location":"westeurope",`, "", 1)); x.Code() != "LocationRequired" {
		t.Error(x.Text)
	}
	// linked, and relative to the link
	g.links["https://store/main.json?sv=1"] = `{` + head + `,"resources":[` + nested("rel", "", `"templateLink":{"relativePath":"sub/other.json","queryString":"sv=1"}`) + `]}`
	g.links["https://store/sub/other.json?sv=1"] = `{` + head + `,"parameters":{"x":{"type":"string","defaultValue":"y"}},"resources":[` + one("linked", "") + `]}`
	if a := g.deploy("l", `{"properties":{"templateLink":{"uri":"https://store/main.json","queryString":"sv=1"}}}`); a.String("properties", "provisioningState") != "Succeeded" || !g.exists("linked") || strings.Contains(a.Text, "sv=1") {
		t.Error(a.Text)
	}
	// a template spec
	spec := group + "/providers/Microsoft.Resources/templateSpecs/sp"
	g.Must("PUT", spec+"?api-version=2022-02-01", `{"location":"westeurope","properties":{"description":"d"}}`)
	g.Must("PUT", spec+"/versions/1.0?api-version=2022-02-01", `{"location":"westeurope","properties":{"mainTemplate":{`+head+`,"resources":[`+one("spec", "")+`]}}}`)
	if a := g.deploy("sp", `{"properties":{"templateLink":{"id":"`+spec+`/versions/1.0"}}}`); a.String("properties", "provisioningState") != "Succeeded" || !g.exists("spec") || a.String("properties", "templateLink", "contentVersion") != "1.0.0.0" {
		t.Error(a.Text)
	}
	// the deployments go with their group
	g.Must("DELETE", sub+"/resourceGroups/new"+api, "")
	if x := g.Request("GET", sub+"/resourceGroups/new/providers/Microsoft.Resources/deployments/inner"+api, ""); x.Status != 404 {
		t.Error(x.Text)
	}
}

func TestTenantScope(t *testing.T) {
	g := newRegion(t)
	id := "/providers/Microsoft.Resources/deployments/t"
	a := g.Request("PUT", id+api, `{"location":"westeurope","properties":{"template":{"$schema":"https://schema.management.azure.com/schemas/2019-08-01/tenantDeploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[],"outputs":{"o":{"type":"string","value":"[tenant().tenantId]"}}}}}`)
	if a.Status != 201 {
		t.Fatal(a.Text)
	}
	g.end(id)
	if a := g.Request("GET", id+api, ""); a.String("properties", "outputs", "o", "value") != rptest.Owner.TenantID || a.String("id") != id {
		t.Error(a.Text)
	}
}

func TestCompleteModeDeletesInOrder(t *testing.T) {
	g := newRegion(t)
	for _, n := range []string{"base", "user"} {
		uses := ""
		if n == "user" {
			uses = `,"properties":{"uses":"base"}`
		}
		g.Must("PUT", group+"/providers/Microsoft.Toys/toys/"+n+"?api-version=2024-01-01", `{"location":"westeurope"`+uses+`}`)
	}
	whatIf := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/c/whatIf"+api, strings.Replace(body(`"resources":[`+one("keep", "")+`]`, ""), "Incremental", "Complete", 1))
	if strings.Count(whatIf.Text, `"changeType":"Delete"`) != 2 {
		t.Errorf("what-if: %s", whatIf.Text)
	}
	a := g.deploy("c", strings.Replace(body(`"resources":[`+one("keep", "")+`]`, ""), "Incremental", "Complete", 1))
	if a.String("properties", "provisioningState") != "Succeeded" || g.exists("base") || g.exists("user") || !g.exists("keep") {
		t.Error(a.Text)
	}
}

func TestWhatIf(t *testing.T) {
	g := newRegion(t)
	g.deploy("d", body(`"resources":[`+one("a", `,"tags":{"x":"1"},"properties":{"size":1}`)+`,`+one("same", "")+`]`, ""))
	a := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/whatIf"+api, body(`"parameters":{"s":{"type":"secureString"}},"resources":[`+one("a", `,"tags":{"x":"2"},"properties":{"size":2,"note":"[parameters('s')]"}`)+`,`+one("same", "")+`,`+one("new", `,"properties":{"note":"[reference(resourceId('Microsoft.Toys/toys','later'),'2024-01-01').made]"}`)+`]`, `,"parameters":{"s":{"value":"hush"}}`))
	got := map[string]string{}
	for _, v := range a.At("properties", "changes").([]any) {
		m := v.(map[string]any)
		delta, _ := json.Marshal(m["delta"])
		got[arm.MustParseID(m["resourceId"].(string)).Name()] = fmt.Sprint(m["changeType"], " ", string(delta))
	}
	if !strings.HasPrefix(got["a"], "Modify ") || !strings.Contains(got["a"], `{"after":2,"before":1,"path":"properties.size","propertyChangeType":"Modify"}`) || !strings.Contains(got["a"], `"path":"tags.x"`) {
		t.Errorf("a: %s", got["a"])
	}
	if got["same"] != "NoChange null" || got["new"] != "Create null" {
		t.Errorf("%v", got)
	}
	if strings.Contains(a.Text, "hush") || !strings.Contains(a.Text, "[reference('"+group+"/providers/Microsoft.Toys/toys/later', '2024-01-01')['made']]") {
		t.Error(a.Text)
	}
	if g.exists("new") {
		t.Error("what-if wrote")
	}
	if v := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/v/validate"+api, body(`"resources":[`+one("new", "")+`]`, "")); v.Status != 200 || v.String("properties", "provisioningState") != "Succeeded" || g.exists("new") {
		t.Errorf("validate: %s", v.Text)
	}
}

// TestWhatIfSecrets: members of a secure object can be used in any way, and none of them is shown.
func TestWhatIfSecrets(t *testing.T) {
	g := newRegion(t)
	note := func(name, expression string) string { return one(name, `,"properties":{"note":"`+expression+`"}`) }
	text := body(`"parameters":{"o":{"type":"secureObject"}},"variables":{"word":"[parameters('o').words[0]]"},"resources":[`+strings.Join([]string{
		note("member", "[parameters('o').word]"), note("element", "[concat('a-', parameters('o').words[1])]"), note("variable", "[variables('word')]"),
		note("number", "[string(add(parameters('o').size, 1))]"), note("flag", "[if(parameters('o').flag, 'shown', 'hidden')]"), note("whole", "[string(parameters('o'))]"),
	}, ",")+`]`, `,"parameters":{"o":{"value":{"word":"hush-one","words":["hush-two","hush-three"],"size":4711000,"flag":true}}}`)
	a := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/whatIf"+api, text)
	if a.Status != 200 || len(a.At("properties", "changes").([]any)) != 6 {
		t.Fatalf("%d %s", a.Status, a.Text)
	}
	for _, secret := range []string{"hush-one", "hush-two", "hush-three", "4711001", "4711000", `"shown"`} {
		if strings.Contains(a.Text, secret) {
			t.Errorf("what-if shows %s: %s", secret, a.Text)
		}
	}
	if !strings.Contains(a.Text, `"note":"a-*******"`) || strings.Count(a.Text, `"note":"*******"`) < 4 {
		t.Error(a.Text)
	}
	if v := g.Request("POST", group+"/providers/Microsoft.Resources/deployments/d/whatIf"+api, strings.Replace(text, "parameters('o').word]", "parameters('o').none]", 1)); v.Status != 200 || v.String("status") != "Failed" {
		t.Errorf("a member that is not there: %d %s", v.Status, v.Text)
	}
	g.deploy("d", text)
}

func TestCancel(t *testing.T) {
	g := newRegion(t)
	release := make(chan struct{})
	g.hold["slow"] = release
	id := group + "/providers/Microsoft.Resources/deployments/d"
	if a := g.Request("PUT", id+api, body(`"resources":[`+one("slow", "")+`,`+one("next", `,"dependsOn":["slow"]`)+`]`, "")); a.Status != 201 || a.String("properties", "provisioningState") != "Accepted" {
		t.Fatal(a.Text)
	}
	if a := g.Request("PUT", id+api, body(`"resources":[]`, "")); a.Status != 409 || a.Code() != "DeploymentActive" {
		t.Errorf("second: %s", a.Text)
	}
	if a := g.Request("POST", id+"/cancel"+api, ""); a.Status != 204 {
		t.Errorf("cancel: %s", a.Text)
	}
	if a := g.Request("GET", id+api, ""); a.String("properties", "provisioningState") != "Canceled" || g.exists("next") {
		t.Error(a.Text)
	}
	close(release)
}

// A server that ends in the middle leaves the deployment for the next one, which goes on where it was.
func TestRestart(t *testing.T) {
	g := newRegion(t)
	release := make(chan struct{})
	g.hold["two"] = release
	id := group + "/providers/Microsoft.Resources/deployments/d"
	a := g.Request("PUT", id+api, body(`"parameters":{"id":{"type":"string","defaultValue":"[newGuid()]"},"w":{"type":"secureString"}},"resources":[`+one("one", `,"properties":{"note":"[parameters('id')]"}`)+`,`+one("two", `,"dependsOn":["one"]`)+`,`+one("three", `,"dependsOn":["two"],"properties":{"note":"[concat(parameters('id'), parameters('w'))]"}`)+`]`, `,"parameters":{"w":{"value":"w"}}`))
	if a.Status != 201 {
		t.Fatal(a.Text)
	}
	for !g.exists("two") {
		time.Sleep(time.Millisecond) // until its PUT is there
	}
	g.stop()
	g.Stop()
	if g.p.ctx != nil {
		t.Fatal("still running")
	}
	close(release)
	g.Start()
	g.run()
	g.end(id)
	a = g.Request("GET", id+api, "")
	for a.String("properties", "provisioningState") == "Accepted" || a.String("properties", "provisioningState") == "Running" {
		g.end(id)
		a = g.Request("GET", id+api, "")
	}
	if a.String("properties", "provisioningState") != "Succeeded" {
		t.Fatal(a.Text)
	}
	note := func(n string) string {
		return g.Request("GET", group+"/providers/Microsoft.Toys/toys/"+n+"?api-version=2024-01-01", "").String("properties", "note")
	}
	if note("one") == "" || note("three") != note("one")+"w" {
		t.Errorf("%q %q", note("one"), note("three"))
	}
}

func TestKeyVaultReference(t *testing.T) {
	g := newRegion(t)
	g.secret = func(vault arm.ID, name string) (string, error) {
		if name != "good" {
			return "", arm.Errorf(400, "KeyVaultParameterReferenceSecretRetrieveFailed", "none")
		}
		return "value of " + vault.Name(), nil
	}
	vault := group + "/providers/Microsoft.KeyVault/vaults/v"
	text := func(secret string) string {
		return body(`"parameters":{"s":{"type":"secureString"}},"resources":[`+one("a", `,"properties":{"note":"[parameters('s')]"}`)+`]`, `,"parameters":{"s":{"reference":{"keyVault":{"id":"`+vault+`"},"secretName":"`+secret+`"}}}`)
	}
	if a := g.deploy("d", text("bad")); a.Code() != "KeyVaultParameterReferenceSecretRetrieveFailed" {
		t.Error(a.Text)
	}
	if a := g.deploy("d", text("good")); a.String("properties", "provisioningState") != "Succeeded" || strings.Contains(a.Text, "value of v") {
		t.Error(a.Text)
	}
	if a := g.Request("GET", group+"/providers/Microsoft.Toys/toys/a?api-version=2024-01-01", ""); a.String("properties", "note") != "value of v" {
		t.Error(a.Text)
	}
	g.Deny(rptest.Owner, "Microsoft.KeyVault/vaults/deploy/action", "not for deployments")
	if a := g.deploy("e", text("good")); a.Status != 403 || !strings.Contains(a.Text, "not for deployments") {
		t.Error(a.Text)
	}
}

func TestRollback(t *testing.T) {
	g := newRegion(t)
	g.deploy("good", body(`"resources":[`+one("a", `,"properties":{"note":"good"}`)+`]`, ""))
	g.deploy("d", body(`"resources":[`+one("a", `,"properties":{"note":"new"}`)+`,`+one("b", `,"dependsOn":["a"],"properties":{"fail":"it broke"}`)+`]`, `,"onErrorDeployment":{"type":"LastSuccessful"}`))
	g.end(group + "/providers/Microsoft.Resources/deployments/good")
	a := g.Request("GET", group+"/providers/Microsoft.Toys/toys/a?api-version=2024-01-01", "")
	d := g.Request("GET", group+"/providers/Microsoft.Resources/deployments/d"+api, "")
	if a.String("properties", "note") != "good" || d.String("properties", "onErrorDeployment", "deploymentName") != "good" || d.String("properties", "provisioningState") != "Failed" {
		t.Errorf("%s\n%s", a.Text, d.Text)
	}
}

func TestHistoryIsTrimmed(t *testing.T) {
	g := newRegion(t)
	err := g.Engine.Update(t.Context(), func(tx *rp.Tx) error {
		for i := range historyFull {
			r := &record{ID: fmt.Sprintf("%s/providers/Microsoft.Resources/deployments/old%03d", group, i), State: succeeded, Start: time.Unix(int64(i), 0)}
			if err := put(tx, recordKind, r.key(), r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g.deploy("new", body(`"resources":[]`, ""))
	l := g.Request("GET", group+"/providers/Microsoft.Resources/deployments"+api, "")
	if n := len(l.At("value").([]any)); n != historyKept+1 || strings.Contains(l.Text, "old000") {
		t.Errorf("%d left", n)
	}
}

func BenchmarkHundredResources(b *testing.B) {
	g := newRegion(b)
	var list []string
	for i := range 100 {
		list = append(list, one(fmt.Sprintf("toy%d", i), `,"properties":{"size":"[mod(`+fmt.Sprint(i)+`, 7)]"}`))
	}
	text := body(`"resources":[`+strings.Join(list, ",")+`]`, "")
	n := 0
	for b.Loop() {
		n++
		if a := g.deploy(fmt.Sprintf("d%d", n), text); a.String("properties", "provisioningState") != "Succeeded" {
			b.Fatal(a.Text)
		}
	}
}
