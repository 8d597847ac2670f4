package kql_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vauban.dev/kql"
)

// tables is a Source of fixed tables.
type tables struct {
	columns map[string][]kql.Column
	rows    map[string][][]any
	asked   []string // types that Rows was asked for
}

func (s *tables) Columns(table string) ([]kql.Column, bool) {
	c, ok := s.columns[strings.ToLower(table)]
	return c, ok
}

func (s *tables) Rows(_ context.Context, table string, types []string) ([][]any, error) {
	s.asked = append(s.asked, fmt.Sprint(types))
	return s.rows[strings.ToLower(table)], nil
}

func dynamic(t testing.TB, s string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return kql.Plain(v)
}

// region is a small Resource Graph.
func region(t testing.TB) *tables {
	str, dyn := kql.String, kql.Dynamic
	columns := []kql.Column{{Name: "id", Type: str}, {Name: "name", Type: str}, {Name: "type", Type: str}, {Name: "location", Type: str}, {Name: "resourceGroup", Type: str}, {Name: "tags", Type: dyn}, {Name: "properties", Type: dyn}}
	s := &tables{columns: map[string][]kql.Column{"resources": columns, "resourcecontainers": columns}, rows: map[string][][]any{}}
	add := func(table, name, typ, location, group, tags, properties string) {
		s.rows[table] = append(s.rows[table], []any{"/subscriptions/s/resourceGroups/" + group + "/providers/" + typ + "/" + name, name, typ, location, group, dynamic(t, tags), dynamic(t, properties)})
	}
	add("resources", "alpha", "microsoft.storage/storageaccounts", "westeurope", "one", `{"env":"prod","a b":"x"}`, `{"n":1,"on":true,"rules":[{"ip":"1.2.3.4"},{"ip":"5.6.7.8"}],"made":"2026-01-02T03:04:05Z","nested":{"deep":{"v":"Y"}}}`)
	add("resources", "beta", "microsoft.storage/storageaccounts", "northeurope", "one", `{"env":"test"}`, `{"n":2.5,"on":false,"rules":[],"made":"2026-02-02T00:00:00Z"}`)
	add("resources", "gamma", "microsoft.keyvault/vaults", "westeurope", "two", `null`, `{"n":3,"rules":[{"ip":"9.9.9.9"}]}`)
	add("resources", "delta", "microsoft.network/virtualnetworks", "westeurope", "two", `{}`, `{"addressSpace":{"addressPrefixes":["10.0.0.0/16","10.1.0.0/16"]}}`)
	add("resourcecontainers", "one", "microsoft.resources/subscriptions/resourcegroups", "westeurope", "one", `{"owner":"ann"}`, `{}`)
	add("resourcecontainers", "three", "microsoft.resources/subscriptions/resourcegroups", "westeurope", "three", `null`, `{}`)
	return s
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ask(t testing.TB, s kql.Source, query string) (*kql.Table, error) {
	t.Helper()
	q, err := kql.Parse(query, kql.ResourceGraph)
	if err != nil {
		return nil, err
	}
	return q.Run(t.Context(), kql.Options{Source: s, Now: now, Limits: kql.ResourceGraph})
}

// show is a table on a line: columns, then rows.
func show(t *kql.Table) string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	lines := []string{strings.Join(names, ",")}
	for _, row := range t.Rows {
		var cells []string
		for _, v := range row {
			b, _ := json.Marshal(kql.Cell(v))
			cells = append(cells, strings.Trim(string(b), `"`))
		}
		lines = append(lines, strings.Join(cells, ","))
	}
	return strings.Join(lines, " | ")
}

