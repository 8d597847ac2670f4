package graph

import (
	"encoding/json"
	"errors"
	"net/http"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

var groupKind = kind{name: "group", set: "groups", sample: groupObject(directory.Group{}), derived: []string{"members", "owners", "memberOf", "transitiveMemberOf", "transitiveMembers"}}

var (
	readGroups     = Need{Application: []string{"Group.Read.All", "Group.ReadWrite.All", "GroupMember.Read.All", "GroupMember.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"Group.Read.All", "Group.ReadWrite.All", "GroupMember.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}, Action: "groups/standard/read", Members: true}
	writeGroups    = Need{Application: []string{"Group.ReadWrite.All", "Directory.ReadWrite.All"}, Delegated: []string{"Group.ReadWrite.All", "Directory.ReadWrite.All"}}
	assignableRole = Need{Application: []string{"RoleManagement.ReadWrite.Directory"}, Delegated: []string{"RoleManagement.ReadWrite.Directory"}, Action: "groupsAssignableToRoles/allProperties/update"}
)

func groupWrite(action string) Need {
	n := writeGroups
	n.Action, n.Own = action, true
	if action == "groups/members/update" {
		n.Application = []string{"GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.ReadWrite.All"}
		n.Delegated = n.Application
	}
	return n
}

// createGroups: every member of the tenant may, and owns what he makes.
var createGroups = Need{Application: []string{"Group.Create", "Group.ReadWrite.All", "Directory.ReadWrite.All"}, Delegated: writeGroups.Delegated, Action: "groups/create", Members: true}

func groupObject(g directory.Group) object {
	return object{
		"@odata.type": "#microsoft.graph.group",
		"id":          g.ID, "displayName": g.DisplayName, "description": text(g.Description), "mailNickname": g.MailNickname, "mailEnabled": g.MailEnabled,
		"securityEnabled": g.SecurityEnabled, "isAssignableToRole": roleAssignable(g), "groupTypes": some(g.GroupTypes), "visibility": text(g.Visibility),
		"createdDateTime": when(g.Created), "renewedDateTime": when(g.Created), "deletedDateTime": nil, "mail": nil, "classification": nil, "expirationDateTime": nil,
		"membershipRule": nil, "membershipRuleProcessingState": nil, "onPremisesDomainName": nil, "onPremisesLastSyncDateTime": nil, "onPremisesNetBiosName": nil,
		"onPremisesSamAccountName": nil, "onPremisesSecurityIdentifier": nil, "onPremisesSyncEnabled": nil, "preferredDataLocation": nil, "preferredLanguage": nil,
		"proxyAddresses": []string{}, "resourceProvisioningOptions": []string{}, "resourceBehaviorOptions": []string{}, "creationOptions": []string{}, "securityIdentifier": nil, "theme": nil, "uniqueName": nil,
		"onPremisesProvisioningErrors": []string{}, "serviceProvisioningErrors": []string{},
	}
}

func roleAssignable(g directory.Group) any {
	if g.IsAssignableToRole {
		return true
	}
	return nil
}

type group = directory.Group

var groupProperties = map[string]property[group]{
	"displayName": at(func(g *group) *string { return &g.DisplayName }), "description": at(func(g *group) *string { return &g.Description }),
	"mailNickname": at(func(g *group) *string { return &g.MailNickname }), "mailEnabled": at(func(g *group) *bool { return &g.MailEnabled }),
	"securityEnabled": at(func(g *group) *bool { return &g.SecurityEnabled }), "isAssignableToRole": at(func(g *group) *bool { return &g.IsAssignableToRole }),
	"groupTypes": at(func(g *group) *[]string { return &g.GroupTypes }), "visibility": at(func(g *group) *string { return &g.Visibility }),
	"id": nil, "createdDateTime": nil, "deletedDateTime": nil, "renewedDateTime": nil, "mail": nil, "proxyAddresses": nil, "securityIdentifier": nil, "members": nil, "owners": nil,
	"expirationDateTime": nil, "onPremisesSyncEnabled": nil, "onPremisesSecurityIdentifier": nil,
}

func (c *Call) groups(tx store.Tx, after string, yield func(object) bool) error {
	return c.dir.Groups(tx, c.tenant(), after, func(g directory.Group) bool { return yield(groupObject(g)) })
}

func (c *Call) group(tx store.Tx, key string) (directory.Group, error) {
	g, err := c.dir.Group(tx, key)
	if errors.Is(err, directory.ErrNotFound) || err == nil && g.TenantID != c.tenant() {
		return directory.Group{}, notFound(key)
	}
	return g, err
}

func (c *Call) getGroup() error {
	var g directory.Group
	if err := c.View(func(tx store.Tx) (err error) {
		g, err = c.group(tx, c.Vars[0])
		return err
	}); err != nil {
		return err
	}
	return c.one(http.StatusOK, groupKind, groupObject(g))
}

func (c *Call) createGroup() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	for _, name := range []string{"displayName", "mailEnabled", "mailNickname", "securityEnabled"} {
		if _, ok := body[name]; !ok {
			return badRequest("A value is required for property '%s' of resource 'Group'.", name)
		}
	}
	owners, err := bound(body, "owners")
	if err != nil {
		return err
	}
	members, err := bound(body, "members")
	if err != nil {
		return err
	}
	g := directory.Group{TenantID: c.tenant()}
	if err := apply("Group", groupProperties, &g, body, "owners@odata.bind", "members@odata.bind"); err != nil {
		return err
	}
	if g.IsAssignableToRole {
		if err := c.Demand(assignableRole); err != nil {
			return err
		}
	}
	if c.Caller.Type == "User" && len(owners) == 0 {
		owners = []string{c.Caller.ObjectID}
	}
	err = c.Update(func(tx store.Tx) error {
		if err := c.dir.CreateGroup(tx, &g); err != nil {
			return err
		}
		for _, o := range owners {
			if err := c.addOwner(tx, g.ID, o); err != nil {
				return err
			}
		}
		for _, m := range members {
			if err := c.addMember(tx, g.ID, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, groupKind, groupObject(g))
}

// mayChange refuses a caller who has no right over a group: by permission or role, or as one of its owners.
// Role-assignable groups need more.
func (c *Call) mayChange(tx store.Tx, g directory.Group, action string) error {
	own, err := c.owns(tx, g.ID)
	if err != nil {
		return err
	}
	n := groupWrite(action)
	if g.IsAssignableToRole {
		n = assignableRole
		n.Own = true
	}
	return c.allowOwned(n, own)
}

// allowOwned is Allow for groups: an application that owns one may change it as a user may.
func (c *Call) allowOwned(n Need, own bool) error {
	if own && !c.can.user {
		return nil
	}
	if own && c.can.user {
		delegated := n
		delegated.Members, delegated.Delegated = true, append(append([]string{}, n.Delegated...), writeGroups.Delegated...)
		return c.Allow(delegated, true)
	}
	return c.Demand(n)
}

func (c *Call) updateGroup() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	members, err := bound(body, "members")
	if err != nil {
		return err
	}
	err = c.Update(func(tx store.Tx) error {
		g, err := c.group(tx, c.Vars[0])
		if err != nil {
			return err
		}
		if err := c.mayChange(tx, g, "groups/basic/update"); err != nil {
			return err
		}
		if len(members) > 0 {
			if err := c.mayChange(tx, g, "groups/members/update"); err != nil {
				return err
			}
		}
		for _, m := range members {
			if err := c.addMember(tx, g.ID, m); err != nil {
				return err
			}
		}
		_, err = c.dir.UpdateGroup(tx, g.ID, func(g *directory.Group) error {
			return apply("Group", groupProperties, g, body, "members@odata.bind")
		})
		return err
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

func (c *Call) deleteGroup() error {
	err := c.Update(func(tx store.Tx) error {
		g, err := c.group(tx, c.Vars[0])
		if err != nil {
			return err
		}
		if err := c.mayChange(tx, g, "groups/delete"); err != nil {
			return err
		}
		return c.dir.DeleteGroup(tx, g.ID)
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
