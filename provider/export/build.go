package export

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// options of an export (ExportTemplateRequest).
type options struct {
	defaults bool // IncludeParameterDefaultValue
	comments bool // IncludeComments
	names    bool // SkipResourceNameParameterization
	literal  bool // SkipAllParameterization
	bicep    bool
}

// definition of a parameter.
type definition struct {
	name, typ string
	value     any
	fixed     bool // its default stands whatever the options say
}

// builder makes a template of resources.
type builder struct {
	options    options
	types      map[string]rp.TypeInfo // by lower-case name
	byID       map[string]*item
	fields     map[string]map[string]bool
	apart      []*item // embedded resources that must stand alone
	parameters []definition
}

var notWord = regexp.MustCompile(`[^A-Za-z0-9]+`)

// parameterName is Azure's form: virtualNetworks_hub_name.
func (b *builder) parameterName(id arm.ID, suffix string) string {
	types := id.Type().Types
	return strings.Trim(notWord.ReplaceAllString(types[len(types)-1]+"_"+strings.Join(id.Names(), "_"), "_"), "_") + "_" + suffix
}

// define adds a parameter once.
func (b *builder) define(name, typ string, value any, fixed bool) {
	if !slices.ContainsFunc(b.parameters, func(d definition) bool { return d.name == name }) {
		b.parameters = append(b.parameters, definition{name, typ, value, fixed})
	}
}

// documents are what is to be exported, and why some of it is not.
func build(docs []*rp.Document, types map[string]rp.TypeInfo, o options) (*template, []*arm.Error) {
	b := &builder{options: o, types: types, byID: map[string]*item{}, fields: map[string]map[string]bool{}}
	var refused []*arm.Error
	var all []*item
	automatic := zoneGroupRecords(docs)
	for _, d := range docs {
		if why := left(d, types, automatic); why != "" {
			if why != silent {
				refused = append(refused, &arm.Error{Code: "ExportTemplateProviderError", Target: d.ID.String(), Message: why})
			}
			continue
		}
		x := &item{id: d.ID, info: types[strings.ToLower(d.Type)], version: d.Version, body: d.Body}
		b.byID[d.ID.Key()] = x
		all = append(all, x)
	}
	slices.SortFunc(all, func(x, y *item) int { return strings.Compare(x.id.Key(), y.id.Key()) })
	for _, x := range all {
		for at := x.id.Parent(); x.parent == nil && at.Namespace() != ""; at = at.Parent() {
			x.parent = b.byID[at.Key()]
		}
		b.name(x)
	}
	for i := 0; i < len(all); i++ { // embedded resources that must stand alone are added on the way
		b.fill(all[i])
		for _, x := range b.apart {
			b.name(x)
			all = append(all, x)
		}
		b.apart = nil
	}
	list, circles := sorted(all)
	for _, x := range circles {
		refused = append(refused, &arm.Error{Code: "ExportTemplateProviderError", Target: x.id.String(), Message: "The resource and another need each other: the template does not say which comes first."})
	}
	return &template{parameters: b.parameters, items: list, options: o}, refused
}

// name makes the names of a resource, of which the first is a parameter.
func (b *builder) name(x *item) {
	x.needs = map[*item]bool{}
	if x.parent != nil {
		x.needs[x.parent] = true
		x.name = slices.Clone(x.parent.name)
		for _, n := range x.id.Names()[len(x.parent.id.Names()):] {
			x.name = append(x.name, n)
		}
		return
	}
	for i, n := range x.id.Names() {
		if i > 0 || b.options.names || b.options.literal {
			x.name = append(x.name, n)
			continue
		}
		root := rootOf(x.id)
		p := b.parameterName(root, "name")
		b.define(p, "String", n, false)
		x.name = append(x.name, parameter{p})
	}
}

// fill makes what the template says of a resource.
func (b *builder) fill(x *item) {
	for _, k := range envelope {
		v := x.body[k]
		if v == nil {
			continue
		}
		if k == "identity" {
			v = writable(v)
		}
		x.shown = append(x.shown, member{k, b.keys(b.stripped(v, rp.TypeInfo{}, k, x), x)})
	}
	properties, _ := b.stripped(x.body["properties"], x.info, "", x).(object)
	for _, f := range x.info.Fields {
		if f.Secret && !f.ReadOnly && !strings.Contains(f.Path, "[*]") {
			properties = b.secret(properties, strings.Split(f.Path, "."), f, x)
		}
	}
	if len(properties) > 0 || x.body["properties"] != nil {
		x.shown = append(x.shown, member{"properties", properties})
	}
}

