package rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sub = "/subscriptions/00000000-0000-0000-0000-000000000001"
	grp = sub + "/resourceGroups/rg1"
	v1  = "?api-version=2024-01-01"
	v0  = "?api-version=2020-01-01-preview"
)

// toy is a type with everything: sync widgets with sizes, async engines with parts.
type widget struct {
	Size    int          `json:"size,omitempty"`
	Mode    string       `json:"mode,omitempty"`
	GUID    string       `json:"guid,omitempty" rp:"readonly"`
	Key     string       `json:"key,omitempty" rp:"private"`
	Secret  string       `json:"secret,omitempty" rp:"secret"`
	Rules   []widgetRule `json:"rules,omitempty"`
	Subnet  *ref         `json:"subnet,omitempty"`
	Seen    string       `json:"seen,omitempty"`
	Renamed string       `json:"renamed,omitempty"`
}

type widgetRule struct {
	Name string `json:"name"`
	Port int    `json:"port,omitempty"`
}

type ref struct {
	ID string `json:"id"`
}

type machine struct {
	Steps   int    `json:"steps,omitempty"`
	Done    int    `json:"done" rp:"readonly"`
	Fail    string `json:"fail,omitempty"`
	Flaky   int    `json:"flaky,omitempty"`
	Started bool   `json:"started" rp:"readonly"`
}

type part struct {
	Prefix string `json:"prefix,omitempty"`
	InUse  bool   `json:"inUse,omitempty"`
	Steps  int    `json:"steps,omitempty"`
	Done   int    `json:"done" rp:"readonly"`
}

// world is what the toy types touch outside the store.
type world struct {
	mu        sync.Mutex
	calls     map[string]int
	finalized []string
	gate      chan struct{} // reconciles wait for a value when it is not nil
	hold      map[string]bool
}

func (w *world) call(id arm.ID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[id.Key()]++
	return w.calls[id.Key()]
}

func (w *world) held(id arm.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hold[id.Key()]
}

func (w *world) setHeld(id string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold[strings.ToLower(id)] = on
}

func newWorld() *world { return &world{calls: map[string]int{}, hold: map[string]bool{}} }

