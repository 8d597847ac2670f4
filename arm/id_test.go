package arm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parts is what a test says of an ID.
type parts struct {
	MG, Sub, Group, Type, Name, Parent, Scope string
	Names                                     []string
}

func partsOf(id ID) parts {
	return parts{
		MG: id.ManagementGroup(), Sub: id.Subscription(), Group: id.ResourceGroup(), Type: id.Type().String(),
		Name: id.Name(), Parent: id.Parent().String(), Scope: id.Scope().String(), Names: id.Names(),
	}
}

func TestParseID(t *testing.T) {
	const vnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
	const mg = "/providers/Microsoft.Management/managementGroups/m"
	for in, want := range map[string]parts{
		"/":                                 {Scope: "/"},
		"/subscriptions/s":                  {Sub: "s", Type: "Microsoft.Resources/subscriptions", Name: "s", Parent: "/", Scope: "/subscriptions/s"},
		"/SUBSCRIPTIONS/S/":                 {Sub: "S", Type: "Microsoft.Resources/subscriptions", Name: "S", Parent: "/", Scope: "/SUBSCRIPTIONS/S"},
		"/subscriptions/s/resourcegroups/G": {Sub: "s", Group: "G", Type: "Microsoft.Resources/resourceGroups", Name: "G", Parent: "/subscriptions/s", Scope: "/subscriptions/s/resourcegroups/G"},
		vnet:                                {Sub: "s", Group: "g", Type: "Microsoft.Network/virtualNetworks", Name: "v", Names: []string{"v"}, Parent: "/subscriptions/s/resourceGroups/g", Scope: "/subscriptions/s/resourceGroups/g"},
		vnet + "/subnets/n":                 {Sub: "s", Group: "g", Type: "Microsoft.Network/virtualNetworks/subnets", Name: "n", Names: []string{"v", "n"}, Parent: vnet, Scope: "/subscriptions/s/resourceGroups/g"},
		vnet + "/subnets/providers":         {Sub: "s", Group: "g", Type: "Microsoft.Network/virtualNetworks/subnets", Name: "providers", Names: []string{"v", "providers"}, Parent: vnet, Scope: "/subscriptions/s/resourceGroups/g"},
		vnet + "/providers/Microsoft.Authorization/roleAssignments/r": {Sub: "s", Group: "g", Type: "Microsoft.Authorization/roleAssignments", Name: "r", Names: []string{"r"}, Parent: vnet, Scope: vnet},
		"/subscriptions/s/providers/Microsoft.Authorization/locks/l":  {Sub: "s", Type: "Microsoft.Authorization/locks", Name: "l", Names: []string{"l"}, Parent: "/subscriptions/s", Scope: "/subscriptions/s"},
		"/providers/Microsoft.Authorization/roleDefinitions/d":        {Type: "Microsoft.Authorization/roleDefinitions", Name: "d", Names: []string{"d"}, Parent: "/", Scope: "/"},
		mg: {MG: "m", Type: "Microsoft.Management/managementGroups", Name: "m", Names: []string{"m"}, Parent: "/", Scope: "/"},
		mg + "/providers/Microsoft.Authorization/policyAssignments/p": {MG: "m", Type: "Microsoft.Authorization/policyAssignments", Name: "p", Names: []string{"p"}, Parent: mg, Scope: mg},
	} {
		id, err := ParseID(in)
		if err != nil {
			t.Errorf("ParseID(%q): %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, partsOf(id)); diff != "" {
			t.Errorf("ParseID(%q) (-want +got):\n%s", in, diff)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, in := range []string{
		"", "subscriptions/s", "//", "/subscriptions", "/subscriptions/", "/subscriptions//x", "/subscriptions/s/resourceGroups", "/subscriptions/s/x",
		"/subscriptions/s/providers", "/subscriptions/s/providers/A.B", "/subscriptions/s/providers/A.B/c", "/subscriptions/s/providers/A.B/c/d/e",
		"/resourceGroups/g", "/x", "/ſubscriptions/s", "/" + strings.Repeat("x", 5000),
	} {
		if id, err := ParseID(in); err == nil {
			t.Errorf("ParseID(%q) = %+v", in, partsOf(id))
		} else if AsError(err) == nil || AsError(err).Status != 400 {
			t.Errorf("ParseID(%q): %v", in, err)
		}
	}
}

func TestParseCollection(t *testing.T) {
	const vnets = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks"
	for in, want := range map[string][2]string{
		"/subscriptions":                  {"/", "Microsoft.Resources/subscriptions"},
		"/Subscriptions/":                 {"/", "Microsoft.Resources/subscriptions"},
		"/subscriptions/s/resourcegroups": {"/subscriptions/s", "Microsoft.Resources/resourceGroups"},
		vnets:                             {"/subscriptions/s/resourceGroups/g", "Microsoft.Network/virtualNetworks"},
		vnets + "/v/subnets":              {vnets + "/v", "Microsoft.Network/virtualNetworks/subnets"},
		vnets + "/v/subnets/":             {vnets + "/v", "Microsoft.Network/virtualNetworks/subnets"},
		vnets + "/v/providers/A.B/locks":  {vnets + "/v", "A.B/locks"},
		"/providers/A.B/c":                {"/", "A.B/c"},
	} {
		parent, typ, err := ParseCollection(in)
		if err != nil {
			t.Errorf("ParseCollection(%q): %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, [2]string{parent.String(), typ.String()}); diff != "" {
			t.Errorf("ParseCollection(%q) (-want +got):\n%s", in, diff)
		}
	}
	for _, in := range []string{"", "/", "/subscriptions/s", vnets + "/v", "/resourceGroups", vnets + "/v/resourceGroups/x/y/resourceGroups/", "/providers/A.B"} {
		if parent, typ, err := ParseCollection(in); err == nil {
			t.Errorf("ParseCollection(%q) = %s, %s", in, parent, typ)
		}
	}
}

func TestWithin(t *testing.T) {
	id := MustParseID("/subscriptions/S/resourceGroups/g10/providers/A.B/c/d")
	for scope, want := range map[string]bool{
		"/": true, "/subscriptions/s": true, "/subscriptions/s/resourceGroups/G10": true, "/subscriptions/s/resourceGroups/g1": false,
		"/subscriptions/s/resourceGroups/g10/providers/a.b/C/D": true, "/subscriptions/s2": false,
	} {
		if got := id.Within(MustParseID(scope)); got != want {
			t.Errorf("within %s: %v", scope, got)
		}
	}
}

func TestChild(t *testing.T) {
	id := MustParseID("/subscriptions/s/resourceGroups/g/providers/A.B/c/d")
	if got := id.Child("e", "f").String(); got != id.String()+"/e/f" {
		t.Error(got)
	}
	for _, name := range []string{"", "a/b", strings.Repeat("x", 5000)} {
		if got := id.Child("e", name); !got.IsZero() {
			t.Errorf("Child(%.10q) = %s", name, got)
		}
	}
}

func TestNotFound(t *testing.T) {
	for id, code := range map[string]string{
		"/subscriptions/s": "SubscriptionNotFound", "/subscriptions/s/resourceGroups/g": "ResourceGroupNotFound",
		"/subscriptions/s/resourceGroups/g/providers/A.B/c/d": "ResourceNotFound",
	} {
		if e := NotFound(MustParseID(id)); e.Code != code || e.Status != 404 {
			t.Errorf("%s: %v", id, e)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{
		"/", "/subscriptions/s/resourceGroups/g/providers/A.B/c/d/e/f", "/providers/Microsoft.Management/managementGroups/m/providers/A.B/c/d",
		"/subscriptions/s/providers/A.B/c/providers/providers/x/y", "/subscriptions/é/resourceGroups/İ", "/subscriptions/s/providers/A.B/c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if parent, typ, err := ParseCollection(s); err == nil && (parent.IsZero() || typ.IsZero()) {
			t.Errorf("ParseCollection(%q) = %q, %q", s, parent, typ)
		}
		id, err := ParseID(s)
		if err != nil {
			return
		}
		again, err := ParseID(id.String())
		if err != nil || again.Key() != id.Key() || again.Type().Key() != id.Type().Key() {
			t.Fatalf("%q: again %q, %v", s, again, err)
		}
		low, err := ParseID(id.Key())
		if err != nil || low.Key() != id.Key() || low.Type().Key() != id.Type().Key() {
			t.Fatalf("%q: the key %q is another id, %v", s, id.Key(), err)
		}
		steps := 0
		for p := id; !p.IsZero(); p = p.Parent() {
			if !id.Within(p) || !id.Within(p.Scope()) {
				t.Fatalf("%q is not within %q", id, p)
			}
			if steps++; steps > len(s)+2 {
				t.Fatalf("%q: the parents do not end", id)
			}
		}
		if id.Namespace() != "" && len(id.Names()) != len(id.Type().Types) {
			t.Fatalf("%q: %d names, %d types", id, len(id.Names()), len(id.Type().Types))
		}
	})
}
