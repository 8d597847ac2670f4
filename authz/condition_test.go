package authz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const (
	container = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name]"
	path      = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]"
	prefix    = "@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix]"
	tag       = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$key_case_sensitive$>]"
	roleID    = "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
)

// have makes Attributes of names as they are written in conditions.
func have(values map[string][]string) Attributes {
	return func(a Attribute) ([]string, bool, error) {
		v, ok := values[a.String()]
		return v, ok, nil
	}
}

func eval(t *testing.T, text, action string, sub []string, values map[string][]string) bool {
	t.Helper()
	c, err := ParseCondition(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c.holds(&asked{action: lower(action), sub: sub, attributes: have(values)})
}

func TestConditionOperators(t *testing.T) {
	const a = "@Resource[a]"
	for _, c := range []struct {
		operator, literal string
		yes, no           string // values of the attribute; "-" none such
	}{
		{"StringEquals", "'Red'", "Red", "red"}, {"StringEqualsIgnoreCase", "'Red'", "rEd", "reds"},
		{"StringNotEquals", "'Red'", "red", "Red"}, {"StringNotEqualsIgnoreCase", "'Red'", "blue", "red"},
		{"StringStartsWith", "'logs/'", "logs/1", "Logs/1"}, {"StringStartsWithIgnoreCase", "'logs/'", "LOGS/1", "log"},
		{"StringNotStartsWith", "'logs/'", "Logs/1", "logs/1"}, {"StringNotStartsWithIgnoreCase", "'logs/'", "x", "LOGS/"},
		{"StringLike", "'a*c?'", "abcd", "abc"}, {"StringLike", "'A*C?'", "AbCd", "abcd"}, {"StringLikeIgnoreCase", "'A*C?'", "abcd", "abc"},
		{"StringNotLike", "'a*c'", "abcd", "abc"}, {"StringNotLikeIgnoreCase", "'A*C'", "abcd", "abc"},
		{"StringLike", `'a\*b\?'`, "a*b?", "aXbY"}, {"StringEquals", `'it''s'`, "it's", "its"}, {"StringEquals", `'it\'s'`, "it's", `it\'s`},
		{"StringLike", "'*'", "", "-"}, {"StringLike", "'?'", "é", ""}, {"stringequals", "'x'", "x", "X"},
		{"NumericEquals", "5", "5", "6"}, {"NumericNotEquals", "5", "6", "5"}, {"NumericLessThan", "5", "4", "5"}, {"NumericLessThanEquals", "5", "5", "6"},
		{"NumericGreaterThan", "5", "10", "5"}, {"NumericGreaterThanEquals", "'5'", "5", "-1"}, {"NumericEquals", "5", "05", "five"},
		{"DateTimeEquals", "'2022-06-01T00:00:00.0Z'", "2022-06-01T02:00:00+02:00", "2022-06-01T00:00:00.0000001Z"},
		{"DateTimeNotEquals", "'2022-06-01T00:00:00.0Z'", "2022-06-01T00:00:00.0000001Z", "not a time"},
		{"DateTimeLessThan", "'2022-06-01T00:00:00.0Z'", "2022-05-31T23:59:59Z", "2022-06-01T00:00:00Z"},
		{"DateTimeLessThanEquals", "'2022-06-01'", "2022-06-01T00:00:00Z", "2022-06-01T00:00:01Z"},
		{"DateTimeGreaterThan", "'2022-06-01T00:00:00.0Z'", "2022-06-01T00:00:01Z", "2022-06-01T00:00:00Z"},
		{"DateTimeGreaterThanEquals", "'2022-06-01T00:00:00.0Z'", "2022-06-01T00:00:00Z", "2021-06-01T00:00:00Z"},
		{"BoolEquals", "true", "True", "false"}, {"BoolNotEquals", "'true'", "false", "true"}, {"boolequals", "false", "false", "no"},
		{"GuidEquals", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "8E3AF657A8FF443CA75C2FE8C4BCB635", "8e3af657-a8ff-443c-a75c-2fe8c4bcb636"},
		{"GuidNotEquals", "{8e3af657a8ff443ca75c2fe8c4bcb635}", "8e3af657-a8ff-443c-a75c-2fe8c4bcb636", "not a guid"},
	} {
		text := a + " " + c.operator + " " + c.literal
		if !eval(t, text, "x/y", nil, map[string][]string{a: {c.yes}}) {
			t.Errorf("%s of %q: does not hold", text, c.yes)
		}
		if c.no != "-" && eval(t, text, "x/y", nil, map[string][]string{a: {c.no}}) {
			t.Errorf("%s of %q: holds", text, c.no)
		}
		// Without the attribute neither it nor its negation holds.
		if eval(t, text, "x/y", nil, nil) || eval(t, "!("+text+")", "x/y", nil, nil) {
			t.Errorf("%s holds of nothing", text)
		}
	}
}

// TestConditionSets has the examples of "Cross product comparison operators", turned so that an attribute has the values.
func TestConditionSets(t *testing.T) {
	const a = "@Resource[a]"
	for _, c := range []struct {
		left      []string
		operation string
		want      bool
	}{
		{[]string{"red", "blue"}, "ForAnyOfAnyValues:StringEquals {'blue', 'green'}", true},
		{[]string{"red", "blue"}, "ForAnyOfAnyValues:StringEquals {'orange', 'green'}", false},
		{[]string{"red", "blue"}, "ForAllOfAnyValues:StringEquals {'orange', 'red', 'blue'}", true},
		{[]string{"red", "blue"}, "ForAllOfAnyValues:StringEquals {'red', 'green'}", false},
		{[]string{"10", "20"}, "ForAnyOfAllValues:NumericLessThan {15, 18}", true},
		{[]string{"10", "20"}, "ForAllOfAllValues:NumericLessThan {5, 15, 18}", false},
		{[]string{"10", "20"}, "ForAllOfAllValues:NumericLessThan {25, 30}", true},
		{[]string{"10", "20"}, "ForAllOfAllValues:NumericLessThan {15, 25, 30}", false},
		{[]string{"red"}, "ForAnyOfAllValues:StringNotEquals {'blue', 'green'}", true},
		{[]string{"blue"}, "ForAnyOfAllValues:StringNotEquals {'blue', 'green'}", false},
		{[]string{"red", "x"}, "ForAnyOfAnyValues:NumericEquals {1}", false},
		{[]string{}, "ForAllOfAnyValues:StringEquals {'red'}", false}, // of nothing, nothing holds
		{[]string{"red", "blue"}, "StringEquals 'red'", false},        // one value is asked for
	} {
		if got := eval(t, a+" "+c.operation, "x/y", nil, map[string][]string{a: c.left}); got != c.want {
			t.Errorf("%v %s: %v", c.left, c.operation, got)
		}
	}
}

// TestConditionExamples has conditions of the forms that "Example Azure role assignment conditions" shows.
func TestConditionExamples(t *testing.T) {
	named := fmt.Sprintf("((!(ActionMatches{'%s'} AND NOT SubOperationMatches{'Blob.List'})) OR (%s StringEquals 'mine' AND %s StringLike 'readonly/*'))", readBlob, container, path)
	listed := fmt.Sprintf("(!(ActionMatches{'%s'} && SubOperationMatches{'Blob.List'})) || (%s StringStartsWith 'readonly/')", readBlob, prefix)
	old := fmt.Sprintf("!(ActionMatches{'%s'} AND @Request[subOperation] ForAnyOfAnyValues:StringEqualsIgnoreCase {'blob.list'}) OR %s StringEquals 'x'", readBlob, container)
	delegation := fmt.Sprintf("(!(ActionMatches{'%s'})) OR (%s ForAnyOfAnyValues:GuidEquals {%s, %s})", assign, roleID, Reader, StorageBlobDataReader)
	snapshot := "Exists @Request[s] OR NOT (Exists @Request[v]) AND @Resource[c] BoolEquals true"
	for _, c := range []struct {
		what, text, action string
		sub                []string
		values             map[string][]string
		want               bool
	}{
		{"another action", named, "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", nil, nil, true},
		{"the path", named, readBlob, nil, map[string][]string{container: {"mine"}, path: {"readonly/a"}}, true},
		{"another path", named, readBlob, nil, map[string][]string{container: {"mine"}, path: {"secret"}}, false},
		{"another container", named, readBlob, nil, map[string][]string{container: {"theirs"}, path: {"readonly/a"}}, false},
		{"a list, which it does not concern", named, readBlob, []string{"Blob.List"}, map[string][]string{container: {"theirs"}}, true},
		{"a list with the prefix", listed, readBlob, []string{"Blob.List"}, map[string][]string{prefix: {"readonly/x"}}, true},
		{"a list without a prefix", listed, readBlob, []string{"blob.list"}, nil, false},
		{"a read, which it does not concern", listed, readBlob, nil, nil, true},
		{"the first form, a list", old, readBlob, []string{"Blob.List"}, map[string][]string{container: {"y"}}, false},
		{"the first form, a read", old, readBlob, nil, nil, true},
		{"a role that may be assigned", delegation, assign, nil, map[string][]string{roleID: {strings.ToUpper(Reader)}}, true},
		{"a role that may not", delegation, assign, nil, map[string][]string{roleID: {Owner}}, false},
		{"no role named", delegation, assign, nil, nil, false},
		{"a pattern of actions", "!(ActionMatches{'Microsoft.Authorization/roleAssignments/*'})", assign, nil, nil, false},
		{"a pattern of others", "!(ActionMatches{'Microsoft.Authorization/roleDefinitions/*'})", assign, nil, nil, true},
		{"two actions", "ActionMatches{'a/read', 'b/read'}", "B/read", nil, nil, true},
		{"exists", strings.Replace(snapshot, " AND @Resource[c] BoolEquals true", "", 1), readBlob, nil, map[string][]string{"@Request[s]": {""}}, true},
		{"does not exist", strings.Replace(snapshot, " AND @Resource[c] BoolEquals true", "", 1), readBlob, nil, map[string][]string{"@Request[v]": {""}}, false},
		{"a tag", tag + " StringEquals 'Cascade'", readBlob, nil, map[string][]string{tag: {"Cascade"}}, true},
	} {
		if got := eval(t, c.text, c.action, c.sub, c.values); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if _, err := ParseCondition(snapshot); err == nil {
		t.Error("AND beside OR without parentheses is taken")
	}
}

func TestParseConditionRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                               "the end where an attribute or a value",
		"(@Resource[a] StringEquals 'b'": "')'",
		"@Resource[a] StringEquals":      "the end where",
		"@Resource[a] Equals 'b'":        "an operator",
		"@Resource[a] ForSome:StringEquals {'b'}": "ForAnyOfAnyValues:",
		"@Elsewhere[a] StringEquals 'b'":          "the source of an attribute is",
		"@Resource[] StringEquals 'b'":            "without a name",
		"@Resource StringEquals 'b'":              "@Source[name]",
		"@Resource[a] StringEquals 'b":            "closing quote",
		"@Resource[a] StringEquals {'b','c'}":     "ForAnyOfAnyValues:StringEquals",
		"@Resource[a] StringEquals {}":            "a value",
		"@Resource[a] NumericEquals 'five'":       "whole numbers",
		"@Resource[a] NumericEquals 5.5":          "whole numbers",
		"@Resource[a] BoolEquals maybe":           "true or false",
		"@Resource[a] GuidEquals 'x'":             "GUIDs",
		"@Resource[a] DateTimeEquals 'x'":         "times",
		"'a' StringEquals 'a'":                    "two constants",
		"ActionMatches{}":                         "a value",
		"ActionMatches 'a'":                       "'{'",
		"Exists 'a'":                              "an attribute",
		"@Resource[a] StringEquals 'b' ; x":       "unexpected ';'",
		"@Resource[a] StringEquals 'b' 'c'":       "AND, OR or the end",
		strings.Repeat("(", 100):                  "nested deeper",
		strings.Repeat("!", 100):                  "nested deeper",
		strings.Repeat("x", maxCondition+1):       "8192",
	} {
		if _, err := ParseCondition(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v, want one that says %q", text, err, says)
		}
	}
}

