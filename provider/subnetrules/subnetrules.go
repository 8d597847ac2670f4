// Package subnetrules judges the virtual network rules of service firewalls when they are written: a rule that names
// a subnet which cannot come by a service endpoint would admit nobody.
package subnetrules

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Endpoints tells whether a subnet has the service endpoint of one of the services; 404 for no such subnet. Nil: nobody
// knows, and no subnet is looked at.
type Endpoints func(tx *rp.Tx, subnet arm.ID, services ...string) (bool, error)

// Links of a resource to the subnets that its rules name: naming one needs joinViaServiceEndpoint/action on it. What
// is no id is the validation's to refuse.
// https://learn.microsoft.com/azure/storage/common/storage-network-security#required-permissions
func Links(subnets []string) (list []rp.Link) {
	for _, text := range subnets {
		if id, err := arm.ParseID(text); err == nil {
			list = append(list, rp.Link{Action: "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action", ID: id})
		}
	}
	return list
}

// Admit refuses a subnet that is new among the rules and has none of the services' endpoints, by the error that refuse
// makes of Azure's inner code and message. The first service is the one that the message names.
func (e Endpoints) Admit(tx *rp.Tx, subnets, before []string, refuse func(code, message string) *arm.Error, services ...string) error {
	if e == nil {
		return nil
	}
	for _, text := range subnets {
		if slices.ContainsFunc(before, func(b string) bool { return strings.EqualFold(b, text) }) {
			continue
		}
		subnet, err := arm.ParseID(text)
		if err != nil {
			return err
		}
		has, err := e(tx, subnet, services...)
		switch x := arm.AsError(err); {
		case x != nil && x.Status == http.StatusNotFound:
			return refuse("SubnetsNotFound", fmt.Sprintf("Subnet %s of virtual network %s does not exist", subnet.Name(), subnet.Parent()))
		case err != nil:
			return err
		case !has:
			return refuse("SubnetsHaveNoServiceEndpointsConfigured", fmt.Sprintf("Subnets %s of virtual network %s do not have ServiceEndpoints for %[3]s resources configured. Add %[3]s to subnet's ServiceEndpoints collection before trying to ACL %[3]s resources to these subnets.", subnet.Name(), subnet.Parent(), services[0]))
		}
	}
	return nil
}
