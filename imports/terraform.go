package imports

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tfFile is what terraform show -json writes ("JSON Output Format"): of a plan planned_values and the configuration, of a
// state values.
type tfFile struct {
	Planned       *tfValues `json:"planned_values"`
	Values        *tfValues `json:"values"`
	Configuration struct {
		Root tfConfig `json:"root_module"`
	} `json:"configuration"`
}

type tfValues struct {
	Root tfModule `json:"root_module"`
}

type tfModule struct {
	Resources []tfResource `json:"resources"`
	Children  []tfModule   `json:"child_modules"`
}

type tfResource struct {
	Address string         `json:"address"`
	Mode    string         `json:"mode"`
	Type    string         `json:"type"`
	Values  map[string]any `json:"values"`
}

type tfConfig struct {
	Resources []struct {
		Address     string         `json:"address"`
		Expressions map[string]any `json:"expressions"`
	} `json:"resources"`
	Calls map[string]struct {
		Module tfConfig `json:"module"`
	} `json:"module_calls"`
}

// plan is a file while it is mapped.
type plan struct {
	file        *File
	resources   map[string]*tfResource    // by address
	expressions map[string]map[string]any // of the configuration, by address without indices
	ids         map[string]string         // by address
	byID        map[string]int            // place in file.Resources
	working     map[string]bool
}

func readTerraform(data []byte) (*File, error) {
	var f tfFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("what terraform show -json writes cannot be read: %w", err)
	}
	values := f.Planned
	if values == nil {
		values = f.Values
	}
	if values == nil {
		return nil, fmt.Errorf("the file has neither planned_values nor values: write it by `terraform show -json PLANFILE` or `terraform show -json`")
	}
	p := &plan{file: &File{Form: Terraform}, resources: map[string]*tfResource{}, expressions: map[string]map[string]any{}, ids: map[string]string{}, byID: map[string]int{}, working: map[string]bool{}}
	var order []string
	var walk func(m tfModule)
	walk = func(m tfModule) {
		for i := range m.Resources {
			r := &m.Resources[i]
			p.resources[r.Address] = r
			order = append(order, r.Address)
		}
		for _, c := range m.Children {
			walk(c)
		}
	}
	walk(values.Root)
	p.configured("", f.Configuration.Root)
	for _, address := range order {
		p.add(p.resources[address])
	}
	for _, address := range order { // associations: once all are there
		r := p.resources[address]
		if join := associations[r.Type]; join != nil && r.Mode == "managed" {
			if why := join(p, r); why != "" {
				p.unmapped(r, why)
			}
		}
	}
	return p.file, nil
}

func (p *plan) configured(prefix string, c tfConfig) {
	for _, r := range c.Resources {
		p.expressions[prefix+r.Address] = r.Expressions
	}
	for name, call := range c.Calls {
		p.configured(prefix+"module."+name+".", call.Module)
	}
}

func (p *plan) unmapped(r *tfResource, why string) {
	p.file.Unmapped = append(p.file.Unmapped, Unmapped{r.Address, r.Type, why})
}

// add maps a resource.
func (p *plan) add(r *tfResource) {
	if r.Mode != "managed" || associations[r.Type] != nil {
		return
	}
	v := &values{p: p, r: r, known: true}
	id, ok := p.id(r.Address)
	var out *Resource
	var why string
	switch m := mappings[r.Type]; {
	case strings.HasPrefix(r.Type, "azapi_"):
		out, why = azapi(v, id)
	case m == nil:
		why = "this type of the provider is not mapped: use the azapi provider, or export an ARM template"
	case !ok:
		why = "its id does not follow from the plan: a name in it is not known before it is made"
	default:
		out = &Resource{ID: id, Type: m.typ, Version: m.version, Body: m.body(v)}
	}
	if out == nil {
		p.unmapped(r, why)
		return
	}
	out.From, out.Known = r.Address, v.known
	if at, twice := p.byID[strings.ToLower(out.ID)]; twice {
		p.file.Resources[at] = *out
		return
	}
	p.byID[strings.ToLower(out.ID)] = len(p.file.Resources)
	p.file.Resources = append(p.file.Resources, *out)
}

// id is that of a resource: as the state has it, or made of its name and those of what it is in.
func (p *plan) id(address string) (string, bool) {
	if id, done := p.ids[address]; done {
		return id, id != ""
	}
	r := p.resources[address]
	if r == nil || p.working[address] {
		return "", false
	}
	p.working[address] = true
	defer delete(p.working, address)
	id, _ := r.Values["id"].(string)
	if !strings.HasPrefix(id, "/subscriptions/") {
		id = ""
		v := &values{p: p, r: r, known: true}
		if m := mappings[r.Type]; m != nil {
			id = m.id(v)
		} else if r.Type == "azapi_resource" {
			id = azapiID(v)
		}
	}
	p.ids[address] = id
	return id, id != ""
}

// values are those of a resource.
type values struct {
	p     *plan
	r     *tfResource
	known bool // nothing was missing so far
}

func (v *values) text(name string) string {
	s, _ := v.r.Values[name].(string)
	if s == "" {
		s = v.referred(v.expression(name))
	}
	return s
}

