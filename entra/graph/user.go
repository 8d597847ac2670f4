package graph

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/entra/directory"
	"vauban.dev/entra/password"
	"vauban.dev/origin"
	"vauban.dev/store"
)

var userKind = kind{name: "user", set: "users", sample: userObject(directory.User{}), shown: []string{
	"businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation", "preferredLanguage", "surname", "userPrincipalName", "id",
}, derived: []string{"memberOf", "transitiveMemberOf", "ownedObjects"}}

var (
	readUsers  = Need{Application: []string{"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Action: "users/standard/read", Members: true, Own: true}
	writeUsers = Need{Application: []string{"User.ReadWrite.All", "Directory.ReadWrite.All"}, Delegated: []string{"User.ReadWrite.All", "Directory.ReadWrite.All"}}
	// privileged is what it takes to touch an administrator's sign-in.
	privileged = Need{Action: "users/privileged"}
)

// userWrite is the need of one action on users.
func userWrite(action string) Need {
	n := writeUsers
	n.Action = action
	return n
}

// text and when are null when they are empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func when(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Second)
}

func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func userObject(u directory.User) object {
	return object{
		"@odata.type": "#microsoft.graph.user",
		"id":          u.ID, "userPrincipalName": u.UserPrincipalName, "displayName": u.DisplayName, "accountEnabled": u.AccountEnabled, "userType": string(u.UserType),
		"givenName": text(u.GivenName), "surname": text(u.Surname), "mail": text(u.Mail), "mailNickname": text(u.MailNickname), "otherMails": some(u.OtherMails),
		"mobilePhone": text(u.MobilePhone), "businessPhones": some(u.BusinessPhones), "jobTitle": text(u.JobTitle), "department": text(u.Department),
		"companyName": text(u.CompanyName), "employeeId": text(u.EmployeeID), "employeeType": text(u.EmployeeType), "officeLocation": text(u.OfficeLocation),
		"streetAddress": text(u.StreetAddress), "city": text(u.City), "state": text(u.State), "postalCode": text(u.PostalCode), "country": text(u.Country),
		"faxNumber": text(u.FaxNumber), "usageLocation": text(u.UsageLocation), "preferredLanguage": text(u.PreferredLanguage), "passwordPolicies": text(u.PasswordPolicies),
		"ageGroup": text(u.AgeGroup), "consentProvidedForMinor": text(u.ConsentForMinor), "onPremisesImmutableId": text(u.ImmutableID), "onPremisesSyncEnabled": nil,
		"onPremisesDistinguishedName": nil, "onPremisesDomainName": nil, "onPremisesSamAccountName": nil, "onPremisesSecurityIdentifier": nil, "onPremisesUserPrincipalName": nil,
		"showInAddressList": u.ShowInAddressList, "creationType": text(u.CreationType), "createdDateTime": when(u.Created), "deletedDateTime": nil,
		"externalUserState": text(u.ExternalUserState), "externalUserStateChangeDateTime": when(u.ExternalStateChange),
		"lastPasswordChangeDateTime": when(u.LastPasswordChange), "signInSessionsValidFromDateTime": when(u.SessionsValidFrom), "refreshTokensValidFromDateTime": when(u.SessionsValidFrom),
		"identities": userIdentities(u), "imAddresses": []string{}, "proxyAddresses": []string{}, "assignedLicenses": []string{}, "assignedPlans": []string{}, "provisionedPlans": []string{},
		"legalAgeGroupClassification": nil, "isResourceAccount": nil, "passwordProfile": nil, "securityIdentifier": nil,
	}
}

func userIdentities(u directory.User) []object {
	_, domain, _ := strings.Cut(u.UserPrincipalName, "@")
	kind, issuer, name := "userPrincipalName", any(domain), any(u.UserPrincipalName)
	if u.UserType == directory.Guest {
		kind, issuer, name = "federated", "ExternalAzureAD", nil
	}
	return []object{{"signInType": kind, "issuer": issuer, "issuerAssignedId": name}}
}

type user = directory.User

var userProperties = map[string]property[user]{
	"accountEnabled": at(func(u *user) *bool { return &u.AccountEnabled }), "displayName": at(func(u *user) *string { return &u.DisplayName }),
	"userPrincipalName": at(func(u *user) *string { return &u.UserPrincipalName }), "userType": at(func(u *user) *directory.UserType { return &u.UserType }),
	"givenName": at(func(u *user) *string { return &u.GivenName }), "surname": at(func(u *user) *string { return &u.Surname }), "mail": at(func(u *user) *string { return &u.Mail }),
	"mailNickname": at(func(u *user) *string { return &u.MailNickname }), "otherMails": at(func(u *user) *[]string { return &u.OtherMails }),
	"mobilePhone": at(func(u *user) *string { return &u.MobilePhone }), "businessPhones": at(func(u *user) *[]string { return &u.BusinessPhones }),
	"jobTitle": at(func(u *user) *string { return &u.JobTitle }), "department": at(func(u *user) *string { return &u.Department }), "companyName": at(func(u *user) *string { return &u.CompanyName }),
	"employeeId": at(func(u *user) *string { return &u.EmployeeID }), "employeeType": at(func(u *user) *string { return &u.EmployeeType }),
	"officeLocation": at(func(u *user) *string { return &u.OfficeLocation }), "streetAddress": at(func(u *user) *string { return &u.StreetAddress }), "city": at(func(u *user) *string { return &u.City }),
	"state": at(func(u *user) *string { return &u.State }), "postalCode": at(func(u *user) *string { return &u.PostalCode }), "country": at(func(u *user) *string { return &u.Country }),
	"faxNumber": at(func(u *user) *string { return &u.FaxNumber }), "usageLocation": at(func(u *user) *string { return &u.UsageLocation }),
	"preferredLanguage": at(func(u *user) *string { return &u.PreferredLanguage }), "passwordPolicies": at(func(u *user) *string { return &u.PasswordPolicies }),
	"ageGroup": at(func(u *user) *string { return &u.AgeGroup }), "consentProvidedForMinor": at(func(u *user) *string { return &u.ConsentForMinor }),
	"onPremisesImmutableId": at(func(u *user) *string { return &u.ImmutableID }), "showInAddressList": at(func(u *user) **bool { return &u.ShowInAddressList }),
	"id": nil, "createdDateTime": nil, "deletedDateTime": nil, "creationType": nil, "externalUserState": nil, "externalUserStateChangeDateTime": nil,
	"lastPasswordChangeDateTime": nil, "signInSessionsValidFromDateTime": nil, "refreshTokensValidFromDateTime": nil, "identities": nil, "proxyAddresses": nil, "imAddresses": nil,
	"assignedLicenses": nil, "assignedPlans": nil, "provisionedPlans": nil, "legalAgeGroupClassification": nil, "securityIdentifier": nil,
	"onPremisesSyncEnabled": nil, "onPremisesDistinguishedName": nil, "onPremisesDomainName": nil, "onPremisesSamAccountName": nil, "onPremisesSecurityIdentifier": nil, "onPremisesUserPrincipalName": nil,
}

// passwordProfile is a new password and whether the next sign-in asks for another one.
type passwordProfile struct {
	Password *string `json:"password"`
	Change   *bool   `json:"forceChangePasswordNextSignIn"`
	ChangeMF *bool   `json:"forceChangePasswordNextSignInWithMfa"`
}

// readPassword takes passwordProfile out of a body, checks the password and hashes it, outside of transactions.
func (c *Call) readPassword(body map[string]json.RawMessage) (p passwordProfile, hash string, err error) {
	raw, ok := body["passwordProfile"]
	if !ok {
		return p, "", nil
	}
	if json.Unmarshal(raw, &p) != nil {
		return p, "", badRequest("Invalid value specified for property 'passwordProfile' of resource 'User'.")
	}
	if p.Password == nil {
		return p, "", nil
	}
	if err := password.Check(*p.Password); err != nil {
		return p, "", badRequest("The specified password does not comply with password complexity requirements. Please provide a different password: %s.", err)
	}
	hash, err = password.Hash(c.Ctx, *p.Password)
	return p, hash, err
}

func yes(b *bool) bool { return b != nil && *b }

func (c *Call) users(tx store.Tx, after string, yield func(object) bool) error {
	must := c.query.filter.Must()
	if upn, ok := must["userPrincipalName"]; ok && after == "" {
		u, err := c.dir.UserByName(tx, upn)
		if errors.Is(err, directory.ErrNotFound) || err == nil && u.TenantID != c.tenant() {
			return nil
		}
		if err == nil {
			yield(userObject(u))
		}
		return err
	}
	return c.dir.Users(tx, c.tenant(), after, func(u directory.User) bool { return yield(userObject(u)) })
}

// user finds a user of the caller's tenant by object id or user principal name; notFound.
func (c *Call) user(tx store.Tx, key string) (directory.User, error) {
	key = strings.TrimPrefix(key, "userPrincipalName=")
	u, err := c.dir.User(tx, key)
	if errors.Is(err, directory.ErrNotFound) && strings.Contains(key, "@") {
		u, err = c.dir.UserByName(tx, key)
	}
	if errors.Is(err, directory.ErrNotFound) || err == nil && u.TenantID != c.tenant() {
		return directory.User{}, notFound(key)
	}
	return u, err
}

// person is the user that a path names: {id}, or the caller himself at /me.
func (c *Call) person(tx store.Tx) (directory.User, error) {
	if !strings.EqualFold(c.segments[0], "me") {
		return c.user(tx, c.Vars[0])
	}
	if c.Caller.Type != "User" {
		return directory.User{}, badRequest("/me request is only valid with delegated authentication flow.")
	}
	return c.user(tx, c.Caller.ObjectID)
}

// self reports whether the call speaks of the caller.
func (c *Call) self(u directory.User) bool { return u.ID == c.Caller.ObjectID }

func (c *Call) getUser() error {
	var u directory.User
	err := c.View(func(tx store.Tx) (err error) {
		u, err = c.person(tx)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.Allow(readUsers, c.self(u)); err != nil {
		return err
	}
	return c.one(http.StatusOK, userKind, userObject(u))
}

func (c *Call) createUser() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	u := directory.User{TenantID: c.tenant()}
	for _, name := range []string{"accountEnabled", "displayName", "mailNickname", "passwordProfile", "userPrincipalName"} {
		if _, ok := body[name]; !ok {
			return badRequest("A value is required for property '%s' of resource 'User'.", name)
		}
	}
	p, hash, err := c.readPassword(body)
	if err != nil {
		return err
	}
	if hash == "" {
		return badRequest("A value is required for property 'passwordProfile/password' of resource 'User'.")
	}
	if err := apply("User", userProperties, &u, body, "passwordProfile"); err != nil {
		return err
	}
	if u.UserType == directory.Guest || strings.Contains(u.UserPrincipalName, "#EXT#") {
		return badRequest("Guests are made by invitation: POST /invitations.")
	}
	u.PasswordHash, u.MustChangePassword = hash, yes(p.Change) || yes(p.ChangeMF)
	if err := c.Update(func(tx store.Tx) error { return c.dir.CreateUser(tx, &u) }); err != nil {
		return err
	}
	return c.one(http.StatusCreated, userKind, userObject(u))
}

// ownProperties are what every user may change of himself.
var ownProperties = []string{"mobilePhone", "businessPhones", "otherMails", "preferredLanguage", "givenName", "surname"}

// needs are the needs of the properties in a body, the hardest last.
func needs(body map[string]json.RawMessage) (out []Need) {
	for name := range body {
		action := "users/basic/update"
		switch name {
		case "passwordProfile":
			action = "users/password/update"
		case "userPrincipalName", "onPremisesImmutableId":
			action = "users/userPrincipalName/update"
		case "accountEnabled":
			action = "users/disable"
		case "usageLocation":
			action = "users/usageLocation/update"
		case "userType":
			action = "users/convertExternalToInternalMemberUser"
		}
		n := userWrite(action)
		if !slices.ContainsFunc(out, func(x Need) bool { return x.Action == action }) {
			out = append(out, n)
		}
	}
	return out
}

func (c *Call) updateUser() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	p, hash, err := c.readPassword(body)
	if err != nil {
		return err
	}
	err = c.Update(func(tx store.Tx) error {
		u, err := c.person(tx)
		if err != nil {
			return err
		}
		if err := c.mayUpdate(tx, u, body); err != nil {
			return err
		}
		if hash != "" {
			if err := c.dir.SetPassword(tx, u.ID, hash, yes(p.Change) || yes(p.ChangeMF)); err != nil {
				return err
			}
		}
		_, err = c.dir.UpdateUser(tx, u.ID, func(u *directory.User) error {
			if hash == "" && (p.Change != nil || p.ChangeMF != nil) {
				u.MustChangePassword = yes(p.Change) || yes(p.ChangeMF)
			}
			was := *u
			if err := apply("User", userProperties, u, body, "passwordProfile"); err != nil {
				return err
			}
			if u.UserType != was.UserType && was.HomeObjectID != "" {
				return badRequest("Property 'userType' of a partner's user is read-only and cannot be set.")
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

// mayUpdate holds every property of a body against what the caller may do to this user.
func (c *Call) mayUpdate(tx store.Tx, u directory.User, body map[string]json.RawMessage) error {
	own := c.self(u)
	for name := range body {
		own = own && slices.Contains(ownProperties, name)
	}
	if own {
		return c.Allow(Need{Delegated: append(slices.Clone(writeUsers.Delegated), "User.ReadWrite"), Action: "users/basic/update"}, true)
	}
	hard := false
	for _, n := range needs(body) {
		if err := c.Demand(n); err != nil {
			return err
		}
		hard = hard || n.Action != "users/basic/update" && n.Action != "users/usageLocation/update"
	}
	if hard {
		return c.mayTouch(tx, u)
	}
	return nil
}

// mayTouch refuses to change how an administrator signs in, or whether, to all but the highest roles: the token's
// permissions do not suffice ("Who can perform sensitive actions").
func (c *Call) mayTouch(tx store.Tx, u directory.User) error {
	in, err := c.dir.TransitiveMemberOf(tx, u.ID)
	if err != nil {
		return err
	}
	var roles []string
	for _, r := range in {
		if r.Type == directory.TypeRole {
			role, err := c.dir.ActiveRole(tx, r.ID)
			if err != nil {
				return err
			}
			roles = append(roles, role.TemplateID)
		}
	}
	if !directory.Administrator(roles) || directory.Grants(c.Caller.DirectoryRoles, privileged.Action) {
		return nil
	}
	return fail(http.StatusForbidden, "Authorization_RequestDenied",
		"Insufficient privileges to complete the operation. The user holds a directory role: only a Global Administrator or a Privileged Authentication Administrator may change how he signs in, or delete him.")
}

func (c *Call) deleteUser() error {
	err := c.Update(func(tx store.Tx) error {
		u, err := c.person(tx)
		if err != nil {
			return err
		}
		if err := c.mayTouch(tx, u); err != nil {
			return err
		}
		return c.dir.DeleteUser(tx, u.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

// revokeSessions voids what a user has signed in to; everybody may do it to himself.
func (c *Call) revokeSessions() error {
	err := c.Update(func(tx store.Tx) error {
		u, err := c.person(tx)
		if err != nil {
			return err
		}
		n := userWrite("users/invalidateAllRefreshTokens")
		n.Application = append(n.Application, "User.RevokeSessions.All")
		n.Delegated = append(n.Delegated, "User.RevokeSessions.All")
		if err := c.Allow(n, c.self(u)); err != nil {
			return err
		}
		if !c.self(u) {
			if err := c.mayTouch(tx, u); err != nil {
				return err
			}
		}
		return c.dir.RevokeSessions(tx, u.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusOK, map[string]any{"@odata.context": c.context("Edm.Boolean"), "value": true})
}

// changePassword lets a user change his own; it needs the old one.
func (c *Call) changePassword() error {
	var body struct{ CurrentPassword, NewPassword string }
	if err := c.Body(&body); err != nil {
		return err
	}
	var u directory.User
	if err := c.View(func(tx store.Tx) (err error) {
		u, err = c.person(tx)
		return err
	}); err != nil {
		return err
	}
	if err := c.Allow(Need{Delegated: []string{"User.ReadWrite", "UserAuthenticationMethod.ReadWrite"}}, c.self(u)); err != nil {
		return err
	}
	if c.guard == nil {
		return notServed("changing passwords")
	}
	ok, locked, err := c.guard.TryPassword(c.Ctx, u.ID, u.PasswordHash, body.CurrentPassword, origin.FromContext(c.Ctx).Source)
	switch {
	case err != nil:
		return err
	case locked:
		c.W.Header().Set("Retry-After", "60")
		return fail(http.StatusTooManyRequests, "TooManyRequests", "The current password was not right too many times. Try again later.")
	case !ok:
		return badRequest("The specified password does not match the current password: property 'currentPassword'.")
	}
	if err := password.Check(body.NewPassword); err != nil {
		return badRequest("The specified password does not comply with password complexity requirements: %s.", err)
	}
	hash, err := password.Hash(c.Ctx, body.NewPassword)
	if err != nil {
		return err
	}
	err = c.Update(func(tx store.Tx) error {
		now, err := c.dir.User(tx, u.ID)
		if err != nil {
			return err
		}
		if now.PasswordHash != u.PasswordHash { // somebody has changed it since it was compared
			return badRequest("The password was changed in the meantime.")
		}
		return c.dir.SetPassword(tx, u.ID, hash, false)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
