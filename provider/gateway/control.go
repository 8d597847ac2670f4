package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric/vpn"
)

// sessionActions are what operators do to a gateway's clients and tests (Network REST: VirtualNetworkGateways).
func (p *Provider) sessionActions() map[string]rp.Action[Gateway] {
	no := func(format string) rp.Action[Gateway] {
		return rp.Action[Gateway]{Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
			return nil, arm.NotImplemented(format, r.ID)
		}}
	}
	const noCapture = "Packet captures of gateways are not implemented (%s): their tunnels' packets are captured at the interfaces of the machines (Network Watcher's packetCaptures)."
	const noFailover = "Failover tests are not implemented: %s has one wire to one place."
	none := rp.Action[Gateway]{Async: func(context.Context, *rp.Resource[Gateway], []byte) (any, error) { return []any{}, nil }}
	return map[string]rp.Action[Gateway]{
		"resetvpnclientsharedkey": {Do: resetClientKey, Async: func(ctx context.Context, _ *rp.Resource[Gateway], _ []byte) (any, error) {
			return nil, p.cfg.Sync.Sync(ctx)
		}},
		"setvpnclientipsecparameters": {Do: setClientPolicy, Async: func(_ context.Context, _ *rp.Resource[Gateway], body []byte) (any, error) {
			return readClientPolicy(body)
		}},
		"getvpnclientipsecparameters": {Do: clientPolicy, Async: func(ctx context.Context, r *rp.Resource[Gateway], body []byte) (any, error) {
			return clientPolicy(ctx, nil, r, body)
		}},
		"disconnectVirtualNetworkGatewayVpnConnections": {Do: p.disconnect, Async: func(context.Context, *rp.Resource[Gateway], []byte) (any, error) { return nil, nil }},
		"startPacketCapture":                            no(noCapture),
		"stopPacketCapture":                             no(noCapture),
		"startSiteFailoverTest":                         no(noFailover),
		"stopSiteFailoverTest":                          no(noFailover),
		"getFailoverSingleTestDetails":                  none,
		"getFailoverAllTestsDetails":                    none,
		"getVpnClientConnectionDetails":                 no("Details of client connections are not implemented (%s): getVpnClientConnectionHealth has them."),
	}
}

// clients refuses what only a gateway with clients has.
func (v *Gateway) clients(of arm.ID) error {
	if v.GatewayType != "Vpn" {
		return bad("InvalidRequestFormat", "%s is of type %s and has no VPN clients.", of, v.GatewayType)
	}
	return nil
}

// resetClientKey gives the gateway's point-to-site tunnel another key: profiles made before lead nowhere.
func resetClientKey(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
	if err := r.Properties.clients(r.ID); err != nil {
		return nil, err
	}
	r.Properties.Key = vpn.NewPrivateKey()
	return nil, rp.Save(tx, r)
}

// ClientPolicy is what clients' tunnels are to use (Network REST: VpnClientIPsecParameters). The wire is WireGuard and has
// one suite; the parameters are kept for who reads them.
type ClientPolicy struct {
	Lifetime        int    `json:"saLifeTimeSeconds"`
	Size            int64  `json:"saDataSizeKilobytes"`
	IPsecEncryption string `json:"ipsecEncryption"`
	IPsecIntegrity  string `json:"ipsecIntegrity"`
	IKEEncryption   string `json:"ikeEncryption"`
	IKEIntegrity    string `json:"ikeIntegrity"`
	DHGroup         string `json:"dhGroup"`
	PFSGroup        string `json:"pfsGroup"`
}

// policyWords are the values of each member. https://learn.microsoft.com/rest/api/network-gateway/virtual-network-gateways/set-vpnclient-ipsec-parameters
var policyWords = []struct {
	name  string
	of    func(*ClientPolicy) *string
	words []string
}{
	{"ipsecEncryption", func(p *ClientPolicy) *string { return &p.IPsecEncryption }, []string{"None", "DES", "DES3", "AES128", "AES192", "AES256", "GCMAES128", "GCMAES192", "GCMAES256"}},
	{"ipsecIntegrity", func(p *ClientPolicy) *string { return &p.IPsecIntegrity }, []string{"MD5", "SHA1", "SHA256", "GCMAES128", "GCMAES192", "GCMAES256"}},
	{"ikeEncryption", func(p *ClientPolicy) *string { return &p.IKEEncryption }, []string{"DES", "DES3", "AES128", "AES192", "AES256", "GCMAES256", "GCMAES128"}},
	{"ikeIntegrity", func(p *ClientPolicy) *string { return &p.IKEIntegrity }, []string{"MD5", "SHA1", "SHA256", "SHA384", "GCMAES256", "GCMAES128"}},
	{"dhGroup", func(p *ClientPolicy) *string { return &p.DHGroup }, []string{"None", "DHGroup1", "DHGroup2", "DHGroup14", "DHGroup2048", "ECP256", "ECP384", "DHGroup24"}},
	{"pfsGroup", func(p *ClientPolicy) *string { return &p.PFSGroup }, []string{"None", "PFS1", "PFS2", "PFS2048", "ECP256", "ECP384", "PFS24", "PFS14", "PFSMM"}},
}

