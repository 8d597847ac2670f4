package objects

import (
	"context"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
)

// NetworkProfileType is the resource type of network profiles: how the containers of a group are in a subnet.
const NetworkProfileType = "Microsoft.Network/networkProfiles"

// NetworkProfile is the properties of a network profile.
type NetworkProfile struct {
	Configurations []profileInterface `json:"containerNetworkInterfaceConfigurations"`
	Interfaces     []any              `json:"containerNetworkInterfaces" rp:"readonly"`
	GUID           string             `json:"resourceGuid,omitempty" rp:"readonly"`
}

type profilePart struct {
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
	Type string `json:"type,omitempty"`
	ETag string `json:"etag,omitempty"`
}

type profileInterface struct {
	profilePart
	Properties struct {
		State            string         `json:"provisioningState,omitempty"`
		IPConfigurations []profileIP    `json:"ipConfigurations"`
		Interfaces       []*network.Ref `json:"containerNetworkInterfaces"`
	} `json:"properties"`
}

type profileIP struct {
	profilePart
	Properties struct {
		State  string       `json:"provisioningState,omitempty"`
		Subnet *network.Ref `json:"subnet,omitempty"`
	} `json:"properties"`
}

func networkProfiles() object {
	return of(rp.Type[NetworkProfile]{
		Name: NetworkProfileType, Versions: rp.Versions[NetworkProfile](since(network.Versions(), "2018-08-01")...), ShowETag: true,
		NamePattern: `^[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,78}[a-zA-Z0-9_])?$`, NameRule: "Network profile names have up to 80 letters, digits, underscores, periods and hyphens.",
		Validate: validateProfile, Links: profileLinks, Admit: admitProfile, Present: presentProfile, Finalize: done[NetworkProfile],
	})
}

func validateProfile(_ rp.Op, r, _ *rp.Resource[NetworkProfile]) error {
	for _, c := range r.Properties.Configurations {
		if err := must("InvalidRequestFormat", "containerNetworkInterfaceConfigurations.name", c.Name); err != nil {
			return err
		}
		for _, ip := range c.Properties.IPConfigurations {
			if err := must("InvalidRequestFormat", "ipConfigurations.name", ip.Name); err != nil {
				return err
			}
			if ip.Properties.Subnet == nil {
				return must("InvalidRequestFormat", "ipConfigurations.properties.subnet", "")
			}
		}
	}
	return nil
}

func eachSubnet(r *rp.Resource[NetworkProfile], f func(id string) error) error {
	for _, c := range r.Properties.Configurations {
		for _, ip := range c.Properties.IPConfigurations {
			if s := ip.Properties.Subnet; s != nil {
				if err := f(s.ID); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func profileLinks(r *rp.Resource[NetworkProfile]) (links []rp.Link) {
	_ = eachSubnet(r, func(id string) error { links = appendSubnet(links, id); return nil }) // has no error
	return links
}

func admitProfile(_ context.Context, tx *rp.Tx, op rp.Op, r, _ *rp.Resource[NetworkProfile]) error {
	if op == rp.Create {
		r.Properties.GUID = uuid.NewString()
	}
	return eachSubnet(r, func(id string) error {
		_, err := subnetOf(tx, "ipConfigurations.properties.subnet.id", id)
		return err
	})
}

// presentProfile names the parts as Microsoft.Network does.
func presentProfile(_ context.Context, _ *rp.Tx, r *rp.Resource[NetworkProfile]) error {
	v := &r.Properties
	v.Interfaces = []any{}
	if v.Configurations == nil {
		v.Configurations = []profileInterface{}
	}
	for i := range v.Configurations {
		c := &v.Configurations[i]
		id := r.ID.Child("containerNetworkInterfaceConfigurations", c.Name)
		c.profilePart = part(id, c.Name, r.ETag)
		c.Properties.State, c.Properties.Interfaces = string(r.State), []*network.Ref{}
		for j := range c.Properties.IPConfigurations {
			ip := &c.Properties.IPConfigurations[j]
			ip.profilePart = part(id.Child("ipConfigurations", ip.Name), ip.Name, r.ETag)
			ip.Properties.State = string(r.State)
		}
	}
	return nil
}

func part(id arm.ID, name, etag string) profilePart {
	return profilePart{Name: name, ID: id.String(), Type: id.Type().String(), ETag: etag}
}
