package objects

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// ContainerGroupType is the resource type of Azure Container Instances.
const ContainerGroupType = "Microsoft.ContainerInstance/containerGroups"

// ContainerGroup is the properties of a container group.
type ContainerGroup struct {
	Containers     []map[string]any `json:"containers,omitempty"`
	InitContainers []map[string]any `json:"initContainers,omitempty"`
	OSType         string           `json:"osType,omitempty"`
	RestartPolicy  string           `json:"restartPolicy,omitempty"`
	SKU            string           `json:"sku,omitempty"`
	Priority       string           `json:"priority,omitempty"`
	IPAddress      map[string]any   `json:"ipAddress,omitempty"`
	SubnetIDs      []struct {
		ID   string `json:"id"`
		Name string `json:"name,omitempty"`
	} `json:"subnetIds,omitempty"`
	NetworkProfile *struct {
		ID string `json:"id"`
	} `json:"networkProfile,omitempty"`
	Credentials  []map[string]any `json:"imageRegistryCredentials,omitempty"`
	Volumes      []map[string]any `json:"volumes,omitempty"`
	Diagnostics  map[string]any   `json:"diagnostics,omitempty"`
	Extensions   []map[string]any `json:"extensions,omitempty"`
	InstanceView *struct {
		Events []any  `json:"events"`
		State  string `json:"state"`
	} `json:"instanceView,omitempty" rp:"readonly"`
}

var containerGroupVersions = []string{
	"2017-08-01-preview", "2017-10-01-preview", "2017-12-01-preview", "2018-02-01-preview", "2018-04-01", "2018-06-01", "2018-09-01", "2018-10-01",
	"2019-12-01", "2020-11-01", "2021-03-01", "2021-07-01", "2021-09-01", "2021-10-01", "2022-09-01", "2022-10-01-preview", "2023-02-01-preview",
	"2023-05-01", "2024-05-01-preview", "2024-09-01-preview", "2024-10-01-preview", "2024-11-01-preview", "2025-09-01", "2026-06-01-preview",
	"2026-07-01", "2026-08-01-preview",
}

func containerGroups() object {
	return of(rp.Type[ContainerGroup]{
		Name: ContainerGroupType, Versions: rp.Versions[ContainerGroup](containerGroupVersions...),
		NamePattern: `^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`, NameRule: "Container group names have up to 63 lower-case letters, digits and hyphens, and neither begin nor end with a hyphen.",
		Default: func(_ string, r *rp.Resource[ContainerGroup]) {
			otherwise(&r.Properties.RestartPolicy, "Always")
			otherwise(&r.Properties.SKU, "Standard")
		},
		Validate: validateContainerGroup, Admit: admitContainerGroup, Links: containerGroupLinks, Reconcile: done[ContainerGroup],
		Actions: unserved[ContainerGroup](nil, "start", "stop", "restart"),
	})
}

// containerRoutes are the operations on a container, which is no resource.
func containerRoutes() rp.Registration {
	path := "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + ContainerGroupType + "/{name}/containers/{container}/"
	var routes []rp.Route
	for name, method := range map[string]string{"logs": http.MethodGet, "exec": http.MethodPost, "attach": http.MethodPost} {
		verb := "action"
		if method == http.MethodGet {
			verb = "read"
		}
		routes = append(routes, rp.Route{
			Method: method, Pattern: path + name, Permission: ContainerGroupType + "/containers/" + name + "/" + verb, Versions: containerGroupVersions, Reads: true,
			Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
				id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + ContainerGroupType + "/" + path["name"])
				if err != nil {
					return nil, err
				}
				if _, err := rp.Get[ContainerGroup](tx, id); err != nil {
					return nil, err
				}
				return nil, arm.NotImplemented("'%s' is not implemented: %s is object only. The container '%s' does not run.", name, ContainerGroupType, path["container"])
			},
		})
	}
	return rp.Routes(routes...)
}

