package network_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
)

const table = net0 + "routeTables/rt"

func routeBody(prefix, hop, more string) string {
	return fmt.Sprintf(`{"properties":{"addressPrefix":%q,"nextHopType":%q%s}}`, prefix, hop, more)
}

func namedRoute(name, prefix, hop, more string) string {
	return fmt.Sprintf(`{"name":%q,%s`, name, routeBody(prefix, hop, more)[1:])
}

func via(address string) string { return fmt.Sprintf(`,"nextHopIpAddress":%q`, address) }

func TestRouteTable(t *testing.T) {
	r := newRig(t)
	v := r.put(table, `{"location":"westeurope","properties":{"disableBgpRoutePropagation":true,"routes":[`+
		namedRoute("a", "10.9.0.0/16", "virtualAppliance", via("10.0.0.4"))+`,`+namedRoute("b", "Storage.WestEurope", "internet", "")+`]}}`)
	r.want(v, "type", "Microsoft.Network/routeTables")
	r.want(v, "properties.disableBgpRoutePropagation", true)
	r.want(v, "properties.routes.0.properties.nextHopType", "VirtualAppliance")
	r.want(v, "properties.routes.0.properties.nextHopIpAddress", "10.0.0.4")
	r.want(v, "properties.routes.0.type", "Microsoft.Network/routeTables/routes")
	v = r.get(table)
	r.want(v, "properties.routes.1.properties.nextHopType", "Internet")
	r.want(v, "properties.routes.1.properties.hasBgpOverride", false)
	r.want(v, "properties.provisioningState", "Succeeded")
	old, err := r.do(http.MethodGet, table, "2018-12-01", "")
	if err != nil {
		t.Fatal(err)
	}
	r.want(old, "properties.routes.1.properties.hasBgpOverride", nil)
	if at(v, "properties.resourceGuid") == nil {
		t.Error("the table has no guid")
	}

	// two routes exchange their prefixes in one PUT
	r.put(table, `{"location":"westeurope","properties":{"routes":[`+
		namedRoute("a", "Storage.WestEurope", "Internet", "")+`,`+namedRoute("b", "10.9.0.0/16", "None", "")+`]}}`)
	r.want(r.get(table), "properties.routes.0.properties.nextHopIpAddress", nil)
	e := r.refused(http.MethodPut, table+"/routes/c", routeBody("storage.westeurope", "None", ""), "RouteConflict")
	if want := "Route: c conflicts with Route: a. Routes cannot have the same AddressPrefix."; e.Message != want {
		t.Errorf("message %q", e.Message)
	}
	r.refused(http.MethodPut, table, `{"location":"westeurope","properties":{"routes":[`+namedRoute("a", "10.0.0.0/8", "None", "")+`,`+namedRoute("b", "10.0.0.0/8", "Internet", "")+`]}}`, "RouteConflict")
	r.put(table+"/routes/c", routeBody("0.0.0.0/0", "VirtualNetworkGateway", ""))
	r.delete(table + "/routes/b")
	r.want(r.get(table), "properties.routes.1.name", "c")
	r.view(func(tx *rp.Tx) error {
		top, err := r.Topology(tx)
		if err != nil {
			return err
		}
		if got := top.RouteTables[table]; got == nil || len(got.Routes) != 2 || got.Routes[1] != (fabric.UserRoute{Name: "c", Prefix: "0.0.0.0/0", Hop: fabric.HopGateway}) {
			t.Errorf("the fabric's table: %+v", got)
		}
		return nil
	})
	r.delete(table)
	r.refused(http.MethodGet, table+"/routes/c", "", "ResourceNotFound")
}

