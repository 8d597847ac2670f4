package directory

import "strings"

// RoleTemplate is a built-in directory role under its real id ("Microsoft Entra built-in roles"), with those of its
// actions that a region has a meaning for.
type RoleTemplate struct {
	ID          string
	Name        string
	Description string
	Actions     []string // without microsoft.directory/ in front; see Covers
	Plain       bool     // its holders are no administrators: lesser roles may reset their passwords
}

// GlobalAdministrator may do everything in the directory.
const GlobalAdministrator = "62e90394-69f5-4237-9190-012177145e10"

// RoleTemplateBy returns the built-in role with this template id.
func RoleTemplateBy(id string) (RoleTemplate, bool) {
	for _, t := range RoleTemplates {
		if t.ID == fold(id) {
			return t, true
		}
	}
	return RoleTemplate{}, false
}

// Grants reports whether one of the roles, by template id, covers an action such as users/create.
func Grants(roles []string, action string) bool {
	for _, id := range roles {
		t, _ := RoleTemplateBy(id)
		for _, a := range t.Actions {
			if Covers(a, action) {
				return true
			}
		}
	}
	return false
}

// Covers reports whether a granted action covers another: * everything, */read every reading, E/allProperties/…
// the properties of one kind of object.
func Covers(granted, action string) bool {
	if granted == action || granted == "*" || granted == "*/read" && strings.HasSuffix(action, "/read") {
		return true
	}
	entity, what, _ := strings.Cut(granted, "/")
	if !strings.HasPrefix(action, entity+"/") {
		return false
	}
	switch what {
	case "allProperties/allTasks":
		return true
	case "allProperties/update":
		return strings.HasSuffix(action, "/update")
	case "allProperties/read":
		return strings.HasSuffix(action, "/read")
	}
	return false
}

// Administrator reports whether one of the roles makes its holder an administrator, whose password and account
// only the highest roles may touch ("Who can perform sensitive actions").
func Administrator(roles []string) bool {
	for _, id := range roles {
		if t, ok := RoleTemplateBy(id); !ok || !t.Plain {
			return true
		}
	}
	return false
}

var (
	manageGroups = []string{"groups/create", "groups/delete", "groups/restore", "groups/basic/update", "groups/members/update", "groups/owners/update"}
	sensitive    = []string{"users/password/update", "users/invalidateAllRefreshTokens"}
	manageApps   = []string{
		"applications/create", "applications/delete", "applications/basic/update", "applications/credentials/update", "applications/owners/update", "applications/permissions/update",
		"deletedItems.applications/delete", "deletedItems.applications/restore", "oAuth2PermissionGrants/allProperties/allTasks",
		"servicePrincipals/create", "servicePrincipals/delete", "servicePrincipals/basic/update", "servicePrincipals/credentials/update", "servicePrincipals/owners/update",
		"servicePrincipals/enable", "servicePrincipals/disable", "servicePrincipals/appRoleAssignedTo/update",
	}
)

func with(lists ...[]string) (out []string) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return append(out, "*/read")
}

