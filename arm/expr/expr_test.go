package expr

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func eval1(t testing.TB, text string) (any, error) {
	t.Helper()
	now := func() time.Time { return time.Date(2019, 3, 5, 17, 53, 18, 0, time.UTC) }
	env := &Env{Functions: Table{}}
	env.Functions.Add(UTCNow(now), Func{Name: "value", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
		s, err := c.Text(0)
		if err != nil {
			return nil, err
		}
		return Decode([]byte(s))
	}})
	return env.Text(context.Background(), text)
}

// The expressions and results are those of Microsoft's reference of template functions, of the evaluation tests of
// Bicep, and of the azapi provider.
var results = []struct{ text, want string }{
	{"[if(equals('a','a'), 'yes', fail('no'))]", `"yes"`},
	{"[[literal]", `"[literal]"`},
	{"[literal", `"[literal"`},
	{"[test] value", `"[test] value"`},
	{"['it''s']", `"it's"`},
	{"[ADD(5, 3)]", "8"},
	{"[sub(7,3)]", "4"}, {"[mul(5,3)]", "15"}, {"[div(8,3)]", "2"}, {"[mod(7,3)]", "1"}, {"[div(-13, 1)]", "-13"},
	{"[min(0,3,2,5,4)]", "0"}, {"[max(createArray(0,3,2,5,4))]", "5"},
	{"[float('3.0')]", "3.0"}, {"[int('4')]", "4"},
	{"[range(5,3)]", "[5,6,7]"},
	{"[base64('one, two, three')]", `"b25lLCB0d28sIHRocmVl"`},
	{"[base64ToString('b25lLCB0d28sIHRocmVl')]", `"one, two, three"`},
	{"[base64ToJson(base64('{\"one\": \"a\"}'))]", `{"one":"a"}`},
	{"[dataUri('Hello')]", `"data:text/plain;charset=utf8;base64,SGVsbG8="`},
	{"[dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')]", `"Hello, World!"`},
	{"[concat(createArray('1-1'), createArray('2-1'))]", `["1-1","2-1"]`},
	{"[concat('prefix', '-', 5, true())]", `"prefix-5True"`},
	{"[contains('OneTwoThree','e')]", "true"}, {"[contains('OneTwoThree','z')]", "false"},
	{"[contains(value('{\"One\":1}'),'one')]", "true"},
	{"[contains(value('[\"a\"]'),'A')]", "false"},
	{"[indexOf('FOOBAR','bar')]", "3"}, {"[lastIndexOf('test','t')]", "3"}, {"[indexOf('abcdef','CD')]", "2"}, {"[indexOf('abcdef','z')]", "-1"},
	{"[indexOf(createArray('FOO','BAR'),'BAR')]", "1"}, {"[indexOf(createArray('FOO'),'foo')]", "-1"},
	{"[startsWith('abcdef','A')]", "true"}, {"[endsWith('abcdef','EF')]", "true"},
	{"[empty('')]", "true"}, {"[empty(null())]", "true"}, {"[length('One Two Three')]", "13"}, {"[length('a😀')]", "3"},
	{"[first('One')]", `"O"`}, {"[last(createArray('one','two'))]", `"two"`},
	{"[skip('one two three', 4)]", `"two three"`}, {"[take(createArray('one','two','three'), 2)]", `["one","two"]`}, {"[take('one',99)]", `"one"`}, {"[skip('one',-1)]", `"one"`},
	{"[padLeft('123',10,'0')]", `"0000000123"`}, {"[padLeft(5,3)]", `"  5"`},
	{"[replace('123-123-1234','-','')]", `"1231231234"`},
	{"[split('one;two,three', createArray(',',';'))]", `["one","two","three"]`}, {"[split('one,two,three', ',')]", `["one","two","three"]`},
	{"[join(createArray('one','two',3), ' ')]", `"one two 3"`},
	{"[string(createObject('valueA',10,'valueB','Example Text'))]", `"{\"valueA\":10,\"valueB\":\"Example Text\"}"`},
	{"[substring('one two three', 4, 3)]", `"two"`}, {"[substring('one two three', 4)]", `"two three"`},
	{"[toUpper('One')]", `"ONE"`}, {"[trim('    one two three   ')]", `"one two three"`},
	{"[guid('a','b','c')]", `"a98fa280-e03f-5afa-8d8e-92d0a9c201e8"`},
	{"[uri('http://contoso.org/firstpath', 'myscript.sh')]", `"http://contoso.org/myscript.sh"`},
	{"[uri('http://contoso.org/firstpath/azuredeploy.json/', 'myscript.sh')]", `"http://contoso.org/firstpath/azuredeploy.json/myscript.sh"`},
	{"[uri('http://contoso.org', 'myscript.sh')]", `"http://contoso.org/myscript.sh"`},
	{"[uriComponent('http://contoso.com/resources/nested/azuredeploy.json')]", `"http%3A%2F%2Fcontoso.com%2Fresources%2Fnested%2Fazuredeploy.json"`},
	{"[uriComponentToString('http%3A%2F%2Fcontoso.com')]", `"http://contoso.com"`},
	{"[intersection(value('{\"one\":\"a\",\"two\":\"b\",\"three\":\"c\"}'), value('{\"one\":\"a\",\"two\":\"z\",\"three\":\"c\"}'))]", `{"one":"a","three":"c"}`},
	{"[intersection(createArray('one','two','three'), createArray('two','three'))]", `["two","three"]`},
	{"[union(value('{\"property\":{\"one\":\"a\",\"two\":\"b\",\"three\":\"c1\"},\"nestedArray\":[1,2]}'), value('{\"property\":{\"three\":\"c2\",\"four\":\"d\",\"five\":\"e\"},\"nestedArray\":[3,4]}'))]",
		`{"property":{"one":"a","two":"b","three":"c2","four":"d","five":"e"},"nestedArray":[3,4]}`},
	{"[union(createArray('one','two','three'), createArray('three','four'))]", `["one","two","three","four"]`},
	{"[items(value('{\"ghiKey\":1,\"abcKey\":2,\"GHIKey\":3,\"ABCKey\":4,\"123Key\":5}'))[2].key]", `"ABCKey"`},
	{"[objectKeys(value('{\"b\":1,\"a\":2}'))]", `["a","b"]`},
	{"[shallowMerge(value('[{\"one\":\"a\"},{\"two\":\"b\"},{\"two\":\"c\"}]'))]", `{"one":"a","two":"c"}`},
	{"[flatten(value('[[\"one\",\"two\"],[\"three\"],[\"four\",\"five\"]]'))]", `["one","two","three","four","five"]`},
	{"[coalesce(null(), 'a', fail('b'))]", `"a"`},
	{"[tryGet(value('{\"a\":{\"b\":[1,2]}}'), 'a', 'b', 1)]", "2"}, {"[tryGet(value('{\"a\":{}}'), 'a', 'x', 1)]", "null"},
	{"[tryGet(value('{\"a\":[1,2,3]}'), 'a', createObject('value',1,'fromEnd',true()))]", "3"},
	{"[indexFromEnd(createArray('a','b','c'), 2)]", `"b"`}, {"[tryIndexFromEnd(createArray('a'), 2)]", "null"},
	{"[value('{\"Foo\":[{\"bar\":1}]}').foo[0]['BAR']]", "1"},
	{"[value('{\"foo\":1}').?fizz.?buzz]", "null"}, {"[value('[1]')[?4]]", "null"},
	{"[map(createArray('Evie','Casper'), lambda('dog','i', format('{0} {1}!', lambdaVariables('i'), lambdaVariables('dog'))))]", `["0 Evie!","1 Casper!"]`},
	{"[filter(range(0,4), lambda('i', equals(0, mod(lambdaVariables('i'), 2))))]", "[0,2]"},
	{"[reduce(createArray('abc','def'), '', lambda('cur','next', concat(lambdaVariables('cur'), lambdaVariables('next'))))]", `"abcdef"`},
	{"[sort(createArray(8,3,10,-13,5), lambda('x','y', less(lambdaVariables('x'), lambdaVariables('y'))))]", "[-13,3,5,8,10]"},
	{"[toObject(createArray(123,456), lambda('i', string(div(lambdaVariables('i'), 100))))]", `{"1":123,"4":456}`},
	{"[groupBy(createArray('foo','bar','baz'), lambda('x', substring(lambdaVariables('x'), 0, 1)))]", `{"f":["foo"],"b":["bar","baz"]}`},
	{"[mapValues(createObject('foo','foo'), lambda('val', toUpper(lambdaVariables('val'))))]", `{"foo":"FOO"}`},
	{"[map(filter(range(0,4), lambda('i', contains(filter(range(0,4), lambda('j', equals(0, mod(lambdaVariables('j'), 2)))), lambdaVariables('i')))), lambda('x', lambdaVariables('x')))]", "[0,2]"},
	{"[format('{0}, {1}. Formatted number: {2:N0}', 'Hello', 'User', 8175133)]", `"Hello, User. Formatted number: 8,175,133"`},
	{"[format('>{0}<>{1}<>{2}<>{3}<', false(), 12948, value('{\"a\":\"b\",\"!c\":2}'), value('[true,2893,\"abc\"]'))]", `">False<>12948<>{'a':'b','!c':2}<>[true,2893,'abc']<"`},
	{"[format('{0:D3}|{1:X}|{2,5}|{3,-5}|{{}}|{4:000}|{5:F1}|{6:P0}|{7:#,##0.00}', 7, 255, 1, 2, 5, 3, 1, 1234567)]", `"007|FF|    1|2    |{}|005|3.0|100 %|1,234,567.00"`},
	{"[utcNow()]", `"20190305T175318Z"`}, {"[utcNow('d')]", `"03/05/2019"`}, {"[utcNow('M d')]", `"3 5"`}, {"[utcNow('u')]", `"2019-03-05 17:53:18Z"`}, {"[utcNow('yyyy-MM-ddTHH:mm:ssZ')]", `"2019-03-05T17:53:18Z"`},
	{"[dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y')]", `"2023-04-07 14:53:14Z"`}, {"[dateTimeAdd('2020-04-07 14:53:14Z', '-P9D')]", `"2020-03-29 14:53:14Z"`}, {"[dateTimeAdd('20200407T145314Z', 'PT1H', 's')]", `"2020-04-07T15:53:14"`},
	{"[dateTimeToEpoch('2023-05-02T15:16:13Z')]", "1683040573"}, {"[dateTimeFromEpoch(1683040573)]", `"2023-05-02T15:16:13Z"`},
	{"[parseCidr('10.144.0.0/20')]", `{"network":"10.144.0.0","netmask":"255.255.240.0","broadcast":"10.144.15.255","firstUsable":"10.144.0.1","lastUsable":"10.144.15.254","cidr":20}`},
	{"[parseCidr('fdad:3236:5555::/48')]", `{"network":"fdad:3236:5555::","netmask":"ffff:ffff:ffff::","firstUsable":"fdad:3236:5555::","lastUsable":"fdad:3236:5555:ffff:ffff:ffff:ffff:ffff","cidr":48}`},
	{"[cidrSubnet('10.144.0.0/20', 24, 4)]", `"10.144.4.0/24"`}, {"[cidrSubnet('fdad:3236:5555::/48', 52, 4)]", `"fdad:3236:5555:4000::/52"`},
	{"[cidrHost('10.144.3.0/24', 4)]", `"10.144.3.5"`}, {"[cidrHost('fdad:3236:5555:3000::/52', 0)]", `"fdad:3236:5555:3000::1"`},
	{"[uniqueString('/subscriptions/00000000-0000-0000-0000-000000000000','resource-id')]", `"cwvxuqg24sifi"`},
	{"[uniqueString('fu')]", `"6rkxbspxjmsho"`}, {"[uniqueString('fubar')]", `"cj2xpqsiwjfne"`}, {"[uniqueString('fu','bar')]", `"q5wxoscxs5j6k"`},
	{"[uniqueString('/subscriptions/12345678-1234-1234-1234-123456789012/resourceGroups/my-rg','Microsoft.Storage/storageAccounts')]", `"z22rah77jfqry"`},
	{"[bool('TRUE')]", "true"}, {"[bool(0)]", "false"}, {"[not(and(true(), or(false(), true())))]", "false"}, {"[or(true(), fail('x'))]", "true"},
	{"[less('abc','b')]", "true"}, {"[greaterOrEquals(5,5)]", "true"}, {"[equals(createObject('a',1), createObject('A',1))]", "true"},
	{"[json('null')]", "null"}, {"[array('a')]", `["a"]`}, {"[distinct(createArray(1,1,2))]", "[1,2]"},
}

