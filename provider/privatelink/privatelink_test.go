package privatelink_test

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/rp/rptest"
	"vauban.dev/authz"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatelink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group  = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	net0   = group + "/providers/Microsoft.Network/"
	box    = group + "/providers/Microsoft.Toys/boxes/box"
	subnet = net0 + "virtualNetworks/vnet/subnets/endpoints"
	toys   = "?api-version=2024-01-01"
	api    = "?api-version=2024-05-01"
)

type noTags struct{}

func (noTags) Prefixes(string) ([]netip.Prefix, bool) { return nil, false }

type noSync struct{}

func (noSync) Sync(context.Context) error { return nil }

type rig struct {
	*rptest.Region
	links *privatelink.Links
	t     testing.TB
	hold  chan struct{} // Finalize of boxes waits for it when it is not nil
}

// lateEngine is the engine that the network's types are registered with.
type lateEngine struct{ r *rig }

func (l lateEngine) View(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.View(ctx, f)
}
func (l lateEngine) Update(ctx context.Context, f func(*rp.Tx) error) error {
	return l.r.Engine.Update(ctx, f)
}

// newRig is a region with a network and a box that can be linked: by lid, and by both hinges.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	r.links = privatelink.New(privatelink.Target{
		Type: "Microsoft.Toys/boxes", Versions: []string{"2024-01-01"},
		Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
			if _, err := privatelink.Live[struct{}](tx, id); err != nil {
				return nil, err
			}
			zone := "privatelink.toys.example"
			return []privatelink.Group{
				{ID: "lid", Zones: []string{zone}, Members: []privatelink.Member{{GroupID: "lid", Name: "default", FQDNs: []string{"box.toys.example"}, Records: []privatelink.Record{{Zone: zone, Name: "box"}}}}},
				{ID: "hinges", Members: []privatelink.Member{{GroupID: "hinges", Name: "left", FQDNs: []string{"l.toys.example"}}, {GroupID: "hinges", Name: "right", FQDNs: []string{"r.toys.example"}}}},
			}, nil
		},
	})
	boxes := rp.Of(rp.Type[struct{}]{
		Name: "Microsoft.Toys/boxes", Versions: rp.Versions[struct{}]("2024-01-01"),
		Finalize: func(ctx context.Context, _ *rp.Resource[struct{}]) (rp.Result, error) {
			if r.hold != nil {
				select {
				case <-r.hold:
				case <-ctx.Done():
					return rp.Result{}, ctx.Err()
				}
			}
			return rp.Result{}, nil
		},
		Actions: map[string]rp.Action[struct{}]{"privateLinkResources": {Method: http.MethodGet, Permission: "Microsoft.Toys/boxes/privateLinkResources/read",
			Do: func(_ context.Context, tx *rp.Tx, b *rp.Resource[struct{}], _ []byte) (any, error) {
				return r.links.Resources(tx, b.ID)
			}}},
	})
	p := network.New(network.Config{Engine: lateEngine{r}, Targets: r.links, Sync: noSync{}, Tags: noTags{}, PublicPool: netip.MustParsePrefix("20.61.0.0/29")})
	r.Region = rptest.New(t, rp.Config{Locations: []string{"westeurope"}}, slices.Concat(p.Types(), r.links.Types(), []rp.Registration{boxes})...)
	r.Must("PUT", box+toys, `{"location":"westeurope"}`)
	r.Must("PUT", net0+"virtualNetworks/vnet"+api, `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"endpoints","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`)
	return r
}

// endpoint is the body of an endpoint to the box, by an automatic or manual connection.
func endpoint(list, groups string) string {
	return `{"location":"westeurope","properties":{"subnet":{"id":"` + subnet + `"},"` + list + `":[{"name":"c","properties":{"privateLinkServiceId":"` + box + `","groupIds":[` + groups + `],"requestMessage":"please"}}]}}`
}

const (
	auto   = "privateLinkServiceConnections"
	manual = "manualPrivateLinkServiceConnections"
)

// state is the connection's status as the endpoint shows it.
func (r *rig) state(name, list string) string {
	r.t.Helper()
	a := r.Request("GET", net0+"privateEndpoints/"+name+api, "")
	cs, _ := a.At("properties", list).([]any)
	if len(cs) != 1 {
		r.t.Fatalf("endpoint: %d %s", a.Status, a.Text)
	}
	s := cs[0].(map[string]any)["properties"].(map[string]any)["privateLinkServiceConnectionState"].(map[string]any)
	return s["status"].(string)
}

// connection is the box's only connection.
func (r *rig) connection() (path string, body map[string]any) {
	r.t.Helper()
	a := r.Request("GET", box+"/privateEndpointConnections"+toys, "")
	list, _ := a.At("value").([]any)
	if len(list) != 1 {
		r.t.Fatalf("connections: %d %s", a.Status, a.Text)
	}
	body = list[0].(map[string]any)
	return body["id"].(string), body
}

