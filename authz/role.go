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
	// Condition restricts the block (attribute-based access); one that cannot be parsed grants nothing.
	Condition        string `json:"condition,omitempty"`
	ConditionVersion string `json:"conditionVersion,omitempty"`
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
	d.blocks = compile(d.Permissions)
	return d
}

func compile(permissions []Permission) []block {
	blocks := make([]block, len(permissions))
	for i, p := range permissions {
		blocks[i] = block{
			control:   rules{patterns(p.Actions), patterns(p.NotActions)},
			data:      rules{patterns(p.DataActions), patterns(p.NotDataActions)},
			condition: guardOf(p.Condition),
		}
	}
	return blocks
}

// Assignment binds a role definition to a principal at a scope.
type Assignment struct {
	ID          string // resource id
	PrincipalID string // object id of a user, group or service principal
	Definition  string // resource id of the role definition, or the GUID that ends it
	Scope       string // "/", a management group, subscription, group or resource
	Condition   string // restricts the assignment; one that cannot be parsed grants nothing

	scope string // Scope as it is compared; "" until Compile
	guard *guard // Condition, parsed; nil until Compile and without one
}

// Compile returns a prepared for evaluation. Sources that keep assignments compile them once; one that is not compiled
// is evaluated all the same, more slowly.
func (a Assignment) Compile() Assignment {
	a.scope, a.guard = ScopeKey(a.Scope), guardOf(a.Condition)
	return a
}

func (a *Assignment) scopeKey() string {
	if a.scope != "" {
		return a.scope
	}
	return ScopeKey(a.Scope)
}

func (a *Assignment) guarded() *guard {
	if a.guard != nil || a.Condition == "" {
		return a.guard
	}
	return guardOf(a.Condition)
}

// guard is a condition that is to hold.
type guard struct {
	condition *Condition
	bad       error // it cannot be parsed: it never holds
}

// guardOf is nil without a condition.
func guardOf(text string) *guard {
	if text == "" {
		return nil
	}
	c, err := ParseCondition(text)
	return &guard{c, err}
}

// holds is true of no guard.
func (g *guard) holds(q *asked) bool {
	return g == nil || g.bad == nil && g.condition.holds(q)
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
