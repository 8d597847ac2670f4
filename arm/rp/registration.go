package rp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/authz"
)

// Registration is what a provider hands to Engine.Register: types made by Of, routes made by Routes.
type Registration struct {
	types      []*definition
	routes     []Route
	operations []Operation
	err        error
}

// Of makes the registration of one resource type. A mistake in the literal (no api-version, a name
// pattern that does not compile, an action without a function) is reported by Register.
func Of[T any](t Type[T]) Registration {
	d, err := define(t)
	if err != nil {
		return Registration{err: fmt.Errorf("rp: type %s: %w", t.Name, err)}
	}
	return Registration{types: []*definition{d}}
}

// Routes makes the registration of operations that are not on a stored resource.
func Routes(routes ...Route) Registration { return Registration{routes: routes} }

// Link says that a write of one resource uses another: the caller needs Action there too
// (Microsoft.Network/virtualNetworks/subnets/join/action on the subnet of a NIC).
type Link struct {
	Action string
	ID     arm.ID
}

// definition is a Type whose type parameter is erased. The engine works on records; a definition turns
// them into the *Resource[T] (passed as any) that the functions of the type take, and back.
type definition struct {
	name          arm.TypeName
	stored        string // kind of its documents
	kind          Kind
	versions      []string // newest first
	pattern       *regexp.Regexp
	nameRule      string
	nameError     func(string) *arm.Error
	notFound      func(arm.ID) *arm.Error
	implicit      bool
	noPut         bool
	noDelete      bool
	createStatus  int
	updateStatus  int
	syncDelete    bool
	showDeleted   bool
	kept          bool   // what present fills in
	etagName      string // "" = bodies have none
	inline        map[string]string
	stateProperty string
	actions       map[string]*action // by lower-case name
	others        func(name string) *action
	fields        []Field // of T

	load    func(*record) (any, error)
	unload  func(any, *record) error
	decode  func(version string, properties []byte, res any) error
	encode  func(version string, res any) (map[string]any, error)
	keep    func(res, old any)                          // restores what clients may not write; old is nil on create
	selects func(query map[string]string, res any) bool // nil: all

	listReadable bool
	createScope  func(tx *Tx, id arm.ID, body []byte) (arm.ID, error)
	attributes   func(tx *Tx, method string, id arm.ID, body []byte) (map[authz.Attribute][]string, error)
	patchForm    func(patch []byte) ([]byte, error)

	hide   func(res any) // clears what no answer may show
	assign func(res any, i *arm.Identity)

	defaults  func(version string, res any)
	validate  func(op Op, res, old any) error
	admit     func(ctx context.Context, tx *Tx, op Op, res, old any) error
	links     func(res any) []Link
	present   func(ctx context.Context, tx *Tx, res any) error
	release   func(ctx context.Context, tx *Tx, res any) error
	reconcile func(ctx context.Context, res any) (Result, error)
	finalize  func(ctx context.Context, res any) (Result, error)
	erase     func(ctx context.Context, tx *Tx, res any) error
	moves     func(ctx context.Context, tx *Tx, from arm.ID, res any) error
}

// action is an Action whose type parameter is erased.
type action struct {
	name       string
	permission string
	method     string
	links      func(res any, body []byte) []Link                                    // nil: none
	do         func(ctx context.Context, tx *Tx, res any, body []byte) (any, error) // nil only with async
	async      func(ctx context.Context, res any, body []byte) (any, error)         // nil: synchronous
}

// action is the one of that name, or what the type makes of every name that it has not.
func (d *definition) action(name string) *action {
	if a := d.actions[strings.ToLower(name)]; a != nil || d.others == nil {
		return a
	}
	return d.others(name)
}

func define[T any](t Type[T]) (*definition, error) {
	d := &definition{
		kind: t.Kind, nameRule: t.NameRule, nameError: t.NameError, notFound: t.NotFound, implicit: t.ImplicitParent, noPut: t.NoPut, noDelete: t.NoDelete,
		createStatus: cmp.Or(t.CreateStatus, http.StatusCreated), updateStatus: cmp.Or(t.UpdateStatus, http.StatusOK), syncDelete: t.SyncDelete, showDeleted: t.ShowDeleted, kept: t.Kept, etagName: t.ETagName, inline: t.Inline, stateProperty: t.StateProperty,
		actions: map[string]*action{}, listReadable: t.ListReadable, createScope: t.CreateScope, attributes: t.Attributes, patchForm: t.PatchForm,
	}
	if t.ShowETag && d.etagName == "" {
		d.etagName = "etag"
	}
	if !strings.Contains(t.Name, "/") {
		return nil, errors.New("the name has no namespace")
	}
	d.name, d.stored, d.fields = arm.ParseTypeName(t.Name), StoreKind(t.Name), fieldsOf[T]()
	if len(t.Versions) == 0 {
		return nil, errors.New("no api-version")
	}
	byName := map[string]Version[T]{}
	for _, v := range t.Versions {
		if !versionPattern.MatchString(v.Name) {
			return nil, fmt.Errorf("%q is not an api-version", v.Name)
		}
		if _, twice := byName[v.Name]; twice {
			return nil, fmt.Errorf("api-version %s is listed twice", v.Name)
		}
		byName[v.Name] = v
	}
	d.versions = slices.SortedFunc(maps.Keys(byName), func(a, b string) int { return strings.Compare(b, a) })
	if t.NamePattern != "" {
		p, err := regexp.Compile(t.NamePattern)
		if err != nil {
			return nil, fmt.Errorf("name pattern: %w", err)
		}
		d.pattern = p
	}
	for name, a := range t.Actions {
		if a.Do == nil && a.Async == nil {
			return nil, fmt.Errorf("action %s has no function", name)
		}
		d.actions[strings.ToLower(name)] = actionOf(d, name, a)
	}
	if t.OtherAction != nil {
		d.others = func(name string) *action { return actionOf(d, name, t.OtherAction(name)) }
	}
	erase(d, t, byName)
	return d, nil
}