// RoleTemplates are the built-in roles that a region knows.
var RoleTemplates = []RoleTemplate{
	{ID: GlobalAdministrator, Name: "Global Administrator", Description: "Manages all of the directory.", Actions: []string{"*"}},
	{ID: "f2ef992c-3afb-46b9-b7cf-a126ee74c451", Name: "Global Reader", Description: "Reads all of the directory.", Actions: with()},
	{ID: "e8611ab8-c189-46e8-94e1-60213ab1f814", Name: "Privileged Role Administrator", Description: "Gives directory roles, and consent to any permission.",
		Actions: with([]string{"directoryRoles/allProperties/allTasks", "roleAssignments/allProperties/allTasks", "groupsAssignableToRoles/allProperties/allTasks", "oAuth2PermissionGrants/allProperties/allTasks",
			"servicePrincipals/appRoleAssignedTo/update", "servicePrincipals/managePermissionGrantsForAll.microsoft-company-admin"})},
	{ID: "7be44c8a-adaf-4e2a-84d6-ab2649e08a13", Name: "Privileged Authentication Administrator", Description: "Resets passwords and authentication methods of everybody.",
		Actions: with(sensitive, []string{"users/authenticationMethods/allProperties/allTasks", "users/delete", "users/disable", "users/enable", "users/restore", "users/basic/update", "users/userPrincipalName/update", "users/privileged"})},
	{ID: "c4e39bd9-1100-46d3-8c65-fb160da0071f", Name: "Authentication Administrator", Description: "Resets passwords and authentication methods of those who are no administrators.",
		Actions: with(sensitive, []string{"users/authenticationMethods/allProperties/allTasks", "users/delete", "users/disable", "users/enable", "users/restore", "users/basic/update", "users/userPrincipalName/update"})},
	{ID: "fe930be7-5e62-47db-91af-98c3a49a38b1", Name: "User Administrator", Description: "Manages users and groups.",
		Actions: with(manageGroups, sensitive, []string{"users/create", "users/delete", "users/disable", "users/enable", "users/inviteGuest", "users/restore", "users/basic/update", "users/usageLocation/update", "users/userPrincipalName/update",
			"deletedItems.users/restore", "deletedItems.groups/restore", "oAuth2PermissionGrants/allProperties/allTasks", "servicePrincipals/appRoleAssignedTo/update"})},
	{ID: "729827e3-9c14-49f7-bb1b-9608f156bbb8", Name: "Helpdesk Administrator", Description: "Resets passwords of those who are no administrators.", Actions: with(sensitive)},
	{ID: "966707d0-3269-4727-9be2-8c3a10f19b9d", Name: "Password Administrator", Description: "Resets passwords of those who are no administrators.", Actions: with([]string{"users/password/update"})},
	{ID: "fdd7a751-b60b-444a-984c-02652fe8fa1c", Name: "Groups Administrator", Description: "Manages groups.", Actions: with(manageGroups, []string{"deletedItems.groups/delete", "deletedItems.groups/restore"})},
	{ID: "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3", Name: "Application Administrator", Description: "Manages applications and service principals.", Actions: with(manageApps)},
	{ID: "158c047a-c907-4556-b7ef-446551a6b5f7", Name: "Cloud Application Administrator", Description: "Manages applications and service principals.", Actions: with(manageApps)},
	{ID: "cf1c38e5-3621-4004-a7cb-879624dced7c", Name: "Application Developer", Description: "Registers applications.", Actions: with([]string{"applications/createAsOwner", "servicePrincipals/createAsOwner", "oAuth2PermissionGrants/createAsOwner"}), Plain: true},
	{ID: "9360feb5-f418-4baa-8175-e2a00bac4301", Name: "Directory Writers", Description: "Reads and writes basic data of the directory.",
		Actions: with([]string{"groups/create", "groups/basic/update", "groups/members/update", "groups/owners/update", "oAuth2PermissionGrants/create", "oAuth2PermissionGrants/basic/update", "servicePrincipals/appRoleAssignedTo/update",
			"users/basic/update", "users/create", "users/disable", "users/enable", "users/invalidateAllRefreshTokens", "users/inviteGuest", "users/userPrincipalName/update"})},
	{ID: "88d8e3e3-8f55-4a1e-953a-9b9898b8876b", Name: "Directory Readers", Description: "Reads basic data of the directory.", Actions: with(), Plain: true},
	{ID: "95e79109-95c0-4d8e-aee3-d01accf2d47b", Name: "Guest Inviter", Description: "Invites guests.", Actions: with([]string{"users/inviteGuest"}), Plain: true},
	{ID: "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9", Name: "Conditional Access Administrator", Description: "Manages conditional access.", Actions: with([]string{"conditionalAccessPolicies/allProperties/allTasks", "namedLocations/allProperties/allTasks"})},
	{ID: "194ae4cb-b126-40b2-bd5b-6091b380977d", Name: "Security Administrator", Description: "Manages security settings.", Actions: with([]string{"conditionalAccessPolicies/allProperties/allTasks", "namedLocations/allProperties/allTasks"})},
	{ID: "5d6b6bb7-de71-4623-b4af-96380a352509", Name: "Security Reader", Description: "Reads security settings.", Actions: with()},
	{ID: "0526716b-113d-4c15-b2c8-68e3c22b9f80", Name: "Authentication Policy Administrator", Description: "Manages the policy of authentication methods.", Actions: with()},
	{ID: "5f2222b1-57c3-48ba-8ad5-d4759f1fde6f", Name: "Security Operator", Description: "Reads security settings.", Actions: with()},
	{ID: "4a5d8f65-41da-4de4-8968-e035b65339cf", Name: "Reports Reader", Description: "Reads reports of sign-ins.", Actions: with(), Plain: true},
}
