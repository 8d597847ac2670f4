package expr

import (
	"math/big"
	"net/netip"
	"strings"
)

func addresses() []Func {
	return []Func{
		{Name: "parseCidr", Min: 1, Max: 1, Call: callParseCIDR},
		{Name: "cidrSubnet", Min: 3, Max: 3, Call: callCIDRSubnet},
		{Name: "cidrHost", Min: 2, Max: 2, Call: callCIDRHost},
	}
}

func (c *Call) prefix() (netip.Prefix, error) {
	s, err := c.Text(0)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !strings.Contains(s, "/") {
		s += "/32"
		if strings.Contains(s, ":") {
			s = strings.TrimSuffix(s, "/32") + "/128"
		}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, c.Fail("the value '%s' is not a valid network in CIDR notation.", shown(c.Args[0]))
	}
	return p.Masked(), nil
}

// number and address turn an address into an integer and back.
func addressNumber(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

func numberAddress(n *big.Int, v6 bool) netip.Addr {
	size := 4
	if v6 {
		size = 16
	}
	a, _ := netip.AddrFromSlice(n.FillBytes(make([]byte, size)))
	return a
}

// size is the number of addresses of a network with this many bits of host.
func size(bits int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(bits)) }

func callParseCIDR(c *Call) (any, error) {
	p, err := c.prefix()
	if err != nil {
		return nil, err
	}
	a := p.Addr()
	v6 := a.Is6()
	total := a.BitLen()
	first := addressNumber(a)
	last := new(big.Int).Sub(new(big.Int).Add(first, size(total-p.Bits())), big.NewInt(1))
	mask := new(big.Int).Sub(size(total), size(total-p.Bits()))
	o := ObjectOf("network", a.String(), "netmask", numberAddress(mask, v6).String())
	if v6 {
		o.Set("firstUsable", a.String())
		o.Set("lastUsable", numberAddress(last, v6).String())
		o.Set("cidr", int64(p.Bits()))
		return o, nil
	}
	o.Set("broadcast", numberAddress(last, v6).String())
	from, to := first, last
	if p.Bits() < 31 {
		from, to = new(big.Int).Add(first, big.NewInt(1)), new(big.Int).Sub(last, big.NewInt(1))
	}
	o.Set("firstUsable", numberAddress(from, v6).String())
	o.Set("lastUsable", numberAddress(to, v6).String())
	o.Set("cidr", int64(p.Bits()))
	return o, nil
}

func callCIDRSubnet(c *Call) (any, error) {
	p, err := c.prefix()
	if err != nil {
		return nil, err
	}
	bits, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	index, err := c.Int(2)
	if err != nil {
		return nil, err
	}
	total := p.Addr().BitLen()
	if bits < int64(p.Bits()) || bits > int64(total) {
		return nil, c.Fail("the new CIDR '%d' must be between '%d' and '%d'.", bits, p.Bits(), total)
	}
	if index < 0 || big.NewInt(index).Cmp(size(int(bits)-p.Bits())) >= 0 {
		return nil, c.Fail("the network '%s' has no subnet '%d' with the CIDR '%d'.", p, index, bits)
	}
	at := new(big.Int).Add(addressNumber(p.Addr()), new(big.Int).Mul(big.NewInt(index), size(total-int(bits))))
	return netip.PrefixFrom(numberAddress(at, p.Addr().Is6()), int(bits)).String(), nil
}

func callCIDRHost(c *Call) (any, error) {
	p, err := c.prefix()
	if err != nil {
		return nil, err
	}
	index, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	total := p.Addr().BitLen()
	hosts := size(total - p.Bits())
	skip := int64(0)
	if p.Bits() < total-1 {
		skip = 1 // the address of the network
		hosts.Sub(hosts, big.NewInt(1))
		if p.Addr().Is4() {
			hosts.Sub(hosts, big.NewInt(1)) // the broadcast address
		}
	}
	if index < 0 || big.NewInt(index).Cmp(hosts) >= 0 {
		return nil, c.Fail("the network '%s' has no host '%d'.", p, index)
	}
	at := new(big.Int).Add(addressNumber(p.Addr()), big.NewInt(skip+index))
	return numberAddress(at, p.Addr().Is6()).String(), nil
}
