package directory

import (
	"encoding/json"

	"vauban.dev/store"
)

// upgrade makes applications of the principals that regions kept before November 2026: until then a principal had its
// secrets and its permissions on Microsoft Graph itself, and no tenant. What was the region's first principal, the one
// that might read the directory, becomes its Global Administrator. It says whether there were any.
func (o *Objects) upgrade(tx store.Tx) (some bool, err error) {
	type before struct {
		ServicePrincipal
		GraphRoles []string `json:"graphRoles"`
	}
	var all []before
	err = tx.Scan(kindPrincipal, "", "", func(d store.Doc) bool {
		var p before
		if json.Unmarshal(d.Value, &p) == nil && p.TenantID == "" {
			all = append(all, p)
		}
		return true
	})
	if err != nil {
		return false, err
	}
	for _, p := range all {
		secrets := p.Secrets
		p.TenantID, p.Secrets = o.home.ID, nil
		if err := putJSON(tx, kindPrincipal, p.ObjectID, p.ServicePrincipal, store.Any); err != nil {
			return false, err
		}
		if p.Managed() {
			continue
		}
		a := Application{ID: newID(), TenantID: o.home.ID, AppID: p.AppID, DisplayName: p.DisplayName, SignInAudience: "AzureADMyOrg", Created: p.Created, Secrets: secrets}
		if err := claim(tx, "app", a.AppID, a.ID, "appId"); err != nil {
			return false, err
		}
		if err := putJSON(tx, kindApplication, a.ID, a, store.None); err != nil {
			return false, err
		}
		if len(p.GraphRoles) > 0 {
			if err := o.AssignRole(tx, o.home.ID, GlobalAdministrator, p.ObjectID); err != nil {
				return false, err
			}
		}
	}
	return len(all) > 0, nil
}
