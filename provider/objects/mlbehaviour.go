package objects

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vauban.dev/arm/rp"
)

const (
	mlWorkspace = "microsoft.machinelearningservices/workspaces"
	mlRegistry  = "microsoft.machinelearningservices/registries"
)

// mlBehaviours are those of Machine Learning, by type in lower case.
var mlBehaviours = machineLearning()

func machineLearning() map[string]behaviour {
	scoring := func(path string) saying {
		return saying{"scoringUri": around("https://", ".{location}.inference.ml.azure.com/"+path), "swaggerUri": around("https://", ".{location}.inference.ml.azure.com/swagger.json")}
	}
	deployed := map[string]rp.Action[Stored]{
		"skus": {Method: http.MethodGet, Permission: "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/skus/read", Do: deploymentSKUs},
		"getLogs": {Do: func(context.Context, *rp.Tx, *rp.Resource[Stored], []byte) (any, error) { // nothing has run
			return map[string]any{"content": ""}, nil
		}},
	}
	keys := map[string]rp.Action[Stored]{
		"listKeys": {Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Stored], _ []byte) (any, error) {
			return endpointKeys(r), nil
		}},
		"regenerateKeys": {Do: regenerateKeys},
	}
	all := map[string]behaviour{
		mlWorkspace + "/batchendpoints":              {says: scoring("jobs"), actions: keys},
		mlWorkspace + "/onlineendpoints":             {says: scoring("score"), actions: keys, defaults: map[string]any{"publicNetworkAccess": "Enabled"}},
		mlWorkspace + "/onlineendpoints/deployments": {actions: deployed},
		mlWorkspace + "/connections":                 {secrets: connectionSecrets, actions: map[string]rp.Action[Stored]{"listSecrets": {Do: listConnection}}},
		mlWorkspace + "/serverlessendpoints":         {actions: keys, says: saying{"endpointState": always("Unknown")}}, // nothing answers there
		mlRegistry:                                   {actions: map[string]rp.Action[Stored]{"removeRegions": {Do: removeRegions}}, takes: registryEndpoints},
	}
	for _, asset := range []string{
		mlRegistry + "/codes", mlRegistry + "/components", mlRegistry + "/data", mlRegistry + "/environments", mlRegistry + "/models",
		mlWorkspace + "/components", mlWorkspace + "/featuresets", mlWorkspace + "/featurestoreentities",
	} {
		flags := map[string]any{"isArchived": false, "tags": map[string]any{}, "properties": map[string]any{}}
		all[asset] = behaviour{present: showVersions, defaults: flags}
		all[asset+"/versions"] = behaviour{implicitParent: true, defaults: map[string]any{"isAnonymous": false, "isArchived": false, "tags": map[string]any{}, "properties": map[string]any{}}}
	}
	built := all[mlRegistry+"/environments/versions"]
	built.says = saying{"environmentType": always("UserCreated")} // curated ones are of Microsoft's registry
	all[mlRegistry+"/environments/versions"] = built
	return all
}

// connectionSecrets keeps the credentials of a connection, and those that it had when they are not sent again.
func connectionSecrets(new, old *rp.Resource[Stored]) map[string]any {
	if sent := new.Properties.tree["credentials"]; sent != nil {
		return map[string]any{"credentials": sent}
	}
	if old != nil && old.Properties.tree["authType"] == new.Properties.tree["authType"] && old.Properties.tree["target"] == new.Properties.tree["target"] {
		return old.Properties.secrets
	}
	return nil
}

// listConnection shows a connection with its credentials.
func listConnection(_ context.Context, _ *rp.Tx, r *rp.Resource[Stored], _ []byte) (any, error) {
	body, properties := shownAs(r), clone(r.Properties.tree)
	maps.Copy(properties, r.Properties.secrets)
	body["properties"] = properties
	return body, nil
}

// endpointKeys are what clients of an endpoint would sign in with.
func endpointKeys(r *rp.Resource[Stored]) map[string]string {
	v := &r.Properties
	return map[string]string{"primaryKey": v.key("primaryKey"+v.rotated["primary"], 32), "secondaryKey": v.key("secondaryKey"+v.rotated["secondary"], 32)}
}

