package directory

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/store"
)

// UserType tells members of the tenant from guests.
type UserType string

const (
	Member UserType = "Member"
	Guest  UserType = "Guest"
)

// User is a person (Microsoft Graph, user). The password's hash is never shown.
type User struct {
	ID                string    `json:"id"`
	TenantID          string    `json:"tenantId"`
	UserPrincipalName string    `json:"userPrincipalName"`
	DisplayName       string    `json:"displayName"`
	AccountEnabled    bool      `json:"accountEnabled"`
	UserType          UserType  `json:"userType"`
	CreationType      string    `json:"creationType,omitempty"` // Invitation, of guests
	Created           time.Time `json:"createdDateTime"`

	PasswordHash        string    `json:"passwordHash,omitempty"` // package password's; "" = cannot sign in by password
	MustChangePassword  bool      `json:"mustChangePassword,omitempty"`
	LastPasswordChange  time.Time `json:"lastPasswordChangeDateTime,omitzero"`
	SessionsValidFrom   time.Time `json:"signInSessionsValidFromDateTime,omitzero"` // when it moves, tokens and sessions are void
	ExternalUserState   string    `json:"externalUserState,omitempty"`              // PendingAcceptance, Accepted; of guests
	ExternalStateChange time.Time `json:"externalUserStateChangeDateTime,omitzero"`
	HomeTenant          string    `json:"homeTenantId,omitempty"` // of guests: where they sign in
	HomeObjectID        string    `json:"homeObjectId,omitempty"` // of guests: who they are there

	GivenName         string   `json:"givenName,omitempty"`
	Surname           string   `json:"surname,omitempty"`
	Mail              string   `json:"mail,omitempty"`
	MailNickname      string   `json:"mailNickname,omitempty"`
	OtherMails        []string `json:"otherMails,omitempty"`
	MobilePhone       string   `json:"mobilePhone,omitempty"`
	BusinessPhones    []string `json:"businessPhones,omitempty"`
	JobTitle          string   `json:"jobTitle,omitempty"`
	Department        string   `json:"department,omitempty"`
	CompanyName       string   `json:"companyName,omitempty"`
	EmployeeID        string   `json:"employeeId,omitempty"`
	EmployeeType      string   `json:"employeeType,omitempty"`
	OfficeLocation    string   `json:"officeLocation,omitempty"`
	StreetAddress     string   `json:"streetAddress,omitempty"`
	City              string   `json:"city,omitempty"`
	State             string   `json:"state,omitempty"`
	PostalCode        string   `json:"postalCode,omitempty"`
	Country           string   `json:"country,omitempty"`
	FaxNumber         string   `json:"faxNumber,omitempty"`
	UsageLocation     string   `json:"usageLocation,omitempty"`
	PreferredLanguage string   `json:"preferredLanguage,omitempty"`
	PasswordPolicies  string   `json:"passwordPolicies,omitempty"`
	AgeGroup          string   `json:"ageGroup,omitempty"`
	ConsentForMinor   string   `json:"consentProvidedForMinor,omitempty"`
	ImmutableID       string   `json:"onPremisesImmutableId,omitempty"`
	ShowInAddressList *bool    `json:"showInAddressList,omitempty"`
}

// upnName is what may stand before the @ ("Microsoft Entra UserPrincipalName population": the characters
// that are allowed). No letter of another script is, so none can pass for a Latin one.
var upnName = regexp.MustCompile(`^[A-Za-z0-9'_!#^~-]([A-Za-z0-9'._!#^~-]*[A-Za-z0-9'_!#^~-])?$`)

// checkUPN checks the form of a user principal name and that its domain is the tenant's.
func checkUPN(upn string, t Tenant) error {
	name, domain, ok := strings.Cut(upn, "@")
	if !ok || len(name) > 64 && !strings.Contains(name, "#EXT#") || len(upn) > 256 || !upnName.MatchString(name) {
		return &Invalid{"userPrincipalName", "at most 64 of the characters A-Z a-z 0-9 ' . - _ ! # ^ ~, neither first nor last a dot, then @ and a domain"}
	}
	if fold(domain) != t.Domain {
		return &Invalid{"userPrincipalName", "the domain portion of the userPrincipalName property is invalid: you must use one of the verified domain names in your organization, " + t.Domain}
	}
	return nil
}

