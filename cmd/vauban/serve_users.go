package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/entra/conditionalaccess"
	"vauban.dev/entra/directory"
	"vauban.dev/entra/password"
	"vauban.dev/entra/signin"
	"vauban.dev/provider/authorization"
	"vauban.dev/region"
	"vauban.dev/store"
)

// Methods of the control socket for users. Whoever reaches the socket owns the region.
const (
	methodUserAdd      = "user add"      // userParams → userInfo
	methodUserPassword = "user password" // userParams → userInfo
	methodUsers        = "users"         // → []userInfo
	methodUserChange   = "user change"   // userChange → userInfo
	methodTenantAdd    = "tenant add"    // tenantInfo → tenantInfo
	methodTenants      = "tenants"       // → []tenantInfo
	methodDevice       = "device"        // deviceParams → signin.DeviceRequest
	methodApprove      = "approve"       // deviceParams
)

// What userChange can do.
const (
	userDisable  = "disable"
	userEnable   = "enable"
	userDelete   = "delete"
	userResetMFA = "reset-mfa"
)

type userChange struct {
	Name string `json:"name"`
	What string `json:"what"`
}

type tenantInfo struct {
	ID      string `json:"id"`
	Name    string `json:"displayName"`
	Domain  string `json:"domain"`
	Partner bool   `json:"partner"`
}

type userParams struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
	Password    string `json:"password,omitempty"` // "" = one that the region makes
	MustChange  bool   `json:"mustChange,omitempty"`
	Role        string `json:"role,omitempty"`  // at the main subscription, by name
	Admin       bool   `json:"admin,omitempty"` // Global Administrator
}

type userInfo struct {
	ID       string `json:"id"`
	Name     string `json:"userPrincipalName"`
	Display  string `json:"displayName"`
	Type     string `json:"userType"`
	Enabled  bool   `json:"accountEnabled"`
	Password string `json:"password,omitempty"` // one that the region made; shown once
}

