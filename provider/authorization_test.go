package provider_test

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/authorization"
	"vauban.dev/store"
)

// pattern is what an action of a role names, as a regular expression: an oracle that shares no code with authz.
func pattern(text string) *regexp.Regexp {
	parts := strings.Split(strings.ToLower(text), "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	expression := strings.Join(parts, ".*")
	expression = strings.ReplaceAll(expression, "/.*/", "/(?:.*/)?") // between two slashes it may be nothing
	return regexp.MustCompile("^" + expression + "$")
}

// oracle decides by the published definitions alone.
type oracle struct{ named map[string]map[string]bool }

func newOracle(operations []rp.Operation) *oracle {
	o := &oracle{named: map[string]map[string]bool{}}
	for _, d := range authz.Builtins() {
		for _, p := range d.Permissions {
			for _, text := range slices.Concat(p.Actions, p.NotActions, p.DataActions, p.NotDataActions) {
				if o.named[text] != nil {
					continue
				}
				hits, re := map[string]bool{}, pattern(text)
				for _, op := range operations {
					if re.MatchString(strings.ToLower(op.Name)) {
						hits[op.Name] = true
					}
				}
				o.named[text] = hits
			}
		}
	}
	return o
}

var matched = regexp.MustCompile(`ActionMatches\{'([^']*)'\}`)

// grants: a request without attributes passes a condition only if the condition is not about its action.
func (o *oracle) grants(d authz.Definition, op string, data bool) bool {
	any := func(texts []string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return o.named[t][op] })
	}
	for _, p := range d.Permissions {
		allow, except := p.Actions, p.NotActions
		if data {
			allow, except = p.DataActions, p.NotDataActions
		}
		if !any(allow) || any(except) {
			continue
		}
		about := matched.FindAllStringSubmatch(p.Condition, -1)
		if p.Condition == "" || len(about) > 0 && !slices.ContainsFunc(about, func(m []string) bool { return pattern(m[1]).MatchString(strings.ToLower(op)) }) {
			return true
		}
	}
	return false
}

// TestEveryActionOfEveryRole: what each of Azure's roles may do of all that the providers declare is what the oracle says,
// on both planes; what is refused says what was missing.
func TestEveryActionOfEveryRole(t *testing.T) {
	r := newRegion(t)
	operations := r.Engine.Operations()
	o := newOracle(operations)
	decided, granted := 0, 0
	for _, d := range authz.Builtins() {
		x := new(authz.Index)
		x.Put(authz.Assignment{ID: "/a", PrincipalID: "p", Definition: d.Name, Scope: sub})
		e := &authz.Evaluator{Source: x}
		for _, op := range operations {
			got, err := e.Check(t.Context(), authz.Principal{ObjectID: "p"}, authz.Request{Action: op.Name, Data: op.Data, Scope: group})
			if err != nil {
				t.Fatal(err)
			}
			decided++
			if want := o.grants(d, op.Name, op.Data); got.Allowed != want {
				t.Errorf("%s, %s (data %v): %v, the oracle says %v", d.RoleName, op.Name, op.Data, got, want)
			}
			if got.Allowed {
				granted++
			} else if !strings.Contains(got.By, op.Name) && !strings.Contains(got.By, "condition") || !strings.Contains(got.By, d.RoleName) {
				t.Errorf("%s, %s: %q", d.RoleName, op.Name, got.By)
			}
		}
	}
	t.Logf("%d decisions on %d operations, %d granted", decided, len(operations), granted)
	if len(operations) < 250 || granted < 5_000 {
		t.Errorf("%d operations, %d granted", len(operations), granted)
	}
}

// people are three, with a role each at the subscription.
var people = map[string]authz.Principal{
	"Owner":       {ObjectID: "00000000-0000-0000-0000-000000000a01", Name: "owner"},
	"Contributor": {ObjectID: "00000000-0000-0000-0000-000000000a02", Name: "contributor"},
	"Reader":      {ObjectID: "00000000-0000-0000-0000-000000000a03", Name: "reader"},
}

