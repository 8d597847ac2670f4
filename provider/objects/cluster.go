package objects

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// The types of Azure Kubernetes Service.
const (
	ClusterType   = "Microsoft.ContainerService/managedClusters"
	agentPoolType = ClusterType + "/agentPools"
)

// Cluster is the properties of a managed cluster. Its agent pools are resources of their own, which it shows.
type Cluster struct {
	KubernetesVersion string           `json:"kubernetesVersion,omitempty"`
	Current           string           `json:"currentKubernetesVersion,omitempty" rp:"readonly"`
	DNSPrefix         string           `json:"dnsPrefix,omitempty"`
	FQDNSubdomain     string           `json:"fqdnSubdomain,omitempty"`
	FQDN              string           `json:"fqdn,omitempty" rp:"readonly"`
	PortalFQDN        string           `json:"azurePortalFQDN,omitempty" rp:"readonly"`
	AgentPools        []map[string]any `json:"agentPoolProfiles,omitempty"`
	EnableRBAC        *bool            `json:"enableRBAC,omitempty"`
	NodeResourceGroup string           `json:"nodeResourceGroup,omitempty"`
	Network           map[string]any   `json:"networkProfile,omitempty"`
	MaxAgentPools     int              `json:"maxAgentPools,omitempty" rp:"readonly"`
	Windows           *struct {
		Username string `json:"adminUsername"`
		Password string `json:"adminPassword,omitempty" rp:"secret"`
	} `json:"windowsProfile,omitempty"`
	ServicePrincipal *servicePrincipal `json:"servicePrincipalProfile,omitempty"`
	AAD              map[string]any    `json:"aadProfile,omitempty"`
	Mesh             map[string]any    `json:"serviceMeshProfile,omitempty"`
	APIServer        *struct {
		Private *bool `json:"enablePrivateCluster,omitempty"`
	} `json:"apiServerAccessProfile,omitempty"`
	PrivateFQDN          string             `json:"privateFQDN,omitempty" rp:"readonly"`
	SupportPlan          string             `json:"supportPlan,omitempty"`
	DisableLocalAccounts bool               `json:"disableLocalAccounts,omitempty"`
	Power                *powerState        `json:"powerState,omitempty" rp:"readonly"`
	Credentials          clusterCredentials `json:"credentials,omitempty" rp:"private"`
}

type servicePrincipal struct {
	ClientID string `json:"clientId"`
	Secret   string `json:"secret,omitempty" rp:"secret"`
}

type powerState struct {
	Code string `json:"code"`
}

// AgentPool is the properties of an agent pool, a tree of JSON: the same stands in the cluster's profile.
type AgentPool map[string]any

// MaintenanceConfiguration says when a cluster may be maintained.
type MaintenanceConfiguration struct{}

// RoleBinding gives another resource access to a cluster.
type RoleBinding struct {
	Source string   `json:"sourceResourceId"`
	Roles  []string `json:"roles"`
}

