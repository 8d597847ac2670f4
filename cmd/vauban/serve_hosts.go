package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/fabric"
	"vauban.dev/fabric/dns"
	"vauban.dev/fabric/servicetags"
	"vauban.dev/internal/httpx"
	"vauban.dev/provider/keyvault"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/network"
	"vauban.dev/provider/privatelink"
	"vauban.dev/provider/resources"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// The places on the internet that are no service: where `exec --from internet` stands, and a web server that
// is nobody's here, which jobs must not reach. Addresses of RFC 5737 and RFC 2606's names belong to no one.
const (
	clientHost   = "client"
	strangerHost = "www"
	strangerName = "www.example.com"
)

var (
	clientAddr   = netip.MustParseAddr("203.0.113.10")
	strangerAddr = netip.MustParseAddr("198.51.100.80")
	// publicPool holds the public addresses that the region gives to NICs.
	publicPool = netip.MustParsePrefix("203.0.113.128/25")
)

// strangers are the web servers of internet hosts.
var strangers = map[string]http.Handler{
	strangerHost: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "a host on the internet; you came from %s\n", r.RemoteAddr)
	}),
}

// notServed answers for hosts that resolve and whose service is not there yet.
func notServed(what string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-ms-error-code", "NotImplemented")
		httpx.WriteError(w, http.StatusNotImplemented, "NotImplemented", r.Host+": "+what+" is not there yet.")
	})
}

// publicNames makes the public side of DNS: every service of the region under Azure's own names, at
// addresses of its service tag, so that rules that name the tag match.
type publicNames struct {
	tags     *servicetags.Tags
	engine   *rp.Engine
	links    *privatelink.Links
	location string
	prefixes []netip.Prefix
}

