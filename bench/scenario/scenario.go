// Package scenario is the secured workspace that benchmarks measure in, as Resource Manager requests: a
// virtual network with three subnets and their security groups, a storage account, a key vault and a
// workspace without public access, roles, private DNS zones, private endpoints, a compute cluster.
//
// secured.json holds its stages. Requests of one stage need nothing of each other and are sent at once, as a
// deployment by template sends them; a stage begins when the one before has been provisioned.
package scenario

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
)

//go:embed secured.json
var secured []byte

// Stage is a set of requests that do not depend on each other.
type Stage struct {
	Name     string    `json:"name"`
	Requests []Request `json:"requests"`
}

// Request is a PUT of one resource. Path and body may hold ${name}.
type Request struct {
	Path string          `json:"path"` // with the api-version
	Body json.RawMessage `json:"body"`
	// Keep are members of the resource as it was made, as dotted paths, by the name under which later
	// requests use them.
	Keep map[string]string `json:"keep,omitempty"`
}

// Values are what stands for ${name}.
type Values map[string]string

// The names of what is made, for those who use it.
const (
	Group   = "bench"
	VNet    = "bench-vnet"
	Jumpbox = VNet + "/jumpbox"
	Cluster = "cpu-cluster"
)

// NewValues names the scenario's resources in a subscription. Global names hold its first characters.
// caller is the object id of the principal that gets the data roles.
func NewValues(tenant, subscription, caller, location string) Values {
	group := "/subscriptions/" + subscription + "/resourceGroups/" + Group
	v := Values{
		"tenant": tenant, "subscription": subscription, "caller": caller, "location": location, "group": Group,
		"account":   "bench" + subscription[:8],
		"vaultName": "bench-" + subscription[:8],
	}
	v["network"] = group + "/providers/Microsoft.Network"
	v["storage"] = group + "/providers/Microsoft.Storage/storageAccounts/" + v["account"]
	v["vault"] = group + "/providers/Microsoft.KeyVault/vaults/" + v["vaultName"]
	v["workspace"] = group + "/providers/Microsoft.MachineLearningServices/workspaces/bench"
	v["roles"] = "/subscriptions/" + subscription + "/providers/Microsoft.Authorization/roleDefinitions"
	return v
}

// Stages are the requests of the scenario.
func Stages() ([]Stage, error) {
	var s []Stage
	if err := json.Unmarshal(secured, &s); err != nil {
		return nil, fmt.Errorf("secured.json: %w", err)
	}
	return s, nil
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// Fill puts the values into text. A name without a value is an error.
func (v Values) Fill(text string) (string, error) {
	var missing error
	out := variable.ReplaceAllStringFunc(text, func(m string) string {
		s, ok := v[m[2:len(m)-1]]
		if !ok {
			missing = fmt.Errorf("%s has no value", m)
		}
		return s
	})
	return out, missing
}
