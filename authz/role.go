package authz

import "strings"

// Permission is one block of a role definition. Actions are patterns in which * stands for any run of
// characters, also across "/"; they are compared without case (Azure RBAC, "Understand role
// definitions"). A block grants an operation that matches its actions and none of its notActions.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
	// Condition restricts the block (attribute-based access). Conditions are not interpreted: a block
	// that has one grants nothing.
	Condition string `json:"condition,omitempty"`
}

// Definition is a role definition, built-in or custom.
type Definition struct {
	Name             string       `json:"name"`     // the GUID that ends its resource id
	RoleName         string       `json:"roleName"` // what people call it: Reader
	Description      string       `json:"description"`
	RoleType         string       `json:"roleType"` // BuiltInRole, CustomRole
	AssignableScopes []string     `json:"assignableScopes"`
	Permissions      []Permission `json:"permissions"`

	blocks []block // Permissions compiled; nil until Compile
}

// Compile returns d prepared for evaluation. Sources that keep definitions compile them once;
// one that is not compiled is evaluated all the same, more slowly.
func (d Definition) Compile() Definition {
	d.blocks = make([]block, len(d.Permissions))
	for i, p := range d.Permissions {
		d.blocks[i] = block{
			control:     rules{patterns(p.Actions), patterns(p.NotActions)},
			data:        rules{patterns(p.DataActions), patterns(p.NotDataActions)},
			conditional: p.Condition != "",
		}
	}
	return d
}

// Assignment binds a role definition to a principal at a scope.
type Assignment struct {
	ID          string // resource id
	PrincipalID string // object id of a user, group or service principal
	Definition  string // resource id of the role definition, or the GUID that ends it
	Scope       string // "/", a management group, subscription, group or resource
	// Condition restricts the assignment. Conditions are not interpreted: an assignment that has one
	// grants nothing.
	Condition string

	scope string // Scope as it is compared; "" until an Index has it
}

func (a *Assignment) scopeKey() string {
	if a.scope != "" {
		return a.scope
	}
	return ScopeKey(a.Scope)
}

// DefinitionName is the GUID, in lower case, of a role definition that is named by it or by a resource id.
func DefinitionName(id string) string {
	return lower(id[strings.LastIndexByte(id, '/')+1:])
}

// ScopeKey is the form in which scopes are compared: lower case, no slash at the end; the root is "/".
func ScopeKey(scope string) string {
	k := lower(strings.TrimRight(scope, "/"))
	if k == "" && scope != "" {
		return "/"
	}
	return k
}

// covers reports whether an assignment at scope reaches the resource id or scope target: it is the
// same, or it encloses it. Both are keys (ScopeKey). An empty scope covers nothing.
func covers(scope, target string) bool {
	if scope == "/" {
		return target != ""
	}
	return scope != "" && strings.HasPrefix(target, scope) && (len(target) == len(scope) || target[len(scope)] == '/')
}