func (r *region) decided() {
	r.t.Helper()
	source, err := authorization.Open(r.t.Context(), r.Store, new(clock.Region), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	i := 0
	for name, role := range map[string]string{"Owner": authz.Owner, "Contributor": authz.Contributor, "Reader": authz.Reader} {
		i++
		r.Must("PUT", fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/eeeeeeee-0000-0000-0000-%012d?api-version=2022-04-01", sub, i),
			fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`, role, people[name].ObjectID))
	}
	r.Decide(&authz.Evaluator{Source: source})
}

// TestRolesOfTheSpecification is the table "Authorization" of the specification, asked at the door. An operation that
// this region does not serve is asked of the roles, by the action that Azure names for it; calling a web service takes
// the service's key, of which the table says that all three have it.
func TestRolesOfTheSpecification(t *testing.T) {
	r := newRegion(t)
	r.secured()
	r.decided()
	const ml = "Microsoft.MachineLearningServices/workspaces/"
	for _, c := range []struct {
		operation                  string
		method, path, body         string
		action                     string // where the door has no such operation
		owner, contributor, reader bool
	}{
		{"create a workspace", "PUT", group + "/providers/Microsoft.MachineLearningServices/workspaces/WHO" + mlAPI, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccount":"` + account + `","keyVault":"` + vault + `"}}`, "", true, true, false},
		{"share the workspace", "PUT", workspace + "/providers/Microsoft.Authorization/roleAssignments/GUID?api-version=2022-04-01", `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/` + authz.Reader + `","principalId":"GUID"}}`, "", true, false, false},
		{"create a compute target", "PUT", workspace + "/computes/WHO" + mlAPI, `{"location":"westeurope","properties":{"computeType":"AmlCompute","properties":{"vmSize":"Standard_DS3_v2","scaleSettings":{"minNodeCount":0,"maxNodeCount":1}}}}`, "", true, true, false},
		{"attach a compute target", "PUT", workspace + "/computes/at" + "WHO" + mlAPI, `{"location":"westeurope","properties":{"computeType":"VirtualMachine","resourceId":"/x"}}`, "", true, true, false},
		{"attach datastores", "PUT", workspace + "/datastores/WHO" + mlAPI, `{"properties":{"datastoreType":"AzureBlob","accountName":"acct","containerName":"c1c","credentials":{"credentialsType":"None"}}}`, "", true, true, false},
		{"run an experiment", "PUT", workspace + "/jobs/WHO" + mlAPI, `{"properties":{"jobType":"Command","command":"true","environmentId":"azureml:py:1","computeId":"` + workspace + `/computes/cpu"}}`, "", true, true, false},
		{"see runs and metrics", "GET", workspace + "/jobs/waits" + mlAPI, "", "", true, true, true},
		{"register a model", "PUT", workspace + "/models/WHO/versions/1" + mlAPI, `{"properties":{"modelUri":"azureml://jobs/x/outputs/artifacts/paths/y","modelType":"custom_model"}}`, "", true, true, false},
		{"create an image", "PUT", workspace + "/environments/WHO/versions/1" + mlAPI, `{"properties":{"image":"` + image + `"}}`, "", true, true, false},
		{"deploy a web service", "", "", "", ml + "onlineEndpoints/deployments/write", true, true, false},
		{"deploy a web service, in the words of then", "", "", "", ml + "services/aks/write", true, true, false},
		{"see models and images", "GET", workspace + "/environments/py/versions/1" + mlAPI, "", "", true, true, true},
		{"see models", "GET", workspace + "/models" + mlAPI, "", "", true, true, true},
	} {
		for who, want := range map[string]bool{"Owner": c.owner, "Contributor": c.contributor, "Reader": c.reader} {
			p := people[who]
			if c.action != "" {
				d, err := r.Check(t.Context(), p, authz.Request{Action: c.action, Scope: workspace})
				if err != nil || d.Allowed != want {
					t.Errorf("%s, %s: %v %v", c.operation, who, d, err)
				}
				continue
			}
			fill := strings.NewReplacer("WHO", strings.ToLower(who), "GUID", p.ObjectID)
			a := r.As(p, c.method, fill.Replace(c.path), fill.Replace(c.body))
			r.Wait(a)
			switch {
			case want && a.Status == http.StatusForbidden, want && a.Status >= 300 && c.operation != "attach a compute target":
				t.Errorf("%s, %s: %d %s", c.operation, who, a.Status, a.Text)
			case !want && (a.Status != http.StatusForbidden || a.Code() != "AuthorizationFailed" || !refusalNames(a, who)):
				t.Errorf("%s, %s: %d %s", c.operation, who, a.Status, a.Text)
			}
		}
	}
}

// TestResyncKeys: what was taken from the workspace's identity comes back, by the specification's table.
func TestResyncKeys(t *testing.T) {
	r := newRegion(t)
	r.secured()
	r.decided()
	identity := r.Must("GET", workspace+mlAPI, "").String("identity", "principalId")
	held := func() (all []string) {
		list, _ := r.Must("GET", sub+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter=principalId%20eq%20'"+identity+"'", "").At("value").([]any)
		for _, e := range list {
			p := e.(map[string]any)["properties"].(map[string]any)
			d, _ := authz.Builtin(p["roleDefinitionId"].(string))
			all = append(all, d.RoleName+" at "+p["scope"].(string))
			if a := r.Request("DELETE", e.(map[string]any)["id"].(string)+"?api-version=2022-04-01", ""); a.Status != 200 {
				t.Fatal(a.Text)
			}
		}
		slices.Sort(all)
		return all
	}
	held() // taken away
	if left := held(); len(left) > 0 {
		t.Fatal(left)
	}
	if a := r.As(people["Reader"], "POST", workspace+"/resyncKeys"+mlAPI, ""); a.Status != http.StatusForbidden {
		t.Errorf("a reader: %d %s", a.Status, a.Text)
	}
	for range 2 {
		if a := r.As(people["Contributor"], "POST", workspace+"/resyncKeys"+mlAPI, ""); a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Text)
		}
	}
	want := []string{"Contributor at " + group, "Contributor at " + workspace, "Key Vault Administrator at " + vault, "Storage Blob Data Contributor at " + account}
	if diff := cmp.Diff(want, held()); diff != "" {
		t.Error(diff)
	}
}

