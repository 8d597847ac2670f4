package graph

import (
	"net/http"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

var (
	organizationKind = kind{name: "organization", set: "organization", sample: organizationObject(directory.Tenant{})}
	domainKind       = kind{name: "domain", set: "domains", sample: domainObject(directory.Tenant{})}
)

var (
	readTenant = Need{Application: []string{"Organization.Read.All", "Domain.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"User.Read", "Organization.Read.All", "Domain.Read.All", "Directory.Read.All"}, Action: "organization/standard/read", Members: true}
	invite     = Need{Application: []string{"User.Invite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"}, Delegated: []string{"User.Invite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"}, Action: "users/inviteGuest", Members: true}
)

func organizationObject(t directory.Tenant) object {
	return object{
		"id": t.ID, "displayName": t.Name, "createdDateTime": when(t.Created), "tenantType": "AAD", "deletedDateTime": nil, "countryLetterCode": nil, "country": nil, "city": nil, "state": nil, "street": nil,
		"postalCode": nil, "preferredLanguage": nil, "defaultUsageLocation": nil, "businessPhones": []string{}, "technicalNotificationMails": []string{}, "marketingNotificationEmails": []string{}, "assignedPlans": []string{},
		"provisionedPlans": []string{}, "onPremisesSyncEnabled": nil, "onPremisesLastSyncDateTime": nil, "partnerTenantType": nil,
		"verifiedDomains": []object{{"name": t.Domain, "capabilities": "Email, OfficeCommunicationsOnline", "isDefault": true, "isInitial": true, "type": "Managed"}},
	}
}

func domainObject(t directory.Tenant) object {
	return object{"id": t.Domain, "authenticationType": "Managed", "availabilityStatus": nil, "isAdminManaged": true, "isDefault": true, "isInitial": true, "isRoot": true, "isVerified": true,
		"supportedServices": []string{"Email", "OfficeCommunicationsOnline"}, "passwordValidityPeriodInDays": 2147483647, "passwordNotificationWindowInDays": 14, "state": nil}
}

// own is the caller's tenant.
func (c *Call) ownTenant(show func(directory.Tenant) object) source {
	return func(tx store.Tx, after string, yield func(object) bool) error {
		t, err := c.dir.TenantBy(tx, c.tenant())
		if err != nil {
			return err
		}
		return slice([]directory.Tenant{t}, show)(tx, after, yield)
	}
}

func (c *Call) oneTenant(k kind, show func(directory.Tenant) object) error {
	var t directory.Tenant
	if err := c.View(func(tx store.Tx) (err error) {
		t, err = c.dir.TenantBy(tx, c.tenant())
		return err
	}); err != nil {
		return err
	}
	o := show(t)
	if o["id"] != c.Vars[0] {
		return notFound(c.Vars[0])
	}
	return c.one(http.StatusOK, k, o)
}

// invitation makes a guest. There is no mail in a region: the answer has the address by which he accepts.
func (c *Call) invitation() error {
	var body struct {
		Address  string `json:"invitedUserEmailAddress"`
		Redirect string `json:"inviteRedirectUrl"`
		Name     string `json:"invitedUserDisplayName"`
		Type     string `json:"invitedUserType"`
		Send     bool   `json:"sendInvitationMessage"`
	}
	if err := c.Body(&body); err != nil {
		return err
	}
	for name, v := range map[string]string{"invitedUserEmailAddress": body.Address, "inviteRedirectUrl": body.Redirect} {
		if v == "" {
			return badRequest("A value is required for property '%s' of resource 'Invitation'.", name)
		}
	}
	if body.Type != "" && body.Type != "Guest" {
		return badRequest("Invalid value specified for property 'invitedUserType' of resource 'Invitation': a partner's user is a Guest.")
	}
	if body.Send {
		return notServed("sendInvitationMessage (a region sends no mail; give the guest inviteRedeemUrl yourself)")
	}
	var u directory.User
	err := c.Update(func(tx store.Tx) (err error) {
		u, err = c.dir.Invite(tx, c.tenant(), body.Address, body.Name)
		return err
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusCreated, map[string]any{
		"@odata.context": c.context("invitations/$entity"), "id": u.ID, "status": u.ExternalUserState, "invitedUserEmailAddress": body.Address, "invitedUserDisplayName": u.DisplayName,
		"invitedUserType": "Guest", "sendInvitationMessage": false, "inviteRedirectUrl": body.Redirect, "resetRedemption": false,
		"inviteRedeemUrl": "https://login.microsoftonline.com/" + c.tenant() + "/oauth2/v2.0/authorize", "invitedUser": object{"id": u.ID},
	})
}