// TestQueries: what queries of users answer. Each operator and each form of the language is in one of them.
func TestQueries(t *testing.T) {
	for _, test := range []struct{ query, want string }{
		{"resources | count", "Count | 4"},
		{"Resources | where type =~ 'Microsoft.Storage/storageAccounts' | project name", "name | alpha | beta"},
		{"where name == 'alpha' | project name", "name | alpha"}, // resources is the default
		{"project name | limit 1", "name | alpha"},
		{"resources | where name startswith 'AL' or name endswith_cs 'MA' | project name", "name | alpha"},
		{"resources | where name !startswith 'a' and name !contains 'EL' | project name", "name | beta | gamma"},
		{"resources | where type has 'stor' | project name", "name"}, // a whole term only
		{"resources | where type has 'STORAGEACCOUNTS' | project name | take 1", "name | alpha"},
		{"resources | where name in ('alpha', 'delta') | project name", "name | alpha | delta"},
		{"resources | where name in~ ('ALPHA') | project name", "name | alpha"},
		{"resources | where name !in~ ('ALPHA','beta','gamma') | project name", "name | delta"},
		{"resources | where name matches regex '^[ab]' | project name", "name | alpha | beta"},
		{"resources | where name has_any ('beta', 'x') | project name", "name | beta"},
		{"resources | where properties.n between (2 .. 3) | project name", "name | beta | gamma"},
		{"resources | where properties.n !between (2 .. 3) | project name", "name | alpha | delta"},
		{"resources | where properties.on == true | project name", "name | alpha"},
		{"resources | where properties.on == 'true' | project name", "name | alpha"},
		{"resources | where properties.nested.deep.v =~ 'y' | project properties.nested.deep.v", "properties_nested_deep_v | Y"},
		{"resources | where tags.env == 'prod' and tags['a b'] == 'x' | project name, tags['a b']", "name,tags_a b | alpha,x"},
		{"resources | where isnotempty(tags.env) | project tostring(tags.env)", "tags_env | prod | test"},
		{"resources | where isnull(properties.on) | project name", "name | gamma | delta"},
		{"resources | project n = properties.rules[0].ip, last = properties.rules[-1]['ip'] | where isnotnull(n)", "n,last | 1.2.3.4,5.6.7.8 | 9.9.9.9,9.9.9.9"},
		{"resources | extend n = toint(properties.n) | summarize sum(n), max(n), min(n), avg(n), count() by location", "location,sum_n,max_n,min_n,avg_n,count_ | westeurope,4,3,1,2,3 | northeurope,2,2,2,2,1"},
		{"resources | summarize count() by type | order by count_ desc, type asc | project type", "type | microsoft.storage/storageaccounts | microsoft.keyvault/vaults | microsoft.network/virtualnetworks"},
		{"resources | summarize dcount(location), countif(location == 'westeurope'), make_list(name), makeset(location)", `dcount_location,countif_,list_name,set_location | 2,3,["alpha","beta","gamma","delta"],["westeurope","northeurope"]`},
		{"resources | summarize c = count(), arg_max(name, type) by resourceGroup", "resourceGroup,c,name,type | one,2,beta,microsoft.storage/storageaccounts | two,2,gamma,microsoft.keyvault/vaults"},
		{"resources | summarize arg_min(name, *) by g = resourceGroup | project g, name, location", "g,name,location | one,alpha,westeurope | two,delta,westeurope"},
		{"resources | summarize any(location), round(avg(todouble(properties.n)), 1)", "any_location,Column1 | westeurope,2.2"},
		{"resources | summarize by location", "location | westeurope | northeurope"},
		{"resources | where name == 'none' | summarize count()", "count_ | 0"},
		{"resources | where name == 'none' | summarize count() by name", "name,count_"},
		{"resources | distinct location | sort by location asc", "location | northeurope | westeurope"},
		{"resources | top 2 by name desc | project name", "name | gamma | delta"},
		{"resources | project name, location, type | project-away ty*, location", "name | alpha | beta | gamma | delta"},
		{"resources | take 1 | project-keep n*, l*", "name,location | alpha,westeurope"},
		{"resources | take 1 | project name, type, id | project-reorder type | project-rename kind = type, t2 = id | project kind, name", "kind,name | microsoft.storage/storageaccounts,alpha"},
		{"resources | mv-expand rule = properties.rules | where isnotnull(rule) | project name, ip = tostring(rule.ip)", "name,ip | alpha,1.2.3.4 | alpha,5.6.7.8 | gamma,9.9.9.9"},
		{"resources | where name == 'delta' | mvexpand properties.addressSpace.addressPrefixes to typeof(string) | project properties_addressSpace_addressPrefixes", "properties_addressSpace_addressPrefixes | 10.0.0.0/16 | 10.1.0.0/16"},
		{"resources | where name == 'alpha' | mv-expand with_itemindex=i bag = tags limit 1 | project i, bag", `i,bag | 0,{"a b":"x"}`},
		{"resources | parse id with * '/resourceGroups/' rg '/providers/' * | project name, rg | take 1", "name,rg | alpha,one"},
		{"resources | parse-where name with a 'l' b | project a, b", "a,b | a,pha | de,ta"},
		{"resources | extend v = 'x=12;' | parse v with 'x=' n:long ';' | take 1 | project n + 1", "Column1 | 13"},
		{"resources | join kind=leftouter (resourcecontainers | project owner = tostring(tags.owner), resourceGroup = name) on resourceGroup | project name, owner, resourceGroup1", "name,owner,resourceGroup1 | alpha,ann,one | beta,ann,one | gamma,, | delta,,"},
		{"resources | join kind=inner (resourcecontainers) on $left.resourceGroup == $right.name | project name, name1", "name,name1 | alpha,one | beta,one"},
		{"resources | join (resourcecontainers | project n = name, resourceGroup) on resourceGroup | project name, n", "name,n | alpha,one"},
		{"resources | join kind=leftanti resourcecontainers on resourceGroup | project name", "name | gamma | delta"},
		{"resources | join kind=rightanti resourcecontainers on resourceGroup | project name", "name | three"},
		{"resources | join kind=fullouter resourcecontainers on resourceGroup | count", "Count | 5"},
		{"resources | project name | union (resourcecontainers | project name)", "name | alpha | beta | gamma | delta | one | three"},
		{"union withsource=t resources, resourcecontainers | summarize count() by t", "t,count_ | resources,4 | resourcecontainers,2"},
		{"let gone = dynamic(['alpha','beta']); let rest = resources | where name !in (gone); rest | project name", "name | gamma | delta"},
		{"resources | where name in ((resourcecontainers | project name)) | count", "Count | 0"},
		{"resources | where resourceGroup in (resourcecontainers | project name) | count", "Count | 2"},
		{"resources | take 1 | project a = iff(location == 'x', 1, 2), b = case(name == 'alpha', 'A', name == 'beta', 'B', '?'), c = coalesce(tostring(tags.none), 'd')", "a,b,c | 2,A,d"},
		{"resources | take 1 | project strcat(name, '-', 1), toupper(name), strlen(name), substring(name, 1, 2), indexof(name, 'p'), split(id, '/')[4]", "Column1,Column2,Column3,Column4,Column5,id_4 | alpha-1,ALPHA,5,lp,2,one"},
		{"resources | take 1 | project replace_string(name, 'a', 'o'), replace('(l)', @'<\\1>', name), extract('l(p.)', 1, name), trim('a', name), extract_all('(a)', name)", `Column1,Column2,Column3,Column4,Column5 | olpho,a\u003cl\u003epha,ph,lph,["a","a"]`},
		{"resources | take 1 | project array_length(properties.rules), bag_keys(tags), pack_array(1, 'x'), bag_pack('k', name), parse_json('{\"a\":[1]}').a[0]", `Column1,Column2,Column3,Column4,Column5 | 2,["a b","env"],[1,"x"],{"k":"alpha"},1`},
		{"resources | where todatetime(properties.made) > ago(30d) | project name, age = now() - todatetime(properties.made)", "name,age | beta,27.12:00:00"},
		{"resources | where todatetime(properties.made) between (datetime(2026-01-01) .. 10d) | project name, startofmonth(todatetime(properties.made)), format_datetime(todatetime(properties.made), 'yyyy-MM-dd HH:mm')", "name,properties_made,Column1 | alpha,2026-01-01T00:00:00.0000000Z,2026-01-02 03:04"},
		{"resources | summarize count() by bin(todatetime(properties.made), 1d) | count", "Count | 3"},
		{"resources | take 1 | project 1 + 2 * 3, 7 / 2, 7 % 4, 1.5 + 1, -(3), 2h + 30m, ipv4_is_in_range('10.1.2.3', '10.0.0.0/8'), tobool('TRUE'), not(true)", "Column1,Column2,Column3,Column4,Column5,Column6,Column7,Column8,Column9 | 7,3,3,2.5,-3,02:30:00,true,true,false"},
		{"resources // the first\n| take 1 // one\n| project ['name'], properties.['on']", "name,properties_on | alpha,true"},
		{"resources | where properties.missing != 'x' | count", "Count | 4"},
		{"resources | where properties.missing != 1 | count", "Count | 4"},
		{"resources | where properties.missing == 1 or properties.missing > 0 | count", "Count | 0"},
		{"resources | order by tostring(tags.env) asc nulls last, name | project name | take 2", "name | gamma | delta"},
		{"resources | extend name = toupper(name), x = name | take 1 | project name, x", "name,x | ALPHA,alpha"},
		{"resources | extend on = column_ifexists('absent', 'no') | take 1 | project on", "on | no"},
		{"resources | summarize count=count() by location | order by count desc | project count", "count | 3 | 1"},
	} {
		got, err := ask(t, region(t), test.query)
		if err != nil {
			t.Errorf("%s\n  %v", test.query, err)
			continue
		}
		if s := show(got); s != test.want {
			t.Errorf("%s\n  got  %s\n  want %s", test.query, s, test.want)
		}
	}
}