// refusalNames says whether a refusal names the role that was looked at, and carries the reason for programs.
func refusalNames(a rptest.Answer, role string) bool {
	info, _ := a.At("error", "additionalInfo").([]any)
	return strings.Contains(a.String("error", "message"), "Role '"+role+"' assigned at "+sub) && len(info) == 1 && info[0].(map[string]any)["type"] == "RoleDecision"
}

// TestReaderTriesEveryRoute: every verb and action of every type, on what is there and on what is not, and every route;
// the store is what it was.
func TestReaderTriesEveryRoute(t *testing.T) {
	r := newRegion(t)
	r.secured()
	r.decided()
	r.Quiet()
	reader := people["Reader"]
	present := r.ids()
	before := r.Digest()
	tried, forbidden := 0, 0
	attack := func(method, path, body, permission string, reads bool) {
		t.Helper()
		tried++
		a := r.As(reader, method, path, body)
		switch {
		case a.Status == http.StatusForbidden:
			forbidden++
			if permission != "" && !strings.Contains(permission, "{") && !strings.Contains(a.Text, permission) {
				t.Errorf("%s %s: the refusal does not name %s: %s", method, path, permission, a.Text)
			}
		case a.Status < 300 && !reads:
			t.Errorf("%s %s: %d %s", method, path, a.Status, a.Text)
		case a.Status >= 500 && a.Status != http.StatusNotImplemented && a.Status != http.StatusServiceUnavailable:
			t.Errorf("%s %s: %d %s", method, path, a.Status, a.Text)
		}
	}
	body := `{"location":"westeurope","tags":{"reader":"was here"},"properties":{}}`
	for _, info := range r.Engine.Describe() {
		ids := present[strings.ToLower(info.Name.String())]
		ids = append(ids[:min(len(ids), 3)], absent(info.Name.String()))
		version := "?api-version=" + info.Versions[0]
		for _, id := range ids {
			attack("PUT", id+version, body, "", false)
			attack("PATCH", id+version, `{"tags":{"reader":"was here"}}`, "", false)
			attack("DELETE", id+version, "", "", false)
			for _, call := range info.Calls {
				if call.Method != http.MethodGet {
					attack(call.Method, id+"/"+call.Pattern+version, `{}`, call.Permission, false)
				}
			}
		}
	}
	segment := regexp.MustCompile(`\{[^}]*\}`)
	for _, call := range r.Engine.Calls() {
		if call.Method == http.MethodGet {
			continue
		}
		path := strings.ReplaceAll(call.Pattern, "{subscription}", strings.TrimPrefix(sub, "/subscriptions/"))
		path = strings.ReplaceAll(strings.ReplaceAll(path, "{group}", "rg"), "{resourceGroup}", "rg")
		path = strings.ReplaceAll(path, "{namespace}", "Microsoft.Storage")
		path = segment.ReplaceAllString(path, "cccccccc-0000-0000-0000-000000000001")
		version := "2024-01-01"
		if len(call.Versions) > 0 {
			version = call.Versions[0]
		}
		// what reads by POST, or is for everybody, is answered
		attack(call.Method, path+"?api-version="+version, body, strings.TrimPrefix(call.Permission, "-"), call.Reads || call.Permission == "-" || strings.HasSuffix(strings.ToLower(call.Permission), "/read"))
	}
	if diff := cmp.Diff(before, r.Digest()); diff != "" {
		t.Errorf("a reader changed the store:\n%s", diff)
	}
	t.Logf("%d attempts, %d forbidden", tried, forbidden)
	if forbidden < tried*2/3 {
		t.Errorf("only %d of %d attempts were forbidden", forbidden, tried)
	}
}

// ids are the resources that are there, by lower-case type.
func (r *region) ids() map[string][]string {
	r.t.Helper()
	all := map[string][]string{}
	err := r.Engine.View(r.t.Context(), func(tx *rp.Tx) error {
		for _, info := range r.Engine.Describe() {
			err := tx.Scan(rp.StoreKind(info.Name.String()), "", "", func(d store.Doc) bool {
				key := strings.ToLower(info.Name.String())
				all[key] = append(all[key], d.Key)
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if n := len(slices.Collect(maps.Keys(all))); n < 15 {
		r.t.Fatalf("only %d types have resources", n)
	}
	return all
}

// absent is the id of a resource of a type that is not there.
func absent(typ string) string {
	namespace, path, _ := strings.Cut(typ, "/")
	switch typ {
	case "Microsoft.Resources/subscriptions":
		return "/subscriptions/cccccccc-0000-0000-0000-000000000009"
	case "Microsoft.Resources/resourceGroups":
		return sub + "/resourceGroups/absent"
	}
	id := group + "/providers/" + namespace
	for s := range strings.SplitSeq(path, "/") {
		id += "/" + s + "/cccccccc-0000-0000-0000-000000000009"
	}
	return id
}
