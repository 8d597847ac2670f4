package directory

import (
	"regexp"
	"strings"
	"time"

	"vauban.dev/store"
)

// Group is a security group (Microsoft Graph, group). Who is in it stands in the edges (member.go).
type Group struct {
	ID                 string    `json:"id"`
	TenantID           string    `json:"tenantId"`
	DisplayName        string    `json:"displayName"`
	Description        string    `json:"description,omitempty"`
	MailNickname       string    `json:"mailNickname"`
	MailEnabled        bool      `json:"mailEnabled"`
	SecurityEnabled    bool      `json:"securityEnabled"`
	IsAssignableToRole bool      `json:"isAssignableToRole,omitempty"` // may hold directory roles; takes no groups as members
	GroupTypes         []string  `json:"groupTypes,omitempty"`
	Visibility         string    `json:"visibility,omitempty"`
	Created            time.Time `json:"createdDateTime"`
}

var nicknameForm = regexp.MustCompile(`^[!-~]{1,64}$`)

// CreateGroup makes a group of the tenant that g.TenantID names ("" = the home tenant) and fills in its id;
// *Invalid. Names of groups are not unique.
func (o *Objects) CreateGroup(tx store.Tx, g *Group) error {
	g.ID, g.TenantID, g.Created = newID(), o.tenantOf(g.TenantID), o.clock.Now()
	if err := g.check(); err != nil {
		return err
	}
	return putJSON(tx, kindGroup, g.ID, g, store.None)
}

func (g *Group) check() error {
	if strings.TrimSpace(g.DisplayName) == "" || len(g.DisplayName) > 256 {
		return &Invalid{"displayName", "1 to 256 characters"}
	}
	if !nicknameForm.MatchString(g.MailNickname) || strings.ContainsAny(g.MailNickname, `@()\[]";:<>, `) {
		return &Invalid{"mailNickname", `1 to 64 characters of ASCII, none of @ ( ) \ [ ] " ; : < > , and space`}
	}
	if g.MailEnabled || !g.SecurityEnabled || len(g.GroupTypes) > 0 {
		return &Invalid{"groupTypes", "a region keeps security groups with assigned members: securityEnabled true, mailEnabled false, no groupTypes"}
	}
	return nil
}

// Group returns the group with this object id; ErrNotFound.
func (o *Objects) Group(tx store.Tx, id string) (Group, error) { return get[Group](tx, kindGroup, id) }

// Groups yields the groups of a tenant after an id, in order of their ids.
func (o *Objects) Groups(tx store.Tx, tenant, after string, yield func(Group) bool) error {
	return scan(tx, kindGroup, after, func(g Group) bool { return g.TenantID != tenant || yield(g) })
}

// UpdateGroup changes a group by f; ErrNotFound, *Invalid, or f's error. What cannot be changed stays.
func (o *Objects) UpdateGroup(tx store.Tx, id string, f func(*Group) error) (Group, error) {
	old, err := o.Group(tx, id)
	if err != nil {
		return Group{}, err
	}
	g := old
	if err := f(&g); err != nil {
		return Group{}, err
	}
	if g.IsAssignableToRole != old.IsAssignableToRole {
		return Group{}, &Invalid{"isAssignableToRole", "set when the group is made, and never changed"}
	}
	g.ID, g.TenantID, g.Created = old.ID, old.TenantID, old.Created
	if err := g.check(); err != nil {
		return Group{}, err
	}
	return g, putJSON(tx, kindGroup, g.ID, g, store.Any)
}