func actionOf[T any](d *definition, name string, a Action[T]) *action {
	e := &action{name: name, permission: a.Permission, method: a.Method}
	if e.permission == "" {
		e.permission = permissionName(d.name) + "/" + name + "/action"
	}
	if e.method == "" {
		e.method = http.MethodPost
	}
	if a.Links != nil {
		e.links = func(res any, body []byte) []Link { return a.Links(res.(*Resource[T]), body) }
	}
	if a.Do != nil {
		e.do = func(ctx context.Context, tx *Tx, res any, body []byte) (any, error) {
			return a.Do(ctx, tx, res.(*Resource[T]), body)
		}
	}
	if a.Async != nil {
		e.async = func(ctx context.Context, res any, body []byte) (any, error) {
			return a.Async(ctx, res.(*Resource[T]), body)
		}
	}
	return e
}

// erase fills the functions of d with those of t.
func erase[T any](d *definition, t Type[T], versions map[string]Version[T]) {
	d.load = func(rec *record) (any, error) { return load[T](rec) }
	d.unload = func(res any, rec *record) error { return unload(res.(*Resource[T]), rec) }
	d.decode = func(version string, properties []byte, res any) error {
		if f := versions[version].Decode; f != nil {
			return f(properties, &res.(*Resource[T]).Properties)
		}
		return decodeJSON(properties, &res.(*Resource[T]).Properties)
	}
	d.encode = func(version string, res any) (map[string]any, error) {
		v, ok := versions[version]
		if !ok { // an embedded child whose type has not the parent's api-version
			v = versions[d.versions[0]]
		}
		if v.Encode != nil {
			return v.Encode(&res.(*Resource[T]).Properties)
		}
		return encodeJSON(&res.(*Resource[T]).Properties)
	}
	d.keep = func(res, old any) {
		var was *T
		if old != nil {
			was = &old.(*Resource[T]).Properties
		}
		keepReadOnly(&res.(*Resource[T]).Properties, was)
	}
	d.hide = func(res any) { hidePrivate(&res.(*Resource[T]).Properties) }
	d.assign = func(res any, i *arm.Identity) { res.(*Resource[T]).Identity = cloneIdentity(i) }
	if t.Select != nil {
		d.selects = func(query map[string]string, res any) bool { return t.Select(query, res.(*Resource[T])) }
	}
	if t.Default != nil {
		d.defaults = func(version string, res any) { t.Default(version, res.(*Resource[T])) }
	}
	if t.Validate != nil {
		d.validate = func(op Op, res, old any) error { return t.Validate(op, res.(*Resource[T]), orNil[T](old)) }
	}
	if t.Admit != nil {
		d.admit = func(ctx context.Context, tx *Tx, op Op, res, old any) error {
			return t.Admit(ctx, tx, op, res.(*Resource[T]), orNil[T](old))
		}
	}
	if t.Links != nil {
		d.links = func(res any) []Link { return t.Links(res.(*Resource[T])) }
	}
	if t.Present != nil {
		d.present = func(ctx context.Context, tx *Tx, res any) error { return t.Present(ctx, tx, res.(*Resource[T])) }
	}
	if t.Release != nil {
		d.release = func(ctx context.Context, tx *Tx, res any) error { return t.Release(ctx, tx, res.(*Resource[T])) }
	}
	if t.Reconcile != nil {
		d.reconcile = func(ctx context.Context, res any) (Result, error) { return t.Reconcile(ctx, res.(*Resource[T])) }
	}
	if t.Finalize != nil {
		d.finalize = func(ctx context.Context, res any) (Result, error) { return t.Finalize(ctx, res.(*Resource[T])) }
	}
	if t.Move != nil {
		d.moves = func(ctx context.Context, tx *Tx, from arm.ID, res any) error {
			return t.Move(ctx, tx, from, res.(*Resource[T]))
		}
	}
	if t.Erase != nil {
		d.erase = func(ctx context.Context, tx *Tx, res any) error { return t.Erase(ctx, tx, res.(*Resource[T])) }
	}
}

func orNil[T any](res any) *Resource[T] {
	if res == nil {
		return nil
	}
	return res.(*Resource[T])
}

var versionPattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-z]+)?$`)

// permissionName is the type as RBAC actions spell it: groups are a child of subscriptions there.
func permissionName(t arm.TypeName) string {
	if t.Key() == groupKey {
		return "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return t.String()
}

func decodeJSON[T any](properties []byte, t *T) error {
	if len(properties) == 0 {
		return nil
	}
	err := json.Unmarshal(properties, t)
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case arm.AsError(err) != nil:
		return err
	case errors.As(err, &mistyped):
		if again, ok := coerced[T](properties); ok {
			var fresh T
			if json.Unmarshal(again, &fresh) == nil {
				*t = fresh
				return nil
			}
		}
		return badContent("properties."+mistyped.Field, mistype(mistyped))
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", err)
}

func encodeJSON[T any](t *T) (map[string]any, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return decodeTree(b)
}
