package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jwhited/corebgp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The office behind the circuit.
const (
	officeAddr   = "192.168.0.7"
	officePrefix = "192.168.0.0/24"
	officeASN    = 65010
	officeDevice = "expressroute"
)

// officeProgram is a router with a machine in a network of their own. It reads lines: "router LOCAL REMOTE" speaks BGP
// from one address to the other, "be HOST:PORT" has somebody of the world listen there, HOST:PORT says what becomes of a
// connection, "hush" ends BGP.
func officeProgram([]string) int {
	fmt.Println("ready")
	var server *corebgp.Server
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		words := strings.Fields(s.Text())
		said := "done"
		var err error
		switch words[0] {
		case "router":
			server, err = routeOffice(netip.MustParseAddr(words[1]), netip.MustParseAddr(words[2]))
		case "be":
			err = listenAs(netip.MustParseAddrPort(words[1]))
		case "hush":
			server.Close()
		default:
			said, err = reach("tcp", words[0])
		}
		if err != nil {
			said = "error: " + err.Error()
		}
		fmt.Println(said)
	}
	return 0
}

func routeOffice(local, remote netip.Addr) (*corebgp.Server, error) {
	l, err := netlink.LinkByName(officeDevice)
	if err != nil {
		return nil, err
	}
	if err := haveAddress(netip.MustParseAddr(officeAddr)); err != nil {
		return nil, err
	}
	s, err := corebgp.NewServer(local)
	if err != nil {
		return nil, err
	}
	err = s.AddPeer(corebgp.PeerConfig{RemoteAddress: remote, LocalAS: officeASN, RemoteAS: 12076}, office{l.Attrs().Index, local}, corebgp.WithLocalAddress(local))
	go s.Serve(nil)
	return s, err
}

func haveAddress(a netip.Addr) error {
	l, err := netlink.LinkByName(officeDevice)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(a.String() + "/32")
	if err != nil {
		return err
	}
	return netlink.AddrAdd(l, addr)
}

// listenAs listens at an address that others have elsewhere, for as long as the program lives: the kernel answers.
func listenAs(at netip.AddrPort) error {
	if err := haveAddress(at.Addr()); err != nil {
		return err
	}
	_, err := net.Listen("tcp4", at.String())
	return err
}

// office is corebgp.Plugin: it announces its prefix and a default route, and routes what it hears into the circuit.
type office struct {
	device int
	local  netip.Addr
}

func (office) GetCapabilities(corebgp.PeerConfig) []corebgp.Capability { return nil }
func (office) OnClose(corebgp.PeerConfig)                              {}
func (office) OnOpenMessage(corebgp.PeerConfig, netip.Addr, []corebgp.Capability) *corebgp.Notification {
	return nil
}

func (o office) OnEstablished(_ corebgp.PeerConfig, w corebgp.UpdateMessageWriter) corebgp.UpdateMessageHandler {
	a := o.local.As4()
	attrs := append([]byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, officeASN >> 8, officeASN & 255, 0x40, 3, 4}, a[:]...)
	w.WriteUpdate(append(append([]byte{0, 0, 0, byte(len(attrs))}, attrs...), 24, 192, 168, 0, 0))
	heard := corebgp.NewUpdateDecoder[*office](
		corebgp.NewWithdrawnRoutesDecodeFn(func(*office, []netip.Prefix) error { return nil }),
		func(*office, uint8, corebgp.PathAttrFlags, []byte) error { return nil },
		corebgp.NewNLRIDecodeFn(func(o *office, list []netip.Prefix) error {
			for _, p := range list {
				dst := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
				if err := netlink.RouteReplace(&netlink.Route{LinkIndex: o.device, Dst: dst, Src: net.ParseIP(officeAddr)}); err != nil {
					return err
				}
			}
			return nil
		}))
	return func(_ corebgp.PeerConfig, m []byte) *corebgp.Notification {
		return corebgp.UpdateNotificationFromErr(heard.Decode(&o, m))
	}
}

