package network_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"vauban.dev/fabric"
)

// What the API accepts of load balancers the fabric compiles: one that it does not would stop the whole network.
func TestRandomLoadBalancers(t *testing.T) {
	r, _ := balanced(t)
	r.put(lbAddress, `{"location":"westeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	for i := range 3 {
		r.put(fmt.Sprintf("%snetworkInterfaces/n%d", net0, i), member("", ""))
	}
	accepted := map[bool]int{}
	for seed := range uint64(400) {
		c := rand.New(rand.NewPCG(seed, 1))
		_, err := r.do(http.MethodPut, lb, latest, randomBalancer(c))
		accepted[err == nil]++
		if i := c.IntN(3); err == nil && c.IntN(2) == 0 {
			pool, rule := []string{"", "p0", "p1"}[c.IntN(3)], []string{"", "n0", "n1"}[c.IntN(3)]
			_, err := r.do(http.MethodPut, fmt.Sprintf("%snetworkInterfaces/n%d", net0, i), latest, member(pool, rule))
			accepted[err == nil]++
		}
		if _, err := fabric.Compile(r.topology()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if accepted[true] < 60 || accepted[false] < 60 {
		t.Errorf("of all bodies %d were accepted and %d refused", accepted[true], accepted[false])
	}
}

func randomBalancer(c *rand.Rand) string {
	every := func(n int, f func(i int) string) string {
		var list []string
		for i := range n {
			list = append(list, f(i))
		}
		return strings.Join(list, ",")
	}
	some := func(n int, f func(i int) string) string { return every(c.IntN(n+1), f) }
	pick := func(words ...string) string { return words[c.IntN(len(words))] }
	frontend := func() string {
		return own("frontendIPConfiguration", "frontendIPConfigurations", pick("f0", "f0", "f0", "f0", "f0", "f1"))
	}
	pool := func() string { return own("backendAddressPool", "backendAddressPools", pick("p0", "p1")) }
	public := c.IntN(3) == 0
	port := func() int { return []int{1, 22, 80, 81, 82, 443, 444, 8080, 8081, 65534}[c.IntN(10)] }
	floating := func(p, q int) string {
		if p != q && c.IntN(8) > 0 {
			return ""
		}
		return pick("", "", `,"enableFloatingIP":true`)
	}
	front := func(i int) string {
		if public && i == 0 {
			return part("f0", `"publicIPAddress":`+ref(lbAddress))
		}
		return privateFrontend(fmt.Sprintf("f%d", i), pick("front", "back"), pick("", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.20.1.`+fmt.Sprint(3+c.IntN(40))+`"`))
	}
	return lbBody(
		parts("frontendIPConfigurations", front(0)+strings.Repeat(","+front(1), c.IntN(2))),
		parts("backendAddressPools", every(2, func(i int) string {
			return part(fmt.Sprintf("p%d", i), pick("", "", "", "", "", "", "", `"loadBalancerBackendAddresses":[`+part("a", `"ipAddress":"10.20.2.`+fmt.Sprint(4+c.IntN(3))+`","virtualNetwork":`+ref(vnet))+"]"))
		})),
		parts("loadBalancingRules", some(3, func(i int) string {
			protocol, p, q := pick("Tcp", "Tcp", "Udp", "All"), port(), port()
			if c.IntN(2) == 0 {
				q = p
			}
			if protocol == "All" && c.IntN(4) > 0 {
				p, q = 0, 0
			}
			return part(fmt.Sprintf("r%d", i), fmt.Sprintf(`%s,%s,"protocol":%q,"frontendPort":%d,"backendPort":%d,"disableOutboundSnat":%t%s`,
				frontend(), pool(), protocol, p, q, c.IntN(4) > 0, floating(p, q)+pick("", ","+own("probe", "probes", "h0"))))
		})),
		parts("probes", every(1, func(i int) string { return part(fmt.Sprintf("h%d", i), `"protocol":"Tcp","port":8081`) })),
		parts("inboundNatRules", some(2, func(i int) string {
			n := fmt.Sprintf("n%d", i)
			if c.IntN(4) == 0 {
				return part(n, fmt.Sprintf(`%s,%s,"protocol":"Tcp","frontendPortRangeStart":%d,"frontendPortRangeEnd":%d,"backendPort":22`, frontend(), pool(), 1000, 1000+c.IntN(4)))
			}
			p, q := port(), port()
			return part(n, fmt.Sprintf(`%s,"protocol":%q,"frontendPort":%d,"backendPort":%d%s`, frontend(), pick("Tcp", "Udp"), p, q, floating(p, q)))
		})),
		parts("outboundRules", some(1, func(int) string {
			return part("o", `"frontendIPConfigurations":[`+ref(lb+"/frontendIPConfigurations/f0")+`],`+pool()+`,"protocol":"`+pick("Tcp", "All")+`"`)
		})),
	)
}
