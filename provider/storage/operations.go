package storage

import "vauban.dev/arm/rp"

// operations are those of the blob service and those that Links ask for. Those under containers/blobs are data actions
// ("Permissions for calling data operations").
func operations() rp.Registration {
	const service = AccountType + "/blobServices/"
	list := rp.Actions(service+"generateUserDelegationKey/action", service+"getInfo/action", service+"containers/getAcl/action", service+"containers/setAcl/action",
		AccountType+"/PrivateEndpointConnectionsApproval/action")
	for _, name := range []string{"read", "write", "delete", "add/action", "filter/action", "move/action", "tags/read", "tags/write"} {
		list = append(list, rp.Operation{Name: service + "containers/blobs/" + name, Data: true, Description: "Blobs: " + name})
	}
	return rp.Operations(list...)
}
