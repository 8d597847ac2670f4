package objects

import (
	"encoding/json"
	"regexp"

	"vauban.dev/arm"
)

const badStorage = "InvalidValuesForRequestParameters"

// jsonObject reports whether raw is a JSON object.
func jsonObject(raw json.RawMessage) bool {
	var m map[string]any
	return json.Unmarshal(raw, &m) == nil && m != nil
}

var guid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// onlyOne refuses any other name than the one that a type has.
func onlyOne(typ arm.TypeName, name, want string) error {
	if name == want {
		return nil
	}
	return refuse(badStorage, "The name of %s is '%s', not '%s'.", typ, want, name)
}
