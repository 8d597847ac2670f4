package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func tree(t testing.TB, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := decode([]byte(s), &m); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return m
}

// thing is the resource of Microsoft's page on array properties, and some more.
const thing = `{"location":"East US 2","kind":"k","tags":{"env":"prod","Acct.Cost":"1","a'b":"q"},"identity":{"type":"SystemAssigned"},"sku":{"name":"S1"},
 "properties":{"stringArray":["a","b","c"],"objectArray":[{"property":"value1","nestedArray":[1,2]},{"property":"value2","nestedArray":[3,4]}],
 "empty":[],"text":"Hello-42","number":42,"yes":true,"none":null,"port":"8080","when":"2026-11-20T00:00:00Z","subs":[{"name":"x","properties":{"inner":"v"}}],
 "poly":[{"ruleType":"ApplicationRule","tls":false}],"object":{"Key":"v"}}}`

func resource(t testing.TB, body string) *Resource {
	return &Resource{ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Test/resourceType/parent", Type: "Microsoft.Test/resourceType", Name: "parent", FullName: "parent", Body: tree(t, body), Tracked: true}
}

func asked() *RequestContext {
	return &RequestContext{Now: now, APIVersion: "2024-01-01", Identity: map[string]any{"idtyp": "user", "acrs": ""},
		ResourceGroup: func() map[string]any {
			return map[string]any{"name": "g", "id": "/subscriptions/s/resourceGroups/g", "tags": map[string]any{"cost": "9"}, "managedBy": nil}
		},
		Subscription: func() map[string]any {
			return map[string]any{"subscriptionId": "s", "id": "/subscriptions/s", "tags": map[string]any{}}
		}}
}

// holds compiles {"if": cond} with these arguments and asks about the thing.
func holds(t testing.TB, cond string, args map[string]any) (bool, error) {
	t.Helper()
	declared := map[string]Parameter{}
	given := map[string]Value{}
	for k, v := range args {
		typ := "String"
		switch v.(type) {
		case []any:
			typ = "Array"
		case map[string]any:
			typ = "Object"
		case bool:
			typ = "Boolean"
		}
		declared[k], given[k] = Parameter{Type: typ}, Value{v}
	}
	d := &Definition{ID: "/providers/Microsoft.Authorization/policyDefinitions/d", Mode: "All", Parameters: declared, Rule: json.RawMessage(`{"if":` + cond + `,"then":{"effect":"deny"}}`)}
	c, err := Compile(d)
	if err != nil {
		t.Fatalf("%s: %v", cond, err)
	}
	b, err := Bind(one{c}, &Assignment{ID: "/subscriptions/s/providers/Microsoft.Authorization/policyAssignments/a", DefinitionID: d.ID, Parameters: given})
	if err != nil {
		t.Fatalf("%s: %v", cond, err)
	}
	f, ok := b[0].evaluate(newRun(nil, asked(), nil), resource(t, thing), Deny)
	if f == nil {
		return ok, nil
	}
	return ok, f.Err
}

// one is a library of one definition.
type one struct{ c *Compiled }

func (o one) Definition(string, string) (*Compiled, error) { return o.c, nil }
func (o one) Set(string, string) (*SetDefinition, error) {
	return nil, errorf("PolicySetDefinitionNotFound", "none")
}

func TestConditions(t *testing.T) {
	const a = "Microsoft.Test/resourceType/"
	for _, c := range []struct {
		cond string
		want bool
	}{
		// fields
		{`{"field":"name","equals":"PARENT"}`, true},
		{`{"field":"type","equals":"microsoft.test/RESOURCETYPE"}`, true},
		{`{"field":"kind","equals":"k"}`, true},
		{`{"source":"action","equals":"microsoft.test/resourceType/WRITE"}`, true},
		{`{"source":"action","like":"*/delete"}`, false},
		{`{"field":"fullName","equals":"parent"}`, true},
		{`{"field":"id","like":"*/resourceType/parent"}`, true},
		{`{"field":"location","equals":"eastus2"}`, true},
		{`{"field":"location","in":["East US 2"]}`, true},
		{`{"field":"identity.type","equals":"SystemAssigned"}`, true},
		{`{"field":"tags.env","equals":"PROD"}`, true},
		{`{"field":"tags['Acct.Cost']","equals":"1"}`, true},
		{`{"field":"tags[Acct.Cost]","equals":1}`, true},
		{`{"field":"tags['''a''b''']","exists":true}`, false}, // the name with its own quotes is another one
		{`{"field":"tags['a''b']","equals":"q"}`, true},
		{`{"field":"tags.none","exists":"false"}`, true},
		{`{"field":"tags","containsKey":"ENV"}`, true},
		{`{"field":"tags","notContainsKey":"x"}`, true},
		{`{"field":"` + a + `sku.name","equals":"S1"}`, true},
		{`{"field":"Microsoft.Other/type/text","exists":false}`, true},
		{`{"field":"Microsoft.Test/text","equals":"hello-42"}`, true},
		// conditions
		{`{"field":"` + a + `text","notEquals":"x"}`, true},
		{`{"field":"` + a + `none","exists":false}`, true},
		{`{"field":"` + a + `missing","equals":""}`, true},
		{`{"field":"` + a + `missing","notEquals":"x"}`, true},
		{`{"field":"` + a + `missing","notIn":["x"]}`, true},
		{`{"field":"` + a + `missing","like":"*"}`, false},
		{`{"field":"` + a + `missing","less":3}`, false},
		{`{"field":"` + a + `number","equals":"42"}`, true},
		{`{"field":"` + a + `number","greater":41}`, true},
		{`{"field":"` + a + `port","greater":1024}`, true},
		{`{"field":"` + a + `yes","equals":"True"}`, true},
		{`{"field":"` + a + `when","less":"[addDays(utcNow(), -1)]"}`, true},
		{`{"field":"` + a + `when","greaterOrEquals":"2026-11-20"}`, true},
		{`{"field":"` + a + `text","match":"?????-##"}`, true},
		{`{"field":"` + a + `text","match":"hello-##"}`, false},
		{`{"field":"` + a + `text","matchInsensitively":"hello-.."}`, true},
		{`{"field":"` + a + `text","notMatch":"#"}`, true},
		{`{"field":"` + a + `text","contains":"LO-4"}`, true},
		{`{"field":"` + a + `text","notContains":"x"}`, true},
		{`{"field":"` + a + `object","containsKey":"key"}`, true},
		// collections: all of them, and nothing is all
		{`{"field":"` + a + `stringArray[*]","equals":"a"}`, false},
		{`{"field":"` + a + `stringArray[*]","in":["a","b","C"]}`, true},
		{`{"not":{"field":"` + a + `stringArray[*]","notEquals":"b"}}`, true},
		{`{"field":"` + a + `empty[*]","equals":"a"}`, true},
		{`{"field":"` + a + `missing[*]","equals":"a"}`, true},
		{`{"field":"` + a + `objectArray[*].nestedArray[*]","greater":0}`, true},
		{`{"field":"` + a + `objectArray[*].property","like":"value*"}`, true},
		{`{"field":"` + a + `objectArray[*].absent","exists":false}`, true},
		{`{"field":"` + a + `subs[*].inner","equals":"v"}`, true},
		{`{"field":"` + a + `poly[*].ApplicationRule.tls","equals":false}`, true},
		{`{"field":"` + a + `poly[*].NatRule.tls","exists":false}`, true},
		// counts
		{`{"count":{"field":"` + a + `stringArray[*]"},"equals":3}`, true},
		{`{"count":{"field":"` + a + `objectArray[*].nestedArray[*]"},"greaterOrEquals":4}`, true},
		{`{"count":{"field":"` + a + `missing[*]"},"equals":0}`, true},
		{`{"count":{"field":"` + a + `stringArray[*]","where":{"field":"` + a + `stringArray[*]","equals":"a"}},"equals":1}`, true},
		{`{"count":{"field":"` + a + `objectArray[*]","where":{"allOf":[{"field":"` + a + `objectArray[*].property","equals":"value2"},{"field":"` + a + `objectArray[*].nestedArray[*]","greater":2}]}},"equals":1}`, true},
		{`{"count":{"field":"` + a + `objectArray[*]","where":{"count":{"field":"` + a + `objectArray[*].nestedArray[*]","where":{"field":"` + a + `objectArray[*].nestedArray[*]","equals":3}},"greater":0}},"equals":1}`, true},
		{`{"count":{"field":"` + a + `objectArray[*]","where":{"field":"tags.env","equals":"prod"}},"equals":2}`, true},
		{`{"count":{"field":"` + a + `stringArray[*]","where":{"field":"` + a + `stringArray[*]","equals":"[field('` + a + `stringArray[*]')]"}},"equals":0}`, true},
		{`{"count":{"field":"` + a + `stringArray[*]","where":{"field":"` + a + `stringArray[*]","equals":"[first(field('` + a + `stringArray[*]'))]"}},"equals":3}`, true},
		{`{"count":{"field":"` + a + `stringArray[*]","where":{"value":"[current('` + a + `stringArray[*]')]","equals":"b"}},"equals":1}`, true},
		{`{"count":{"field":"` + a + `objectArray[*]","where":{"value":"[current('` + a + `objectArray[*].property')]","equals":"value1"}},"equals":1}`, true},
		{`{"count":{"value":["par*","x*"],"name":"p","where":{"field":"name","like":"[current('p')]"}},"equals":1}`, true},
		{`{"count":{"value":["par*","x*"],"where":{"field":"name","like":"[current()]"}},"greater":0}`, true},
		{`{"count":{"value":[{"n":1},{"n":3}],"name":"o","where":{"count":{"field":"` + a + `objectArray[*].nestedArray[*]","where":{"field":"` + a + `objectArray[*].nestedArray[*]","equals":"[current('o').n]"}},"equals":1}},"equals":2}`, true},
		// values and functions
		{`{"value":"[resourceGroup().name]","equals":"g"}`, true},
		{`{"value":"[resourceGroup().tags['cost']]","equals":"9"}`, true},
		{`{"value":"[resourceGroup().tags['none']]","equals":""}`, true},
		{`{"value":"[subscription().tags.none]","notEquals":""}`, false},
		{`{"value":"[requestContext().apiVersion]","greaterOrEquals":"2023-01-01"}`, true},
		{`{"value":"[requestContext().identity.idtyp]","equals":"user"}`, true},
		{`{"value":"[length(field('tags'))]","equals":3}`, true},
		{`{"value":"[length(field('` + a + `missing'))]","equals":0}`, true},
		{`{"value":"[length(field('` + a + `missing[*]'))]","equals":0}`, true},
		{`{"value":"[ipRangeContains('10.0.0.0/8', '10.1.0.0-10.2.0.1')]","equals":true}`, true},
		{`{"value":"[ipRangeContains('10.0.0.0/8', '11.0.0.1')]","equals":true}`, false},
		{`{"value":"[policy().definitionId]","like":"*/d"}`, true},
		{`{"value":"[[not an expression]","equals":"[[not an expression]"}`, true},
		{`{"value":["[field('name')]","b"],"contains":"parent"}`, true},
		{`{"AnyOf":[{"field":"name","Equals":"x"},{"FIELD":"name","equals":"parent"}]}`, true},
	} {
		got, err := holds(t, c.cond, nil)
		if err != nil {
			t.Errorf("%s: %v", c.cond, err)
		} else if got != c.want {
			t.Errorf("%s: %v", c.cond, got)
		}
	}
}

func TestFailedEvaluations(t *testing.T) {
	const a = "Microsoft.Test/resourceType/"
	for _, cond := range []string{
		`{"field":"` + a + `text","less":3}`,
		`{"value":"[substring(field('name'), 0, 99)]","equals":"x"}`,
		`{"value":"[ipRangeContains('10.0.0.0/8', 'x')]","equals":true}`,
		`{"value":"[ipRangeContains('10.0.0.0/8', '::1')]","equals":true}`,
		`{"value":"[field('nonsense')]","equals":"x"}`,
		`{"field":"name","in":"[field('name')]"}`,
		`{"value":"[current()]","equals":1}`,
	} {
		if ok, err := holds(t, cond, nil); err == nil || !ok {
			t.Errorf("%s: %v %v, want a failure, which refuses", cond, ok, err)
		}
	}
}

func TestRefusedRules(t *testing.T) {
	for rule, want := range map[string]string{
		`{}`: "'if' and 'then'",
		`{"if":{"field":"name"},"then":{"effect":"deny"}}`:                                                                                    "no operator",
		`{"if":{"equals":"x"},"then":{"effect":"deny"}}`:                                                                                      "'field', 'value', 'count' and 'source'",
		`{"if":{"field":"name","value":1,"equals":"x"},"then":{"effect":"deny"}}`:                                                             "more than one",
		`{"if":{"field":"name","equals":"x","like":"y"},"then":{"effect":"deny"}}`:                                                            "two operators",
		`{"if":{"field":"name","equal":"x"},"then":{"effect":"deny"}}`:                                                                        "'equal' is not a condition",
		`{"if":{"field":"properties.x","equals":"x"},"then":{"effect":"deny"}}`:                                                               "nor an alias",
		`{"if":{"field":"name","in":"x"},"then":{"effect":"deny"}}`:                                                                           "needs an array",
		`{"if":{"field":"name","like":"*x*"},"then":{"effect":"deny"}}`:                                                                       "more than one wildcard",
		`{"if":{"field":"name","exists":"maybe"},"then":{"effect":"deny"}}`:                                                                   "true or false",
		`{"if":{"field":"name","equals":"[nope(]"},"then":{"effect":"deny"}}`:                                                                 "cannot be parsed",
		`{"if":{"field":"name","equals":"[reference('x').y]"},"then":{"effect":"deny"}}`:                                                      "'reference' is not available",
		`{"if":{"field":"name","equals":"[parameters('p')]"},"then":{"effect":"deny"}}`:                                                       "'p', which is not defined",
		`{"if":{"source":"caller","equals":"x"},"then":{"effect":"deny"}}`:                                                                    "'source' has the one value",
		`{"if":{"field":"name","equals":"x"},"then":{"effect":"destroy"}}`:                                                                    "not one that Azure Policy has",
		`{"if":{"field":"name","equals":"x"},"then":{"effect":"modify"}}`:                                                                     "'then.details.operations'",
		`{"if":{"field":"name","equals":"x"},"then":{"effect":"auditIfNotExists"}}`:                                                           "'then.details.type'",
		`{"if":{"field":"name","equals":"x"},"then":{"effect":"denyAction"}}`:                                                                 "'then.details.actionNames'",
		`{"if":{"count":{"field":"name"},"equals":1},"then":{"effect":"deny"}}`:                                                               "an alias with [*]",
		`{"if":{"count":{"value":[1],"where":{"count":{"value":[1]},"equals":1}},"equals":1},"then":{"effect":"deny"}}`:                       "needs a 'name'",
		`{"if":` + strings.Repeat(`{"not":`, 100) + `{"field":"name","equals":"x"}` + strings.Repeat(`}`, 100) + `,"then":{"effect":"deny"}}`: "nested deeper",
		`{"if":{"anyOf":[` + strings.TrimSuffix(strings.Repeat(`{"field":"name","equals":"x"},`, 5000), ",") + `]},"then":{"effect":"deny"}}`: "more than 4096",
	} {
		_, err := Compile(&Definition{Rule: json.RawMessage(rule)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %s", rule, err, want)
		}
	}
}

// TestEndless: what tries to run for ever ends.
func TestEndless(t *testing.T) {
	const a = "Microsoft.Test/resourceType/"
	cond := `{"field":"name","equals":"x"}`
	for i := range 6 {
		cond = fmt.Sprintf(`{"count":{"value":"[range(0, 50)]","name":"n%d","where":%s},"equals":1}`, i, cond)
	}
	if _, err := holds(t, cond, nil); err == nil {
		t.Error("nested value counts have no limit")
	}
	if _, err := holds(t, `{"value":"[length(string(range(0, 10000)))]","equals":1}`, nil); err != nil {
		t.Logf("a long range: %v", err)
	}
	big := make([]any, 3000)
	for i := range big {
		big[i] = json.Number("1")
	}
	res := resource(t, `{"properties":{}}`)
	res.Body["properties"].(map[string]any)["l"] = big
	cond = `{"count":{"field":"` + a + `l[*]","where":{"count":{"field":"` + a + `l[*]","where":{"field":"name","equals":"y"}},"equals":0}},"equals":1}`
	nested := `{"count":{"value":"[field('` + a + `l[*]')]","where":{"field":"name","equals":"y"}},"equals":0}`
	for _, cond := range []string{cond, nested, `{"anyOf":[` + strings.TrimSuffix(strings.Repeat(`{"count":{"field":"`+a+`l[*]","where":{"field":"name","equals":"y"}},"equals":1},`, 60), ",") + `]}`} {
		c, err := Compile(&Definition{Rule: json.RawMessage(`{"if":` + cond + `,"then":{"effect":"deny"}}`)})
		if err != nil {
			t.Fatal(err)
		}
		b, err := Bind(one{c}, &Assignment{DefinitionID: "d"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		f, _ := b[0].evaluate(newRun(nil, asked(), nil), res, Deny)
		t.Logf("%.60s: %v after %v", cond, f, time.Since(start))
	}
}

// TestPatternsAgainstRegexp holds like and match to regular expressions.
func TestPatternsAgainstRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[abAB1#?.*]{0,6}`).Draw(t, "s")
		p := rapid.StringMatching(`[abAB1#?.*]{0,6}`).Draw(t, "p")
		var glob, pattern strings.Builder
		for _, c := range p {
			switch c {
			case '*':
				glob.WriteString("(?s:.*)")
				pattern.WriteString(regexp.QuoteMeta("*"))
				continue
			case '#':
				pattern.WriteString("[0-9]")
			case '?':
				pattern.WriteString(`\pL`)
			case '.':
				pattern.WriteString("(?s:.)")
			default:
				pattern.WriteString(regexp.QuoteMeta(string(c)))
			}
			glob.WriteString(regexp.QuoteMeta(string(c)))
		}
		if want := regexp.MustCompile(`(?i)^` + glob.String() + `$`).MatchString(s); like(s, p) != want {
			t.Fatalf("like(%q, %q) = %v", s, p, !want)
		}
		for _, fold := range []bool{false, true} {
			flags := ""
			if fold {
				flags = "(?i)"
			}
			if want := regexp.MustCompile(flags + `^` + pattern.String() + `$`).MatchString(s); match(s, p, fold) != want {
				t.Fatalf("match(%q, %q, %v) = %v", s, p, fold, !want)
			}
		}
	})
}

// scalar is a random value and its text as Azure compares it, made apart from the code.
func scalar(t *rapid.T, label string) (v any, s string) {
	switch rapid.IntRange(0, 3).Draw(t, label+" kind") {
	case 0:
		b := rapid.Bool().Draw(t, label)
		return b, fmt.Sprint(b)
	case 1:
		n := rapid.IntRange(-3, 12).Draw(t, label)
		return json.Number(fmt.Sprint(n)), fmt.Sprint(n)
	case 2:
		return nil, ""
	}
	s = rapid.SampledFrom([]string{"", "a", "A", "b", "true", "TRUE", "7", "12", "x y"}).Draw(t, label)
	return s, s
}

// TestConditionsAgainstOracle holds equals, in, contains and their negations to an oracle on texts.
func TestConditionsAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, h := scalar(t, "have")
		want, w := scalar(t, "want")
		h, w = strings.ToUpper(h), strings.ToUpper(w)
		check := func(operator string, target any, expected bool) {
			got, err := operators[operator].compare(have, target)
			inverse, err2 := operators["not"+operator].compare(have, target)
			if err != nil || err2 != nil || got != expected || inverse == expected {
				t.Fatalf("%v %s %v: %v (%v), want %v", have, operator, target, got, err, expected)
			}
		}
		check("equals", want, h == w)
		check("in", []any{"zz", want}, h == w || h == "ZZ")
		if want != nil {
			check("contains", want, have != nil && strings.Contains(h, w))
		}
		x, isNumber := have.(json.Number)
		y, isNumberToo := want.(json.Number)
		if isNumber && isNumberToo {
			p, _ := x.Int64()
			q, _ := y.Int64()
			for operator, expected := range map[string]bool{"less": p < q, "lessorequals": p <= q, "greater": p > q, "greaterorequals": p >= q} {
				if got, err := operators[operator].compare(have, want); err != nil || got != expected {
					t.Fatalf("%v %s %v: %v %v", have, operator, want, got, err)
				}
			}
		}
	})
}

