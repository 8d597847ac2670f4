package template

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/internal/jsonc"
)

const group = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg"

// fake is a region in which every resource exists and says its id.
type fake struct{}

func (fake) Read(_ context.Context, id, version string) (*expr.Object, error) {
	return expr.ObjectOf("id", id, "location", "westeurope", "properties", expr.ObjectOf("id", id, "version", version)), nil
}

func (fake) List(_ context.Context, id, function, _ string, _ any) (any, error) {
	return expr.ObjectOf("of", id, "function", function, "keys", []any{expr.ObjectOf("value", "key")}), nil
}

func (fake) Default(string) string { return "2020-01-01" }

func (fake) Secret(_ context.Context, vault, name, _ string) (string, error) {
	return "secret of " + name, nil
}

func (fake) Facts(_ context.Context, what, scope string) (*expr.Object, error) {
	id := arm.MustParseID(scope)
	switch what {
	case "resourceGroup":
		return expr.ObjectOf("id", scope, "name", id.ResourceGroup(), "location", "westeurope"), nil
	case "subscription":
		return expr.ObjectOf("id", scope, "subscriptionId", id.Subscription(), "tenantId", "t"), nil
	case "tenant":
		return expr.ObjectOf("tenantId", "t"), nil
	case "environment":
		return expr.ObjectOf("suffixes", expr.ObjectOf("storage", "core.windows.net", "keyvaultDns", ".vault.azure.net"), "portal", "p", "resourceManager", "https://management.azure.com/", "authentication", expr.ObjectOf("loginEndpoint", "https://login.microsoftonline.com/", "audiences", []any{"a", "b"})), nil
	}
	return expr.ObjectOf("id", scope, "name", id.Name(), "properties", expr.ObjectOf("tenantId", "t", "details", expr.ObjectOf("parent", expr.ObjectOf("id", "/p", "name", "p")))), nil
}

func (fake) Providers(context.Context, string, string) (*expr.Object, error) {
	return expr.ObjectOf("apiVersions", []any{"2020-01-01"}), nil
}

func object(t testing.TB, text string) *expr.Object {
	t.Helper()
	data, err := jsonc.Standard([]byte(strings.TrimPrefix(text, "\ufeff")))
	if err != nil {
		t.Fatal(err)
	}
	v, err := expr.Decode(data)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v.(*expr.Object)
}

func source(t testing.TB, text, parameters string) Source {
	s := Source{
		Template: object(t, text), Scope: ScopeOf(arm.MustParseID(group), "t"), Name: "test", Location: "westeurope",
		Now: func() time.Time { return time.Unix(0, 0) }, GUID: func() string { return "g" },
	}
	switch schemaKind(s.Template.Text("$schema")) {
	case Subscription:
		s.Scope = ScopeOf(arm.MustParseID("/subscriptions/00000000-0000-0000-0000-000000000001"), "t")
	case ManagementGroup:
		s.Scope = ScopeOf(arm.MustParseID("/providers/Microsoft.Management/managementGroups/mg"), "t")
	case Tenant:
		s.Scope = ScopeOf(arm.MustParseID("/"), "t")
	}
	if parameters != "" {
		s.Parameters = object(t, parameters)
	}
	return s
}

const head = `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",`

// outputs are the outputs of a template as JSON.
func outputs(t *testing.T, body, parameters string) (string, error) {
	t.Helper()
	d, err := Read(t.Context(), fake{}, source(t, head+body+"}", parameters))
	if err != nil {
		return "", err
	}
	list, err := d.Outputs(t.Context())
	if err != nil {
		return "", err
	}
	o := expr.NewObject(0)
	for _, out := range list {
		o.Set(out.Name, out.Value)
	}
	b, err := expr.Encode(o, 1<<20)
	return string(b), err
}

