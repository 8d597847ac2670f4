package rulegen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vauban.dev/audit"
	"vauban.dev/fabric"
)

// FirewallRule is a rule of an Azure Firewall's policy with what it is for. It is an application rule if it has
// Application protocols, else a network rule.
type FirewallRule struct {
	Name        string   `json:"name"`
	Kind        string   `json:"ruleType"`  // ApplicationRule, NetworkRule
	Protocols   []string `json:"protocols"` // Https:443, or TCP
	Sources     []string `json:"sourceAddresses"`
	FQDNs       []string `json:"targetFqdns,omitempty"`          // of application rules
	Names       []string `json:"destinationFqdns,omitempty"`     // of network rules: they need the firewall's DNS proxy
	Tags        []string `json:"destinationAddresses,omitempty"` // of network rules: service tags
	Ports       []string `json:"destinationPorts,omitempty"`
	Purpose     string   `json:"purpose"`
	Why         string   `json:"why,omitempty"` // why it is of this kind
	Breaks      []string `json:"breaksWithout,omitempty"`
	requirement flowOf
}

// Kinds of FirewallRule, as the API has them.
const (
	ApplicationRule = "ApplicationRule"
	NetworkRule     = "NetworkRule"
)

// Route of the subnet's route table.
type Route struct {
	Name    string   `json:"name"`
	Prefix  string   `json:"addressPrefix"`
	Hop     string   `json:"nextHopType"`
	Address string   `json:"nextHopIpAddress,omitempty"`
	Purpose string   `json:"purpose"`
	Breaks  []string `json:"breaksWithout,omitempty"`
}

// Egress is what a subnet needs whose traffic leaves by an Azure Firewall: the firewall's rules and the routes to it.
type Egress struct {
	Firewall string         `json:"firewall"` // its private address
	Rules    []FirewallRule `json:"firewallRules"`
	Routes   []Route        `json:"routes"`
}

// Network is where the nodes stand.
type Network struct {
	Subnet   netip.Prefix
	Firewall netip.Addr
	Storage  string // name of the workspace's storage account
}

// hostsOfTag are the names of what a tag's addresses are for, by the port that they are asked at; 0 is HTTP's two ports.
// "{region}" and "{storage}" are replaced.
// Microsoft: Configure inbound and outbound network traffic, Microsoft hosts, Azure public (2023-04-14)
var hostsOfTag = map[string]map[uint16][]string{
	"AzureActiveDirectory":              {0: {"login.microsoftonline.com"}},
	"AzureMachineLearning":              {0: {"*.azureml.ms", "*.azureml.net", "*.notebooks.azure.net"}, 5831: {"{region}.tundra.azureml.ms"}, 8787: {"*.instances.azureml.ms"}, 18881: {"*.instances.azureml.ms"}},
	"BatchNodeManagement.region":        {0: {"*.{region}.batch.azure.com", "*.{region}.service.batch.azure.com"}},
	"AzureResourceManager":              {0: {"management.azure.com"}},
	"Storage.region":                    {0: {"*.blob.core.windows.net", "*.queue.core.windows.net", "*.table.core.windows.net", "{storage}.file.core.windows.net"}, 445: {"{storage}.file.core.windows.net"}},
	"AzureFrontDoor.FrontEnd":           {0: {"ml.azure.com", "automlresources-prod.azureedge.net", "aka.ms"}},
	"AzureFrontDoor.FirstParty":         {0: {"mcr.microsoft.com", "*.data.mcr.microsoft.com"}},
	"MicrosoftContainerRegistry.region": {0: {"mcr.microsoft.com", "*.data.mcr.microsoft.com"}},
	"AzureContainerRegistry.region":     {0: {"*.azurecr.io"}},
	"AzureKeyVault.region":              {0: {"*.vault.azure.net"}},
	"AzureMonitor":                      {0: {"dc.applicationinsights.azure.com", "dc.applicationinsights.microsoft.com", "dc.services.visualstudio.com", "*.in.applicationinsights.azure.com"}},
}

// nodesNeed are the hosts of a profile that every node needs, and the tags of their addresses; the others are for features.
var nodesNeed = map[string]string{"graph.windows.net": "AzureActiveDirectory", "*.instances.azureml.ms": "AzureMachineLearning"}

