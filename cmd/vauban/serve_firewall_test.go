package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"vauban.dev/azurefirewall"
	"vauban.dev/azurefirewall/proxy"
	"vauban.dev/fabric"
	"vauban.dev/fabric/linux"
)

// What the kernel logs in a firewall's name becomes a record with the rule, and for NAT rules with both destinations.
func TestFirewallPackets(t *testing.T) {
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/azureFirewalls/fw"
	addr := netip.MustParseAddr
	f := &azurefirewall.Firewall{ID: id, Addrs: []netip.Addr{addr("10.0.1.4")}, Publics: []azurefirewall.PublicAddress{{Private: addr("10.0.1.4"), Public: addr("20.1.1.1")}},
		Groups: []azurefirewall.Group{{Policy: "p", Name: "g", Collections: []azurefirewall.Collection{
			{Name: "nat", NAT: []azurefirewall.NATRule{{Name: "ssh", Address: addr("10.0.2.4"), Port: 22}}},
			{Name: "no", Deny: true, Network: []azurefirewall.NetworkRule{{Name: "bad"}}}}}}}
	run := &runningFirewall{model: f, rules: loggedRules(f)}
	log := proxy.NewLog(10, func() time.Time { return time.Unix(0, 0) })
	packet := func(ref azurefirewall.Ref, dst string) {
		run.packet(log, linux.Drop{Prefix: fabric.FirewallRule(id, ref).Counter(), Protocol: fabric.TCP, Src: netip.MustParseAddrPort("20.9.1.1:4000"), Dst: netip.MustParseAddrPort(dst)})
	}
	packet(azurefirewall.Ref{Kind: azurefirewall.NATKind, Policy: "p", Group: "g", Collection: "nat", Rule: "ssh"}, "10.0.1.4:2222")
	packet(azurefirewall.Ref{Kind: azurefirewall.NetworkKind, Policy: "p", Group: "g", Collection: "no", Rule: "bad"}, "20.2.2.2:80")
	packet(azurefirewall.Ref{}, "20.2.2.2:81")
	run.packet(log, linux.Drop{Prefix: "somebody else's"})
	var out bytes.Buffer
	for _, r := range log.Last(10, id) {
		if err := printRecord(&out, &r); err != nil {
			t.Fatal(err)
		}
	}
	want := `1970-01-01T00:00:00Z AZFWNatRule         20.9.1.1:4000 TCP to 20.1.1.1:2222 (10.0.2.4:22): DNAT by g/nat/ssh
1970-01-01T00:00:00Z AZFWNetworkRule     20.9.1.1:4000 TCP to 20.2.2.2:80: Deny by g/no/bad
1970-01-01T00:00:00Z AZFWNetworkRule     20.9.1.1:4000 TCP to 20.2.2.2:81: Deny by Default Action
`
	if out.String() != want {
		t.Errorf("the log is\n%swant\n%s", out.String(), want)
	}
	for name, means := range map[string]bool{"fw": true, "FW": true, "g/fw": true, id: true, "other": false, "h/fw": false, "": false} {
		if meansResource(name, id) != means {
			t.Errorf("%q means %s: %v", name, id, !means)
		}
	}
}

// A certificate authority is read from what key vaults keep, and from nothing that cannot sign.
func TestParseAuthority(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(ca bool) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c"}, NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	pfx := func(c *x509.Certificate, password string) string {
		b, err := pkcs12.Modern.Encode(key, c, nil, password)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	ca, leaf := certificate(true), certificate(false)
	for name, c := range map[string]struct{ secret, says string }{
		"PEM": {text(ca), ""}, "PKCS #12": {pfx(ca, ""), ""},
		"no authority": {text(leaf), "no certificate authority"}, "no authority, PKCS #12": {pfx(leaf, ""), "no certificate authority"},
		"a password": {pfx(ca, "secret"), "without a password"}, "no key": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})), "with its key"},
		"a text": {"hello, world", "neither"}, "nothing": {"", "PKCS #12"},
	} {
		got, err := parseAuthority(c.secret)
		switch {
		case c.says == "" && (err != nil || !got.Leaf.Equal(ca)):
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