func (w *world) types() []rp.Registration {
	return []rp.Registration{
		rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/subscriptions", Versions: rp.Versions[struct{}]("2022-12-01", "2024-01-01"), StateProperty: "-"}),
		rp.Of(rp.Type[struct{}]{Name: "Microsoft.Resources/resourceGroups", Versions: rp.Versions[struct{}]("2024-01-01"), NamePattern: `^[-\w._()]{0,89}[-\w_()]$`}),
		rp.Of(rp.Type[widget]{
			Name: "Microsoft.Toys/widgets",
			Versions: []rp.Version[widget]{{Name: "2024-01-01"}, {
				Name: "2020-01-01-preview",
				Decode: func(b []byte, t *widget) error {
					if strings.Contains(string(b), `"oldName":"bad"`) {
						return arm.Errorf(400, "BadOldName", "no")
					}
					return nil
				},
				Encode: func(t *widget) (map[string]any, error) { return map[string]any{"oldSize": t.Size}, nil },
			}},
			NamePattern: `^[a-z0-9-]{2,20}$`, NameRule: "It has 2 to 20 lower-case letters, digits and dashes.",
			SyncDelete: true, ShowETag: true,
			Default: func(version string, r *rp.Resource[widget]) {
				if r.Properties.Mode == "" {
					r.Properties.Mode = "default of " + version
				}
			},
			Validate: func(op rp.Op, n, old *rp.Resource[widget]) error {
				if n.Properties.Size > 100 {
					return arm.Errorf(400, "TooLarge", "size %d", n.Properties.Size)
				}
				return nil
			},
			Links: func(r *rp.Resource[widget]) []rp.Link {
				if r.Properties.Subnet == nil {
					return nil
				}
				id, err := arm.ParseID(r.Properties.Subnet.ID)
				if err != nil {
					return nil
				}
				return []rp.Link{{Action: "Microsoft.Network/virtualNetworks/subnets/join/action", ID: id}}
			},
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, n, old *rp.Resource[widget]) error {
				if op == rp.Create {
					n.Properties.GUID, n.Properties.Key = "guid-of-"+n.ID.Name(), "key-1"
				}
				return nil
			},
			Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[widget]) error {
				r.Properties.Seen = "at GET"
				return nil
			},
			Actions: map[string]rp.Action[widget]{
				"listKeys": {Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[widget], _ []byte) (any, error) {
					return map[string]string{"key": r.Properties.Key, "secret": r.Properties.Secret}, nil
				}},
				"rotate": {Permission: "Microsoft.Toys/widgets/rotateKeys/action", Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[widget], _ []byte) (any, error) {
					r.Properties.Key = "key-2"
					return nil, nil
				}},
			},
		}),
		rp.Of(rp.Type[widget]{Name: "Microsoft.Toys/widgets/versions", Kind: rp.Proxy, Versions: rp.Versions[widget]("2024-01-01"), ImplicitParent: true}),
		rp.Of(rp.Type[widget]{Name: "Microsoft.Toys/widgets/models", Kind: rp.Proxy, Versions: rp.Versions[widget]("2024-01-01")}),
		rp.Of(rp.Type[widget]{Name: "Microsoft.Toys/widgets/models/versions", Kind: rp.Proxy, Versions: rp.Versions[widget]("2024-01-01"), ImplicitParent: true}),
		rp.Of(rp.Type[widget]{Name: "Microsoft.Toys/readings", Kind: rp.Proxy, Versions: rp.Versions[widget]("2024-01-01"), NoPut: true, NoDelete: true}),
		rp.Of(rp.Type[widget]{Name: "Microsoft.Toys/notes", Kind: rp.Extension, Versions: rp.Versions[widget]("2024-01-01"), StateProperty: "-"}),
		rp.Of(rp.Type[machine]{
			Name: "Microsoft.Toys/machines", Versions: rp.Versions[machine]("2024-01-01"),
			Inline: map[string]string{"parts": "Microsoft.Toys/machines/parts"},
			Reconcile: func(ctx context.Context, r *rp.Resource[machine]) (rp.Result, error) {
				n := w.call(r.ID)
				r.Properties.Started = true
				switch {
				case r.Properties.Fail != "":
					return rp.Result{}, arm.Errorf(409, r.Properties.Fail, "as was asked for")
				case n <= r.Properties.Flaky:
					return rp.Result{}, errors.New("flaky")
				case w.held(r.ID):
					return rp.Result{After: 1e6}, nil // until Wake, or a millisecond
				case r.Properties.Done < r.Properties.Steps:
					r.Properties.Done++
					return rp.Result{After: 1}, nil
				}
				return rp.Result{}, nil
			},
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, n, old *rp.Resource[machine]) error {
				parts, err := rp.List[part](tx, "Microsoft.Toys/machines/parts", n.ID)
				for _, p := range parts {
					if p.Properties.Prefix == "forbidden" {
						return arm.Errorf(400, "ForbiddenPart", "the parent sees %s", p.ID)
					}
				}
				return err
			},
			Finalize: func(ctx context.Context, r *rp.Resource[machine]) (rp.Result, error) {
				if w.held(r.ID) {
					return rp.Result{After: 1e6}, nil
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				w.finalized = append(w.finalized, r.ID.Name())
				return rp.Result{}, nil
			},
		}),
		rp.Of(rp.Type[part]{
			Name: "Microsoft.Toys/machines/parts", Kind: rp.Proxy, Versions: rp.Versions[part]("2024-01-01"), ShowETag: true,
			Reconcile: func(ctx context.Context, r *rp.Resource[part]) (rp.Result, error) {
				if r.Properties.Done < r.Properties.Steps {
					r.Properties.Done++
					return rp.Result{After: 1}, nil
				}
				return rp.Result{}, nil
			},
			Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[part]) error {
				if r.Properties.InUse {
					return arm.Errorf(400, "InUsePartCannotBeDeleted", "part %s is in use", r.ID.Name())
				}
				return nil
			},
		}),
		rp.Routes(
			rp.Route{Method: "POST", Pattern: "/subscriptions/{subscription}/providers/Microsoft.Toys/checkNameAvailability", Permission: "Microsoft.Toys/checkNameAvailability/read",
				Do: func(_ context.Context, _ *rp.Tx, path, query map[string]string, body []byte) (any, error) {
					return map[string]any{"nameAvailable": true, "body": string(body), "subscription": path["subscription"]}, nil
				}},
			rp.Route{Method: "GET", Pattern: "/subscriptions/{s}/providers/Microsoft.Toys/locations/{location}/sizes", Permission: "Microsoft.Toys/locations/sizes/read", Versions: []string{"2024-01-01"},
				Do: func(_ context.Context, _ *rp.Tx, path, query map[string]string, _ []byte) (any, error) {
					return map[string]any{"location": path["location"]}, nil
				}},
		),
	}
}

func region(t *testing.T, w *world) *rptest.Region {
	t.Helper()
	r := rptest.New(t, rp.Config{Locations: []string{"westeurope", "North Europe"}}, w.types()...)
	r.Must("PUT", sub+v1, `{}`)
	r.Must("PUT", grp+v1, `{"location":"West Europe"}`)
	return r
}