// TestFaults: what is wrong is told with its kind, place and token.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		query, kind, token, text string
		line, column             int
	}{
		{"", kql.Syntax, "<EOF>", "", 1, 0},
		{"where where", kql.Syntax, "<EOF>", "", 1, 11}, // as recorded from Azure
		{"resources | where name = 'x'", kql.Syntax, "=", "", 1, 23},
		{"resources |\n where (name == 'x'", kql.Syntax, "<EOF>", "", 2, 19},
		{"resources | where name == 'x", kql.Syntax, "'x", "", 1, 26},
		{"resources | summarise count()", kql.Unsupported, "summarise", "", -1, -1},
		{"resources | evaluate bag_unpack(tags)", kql.Unsupported, "evaluate", "", -1, -1},
		{"resources | project geo_point(1)", kql.Unsupported, "geo_point", "", -1, -1},
		{"secrets | take 1", kql.UnknownName, "", "Table secrets is invalid", 1, 0},
		{"resources | join kind=sideways resources on id", kql.Unsupported, "sideways", "", -1, -1},
		{"resources | where nme == 'x'", kql.Semantic, "", "Failed to resolve scalar expression named 'nme'", 1, 18},
		{"resources | where name == 1", kql.Semantic, "", "Cannot compare values of types string and long", 1, 23},
		{"resources | where name", kql.Semantic, "", "must be of type bool", 1, 18},
		{"resources | summarize count() by tags", kql.Semantic, "", "group key 'tags' is of a 'dynamic' type", 1, 33},
		{"resources | order by properties.n", kql.Semantic, "", "can't be of dynamic type", 1, 31},
		{"resources | join resources on tags", kql.Semantic, "", "join key 'tags' is of a 'dynamic' type", 1, 17},
		{"resources | project name.x", kql.Semantic, "", "must be of type 'dynamic'", 1, 24},
		{"resources | where name matches regex '('", kql.Semantic, "", "Failed to parse regular expression", 1, 23},
		{"resources | mv-expand name", kql.Semantic, "", "expected to have dynamic type", 1, 22},
		{"resources | project count()", kql.Semantic, "", "cannot stand here", 1, 20},
		{"resources | take -1", kql.Semantic, "", "not negative", 1, 17},
		{"resources | mv-expand tags | mv-expand tags | mv-expand tags | mv-expand tags", kql.TooMuch, "", "more than 3 mv-expand", 1, 73},
		{strings.Repeat("(", 200), kql.TooMuch, "", "nested deeper", 0, 0},
		{"resources | project " + strings.Repeat("-", 200) + "1", kql.TooMuch, "", "nested deeper", 0, 0},
		{"let a = b; let b = a; resources | where name == a", kql.Semantic, "", "defined by itself", 1, 19},
		{"let a = a | take 1; a", kql.Semantic, "", "defined by itself", 1, 8},
		{strings.Repeat(" ", 70_000), kql.TooMuch, "", "more than 65536", 0, 0},
	} {
		_, err := ask(t, region(t), test.query)
		var f *kql.Fault
		if !errors.As(err, &f) {
			t.Errorf("%.60q: %v, no fault", test.query, err)
			continue
		}
		if f.Kind != test.kind || f.Token != test.token || !strings.Contains(f.Message, test.text) || f.Line != test.line || f.Column != test.column {
			t.Errorf("%.60q: %+v", test.query, *f)
		}
	}
}