var clusterVersions = []string{
	"2018-03-31", "2018-08-01-preview", "2019-02-01", "2019-04-01", "2019-06-01", "2019-08-01", "2019-10-01", "2019-11-01", "2020-01-01", "2020-02-01",
	"2020-03-01", "2020-04-01", "2020-06-01", "2020-07-01", "2020-09-01", "2020-11-01", "2020-12-01", "2021-02-01", "2021-03-01", "2021-05-01",
	"2021-07-01", "2021-08-01", "2021-09-01", "2021-10-01", "2021-11-01-preview", "2022-01-01", "2022-01-02-preview", "2022-02-01", "2022-02-02-preview",
	"2022-03-01", "2022-03-02-preview", "2022-04-01", "2022-04-02-preview", "2022-05-02-preview", "2022-06-01", "2022-06-02-preview", "2022-07-01",
	"2022-07-02-preview", "2022-08-02-preview", "2022-08-03-preview", "2022-09-01", "2022-09-02-preview", "2022-10-02-preview", "2022-11-01",
	"2022-11-02-preview", "2023-01-01", "2023-01-02-preview", "2023-02-01", "2023-02-02-preview", "2023-03-01", "2023-03-02-preview", "2023-04-01",
	"2023-04-02-preview", "2023-05-01", "2023-05-02-preview", "2023-06-01", "2023-06-02-preview", "2023-07-01", "2023-07-02-preview", "2023-08-01",
	"2023-08-02-preview", "2023-09-01", "2023-09-02-preview", "2023-10-01", "2023-10-02-preview", "2023-11-01", "2023-11-02-preview", "2024-01-01",
	"2024-01-02-preview", "2024-02-01", "2024-02-02-preview", "2024-03-02-preview", "2024-04-02-preview", "2024-05-01", "2024-05-02-preview",
	"2024-06-01", "2024-06-02-preview", "2024-07-01", "2024-07-02-preview", "2024-08-01", "2024-09-01", "2024-09-02-preview", "2024-10-01",
	"2024-10-02-preview", "2025-01-01", "2025-01-02-preview", "2025-02-01", "2025-02-02-preview", "2025-03-01", "2025-03-02-preview", "2025-04-01",
	"2025-04-02-preview", "2025-05-01", "2025-05-02-preview", "2025-06-01", "2025-06-02-preview", "2025-07-01", "2025-07-02-preview", "2025-08-01",
	"2025-08-02-preview", "2025-09-01", "2025-09-02-preview", "2025-10-01", "2025-10-02-preview", "2026-01-01", "2026-01-02-preview", "2026-02-01",
	"2026-02-02-preview", "2026-03-01", "2026-03-02-preview", "2026-04-01", "2026-04-02-preview", "2026-05-01", "2026-05-02-preview", "2026-06-01",
}

const defaultKubernetes = "1.33.5"

// istioRevision is what the mesh add-on installs when nobody chooses (Istio-based service mesh add-on, release calendar).
const istioRevision = "asm-1-27"

// nodeImages are the images that new pools have.
var nodeImages = map[string]string{"linux": "AKSUbuntu-2204gen2containerd-202510.03.0", "windows": "AKSWindows-2022-20348.4294.251008"}

