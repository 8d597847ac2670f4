package rp

import (
	"maps"
	"slices"
	"strings"

	"vauban.dev/arm"
)

const registrationKind = "registration" // documents of namespaces that a subscription unregistered

// provider is a namespace as "Providers - Get" shows it.
type provider struct {
	ID                 string         `json:"id"`
	Namespace          string         `json:"namespace"`
	RegistrationPolicy string         `json:"registrationPolicy"`
	RegistrationState  string         `json:"registrationState,omitempty"` // in a subscription
	ResourceTypes      []resourceType `json:"resourceTypes"`
}

// resourceType is what clients choose an api-version from.
type resourceType struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"`
	Capabilities string   `json:"capabilities,omitempty"`
	Aliases      []alias  `json:"aliases,omitempty"` // asked for by $expand

	called bool // no resources are of it
}

// TypeInfo describes a registered type, for listings, policy aliases and documentation.
type TypeInfo struct {
	Name       arm.TypeName
	Kind       Kind
	Versions   []string // newest first
	Permission string   // the type as RBAC actions spell it
	Actions    []string // permissions of its actions
	Calls      []Call
	Inline     map[string]string
	Locations  []string
	Async      bool // writes end in an operation
	NoPut      bool
	NoDelete   bool
	Moves      bool    // its resources can be moved to another group
	Fields     []Field // properties that the type interprets
}

// Call is an operation as clients make it: of a type's action Pattern is what follows the resource's id, of a route the
// whole path with its "{name}" segments.
type Call struct {
	Method, Pattern, Permission string
	Versions                    []string // none: any
	Reads                       bool     // it changes nothing
}

// Calls returns the operations that are not on a stored resource.
func (e *Engine) Calls() []Call {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]Call, 0, len(e.routes.routes))
	for _, r := range e.routes.routes {
		all = append(all, Call{Method: r.method, Pattern: "/" + strings.Join(r.segments, "/"), Permission: r.permission, Versions: r.versions, Reads: r.reads})
	}
	return all
}

// Describe returns the registered types, ordered by name.
func (e *Engine) Describe() []TypeInfo {
	var all []TypeInfo
	for _, d := range e.definitions() {
		all = append(all, e.info(d))
	}
	return all
}

func (e *Engine) info(d *definition) TypeInfo {
	info := TypeInfo{
		Name: d.name, Kind: d.kind, Versions: slices.Clone(d.versions), Permission: permissionName(d.name),
		Inline: maps.Clone(d.inline), Locations: slices.Clone(e.locations), Async: e.async(d), NoPut: d.noPut, NoDelete: d.noDelete, Moves: d.moves != nil,
		Fields: d.fields,
	}
	for _, name := range slices.Sorted(maps.Keys(d.actions)) {
		info.Actions = append(info.Actions, d.actions[name].permission)
		info.Calls = append(info.Calls, Call{Method: d.actions[name].method, Pattern: d.actions[name].name, Permission: d.actions[name].permission, Versions: info.Versions})
	}
	return info
}
