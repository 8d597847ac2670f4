package graph

import (
	"net/http"

	"vauban.dev/entra/directory"
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// table is every operation with what it needs; the first pattern that fits is taken.
func (s *Service) table() []Route {
	routes := []Route{
		{get, "me", Need{Everybody: true, Application: []string{"none: an application has no profile"}, Delegated: []string{"User.Read", "User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All", "Directory.Read.All"}}, (*Call).getUser},
		{patch, "me", Need{Delegated: append([]string{"User.ReadWrite"}, writeUsers.Delegated...), Own: true}, (*Call).updateUser},
		{post, "me/changePassword", Need{Delegated: []string{"User.ReadWrite", "UserAuthenticationMethod.ReadWrite"}, Own: true}, (*Call).changePassword},
		{post, "me/revokeSignInSessions", Need{Delegated: []string{"User.ReadWrite", "User.RevokeSessions.All"}, Own: true}, (*Call).revokeSessions},

		{get, "users", listing(readUsers), func(c *Call) error { return c.list(userKind, c.users) }},
		{post, "users", userWrite("users/create"), (*Call).createUser},
		{get, "users/$count", listing(readUsers), func(c *Call) error { return c.number(userKind, c.users) }},
		{get, "users/{id}", readUsers, (*Call).getUser},
		{patch, "users/{id}", own(writeUsers), (*Call).updateUser},
		{remove, "users/{id}", userWrite("users/delete"), (*Call).deleteUser},
		{post, "users/{id}/revokeSignInSessions", own(writeUsers), (*Call).revokeSessions},
		{post, "users/{id}/invalidateAllRefreshTokens", own(writeUsers), (*Call).revokeSessions},
		{post, "users/{id}/changePassword", own(writeUsers), (*Call).changePassword},

		{get, "groups", readGroups, func(c *Call) error { return c.list(groupKind, c.groups) }},
		{post, "groups", createGroups, (*Call).createGroup},
		{get, "groups/$count", readGroups, func(c *Call) error { return c.number(groupKind, c.groups) }},
		{get, "groups/{id}", readGroups, (*Call).getGroup},
		{patch, "groups/{id}", groupWrite("groups/basic/update"), (*Call).updateGroup},
		{remove, "groups/{id}", groupWrite("groups/delete"), (*Call).deleteGroup},
		{post, "groups/{id}/members/$ref", groupWrite("groups/members/update"), func(c *Call) error { return c.changeMembers(true) }},
		{remove, "groups/{id}/members/{member}/$ref", groupWrite("groups/members/update"), func(c *Call) error { return c.changeMembers(false) }},

		{get, "applications", readApplications, func(c *Call) error { return c.list(applicationKind, c.applications) }},
		{post, "applications", createApplications, (*Call).createApplication},
		{get, "applications/$count", readApplications, func(c *Call) error { return c.number(applicationKind, c.applications) }},
		{get, "applications/{id}", readApplications, (*Call).getApplication},
		{patch, "applications/{id}", writeApplications, (*Call).updateApplication},
		{remove, "applications/{id}", writeApplications, (*Call).deleteApplication},
		{post, "applications/{id}/addPassword", writeApplications, (*Call).addPassword},
		{post, "applications/{id}/removePassword", writeApplications, (*Call).removePassword},
		{get, "applications/{id}/federatedIdentityCredentials", readApplications, (*Call).listFederated},
		{post, "applications/{id}/federatedIdentityCredentials", writeApplications, (*Call).changeFederated},
		{get, "applications/{id}/federatedIdentityCredentials/{credential}", readApplications, (*Call).getFederated},
		{patch, "applications/{id}/federatedIdentityCredentials/{credential}", writeApplications, (*Call).changeFederated},
		{remove, "applications/{id}/federatedIdentityCredentials/{credential}", writeApplications, (*Call).changeFederated},

		{get, "servicePrincipals", readPrincipals, func(c *Call) error { return c.list(principalKind, c.principals) }},
		{post, "servicePrincipals", createPrincipals, (*Call).createPrincipal},
		{get, "servicePrincipals/$count", readPrincipals, func(c *Call) error { return c.number(principalKind, c.principals) }},
		{get, "servicePrincipals/{id}", readPrincipals, (*Call).getPrincipal},
		{patch, "servicePrincipals/{id}", writePrincipals, (*Call).updatePrincipal},
		{remove, "servicePrincipals/{id}", writePrincipals, (*Call).deletePrincipal},
		{post, "servicePrincipals/{id}/addPassword", writePrincipals, (*Call).addPassword},
		{post, "servicePrincipals/{id}/removePassword", writePrincipals, (*Call).removePassword},
		{get, "servicePrincipals/{id}/oauth2PermissionGrants", readGrants, (*Call).principalGrants},
		{get, "servicePrincipals/{id}/appRoleAssignedTo", readAppRoles, (*Call).listAppRoles},
		{post, "servicePrincipals/{id}/appRoleAssignedTo", writeAppRoles, (*Call).createAppRole},
		{remove, "servicePrincipals/{id}/appRoleAssignedTo/{assignment}", writeAppRoles, (*Call).deleteAppRole},

		{get, "oauth2PermissionGrants", readGrants, func(c *Call) error { return c.list(grantKind, c.grants("")) }},
		{post, "oauth2PermissionGrants", writeGrants, (*Call).createGrant},
		{get, "oauth2PermissionGrants/{id}", readGrants, (*Call).getGrant},
		{patch, "oauth2PermissionGrants/{id}", writeGrants, (*Call).changeGrant},
		{remove, "oauth2PermissionGrants/{id}", writeGrants, (*Call).changeGrant},

		{get, "directoryRoles", readRoles, func(c *Call) error { return c.list(roleKind, c.roles) }},
		{post, "directoryRoles", writeRoles, (*Call).activateRole},
		{get, "directoryRoles/{id}", readRoles, (*Call).getRole},
		{get, "directoryRoles/{id}/members", readRoles, func(c *Call) error { return c.relation(c.dir.Members)() }},
		{post, "directoryRoles/{id}/members/$ref", writeRoles, func(c *Call) error { return c.changeMembers(true) }},
		{remove, "directoryRoles/{id}/members/{member}/$ref", writeRoles, func(c *Call) error { return c.changeMembers(false) }},
		{get, "directoryRoleTemplates", readRoles, func(c *Call) error { return c.list(templateKind, slice(directory.RoleTemplates, templateObject)) }},
		{get, "directoryRoleTemplates/{id}", readRoles, func(c *Call) error { return c.getTemplate(templateKind, templateObject)() }},
		{get, "roleManagement/directory/roleDefinitions", readRoles, func(c *Call) error { return c.list(definitionKind, slice(directory.RoleTemplates, definitionObject)) }},
		{get, "roleManagement/directory/roleDefinitions/{id}", readRoles, func(c *Call) error { return c.getTemplate(definitionKind, definitionObject)() }},
		{get, "roleManagement/directory/roleAssignments", readRoles, func(c *Call) error { return c.list(assignedKind, c.assignments) }},
		{post, "roleManagement/directory/roleAssignments", writeRoles, (*Call).createAssignment},
		{get, "roleManagement/directory/roleAssignments/{id}", readRoles, (*Call).oneAssignment},
		{remove, "roleManagement/directory/roleAssignments/{id}", writeRoles, (*Call).oneAssignment},

		{post, "directoryObjects/getByIds", readObjects, (*Call).byIDs},
		{get, "directoryObjects/{id}", readObjects, (*Call).getObject},
		{get, "directory/deletedItems/{type}", readDeleted, (*Call).listDeleted},
		{post, "directory/deletedItems/{id}/restore", own(readDeleted), (*Call).restore},
		{remove, "directory/deletedItems/{id}", own(readDeleted), (*Call).purge},

		{get, "organization", readTenant, func(c *Call) error { return c.list(organizationKind, c.ownTenant(organizationObject)) }},
		{get, "organization/{id}", readTenant, func(c *Call) error { return c.oneTenant(organizationKind, organizationObject) }},
		{get, "domains", readTenant, func(c *Call) error { return c.list(domainKind, c.ownTenant(domainObject)) }},
		{get, "domains/{id}", readTenant, func(c *Call) error { return c.oneTenant(domainKind, domainObject) }},
		{post, "invitations", invite, (*Call).invitation},
	}
	return append(routes, s.relations()...)
}

// listing is a need without what is one's own.
func listing(n Need) Need {
	n.Own = false
	return n
}

func own(n Need) Need {
	n.Own = true
	return n
}

// relations are the same for every kind of object that has them; with $count, and with a type behind them.
func (s *Service) relations() (out []Route) {
	add := func(base, name string, need Need, of func(*Call) error) {
		for _, tail := range []string{"", "/$count", "/{type}"} {
			out = append(out, Route{get, base + "/" + name + tail, need, of})
		}
	}
	mine := readUsers
	mine.Delegated = append([]string{"User.Read"}, mine.Delegated...)
	for base, need := range map[string]Need{"me": mine, "users/{id}": readUsers, "groups/{id}": readGroups, "servicePrincipals/{id}": readPrincipals} {
		need = own(need)
		add(base, "memberOf", need, func(c *Call) error { return c.relation(c.dir.MemberOf)() })
		add(base, "transitiveMemberOf", need, func(c *Call) error { return c.relation(c.dir.TransitiveMemberOf)() })
	}
	for base, need := range map[string]Need{"me": mine, "users/{id}": readUsers, "servicePrincipals/{id}": readPrincipals} {
		add(base, "ownedObjects", own(need), func(c *Call) error { return c.relation(c.dir.Owned)() })
	}
	add("groups/{id}", "members", readGroups, func(c *Call) error { return c.relation(c.dir.Members)() })
	add("groups/{id}", "transitiveMembers", readGroups, func(c *Call) error { return c.relation(c.dir.TransitiveMembers)() })
	for base, need := range map[string]Need{"groups/{id}": groupWrite("groups/owners/update"), "applications/{id}": writeApplications, "servicePrincipals/{id}": writePrincipals} {
		read := map[string]Need{"groups/{id}": readGroups, "applications/{id}": readApplications, "servicePrincipals/{id}": readPrincipals}[base]
		add(base, "owners", read, func(c *Call) error { return c.relation(c.dir.Owners)() })
		out = append(out,
			Route{post, base + "/owners/$ref", need, func(c *Call) error { return c.changeOwners(true) }},
			Route{remove, base + "/owners/{owner}/$ref", need, func(c *Call) error { return c.changeOwners(false) }})
	}
	for base, need := range map[string]Need{"me": mine, "users/{id}": readUsers, "groups/{id}": readGroups, "servicePrincipals/{id}": readPrincipals, "directoryObjects/{id}": readObjects} {
		need = own(need)
		out = append(out,
			Route{post, base + "/getMemberGroups", need, func(c *Call) error { return c.memberGroups(false) }},
			Route{post, base + "/getMemberObjects", need, func(c *Call) error { return c.memberGroups(true) }},
			Route{post, base + "/checkMemberGroups", need, func(c *Call) error { return c.checkMemberGroups(false) }},
			Route{post, base + "/checkMemberObjects", need, func(c *Call) error { return c.checkMemberGroups(true) }})
	}
	for base, need := range map[string]Need{"users/{id}": readAppRoles, "groups/{id}": readAppRoles, "servicePrincipals/{id}": readAppRoles} {
		out = append(out,
			Route{get, base + "/appRoleAssignments", need, (*Call).listAppRoles},
			Route{post, base + "/appRoleAssignments", writeAppRoles, (*Call).createAppRole},
			Route{remove, base + "/appRoleAssignments/{assignment}", writeAppRoles, (*Call).deleteAppRole})
	}
	return out
}

// principalGrants lists the delegated permissions of the client at {id}.
func (c *Call) principalGrants() error {
	who, err := c.client()
	if err != nil {
		return err
	}
	return c.list(grantKind, c.grants(who))
}