func TestResults(t *testing.T) {
	for _, c := range results {
		v, err := eval1(t, c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := Encode(v, 1<<20)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, want %s (%v)", c.text, got, c.want, err)
		}
	}
}

func TestErrorsAreAzures(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[nosuch()]", "The template function 'nosuch' is not valid. Please see https://aka.ms/arm-functions for usage details."},
		{"[concat('a'", ""}, // no expression: it does not end with a bracket
		{"[concat('a']", "Unable to parse language expression 'concat('a'': expected token 'RightParenthesis' and actual 'EndOfData'."},
		{"[int('asdf')]", "The template language function 'int' cannot convert provided value 'asdf' to integer value. Please see https://aka.ms/arm-function-int for usage details."},
		{"[bool('sdf')]", "The template language function 'bool' was invoked with a parameter that is not valid. The value cannot be converted to the target type."},
		{"[uri('github.com', 'Azure/bicep')]", "The template language function 'uri' expects its first argument to be a uri string. The provided value is 'github.com'. Please see https://aka.ms/arm-function-datauri for usage details."},
		{"[dataUriToString('Hi 0!')]", "The template language function 'dataUriToString' expects its parameter to be formatted as a valid data URI. The provided value 'Hi 0!' was not formatted correctly. Please see https://aka.ms/arm-functions#dataUriToString for usage details."},
		{"[base64ToString(concat(base64('abc'), '@'))]", "The template language function 'base64ToString' was invoked with a parameter that is not valid. The value cannot be decoded from base64 representation."},
		{"[dateTimeAdd(dateTimeFromEpoch(1680224438), 'PTASDIONS1D')]", "The template function 'dateTimeAdd' has an invalid parameter. The second parameter 'PTASDIONS1D' is not a valid ISO8601 Duration string. Please see https://aka.ms/arm-syntax-functions ."},
		{"[format('{1}','a')]", "Unable to evaluate language function 'format': the format is invalid: 'Index (zero based) must be greater than or equal to zero and less than the size of the argument list.'. Please see https://aka.ms/arm-function-format for usage details."},
		{"[mul(9223372036854775807, 9223372036854775807)]", "The template language function 'mul' overflowed with the operants '9223372036854775807' and '9223372036854775807'. Please see https://aka.ms/arm-functions for usage details."},
		{"[createObject('a',1,'b',2).c]", "The language expression property 'c' doesn't exist, available properties are 'a, b'."},
		{"[createArray(1)[5]]", "The language expression property array index '5' is out of bounds."},
		{"[substring('1234567890', 0, 11)]", "The index parameter: '0', the length parameter: '11', the length of the string parameter: '10'."},
		{"[base64(createArray())]", "The template language function 'base64' expects its parameter to be of type 'String'. The provided value is of type 'Array'."},
		{"[" + strings.Repeat("concat(", 200) + "'a'" + strings.Repeat(")", 200) + "]", "nested deeper"},
		{"['" + strings.Repeat("a", MaxExpression) + "']", "The language expression length limit exceeded. Limit: '24576' and actual: '24580'."},
		{strings.Repeat("a", MaxLiteral+1), "The language expression literal limit exceeded. Limit: '131072' and actual: '131073'."},
		{"[lambda('x', 1)]", "A lambda expression can only"},
		{"[div(1,0)]", "the divisor is zero"}, {"[range(0, 10001)]", "between '0' and '10000'"}, {"[fail('because')]", "because"},
		{"[reduce(range(0,40), 'aaaaaaaaaaaaaaaa', lambda('a','b', concat(lambdaVariables('a'), lambdaVariables('a'))))]", "limit of work"},
		{"[join(createArray(padLeft('',65536,'a'),padLeft('',65536,'a')), padLeft('', 65536, 'b'))]", ""},
		{"[map(createArray(join(range(0,10000), padLeft('',200))), lambda('s', map(range(0,10000), lambda('a', contains(lambdaVariables('s'), 'x')))))]", "limit of work"},
		{"[map(createArray(range(0,10000)), lambda('s', map(range(0,10000), lambda('a', max(lambdaVariables('s'))))))]", "limit of work"},
		{"[length(map(range(0,10000), lambda('a', map(range(0,10000), lambda('b', 1)))))]", "limit of work"},
	} {
		v, err := eval1(t, c.text)
		if c.want == "" {
			if err != nil {
				t.Errorf("%.80s: %v", c.text, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: got %v, %v; want %q", c.text, v, err, c.want)
		}
	}
}

// A value that holds itself many times over is small in memory and endless when written.
func TestSharedValuesAreBounded(t *testing.T) {
	text := "[string(reduce(range(0,60), 'a', lambda('a','b', createArray(lambdaVariables('a'), lambdaVariables('a')))))]"
	if _, err := eval1(t, text); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("got %v", err)
	}
	text = strings.Replace(strings.Replace(text, "string(", "equals(1, length(", 1), ")))))]", "))))))]", 1)
	if _, err := eval1(t, text); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestCanceledContextStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (&Env{}).Text(ctx, "[range(0, 3)]"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTreeEvaluatesNamesToo(t *testing.T) {
	v, err := Decode([]byte(`{"[concat('a','b')]": ["[add(1,2)]", 5, null, {"x": "[[y]"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&Env{}).Tree(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := Encode(out, 1000); string(got) != `{"ab":[3,5,null,{"x":"[y]"}]}` {
		t.Errorf("got %s", got)
	}
}

func TestCallsFindsReferences(t *testing.T) {
	x, err := Parse("[concat(reference(resourceId('a/b', 'c')).x, listKeys('d', '1').keys[0])]")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range x.Calls() {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "concat reference resourceId listKeys" {
		t.Errorf("got %s", got)
	}
}

func FuzzText(f *testing.F) {
	for _, c := range results {
		f.Add(c.text)
	}
	f.Add("[a.b.c(1)[?1].?x]")
	f.Add("[format('{0:', 1)]")
	f.Fuzz(func(t *testing.T, text string) {
		env := &Env{Functions: Table{}, Budget: NewBudget(20_000)}
		env.Functions.Add(UTCNow(func() time.Time { return time.Unix(0, 0) }))
		v, err := env.Text(context.Background(), text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%q: an error of another kind: %v", text, err)
			}
			return
		}
		b, err := Encode(v, 16<<20)
		if err != nil {
			return
		}
		if _, err := Decode(b); err != nil {
			t.Fatalf("%q made %q, which is not JSON: %v", text, b, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := Parse("[resourceId('Microsoft.Network/virtualNetworks/subnets', parameters('vnetName'), variables('subnets')[copyIndex()].name)]"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	env := &Env{}
	for b.Loop() {
		if _, err := env.Text(context.Background(), "[concat('storage', uniqueString('/subscriptions/x/resourceGroups/y'), padLeft(add(1, 2), 3, '0'))]"); err != nil {
			b.Fatal(err)
		}
	}
}
