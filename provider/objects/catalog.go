package objects

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/spec"
)

// Rest are the types of Azure's specification that no provider of the region has: those that are known does not name, and
// whose parents are there. Their names, in alphabetical order, come with them.
func Rest(known []string) (names []string, all []rp.Registration) {
	have := map[string]bool{}
	for _, name := range known {
		have[strings.ToLower(name)] = true
	}
	for _, t := range spec.Types() { // parents come before their children
		parent := t.Name[:strings.LastIndexByte(t.Name, '/')]
		if key := strings.ToLower(t.Name); !have[key] && (!strings.Contains(parent, "/") || have[strings.ToLower(parent)]) {
			have[key] = true
			names = append(names, t.Name)
			all = append(all, rp.Of(specified(t)))
		}
	}
	slices.Sort(names)
	return names, all
}

// Stored is the properties of a resource whose type is known from the specification alone.
type Stored struct {
	tree    map[string]any
	seed    string // of what the service would make up: keys, GUIDs
	created time.Time
	rotated map[string]string // what made a key another than the first, by key
	secrets map[string]any    // members that an action shows and no GET
}

type storedForm struct {
	Tree    map[string]any    `json:"tree,omitempty"`
	Seed    string            `json:"seed"`
	Created time.Time         `json:"created"`
	Rotated map[string]string `json:"rotated,omitempty"`
	Secrets map[string]any    `json:"secrets,omitempty"`
}

func (s Stored) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedForm{s.tree, s.seed, s.created, s.rotated, s.secrets})
}

func (s *Stored) UnmarshalJSON(b []byte) error {
	var f storedForm
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = Stored{f.Tree, f.Seed, f.Created, f.Rotated, f.Secrets}
	return nil
}

// specified is the resource type of a specification.
func specified(t *spec.Type) rp.Type[Stored] {
	s := &specifiedType{Type: t, network: strings.HasPrefix(strings.ToLower(t.Name), "microsoft.network/"), behaviour: behaviours[strings.ToLower(t.Name)]}
	if b, ok := mlBehaviours[strings.ToLower(t.Name)]; ok {
		s.behaviour = b
	}
	out := rp.Type[Stored]{
		Name: t.Name, Kind: kindOf(t), SyncDelete: true, Validate: s.validate, Admit: s.admit, Links: s.links, Present: s.present,
		OtherAction: s.action, Actions: s.behaviour.actions, ImplicitParent: s.behaviour.implicitParent,
	}
	if !t.State {
		out.StateProperty = "-"
	}
	if parent := spec.Lookup(t.Name[:strings.LastIndexByte(t.Name, '/')]); parent != nil {
		out.ImplicitParent = out.ImplicitParent || parent.Always
	}
	for _, v := range t.Versions() {
		out.Versions = append(out.Versions, rp.Version[Stored]{Name: v, Decode: decodeStored, Encode: encodeStored})
	}
	return out
}

func decodeStored(properties []byte, p *Stored) error {
	p.tree = nil
	return json.Unmarshal(properties, &p.tree)
}

func encodeStored(p *Stored) (map[string]any, error) { return p.tree, nil }

func kindOf(t *spec.Type) rp.Kind {
	switch {
	case t.Scopes&spec.Extension != 0:
		return rp.Extension
	case t.Location == spec.Somewhere && t.Scopes&spec.ResourceGroup != 0:
		return rp.Tracked
	}
	return rp.Proxy
}

// named refuses a name that the specification does not let a resource have.
func (s *specifiedType) named(id arm.ID) error {
	f := s.BadName(id.Name())
	if f == nil {
		return nil
	}
	e := arm.Errorf(http.StatusBadRequest, "InvalidResourceName", "Resource name '%s' is invalid for type '%s': %s.", id.Name(), s.Name, f.Text)
	e.Target = "name"
	return e
}

// specifiedType is what the engine calls for a type of the specification.
type specifiedType struct {
	*spec.Type
	network   bool
	behaviour behaviour
}

func (s *specifiedType) validate(op rp.Op, new, old *rp.Resource[Stored]) error {
	if err := s.named(new.ID); err != nil {
		return err
	}
	if why := enforced[strings.ToLower(s.Name)]; why != "" {
		return arm.NotImplemented("%s: %s.", s.Name, why)
	}
	if s.behaviour.secrets != nil {
		new.Properties.secrets = s.behaviour.secrets(new, old)
	}
	body := map[string]any{"name": new.ID.Name()}
	if len(new.Properties.tree) > 0 || s.empty() {
		body["properties"] = new.Properties.tree
		if new.Properties.tree == nil {
			body["properties"] = map[string]any{}
		}
	}
	if new.Kind != "" {
		body["kind"] = new.Kind
	}
	if len(new.SKU) > 0 {
		var v any
		if err := json.Unmarshal(new.SKU, &v); err != nil {
			return err
		}
		body["sku"] = v
	}
	out, err := s.Read(body, op == rp.Create)
	if f, ok := err.(*spec.Fault); ok {
		return s.refusal(f, new.ID)
	}
	if err != nil {
		return err
	}
	sent := new.Properties.tree
	new.Properties.tree, _ = out["properties"].(map[string]any)
	if s.behaviour.takes != nil {
		s.behaviour.takes(sent, new.Properties.tree)
	}
	for name := range new.Properties.secrets {
		delete(new.Properties.tree, name)
	}
	if kind, ok := out["kind"].(string); ok {
		new.Kind = kind
	}
	if sku := out["sku"]; sku != nil {
		if new.SKU, err = json.Marshal(sku); err != nil {
			return err
		}
	}
	if s.behaviour.validate != nil {
		return s.behaviour.validate(new, old)
	}
	return nil
}