// TestTypesAreAskedFor: a Source is told which types a query can use, and only then.
func TestTypesAreAskedFor(t *testing.T) {
	for query, want := range map[string]string{
		"resources | where type == 'A/b'":                             "[a/b]",
		"resources | where type =~ 'A/b' and name == 'x'":             "[a/b]",
		"resources | where name == 'x' | where type in~ ('A/b', 'c')": "[a/b c]",
		"resources | where type == 'A/b' or type == 'c'":              "[a/b c]",
		"resources | where type == 'A/b' or name == 'c'":              "[]",
		"resources | where type != 'A/b'":                             "[]",
		"resources | extend type = name | where type == 'A/b'":        "[]",
		"resources | where not(type == 'A/b')":                        "[]",
	} {
		s := region(t)
		if _, err := ask(t, s, query); err != nil || !slices.Equal(s.asked, []string{want}) {
			t.Errorf("%s: %v, %v; want %s", query, s.asked, err, want)
		}
	}
}

// TestExpensiveQueriesEnd: whatever a query multiplies, it ends at a limit.
func TestExpensiveQueriesEnd(t *testing.T) {
	s := region(t)
	for len(s.rows["resources"]) < 2000 {
		s.rows["resources"] = append(s.rows["resources"], s.rows["resources"]...)
	}
	limits := kql.ResourceGraph
	limits.Steps, limits.Bytes, limits.Rows = 2_000_000, 8<<20, 100_000
	for name, query := range map[string]string{
		"joins":   "resources | extend k = 1 | join kind=inner (resources | extend k = 1) on k | count",
		"texts":   "resources | extend a = strrep(id, 1000) | extend b = strcat(a, a, a, a) | extend c = strcat(b, b, b, b) | count",
		"lists":   "resources | extend l = split(strrep('a,', 1024), ',') | mv-expand l limit 400 | extend m = split(strrep('a,', 1024), ',') | mv-expand m limit 400 | count",
		"replace": "resources | extend s = replace_string(strrep('a', 1024), 'a', strrep('b', 1024)) | extend t = replace_string(s, 'b', s) | count",
	} {
		q, err := kql.Parse(query, limits)
		if err == nil {
			_, err = q.Run(t.Context(), kql.Options{Source: s, Now: now, Limits: limits})
		}
		var f *kql.Fault
		if !errors.As(err, &f) || f.Kind != kql.TooMuch {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q, err := kql.Parse("resources | extend k = 1 | join kind=inner (resources | extend k = 1) on k | count", kql.ResourceGraph)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Run(ctx, kql.Options{Source: s, Now: now, Limits: kql.ResourceGraph}); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"resources | where type =~ 'a' and tags['x'] in~ ('a','b') | project id, n = properties.x.y[0]", "where where", "let a = 1; resources | take a",
		"resources | summarize c = count(), make_list(name) by tostring(tags.a), bin(now(), 1d) | order by c desc nulls last",
		"resources | join kind=leftouter (resourcecontainers | project name) on $left.id == $right.name | mv-expand a = properties.x to typeof(string) limit 4",
		"union withsource=x resources, (resourcecontainers | where name matches regex @'^a\\d') | parse id with * '/a/' x:long '/' *",
		"resources | extend d = dynamic({'a': [1, 2.5, null]}), e = datetime(2026-01-01), t = 1.5h | where d.a[0] between (1 .. 2)",
	} {
		f.Add(s)
	}
	limits := kql.ResourceGraph
	limits.Steps, limits.Bytes, limits.Rows = 200_000, 4<<20, 10_000
	f.Fuzz(func(t *testing.T, query string) {
		q, err := kql.Parse(query, limits)
		if err == nil {
			var table *kql.Table
			if table, err = q.Run(t.Context(), kql.Options{Source: region(t), Now: now, Limits: limits}); err == nil {
				for _, row := range table.Rows {
					if len(row) != len(table.Columns) {
						t.Fatalf("%d cells, %d columns", len(row), len(table.Columns))
					}
				}
				return
			}
		}
		var fault *kql.Fault
		if !errors.As(err, &fault) {
			t.Fatal(err)
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	s := region(b)
	for len(s.rows["resources"]) < 10_000 {
		s.rows["resources"] = append(s.rows["resources"], s.rows["resources"]...)
	}
	q, err := kql.Parse("resources | where type =~ 'Microsoft.Storage/storageAccounts' and tags.env == 'prod' | extend n = toint(properties.n) | summarize count(), sum(n) by location | order by count_ desc", kql.ResourceGraph)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := q.Run(b.Context(), kql.Options{Source: s, Now: now, Limits: kql.ResourceGraph}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNamesAreWorkedOutOnce: what let names may be named often by what let names next.
func TestNamesAreWorkedOutOnce(t *testing.T) {
	query := "let v0 = 1; let t0 = resources | where name != ''; "
	for i := range 60 {
		query += fmt.Sprintf("let v%d = iff(v%d == 1, v%d, v%d); let t%d = resources | where name in (t%d) and id in (t%d) or name in (t%d | project name); ", i+1, i, i, i, i+1, i, i, i)
	}
	s := region(t)
	got, err := ask(t, s, query+"t60 | project n = v60 | take 1")
	if err != nil || len(s.asked) > 61 {
		t.Errorf("%v, %v, asked %d times", got, err, len(s.asked))
	}
}
