package graph

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

var (
	roleKind       = kind{name: "directoryRole", set: "directoryRoles", sample: roleObject(directory.Role{})}
	templateKind   = kind{name: "directoryRoleTemplate", set: "directoryRoleTemplates", sample: templateObject(directory.RoleTemplate{})}
	definitionKind = kind{name: "unifiedRoleDefinition", set: "roleManagement/directory/roleDefinitions", sample: definitionObject(directory.RoleTemplate{})}
	assignedKind   = kind{name: "unifiedRoleAssignment", set: "roleManagement/directory/roleAssignments", sample: assignedObject("", "")}
)

var (
	readRoles  = Need{Application: []string{"RoleManagement.Read.Directory", "RoleManagement.Read.All", "RoleManagement.ReadWrite.Directory", "Directory.Read.All", "Directory.ReadWrite.All"}, Delegated: []string{"RoleManagement.Read.Directory", "RoleManagement.ReadWrite.Directory", "Directory.Read.All", "Directory.ReadWrite.All"}, Action: "directoryRoles/standard/read", Members: true}
	writeRoles = Need{Application: []string{"RoleManagement.ReadWrite.Directory"}, Delegated: []string{"RoleManagement.ReadWrite.Directory"}, Action: "directoryRoles/members/update"}
)

func roleObject(r directory.Role) object {
	t, _ := directory.RoleTemplateBy(r.TemplateID)
	return object{"@odata.type": "#microsoft.graph.directoryRole", "id": r.ID, "roleTemplateId": r.TemplateID, "displayName": t.Name, "description": t.Description, "deletedDateTime": nil}
}

func templateObject(t directory.RoleTemplate) object {
	return object{"id": t.ID, "displayName": t.Name, "description": t.Description, "deletedDateTime": nil}
}

func definitionObject(t directory.RoleTemplate) object {
	actions := []string{}
	for _, a := range t.Actions {
		actions = append(actions, "microsoft.directory/"+a)
	}
	return object{"id": t.ID, "templateId": t.ID, "displayName": t.Name, "description": t.Description, "isBuiltIn": true, "isEnabled": true, "resourceScopes": []string{"/"}, "version": "1",
		"rolePermissions": []object{{"allowedResourceActions": actions, "condition": nil}}}
}

// assignedObject is a membership of a directory role in the words of roleManagement; its id names both ends.
func assignedObject(template, principal string) object {
	return object{"id": template + principal, "principalId": principal, "roleDefinitionId": template, "directoryScopeId": "/", "appScopeId": nil}
}

// role finds an active role by object id or by roleTemplateId=…; notFound.
func (c *Call) role(tx store.Tx, key string) (directory.Role, error) {
	if template, ok := strings.CutPrefix(key, "roleTemplateId="); ok {
		key = directory.RoleID(c.tenant(), strings.ToLower(template))
	}
	r, err := c.dir.ActiveRole(tx, key)
	if errors.Is(err, directory.ErrNotFound) || err == nil && r.TenantID != c.tenant() {
		return r, notFound(key)
	}
	return r, err
}

func (c *Call) roles(tx store.Tx, after string, yield func(object) bool) error {
	return c.dir.ActiveRoles(tx, c.tenant(), after, func(r directory.Role) bool { return yield(roleObject(r)) })
}

func (c *Call) getRole() error {
	var r directory.Role
	if err := c.View(func(tx store.Tx) (err error) {
		r, err = c.role(tx, c.Vars[0])
		return err
	}); err != nil {
		return err
	}
	return c.one(http.StatusOK, roleKind, roleObject(r))
}

// activateRole makes a role of a template active.
func (c *Call) activateRole() error {
	var body struct {
		Template string `json:"roleTemplateId"`
	}
	if err := c.Body(&body); err != nil {
		return err
	}
	var r directory.Role
	err := c.Update(func(tx store.Tx) (err error) {
		if t, ok := directory.RoleTemplateBy(body.Template); ok {
			if _, err := c.dir.ActiveRole(tx, directory.RoleID(c.tenant(), t.ID)); err == nil {
				return fail(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "A conflicting object with one or more of the specified property values is present in the directory.")
			}
		}
		r, err = c.dir.ActivateRole(tx, c.tenant(), body.Template)
		return err
	})
	if errors.Is(err, directory.ErrNotFound) {
		return badRequest("Invalid value specified for property 'roleTemplateId' of resource 'DirectoryRole'.")
	}
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, roleKind, roleObject(r))
}

func (c *Call) getTemplate(k kind, show func(directory.RoleTemplate) object) func() error {
	return func() error {
		t, ok := directory.RoleTemplateBy(c.Vars[0])
		if !ok {
			return notFound(c.Vars[0])
		}
		return c.one(http.StatusOK, k, show(t))
	}
}

// assignments are the members of the active roles.
func (c *Call) assignments(tx store.Tx, after string, yield func(object) bool) error {
	var active []directory.Role
	if err := c.dir.ActiveRoles(tx, c.tenant(), "", func(r directory.Role) bool {
		active = append(active, r)
		return true
	}); err != nil {
		return err
	}
	var all []object
	for _, r := range active {
		members, err := c.dir.Members(tx, r.ID)
		if err != nil {
			return err
		}
		for _, m := range members {
			all = append(all, assignedObject(r.TemplateID, m.ID))
		}
	}
	return slice(all, func(o object) object { return o })(tx, after, yield)
}

func (c *Call) createAssignment() error {
	var body map[string]json.RawMessage
	if err := c.Body(&body); err != nil {
		return err
	}
	var principal, definition, scope string
	for name, to := range map[string]*string{"principalId": &principal, "roleDefinitionId": &definition, "directoryScopeId": &scope} {
		if json.Unmarshal(body[name], to) != nil || *to == "" {
			return badRequest("A value is required for property '%s' of resource 'UnifiedRoleAssignment'.", name)
		}
	}
	if scope != "/" {
		return notServed("directoryScopeId other than / (administrative units)")
	}
	var o object
	err := c.Update(func(tx store.Tx) error {
		r, err := c.dir.ActivateRole(tx, c.tenant(), definition)
		if errors.Is(err, directory.ErrNotFound) {
			return badRequest("Invalid value specified for property 'roleDefinitionId' of resource 'UnifiedRoleAssignment'.")
		}
		if err != nil {
			return err
		}
		err = c.addMember(tx, r.ID, principal)
		if errors.Is(err, directory.ErrMember) {
			return badRequest("A conflicting object with one or more of the specified property values is present in the directory.")
		}
		o = assignedObject(r.TemplateID, strings.ToLower(principal))
		return err
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, assignedKind, o)
}

// oneAssignment shows or takes away a role assignment; its id is the template's and the principal's, joined.
func (c *Call) oneAssignment() error {
	id := strings.ToLower(c.Vars[0])
	if len(id) != 72 {
		return notFound(id)
	}
	template, principal := id[:36], id[36:]
	role := directory.RoleID(c.tenant(), template)
	if c.R.Method == http.MethodGet {
		var is bool
		err := c.View(func(tx store.Tx) (err error) {
			is, err = c.dir.IsMember(tx, role, principal)
			return err
		})
		if err == nil && !is {
			err = notFound(id)
		}
		if err != nil {
			return err
		}
		return c.one(http.StatusOK, assignedKind, assignedObject(template, principal))
	}
	if err := c.Update(func(tx store.Tx) error { return c.dir.RemoveMember(tx, role, principal) }); err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}
