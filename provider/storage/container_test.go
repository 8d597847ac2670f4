package storage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainers(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	const data = account + "/blobServices/default/containers/data"
	a := r.Request("PUT", data+api, `{"properties":{"metadata":{"k":"v"}}}`)
	if a.Status != 201 {
		t.Fatalf("PUT: %d %s", a.Status, a.Text)
	}
	want := map[string]any{
		"id": data, "name": "data", "type": "Microsoft.Storage/storageAccounts/blobServices/containers", "etag": `"0x8"`,
		"properties": map[string]any{
			"publicAccess": "None", "metadata": map[string]any{"k": "v"}, "etag": `"0x8"`, "lastModifiedTime": "2026-11-22T12:00:00Z",
			"leaseStatus": "Unlocked", "leaseState": "Available", "deleted": false, "remainingRetentionDays": 0.0, "hasImmutabilityPolicy": false,
			"hasLegalHold": false, "defaultEncryptionScope": "$account-encryption-key", "denyEncryptionScopeOverride": false,
		},
	}
	if d := cmp.Diff(want, r.Request("GET", data+api, "").Body); d != "" {
		t.Errorf("GET (-want +got):\n%s", d)
	}
	if a := r.Request("PUT", data+api, ``); a.Status != 200 {
		t.Errorf("second PUT: %d %s", a.Status, a.Text)
	}
	for _, access := range []string{"Blob", "Container"} {
		r.refused(409, "PublicAccessNotPermitted", "not permitted", "PUT", data+api, `{"properties":{"publicAccess":"`+access+`"}}`)
	}
	r.refused(400, "InvalidValuesForRequestParameters", "publicAccess 'All'", "PUT", data+api, `{"properties":{"publicAccess":"All"}}`)
	r.refused(400, "InvalidRequestContent", "deserialized", "PUT", data+api, `{"properties":{"publicAccess":1}}`)
	r.refused(404, "ContainerNotFound", "not exist", "GET", account+"/blobServices/default/containers/none"+api, "")
	r.refused(404, "ContainerNotFound", "not exist", "PATCH", account+"/blobServices/default/containers/none"+api, `{}`)

	r.Must("PATCH", account+api, `{"properties":{"allowBlobPublicAccess":true}}`)
	if a := r.Request("PATCH", data+api, `{"properties":{"publicAccess":"Blob"}}`); a.Status != 200 || a.String("properties", "publicAccess") != "Blob" {
		t.Errorf("PATCH: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PATCH", data+api, `{"properties":{"metadata":{"k":"w"}}}`); a.String("properties", "publicAccess") != "Blob" || a.String("properties", "metadata", "k") != "w" {
		t.Errorf("PATCH of the metadata: %d %s", a.Status, a.Text)
	}
	r.Request("PUT", account+"/blobServices/default/containers/more"+api, `{}`)
	list, _ := r.Request("GET", account+"/blobServices/default/containers"+api, "").At("value").([]any)
	if len(list) != 2 || list[1].(map[string]any)["name"] != "more" {
		t.Errorf("list: %v", list)
	}
	for _, status := range []int{200, 204} {
		if a := r.Request("DELETE", data+api, ""); a.Status != status {
			t.Errorf("DELETE: %d %s, want %d", a.Status, a.Text, status)
		}
	}
	r.refused(404, "ResourceNotFound", "none", "GET", strings.Replace(data, "/acct/", "/none/", 1)+api, "")
}

func TestBlobService(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", account+api, plain)
	p := account + "/blobServices/default" + api
	if a := r.Request("GET", p, ""); a.Status != 200 || a.String("type") != "Microsoft.Storage/storageAccounts/blobServices" {
		t.Errorf("GET: %d %s", a.Status, a.Text)
	}
	if a := r.Request("PUT", p, `{"properties":{"deleteRetentionPolicy":{"enabled":true,"days":7}}}`); a.At("properties", "deleteRetentionPolicy", "days") != 7.0 {
		t.Errorf("PUT: %d %s", a.Status, a.Text)
	}
	r.refused(405, "MethodNotAllowed", "DELETE", "DELETE", p, "")
	r.refused(400, "InvalidResourceName", "'default'", "PUT", account+"/blobServices/other"+api, `{}`)
}
