package storage

import "vauban.dev/arm/rp"

// operations are those of the services and those that Links ask for. Those under containers/blobs, queues/messages, tables/entities and fileshares/files are data actions
// ("Permissions for calling data operations").
func operations() rp.Registration {
	const service = AccountType + "/blobServices/"
	list := rp.Actions(service+"generateUserDelegationKey/action", service+"getInfo/action", service+"containers/getAcl/action", service+"containers/setAcl/action",
		AccountType+"/PrivateEndpointConnectionsApproval/action")
	for _, name := range []string{"read", "write", "delete", "add/action", "filter/action", "move/action", "tags/read", "tags/write"} {
		list = append(list, rp.Operation{Name: service + "containers/blobs/" + name, Data: true, Description: "Blobs: " + name})
	}
	data := func(what, path string, names ...string) {
		for _, name := range names {
			list = append(list, rp.Operation{Name: AccountType + path + name, Data: true, Description: what + ": " + name})
		}
	}
	data("Messages of queues", "/queueServices/queues/messages/", "read", "write", "delete", "add/action", "process/action")
	data("Entities of tables", "/tableServices/tables/entities/", "read", "write", "delete", "add/action", "update/action")
	data("Files of shares", "/fileServices/fileshares/files/", "read", "write", "delete", "modifypermissions/action")
	data("Files of shares", "/fileServices/", "readFileBackupSemantics/action", "writeFileBackupSemantics/action")
	return rp.Operations(list...)
}