// CreateUser makes a user of the tenant that u.TenantID names ("" = the home tenant): it fills in the id and
// the times, and checks name and type; *Invalid, *Conflict. The password is set by hash (package password, which
// takes long: not in the transaction).
func (o *Objects) CreateUser(tx store.Tx, u *User) error {
	tenant, err := o.TenantBy(tx, o.tenantOf(u.TenantID))
	if err != nil {
		return err
	}
	u.ID, u.TenantID, u.Created = newID(), tenant.ID, o.clock.Now()
	if u.UserType == "" {
		u.UserType = Member
	}
	if u.SessionsValidFrom.IsZero() {
		u.SessionsValidFrom = u.Created
	}
	if u.PasswordHash != "" {
		u.LastPasswordChange = u.Created
	}
	if err := o.checkUser(tx, u, tenant); err != nil {
		return err
	}
	if err := claim(tx, "upn", u.UserPrincipalName, u.ID, "userPrincipalName"); err != nil {
		return err
	}
	return putJSON(tx, kindUser, u.ID, u, store.None)
}

func (o *Objects) checkUser(_ store.Tx, u *User, t Tenant) error {
	if err := checkUPN(u.UserPrincipalName, t); err != nil {
		return err
	}
	if strings.TrimSpace(u.DisplayName) == "" || len(u.DisplayName) > 256 {
		return &Invalid{"displayName", "1 to 256 characters"}
	}
	if u.UserType != Member && u.UserType != Guest {
		return &Invalid{"userType", "Member or Guest"}
	}
	return nil
}

// User returns the user with this object id; ErrNotFound.
func (o *Objects) User(tx store.Tx, id string) (User, error) { return get[User](tx, kindUser, id) }

// UserByName returns the user with this user principal name, whichever tenant's; ErrNotFound.
func (o *Objects) UserByName(tx store.Tx, upn string) (User, error) {
	id, err := named(tx, "upn", upn)
	if err != nil {
		return User{}, err
	}
	return o.User(tx, id)
}

// GuestOf returns the guest by which a partner's user is known in a tenant; ErrNotFound.
func (o *Objects) GuestOf(tx store.Tx, tenant, homeObjectID string) (User, error) {
	id, err := named(tx, "guest/"+tenant, homeObjectID)
	if err != nil {
		return User{}, err
	}
	return o.User(tx, id)
}

// Users yields the users of a tenant after an id, in order of their ids.
func (o *Objects) Users(tx store.Tx, tenant, after string, yield func(User) bool) error {
	return scan(tx, kindUser, after, func(u User) bool { return u.TenantID != tenant || yield(u) })
}

// UpdateUser changes a user by f and checks what comes out; ErrNotFound, *Invalid, *Conflict, or f's error.
// The id, the tenant and the time of creation cannot be changed. It returns the user as stored.
func (o *Objects) UpdateUser(tx store.Tx, id string, f func(*User) error) (User, error) {
	old, err := o.User(tx, id)
	if err != nil {
		return User{}, err
	}
	u := old
	u.OtherMails, u.BusinessPhones = slices.Clone(old.OtherMails), slices.Clone(old.BusinessPhones)
	if err := f(&u); err != nil {
		return User{}, err
	}
	u.ID, u.TenantID, u.Created = old.ID, old.TenantID, old.Created
	tenant, err := o.TenantBy(tx, u.TenantID)
	if err != nil {
		return User{}, err
	}
	if err := o.checkUser(tx, &u, tenant); err != nil {
		return User{}, err
	}
	if fold(u.UserPrincipalName) != fold(old.UserPrincipalName) {
		if err := errors.Join(claim(tx, "upn", u.UserPrincipalName, u.ID, "userPrincipalName"), release(tx, "upn", old.UserPrincipalName)); err != nil {
			return User{}, err
		}
	}
	return u, putJSON(tx, kindUser, u.ID, u, store.Any)
}

// SetPassword gives a user the password with this hash and voids his sessions and tokens; ErrNotFound.
// mustChange makes the next sign-in ask for another one.
func (o *Objects) SetPassword(tx store.Tx, id, hash string, mustChange bool) error {
	_, err := o.UpdateUser(tx, id, func(u *User) error {
		u.PasswordHash, u.MustChangePassword, u.LastPasswordChange = hash, mustChange, o.clock.Now()
		o.moveSessions(u)
		return nil
	})
	return err
}

// RevokeSessions voids a user's sessions, refresh tokens and access tokens that were issued until now;
// ErrNotFound.
func (o *Objects) RevokeSessions(tx store.Tx, id string) error {
	_, err := o.UpdateUser(tx, id, func(u *User) error {
		o.moveSessions(u)
		return nil
	})
	return err
}

// moveSessions sets SessionsValidFrom to now, and never to what it was.
func (o *Objects) moveSessions(u *User) {
	now := o.clock.Now().UTC()
	if !now.After(u.SessionsValidFrom) {
		now = u.SessionsValidFrom.Add(time.Microsecond)
	}
	u.SessionsValidFrom = now
}
