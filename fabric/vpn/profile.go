package vpn

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Profile is a client's configuration, in the form that wg-quick reads.
// https://man7.org/linux/man-pages/man8/wg-quick.8.html
type Profile struct {
	Comment   []string
	Private   PrivateKey
	Addresses []netip.Prefix
	DNS       []netip.Addr
	Peer      PublicKey
	Preshared PresharedKey
	Endpoint  netip.AddrPort
	// Prefixes are reached by the tunnel.
	Prefixes  []netip.Prefix
	Keepalive time.Duration
}

// Text is the whole file. It has the private key in it.
func (p *Profile) Text() string {
	var b strings.Builder
	for _, c := range p.Comment {
		fmt.Fprintf(&b, "# %s\n", strings.NewReplacer("\n", " ", "\r", " ").Replace(c))
	}
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\n", p.Private.Text())
	if len(p.Addresses) > 0 {
		fmt.Fprintf(&b, "Address = %s\n", join(p.Addresses))
	}
	if len(p.DNS) > 0 {
		fmt.Fprintf(&b, "DNS = %s\n", join(p.DNS))
	}
	fmt.Fprintf(&b, "\n[Peer]\nPublicKey = %s\n", p.Peer)
	if p.Preshared != (PresharedKey{}) {
		fmt.Fprintf(&b, "PresharedKey = %s\n", p.Preshared.Text())
	}
	if p.Endpoint.IsValid() {
		fmt.Fprintf(&b, "Endpoint = %s\n", p.Endpoint)
	}
	fmt.Fprintf(&b, "AllowedIPs = %s\n", join(p.Prefixes))
	if p.Keepalive > 0 {
		fmt.Fprintf(&b, "PersistentKeepalive = %d\n", int(p.Keepalive/time.Second))
	}
	return b.String()
}

func join[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}