func wantCode(t *testing.T, what string, a rptest.Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code() != code {
		t.Errorf("%s: %d %s, want %d %s", what, a.Status, a.Text, status, code)
	}
}

func widgetPath(name string) string { return grp + "/providers/Microsoft.Toys/widgets/" + name }

func TestCreateGetUpdateDelete(t *testing.T) {
	r := region(t, newWorld())
	p := widgetPath("w1")
	wantCode(t, "GET before", r.Request("GET", p+v1, ""), 404, "ResourceNotFound")
	if a := r.Request("HEAD", p+v1, ""); a.Status != 404 || a.Text != "" {
		t.Errorf("HEAD before: %d %q", a.Status, a.Text)
	}
	if a := r.Request("DELETE", p+v1, ""); a.Status != 204 {
		t.Errorf("DELETE before: %d", a.Status)
	}
	// The path is written as clients do: another case, double and trailing slashes, escapes.
	odd := "/" + strings.ToUpper(grp) + "/providers//microsoft.toys/WIDGETS/%771/"
	created := r.Request("PUT", odd+v1, `{"location":"WestEurope","tags":{"a":"b"},"kind":"k","sku":{"name":"S1","tier":"T"},"plan":{"name":"p"},
		"properties":{"size":3,"guid":"mine","key":"mine","provisioningState":"Failed","secret":"hush","unknown":{"deep":[1,{"x":null}]},"rules":[{"name":"a","port":1,"note":"kept"},{"name":"b","note":"too"}]}}`)
	if created.Status != 201 {
		t.Fatalf("PUT: %d %s", created.Status, created.Text)
	}
	got := r.Request("GET", p+v1, "")
	want := map[string]any{
		"id": p, "name": "w1", "type": "Microsoft.Toys/widgets", "location": "westeurope", "tags": map[string]any{"a": "b"}, "kind": "k",
		"sku": map[string]any{"name": "S1", "tier": "T"}, "plan": map[string]any{"name": "p"}, "etag": got.Header.Get("ETag"),
		"systemData": got.At("systemData"),
		"properties": map[string]any{
			"size": 3.0, "mode": "default of 2024-01-01", "guid": "guid-of-w1", "seen": "at GET", "provisioningState": "Succeeded",
			"unknown": map[string]any{"deep": []any{1.0, map[string]any{}}},
			"rules":   []any{map[string]any{"name": "a", "port": 1.0, "note": "kept"}, map[string]any{"name": "b", "note": "too"}},
		},
	}
	// The group's spelling is that of its creation; the name that of the first PUT.
	if diff := cmp.Diff(want, got.Body); diff != "" {
		t.Errorf("GET (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got.Body, created.Body); diff != "" {
		t.Errorf("PUT answers otherwise than GET (-get +put):\n%s", diff)
	}
	if got.String("systemData", "createdBy") != rptest.Owner.Name {
		t.Errorf("systemData: %v", got.At("systemData"))
	}
	keys := r.Request("POST", p+"/listkeys"+v1, "")
	if keys.String("key") != "key-1" || keys.String("secret") != "hush" {
		t.Errorf("listKeys: %s", keys.Text)
	}
	if a := r.Request("POST", p+"/rotate"+v1, ""); a.Status != 204 {
		t.Errorf("rotate: %d %s", a.Status, a.Text)
	}
	updated := r.Request("PUT", p+v1, `{"location":"westeurope","properties":{"size":4,"mode":"m"}}`)
	if updated.Status != 200 || updated.At("tags") != nil || updated.At("properties", "unknown") != nil || updated.String("properties", "guid") != "guid-of-w1" {
		t.Errorf("second PUT: %d %s", updated.Status, updated.Text)
	}
	keys = r.Request("POST", p+"/listKeys"+v1, "")
	if keys.String("key") != "key-2" || keys.String("secret") != "hush" {
		t.Errorf("keys after the second PUT: %s", keys.Text)
	}
	if a := r.Request("HEAD", p+v1, ""); a.Status != 204 {
		t.Errorf("HEAD: %d", a.Status)
	}
	if a := r.Request("DELETE", p+v1, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	wantCode(t, "GET after", r.Request("GET", p+v1, ""), 404, "ResourceNotFound")
}

func TestPatch(t *testing.T) {
	r := region(t, newWorld())
	p := widgetPath("w1")
	wantCode(t, "PATCH of nothing", r.Request("PATCH", p+v1, `{"tags":{}}`), 404, "ResourceNotFound")
	r.Must("PUT", p+v1, `{"location":"westeurope","tags":{"a":"1","b":"2"},"properties":{"size":3,"secret":"s","extra":{"x":1,"y":2}}}`)
	a := r.Request("PATCH", p+v1, `{"tags":{"a":null,"c":"3"},"properties":{"Size":5,"extra":{"x":null,"z":3}}}`)
	if a.Status != 200 {
		t.Fatalf("PATCH: %d %s", a.Status, a.Text)
	}
	if diff := cmp.Diff(map[string]any{"c": "3"}, a.At("tags")); diff != "" {
		t.Errorf("tags:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"y": 2.0, "z": 3.0}, a.At("properties", "extra")); diff != "" {
		t.Errorf("extra:\n%s", diff)
	}
	if a.At("properties", "size") != 5.0 {
		t.Errorf("size: %v", a.At("properties", "size"))
	}
	if keys := r.Request("POST", p+"/listKeys"+v1, ""); keys.String("secret") != "s" {
		t.Errorf("the secret after PATCH: %s", keys.Text)
	}
	wantCode(t, "PATCH that does not validate", r.Request("PATCH", p+v1, `{"properties":{"size":101}}`), 400, "TooLarge")
	wantCode(t, "PATCH of the location", r.Request("PATCH", p+v1, `{"location":"northeurope"}`), 409, "InvalidResourceLocation")
}

func TestVersionsHaveTheirOwnForm(t *testing.T) {
	r := region(t, newWorld())
	p := widgetPath("w1")
	r.Must("PUT", p+v1, `{"location":"westeurope","properties":{"size":7}}`)
	if a := r.Request("GET", p+v0, ""); a.At("properties", "oldSize") != 7.0 || a.At("properties", "size") != nil {
		t.Errorf("old version: %s", a.Text)
	}
	wantCode(t, "decode", r.Request("PUT", widgetPath("w2")+v0, `{"location":"westeurope","properties":{"oldName":"bad"}}`), 400, "BadOldName")
	a := r.Request("PUT", widgetPath("w3")+v0, `{"location":"westeurope"}`)
	if b := r.Request("GET", widgetPath("w3")+v1, ""); b.String("properties", "mode") != "default of 2020-01-01-preview" {
		t.Errorf("defaults: %s %s", a.Text, b.Text)
	}
}

func TestRefusals(t *testing.T) {
	r := region(t, newWorld())
	r.Must("PUT", widgetPath("w1")+v1, `{"location":"westeurope"}`)
	ok := `{"location":"westeurope"}`
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		code                     string
	}{
		{"no api-version", "GET", widgetPath("w1"), "", 400, "MissingApiVersionParameter"},
		{"malformed api-version", "GET", widgetPath("w1") + "?api-version=banana", "", 400, "InvalidApiVersionParameter"},
		{"unknown api-version", "GET", widgetPath("w1") + "?api-version=1999-01-01", "", 400, "NoRegisteredProviderFound"},
		{"unknown api-version of groups", "GET", grp + "?api-version=1999-01-01", "", 400, "InvalidApiVersionParameter"},
		{"unknown api-version of a route", "GET", sub + "/providers/Microsoft.Toys/locations/we/sizes" + v0, "", 400, "NoRegisteredProviderFound"},
		{"two api-versions", "GET", widgetPath("w1") + v1 + "&API-Version=2020-01-01-preview", "", 400, "InvalidApiVersionParameter"},
		{"unknown namespace", "GET", grp + "/providers/Microsoft.Nope/things/x" + v1, "", 404, "InvalidResourceNamespace"},
		{"unknown type", "GET", grp + "/providers/Microsoft.Toys/things/x" + v1, "", 404, "InvalidResourceType"},
		{"unknown type listed", "GET", grp + "/providers/Microsoft.Toys/things" + v1, "", 404, "InvalidResourceType"},
		{"unknown subscription", "GET", "/subscriptions/nope/resourceGroups/rg1" + v1, "", 404, "SubscriptionNotFound"},
		{"unknown action", "POST", widgetPath("w1") + "/nope" + v1, "", 404, "NotFound"},
		{"POST on a resource", "POST", widgetPath("w1") + v1, "", 405, "MethodNotAllowed"},
		{"PUT on a collection", "PUT", grp + "/providers/Microsoft.Toys/widgets" + v1, ok, 405, "MethodNotAllowed"},
		{"no such path", "GET", "/nope" + v1, "", 404, "NotFound"},
		{"OPTIONS", "OPTIONS", widgetPath("w1") + v1, "", 405, "MethodNotAllowed"},
		{"group missing on PUT", "PUT", sub + "/resourceGroups/rg2/providers/Microsoft.Toys/widgets/w1" + v1, ok, 404, "ResourceGroupNotFound"},
		{"group missing on GET", "GET", sub + "/resourceGroups/rg2/providers/Microsoft.Toys/widgets/w1" + v1, "", 404, "ResourceGroupNotFound"},
		{"group missing on LIST", "GET", sub + "/resourceGroups/rg2/providers/Microsoft.Toys/widgets" + v1, "", 404, "ResourceGroupNotFound"},
		{"group missing on DELETE of itself", "DELETE", sub + "/resourceGroups/rg2" + v1, "", 404, "ResourceGroupNotFound"},
		{"no group", "PUT", sub + "/providers/Microsoft.Toys/widgets/w1" + v1, ok, 400, "MissingResourceGroup"},
		{"parent missing", "PUT", grp + "/providers/Microsoft.Toys/machines/m/parts/p" + v1, `{}`, 404, "ParentResourceNotFound"},
		{"parent missing on LIST", "GET", grp + "/providers/Microsoft.Toys/machines/m/parts" + v1, "", 404, "ResourceNotFound"},
		{"no location", "PUT", widgetPath("w2") + v1, `{}`, 400, "LocationRequired"},
		{"unknown location", "PUT", widgetPath("w2") + v1, `{"location":"moon"}`, 400, "LocationNotAvailableForResourceType"},
		{"location changed", "PUT", widgetPath("w1") + v1, `{"location":"northeurope"}`, 409, "InvalidResourceLocation"},
		{"group's location changed", "PUT", grp + v1, `{"location":"northeurope"}`, 409, "InvalidResourceGroupLocation"},
		{"name against the pattern", "PUT", widgetPath("W_1") + v1, ok, 400, "InvalidResourceName"},
		{"name with a bad character", "PUT", widgetPath("w%3c1") + v1, ok, 400, "InvalidResourceName"},
		{"another name in the body", "PUT", widgetPath("w2") + v1, `{"name":"w3","location":"westeurope"}`, 400, "InvalidResourceName"},
		{"validation", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","properties":{"size":101}}`, 400, "TooLarge"},
		{"wrong type of a property", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","properties":{"size":"big"}}`, 400, "InvalidRequestContent"},
		{"wrong type of properties", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","properties":[]}`, 400, "InvalidRequestContent"},
		{"wrong type of tags", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","tags":{"a":1}}`, 400, "InvalidRequestContent"},
		{"bad tag name", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","tags":{"a/b":"1"}}`, 400, "InvalidTagNameCharacters"},
		{"no body", "PUT", widgetPath("w2") + v1, "", 400, "InvalidRequestContent"},
		{"an array", "PUT", widgetPath("w2") + v1, `[]`, 400, "InvalidRequestContent"},
		{"null", "PUT", widgetPath("w2") + v1, `null`, 400, "InvalidRequestContent"},
		{"broken JSON", "PUT", widgetPath("w2") + v1, `{"location":`, 400, "InvalidRequestContent"},
		{"twice the same member", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","Location":"northeurope"}`, 400, "InvalidRequestContent"},
		{"deep JSON", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","properties":{"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}}`, 400, "InvalidRequestContent"},
		{"large body", "PUT", widgetPath("w2") + v1, `{"location":"` + strings.Repeat("x", 4<<20) + `"}`, 413, "RequestContentTooLarge"},
		{"written by the system only", "PUT", grp + "/providers/Microsoft.Toys/readings/r" + v1, `{}`, 405, "MethodNotAllowed"},
		{"deleted by the system only", "DELETE", grp + "/providers/Microsoft.Toys/readings/r" + v1, "", 405, "MethodNotAllowed"},
		{"identity without identities", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`, 501, "NotImplemented"},
		{"identity type", "PUT", widgetPath("w2") + v1, `{"location":"westeurope","identity":{"type":"Magic"}}`, 400, "InvalidIdentityType"},
		{"escaped slash", "GET", grp + "/providers/Microsoft.Toys/widgets/a%2Fb" + v1, "", 400, "InvalidRequestUri"},
		{"relative segment", "GET", grp + "/providers/Microsoft.Toys/widgets/%2e%2e" + v1, "", 400, "InvalidRequestUri"},
		{"bad $top", "GET", grp + "/providers/Microsoft.Toys/widgets" + v1 + "&$top=0", "", 400, "InvalidTopQueryString"},
		{"bad $skipToken", "GET", grp + "/providers/Microsoft.Toys/widgets" + v1 + "&$skipToken=!!", "", 400, "InvalidSkipToken"},
		{"bad $filter", "GET", sub + "/resources" + v1 + "&$filter=name%20eq%20'x'%20and%20color%20eq%20'red'", "", 400, "InvalidFilterInQueryString"},
		{"bad $filter of groups", "GET", sub + "/resourceGroups" + v1 + "&$filter=tagName", "", 400, "InvalidFilterInQueryString"},
		{"extension on nothing", "PUT", widgetPath("w9") + "/providers/Microsoft.Toys/notes/n" + v1, `{}`, 404, "ResourceNotFound"},
		{"operation of nobody", "GET", sub + "/providers/Microsoft.Toys/locations/westeurope/operations/x" + v1, "", 404, "OperationNotFound"},
	} {
		wantCode(t, c.what, r.Request(c.method, c.path, c.body), c.status, c.code)
	}
	wantCode(t, "media type", r.Request("PUT", widgetPath("w2")+v1, ok, "Content-Type", "text/plain"), 415, "UnsupportedMediaType")
	if a := r.Request("GET", grp+"/providers/Microsoft.Toys/widgets"+v1, ""); len(a.At("value").([]any)) != 1 {
		t.Errorf("refused writes left something: %s", a.Text)
	}
}

func TestEtags(t *testing.T) {
	r := region(t, newWorld())
	p, body := widgetPath("w1")+v1, `{"location":"westeurope"}`
	wantCode(t, "If-Match on nothing", r.Request("PUT", p, body, "If-Match", "*"), 412, "PreconditionFailed")
	first := r.Request("PUT", p, body, "If-None-Match", "*")
	if first.Status != 201 {
		t.Fatalf("create: %s", first.Text)
	}
	wantCode(t, "If-None-Match", r.Request("PUT", p, body, "If-None-Match", "*"), 412, "PreconditionFailed")
	second := r.Request("PUT", p, body, "If-Match", first.Header.Get("ETag"))
	if second.Status != 200 || second.Header.Get("ETag") == first.Header.Get("ETag") {
		t.Errorf("update: %d %s", second.Status, second.Header.Get("ETag"))
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		wantCode(t, "stale "+method, r.Request(method, p, body, "If-Match", first.Header.Get("ETag")), 412, "PreconditionFailed")
	}
	if a := r.Request("DELETE", p, "", "If-Match", `"x", `+second.Header.Get("ETag")); a.Status != 200 {
		t.Errorf("delete: %d %s", a.Status, a.Text)
	}
}

func TestListAndPaging(t *testing.T) {
	r := region(t, newWorld())
	r.Must("PUT", sub+"/resourceGroups/rg10"+v1, `{"location":"westeurope"}`)
	var want []string
	for i := range 5 {
		name := fmt.Sprintf("w%d", i)
		r.Must("PUT", widgetPath(name)+v1, `{"location":"westeurope","tags":{"n":"`+fmt.Sprint(i%2)+`"}}`)
		want = append(want, name)
	}
	r.Must("PUT", sub+"/resourceGroups/rg10/providers/Microsoft.Toys/widgets/other"+v1, `{"location":"northeurope"}`)
	names := func(path string) (all []string) {
		for path != "" {
			a := r.Request("GET", path, "")
			if a.Status != 200 {
				t.Fatalf("GET %s: %s", path, a.Text)
			}
			for _, v := range a.At("value").([]any) {
				all = append(all, v.(map[string]any)["name"].(string))
			}
			path = ""
			if next := a.String("nextLink"); next != "" {
				u, err := url.Parse(next)
				if err != nil {
					t.Fatal(err)
				}
				path = u.RequestURI()
			}
		}
		return all
	}
	for path, want := range map[string][]string{
		grp + "/providers/Microsoft.Toys/widgets" + v1:               want,
		grp + "/providers/Microsoft.Toys/widgets" + v1 + "&$top=2":   want,
		grp + "/providers/Microsoft.Toys/widgets" + v1 + "&%24top=5": want,
		sub + "/providers/Microsoft.Toys/widgets" + v1 + "&$top=1":   append(append([]string{}, want...), "other"),
		sub + "/resourcegroups" + v1:                                 {"rg1", "rg10"},
		"/subscriptions" + v1:                                        {sub[len("/subscriptions/"):]},
		sub + "/resources" + v1:                                      append(append([]string{}, want...), "other"),
		grp + "/resources" + v1 + "&$top=2":                          want,
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("resourceType eq 'microsoft.toys/machines'"):                 nil,
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("resourceType eq 'Microsoft.Toys/widgets' and name eq 'w3'"): {"w3"},
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("tagName eq 'N' and tagValue eq '1'"):                        {"w1", "w3"},
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("location eq 'North Europe'"):                                {"other"},
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("substringof('THE', name) or name eq 'w2'"):                  {"w2", "other"},
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("startswith(tagName, 'n') and tagValue eq '1'"):              {"w1", "w3"},
		sub + "/resources" + v1 + "&$filter=" + url.QueryEscape("identity/principalId eq 'none'"):                            nil,
	} {
		if diff := cmp.Diff(want, names(path)); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", path, diff)
		}
	}
}

func TestImplicitParentAndChildren(t *testing.T) {
	r := region(t, newWorld())
	// Proxy children of a tracked type: the parent is made with the location that the type requires only of clients.
	r.Must("PUT", widgetPath("w1")+v1, `{"location":"westeurope"}`)
	r.Must("PUT", widgetPath("w1")+"/versions/1"+v1, `{"properties":{"size":1}}`)
	r.Must("PUT", widgetPath("w1")+"/providers/Microsoft.Toys/notes/n1"+v1, `{}`)
	if a := r.Request("GET", widgetPath("w1")+"/versions"+v1, ""); len(a.At("value").([]any)) != 1 {
		t.Errorf("versions: %s", a.Text)
	}
	if a := r.Request("DELETE", widgetPath("w1")+v1, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	wantCode(t, "child after", r.Request("GET", widgetPath("w1")+"/versions/1"+v1, ""), 404, "ResourceNotFound")
	err := r.Store.View(t.Context(), func(tx store.Tx) error {
		return tx.Scan(rp.StoreKind("Microsoft.Toys/notes"), "", "", func(d store.Doc) bool {
			t.Errorf("left: %s", d.Key)
			return true
		})
	})
	if err != nil {
		t.Error(err)
	}
}

var stranger = authz.Principal{ObjectID: "33333333-3333-3333-3333-333333333333", Name: "eve", Type: "User"}

func TestRolesAndActivityLog(t *testing.T) {
	r := region(t, newWorld())
	p := widgetPath("w1")
	anonymous := r.As(authz.Principal{}, "GET", p+v1, "")
	wantCode(t, "nobody", anonymous, 401, "AuthenticationFailed")
	if anonymous.Header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
	r.Deny(stranger, "Microsoft.Toys/widgets/write", "no role assignment of eve has the action")
	refused := r.As(stranger, "PUT", p+v1, `{"location":"westeurope","properties":{"size":"not a number"}}`, "x-ms-client-request-id", "abc", "x-ms-return-client-request-id", "true")
	wantCode(t, "eve", refused, 403, "AuthorizationFailed")
	want := "The client 'eve' with object id '" + stranger.ObjectID + "' does not have authorization to perform action 'Microsoft.Toys/widgets/write' over scope '" + p + "' or the scope is invalid. If access was recently granted, please refresh your credentials. No role assignment of eve has the action."
	if refused.String("error", "message") != want {
		t.Errorf("message:\n%s\nwant\n%s", refused.String("error", "message"), want)
	}
	for _, h := range []string{"x-ms-request-id", "x-ms-correlation-request-id", "x-ms-routing-request-id", "x-ms-client-request-id"} {
		if refused.Header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
	r.Must("PUT", p+v1, `{"location":"westeurope"}`)
	wantCode(t, "invalid", r.Request("PUT", p+v1, `{"location":"westeurope","properties":{"size":101}}`), 400, "TooLarge")
	r.Must("POST", sub+"/providers/Microsoft.Toys/checkNameAvailability"+v1, `{"name":"x"}`)
	log := r.Request("GET", sub+"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter="+url.QueryEscape("eventTimestamp ge '2020-01-01T00:00:00Z' and resourceProvider eq 'Microsoft.Toys'"), "")
	var got []string
	for _, v := range log.At("value").([]any) {
		m := v.(map[string]any)
		got = append(got, fmt.Sprint(m["caller"], " ", m["operationName"].(map[string]any)["value"], " ", m["status"].(map[string]any)["value"]))
	}
	wantLog := []string{
		"owner@contoso.com Microsoft.Toys/checkNameAvailability/read Succeeded",
		"owner@contoso.com Microsoft.Toys/widgets/write Failed",
		"owner@contoso.com Microsoft.Toys/widgets/write Succeeded",
		"eve Microsoft.Toys/widgets/write Failed",
	}
	if diff := cmp.Diff(wantLog, got); diff != "" {
		t.Errorf("activity log (-want +got):\n%s", diff)
	}
}

func TestLinkedAuthorization(t *testing.T) {
	r := region(t, newWorld())
	r.Deny(stranger, "Microsoft.Network/virtualNetworks/subnets/join/action", "eve may not join")
	subnet := grp + "/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	body := `{"location":"westeurope","properties":{"subnet":{"id":"` + subnet + `"}}}`
	a := r.As(stranger, "PUT", widgetPath("w1")+v1, body)
	wantCode(t, "PUT", a, 403, "LinkedAuthorizationFailed")
	if !strings.Contains(a.String("error", "message"), subnet) {
		t.Errorf("message: %s", a.Text)
	}
	r.Must("PUT", widgetPath("w1")+v1, body)
	if a := r.As(stranger, "PATCH", widgetPath("w1")+v1, `{"tags":{"a":"b"}}`); a.Status != 200 {
		t.Errorf("PATCH of what has nothing to do with it: %s", a.Text)
	}
	other := `{"properties":{"subnet":{"id":"` + subnet + `2"}}}`
	wantCode(t, "PATCH", r.As(stranger, "PATCH", widgetPath("w1")+v1, other), 403, "LinkedAuthorizationFailed")
	wantCode(t, "PUT of what is there", r.As(stranger, "PUT", widgetPath("w1")+v1, body), 403, "LinkedAuthorizationFailed")
}

func TestProviders(t *testing.T) {
	r := region(t, newWorld())
	a := r.Request("GET", sub+"/providers/microsoft.toys?api-version=2024-11-01", "")
	if a.String("namespace") != "Microsoft.Toys" || a.String("registrationState") != "Registered" {
		t.Fatalf("provider: %s", a.Text)
	}
	types := map[string]any{}
	for _, v := range a.At("resourceTypes").([]any) {
		types[v.(map[string]any)["resourceType"].(string)] = v
	}
	want := map[string]any{
		"resourceType": "widgets", "locations": []any{"westeurope", "northeurope"},
		"apiVersions": []any{"2024-01-01", "2020-01-01-preview"}, "capabilities": "SupportsTags, SupportsLocation",
	}
	if diff := cmp.Diff(want, types["widgets"]); diff != "" {
		t.Errorf("widgets (-want +got):\n%s", diff)
	}
	r.Must("POST", sub+"/providers/Microsoft.Toys/unregister?api-version=2024-11-01", "")
	wantCode(t, "PUT", r.Request("PUT", widgetPath("w1")+v1, `{"location":"westeurope"}`), 409, "MissingSubscriptionRegistration")
	r.Must("POST", sub+"/providers/Microsoft.Toys/register?api-version=2024-11-01", "")
	r.Must("PUT", widgetPath("w1")+v1, `{"location":"westeurope"}`)
	if a := r.Request("GET", "/providers/Microsoft.Toys/operations"+v1, ""); !strings.Contains(a.Text, "Microsoft.Toys/widgets/rotateKeys/action") {
		t.Errorf("operations: %s", a.Text)
	}
}

func TestRegistrationErrors(t *testing.T) {
	plain := func(name string, versions ...string) rp.Registration {
		return rp.Of(rp.Type[struct{}]{Name: name, Versions: rp.Versions[struct{}](versions...)})
	}
	do := func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
		return nil, nil
	}
	for what, reg := range map[string]rp.Registration{
		"no version":         plain("A.B/c"),
		"bad version":        plain("A.B/c", "latest"),
		"version twice":      plain("A.B/c", "2024-01-01", "2024-01-01"),
		"no namespace":       plain("c", "2024-01-01"),
		"bad pattern":        rp.Of(rp.Type[struct{}]{Name: "A.B/c", Versions: rp.Versions[struct{}]("2024-01-01"), NamePattern: "("}),
		"action without do":  rp.Of(rp.Type[struct{}]{Name: "A.B/c", Versions: rp.Versions[struct{}]("2024-01-01"), Actions: map[string]rp.Action[struct{}]{"x": {}}}),
		"inline of nothing":  rp.Of(rp.Type[struct{}]{Name: "A.B/c", Versions: rp.Versions[struct{}]("2024-01-01"), Inline: map[string]string{"ds": "A.B/c/ds"}}),
		"route without role": rp.Routes(rp.Route{Method: "GET", Pattern: "/x", Do: do}),
		"route without do":   rp.Routes(rp.Route{Method: "GET", Pattern: "/x", Permission: "-"}),
	} {
		if err := rp.New(rp.Config{}).Register(reg); err == nil {
			t.Errorf("%s: registered", what)
		}
	}
	e := rp.New(rp.Config{})
	if err := e.Register(plain("A.B/c", "2024-01-01"), plain("a.b/C", "2024-01-01")); err == nil {
		t.Error("registered twice")
	}
	if err := e.Register(plain("A.B/c", "2024-01-01")); err != nil {
		t.Errorf("after a refusal nothing is left: %v", err)
	}
}