var (
	dnsPrefix         = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,52}[a-zA-Z0-9])?$`)
	poolName          = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)
	kubernetesVersion = regexp.MustCompile(`^\d+\.\d+(\.\d+)?$`)
)

func clusters() []object {
	return []object{
		of(rp.Type[Cluster]{
			Name: ClusterType, Versions: rp.Versions[Cluster](clusterVersions...),
			NamePattern: `^[a-zA-Z0-9](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?$`, NameRule: "Cluster names have up to 63 letters, digits, underscores and hyphens, and begin and end with a letter or digit.",
			Default: clusterDefaults, Validate: validateCluster, Admit: admitCluster, Links: clusterLinks, Present: presentCluster, Reconcile: done[Cluster],
			Actions: clusterActions(), ETagName: "eTag",
		}),
		of(rp.Type[AgentPool]{
			Name: agentPoolType, Kind: rp.Proxy, Versions: rp.Versions[AgentPool](since(clusterVersions, "2019-02-01")...),
			NamePattern: poolName.String(), NameRule: "Agent pool names have up to 12 lower-case letters and digits, and begin with a letter.",
			Validate: func(_ rp.Op, r, old *rp.Resource[AgentPool]) error {
				if r.Properties == nil {
					r.Properties = AgentPool{}
				}
				if old != nil { // what is not said again stays
					fill(r.Properties, old.Properties)
				}
				poolDefaults(&r.Properties)
				return validatePool(r.ID.Name(), r.Properties, "properties")
			},
			Admit: func(_ context.Context, tx *rp.Tx, _ rp.Op, r, _ *rp.Resource[AgentPool]) error {
				cluster, err := live[Cluster](tx, r.ID.Parent())
				if err != nil {
					return err
				}
				return completePool(tx, r.Properties, cluster.Properties.KubernetesVersion)
			},
			Links: func(r *rp.Resource[AgentPool]) []rp.Link {
				subnet, _ := r.Properties["vnetSubnetID"].(string)
				return appendSubnet(nil, subnet)
			},
			Reconcile: done[AgentPool],
			Present: func(_ context.Context, _ *rp.Tx, r *rp.Resource[AgentPool]) error {
				r.Properties = clone(r.Properties)
				r.Properties["eTag"] = r.ETag
				return nil
			},
			Actions: unserved(map[string]rp.Action[AgentPool]{
				"upgradeNodeImageVersion": {Do: upgradeImage},
				"abort":                   {Do: func(context.Context, *rp.Tx, *rp.Resource[AgentPool], []byte) (any, error) { return nil, nil }}, // nothing is under way
			}, "deleteMachines"),
		}),
		of(rp.Type[MaintenanceConfiguration]{
			Name: ClusterType + "/maintenanceConfigurations", Kind: rp.Proxy, Versions: rp.Versions[MaintenanceConfiguration](since(clusterVersions, "2020-12-01")...),
			StateProperty: "-", SyncDelete: true, CreateStatus: http.StatusOK,
		}),
		of(rp.Type[RoleBinding]{
			Name: ClusterType + "/trustedAccessRoleBindings", Kind: rp.Proxy, Versions: rp.Versions[RoleBinding](since(clusterVersions, "2023-09-01")...),
			Validate: func(_ rp.Op, r, _ *rp.Resource[RoleBinding]) error {
				if len(r.Properties.Roles) == 0 {
					return missingParameter("roles")
				}
				if r.Properties.Source == "" {
					return missingParameter("sourceResourceId")
				}
				return nil
			},
			Reconcile: done[RoleBinding],
		}),
	}
}

func missingParameter(name string) error {
	e := arm.Errorf(http.StatusBadRequest, "InvalidParameter", "Required parameter %s is missing (null).", name)
	e.Target = name
	return e
}

func invalidParameter(name, format string, args ...any) error {
	e := arm.Errorf(http.StatusBadRequest, "InvalidParameter", "The value of parameter %s is invalid. Error details: %s", name, fmt.Sprintf(format, args...))
	e.Target = name
	return e
}

func clusterDefaults(_ string, r *rp.Resource[Cluster]) {
	v := &r.Properties
	otherwise(&v.KubernetesVersion, defaultKubernetes)
	otherwise(&v.EnableRBAC, ptr(true))
	otherwise(&v.SupportPlan, "KubernetesOfficial")
	otherwise(&v.NodeResourceGroup, fmt.Sprintf("MC_%s_%s_%s", r.ID.ResourceGroup(), r.ID.Name(), r.Location))
	if v.Network == nil {
		v.Network = map[string]any{}
	}
	defaults := map[string]any{"networkPlugin": "kubenet", "serviceCidr": "10.0.0.0/16", "dnsServiceIP": "10.0.0.10", "loadBalancerSku": "standard", "outboundType": "loadBalancer", "ipFamilies": []any{"IPv4"}}
	if plugin, _ := v.Network["networkPlugin"].(string); plugin == "" || strings.EqualFold(plugin, "kubenet") {
		defaults["podCidr"] = "10.244.0.0/16"
	}
	fill(v.Network, defaults)
	outbound(r)
	for one, all := range map[string]string{"podCidr": "podCidrs", "serviceCidr": "serviceCidrs"} {
		if cidr := v.Network[one]; cidr != nil {
			fill(v.Network, map[string]any{all: []any{cidr}})
		}
	}
	if mesh, _ := v.Mesh["istio"].(map[string]any); mesh != nil {
		fill(mesh, map[string]any{"revisions": []any{istioRevision}})
	}
	if v.ServicePrincipal == nil && r.Identity != nil {
		v.ServicePrincipal = &servicePrincipal{ClientID: "msi"}
	}
	for _, p := range v.AgentPools {
		poolDefaults((*AgentPool)(&p))
	}
}

// outbound sets what a cluster's load balancer or NAT gateway has when nobody says it, and the addresses that it would go out by.
func outbound(r *rp.Resource[Cluster]) {
	network := r.Properties.Network
	profile, managed, idle := "loadBalancerProfile", "managedOutboundIPs", 30.0
	switch kind, _ := network["outboundType"].(string); strings.ToLower(kind) {
	case "loadbalancer":
	case "managednatgateway":
		profile, managed, idle = "natGatewayProfile", "managedOutboundIPProfile", 4
	default:
		return
	}
	p, ok := network[profile].(map[string]any)
	if !ok {
		p = map[string]any{}
		network[profile] = p
	}
	defaults := map[string]any{"idleTimeoutInMinutes": idle}
	if profile == "loadBalancerProfile" {
		defaults["allocatedOutboundPorts"] = 0.0
		defaults["backendPoolType"] = "NodeIPConfiguration"
	}
	if p["outboundIPs"] == nil && p["outboundIPPrefixes"] == nil {
		defaults[managed] = map[string]any{"count": 1.0}
	}
	fill(p, defaults)
	addresses := []any{}
	if own, ok := p["outboundIPs"].(map[string]any); ok {
		addresses, _ = own["publicIPs"].([]any)
	} else if m, ok := p[managed].(map[string]any); ok {
		count, _ := m["count"].(float64)
		for i := range int(min(max(count, 0), 100)) {
			addresses = append(addresses, map[string]any{"id": fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/publicIPAddresses/%s-%d",
				r.ID.Subscription(), r.Properties.NodeResourceGroup, r.ID.Name(), i+1)})
		}
	}
	p["effectiveOutboundIPs"] = addresses
}

// fill sets the members that nobody set.
func fill(m, defaults map[string]any) {
	for name, value := range defaults {
		if m[name] == nil {
			m[name] = value
		}
	}
}

func poolDefaults(p *AgentPool) {
	if *p == nil {
		*p = AgentPool{}
	}
	fill(*p, map[string]any{"count": 1.0, "osType": "Linux", "maxPods": 110.0, "type": "VirtualMachineScaleSets", "mode": "User",
		"upgradeSettings": map[string]any{"maxSurge": "10%"}, "enableEncryptionAtHost": false, "enableFIPS": false, "enableNodePublicIP": false, "powerState": map[string]any{"code": "Running"}})
	if priority, _ := (*p)["scaleSetPriority"].(string); strings.EqualFold(priority, "Spot") {
		fill(*p, map[string]any{"spotMaxPrice": -1.0, "scaleSetEvictionPolicy": "Delete"})
	}
}

func validateCluster(op rp.Op, new, _ *rp.Resource[Cluster]) error {
	v := &new.Properties
	if v.FQDNSubdomain == "" && !dnsPrefix.MatchString(v.DNSPrefix) {
		return invalidParameter("dnsPrefix", "DNS prefix '%s' is invalid. DNS prefix must contain between 1 and 54 characters. Please see https://aka.ms/aks-naming-rules for more details.", v.DNSPrefix)
	}
	if !kubernetesVersion.MatchString(v.KubernetesVersion) {
		return invalidParameter("kubernetesVersion", "'%s' is not of the form 1.33 or 1.33.5.", v.KubernetesVersion)
	}
	for name, allowed := range map[string][]string{"networkPlugin": {"azure", "kubenet", "none"}, "loadBalancerSku": {"standard", "basic"},
		"outboundType": {"loadBalancer", "userDefinedRouting", "managedNATGateway", "userAssignedNATGateway", "none", "block"}, "networkPolicy": {"calico", "azure", "cilium", "none"}} {
		value, _ := v.Network[name].(string)
		if err := oneOf("InvalidParameter", "networkProfile."+name, &value, allowed...); err != nil {
			return err
		}
	}
	if op == rp.Create && len(v.AgentPools) == 0 {
		return missingParameter("agentPoolProfiles")
	}
	seen := map[string]bool{}
	for _, p := range v.AgentPools {
		name, _ := p["name"].(string)
		if seen[name] {
			return invalidParameter("agentPoolProfile.name", "two agent pools have the name '%s'.", name)
		}
		seen[name] = true
		if err := validatePool(name, p, "agentPoolProfile"); err != nil {
			return err
		}
	}
	return nil
}

func validatePool(name string, p AgentPool, at string) error {
	if !poolName.MatchString(name) {
		return invalidParameter(at+".name", "'%s' must have up to 12 lower-case letters and digits, and begin with a letter.", name)
	}
	if size, _ := p["vmSize"].(string); size == "" {
		return missingParameter(at + ".vmSize")
	}
	if count, ok := p["count"].(float64); !ok || count < 0 || count > 1000 || count != float64(int(count)) {
		return invalidParameter(at+".count", "%v is not a number of nodes between 0 and 1000.", p["count"])
	}
	if pods, ok := p["maxPods"].(float64); !ok || pods < 10 || pods > 250 {
		return invalidParameter(at+".maxPods", "%v is not between 10 and 250.", p["maxPods"])
	}
	for member, allowed := range map[string][]string{"osType": {"Linux", "Windows"}, "mode": {"System", "User", "Gateway"}, "osDiskType": {"Managed", "Ephemeral"},
		"type": {"VirtualMachineScaleSets", "AvailabilitySet", "VirtualMachines"}, "scaleSetPriority": {"Regular", "Spot"}, "scaleSetEvictionPolicy": {"Delete", "Deallocate"}} {
		value, _ := p[member].(string)
		if err := oneOf("InvalidParameter", at+"."+member, &value, allowed...); err != nil {
			return err
		}
	}
	return nil
}

// completePool sets what the service chooses, over what a client wrote there.
func completePool(tx *rp.Tx, p AgentPool, kubernetes string) error {
	if version, _ := p["orchestratorVersion"].(string); version == "" {
		p["orchestratorVersion"] = kubernetes
	}
	p["currentOrchestratorVersion"] = p["orchestratorVersion"]
	p["nodeImageVersion"] = nodeImages["linux"]
	if os, _ := p["osType"].(string); os != "" {
		p["nodeImageVersion"] = nodeImages[strings.ToLower(os)]
	}
	delete(p, "provisioningState")
	delete(p, "eTag")
	if subnet, _ := p["vnetSubnetID"].(string); subnet != "" {
		_, err := subnetOf(tx, "vnetSubnetID", subnet)
		return err
	}
	return nil
}

func clusterLinks(r *rp.Resource[Cluster]) (links []rp.Link) {
	for _, p := range r.Properties.AgentPools {
		subnet, _ := p["vnetSubnetID"].(string)
		links = appendSubnet(links, subnet)
	}
	return links
}

// admitCluster makes the agent pools that the profile names; those that it leaves out stay.
func admitCluster(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Cluster]) error {
	v := &new.Properties
	if op == rp.Create {
		host := strings.ToLower(v.DNSPrefix+v.FQDNSubdomain) + "-" + hostLabel()
		v.FQDN, v.PortalFQDN = host+".hcp."+new.Location+".azmk8s.io", host+".portal.hcp."+new.Location+".azmk8s.io"
		v.MaxAgentPools = 100
		v.Power = &powerState{"Running"}
		v.newCredentials()
		if v.APIServer != nil && v.APIServer.Private != nil && *v.APIServer.Private {
			v.PrivateFQDN = host + ".privatelink." + new.Location + ".azmk8s.io"
		}
	}
	v.Current = v.KubernetesVersion
	for _, profile := range v.AgentPools {
		pool := AgentPool(clone(profile))
		name, _ := pool["name"].(string)
		delete(pool, "name")
		if err := completePool(tx, pool, v.KubernetesVersion); err != nil {
			return err
		}
		if err := rp.Save(tx, &rp.Resource[AgentPool]{ID: new.ID.Child("agentPools", name), State: arm.Succeeded, Properties: pool}); err != nil {
			return err
		}
	}
	v.AgentPools = nil // they are resources of their own
	return nil
}

// presentCluster shows the agent pools.
func presentCluster(_ context.Context, tx *rp.Tx, r *rp.Resource[Cluster]) error {
	pools, err := rp.List[AgentPool](tx, agentPoolType, r.ID)
	r.Properties.AgentPools = []map[string]any{}
	for _, p := range pools {
		profile := clone(p.Properties)
		profile["name"], profile["provisioningState"], profile["eTag"] = p.ID.Name(), p.State, p.ETag
		r.Properties.AgentPools = append(r.Properties.AgentPools, profile)
	}
	return err
}