func TestOutputs(t *testing.T) {
	for name, c := range map[string]struct{ body, parameters, want string }{
		"parameters and variables": {`"parameters":{"a":{"type":"string","defaultValue":"[concat(parameters('b'),'!')]"},"b":{"type":"string"}},"variables":{"v":"[toUpper(parameters('a'))]","w":{"x":["[variables('v')]"]}},"resources":[],"outputs":{"o":{"type":"array","value":"[variables('w').x]"}}`, `{"b":{"value":"hi"}}`, `{"o":["HI!"]}`},
		"copies":                   {`"variables":{"copy":[{"name":"list","count":2,"input":{"n":"[copyIndex('list',1)]"}}],"o":{"copy":[{"name":"l","count":2,"input":"[concat('x',copyIndex('l'))]"}]}},"resources":[],"outputs":{"a":{"type":"array","value":"[variables('list')]"},"b":{"type":"object","value":"[variables('o')]"},"c":{"type":"array","copy":{"count":3,"input":"[copyIndex()]"}}}`, ``, `{"a":[{"n":1},{"n":2}],"b":{"l":["x0","x1"]},"c":[0,1,2]}`},
		"user functions":           {`"functions":[{"namespace":"c","members":{"u":{"parameters":[{"name":"p","type":"string"}],"output":{"type":"string","value":"[concat(toLower(parameters('p')),'-')]"}}}}],"resources":[],"outputs":{"o":{"type":"string","value":"[c.u('ABC')]"}}`, ``, `{"o":"abc-"}`},
		"resource ids":             {`"resources":[],"outputs":{"a":{"type":"string","value":"[resourceId('Microsoft.Network/virtualNetworks/subnets','v','s')]"},"b":{"type":"string","value":"[resourceId('other','A.B/c','d')]"},"c":{"type":"string","value":"[subscriptionResourceId('A.B/c','d')]"},"d":{"type":"string","value":"[extensionResourceId(resourceId('A.B/c','d'),'E.F/g','h')]"},"e":{"type":"string","value":"[tenantResourceId('A.B/c','d')]"}}`, ``, `{"a":"` + group + `/providers/Microsoft.Network/virtualNetworks/v/subnets/s","b":"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/other/providers/A.B/c/d","c":"/subscriptions/00000000-0000-0000-0000-000000000001/providers/A.B/c/d","d":"` + group + `/providers/A.B/c/d/providers/E.F/g/h","e":"/providers/A.B/c/d"}`},
		"references":               {`"resources":[{"type":"A.B/c","apiVersion":"2021-01-01","name":"d","properties":{}}],"outputs":{"a":{"type":"string","value":"[reference('d').version]"},"b":{"type":"string","value":"[reference(resourceId('X.Y/z','q'),'2020-02-02','Full').resourceId]"},"c":{"type":"string","value":"[listKeys('d','2020-01-01').keys[0].value]"}}`, ``, `{"a":"2021-01-01","b":"` + group + `/providers/X.Y/z/q","c":"key"}`},
		"conditions":               {`"resources":[{"type":"A.B/c","apiVersion":"2021-01-01","name":"d","condition":false}],"outputs":{"a":{"type":"string","condition":"[equals(1,2)]","value":"[reference('d').x]"},"b":{"type":"string","value":"[if(false(), reference('d').x, 'no')]"}}`, ``, `{"b":"no"}`},
		"types": {`"languageVersion":"2.0","definitions":{"pet":{"type":"object","discriminator":{"propertyName":"kind","mapping":{"cat":{"$ref":"#/definitions/cat"},"dog":{"type":"object","properties":{"kind":{"type":"string","allowedValues":["dog"]}}}}}},"cat":{"type":"object","additionalProperties":false,"properties":{"kind":{"type":"string"},"age":{"type":"int","minValue":1,"nullable":true}}}},
			"parameters":{"p":{"$ref":"#/definitions/pet"},"n":{"type":"string","nullable":true}},"resources":{},"outputs":{"o":{"type":"object","value":"[parameters('p')]"},"n":{"type":"bool","value":"[equals(parameters('n'), null())]"}}`, `{"p":{"value":{"kind":"cat","age":3}}}`, `{"o":{"kind":"cat","age":3},"n":true}`},
		"symbolic": {`"languageVersion":"2.0","resources":{"one":{"type":"A.B/c","apiVersion":"2021-01-01","name":"d"},"old":{"existing":true,"type":"A.B/e","apiVersion":"2021-02-02","name":"x"}},"outputs":{"a":{"type":"string","value":"[reference('old').version]"},"b":{"type":"string","value":"[resourceInfo('one').id]"}}`, ``, `{"a":"2021-02-02","b":"` + group + `/providers/A.B/c/d"}`},
	} {
		got, err := outputs(t, c.body, c.parameters)
		if err != nil || got != c.want {
			t.Errorf("%s: got %s (%v), want %s", name, got, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ body, parameters, want string }{
		"missing parameter":    {`"parameters":{"a":{"type":"string"}},"resources":[]`, ``, "Deployment template validation failed: 'The value for the template parameter 'a' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details.'."},
		"unknown parameter":    {`"parameters":{"a":{"type":"string","defaultValue":"x"}},"resources":[]`, `{"b":{"value":1}}`, "The template parameters 'b' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are 'a'."},
		"not allowed":          {`"parameters":{"a":{"type":"string","allowedValues":["x","y"]}},"resources":[]`, `{"a":{"value":"z"}}`, "The provided value 'z' for the template parameter 'a' is not valid. The value 'z' is not part of the allowed value(s): 'x,y'."},
		"too short":            {`"parameters":{"a":{"type":"string","minLength":3}},"resources":[]`, `{"a":{"value":"z"}}`, "Length of the value should be greater than or equal to '3'."},
		"wrong type":           {`"parameters":{"a":{"type":"string"}},"resources":[]`, `{"a":{"value":5}}`, "Template parameter JToken type is not valid. Expected 'String, Uri'. Actual 'Integer'."},
		"secret not shown":     {`"parameters":{"a":{"type":"secureString","allowedValues":["x"]}},"resources":[]`, `{"a":{"value":"hush"}}`, "The value '' is not part"},
		"circular parameters":  {`"parameters":{"a":{"type":"string","defaultValue":"[parameters('a')]"}},"resources":[]`, ``, "circular reference"},
		"circular variables":   {`"variables":{"a":"[variables('b')]","b":"[variables('a')]"},"resources":[]`, ``, "circular reference"},
		"circular resources":   {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"x","dependsOn":["y"]},{"type":"A.B/c","apiVersion":"2020-01-01","name":"y","dependsOn":["x"]}]`, ``, "Circular dependency detected on resource: '" + group + "/providers/A.B/c/x'."},
		"circular references":  {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"x","properties":{"a":"[reference('y').b]"}},{"type":"A.B/c","apiVersion":"2020-01-01","name":"y","properties":{"a":"[reference('x').b]"}}]`, ``, "Circular dependency"},
		"unknown dependency":   {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"x","dependsOn":["[resourceId('A.B/c','y')]"]}]`, ``, "The resource 'A.B/c/y' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details."},
		"twice":                {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"x"},{"type":"a.b/C","apiVersion":"2020-01-01","name":"X"}]`, ``, "is defined multiple times in a template"},
		"segments":             {`"resources":[{"type":"A.B/c/d","apiVersion":"2020-01-01","name":"x"}]`, ``, "The template resource 'x' for type 'A.B/c/d' has incorrect segment lengths."},
		"unknown function":     {`"resources":[],"outputs":{"o":{"type":"string","value":"[nosuch()]"}}`, ``, "The template function 'nosuch' is not valid. Please see https://aka.ms/arm-functions for usage details."},
		"unknown member":       {`"resources":[],"resorces":[]`, ``, "Could not find member 'resorces' on object of type 'Template'."},
		"no resources":         {`"variables":{}`, ``, "Required property 'resources' not found in JSON."},
		"too many copies":      {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"[concat('x',copyIndex())]","copy":{"name":"l","count":801}}]`, ``, "cannot exceed '800'"},
		"too many resources":   {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"[concat('x',copyIndex())]","copy":{"name":"l","count":500}},{"type":"A.B/c","apiVersion":"2020-01-01","name":"[concat('y',copyIndex())]","copy":{"name":"m","count":500}}]`, ``, "The number of template resources limit exceeded. Limit: '800' and actual: '801'"},
		"condition":            {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"x","condition":5}]`, ``, "its condition must be of type 'Boolean'"},
		"reference in a name":  {`"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"[reference('y').z]"}]`, ``, "The template function 'reference' is not expected at this location."},
		"endless function":     {`"functions":[{"namespace":"c","members":{"u":{"output":{"type":"string","value":"[c.u()]"}}}}],"resources":[],"outputs":{"o":{"type":"string","value":"[c.u()]"}}`, ``, "calls itself"},
		"bomb of variables":    {`"variables":{"a":"[range(0,10000)]","b":"[map(variables('a'),lambda('x',map(variables('a'),lambda('y',map(variables('a'),lambda('z',1))))))]"},"resources":[]`, ``, "limit of work"},
		"type of itself":       {`"languageVersion":"2.0","definitions":{"a":{"$ref":"#/definitions/a"}},"parameters":{"p":{"$ref":"#/definitions/a"}},"resources":{}`, `{"p":{"value":1}}`, "refers to itself"},
		"sealed":               {`"languageVersion":"2.0","parameters":{"p":{"type":"object","additionalProperties":false,"properties":{"a":{"type":"string"}}}},"resources":{}`, `{"p":{"value":{"a":"x","b":1}}}`, "The property 'b' is not allowed in 'p'."},
		"resource is a string": {`"resources":["x"]`, ``, "The resource must be an object"},
		"assertion":            {`"languageVersion":"2.0","asserts":{"a":"[equals(1,2)]"},"resources":{}`, ``, "The template assertion 'a' failed"},
	} {
		_, err := outputs(t, c.body, c.parameters)
		e := arm.AsError(err)
		if e == nil || e.Status != 400 || e.Code != "InvalidTemplate" || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func ids(list []*Resource) string {
	var all []string
	for _, r := range list {
		all = append(all, r.Type[strings.IndexByte(r.Type, '/')+1:]+":"+r.Name)
	}
	return strings.Join(all, " ")
}

func TestDependencies(t *testing.T) {
	d, err := Read(t.Context(), fake{}, source(t, head+`"variables":{"ref":"[resourceId('A.B/c','one')]"},"resources":[
		{"type":"A.B/c","apiVersion":"2020-01-01","name":"one","resources":[{"type":"k","apiVersion":"2020-01-01","name":"kid","dependsOn":["one"]}]},
		{"type":"A.B/s","apiVersion":"2020-01-01","name":"[concat('s',copyIndex())]","copy":{"name":"serial","count":5,"mode":"serial","batchSize":2},"properties":{"i":"[copyIndex(1)]"}},
		{"type":"A.B/d","apiVersion":"2020-01-01","name":"two","dependsOn":["serial","A.B/c/one"],"properties":{"x":"[reference(variables('ref'))]","y":"[listKeys(resourceId('A.B/c/k','one','kid'),'2020-01-01')]"}},
		{"type":"A.B/c/providers/locks","apiVersion":"2020-01-01","name":"one/Microsoft.Authorization/lock","dependsOn":["one"]},
		{"type":"E.F/g","apiVersion":"2020-01-01","name":"ext","scope":"A.B/c/one"}]}`, ""))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, r := range d.Resources {
		got += fmt.Sprintln(strings.TrimPrefix(r.ID, group+"/providers/"), "<-", ids(r.DependsOn))
	}
	want := `A.B/c/one <- 
A.B/c/one/k/kid <- c:one
A.B/s/s0 <- 
A.B/s/s1 <- 
A.B/s/s2 <- s:s0 s:s1
A.B/s/s3 <- s:s0 s:s1
A.B/s/s4 <- s:s2 s:s3
A.B/d/two <- s:s0 s:s1 s:s2 s:s3 s:s4 c:one c/k:one/kid
A.B/c/one/providers/Microsoft.Authorization/locks/lock <- c:one
A.B/c/one/providers/E.F/g/ext <- 
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	body, err := d.Body(t.Context(), d.Resources[4])
	if b, _ := expr.Encode(body, 1000); err != nil || string(b) != `{"properties":{"i":3}}` {
		t.Errorf("%s %v", b, err)
	}
}

// A nested template in the outer scope sees the parameters of the outer one; what only it can know stays.
func TestNestedScopes(t *testing.T) {
	const inside = `{"$schema":"x","variables":{"v":"inner"},"resources":[{"name":"[concat(parameters('p'),copyIndex())]","copy":{"name":"l","count":2},"properties":{"a":"[variables('v')]","b":"[reference(resourceId('A.B/c', parameters('p'))).x]","c":"[map(parameters('l'), lambda('i', concat(lambdaVariables('i'), variables('v'))))]","d":"[['x]"}}]}`
	body := func(options string) string {
		d, err := Read(t.Context(), fake{}, source(t, head+`"parameters":{"p":{"type":"string"},"l":{"type":"array","defaultValue":["a"]}},"variables":{"v":"outer"},"resources":[{"type":"Microsoft.Resources/deployments","apiVersion":"2020-01-01","name":"n","resourceGroup":"other","properties":{"mode":"Incremental",`+options+`"parameters":{"x":{"value":"[parameters('p')]"}},"template":`+inside+`}}]}`, `{"p":{"value":"it's"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(d.Resources[0].ID, "/resourceGroups/other/providers/Microsoft.Resources/deployments/n") {
			t.Error(d.Resources[0].ID)
		}
		b, err := d.Body(t.Context(), d.Resources[0])
		if err != nil {
			t.Fatal(err)
		}
		p, _ := b.Get("properties")
		text, _ := expr.Encode(p, 10000)
		return string(text)
	}
	if got := body(`"expressionEvaluationOptions":{"scope":"inner"},`); !strings.Contains(got, inside) || !strings.Contains(got, `"x":{"value":"it's"}`) {
		t.Errorf("inner: %s", got)
	}
	want := `"template":{"$schema":"x","variables":{"v":"inner"},"resources":[{"name":"[concat('it''s', copyIndex())]","copy":{"name":"l","count":2},"properties":{"a":"outer","b":"[reference('` + group + `/providers/A.B/c/it''s')['x']]","c":["aouter"],"d":"[['x]"}}]}`
	if got := body(``); !strings.Contains(got, want) {
		t.Errorf("outer: %s\nwant %s", got, want)
	}
}