// TestLogicAgainstOracle holds allOf, anyOf and not to Go's own operators.
func TestLogicAgainstOracle(t *testing.T) {
	res := resource(t, thing)
	rapid.Check(t, func(t *rapid.T) {
		var make func(depth int) (string, bool)
		make = func(depth int) (string, bool) {
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if depth == 0 || kind == 0 {
				b := rapid.Bool().Draw(t, "leaf")
				return fmt.Sprintf(`{"value":%v,"equals":true}`, b), b
			}
			if kind == 1 {
				s, b := make(depth - 1)
				return `{"not":` + s + `}`, !b
			}
			n, all, any := rapid.IntRange(1, 3).Draw(t, "n"), true, false
			var parts []string
			for range n {
				s, b := make(depth - 1)
				parts, all, any = append(parts, s), all && b, any || b
			}
			if kind == 2 {
				return `{"allOf":[` + strings.Join(parts, ",") + `]}`, all
			}
			return `{"anyOf":[` + strings.Join(parts, ",") + `]}`, any
		}
		s, want := make(4)
		c, err := Compile(&Definition{Rule: json.RawMessage(`{"if":` + s + `,"then":{"effect":"audit"}}`)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.rule.cond.holds(newRun(nil, asked(), res)); err != nil || got != want {
			t.Fatalf("%s: %v %v", s, got, err)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, b := range Builtins()[:40] {
		f.Add(string(b.Properties.Rule))
	}
	f.Add(`{"if":{"count":{"value":"[range(0,100)]","where":{"value":"[current()]","like":"*"}},"equals":1},"then":{"effect":"[parameters('e')]"}}`)
	res := resource(f, thing)
	f.Fuzz(func(t *testing.T, rule string) {
		c, err := Compile(&Definition{Rule: json.RawMessage(rule), Parameters: map[string]Parameter{"e": {Type: "String", DefaultValue: "deny"}}})
		if err != nil {
			return
		}
		b, err := Bind(one{c}, &Assignment{DefinitionID: "d", ID: "/a"})
		if err != nil {
			return
		}
		start := time.Now()
		x := NewIndex(one{c}, []*Assignment{{DefinitionID: "d", ID: "/a", Scope: "/"}}, nil, nil)
		x.Write(asked(), []string{"/"}, res, false)
		x.Scan(asked(), []string{"/"}, res, func(Query) ([]*Resource, error) { return nil, nil }, func(*Bound, *Resource) string { return "" })
		_ = b
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s took %v", rule, d)
		}
	})
}

// BenchmarkWrite: 300 assignments, of which five concern the resource.
func BenchmarkWrite(b *testing.B) {
	x, res := crowd(b, 300)
	scopes := []string{"/", "/subscriptions/s", "/subscriptions/s/resourcegroups/g", strings.ToLower(res.ID)}
	rc := asked()
	b.ReportAllocs()
	for b.Loop() {
		if d := x.Write(rc, scopes, res, false); len(d.Denied) != 0 {
			b.Fatal(d.Denied[0].Err)
		}
	}
}

// BenchmarkWriteAllConcern: 300 assignments, each of which looks at the resource.
func BenchmarkWriteAllConcern(b *testing.B) {
	x, res := crowdOf(b, 300, func(int) string { return "Microsoft.Storage/storageAccounts" })
	scopes := []string{"/", "/subscriptions/s", "/subscriptions/s/resourcegroups/g", strings.ToLower(res.ID)}
	rc := asked()
	b.ReportAllocs()
	for b.Loop() {
		x.Write(rc, scopes, res, false)
	}
}

func crowd(b testing.TB, n int) (*Index, *Resource) {
	return crowdOf(b, n, func(i int) string {
		if i%60 == 0 {
			return "Microsoft.Storage/storageAccounts"
		}
		return fmt.Sprintf("Microsoft.Test/type%d", i)
	})
}

func crowdOf(b testing.TB, n int, typeOf func(int) string) (*Index, *Resource) {
	lib := many{}
	var all []*Assignment
	for i := range n {
		d := &Definition{ID: fmt.Sprintf("d%d", i), Mode: "All", Parameters: map[string]Parameter{"l": {Type: "Array", DefaultValue: []any{"westeurope", "northeurope"}}},
			Rule: json.RawMessage(`{"if":{"allOf":[{"field":"type","equals":"` + typeOf(i) + `"},{"field":"location","notIn":"[parameters('l')]"},{"field":"Microsoft.Storage/storageAccounts/networkAcls.defaultAction","equals":"Allow"}]},"then":{"effect":"deny"}}`)}
		c, err := Compile(d)
		if err != nil {
			b.Fatal(err)
		}
		lib[d.ID] = c
		all = append(all, &Assignment{ID: fmt.Sprintf("/subscriptions/s/providers/Microsoft.Authorization/policyAssignments/a%d", i), DefinitionID: d.ID, Scope: "/subscriptions/s"})
	}
	res := &Resource{ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct", Type: "Microsoft.Storage/storageAccounts", Name: "acct", FullName: "acct", Tracked: true,
		Body: tree(b, `{"location":"westeurope","properties":{"networkAcls":{"defaultAction":"Allow"}}}`)}
	return NewIndex(lib, all, nil, nil), res
}

type many map[string]*Compiled

func (m many) Definition(id, _ string) (*Compiled, error) { return m[id], nil }
func (m many) Set(string, string) (*SetDefinition, error) { return nil, nil }