// address is the one of host within the first of the tags that has prefixes.
func (p *publicNames) address(host string, tags ...string) (netip.Addr, error) {
	for _, tag := range tags {
		if a := p.tags.Address(tag, host); a.IsValid() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no service tag of %v has an address for %s", tags, host)
}

func (p *publicNames) regional(tag string) []string { return regional(tag, p.location) }

// regional are the tags of a service in a location, the most fitting first: the list does not have every region.
func regional(tag, location string) []string {
	return []string{servicetags.Regional(tag, location), tag}
}

// zone is the table of all public names.
func (p *publicNames) zone() (*dns.PublicZone, error) {
	z := &dns.PublicZone{}
	use := func(a netip.Addr) netip.Addr {
		p.prefixes = append(p.prefixes, netip.PrefixFrom(a, 32))
		return a
	}
	for _, h := range []struct {
		name string
		tags []string
	}{
		{"management.azure.com", []string{"AzureResourceManager"}},
		{"management.core.windows.net", []string{"AzureResourceManager"}},
		{"login.microsoftonline.com", []string{"AzureActiveDirectory"}},
		{"login.windows.net", []string{"AzureActiveDirectory"}},
		{"login.microsoft.com", []string{"AzureActiveDirectory"}},
		{"sts.windows.net", []string{"AzureActiveDirectory"}},
		{"graph.microsoft.com", []string{"AzureActiveDirectory"}},
		{"graph.windows.net", []string{"AzureActiveDirectory"}},
		{"api.loganalytics.io", []string{"AzureMonitor"}},
		{"api.loganalytics.azure.com", []string{"AzureMonitor"}},
	} {
		a, err := p.address(h.name, h.tags...)
		if err != nil {
			return nil, err
		}
		if err := z.Host(h.name, use(a)); err != nil {
			return nil, err
		}
	}
	if err := z.Host(strangerName, strangerAddr); err != nil {
		return nil, err
	}
	families := []family{
		{"vault.azure.net", "privatelink.vaultcore.azure.net", vaultFront, "AzureKeyVault", "vault", vaultByName},
	}
	for _, service := range storageServices {
		suffix := service + ".core.windows.net"
		families = append(families, family{suffix, "privatelink." + suffix, storageFront(service), "Storage", service, storageByName})
	}
	for _, f := range families {
		a, err := p.address(f.suffix, p.regional(f.tag)...)
		if err != nil {
			return nil, err
		}
		known := p.known(f)
		s := dns.Service{Suffix: f.suffix, Private: f.private, Addrs: []netip.Addr{use(a)}, Lookup: known.lookup}
		if f.front != nil {
			s.Front, s.Own = f.front(p.location), known.own
		}
		if err := z.Service(s); err != nil {
			return nil, err
		}
	}
	for _, s := range []dns.Service{p.publicIPs(), p.bastions()} {
		if err := z.Service(s); err != nil {
			return nil, err
		}
	}
	for _, l := range places(p.location) {
		if err := p.workspaces(z, l, use); err != nil {
			return nil, err
		}
	}
	return z, p.fronts(z, families, use)
}

// workspaces adds the names of Azure Machine Learning and of its nodes' batch service in a location: one address of each
// service's tag ("How to use your workspace with a custom DNS server": cert shares the api name's record).
func (p *publicNames) workspaces(z *dns.PublicZone, location string, use func(netip.Addr) netip.Addr) error {
	for _, service := range []struct {
		tag   string
		hosts []string
	}{
		{"BatchNodeManagement", []string{machinelearning.BatchHost(location), location + ".service.batch.azure.com"}},
		{"AzureMachineLearning", []string{location + ".api.azureml.ms", location + ".tundra.azureml.ms"}},
	} {
		a, err := p.address(service.hosts[0], regional(service.tag, location)...)
		if err != nil {
			return err
		}
		use(a)
		for _, h := range service.hosts {
			if err := z.Host(h, a); err != nil {
				return err
			}
		}
		if service.tag != "AzureMachineLearning" {
			continue
		}
		for _, name := range [][2]string{
			{"workspace." + location + ".api.azureml.ms", "workspace." + location + ".privatelink.api.azureml.ms"},
			{"workspace." + location + ".cert.api.azureml.ms", "workspace." + location + ".privatelink.api.azureml.ms"},
			{"inference." + location + ".api.azureml.ms", "inference." + location + ".privatelink.api.azureml.ms"},
			{location + ".notebooks.azure.net", location + ".privatelink.notebooks.azure.net"},
		} {
			known := p.known(family{name[0], name[1], nil, service.tag, "amlworkspace", workspaceByLabel})
			if err := z.Service(dns.Service{Suffix: name[0], Private: name[1], Addrs: []netip.Addr{a}, Lookup: known.lookup}); err != nil {
				return err
			}
		}
	}
	return nil
}

// publicIPs are the names of public addresses with a label: LABEL.LOCATION.cloudapp.azure.com.
func (p *publicNames) publicIPs() dns.Service {
	known := rp.NewMemo(p.engine, func(tx *rp.Tx, name string) (netip.Addr, error) {
		label, location, _ := strings.Cut(name, ".")
		ip, err := network.PublicIPByLabel(tx, label, location)
		if err != nil || ip == nil || ip.Properties.Address == "" {
			return netip.Addr{}, err
		}
		return netip.ParseAddr(ip.Properties.Address)
	})
	get := func(name string) netip.Addr {
		a, err := known.Get(context.Background(), strings.ToLower(name))
		if err != nil {
			return netip.Addr{}
		}
		return a
	}
	return dns.Service{
		Suffix: network.PublicDNSSuffix,
		Lookup: func(name string) (exists, private bool) { return get(name).IsValid(), false },
		Own:    func(name string) (string, []netip.Addr) { return "", []netip.Addr{get(name)} },
	}
}

// fronts adds the families' fronts in the other locations: resources there have addresses of that region's tag.
func (p *publicNames) fronts(z *dns.PublicZone, families []family, use func(netip.Addr) netip.Addr) error {
	for _, l := range resources.AzureLocations() {
		for _, f := range families {
			if f.front == nil || l.Name == p.location {
				continue
			}
			a, err := p.address(l.Name, regional(f.tag, l.Name)...) // one for all services of a region's stamp
			if err != nil {
				return err
			}
			if err := z.Host(f.front(l.Name), use(a)); err != nil {
				return err
			}
		}
	}
	return nil
}

func vaultFront(location string) string { return "data-prod-" + location + ".vaultcore.azure.net" }

// storageFront makes the names of a storage service's stamps. Azure's have codes of its own; the stamp that is
// known by one is in Amsterdam.
func storageFront(service string) func(location string) string {
	return func(location string) string {
		stamp := location + "prdstr01a"
		if location == "westeurope" {
			stamp = "ams01prdstr01a"
		}
		return service + "." + stamp + ".store.core.windows.net"
	}
}

// storageServices are the sub-resources of a storage account that have a host name. Blob, file, queue and table are served; dfs
// resolves, so that rules and endpoints for it can be tried, and answers 501.
var storageServices = []string{"blob", "dfs", "file", "queue", "table"}

// family is a family of public names that share a suffix.
type family struct {
	suffix, private string
	front           func(location string) string // the stamp's name; nil: names have their addresses at once
	tag             string                       // service tag, whose regional form is preferred
	group           string                       // private link sub-resource
	find            func(tx *rp.Tx, label string) (id arm.ID, location string, err error)
}

func storageByName(tx *rp.Tx, label string) (arm.ID, string, error) {
	r, err := storage.ByName(tx, label)
	if err != nil {
		return arm.ID{}, "", err
	}
	return r.ID, r.Location, nil
}

func vaultByName(tx *rp.Tx, label string) (arm.ID, string, error) {
	r, err := keyvault.ByName(tx, label)
	if err != nil {
		return arm.ID{}, "", err
	}
	return r.ID, r.Location, nil
}

// guidLength is that of a workspace's GUID, with which the label of each of its names ends.
const guidLength = 36

func workspaceByLabel(tx *rp.Tx, label string) (arm.ID, string, error) {
	r, err := machinelearning.ByGUID(tx, label[max(0, len(label)-guidLength):])
	if err != nil {
		return arm.ID{}, "", err
	}
	return r.ID, r.Location, nil
}

// published is what DNS knows of a service's resource.
type published struct {
	exists, private bool
	location        string
}

// names answers for one family, from the store.
type names struct {
	family
	memo *rp.Memo[published]
}

// known asks the store whether a label's resource exists, where it is, and whether its sub-resource has a
// private endpoint connection.
func (p *publicNames) known(f family) names {
	return names{f, rp.NewMemo(p.engine, func(tx *rp.Tx, label string) (published, error) {
		id, location, err := f.find(tx, label)
		if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
			return published{}, nil
		}
		if err != nil {
			return published{}, err
		}
		private, err := p.links.Connected(tx, id, f.group)
		return published{true, private, location}, err
	})}
}

func (n names) lookup(label string) (exists, private bool) {
	r, err := n.memo.Get(context.Background(), strings.ToLower(label))
	return r.exists && err == nil, r.private
}

// own is the front of the location that the resource is in.
func (n names) own(label string) (front string, addrs []netip.Addr) {
	r, err := n.memo.Get(context.Background(), strings.ToLower(label))
	if err != nil || r.location == "" {
		return "", nil
	}
	return n.front(r.location), nil
}

// internet is the part of the world that the region plays.
func (p *publicNames) internet() fabric.Internet {
	return fabric.Internet{
		ServicePrefixes: p.prefixes,
		Hosts:           []fabric.InternetHost{{Name: clientHost, Addr: clientAddr}, {Name: strangerHost, Addr: strangerAddr}},
	}
}
