package deployments

import (
	"encoding/json"
	"strings"

	"vauban.dev/arm/expr"
)

// typeNames are the types of parameters and outputs as Resource Manager spells them in what it gives back.
var typeNames = map[string]string{
	"string": "String", "securestring": "SecureString", "int": "Int", "bool": "Bool", "object": "Object", "secureobject": "SecureObject", "array": "Array",
}

// spelled is a template as it is exported: as it was sent, but for the spelling of types.
func spelled(template json.RawMessage) (any, error) {
	v, err := expr.Decode(template)
	if err != nil {
		return nil, err
	}
	root, ok := v.(*expr.Object)
	if !ok {
		return v, nil
	}
	for _, section := range []string{"parameters", "outputs"} {
		v, _ := root.Lookup(section)
		members, ok := v.(*expr.Object)
		if !ok {
			continue
		}
		for _, member := range members.All() {
			if m, ok := member.(*expr.Object); ok {
				if name := typeNames[strings.ToLower(m.Text("type"))]; name != "" {
					m.Set("type", name)
				}
			}
		}
	}
	return root, nil
}