func (r *rig) refused(status int, code, says, method, target, body string) {
	r.t.Helper()
	a := r.Request(method, target, body)
	if a.Status != status || a.Code() != code || !strings.Contains(a.String("error", "message"), says) {
		r.t.Errorf("%s %s %s: %d %s; want %d %s and %q", method, target, body, a.Status, a.Text, status, code, says)
	}
}

func (r *rig) view(f func(*rp.Tx) error) {
	r.t.Helper()
	if err := r.Engine.View(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

// linked says what the services and the name servers hold of the pair.
func (r *rig) linked(endpoint string) (connected, approved bool) {
	r.t.Helper()
	r.view(func(tx *rp.Tx) (err error) {
		if connected, err = r.links.Connected(tx, arm.MustParseID(box), "lid"); err != nil {
			return err
		}
		approved, err = privatelink.Approved(tx, arm.MustParseID(box), arm.MustParseID(net0+"privateEndpoints/"+endpoint))
		return err
	})
	return connected, approved
}

func TestAutomaticConnection(t *testing.T) {
	r := newRig(t)
	if c, a := r.linked("pe"); c || a {
		t.Error("linked before there is an endpoint")
	}
	r.Must("PUT", net0+"privateEndpoints/pe"+api, endpoint(auto, `"Lid"`))
	path, body := r.connection()
	want := map[string]any{
		"id": path, "name": body["name"], "type": "Microsoft.Toys/boxes/privateEndpointConnections", "systemData": body["systemData"],
		"properties": map[string]any{
			"provisioningState": "Succeeded", "privateEndpoint": map[string]any{"id": net0 + "privateEndpoints/pe"}, "groupIds": []any{"Lid"},
			"privateLinkServiceConnectionState": map[string]any{"status": "Approved", "description": "Auto-Approved", "actionsRequired": "None"},
		},
	}
	if d := cmp.Diff(want, body); d != "" {
		t.Errorf("connection (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(path, box+"/privateEndpointConnections/pe.") {
		t.Error(path)
	}
	if c, a := r.linked("pe"); !c || !a {
		t.Error("not linked")
	}
	if s := r.state("pe", auto); s != "Approved" {
		t.Error(s)
	}
	// The endpoint takes its connection along.
	r.Must("DELETE", net0+"privateEndpoints/pe"+api, "")
	if list := r.Request("GET", box+"/privateEndpointConnections"+toys, "").At("value").([]any); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// TestManualConnection: it waits, is approved, rejected and removed by the resource's owner, and the endpoint shows it.
func TestManualConnection(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", net0+"privateEndpoints/pe"+api, endpoint(manual, `"lid"`))
	path, body := r.connection()
	if s := body["properties"].(map[string]any)["privateLinkServiceConnectionState"].(map[string]any); s["status"] != "Pending" || s["description"] != "please" {
		t.Errorf("%v", s)
	}
	for _, c := range []struct {
		status              string
		connected, approved bool
	}{{"Pending", true, false}, {"Approved", true, true}, {"Rejected", false, false}, {"Approved", true, true}} {
		a := r.Must("PUT", path+toys, `{"properties":{"privateEndpoint":{"id":"/mine"},"groupIds":["hinges"],"privateLinkServiceConnectionState":{"status":"`+c.status+`","description":"so be it"}}}`)
		if a.String("properties", "privateEndpoint", "id") != net0+"privateEndpoints/pe" || !slices.Equal(a.At("properties", "groupIds").([]any), []any{"lid"}) {
			t.Errorf("a client has changed what is not its own: %s", a.Text)
		}
		if a.String("properties", "privateLinkServiceConnectionState", "actionsRequired") != "None" {
			t.Error(a.Text)
		}
		if s := r.state("pe", manual); s != c.status {
			t.Errorf("the endpoint shows %s, want %s", s, c.status)
		}
		if connected, approved := r.linked("pe"); connected != c.connected || approved != c.approved {
			t.Errorf("%s: connected %v, approved %v", c.status, connected, approved)
		}
	}
	r.refused(400, "InvalidRequestContent", "'Maybe'", "PUT", path+toys, `{"properties":{"privateLinkServiceConnectionState":{"status":"Maybe"}}}`)
	r.refused(404, "PrivateEndpointConnectionNotFound", "mine", "PUT", box+"/privateEndpointConnections/mine"+toys, `{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}`)
	if a := r.Request("DELETE", path+toys, ""); a.Status != 200 {
		t.Errorf("DELETE: %d %s", a.Status, a.Text)
	}
	if s := r.state("pe", manual); s != "Disconnected" {
		t.Error(s)
	}
	if c, a := r.linked("pe"); c || a {
		t.Error("still linked")
	}
	r.Must("DELETE", net0+"privateEndpoints/pe"+api, "")
}

// TestApprovalNeedsAPermission: who may not approve connections of the target asks for one.
func TestApprovalNeedsAPermission(t *testing.T) {
	r := newRig(t)
	guest := authz.Principal{ObjectID: "00000000-0000-0000-0000-00000000a11c", Name: "guest"}
	r.Deny(guest, "Microsoft.Toys/boxes/PrivateEndpointConnectionsApproval/action", "no role")
	if a := r.As(guest, "PUT", net0+"privateEndpoints/pe"+api, endpoint(auto, `"lid"`)); a.Status != 403 || a.Code() != "LinkedAuthorizationFailed" {
		t.Errorf("automatic: %d %s", a.Status, a.Text)
	}
	if a := r.As(guest, "PUT", net0+"privateEndpoints/pe"+api, endpoint(manual, `"lid"`)); a.Status != 201 {
		t.Errorf("manual: %d %s", a.Status, a.Text)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	pe := net0 + "privateEndpoints/pe" + api
	r.refused(400, "InvalidPrivateLinkServiceGroupId", "It has: lid, hinges", "PUT", pe, endpoint(auto, `"wheel"`))
	r.refused(400, "MissingParameterOnPrivateLinkServiceConnection", "privateLinkServiceConnections/c is missing", "PUT", pe, endpoint(auto, ""))
	r.refused(400, "OnlyOneGroupIdPermitted", "lid, hinges", "PUT", pe, endpoint(auto, `"lid","hinges"`))
	r.refused(400, "PrivateLinkServiceTypeNotSupported", "Microsoft.Network/virtualNetworks", "PUT", pe, strings.Replace(endpoint(auto, `"lid"`), box, net0+"virtualNetworks/vnet", 1))
	if a := r.Request("PUT", pe, strings.Replace(endpoint(auto, `"lid"`), box, box+"2", 1)); a.Status/100 != 4 {
		t.Errorf("a target that is not there: %d %s", a.Status, a.Text)
	}
	if a := r.Request("GET", pe, ""); a.Status != 404 {
		t.Errorf("a refused endpoint is there: %s", a.Text)
	}
}

// TestTargetGoes: a deleted target takes its connections along, and none comes under it any more.
func TestTargetGoes(t *testing.T) {
	r := newRig(t)
	r.Must("PUT", net0+"privateEndpoints/pe"+api, endpoint(auto, `"lid"`))
	r.hold = make(chan struct{})
	deleting := r.Request("DELETE", box+toys, "")
	if a := r.Request("PUT", net0+"privateEndpoints/late"+api, endpoint(auto, `"lid"`)); a.Status/100 != 4 {
		t.Errorf("an endpoint to a box that is being deleted: %d %s", a.Status, a.Text)
	}
	close(r.hold)
	if end := r.Wait(deleting); end.String("status") != "Succeeded" {
		t.Error(end.Text)
	}
	if s := r.state("pe", auto); s != "Disconnected" {
		t.Error(s)
	}
	// A new box under the same name is another one.
	r.Must("PUT", box+toys, `{"location":"westeurope"}`)
	if c, a := r.linked("pe"); c || a {
		t.Error("linked to the new box")
	}
	if s := r.state("pe", auto); s != "Disconnected" {
		t.Error(s)
	}
	r.Must("DELETE", net0+"privateEndpoints/pe"+api, "")
}

func TestResourcesAndNames(t *testing.T) {
	r := newRig(t)
	resource := func(group string, members, zones []any) map[string]any {
		return map[string]any{"id": box + "/privateLinkResources/" + group, "name": group, "type": "Microsoft.Toys/boxes/privateLinkResources",
			"properties": map[string]any{"groupId": group, "requiredMembers": members, "requiredZoneNames": zones}}
	}
	want := map[string]any{"value": []any{resource("lid", []any{"default"}, []any{"privatelink.toys.example"}), resource("hinges", []any{"left", "right"}, []any{})}}
	if d := cmp.Diff(want, r.Request("GET", box+"/privateLinkResources"+toys, "").Body); d != "" {
		t.Error(d)
	}
	r.view(func(tx *rp.Tx) error {
		names, err := r.links.Names(tx, arm.MustParseID(box), "Hinges")
		if !slices.Equal(names, []string{"l.toys.example", "r.toys.example"}) {
			t.Errorf("names: %v", names)
		}
		return err
	})
}

// TestConnectAgain: a Connect that is repeated after a crash finds what it made.
func TestConnectAgain(t *testing.T) {
	r := newRig(t)
	var first, second privatelink.Link
	for _, l := range []*privatelink.Link{&first, &second} {
		err := r.Engine.Update(t.Context(), func(tx *rp.Tx) (err error) {
			*l, err = r.links.Connect(tx, arm.MustParseID(box), []string{"hinges", "lid"}, arm.MustParseID(net0+"privateEndpoints/pe"), "", false)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(first, second); d != "" || len(first.Members) != 3 || first.State.Status != "Approved" {
		t.Errorf("%+v\n%s", first, d)
	}
	r.connection()
}
