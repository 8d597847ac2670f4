package authz

// Everyone is the object id that stands for all principals in a deny assignment ("Understand Azure deny assignments":
// all principals, type SystemDefined).
const Everyone = "00000000-0000-0000-0000-000000000000"

// DenyAssignment refuses what its permissions name, whatever roles grant. Only the platform makes them.
type DenyAssignment struct {
	ID          string // resource id
	Name        string // denyAssignmentName
	Description string
	Scope       string
	Permissions []Permission
	Principals  []string // object ids; Everyone
	Exclude     []string // object ids
	OnlyScope   bool     // doNotApplyToChildScopes

	scope  string  // as it is compared; "" until Compile
	blocks []block // nil until Compile
}

// Compile returns d prepared for evaluation, which it must be.
func (d DenyAssignment) Compile() DenyAssignment {
	d.scope, d.blocks = ScopeKey(d.Scope), compile(d.Permissions)
	return d
}

// denies says whether d refuses the action on scope to a principal of these ids; action and scope are in lower case.
func (d *DenyAssignment) denies(ids []string, action string, data bool, scope string, enclosing []string) bool {
	if !reaches(d.scope, scope, enclosing) || d.OnlyScope && d.scope != scope {
		return false
	}
	if !d.names(ids) {
		return false
	}
	for i := range d.blocks {
		if d.blocks[i].plane(data).check(action).granted {
			return true
		}
	}
	return false
}

func (d *DenyAssignment) names(ids []string) bool {
	named := false
	for _, p := range d.Principals {
		named = named || p == Everyone || holds(ids, p)
	}
	for _, p := range d.Exclude {
		named = named && !holds(ids, p)
	}
	return named
}

func holds(ids []string, id string) bool {
	for _, have := range ids {
		if lower(have) == lower(id) {
			return true
		}
	}
	return false
}