// expression is what the configuration says of an attribute that has no value yet.
func (v *values) expression(path ...string) any {
	address := v.r.Address
	if i := strings.LastIndexByte(address, '['); i > 0 && strings.HasSuffix(address, "]") {
		address = address[:i]
	}
	var e any = v.p.expressions[address]
	for _, part := range path {
		switch x := e.(type) {
		case map[string]any:
			e = x[part]
		case []any:
			if len(x) == 0 {
				return nil
			}
			m, _ := x[0].(map[string]any)
			e = m[part]
		}
	}
	return e
}

// referred follows a reference to the id or the name of another resource of the plan.
func (v *values) referred(e any) string {
	m, _ := e.(map[string]any)
	references, _ := m["references"].([]any)
	prefix := ""
	if i := strings.LastIndex(v.r.Address, v.r.Type+"."); i > 0 {
		prefix = v.r.Address[:i]
	}
	for _, ref := range references {
		s, _ := ref.(string)
		for _, attribute := range []string{"id", "name"} {
			address, ok := strings.CutSuffix(s, "."+attribute)
			target := v.p.resources[prefix+address]
			if !ok || target == nil {
				continue
			}
			if attribute == "name" {
				name, _ := target.Values["name"].(string)
				return name
			}
			id, _ := v.p.id(prefix + address)
			return id
		}
	}
	return ""
}

// ref is an id that another resource must have.
func (v *values) ref(name string) any {
	id := v.text(name)
	if id == "" {
		v.known = v.known && v.r.Values[name] == nil && v.expression(name) == nil
		return nil
	}
	return map[string]any{"id": id}
}

func (v *values) list(name string) []any {
	l, _ := v.r.Values[name].([]any)
	return l
}

// block is the first of a list of blocks.
func block(m map[string]any, name string) map[string]any {
	switch x := m[name].(type) {
	case []any:
		if len(x) > 0 {
			b, _ := x[0].(map[string]any)
			return b
		}
	case map[string]any:
		return x
	}
	return nil
}

// group is the id of the resource group that an attribute names.
func (v *values) group() string {
	name := v.text("resource_group_name")
	if name == "" {
		return ""
	}
	return "/subscriptions/" + Subscription + "/resourceGroups/" + name
}

// in is an id in a group, or in another resource.
func in(scope, path, name string) string {
	if scope == "" || name == "" {
		return ""
	}
	return scope + path + name
}

// set puts what is said into an object.
func set(o map[string]any, name string, v any) {
	switch x := v.(type) {
	case nil:
		return
	case string:
		if x == "" {
			return
		}
	case []any:
		if len(x) == 0 {
			return
		}
	case map[string]any:
		if len(x) == 0 {
			return
		}
	}
	o[name] = v
}

// tracked is the envelope of a tracked resource.
func (v *values) tracked(properties map[string]any) map[string]any {
	body := map[string]any{"properties": properties}
	set(body, "location", strings.ToLower(strings.ReplaceAll(v.text("location"), " ", "")))
	set(body, "tags", v.r.Values["tags"])
	set(body, "zones", v.r.Values["zones"])
	if i := block(v.r.Values, "identity"); i != nil {
		set(body, "identity", identityOf(i))
	}
	return body
}

func identityOf(i map[string]any) map[string]any {
	out := map[string]any{"type": i["type"]}
	users, _ := i["identity_ids"].([]any)
	ids := map[string]any{}
	for _, u := range users {
		if s, ok := u.(string); ok {
			ids[s] = map[string]any{}
		}
	}
	set(out, "userAssignedIdentities", ids)
	return out
}

// azapi_resource says what Azure is sent.
func azapi(v *values, id string) (*Resource, string) {
	if v.r.Type != "azapi_resource" {
		return nil, "it changes a resource, or asks for something: only azapi_resource says a whole one"
	}
	typ, version, ok := strings.Cut(v.text("type"), "@")
	if !ok || id == "" {
		return nil, "its type or its id does not follow from the plan"
	}
	body := map[string]any{}
	switch b := v.r.Values["body"].(type) {
	case string:
		if err := json.Unmarshal([]byte(b), &body); err != nil {
			return nil, "its body is no JSON object"
		}
	case map[string]any:
		body = maps.Clone(b)
	default:
		v.known = false
	}
	for _, k := range []string{"location", "tags"} {
		set(body, k, v.r.Values[k])
	}
	if i := block(v.r.Values, "identity"); i != nil {
		set(body, "identity", identityOf(i))
	}
	return &Resource{ID: id, Type: typ, Version: version, Body: body}, ""
}

func azapiID(v *values) string {
	typ, _, _ := strings.Cut(v.text("type"), "@")
	parent := v.text("parent_id")
	namespace, types, ok := strings.Cut(typ, "/")
	if !ok || parent == "" {
		return ""
	}
	if strings.EqualFold(typ, "Microsoft.Resources/resourceGroups") {
		return in(parent, "/resourceGroups/", v.text("name"))
	}
	if i := strings.LastIndexByte(types, '/'); i >= 0 {
		return in(parent, types[i:]+"/", v.text("name"))
	}
	return in(parent, "/providers/"+namespace+"/"+types+"/", v.text("name"))
}

// MappedTypes are the types of the azurerm provider that are mapped.
func MappedTypes() []string {
	all := slices.Collect(maps.Keys(mappings))
	for t := range associations {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}