// empty says that a body may be without properties: then it is read as if they were there and empty, for what they require.
func (s *specifiedType) empty() bool { return !s.Requires() && s.Has("properties") }

// codes are the error codes with which the services of a namespace refuse a body; others say BadRequest.
var codes = map[string]string{
	"microsoft.network": "InvalidRequestFormat", "microsoft.compute": "InvalidParameter", "microsoft.machinelearningservices": "ValidationError",
	"microsoft.sql": "InvalidParameterValue", "microsoft.containerservice": "InvalidParameter", "microsoft.storage": "InvalidRequestPropertyName",
	"microsoft.cognitiveservices": "InvalidRequestContent", "microsoft.eventgrid": "InvalidRequest", "microsoft.containerinstance": "InvalidRequestContent",
}

func (s *specifiedType) refusal(f *spec.Fault, id arm.ID) error {
	namespace, _, _ := strings.Cut(strings.ToLower(s.Name), "/")
	code := codes[namespace]
	if code == "" {
		code = "BadRequest"
	}
	if f.Rule == spec.Mistyped && namespace != "microsoft.network" {
		code = "InvalidRequestContent"
	}
	e := arm.Errorf(http.StatusBadRequest, code, "The request for resource '%s' is invalid: property '%s': %s.", id, f.Path, f.Text)
	e.Target = f.Path
	return e
}

func (s *specifiedType) admit(ctx context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Stored]) error {
	v := &new.Properties
	if v.tree == nil {
		v.tree = map[string]any{}
	}
	if old != nil {
		v.seed, v.created, v.rotated = old.Properties.seed, old.Properties.created, old.Properties.rotated
	} else {
		v.seed, v.created = secret(24), tx.Now.UTC()
	}
	if err := s.references(tx, new.ID, v.tree); err != nil {
		return err
	}
	if s.behaviour.children == nil || op == rp.Update {
		return nil
	}
	for name, tree := range s.behaviour.children {
		id := arm.MustParseID(new.ID.String() + "/" + name)
		child := &rp.Resource[Stored]{ID: id, Properties: Stored{tree: clone(tree), seed: secret(24), created: v.created}}
		if err := rp.Save(tx, child); err != nil {
			return err
		}
	}
	return nil
}

// references refuses ids of resources that are not there. What lies in the resource itself is no resource.
func (s *specifiedType) references(tx *rp.Tx, own arm.ID, v any) error {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			if err := s.references(tx, own, v[name]); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := s.references(tx, own, e); err != nil {
				return err
			}
		}
	case string:
		return s.reference(tx, own, v)
	}
	return nil
}

func (s *specifiedType) reference(tx *rp.Tx, own arm.ID, value string) error {
	id, ok := resourceID(value)
	if !ok || id.Within(own) {
		return nil
	}
	err := rp.Exists(tx, id)
	if e := arm.AsError(err); e == nil || e.Status != http.StatusNotFound {
		return err
	}
	if s.network {
		return refuse("InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, own)
	}
	return err
}

// resourceID is the resource that a value names.
func resourceID(value string) (arm.ID, bool) {
	if !strings.HasPrefix(strings.ToLower(value), "/subscriptions/") {
		return arm.ID{}, false
	}
	id, err := arm.ParseID(value)
	if err != nil || id.ResourceGroup() == "" || strings.EqualFold(id.Namespace(), "Microsoft.Authorization") || id.Type().Key() == "microsoft.resources/resourcegroups" {
		return arm.ID{}, false // a service makes the group that it manages
	}
	return id, true
}

// links are the permissions on what a resource is put into.
func (s *specifiedType) links(r *rp.Resource[Stored]) (links []rp.Link) {
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range sortedKeys(v) {
				walk(v[name])
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			id, ok := resourceID(v)
			if ok && slices.Contains(joined, id.Type().Key()) && !id.Within(r.ID) {
				links = append(links, rp.Link{Action: id.Type().String() + "/join/action", ID: id})
			}
		}
	}
	walk(r.Properties.tree)
	return links
}

// joined are types whose use asks for the right to join them.
var joined = []string{
	"microsoft.network/virtualnetworks/subnets", "microsoft.network/publicipaddresses", "microsoft.network/networksecuritygroups", "microsoft.network/networkinterfaces",
	"microsoft.network/publicipprefixes", "microsoft.network/natgateways", "microsoft.network/routetables", "microsoft.network/loadbalancers/backendaddresspools",
	"microsoft.network/applicationgateways/backendaddresspools", "microsoft.network/applicationgatewaywebapplicationfirewallpolicies", "microsoft.web/serverfarms",
}

// action answers what the service would have made up, and that there is no service for all else.
func (s *specifiedType) action(name string) rp.Action[Stored] {
	for _, l := range s.Lists() {
		if strings.EqualFold(l.Name, name) {
			return rp.Action[Stored]{Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Stored], _ []byte) (any, error) {
				return s.made(l, r), nil
			}}
		}
	}
	return unserved[Stored](nil, name)[name]
}
