package conformance

import (
	"regexp"
	"strings"
)

// agree makes the identities and the operations of an example such as Azure would take and show: examples that tools have written name
// identities that are no resources, and have members beside a type that excludes them.
func (c *Case) agree() {
	shown, _ := c.Response.(map[string]any)
	sent, _ := c.Request.(map[string]any)
	if identity, ok := shown["identity"].(map[string]any); ok {
		if asked, ok := sent["identity"].(map[string]any); ok {
			asked["type"] = identity["type"]
		}
	}
	for _, body := range append(asList(shown["value"]), shown, sent) {
		if m, ok := body.(map[string]any); ok {
			if identity, ok := m["identity"].(map[string]any); ok {
				c.identity(identity)
			}
			operations(m)
		}
	}
}

// operations puts operations where an example of a role has words that are none.
func operations(role map[string]any) {
	properties, _ := role["properties"].(map[string]any)
	for _, e := range asList(properties["permissions"]) {
		p, _ := e.(map[string]any)
		for member, real := range map[string]string{"actions": "*/read", "dataActions": "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"} {
			for i, word := range asList(p[member]) {
				if text, ok := word.(string); ok && text != "*" && !strings.Contains(text, "/") {
					asList(p[member])[i] = real
				}
			}
		}
	}
}

func (c *Case) identity(identity map[string]any) {
	kind, _ := identity["type"].(string)
	kind = strings.ToLower(kind)
	if !strings.Contains(kind, "systemassigned") {
		delete(identity, "principalId")
		delete(identity, "tenantId")
	}
	named, _ := identity["userAssignedIdentities"].(map[string]any)
	if !strings.Contains(kind, "userassigned") {
		delete(identity, "userAssignedIdentities")
		return
	}
	for name, v := range named {
		if !armID.MatchString(name) {
			delete(named, name)
			named[c.groupID()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+name] = v
		}
	}
}

var groupOf = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/?]+`)

// groupID is the group that the path of an example is in; one of its subscription where it is in none.
func (c *Case) groupID() string {
	if id := groupOf.FindString(c.Path); id != "" {
		return id
	}
	return strings.Join(append(strings.SplitN(c.Path, "/", 4)[:min(3, strings.Count(c.Path, "/"))], "resourceGroups", "seed"), "/")
}

// named are the resources that an example's list shows, by id: those that show none stand in its collection.
func (c *Case) named(collection string) (out []maker) {
	shown, _ := c.Response.(map[string]any)
	for _, e := range asList(shown["value"]) {
		m, _ := e.(map[string]any)
		id, _ := m["id"].(string)
		name, _ := m["name"].(string)
		if armID.MatchString(id) {
			id = below(collection, id)
		}
		if !armID.MatchString(id) && name != "" && !strings.ContainsAny(name, "/ {}") {
			_, kind, _ := strings.Cut(collection, "/providers/")
			id = c.groupID() + "/providers/" + kind + "/" + name
		}
		if armID.MatchString(id) {
			out = append(out, maker{version: c.version(), body: creatable(m), path: id})
		}
	}
	return out
}

// version is the api-version of the request.
func (c *Case) version() string {
	_, after, _ := strings.Cut(c.Path, "api-version=")
	version, _, _ := strings.Cut(after, "&")
	return version
}

// taken is the resource whose name an example finds taken, "" without one.
func (c *Case) taken() string {
	asked, _ := c.Request.(map[string]any)
	answer, _ := c.Response.(map[string]any)
	name, _ := asked["name"].(string)
	kind, _ := asked["type"].(string)
	if answer["nameAvailable"] != false || answer["reason"] != "AlreadyExists" || name == "" || strings.Count(kind, "/") != 1 {
		return ""
	}
	return c.groupID() + "/providers/" + kind + "/" + name
}