// startOffice starts one and returns the path of its network namespace.
func (g *ground) startOffice() (*vpnClient, string) {
	g.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(bin + "/office")
	cmd.Env = append(os.Environ(), "PROBE_WAIT=2s")
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	c := &vpnClient{t: g.t, in: w, out: g.start(cmd)}
	g.t.Cleanup(func() { w.Close() })
	if !c.out.Scan() {
		g.t.Fatal("the office does not start")
	}
	return c, fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

// A circuit leads to a namespace: routes are learned by BGP, judged as routes of a gateway, and go with the session
// and with the circuit.
func TestExpressRoute(t *testing.T) {
	w := newGatewayWorld(t, "10.0", "")
	network := w.rg + "/providers/Microsoft.Network/"
	circuit, gateway, connection := network+"expressRouteCircuits/line", network+"virtualNetworkGateways/er", network+"connections/line"
	w.put(circuit, vNetwork, obj{"location": location, "sku": obj{"name": "Standard_MeteredData", "tier": "Standard", "family": "MeteredData"},
		"properties": obj{"serviceProviderProperties": obj{"serviceProviderName": "Equinix", "peeringLocation": "Amsterdam", "bandwidthInMbps": 50}}})
	w.put(circuit+"/peerings/AzurePrivatePeering", vNetwork, obj{"properties": obj{"peeringType": "AzurePrivatePeering", "peerASN": officeASN,
		"primaryPeerAddressPrefix": "192.168.15.16/30", "secondaryPeerAddressPrefix": "192.168.15.20/30", "vlanId": 200}})
	w.put(network+"publicIPAddresses/er", vNetwork, obj{"location": location, "sku": obj{"name": "Standard"}, "properties": obj{"publicIPAllocationMethod": "Static"}})
	w.put(gateway, vNetwork, obj{"location": location, "properties": obj{"gatewayType": "ExpressRoute", "sku": obj{"name": "Standard", "tier": "Standard"},
		"ipConfigurations": []obj{{"name": "default", "properties": obj{"subnet": obj{"id": w.vnet + "/subnets/GatewaySubnet"}, "publicIPAddress": obj{"id": network + "publicIPAddresses/er"}}}}}})
	office, netns := w.startOffice()
	w.vauban("expressroute", "attach", "--circuit", "line", "--netns", netns)
	w.put(connection, vNetwork, obj{"location": location, "properties": obj{"connectionType": "ExpressRoute", "virtualNetworkGateway1": obj{"id": gateway}, "peer": obj{"id": circuit}}})
	if got := w.connected(connection); got != "NotConnected" {
		t.Errorf("before BGP speaks the connection is %s", got)
	}
	if got := office.reach("router 192.168.15.17 192.168.15.18"); got != "done" {
		t.Fatal(got)
	}
	w.eventually("BGP speaks", func() bool { return w.connected(connection) == "Connected" })
	w.eventually("the office reaches the machine", func() bool { return office.reach(w.echo) == "answered" })
	// Its own internet it has by the circuit not.
	if got := office.reach("198.51.100.80:443"); got == "answered" {
		t.Error("the office reached the internet by the circuit")
	}
	w.rule("Deny", officePrefix)
	if got := office.reach(w.echo); got != "dropped" {
		t.Errorf("a rule denies the office's addresses: %s", got)
	}
	w.rule("Allow", "*")
	learned := func() string {
		return string(w.send(request{Method: http.MethodPost, URL: gateway + "/getLearnedRoutes?api-version=" + vNetwork}).Body)
	}
	if got := learned(); !strings.Contains(got, officePrefix) || !strings.Contains(got, "12076-65010") {
		t.Errorf("learned %s", got)
	}
	// It announces a default route: what the machine sends to the internet goes to the office, which answers in its name.
	const web = "198.51.100.80:443"
	reach := func() string {
		out, err := w.output(w.at("hub/web", "probe", "tcp", web))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if got := reach(); got != "dropped" {
		t.Errorf("the office's default route leads to the internet: %s", got)
	}
	if got := office.reach("be " + web); got != "done" {
		t.Fatal(got)
	}
	if got := reach(); got != "answered" {
		t.Errorf("the office answers for the internet: %s", got)
	}
	// The server may be killed: the device is in the holder, BGP comes again.
	w.kill()
	w.up()
	w.eventually("the office reaches the machine after a restart", func() bool { return office.reach(w.echo) == "answered" })
	// Without BGP there is no route, without circuit no connection.
	if got := office.reach("hush"); got != "done" {
		t.Fatal(got)
	}
	w.eventually("the route goes", func() bool { return !strings.Contains(learned(), officePrefix) })
	w.vauban("expressroute", "detach", "--circuit", "line")
	if got := w.connected(connection); got != "NotConnected" {
		t.Errorf("without a circuit the connection is %s", got)
	}
}