func regenerateKeys(_ context.Context, _ *rp.Tx, r *rp.Resource[Stored], body []byte) (any, error) {
	var q struct {
		KeyType  string `json:"keyType"`
		KeyValue string `json:"keyValue"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, refuse("ValidationError", "The body of regenerateKeys is not valid: an object with keyType is expected.")
	}
	if err := first(must("ValidationError", "keyType", q.KeyType), oneOf("ValidationError", "keyType", &q.KeyType, "Primary", "Secondary")); err != nil {
		return nil, err
	}
	if r.Properties.rotated == nil {
		r.Properties.rotated = map[string]string{}
	}
	r.Properties.rotated[strings.ToLower(q.KeyType)] = secret(8)
	return endpointKeys(r), nil
}

// deploymentSKUs: a deployment may be scaled by hand within what it has.
func deploymentSKUs(_ context.Context, _ *rp.Tx, r *rp.Resource[Stored], _ []byte) (any, error) {
	have := struct {
		sku
		Capacity int `json:"capacity"`
	}{sku: sku{Name: "Default", Tier: "Standard"}, Capacity: 1}
	_ = json.Unmarshal(r.SKU, &have) // mistyped members keep what was there
	return map[string]any{"value": []any{map[string]any{
		"resourceType": r.ID.Type().String(), "sku": have.sku,
		"capacity": map[string]any{"default": 1, "minimum": 1, "maximum": max(have.Capacity, 1), "scaleType": "Manual"},
	}}}, nil
}

// removeRegions takes the regions that the body names out of a registry; its own stays.
func removeRegions(_ context.Context, tx *rp.Tx, r *rp.Resource[Stored], body []byte) (any, error) {
	var q struct {
		Properties struct {
			RegionDetails []struct {
				Location string `json:"location"`
			} `json:"regionDetails"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, refuse("ValidationError", "The body of removeRegions is not valid: a registry is expected.")
	}
	regions, _ := r.Properties.tree["regionDetails"].([]any)
	r.Properties.tree["regionDetails"] = slices.DeleteFunc(slices.Clone(regions), func(region any) bool {
		m, _ := region.(map[string]any)
		at, _ := m["location"].(string)
		if strings.EqualFold(at, r.Location) {
			return false
		}
		for _, gone := range q.Properties.RegionDetails {
			if strings.EqualFold(gone.Location, at) {
				return true
			}
		}
		return false
	})
	registry := shownAs(r)
	if registry["tags"] == nil {
		registry["tags"] = map[string]string{}
	}
	return registry, nil
}

// registryEndpoints keeps the ids of the private endpoints that a registry's connections name. The specification has them
// read-only, as the service knows them from its endpoints; here no endpoint leads to a registry, and who writes one as
// Azure showed it finds the ids again.
func registryEndpoints(sent, read map[string]any) {
	given, _ := sent["registryPrivateEndpointConnections"].([]any)
	kept, _ := read["registryPrivateEndpointConnections"].([]any)
	for i := range min(len(given), len(kept)) { // Read leaves none out
		from, _ := given[i].(map[string]any)
		to, _ := kept[i].(map[string]any)
		if id, ok := get(from, "properties.privateEndpoint.id").(string); ok && to != nil {
			set(to, "properties.privateEndpoint.id", id)
		}
	}
}

// shownAs is a resource as an action answers it.
func shownAs(r *rp.Resource[Stored]) map[string]any {
	body := map[string]any{"id": r.ID.String(), "name": r.ID.Name(), "type": r.ID.Type().String(), "properties": r.Properties.tree, "systemData": r.SystemData, "location": r.Location}
	for name, v := range map[string]any{"kind": r.Kind, "tags": r.Tags, "sku": r.SKU, "identity": r.Identity} {
		if b, err := json.Marshal(v); err == nil && len(b) > 4 { // neither null nor ""
			body[name] = v
		}
	}
	return body
}

// showVersions shows which versions an asset has.
func showVersions(tx *rp.Tx, r *rp.Resource[Stored]) error {
	versions, err := rp.List[Stored](tx, r.ID.Type().String()+"/versions", r.ID)
	if err != nil {
		return err
	}
	next, newest := 1, time.Time{}
	for _, v := range versions {
		if n, err := strconv.Atoi(v.ID.Name()); err == nil && n >= next {
			next = n + 1
		}
		if !v.SystemData.CreatedAt.Before(newest) {
			newest = v.SystemData.CreatedAt
			r.Properties.tree["latestVersion"] = v.ID.Name()
		}
	}
	r.Properties.tree["nextVersion"] = strconv.Itoa(next)
	return nil
}
