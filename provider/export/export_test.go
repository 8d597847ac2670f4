package export_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/export"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group  = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001/resourceGroups/toys"
	toys   = group + "/providers/Microsoft.Toys/"
	api    = "?api-version=2024-01-01"
	target = group + "/exportTemplate?api-version=2021-04-01"
)

type box struct {
	Label  string `json:"label,omitempty"`
	Guid   string `json:"serial,omitempty" rp:"readonly"`
	Lock   *lock  `json:"lock,omitempty"`
	Friend *ref   `json:"friend,omitempty"`
}

type lock struct {
	Kind string `json:"kind"`
	Code string `json:"code,omitempty" rp:"secret"`
}

type ref struct {
	ID string `json:"id"`
}

type link struct {
	Remote ref `json:"remote"`
}

func newRegion(t *testing.T) *rptest.Region {
	t.Helper()
	containers := export.Kept{Type: "Microsoft.Toys/boxes/drawers/socks", Under: "Microsoft.Toys/boxes", List: func(_ *rp.Tx, of arm.ID) ([]*rp.Document, error) {
		if of.Name() != "a" {
			return nil, nil
		}
		return []*rp.Document{{ID: arm.MustParseID(of.String() + "/drawers/top/socks/red"), Type: "Microsoft.Toys/boxes/drawers/socks", Kind: rp.Proxy, Version: "2024-01-01", Body: map[string]any{"properties": map[string]any{"pairs": 2}}}}, nil
	}}
	p := export.New(containers)
	groups := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/resourceGroups", Versions: rp.Versions[struct{}]("2024-01-01")})
	boxes := rp.Of(rp.Type[box]{Name: "Microsoft.Toys/boxes", Versions: rp.Versions[box]("2024-01-01"), Inline: map[string]string{"links": "Microsoft.Toys/boxes/links", "parts": "Microsoft.Toys/boxes/parts"},
		Default: func(_ string, r *rp.Resource[box]) { r.Properties.Guid = "serial-" + r.ID.Name() }})
	links := rp.Of(rp.Type[link]{Name: "Microsoft.Toys/boxes/links", Kind: rp.Proxy, Versions: rp.Versions[link]("2024-01-01")})
	parts := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/boxes/parts", Kind: rp.Proxy, Versions: rp.Versions[struct{}]("2024-01-01")})
	notes := rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/boxes/notes", Kind: rp.Proxy, Versions: rp.Versions[struct{}]("2024-01-01")})
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, append(p.Types(), groups, boxes, links, parts, notes)...)
	p.Attach(r.Engine)
	r.Must("PUT", group+api, `{"location":"westeurope"}`)
	r.Must("PUT", toys+"boxes/a"+api, `{"location":"westeurope","tags":{"it's":"[x]"},"sku":{"name":"S"},"properties":{"label":"${a}'s\n","lock":{"kind":"pin","code":"hunter2"},"extra":{"n":1.5,"list":[1,null,true],"empty":{}},"parts":[{"name":"p","properties":{"n":1}}]}}`)
	r.Must("PUT", toys+"boxes/b"+api, `{"location":"westeurope","properties":{"friend":{"id":"`+toys+`boxes/a/parts/p"},"other":"/subscriptions/x/resourceGroups/y/providers/Microsoft.Toys/boxes/z/parts/q"}}`)
	r.Must("PUT", toys+"boxes/a/links/ab"+api, `{"properties":{"remote":{"id":"`+toys+`boxes/b"}}}`)
	r.Must("PUT", toys+"boxes/b/links/ba"+api, `{"properties":{"remote":{"id":"`+toys+`boxes/a"}}}`)
	r.Must("PUT", toys+"boxes/b/notes/n"+api, `{"properties":{"about":"`+toys+`boxes/a"}}`)
	return r
}

// golden compares with a file of testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s", name, got)
	}
}

// TestExport: names and foreign ids are parameters, secrets parameters without a value, ids expressions, what services
// fill in is gone, and resources that name each other are told apart.
func TestExport(t *testing.T) {
	r := newRegion(t)
	a := r.Request(http.MethodPost, target, `{"resources":["*"],"options":"IncludeParameterDefaultValue"}`)
	b, err := json.MarshalIndent(a.Body["template"], "", "  ")
	if err != nil || a.Status != http.StatusOK || a.Body["error"] != nil {
		t.Fatal(a.Text)
	}
	golden(t, "toys.json", string(b)+"\n")
	if a = r.Request(http.MethodPost, target, `{"resources":["*"],"options":"IncludeParameterDefaultValue","outputFormat":"Bicep"}`); a.Status != http.StatusOK {
		t.Fatal(a.Text)
	}
	golden(t, "toys.bicep", a.String("output"))
	a = r.Request(http.MethodPost, target, `{"resources":["*"],"options":"SkipAllParameterization"}`)
	if strings.Contains(a.Text, "_name") || strings.Contains(a.Text, "externalid") || strings.Contains(a.Text, "hunter2") {
		t.Error(a.Text)
	}
	a = r.Request(http.MethodPost, target, `{"resources":["`+toys+`boxes/b"]}`)
	if s := string(mustJSON(t, a.At("template", "resources"))); strings.Count(s, `"apiVersion"`) != 2 || strings.Contains(a.Text, "defaultValue\":\"b\"") || !strings.Contains(s, "parameters('boxes_a_externalid')") {
		t.Error(a.Text)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRefusals(t *testing.T) {
	r := newRegion(t)
	for body, code := range map[string]string{
		`{}`: "InvalidRequestContent", `{"resources":["*"],"options":"Nothing"}`: "InvalidRequestContent", `{"resources":["*"],"outputFormat":"Terraform"}`: "InvalidRequestContent",
		`{"resources":["/subscriptions/x"]}`: "InvalidRequestContent", `{"resources":["` + toys + `boxes/none"]}`: "ResourceNotFound", `[]`: "InvalidRequestContent",
	} {
		if a := r.Request(http.MethodPost, target, body); a.Status/100 != 4 || a.Code() != code {
			t.Errorf("%s: %d %s", body, a.Status, a.Text)
		}
	}
	if a := r.Request(http.MethodPost, strings.Replace(target, "/toys/", "/none/", 1), `{"resources":["*"]}`); a.Code() != "ResourceGroupNotFound" {
		t.Error(a.Text)
	}
	reader := authz.Principal{TenantID: rptest.Owner.TenantID, ObjectID: "33333333-0000-0000-0000-000000000003", Type: "User"}
	r.Deny(reader, "Microsoft.Toys/boxes/read", "no")
	if a := r.As(reader, http.MethodPost, target, `{"resources":["*"]}`); a.Status != http.StatusOK || strings.Contains(a.Text, "serial") || strings.Contains(a.Text, "Microsoft.Toys/boxes\"") {
		t.Error(a.Text)
	}
}
