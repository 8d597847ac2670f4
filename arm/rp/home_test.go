package rp_test

import (
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
)

// Most types stand in every location; one that is at home stands where the platform is.
func TestHomeTypes(t *testing.T) {
	types := append(newWorld().types(), rp.Of(rp.Type[struct{}]{Name: "Microsoft.Toys/houses", Kind: rp.Tracked, Home: true, Versions: rp.Versions[struct{}]("2024-01-01")}))
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope", "northeurope", "global"}}, types...)
	r.Must("PUT", sub+v1, `{}`)
	r.Must("PUT", grp+v1, `{"location":"northeurope"}`)
	house := grp + "/providers/Microsoft.Toys/houses/h" + v1
	r.Must("PUT", house, `{"location":"West Europe"}`)
	wantCode(t, "away from home", r.Request("PUT", grp+"/providers/Microsoft.Toys/houses/i"+v1, `{"location":"northeurope"}`), 400, "LocationNotAvailableForResourceType")
	for _, v := range r.Request("GET", sub+"/providers/microsoft.toys?api-version=2024-11-01", "").At("resourceTypes").([]any) {
		m := v.(map[string]any)
		if l := m["locations"].([]any); m["resourceType"] == "houses" && (len(l) != 1 || l[0] != "westeurope") {
			t.Errorf("houses stand in %v", l)
		}
	}
}