// secret puts a parameter where clients write a secret, if the object that has it is there: whoever deploys says it.
func (b *builder) secret(o object, path []string, f rp.Field, of *item) object {
	if len(path) == 1 {
		p := b.parameterName(of.id, strings.ReplaceAll(f.Path, ".", "_"))
		b.define(p, secureType(f.Type), nil, true)
		return append(o, member{path[0], parameter{p}})
	}
	for i, m := range o {
		if inner, ok := m.value.(object); ok && m.key == path[0] {
			o[i].value = b.secret(inner, path[1:], f, of)
		}
	}
	return o
}

func secureType(t string) string {
	if t == "Object" {
		return "SecureObject"
	}
	return "SecureString"
}

// writable is an identity without what the platform says of it.
func writable(v any) any {
	m, _ := v.(map[string]any)
	out := map[string]any{}
	if m["type"] != nil {
		out["type"] = m["type"]
	}
	if users, ok := m["userAssignedIdentities"].(map[string]any); ok {
		ids := map[string]any{}
		for id := range users {
			ids[id] = map[string]any{}
		}
		out["userAssignedIdentities"] = ids
	}
	return out
}

// keys makes references of the keys that are ids.
func (b *builder) keys(v any, of *item) any {
	o, ok := v.(object)
	if !ok {
		return v
	}
	for i := range o {
		if s, ok := o[i].key.(string); ok {
			o[i].key = b.text(s, of)
		}
		o[i].value = b.keys(o[i].value, of)
	}
	return o
}

// silent is why of what nobody misses: it comes with another resource.
const silent = "-"

// left says why a resource is not exported, "" of one that is.
func left(d *rp.Document, types map[string]rp.TypeInfo, automatic map[string]bool) string {
	info, properties := types[strings.ToLower(d.Type)], map[string]any{}
	if p, ok := d.Body["properties"].(map[string]any); ok {
		properties = p
	}
	key := strings.ToLower(d.Type)
	parent := types[strings.ToLower(d.ID.Parent().Type().String())]
	switch {
	case d.Kind == rp.Extension, key == "microsoft.resources/resourcegroups", strings.HasSuffix(key, "/privateendpointconnections"), strings.HasPrefix(key, "microsoft.policyinsights/"):
		return silent
	case slices.ContainsFunc(slices.Collect(maps.Values(parent.Inline)), func(child string) bool { return strings.EqualFold(child, d.Type) }):
		return silent // its parent says it
	case key == "microsoft.network/networkinterfaces" && (properties["privateEndpoint"] != nil || properties["privateLinkService"] != nil):
		return silent // its private endpoint makes it
	case key == "microsoft.network/networkwatchers" && strings.HasPrefix(strings.ToLower(d.ID.Name()), "networkwatcher_"):
		return silent
	case strings.HasPrefix(key, "microsoft.network/privatednszones/") && (strings.HasSuffix(key, "/soa") || properties["isAutoRegistered"] == true || automatic[strings.ToLower(d.ID.String())]):
		return silent
	case strings.HasPrefix(key, "microsoft.machinelearningservices/workspaces/") && key != "microsoft.machinelearningservices/workspaces/computes":
		if key == "microsoft.machinelearningservices/workspaces/datastores" && strings.HasPrefix(strings.ToLower(d.ID.Name()), "workspace") {
			return silent
		}
		return fmt.Sprintf("Resources of the type '%s' are data of their workspace and are not exported.", d.Type)
	case info.NoPut:
		return silent
	case d.State == arm.Failed:
		return "The resource has failed: it is not exported."
	}
	return ""
}

// zoneGroupRecords are the record sets that zone groups of private endpoints keep.
func zoneGroupRecords(docs []*rp.Document) map[string]bool {
	found := map[string]bool{}
	for _, d := range docs {
		if !strings.EqualFold(d.Type, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups") {
			continue
		}
		properties, _ := d.Body["properties"].(map[string]any)
		configs, _ := properties["privateDnsZoneConfigs"].([]any)
		for _, c := range configs {
			config, _ := c.(map[string]any)
			p, _ := config["properties"].(map[string]any)
			sets, _ := p["recordSets"].([]any)
			for _, s := range sets {
				set, _ := s.(map[string]any)
				found[strings.ToLower(fmt.Sprintf("%v/%v/%v", p["privateDnsZoneId"], set["recordType"], set["recordSetName"]))] = true
			}
		}
	}
	return found
}
