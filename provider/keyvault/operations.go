package keyvault

import "vauban.dev/arm/rp"

// operations are the data actions of secrets, and what Links ask for ("Azure permissions for Security": Microsoft.KeyVault).
func operations() rp.Registration {
	list := rp.Actions(VaultType + "/PrivateEndpointConnectionsApproval/action")
	for _, name := range []string{"getSecret", "setSecret", "readMetadata", "update", "backup", "restore", "recover", "purge"} {
		list = append(list, rp.Operation{Name: VaultType + "/secrets/" + name + "/action", Data: true, Description: "Secrets: " + name})
	}
	list = append(list, rp.Operation{Name: VaultType + "/secrets/delete", Data: true, Description: "Secrets: delete"})
	return rp.Operations(list...)
}
