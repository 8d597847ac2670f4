package template

import (
	"context"
	"errors"
	"testing"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/internal/jsonc"
)

// FuzzRead: whatever a template says, it is read or refused with an error of Azure, and its bodies and outputs too.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`"parameters":{"a":{"type":"string","defaultValue":"[newGuid()]"}},"variables":{"v":{"copy":[{"name":"x","count":2,"input":"[copyIndex('x')]"}]}},"resources":[{"type":"A.B/c","apiVersion":"2020-01-01","name":"[concat('x',copyIndex())]","copy":{"name":"l","count":2},"properties":{"a":"[reference('x1').y]"}}],"outputs":{"o":{"type":"array","value":"[variables('v').x]"}}`,
		`"languageVersion":"2.0","definitions":{"d":{"type":"object","properties":{"a":{"$ref":"#/definitions/d","nullable":true}}}},"parameters":{"p":{"$ref":"#/definitions/d","defaultValue":{"a":{}}}},"resources":{"s":{"existing":true,"type":"A.B/c","apiVersion":"2020-01-01","name":"n"}}`,
		`"resources":[{"type":"Microsoft.Resources/deployments","apiVersion":"2020-01-01","name":"n","properties":{"mode":"Incremental","template":{"resources":["[variables('v')]"]}}},{"type":"A.B/c/providers/d","name":"x/E.F/y","apiVersion":"1","scope":"/","dependsOn":["n"],"condition":"[true()]"}]`,
		`"functions":[{"namespace":"n","members":{"f":{"parameters":[{"name":"p","type":"int"}],"output":{"value":"[n.f(parameters('p'))]"}}}}],"resources":[{"name":{},"type":[],"copy":5,"resources":[1]}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data, err := jsonc.Standard(append(append([]byte(head), data...), '}'))
		if err != nil {
			return
		}
		v, err := expr.Decode(data)
		o, ok := v.(*expr.Object)
		if err != nil || !ok {
			return
		}
		s := source(t, head+`"resources":[]}`, "")
		s.Template = o
		check := func(err error) {
			var e *expr.Error
			if err != nil && arm.AsError(err) == nil && !errors.As(err, &e) && !Runtime(err) {
				t.Fatalf("%s: an error of another kind: %v", data, err)
			}
		}
		d, err := Read(context.Background(), fake{}, s)
		if err != nil {
			if arm.AsError(err) == nil {
				t.Fatalf("%s: an error of another kind: %v", data, err)
			}
			return
		}
		for _, r := range d.Resources {
			_, err := d.Body(context.Background(), r)
			check(err)
			_, err = d.Preview(context.Background(), r)
			check(err)
		}
		_, err = d.Outputs(context.Background())
		check(err)
	})
}