// TestBuiltinConditions: every condition of Azure's own roles is understood, if it is of version 2.0.
func TestBuiltinConditions(t *testing.T) {
	n := 0
	for _, d := range Builtins() {
		for _, p := range d.Permissions {
			if p.Condition == "" || p.ConditionVersion != "2.0" {
				continue
			}
			n++
			if _, err := ParseCondition(p.Condition); err != nil {
				t.Errorf("%s: %v", d.RoleName, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d conditions", n)
	}
}

// TestRoleConditions: a role whose permissions have a condition grants only what the condition lets it.
func TestRoleConditions(t *testing.T) {
	const vaultAccess = "8b54135c-b56d-4d72-a534-26097cfdc8d8" // Key Vault Data Access Administrator
	e := given(to("me", vaultAccess, sub))
	ask := func(action, source, role string) Decision {
		t.Helper()
		d, err := e.Check(t.Context(), Principal{ObjectID: "me"}, Request{Action: action, Scope: account,
			Attributes: have(map[string][]string{"@" + source + "[Microsoft.Authorization/roleAssignments:RoleDefinitionId]": {role}})})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := ask(assign, "Request", KeyVaultSecretsUser); !d.Allowed {
		t.Error(d.By)
	}
	d := ask(assign, "Request", Owner)
	if d.Allowed || !d.Why.ConditionFailed() || !strings.Contains(d.By, "it is '"+Owner+"'") {
		t.Errorf("%+v", d)
	}
	if d := ask("Microsoft.Authorization/roleAssignments/delete", "Request", KeyVaultSecretsUser); d.Allowed || !d.Why.Considered[0].Failed[0].Missing {
		t.Errorf("the attribute of the request passes for that of the resource: %+v", d)
	}
}

func TestAssignmentConditions(t *testing.T) {
	limited := to("me", StorageBlobDataReader, account)
	limited.Condition = fmt.Sprintf("!(ActionMatches{'%s'}) OR %s StringEquals 'mine'", readBlob, container)
	e := given(limited)
	ask := func(name string) Decision {
		d, err := e.Check(t.Context(), Principal{ObjectID: "me"}, Request{Action: readBlob, Data: true, Scope: blobs, Attributes: have(map[string][]string{container: {name}})})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := ask("mine"); !d.Allowed {
		t.Error(d.By)
	}
	d := ask("theirs")
	want := "role 'Storage Blob Data Reader' assigned at " + account + " has a condition that does not hold: " + container + " StringEquals 'mine' (it is 'theirs')"
	if d.Allowed || d.By != want {
		t.Errorf("%s, want %s", d.By, want)
	}
	failed := []ConditionTerm{{Text: container + " StringEquals 'mine'", Values: []string{"theirs"}}}
	if diff := cmp.Diff(failed, d.Why.Considered[0].Failed); diff != "" || d.Why.Considered[0].Outcome != ConditionFailed {
		t.Error(diff)
	}
	// An attribute that cannot be read is an error, unless another assignment grants.
	broken := Request{Action: readBlob, Data: true, Scope: blobs, Attributes: func(Attribute) ([]string, bool, error) { return nil, false, errors.New("disk") }}
	if _, err := e.Check(t.Context(), Principal{ObjectID: "me"}, broken); err == nil {
		t.Error("no error")
	}
	e.Source.(*Index).Put(to("me", StorageBlobDataReader, sub))
	if d, err := e.Check(t.Context(), Principal{ObjectID: "me"}, broken); err != nil || !d.Allowed {
		t.Errorf("%v %v", d, err)
	}
}

// FuzzCondition: no text makes the parser or the evaluation fail otherwise than by an error, and nothing that cannot be
// known grants.
func FuzzCondition(f *testing.F) {
	for _, d := range Builtins() {
		for _, p := range d.Permissions {
			f.Add(p.Condition, readBlob, "x")
		}
	}
	f.Add("!(ActionMatches{'a/*'} AND NOT SubOperationMatches{'Blob.List'}) || ("+tag+" ForAllOfAnyValues:StringLike {'a*b?c', 'it''s'})", "a/b", "ab")
	f.Fuzz(func(t *testing.T, text, action, value string) {
		c, err := ParseCondition(text)
		if err != nil {
			if c != nil || !utf8.ValidString(err.Error()) && utf8.ValidString(text) {
				t.Fatal(err)
			}
			return
		}
		if _, err := ParseCondition("(" + text + ")"); err != nil && len(text)+2 <= maxCondition && !strings.Contains(err.Error(), "nested deeper") {
			t.Fatalf("%q is refused in parentheses: %v", text, err)
		}
		for _, values := range []Attributes{nil, func(Attribute) ([]string, bool, error) { return []string{value}, true, nil }} {
			q := func() *asked { return &asked{action: lower(action), attributes: values, trace: true} }
			negated := notNode{c.root}
			if c.holds(q()) && negated.eval(q()) == yes {
				t.Fatalf("%q holds and does not", text)
			}
		}
		q := &asked{action: lower(action), attributes: func(Attribute) ([]string, bool, error) { return nil, false, errors.New("x") }}
		if c.holds(q) && q.err != nil {
			t.Fatalf("%q holds of what cannot be read", text)
		}
	})
}

// TestLike holds like to an oracle that tries every way.
func TestLike(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var naive func(s, p string) bool
	naive = func(s, p string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return naive(s, p[1:]) || s != "" && naive(s[1:], p)
		case s == "":
			return false
		case p[0] == '?':
			return naive(s[1:], p[1:])
		case p[0] == '\\' && len(p) > 1 && (p[1] == '*' || p[1] == '?'):
			return s[0] == p[1] && naive(s[1:], p[2:])
		}
		return s[0] == p[0] && naive(s[1:], p[1:])
	}
	random := func(letters string, n int) string {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	for range 200_000 {
		s, p := random(`ab*`, 8), random(`ab*?\`, 7)
		if got, want := like(s, p), naive(s, p); got != want {
			t.Fatalf("like(%q, %q) = %v", s, p, got)
		}
	}
	if like(strings.Repeat("a", 1024), strings.Repeat("*a", 500)+"b") { // takes no time to speak of
		t.Error("matches")
	}
}
