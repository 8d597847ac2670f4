package deployments

import (
	"fmt"
	"strings"
	"testing"
)

// many is n members or items, each written by f and separated by commas.
func many(n int, f func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f(i))
	}
	return b.String()
}

// TestBadInput sends what a careless or a hostile client sends: each is refused with Azure's status and code and by a
// message that names what is wrong, and leaves no deployment behind.
func TestBadInput(t *testing.T) {
	g := newRegion(t)
	toys := func(n int) string {
		return one("[concat('t',copyIndex())]", fmt.Sprintf(`,"copy":{"name":"l","count":%d}`, n))
	}
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		says   string
	}{
		"NUL between members":        {body("\"resources\":[],\x00\"outputs\":{}", ""), 400, "InvalidRequestContent", "line 1"},
		"NUL in a name":              {body(`"resources":[`+one(`a\u0000b`, "")+`]`, ""), 400, "InvalidTemplateDeployment", `"code":"InvalidResourceName"`},
		"NUL made by a function":     {body(`"resources":[`+one(`[base64ToString('YQBi')]`, "")+`]`, ""), 400, "InvalidTemplateDeployment", `"code":"InvalidResourceName"`},
		"not UTF-8":                  {body("\"resources\":[],\"outputs\":{\"o\":{\"type\":\"string\",\"value\":\"\xff\"}}", ""), 400, "InvalidRequestContent", "UTF-8"},
		"a member twice":             {body(`"resources":[],"variables":{"a":1,"a":2}`, ""), 400, "InvalidRequestContent", "'a'"},
		"a section twice":            {body(`"resources":[],"resources":[]`, ""), 400, "InvalidRequestContent", "'resources'"},
		"deep arrays":                {body(`"resources":[],"variables":{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`, ""), 400, "InvalidRequestContent", "64 levels"},
		"endless arrays":             {body(`"resources":[],"variables":{"a":`+strings.Repeat("[", 100000), ""), 400, "InvalidRequestContent", "64 levels"},
		"deep value of json()":       {body(`"resources":[],"outputs":{"o":{"type":"array","value":"[json('`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`')]"}}`, ""), 400, "InvalidTemplate", "json"},
		"deep expression":            {body(`"resources":[],"variables":{"a":"[`+strings.Repeat("concat(", 1000)+"1"+strings.Repeat(")", 1000)+`]"}`, ""), 400, "InvalidTemplate", "nested deeper"},
		"long expression":            {body(`"resources":[],"variables":{"a":"[concat('`+strings.Repeat("x", 24576)+`')]"}`, ""), 400, "InvalidTemplate", "Limit: '24576'"},
		"copy bomb":                  {body(`"resources":[],"variables":{"copy":[{"name":"a","count":800,"input":{"copy":[{"name":"b","count":800,"input":{"copy":[{"name":"c","count":800,"input":"[copyIndex('c')]"}]}}]}}]}`, ""), 400, "InvalidTemplate", "copy definition 'c' makes more than '4000000' values"},
		"copy bomb of constants":     {body(`"resources":[],"variables":{"copy":[{"name":"a","count":800,"input":{"copy":[{"name":"b","count":800,"input":{"copy":[{"name":"c","count":800,"input":1}]}}]}}]}`, ""), 400, "InvalidTemplate", "copy definition 'c' makes more than '4000000' values"},
		"copy of a large value":      {body(`"resources":[],"variables":{"copy":[{"name":"a","count":800,"input":[`+many(6000, func(int) string { return "1" })+`]}]}`, ""), 400, "InvalidTemplate", "copy definition 'a' makes more than '4000000' values"},
		"copies of a large resource": {body(`"resources":[`+one("[concat('t',copyIndex())]", `,"copy":{"name":"l","count":800},"properties":{"notes":[`+many(6000, func(int) string { return "1" })+`]}`)+`]`, ""), 400, "InvalidTemplate", "copy definition 'l' makes more than '4000000' values"},
		"copy of -1":                 {body(`"resources":[`+toys(-1)+`]`, ""), 400, "InvalidTemplate", "'l'"},
		"text bomb": {body(`"variables":{"v0":"`+strings.Repeat("x", 1000)+`",`+many(40, func(i int) string {
			return fmt.Sprintf(`"v%d":"[concat(variables('v%d'),variables('v%d'))]"`, i+1, i, i)
		})+`},"resources":[]`, ""), 400, "InvalidTemplate", "has more than '4194304' characters"},
		"alias bomb":       {body(`"variables":{"v0":["x"],`+many(40, func(i int) string { return fmt.Sprintf(`"v%d":["[variables('v%d')]","[variables('v%d')]"]`, i+1, i, i) })+`},"resources":[],"outputs":{"o":{"type":"string","value":"[string(variables('v40'))]"}}`, ""), 400, "InvalidTemplate", "too long"},
		"4 MB":             {body(`"resources":[],"metadata":{"a":"`+strings.Repeat("x", 4<<20)+`"}`, ""), 413, "RequestContentTooLarge", "4 MB"},
		"257 parameters":   {body(`"resources":[],"parameters":{`+many(257, func(i int) string { return fmt.Sprintf(`"p%d":{"type":"int","defaultValue":1}`, i) })+`}`, ""), 400, "InvalidTemplate", "parameters limit exceeded. Limit: '256' and actual: '257'"},
		"513 variables":    {body(`"resources":[],"variables":{`+many(513, func(i int) string { return fmt.Sprintf(`"v%d":1`, i) })+`}`, ""), 400, "InvalidTemplate", "variables limit exceeded. Limit: '512' and actual: '513'"},
		"65 outputs":       {body(`"resources":[],"outputs":{`+many(65, func(i int) string { return fmt.Sprintf(`"o%d":{"type":"int","value":1}`, i) })+`}`, ""), 400, "InvalidTemplate", "outputs limit exceeded. Limit: '64' and actual: '65'"},
		"801 resources":    {body(`"resources":[`+many(801, func(i int) string { return one(fmt.Sprint("t", i), "") })+`]`, ""), 400, "InvalidTemplate", "resources limit exceeded. Limit: '800' and actual: '801'"},
		"801 copies":       {body(`"resources":[`+toys(801)+`]`, ""), 400, "InvalidTemplate", "cannot exceed '800'"},
		"circular nesting": {body(`"variables":{"a":"[variables('b')]","b":"[variables('a')]"},"resources":[]`, ""), 400, "InvalidTemplate", "circular"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"POST /validate", "PUT "} {
				method, action, _ := strings.Cut(verb, " ")
				a := g.Request(method, group+"/providers/Microsoft.Resources/deployments/d"+action+api, c.body)
				if a.Status != c.status || a.Code() != c.code || !strings.Contains(a.Text, c.says) {
					t.Errorf("%s: %d %.600s, want %d %s with %q", verb, a.Status, a.Text, c.status, c.code, c.says)
				}
			}
		})
	}
	if a := g.Request("GET", group+"/providers/Microsoft.Resources/deployments/"+api, ""); a.Status != 200 || !strings.Contains(a.Text, `"value":[]`) {
		t.Errorf("left behind: %d %s", a.Status, a.Text)
	}
}
