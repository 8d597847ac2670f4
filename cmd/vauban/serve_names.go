package main

import (
	"os"
	"strings"

	"vauban.dev/fabric"
	"vauban.dev/provider/network"
)

// resolvConf writes the file that a place finds at /etc/resolv.conf: what Azure's DHCP would tell a machine
// there now. Programs that run there already see the change, as machines do when their lease is renewed.
func (w *world) resolvConf(at fabric.Place) (path string, err error) {
	var r network.Resolver
	if at.Kind == fabric.AtNIC {
		r = w.sync.resolverOf(at.ID)
	}
	path = w.path("exec", fabric.NSName(at)+".resolv.conf")
	text := []byte(resolvText(r))
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return path, nil
	}
	return path, os.WriteFile(path, text, 0o644) // in place: the file is bound where programs run
}

// resolverOf is what a NIC's machine is told about names, by the network as it was applied last.
func (s *netSync) resolverOf(nic string) network.Resolver {
	v := s.current.Load()
	if v == nil {
		return network.Resolver{}
	}
	for _, n := range v.topology.VNets {
		for i := range n.NICs {
			if n.NICs[i].ID == nic {
				return v.resolver(n.ID, nic)
			}
		}
	}
	return network.Resolver{}
}

// resolvText is the resolver in resolv.conf(5).
func resolvText(r network.Resolver) string {
	servers := r.Servers
	if len(servers) == 0 {
		servers = append(servers, fabric.WireServer)
	}
	var b strings.Builder
	for _, s := range servers {
		b.WriteString("nameserver " + s.String() + "\n")
	}
	if r.Search != "" {
		b.WriteString("search " + r.Search + "\n")
	}
	return b.String()
}
