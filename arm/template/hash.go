package template

import (
	"strconv"

	"vauban.dev/arm/expr"
)

// Hash is the templateHash of a template: a hash of its minified text without the remarks of its generator. Azure's
// own number for the same template is another.
func Hash(t *expr.Object) string {
	b, err := expr.Encode(t.Without("metadata"), 2*maxBody)
	if err != nil {
		return "0"
	}
	return strconv.FormatUint(expr.Hash(string(b)), 10)
}