// isHTTP: application rules read HTTP and TLS, on the ports that they name.
func isHTTP(protocol string, port uint16) bool {
	return protocol == "TCP" && (port == 80 || port == 443)
}

// flowOf is traffic that a rule is for.
type flowOf struct {
	tag, protocol string // of the profile's region; TCP, UDP
	port          uint16
	host          string
}

// writer gathers rules.
type writer struct {
	o     Options
	n     Network
	rules []FirewallRule
}

// GenerateEgress makes the firewall's rules and the routes of a profile. What is HTTP or TLS on its ports is let through by
// name, in application rules; what is not, by network rules: by name where the name is whole, else by service tag.
func GenerateEgress(p *audit.Profile, o Options, n Network) Egress {
	w := &writer{o: o, n: n}
	for _, q := range p.Requirements {
		if q.Direction != "Outbound" || q.Situational && !o.Situational || !o.concerned(q.When) {
			continue
		}
		for _, protocol := range map[string][]string{"Tcp": {"TCP"}, "Udp": {"UDP"}, "*": {"TCP", "UDP"}}[q.Protocol] {
			for _, port := range q.Ports {
				w.require(q.Tag, protocol, port, q.Purpose)
			}
		}
	}
	for _, h := range p.Hosts {
		ports := h.Ports
		if len(ports) == 0 {
			ports = []uint16{443}
		}
		tag := nodesNeed[h.Hosts[0]]
		if !o.Situational && tag == "" {
			continue
		}
		for _, port := range ports {
			if isHTTP("TCP", port) { // others have a tag: application rules cannot read them, network rules take no wildcard
				w.application(tag, h.Hosts, port, h.Purpose)
			}
		}
	}
	ways := routes(p, o, n)
	w.rules = slices.DeleteFunc(w.rules, func(r FirewallRule) bool { // what no packet comes for
		return len(r.Tags) > 0 && slices.ContainsFunc(ways, func(way Route) bool { return way.Prefix == r.Tags[0] })
	})
	slices.SortStableFunc(w.rules, func(a, b FirewallRule) int { return strings.Compare(b.Kind, a.Kind) }) // network rules are asked first
	return Egress{Firewall: n.Firewall.String(), Rules: w.rules, Routes: ways}
}

func (w *writer) require(tag, protocol string, port uint16, purpose string) {
	names := hostsOfTag[tag]
	if isHTTP(protocol, port) && len(names[0]) > 0 {
		w.application(tag, names[0], port, purpose)
		return
	}
	why := fmt.Sprintf("%s %d is neither HTTP nor TLS that an application rule could read", protocol, port)
	if named := names[port]; len(named) > 0 && !strings.Contains(strings.Join(named, " "), "*") {
		w.add(FirewallRule{Kind: NetworkRule, Protocols: []string{protocol}, Names: each(named, w.fill), Ports: []string{fmt.Sprint(port)}, Purpose: purpose,
			Why: why + "; by name, through the firewall's DNS proxy", requirement: flowOf{w.tag(tag), protocol, port, w.fill(named[0])}})
		return
	} else if len(named) > 0 {
		why += "; network rules take no wildcard such as " + named[0]
	}
	w.add(FirewallRule{Kind: NetworkRule, Protocols: []string{protocol}, Tags: []string{w.tag(tag)}, Ports: []string{fmt.Sprint(port)}, Purpose: purpose, Why: why,
		requirement: flowOf{w.tag(tag), protocol, port, ""}})
}

func (w *writer) application(tag string, hosts []string, port uint16, purpose string) {
	protocol := fmt.Sprintf("Https:%d", port)
	if port == 80 {
		protocol = "Http:80"
	}
	var list []string
	why := ""
	for _, h := range hosts {
		host, path, _ := strings.Cut(w.fill(h), "/")
		if path != "" {
			why = "by path, /" + path + ", only a Premium firewall that inspects TLS"
		}
		list = append(list, host)
	}
	w.add(FirewallRule{Kind: ApplicationRule, Protocols: []string{protocol}, FQDNs: list, Purpose: purpose, Why: why,
		requirement: flowOf{w.tag(tag), "TCP", port, sample(list[0])}})
}

