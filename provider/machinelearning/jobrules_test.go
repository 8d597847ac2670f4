package machinelearning_test

import (
	"fmt"
	"strings"
	"testing"

	"vauban.dev/ml"
)

// command is the body of a job with changes: pairs of what is replaced by what.
func command(changes ...string) string {
	return `{"properties":{` + strings.NewReplacer(changes...).Replace(`"jobType":"Command","command":"true","environmentId":"azureml:py:1","computeId":"azureml:cpu","experimentName":"train"`) + `}}`
}

func TestJobRules(t *testing.T) {
	r := newRig(t)
	r.cluster()
	other := strings.Replace(mlw, "/mlw", "/other", 1)
	r.Must("PUT", other+api, `{"location":"westeurope","properties":{"storageAccount":"`+account+`","keyVault":"`+vault+`"}}`)
	r.Must("PUT", other+"/environments/py/versions/1"+api, `{"properties":{"image":"`+image+`"}}`)
	r.Must("PUT", other+"/computes/cpu"+api, aml(sized))
	r.Must("PUT", mlw+"/data/d/versions/1"+api, `{"properties":{"dataType":"uri_folder","dataUri":"azureml://datastores/workspaceblobstore/paths/d"}}`)
	for _, c := range []struct {
		body   string
		status int
		says   string
	}{
		{command(`"environmentId":"azureml:py:1",`, ""), 400, "environmentId is missing"},
		{command(`"computeId":"azureml:cpu",`, ""), 400, "serverless"},
		{command(`azureml:py:1`, other+`/environments/py/versions/1`), 400, "of another workspace"},
		{command(`azureml:py:1`, mlw+`/data/d/versions/1`), 400, "another kind of asset"},
		{command(`azureml:py:1`, mlw+`/environments/py`), 400, "not the id of a version"},
		{command(`azureml:py:1`, account), 400, "of another workspace"},
		{command(`azureml:py:1`, "azureml://registries/azureml/environments/e/versions/1"), 400, "registries are not there yet"},
		{command(`azureml:py:1`, "azureml:../py:1"), 400, "names no version"},
		{command(`azureml:cpu`, other+"/computes/cpu"), 400, "not a compute of this workspace"},
		{command(`azureml:cpu`, mlw+"/data/d"), 400, "not a compute of this workspace"},
		{command(`azureml:cpu`, mlw), 400, "not a compute of this workspace"},
		{command(`"true"`, `"true","environmentVariables":{"A=B":"x"}`), 400, `environment variable "A=B"`},
		{command(`"true"`, `"true","environmentVariables":{"A":"x\u0000y"}`), 400, `environment variable "A"`},
		{command(`"true"`, `"true","environmentVariables":{"A":["x"]}`), 400, "value of a dictionary"},
		{command(`"true"`, `"true","inputs":{"../x":{"jobInputType":"literal","value":"1"}}`), 400, `input name "../x"`},
		{command(`"true"`, `"true","outputs":{"../x":{"jobOutputType":"uri_folder"}}`), 400, `output "../x"`},
		{command(`"true"`, `"true","outputs":{"x":{"jobOutputType":"mltable"}}`), 501, "jobOutputType 'mltable'"},
		{command(`"true"`, `"true","inputs":{"x":{"jobInputType":"mltable","uri":"azureml:d:1"}}`), 501, "jobInputType 'mltable'"},
		{command(`"true"`, `"true","outputs":{"x":{"jobOutputType":"uri_folder","uri":"azureml://datastores/none/paths/${{name}}"}}`), 400, "no datastore 'none'"},
		{command(`"true"`, `"echo ${{outputs.x}}"`), 400, "names ${{outputs.x}}"},
		{command(`"true"`, `"true","inputs":{"x":{"jobInputType":"uri_file","uri":"azureml://datastores/workspaceblobstore/paths/"}}`), 400, "it names a container, no file"},
		{command(`"true"`, `"true","inputs":{"x":{"jobInputType":"uri_folder","uri":"azureml://datastores/workspaceblobstore/paths/../../x"}}`), 400, "relative segment"},
		{command(`"true"`, `"true","codeId":"azureml:none:1"`), 404, "does not exist"},
		{command(`"true"`, `"true","codeId":"`+mlw+`/computes/cpu"`), 400, "not the id of a version"},
		{command(`"true"`, `"true","resources":{"instanceCount":2}`), 501, "instanceCount 2"},
	} {
		r.refused(c.status, c.says, "PUT", mlw+"/jobs/bad"+api, c.body)
	}
	r.refused(400, "Job names", "PUT", mlw+"/jobs/-bad"+api, command())
	for i, id := range []string{"azureml:cpu", "cpu", mlw + "/computes/cpu", strings.ToUpper(mlw) + "/computes/CPU"} {
		name := fmt.Sprint("good", i)
		r.Must("PUT", mlw+"/jobs/"+name+api, command("azureml:cpu", id))
		r.Must("POST", mlw+"/jobs/"+name+"/cancel"+api, "")
	}
}