type deviceParams struct {
	Code     string `json:"code"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	OTP      string `json:"otp,omitempty"`
}

// codeNeedsFactor is the control socket's word for signin.ErrNeedsFactor.
const codeNeedsFactor = "NeedsFactor"

func (w *world) handleUsers(c *region.Control) {
	c.Handle(methodUserAdd, w.userAdd)
	c.Handle(methodUserPassword, w.userPassword)
	c.Handle(methodUsers, w.userList)
	c.Handle(methodUserChange, w.userChange)
	c.Handle(methodTenantAdd, w.tenantAdd)
	c.Handle(methodTenants, w.tenantList)
	c.Handle(methodDevice, w.deviceWaiting)
	c.Handle(methodApprove, w.deviceApprove)
}

// upn completes a name by the tenant's domain.
func (w *world) upn(name string) string {
	if strings.Contains(name, "@") {
		return name
	}
	return name + "@" + w.entra.Tenant().Domain
}

func badUser(err error) error {
	invalid, taken := new(directory.Invalid), new(directory.Conflict)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return &region.CallError{Code: region.CodeNotFound, Message: "there is no such user: `vauban user list` shows them"}
	case errors.As(err, &invalid):
		return &region.CallError{Code: region.CodeBadRequest, Message: invalid.Property + ": " + invalid.Rule}
	case errors.As(err, &taken):
		return &region.CallError{Code: region.CodeBadRequest, Message: "there is a user " + taken.Value + " already"}
	}
	return err
}

// newPassword is the password that was given, checked, or one that the region makes, and its hash.
func newPassword(ctx context.Context, given string) (made, hash string, err error) {
	if given == "" {
		made = password.New()
		given = made
	} else if err := password.Check(given); err != nil {
		return "", "", &region.CallError{Code: region.CodeBadRequest, Message: err.Error()}
	}
	hash, err = password.Hash(ctx, given)
	return made, hash, err
}

func (w *world) userAdd(ctx context.Context, r region.Request) (region.Reply, error) {
	var p userParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	role, err := roleNamed(p.Role)
	if err != nil {
		return region.Reply{}, err
	}
	made, hash, err := newPassword(ctx, p.Password)
	if err != nil {
		return region.Reply{}, err
	}
	u := directory.User{UserPrincipalName: w.upn(p.Name), DisplayName: p.DisplayName, AccountEnabled: true, PasswordHash: hash, MustChangePassword: p.MustChange}
	if u.DisplayName == "" {
		u.DisplayName, _, _ = strings.Cut(u.UserPrincipalName, "@")
	}
	err = w.engine.Update(ctx, func(tx *rp.Tx) error {
		_, domain, _ := strings.Cut(u.UserPrincipalName, "@")
		if t, err := w.entra.TenantBy(tx, domain); err == nil {
			u.TenantID = t.ID
		}
		if u.TenantID != "" && u.TenantID != w.entra.Tenant().ID && (p.Admin || role != "") {
			return &region.CallError{Code: region.CodeBadRequest, Message: "--admin and --role are for users of the region's own tenant"}
		}
		if err := w.entra.CreateUser(tx, &u); err != nil {
			return badUser(err)
		}
		if p.Admin {
			if err := w.entra.AssignRole(tx, "", directory.GlobalAdministrator, u.ID); err != nil {
				return err
			}
		}
		if role == "" {
			return nil
		}
		return authorization.GrantTo(tx, arm.MustParseID("/subscriptions/"+w.first.SubscriptionID), role, u.ID, "User")
	})
	info := infoOf(u)
	info.Password = made
	return region.Reply{Result: info}, err
}

// roleNamed is the id of a built-in role; "" for no role.
func roleNamed(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	for _, d := range authz.Builtins() {
		if strings.EqualFold(d.RoleName, name) {
			return d.Name, nil
		}
	}
	return "", &region.CallError{Code: region.CodeBadRequest, Message: "there is no built-in role " + name + "; for example Owner, Contributor, Reader"}
}

func infoOf(u directory.User) userInfo {
	return userInfo{ID: u.ID, Name: u.UserPrincipalName, Display: u.DisplayName, Type: string(u.UserType), Enabled: u.AccountEnabled}
}

func (w *world) userPassword(ctx context.Context, r region.Request) (region.Reply, error) {
	var p userParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	made, hash, err := newPassword(ctx, p.Password)
	if err != nil {
		return region.Reply{}, err
	}
	var u directory.User
	err = w.engine.Update(ctx, func(tx *rp.Tx) error {
		if u, err = w.entra.UserByName(tx, w.upn(p.Name)); err != nil {
			return badUser(err)
		}
		return w.entra.SetPassword(tx, u.ID, hash, p.MustChange)
	})
	info := infoOf(u)
	info.Password = made
	return region.Reply{Result: info}, err
}

func (w *world) userList(ctx context.Context, _ region.Request) (region.Reply, error) {
	all := []userInfo{}
	err := w.db.View(ctx, func(tx store.Tx) error {
		tenants, err := w.entra.Tenants(tx)
		for _, t := range tenants {
			err = errors.Join(err, w.entra.Users(tx, t.ID, "", func(u directory.User) bool {
				all = append(all, infoOf(u))
				return true
			}))
		}
		return err
	})
	return region.Reply{Result: all}, err
}

func (w *world) userChange(ctx context.Context, r region.Request) (region.Reply, error) {
	var p userChange
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	var u directory.User
	err := w.engine.Update(ctx, func(tx *rp.Tx) (err error) {
		if u, err = w.entra.UserByName(tx, w.upn(p.Name)); err != nil {
			return badUser(err)
		}
		switch p.What {
		case userDelete:
			return w.entra.DeleteUser(tx, u.ID)
		case userResetMFA:
			return errors.Join(signin.ResetFactors(tx, u.ID), w.entra.RevokeSessions(tx, u.ID))
		case userDisable:
			err = w.entra.RevokeSessions(tx, u.ID)
		case userEnable:
		default:
			return &region.CallError{Code: region.CodeBadRequest, Message: "a user can be disabled, enabled or deleted, or his second factors reset"}
		}
		if err != nil {
			return err
		}
		u, err = w.entra.UpdateUser(tx, u.ID, func(u *directory.User) error {
			u.AccountEnabled = p.What == userEnable
			return nil
		})
		return err
	})
	return region.Reply{Result: infoOf(u)}, err
}

func (w *world) tenantAdd(ctx context.Context, r region.Request) (region.Reply, error) {
	var p tenantInfo
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	var t directory.Tenant
	err := w.engine.Update(ctx, func(tx *rp.Tx) (err error) {
		t, err = w.entra.CreatePartner(tx, p.Name, p.Domain)
		if taken := new(directory.Conflict); errors.As(err, &taken) {
			return &region.CallError{Code: region.CodeBadRequest, Message: "there is a tenant with the domain " + taken.Value + " already"}
		}
		return badUser(err)
	})
	return region.Reply{Result: tenantInfo{t.ID, t.Name, t.Domain, t.Partner}}, err
}

func (w *world) tenantList(ctx context.Context, _ region.Request) (region.Reply, error) {
	out := []tenantInfo{}
	err := w.db.View(ctx, func(tx store.Tx) error {
		all, err := w.entra.Tenants(tx)
		for _, t := range all {
			out = append(out, tenantInfo{t.ID, t.Name, t.Domain, t.Partner})
		}
		return err
	})
	return region.Reply{Result: out}, err
}

func (w *world) deviceWaiting(ctx context.Context, r region.Request) (region.Reply, error) {
	var p deviceParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	waiting, err := w.signin.Waiting(ctx, p.Code)
	return region.Reply{Result: waiting}, deviceError(err)
}

func (w *world) deviceApprove(ctx context.Context, r region.Request) (region.Reply, error) {
	var p deviceParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	err := w.signin.Approve(ctx, signin.Approval{
		Code: p.Code, User: w.upn(p.User), Password: p.Password, OTP: p.OTP,
		Place: conditionalaccess.Place{Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})},
	})
	return region.Reply{}, deviceError(err)
}

func deviceError(err error) error {
	switch {
	case errors.Is(err, signin.ErrNoDevice):
		return &region.CallError{Code: region.CodeNotFound, Message: err.Error()}
	case errors.Is(err, signin.ErrNeedsFactor):
		return &region.CallError{Code: codeNeedsFactor, Message: err.Error()}
	case errors.Is(err, signin.ErrNeedsPage), signin.Refused(err):
		return &region.CallError{Code: region.CodeBadRequest, Message: err.Error()}
	}
	return err
}
