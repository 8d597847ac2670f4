package rp_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
)

func TestAliases(t *testing.T) {
	type part struct {
		Name       string `json:"name"`
		Properties struct {
			Size int `json:"size"`
		} `json:"properties"`
	}
	type box struct {
		Parts  []part `json:"parts,omitempty"`
		State  string `json:"state,omitempty" rp:"readonly"`
		Key    string `json:"key,omitempty" rp:"secret"`
		Closed *bool  `json:"closed,omitempty"`
	}
	r := rptest.New(t, rp.Config{}, rp.Of(rp.Type[box]{Name: "Microsoft.Test/boxes", Versions: rp.Versions[box]("2024-01-01")}))
	for _, scope := range []string{"", "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"} {
		a := r.Must("GET", scope+"/providers/Microsoft.Test?api-version=2024-11-01&$expand=resourceTypes/aliases", "")
		var p struct {
			ResourceTypes []struct {
				ResourceType string
				Aliases      []struct {
					Name, DefaultPath string
					Paths             []any
					DefaultMetadata   struct{ Type, Attributes string }
				}
			}
		}
		if err := json.Unmarshal([]byte(a.Text), &p); err != nil || p.ResourceTypes[0].ResourceType != "boxes" {
			t.Fatalf("%v %s", err, a.Text)
		}
		var got []string
		for _, x := range p.ResourceTypes[0].Aliases {
			got = append(got, x.Name+" "+x.DefaultPath+" "+x.DefaultMetadata.Type+" "+x.DefaultMetadata.Attributes)
		}
		const at = "Microsoft.Test/boxes/"
		if d := cmp.Diff([]string{
			at + "parts properties.parts Array Modifiable", at + "parts[*] properties.parts[*] Object Modifiable", at + "parts[*].name properties.parts[*].name String Modifiable",
			at + "parts[*].size properties.parts[*].properties.size Integer Modifiable", at + "state properties.state String None", at + "closed properties.closed Boolean Modifiable",
		}, got); d != "" {
			t.Error(d)
		}
		if plain := r.Must("GET", scope+"/providers/Microsoft.Test?api-version=2024-11-01", ""); plain.Text == a.Text {
			t.Error("aliases without $expand")
		}
	}
}
