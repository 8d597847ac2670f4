package keyvault

import "vauban.dev/arm/rp"

// dataActions of what vaults keep ("Azure permissions for Security": Microsoft.KeyVault).
var dataActions = []string{
	"secrets/getSecret/action", "secrets/setSecret/action", "secrets/readMetadata/action", "secrets/update/action", "secrets/delete",
	"secrets/backup/action", "secrets/restore/action", "secrets/recover/action", "secrets/purge/action",
	"keys/read", "keys/create/action", "keys/import/action", "keys/update/action", "keys/delete", "keys/backup/action", "keys/restore/action",
	"keys/recover/action", "keys/purge/action", "keys/encrypt/action", "keys/decrypt/action", "keys/wrap/action", "keys/unwrap/action",
	"keys/sign/action", "keys/verify/action", "keys/release/action", "keys/rotate/action", "keyrotationpolicies/read", "keyrotationpolicies/write",
	"certificates/read", "certificates/create/action", "certificates/import/action", "certificates/update/action", "certificates/delete",
	"certificates/backup/action", "certificates/restore/action", "certificates/recover/action", "certificates/purge/action",
	"certificatecas/read", "certificatecas/write", "certificatecas/delete", "certificatecontacts/write",
}

// operations are the data actions, and what Links ask for.
func operations() rp.Registration {
	list := rp.Actions(VaultType + "/PrivateEndpointConnectionsApproval/action")
	for _, name := range dataActions {
		list = append(list, rp.Operation{Name: VaultType + "/" + name, Data: true, Description: "Data of vaults: " + name})
	}
	return rp.Operations(list...)
}