// TestJobIsImmutable: what runs cannot be changed once it is submitted, least of all by somebody else: the job acts with
// the rights of who submitted it.
func TestJobIsImmutable(t *testing.T) {
	r := newRig(t)
	r.cluster()
	const more = `"true","environmentVariables":{"A":"1"},"inputs":{"x":{"jobInputType":"literal","value":"1"}},"outputs":{"o":{"jobOutputType":"uri_folder"}},"limits":{"jobLimitsType":"Command","timeout":"PT1H"}`
	base := command(`"true"`, more)
	r.Must("PUT", mlw+"/jobs/job"+api, base)
	for _, change := range [][2]string{
		{`"true"`, `"false"`}, {"py:1", "py:2"}, {`"azureml:cpu"`, `"cpu"`}, {`"A":"1"`, `"A":"2"`}, {`"value":"1"`, `"value":"2"`}, {"uri_folder", "uri_file"}, {"PT1H", "PT2H"}, {`"train"`, `"other"`},
		{`{"jobOutputType":"uri_folder"}`, `{"jobOutputType":"uri_folder","uri":"https://mallory.blob.core.windows.net/c/x"}`}, {`"environmentVariables":{"A":"1"},`, ""}, {"Command\",\"command", "Sweep\",\"command"},
	} {
		changed := strings.Replace(base, change[0], change[1], 1)
		if changed == base {
			t.Fatalf("%q changes nothing", change)
		}
		r.refused(409, "what it runs is immutable", "PUT", mlw+"/jobs/job"+api, changed)
	}
	r.refused(409, "what it runs is immutable", "PATCH", mlw+"/jobs/job"+api, `{"properties":{"environmentVariables":{"EVIL":"1"}}}`)
	r.Must("PUT", mlw+"/jobs/job"+api, base)
	a := r.Must("PATCH", mlw+"/jobs/job"+api, `{"properties":{"displayName":"another name","tags":{"a":"b"},"isArchived":true,"description":"d","status":"Completed","services":{}}}`)
	if a.String("properties", "displayName") != "another name" || a.At("properties", "isArchived") != true || a.String("properties", "status") != "Queued" {
		t.Errorf("PATCH: %s", a.Text)
	}
	if run := r.run("job"); run.Name != "another name" || run.Tags["a"] != "b" || run.Status != ml.Queued {
		t.Errorf("the run: %+v", run)
	}
}

// TestJobGoesOnce: the name of a job that was deleted is not used again, as its run is still there.
func TestJobGoesOnce(t *testing.T) {
	r := newRig(t)
	r.cluster()
	r.Must("PUT", mlw+"/jobs/job"+api, command())
	r.refused(409, "is Queued: cancel it before", "DELETE", mlw+"/jobs/job"+api, "")
	r.Must("POST", mlw+"/jobs/job/cancel"+api, "")
	r.Must("POST", mlw+"/jobs/job/cancel"+api, "") // it has ended: nothing to do
	r.Must("DELETE", mlw+"/jobs/job"+api, "")
	r.refused(409, "not used twice", "PUT", mlw+"/jobs/job"+api, command())
	r.refused(404, "not found", "POST", mlw+"/jobs/none/cancel"+api, "")
}

// TestAssets: versions are kept as they are, and their containers know the latest.
func TestAssets(t *testing.T) {
	r := newRig(t)
	data := mlw + "/data/d/versions/"
	r.refused(400, "properties.dataUri", "PUT", data+"1"+api, `{"properties":{"dataType":"uri_folder"}}`)
	r.refused(400, "properties.image or properties.build", "PUT", mlw+"/environments/e/versions/1"+api, `{"properties":{}}`)
	for _, v := range []string{"1", "2"} {
		r.Must("PUT", data+v+api, `{"properties":{"dataType":"uri_folder","dataUri":"azureml://datastores/workspaceblobstore/paths/`+v+`","tags":{"n":1}}}`)
	}
	r.refused(409, "immutable", "PUT", data+"1"+api, `{"properties":{"dataType":"uri_folder","dataUri":"azureml://datastores/workspaceblobstore/paths/x"}}`)
	r.Must("PUT", mlw+"/environments/e/versions/1"+api, `{"properties":{"image":"`+image+`"}}`)
	r.refused(409, "immutable", "PUT", mlw+"/environments/e/versions/1"+api, `{"properties":{"image":"other"}}`)
	c := r.Must("GET", mlw+"/data/d"+api, "")
	if c.String("properties", "latestVersion") != "2" || c.String("properties", "nextVersion") != "3" {
		t.Errorf("container: %s", c.Text)
	}
	v := r.Must("GET", data+"1"+api, "")
	if v.String("properties", "tags", "n") != "1" || v.String("type") != "Microsoft.MachineLearningServices/workspaces/data/versions" || v.String("name") != "1" {
		t.Errorf("version: %s", v.Text)
	}
	r.refused(501, "Registries keep no files", "POST", data+"1/publish"+api, `{"registryName":"shared","destinationName":"d","destinationVersion":"1"}`)
	r.refused(404, "data/versions/mlw/d/9", "POST", data+"9/publish"+api, `{"registryName":"shared","destinationName":"d","destinationVersion":"9"}`)
	r.Must("PATCH", data+"1"+api, `{"properties":{"isArchived":true}}`)
	for query, want := range map[string]int{"": 1, "&listViewType=All": 2, "&listViewType=ArchivedOnly": 1} {
		list, _ := r.Must("GET", strings.TrimSuffix(data, "/")+api+query, "").At("value").([]any)
		if len(list) != want {
			t.Errorf("%q: %d versions, want %d", query, len(list), want)
		}
	}
	if list, _ := r.Must("GET", mlw+"/models/none/versions"+api, "").At("value").([]any); len(list) != 0 {
		t.Errorf("versions of no model: %v", list)
	}
}
