package objects_test

import (
	"strings"
	"testing"
)

const (
	registry = group + "/providers/Microsoft.MachineLearningServices/registries/shared"
	mlV      = "?api-version=2024-04-01"
)

func TestMachineLearning(t *testing.T) {
	r := ofSpecification(t)
	r.Must("PUT", registry+mlV, `{"location":"westeurope","properties":{"regionDetails":[{"location":"westeurope"},{"location":"northeurope"}]}}`)
	data := registry + "/data/table"
	refused(t, r.Request("PUT", data+mlV, `{"properties":{"dataType":7,"description":[]}}`), 400, "InvalidRequestContent", "description")
	refused(t, r.Request("PUT", data+mlV, `{"properties":{"dataType":["mltable"]}}`), 400, "InvalidRequestContent", "dataType")
	a := r.Must("PUT", data+mlV, `{"properties":{"dataType":"mltable","latestVersion":"9"},"tags":{}}`)
	if a.String("properties", "nextVersion") != "1" || a.At("properties", "latestVersion") != nil {
		t.Errorf("container: %s", a.Text)
	}
	r.Must("PUT", data+"/versions/4"+mlV, `{"properties":{"dataType":"mltable","dataUri":"azureml://x"}}`)
	if a = r.Must("GET", data+mlV, ""); a.String("properties", "latestVersion") != "4" || a.String("properties", "nextVersion") != "5" {
		t.Errorf("container with a version: %s", a.Text)
	}
	r.Must("PUT", registry+"/models/m/versions/1"+mlV, `{"properties":{"modelUri":"azureml://x"}}`)
	if a = r.Must("GET", registry+"/models/m"+mlV, ""); a.String("properties", "latestVersion") != "1" {
		t.Errorf("a model that its version made: %s", a.Text)
	}
	r.Must("POST", registry+"/removeRegions"+mlV, `{"location":"westeurope","properties":{"regionDetails":[{"location":"northeurope"},{"location":"westeurope"}]}}`)
	if a = r.Must("GET", registry+mlV, ""); strings.Contains(a.Text, "northeurope") || !strings.Contains(a.Text, `"location":"westeurope"}]`) {
		t.Errorf("registry: %s", a.Text)
	}
	refused(t, r.Request("POST", data+"/versions/4/startPendingUpload"+mlV, `{}`), 501, "NotImplemented", "object only")
}

// A registry's connections keep the ids of their endpoints, which must be there as all ids must.
func TestRegistryEndpoints(t *testing.T) {
	r := ofSpecification(t)
	with := func(id string) string {
		return `{"location":"westeurope","properties":{"regionDetails":[{"location":"westeurope"}],"registryPrivateEndpointConnections":[
			{"properties":{"groupIds":["amlregistry"]}},{"properties":{"groupIds":["amlregistry"],"privateEndpoint":{"id":"` + id + `"}}}]}}`
	}
	refused(t, r.Request("PUT", registry+mlV, with(group+"/providers/Microsoft.MachineLearningServices/registries/absent")), 404, "ResourceNotFound", "absent")
	r.Must("PUT", group+"/providers/Microsoft.MachineLearningServices/registries/other"+mlV, `{"location":"westeurope","properties":{"regionDetails":[{"location":"westeurope"}]}}`)
	there := group + "/providers/Microsoft.MachineLearningServices/registries/other"
	a := r.Must("PUT", registry+mlV, with(there))
	if !strings.Contains(a.Text, `"privateEndpoint":{"id":"`+there+`"}`) || strings.Count(a.Text, `"privateEndpoint":`) != 1 {
		t.Errorf("%s", a.Text)
	}
}

// What signs in at a connection's target is in no answer but listSecrets', and stays with that target.
func TestConnectionSecrets(t *testing.T) {
	r := ofSpecification(t)
	c := group + "/providers/Microsoft.MachineLearningServices/workspaces/w/connections/c" + mlV
	secrets := group + "/providers/Microsoft.MachineLearningServices/workspaces/w/connections/c/listSecrets" + mlV
	of := func(target, credentials string) string {
		return `{"properties":{"category":"Git","authType":"PAT","target":"` + target + `"` + credentials + `}}`
	}
	r.Must("PUT", group+"/providers/Microsoft.MachineLearningServices/workspaces/w"+mlV, `{"location":"westeurope","properties":{}}`)
	put := r.Must("PUT", c, of("https://git.example", `,"credentials":{"pat":"hush-hush"}`))
	if strings.Contains(put.Text, "hush-hush") || strings.Contains(r.Must("GET", c, "").Text, "hush-hush") {
		t.Errorf("shown: %s", put.Text)
	}
	if a := r.Must("POST", secrets, ""); a.At("properties", "credentials", "pat") != "hush-hush" || a.String("properties", "target") != "https://git.example" {
		t.Errorf("listSecrets: %s", a.Text)
	}
	r.Must("PUT", c, of("https://elsewhere.example", ""))
	if a := r.Must("POST", secrets, ""); strings.Contains(a.Text, "hush-hush") {
		t.Errorf("of another target: %s", a.Text)
	}
}