func TestRouteRefusals(t *testing.T) {
	r := newRig(t)
	r.put(table, `{"location":"westeurope"}`)
	for _, c := range []struct{ body, code string }{
		{routeBody("10.0.0.0/8", "Sideways", ""), "InvalidRequestFormat"},
		{routeBody("10.0.0.0/8", "VirtualAppliance", ""), "MissingNextHopIpAddress"},
		{routeBody("10.0.0.0/8", "VirtualAppliance", via("fw")), "InvalidIPAddressFormat"},
		{routeBody("10.0.0.0/8", "VirtualAppliance", via("fd00::1")), "InvalidIPAddressFormat"},
		{routeBody("10.0.0.0/8", "Internet", via("10.0.0.4")), "NextHopIpAddressNotAllowed"},
		{routeBody("10.0.0.0/8", "VirtualApplianceEcmp", ""), "NotImplemented"},
		{routeBody("", "None", ""), "AddressPrefixStringCannotBeNullOrEmpty"},
		{routeBody("10.0.0.1/8", "None", ""), "InvalidCIDRNotation"},
		{routeBody("10.0.0.0/99", "None", ""), "InvalidAddressPrefixFormat"},
		{routeBody("Storage.Mars", "None", ""), "InvalidAddressPrefixFormat"},
		{routeBody("fd00::/8", "None", ""), "NotImplemented"},
	} {
		r.refused(http.MethodPut, table+"/routes/r", c.body, c.code)
	}
	var many []string
	for i := range 401 {
		many = append(many, namedRoute(fmt.Sprintf("r%d", i), fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), "None", ""))
	}
	r.refused(http.MethodPut, table, `{"location":"westeurope","properties":{"routes":[`+strings.Join(many, ",")+`]}}`, "RouteCountLimitReached")
}

func TestSubnetRouteTable(t *testing.T) {
	r := newRig(t)
	r.put(table, `{"location":"westeurope","properties":{"routes":[`+namedRoute("out", "0.0.0.0/0", "VirtualAppliance", via("10.0.0.4"))+`]}}`)
	r.put(table+"north", `{"location":"northeurope"}`)
	r.put(vnet, vnetBody("10.0.0.0/16", subnetBody("a", "10.0.0.0/24", ""),
		subnetBody("b", "10.0.1.0/24", `,"privateEndpointNetworkPolicies":"RouteTableEnabled","routeTable":`+ref(strings.ToUpper(table[:20])+table[20:]))))
	r.put(net0+"networkInterfaces/fw", nicBody(`,"enableIPForwarding":true`, config("ip", "a", "")))
	r.want(r.get(table), "properties.subnets.0.id", vnet+"/subnets/b")
	r.view(func(tx *rp.Tx) error {
		top, err := r.Topology(tx)
		if err != nil {
			return err
		}
		v := top.VNets[0]
		if s := v.Subnets[1]; s.RouteTable != table || v.Subnets[0].RouteTable != "" || !s.EndpointRoutes || s.EndpointPolicies {
			t.Errorf("subnets %+v", v.Subnets)
		}
		if !v.NICs[0].Forwarding {
			t.Error("the appliance does not forward")
		}
		if _, err := fabric.Compile(top); err != nil {
			t.Errorf("the fabric does not take what the API took: %v", err)
		}
		return nil
	})
	e := r.refused(http.MethodDelete, table, "", "InUseRouteTableCannotBeDeleted")
	if e.Status != 400 || !strings.HasPrefix(e.Message, "Route table rt is in use and cannot be deleted.") || !strings.Contains(e.Message, vnet+"/subnets/b") {
		t.Errorf("%d %s", e.Status, e.Message)
	}
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", `,"routeTable":`+ref(table+"north")), "InvalidResourceReference")
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", `,"routeTable":`+ref(vnet)), "InvalidReferenceId")
	r.denied = "Microsoft.Network/routeTables/join/action"
	r.refused(http.MethodPut, vnet+"/subnets/a", subnetBody("a", "10.0.0.0/24", `,"routeTable":`+ref(table)), "LinkedAuthorizationFailed")
	r.denied = ""
	r.put(vnet+"/subnets/b", subnetBody("b", "10.0.1.0/24", ""))
	r.delete(table)
}