// add merges a rule into one that differs in its ports or protocols alone.
func (w *writer) add(r FirewallRule) {
	r.Sources = []string{w.n.Subnet.String()}
	for i := range w.rules {
		x := &w.rules[i]
		if x.Kind == r.Kind && slices.Equal(x.FQDNs, r.FQDNs) && slices.Equal(x.Names, r.Names) && slices.Equal(x.Tags, r.Tags) && (x.Kind == ApplicationRule || slices.Equal(x.Protocols, r.Protocols)) {
			for _, p := range r.Protocols {
				if !slices.Contains(x.Protocols, p) {
					x.Protocols = append(x.Protocols, p)
				}
			}
			for _, p := range r.Ports {
				if !slices.Contains(x.Ports, p) {
					x.Ports = append(x.Ports, p)
				}
			}
			if !strings.Contains(x.Purpose, r.Purpose) {
				x.Purpose += "; " + r.Purpose
			}
			return
		}
	}
	r.Name = w.unique(r)
	w.rules = append(w.rules, r)
}

func (w *writer) unique(r FirewallRule) string {
	of := slices.Concat(r.Names, r.Tags, r.FQDNs)[0]
	name := strings.Trim(strings.NewReplacer("*", "any", ".", "-").Replace(of), "-")
	if r.Kind == NetworkRule {
		name += "-" + strings.ToLower(r.Protocols[0])
	}
	for i := 2; slices.ContainsFunc(w.rules, func(x FirewallRule) bool { return x.Name == name }); i++ {
		name = fmt.Sprintf("%s-%d", strings.TrimRight(name, "-0123456789"), i)
	}
	return name
}

func (w *writer) tag(tag string) string {
	if head, ok := strings.CutSuffix(tag, ".region"); ok {
		return head + "." + w.o.Region
	}
	return tag
}

func (w *writer) fill(host string) string {
	return strings.NewReplacer("{region}", strings.ToLower(w.o.Region), "{storage}", w.n.Storage).Replace(host)
}

// sample is a name that a pattern matches.
func sample(pattern string) string {
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		return "sample." + rest
	}
	return strings.TrimPrefix(pattern, "*")
}

// BehindFirewall opens a security group, before its closing rule, for hosts that have no tag: the firewall, through
// which all goes, tells them apart by name.
func BehindFirewall(group []Rule, e Egress) []Rule {
	var hosts, ports []string
	for _, r := range e.Rules {
		if r.requirement.tag != "" {
			continue
		}
		hosts = append(hosts, r.FQDNs...)
		if p := fmt.Sprint(r.requirement.port); !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	if hosts == nil {
		return group
	}
	open := Rule{Name: "AllowHostsByFirewall", Priority: lastPriority - priorityStep, Direction: "Outbound", Access: "Allow", Protocol: "Tcp", Source: fabric.TagVirtualNetwork,
		Destination: fabric.TagInternet, Ports: ports, Purpose: "hosts that the firewall lets through by name", Breaks: hosts}
	return slices.Insert(slices.Clone(group), len(group)-1, open)
}

// routes lead to the firewall, and past it what answers the services that call nodes at their public addresses: their
// calls do not come by the firewall, which would take the answers for invalid.
func routes(p *audit.Profile, o Options, n Network) []Route {
	out := []Route{{Name: "internet-by-firewall", Prefix: "0.0.0.0/0", Hop: "VirtualAppliance", Address: n.Firewall.String(), Purpose: "everything leaves by the firewall"}}
	if !o.PublicIP {
		return out
	}
	for _, q := range p.Requirements {
		tag := q.Tag
		if q.Direction != "Inbound" || q.When != audit.WithPublicIP || slices.ContainsFunc(out, func(r Route) bool { return r.Prefix == tag }) {
			continue
		}
		out = append(out, Route{Name: tag, Prefix: tag, Hop: "Internet", Purpose: fmt.Sprintf("answers to %s, whose calls come to the nodes' public addresses past the firewall", tag)})
	}
	return out
}