func validateContainerGroup(_ rp.Op, new, _ *rp.Resource[ContainerGroup]) error {
	v, name := &new.Properties, new.ID.Name()
	if oneOf("", "", &v.OSType, "Linux", "Windows") != nil || v.OSType == "" {
		return refuse("InvalidOsType", "The 'osType' for container group '%s' is invalid. The value must be one of 'Windows,Linux'.", name)
	}
	if err := first(
		oneOf("InvalidRestartPolicy", "properties.restartPolicy", &v.RestartPolicy, "Always", "OnFailure", "Never"),
		oneOf("InvalidSku", "properties.sku", &v.SKU, "Standard", "Dedicated", "Confidential", "NotSpecified"),
		oneOf("InvalidPriority", "properties.priority", &v.Priority, "Regular", "Spot")); err != nil {
		return err
	}
	if len(v.Containers) == 0 || len(v.Containers) > 60 {
		return refuse("InvalidContainers", "The container group '%s' has %d containers. It must have between 1 and 60.", name, len(v.Containers))
	}
	seen := map[string]bool{}
	for _, c := range v.Containers {
		if err := validateContainer(c, name, seen); err != nil {
			return err
		}
	}
	kind, _ := v.IPAddress["type"].(string)
	if v.IPAddress != nil {
		if ports, _ := v.IPAddress["ports"].([]any); len(ports) == 0 {
			return refuse("MissingIpAddressPorts", "The 'ports' of the 'ipAddress' of container group '%s' are missing.", name)
		}
		if err := first(must("InvalidIPAddressType", "properties.ipAddress.type", kind), oneOf("InvalidIPAddressType", "properties.ipAddress.type", &kind, "Public", "Private")); err != nil {
			return err
		}
	}
	if len(v.SubnetIDs) > 0 && strings.EqualFold(kind, "Public") {
		return refuse("PublicIPAddressNotSupportedInVNet", "The IP address type of container group '%s' can not be public when it is in a virtual network.", name)
	}
	return nil
}

func validateContainer(c map[string]any, group string, seen map[string]bool) error {
	name, _ := c["name"].(string)
	properties, _ := c["properties"].(map[string]any)
	image, _ := properties["image"].(string)
	if err := first(must("InvalidContainerName", "properties.containers.name", name), must("InvalidImage", "properties.containers["+name+"].properties.image", image)); err != nil {
		return err
	}
	if seen[strings.ToLower(name)] {
		return refuse("DuplicateContainerName", "The container group '%s' has two containers of name '%s'.", group, name)
	}
	seen[strings.ToLower(name)] = true
	resources, _ := properties["resources"].(map[string]any)
	requests, _ := resources["requests"].(map[string]any)
	limits, _ := resources["limits"].(map[string]any)
	for _, r := range []struct{ member, shown string }{{"cpu", "Cpu"}, {"memoryInGB", "MemoryInGB"}} {
		amount := number(requests, r.member)
		if amount <= 0 {
			return refuse("ResourceRequestsNotSpecified", "The resource requests are not specified in container '%s' of contain group '%s'. Both memory and CPU requests are required since API version '2017-07-01-preview'.", name, group)
		}
		if limit := number(limits, r.member); limit != 0 && limit < amount {
			return refuse("ResourceLimitsLessThanRequests", "The resource requirement in container '%s' of contain group '%s' is invalid. The '%s' limit value must be greater than or equal to the request value.", name, group, r.shown)
		}
	}
	return nil
}

// number is a member that is a number, or a text that is one, which becomes it; 0 for all else.
func number(m map[string]any, name string) float64 {
	for have, value := range m {
		if !strings.EqualFold(have, name) {
			continue
		}
		f, ok := value.(float64)
		if text, is := value.(string); is {
			var err error
			f, err = strconv.ParseFloat(strings.TrimSpace(text), 64)
			ok = err == nil
		}
		if ok {
			delete(m, have)
			m[name] = f
			return f
		}
	}
	return 0
}

func containerGroupLinks(r *rp.Resource[ContainerGroup]) (links []rp.Link) {
	for _, s := range r.Properties.SubnetIDs {
		links = appendSubnet(links, s.ID)
	}
	return links
}

func appendSubnet(links []rp.Link, subnet string) []rp.Link {
	if id, err := arm.ParseID(subnet); err == nil && strings.EqualFold(id.Type().String(), network.SubnetType) {
		links = append(links, rp.Link{Action: network.SubnetType + "/join/action", ID: id})
	}
	return links
}

