package directory

import (
	"errors"
	"fmt"
	"strings"

	"vauban.dev/store"
)

// ErrConsumer is returned when somebody is invited who is not of an organisation that the region knows: guests are
// employees of partners, and consumers are refused.
var ErrConsumer = errors.New("directory: guests are users of partner organisations; consumer identities are refused")

// Invite makes a guest of a tenant ("" = the home tenant) out of a partner's user, whom address names by his user
// principal name. It returns the guest that there is, if he was invited before. ErrConsumer for the address of
// nobody's employee, ErrNotFound when the partner has no such user.
func (o *Objects) Invite(tx store.Tx, tenant, address, displayName string) (User, error) {
	in, err := o.TenantBy(tx, o.tenantOf(tenant))
	if err != nil {
		return User{}, err
	}
	name, domain, ok := strings.Cut(address, "@")
	if !ok || name == "" {
		return User{}, &Invalid{"invitedUserEmailAddress", "the address of a partner's user, name@domain"}
	}
	from, err := o.TenantBy(tx, domain)
	if errors.Is(err, ErrNotFound) || err == nil && fold(domain) != from.Domain {
		return User{}, ErrConsumer
	}
	if err != nil {
		return User{}, err
	}
	if from.ID == in.ID {
		return User{}, &Invalid{"invitedUserEmailAddress", "the address of another organisation: " + from.Domain + " is this one's own"}
	}
	who, err := o.UserByName(tx, address)
	if err != nil {
		return User{}, err
	}
	if who.UserType == Guest {
		return User{}, ErrConsumer // a guest there is nobody's employee there
	}
	if guest, err := o.GuestOf(tx, in.ID, who.ID); !errors.Is(err, ErrNotFound) {
		return guest, err
	}
	if displayName == "" {
		displayName = who.DisplayName
	}
	now := o.clock.Now()
	g := User{
		TenantID: in.ID, UserPrincipalName: guestName(name, from.Domain) + "@" + in.Domain, DisplayName: displayName, AccountEnabled: true,
		UserType: Guest, CreationType: "Invitation", Mail: fold(address), MailNickname: guestName(name, from.Domain),
		HomeTenant: from.ID, HomeObjectID: who.ID, ExternalUserState: "PendingAcceptance", ExternalStateChange: now,
	}
	if err := o.CreateUser(tx, &g); err != nil {
		return User{}, err
	}
	return g, claim(tx, "guest/"+in.ID, who.ID, g.ID, "mail")
}

// guestName is the name part of a guest's user principal name: alice_fabrikam.test#EXT#.
func guestName(name, domain string) string { return fmt.Sprintf("%s_%s#EXT#", name, domain) }

// AcceptInvitation notes that a guest has signed in; ErrNotFound.
func (o *Objects) AcceptInvitation(tx store.Tx, guest string) error {
	_, err := o.UpdateUser(tx, guest, func(u *User) error {
		if u.ExternalUserState == "PendingAcceptance" {
			u.ExternalUserState, u.ExternalStateChange = "Accepted", o.clock.Now()
		}
		return nil
	})
	return err
}