func readClientPolicy(body []byte) (*ClientPolicy, error) {
	var p ClientPolicy
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, bad("InvalidRequestFormat", "The body is no VpnClientIPsecParameters: %v.", err)
	}
	if p.Lifetime < 300 || p.Lifetime > 172799 || p.Size < 1024 {
		return nil, bad("InvalidRequestFormat", "saLifeTimeSeconds must be 300 to 172799, and saDataSizeKilobytes at least 1024.")
	}
	for _, w := range policyWords {
		v := w.of(&p)
		spell(v, w.words...)
		if !slices.Contains(w.words, *v) {
			return nil, bad("InvalidRequestFormat", "%s '%s' is not one of %s.", w.name, clip(*v), strings.Join(w.words, ", "))
		}
	}
	return &p, nil
}

func setClientPolicy(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], body []byte) (any, error) {
	if err := r.Properties.clients(r.ID); err != nil {
		return nil, err
	}
	p, err := readClientPolicy(body)
	if err != nil {
		return nil, err
	}
	r.Properties.ClientPolicy = p
	return nil, rp.Save(tx, r)
}

// clientPolicy is what was set, or Azure's default.
func clientPolicy(_ context.Context, _ *rp.Tx, r *rp.Resource[Gateway], _ []byte) (any, error) {
	if err := r.Properties.clients(r.ID); err != nil {
		return nil, err
	}
	if p := r.Properties.ClientPolicy; p != nil {
		return p, nil
	}
	return &ClientPolicy{Lifetime: 27000, Size: 102400000, IPsecEncryption: "AES256", IPsecIntegrity: "SHA256", IKEEncryption: "AES256", IKEIntegrity: "SHA256", DHGroup: "DHGroup24", PFSGroup: "PFS24"}, nil
}

// disconnect ends the sessions of clients. They share a tunnel, whose sessions end together; whoever may still come begins
// again by itself.
func (p *Provider) disconnect(_ context.Context, tx *rp.Tx, r *rp.Resource[Gateway], body []byte) (any, error) {
	var asked struct {
		IDs []string `json:"vpnConnectionIds"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, bad("InvalidRequestFormat", "The body must be {\"vpnConnectionIds\": [ID, …]}.")
	}
	if err := r.Properties.clients(r.ID); err != nil {
		return nil, err
	}
	clients, err := Clients(tx, r.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		if slices.ContainsFunc(asked.IDs, func(id string) bool { return strings.EqualFold(id, c.Thumbprint()) }) {
			return nil, p.cfg.Wire.Restart(tunnelName(r.ID))
		}
	}
	return nil, nil
}

// connectionActions are what operators do to a connection (Network REST: VirtualNetworkGatewayConnections).
func (p *Provider) connectionActions() map[string]rp.Action[Connection] {
	no := func(format string) rp.Action[Connection] {
		return rp.Action[Connection]{Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Connection], _ []byte) (any, error) {
			return nil, arm.NotImplemented(format, r.ID)
		}}
	}
	const noCapture = "Packet captures of connections are not implemented (%s): their packets are captured at the interfaces of the machines (Network Watcher's packetCaptures)."
	return map[string]rp.Action[Connection]{
		"resetconnection": {Async: func(_ context.Context, r *rp.Resource[Connection], _ []byte) (any, error) {
			return nil, p.cfg.Wire.Restart(tunnelName(r.ID))
		}},
		"getikesas":          no("Connection %s has no IKE security associations: its tunnel is WireGuard."),
		"startPacketCapture": no(noCapture),
		"stopPacketCapture":  no(noCapture),
	}
}

// unserved refuses what would change packets and has no meaning here.
func (v *Gateway) unserved(of arm.ID) error {
	for _, x := range []struct {
		name string
		on   bool
	}{
		{"disableIPSecReplayProtection", v.NoReplayProtection}, {"enableBgpRouteTranslationForNat", v.TranslateForNAT},
		{"allowVirtualWanTraffic", v.VirtualWANTraffic}, {"allowRemoteVnetTraffic", v.RemoteVNetTraffic},
	} {
		if x.on {
			return arm.Errorf(http.StatusNotImplemented, "NotImplemented", "%s of %s is not implemented: it must be false.", x.name, of)
		}
	}
	return nil
}