func admitContainerGroup(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[ContainerGroup]) error {
	v := &new.Properties
	for _, s := range v.SubnetIDs {
		subnet, err := subnetOf(tx, "properties.subnetIds.id", s.ID)
		if err != nil {
			return err
		}
		delegated := false
		for _, d := range subnet.Properties.Delegations {
			delegated = delegated || strings.EqualFold(d.Properties.ServiceName, ContainerGroupType)
		}
		if !delegated {
			return refuse("SubnetMissingRequiredDelegation", "Subnet %s requires any of the following delegation(s) [%s] to reference service association link.", subnet.ID, ContainerGroupType)
		}
	}
	if err := addressed(tx, new); err != nil {
		return err
	}
	if label, _ := v.IPAddress["dnsNameLabel"].(string); label != "" {
		v.IPAddress["fqdn"] = strings.ToLower(label) + "." + new.Location + ".azurecontainer.io"
	}
	v.InstanceView = ptr(struct {
		Events []any  `json:"events"`
		State  string `json:"state"`
	}{[]any{}, "Pending"}) // nothing runs
	forget(v)
	return nil
}

// addressed gives a group the address that its service would have given it. Nothing answers there.
func addressed(tx *rp.Tx, r *rp.Resource[ContainerGroup]) error {
	v := &r.Properties
	sum := sha256.Sum256([]byte(r.ID.Key()))
	subnet, err := groupSubnet(tx, r)
	if err != nil {
		return err
	}
	switch {
	case subnet != nil:
		if v.IPAddress == nil {
			v.IPAddress = map[string]any{"type": "Private", "ports": []any{}}
		}
		prefix := subnet.Properties.AddressPrefix
		if len(subnet.Properties.AddressPrefixes) > 0 {
			prefix = subnet.Properties.AddressPrefixes[0]
		}
		p, err := netip.ParsePrefix(prefix)
		if err != nil || !p.Addr().Is4() {
			return nil
		}
		b := p.Masked().Addr().As4()
		b[3] += 4 // the first that a subnet gives
		v.IPAddress["ip"] = netip.AddrFrom4(b).String()
	case v.IPAddress != nil:
		v.IPAddress["ip"] = netip.AddrFrom4([4]byte{20, 103, sum[0], max(sum[1], 1)}).String()
	}
	return nil
}

// groupSubnet is the subnet of a group, by itself or by its network profile; nil without one.
func groupSubnet(tx *rp.Tx, r *rp.Resource[ContainerGroup]) (*rp.Resource[network.Subnet], error) {
	if s := r.Properties.SubnetIDs; len(s) > 0 {
		return subnetOf(tx, "properties.subnetIds.id", s[0].ID)
	}
	if r.Properties.NetworkProfile == nil {
		return nil, nil
	}
	id, err := arm.ParseID(r.Properties.NetworkProfile.ID)
	if err != nil {
		return nil, refuse("InvalidNetworkProfile", "The value '%s' of 'properties.networkProfile.id' is not the id of a network profile.", r.Properties.NetworkProfile.ID)
	}
	profile, err := live[NetworkProfile](tx, id)
	if err != nil {
		return nil, err
	}
	for _, c := range profile.Properties.Configurations {
		for _, ip := range c.Properties.IPConfigurations {
			if ip.Properties.Subnet != nil {
				return subnetOf(tx, "properties.networkProfile.id", ip.Properties.Subnet.ID)
			}
		}
	}
	return nil, nil
}

// subnetOf is the subnet that a member names.
func subnetOf(tx *rp.Tx, field, value string) (*rp.Resource[network.Subnet], error) {
	id, err := arm.ParseID(value)
	if err != nil || !strings.EqualFold(id.Type().String(), network.SubnetType) {
		return nil, refuse("InvalidSubnet", "The value '%s' of '%s' is not the id of a subnet.", value, field)
	}
	return live[network.Subnet](tx, id)
}

// secretMembers are those that no answer shows: of environment variables, registries, shares, logs and extensions.
var secretMembers = []string{"secureValue", "password", "storageAccountKey", "workspaceKey", "protectedSettings"}

// forget drops the secrets: nothing of the region would use them, and no answer shows them.
func forget(v *ContainerGroup) {
	for _, list := range [][]map[string]any{v.Containers, v.InitContainers, v.Credentials, v.Volumes, v.Extensions, {v.Diagnostics}} {
		for _, m := range list {
			drop(m)
		}
	}
	for _, volume := range v.Volumes {
		for name, value := range volume {
			if files, ok := value.(map[string]any); ok && strings.EqualFold(name, "secret") {
				for file := range files {
					files[file] = ""
				}
			}
		}
	}
}

// drop deletes the secret members of a tree, in whatever case they are written.
func drop(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if slices.ContainsFunc(secretMembers, func(s string) bool { return strings.EqualFold(s, name) }) {
				delete(v, name)
				continue
			}
			drop(value)
		}
	case []any:
		for _, e := range v {
			drop(e)
		}
	}
}
