// Package template reads Azure Resource Manager templates ("ARM template structure and syntax"): parameters and types,
// variables, copy loops, conditions, nested templates, references, outputs. It knows no store and no network: what a
// template asks of a region comes from a Host, what it makes of a template is a Deployment, a graph of resources.
package template

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
)

// Limits of a template ("Azure Resource Manager limits").
const (
	maxParameters = 256
	maxVariables  = 512
	maxOutputs    = 64
	maxResources  = 800
	maxCopies     = 800
	maxBody       = 4 << 20
	maxRepeated   = 4_000_000 // our own: Azure bounds the template that the loops make, compressed
)

// ScopeKind is what a deployment is made at.
type ScopeKind string

// The scopes of deployments.
const (
	ResourceGroup   ScopeKind = "resourceGroup"
	Subscription    ScopeKind = "subscription"
	ManagementGroup ScopeKind = "managementGroup"
	Tenant          ScopeKind = "tenant"
)

// Scope is where a deployment is made.
type Scope struct {
	Kind ScopeKind
	ID   string // "/" for the tenant
	// Subscription, Group and ManagementGroup are the names in ID.
	Subscription, Group, ManagementGroup string
	Tenant                               string
}

// ScopeOf is the scope that an id names.
func ScopeOf(id arm.ID, tenant string) Scope {
	s := Scope{ID: id.String(), Subscription: id.Subscription(), Group: id.ResourceGroup(), ManagementGroup: id.ManagementGroup(), Tenant: tenant}
	switch {
	case s.Group != "":
		s.Kind = ResourceGroup
	case s.Subscription != "":
		s.Kind = Subscription
	case s.ManagementGroup != "":
		s.Kind = ManagementGroup
	default:
		s.Kind, s.ID = Tenant, "/"
	}
	return s
}

// Host is what a template asks of the region while it is deployed. Errors are *arm.Error.
type Host interface {
	// Read is a resource as a GET answers it.
	Read(ctx context.Context, id, version string) (*expr.Object, error)
	// List is the answer of a list* function.
	List(ctx context.Context, id, function, version string, body any) (any, error)
	// Default is an api-version of the type; "" when it is not known.
	Default(resourceType string) string
	// Secret is the value of a secret that a parameter refers to.
	Secret(ctx context.Context, vault, name, version string) (string, error)
	// Facts are the objects of resourceGroup(), subscription(), tenant(), managementGroup(), environment(), deployer();
	// nil when there is none.
	Facts(ctx context.Context, what, scope string) (*expr.Object, error)
	// Providers is the answer of the function providers.
	Providers(ctx context.Context, namespace, resourceType string) (*expr.Object, error)
}

// Source is what is deployed.
type Source struct {
	Template   *expr.Object
	Parameters *expr.Object // name to an object with value, reference or expression
	// Resolved are parameters by value, from an earlier reading: they are taken as they are.
	Resolved *expr.Object
	Scope    Scope
	Name     string
	Location string
	// Link is what deployment().properties.templateLink shows; nil for a template in the request.
	Link *expr.Object
	Now  func() time.Time
	GUID func() string
}

// invalid is the refusal of a template.
func invalid(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: '%s'.", fmt.Sprintf(format, args...))
}

// unprocessable is the refusal of an expression of something in the template.
func unprocessable(what string, err error) error {
	var e *expr.Error
	if !errors.As(err, &e) {
		return err
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Unable to process template language expressions for %s. '%s'", what, e.Message)
}

// Template is a template whose form has been checked.
type Template struct {
	root       *expr.Object
	schema     string
	symbolic   bool // languageVersion 2.0: resources by symbolic name, types
	parameters *expr.Object
	variables  *expr.Object
	outputs    *expr.Object
	types      *expr.Object
	functions  map[string]*userFunction // by lower-case namespace.name
	resources  any                      // []any or *expr.Object
	asserts    *expr.Object
}

var sections = map[string]bool{
	"$schema": true, "contentversion": true, "languageversion": true, "apiprofile": true, "definitions": true, "parameters": true, "functions": true,
	"variables": true, "resources": true, "outputs": true, "metadata": true, "asserts": true, "imports": true, "extensions": true,
}

// Parse checks the form of a template.
func Parse(root *expr.Object) (*Template, error) {
	t := &Template{root: root, schema: root.Text("$schema")}
	for name := range root.All() {
		if !sections[strings.ToLower(name)] {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template parse failed: 'Could not find member '%s' on object of type 'Template'. Path '%s'.'.", name, name)
		}
	}
	if t.schema == "" {
		return nil, parseFailed("Required property '$schema' not found in JSON. Path ''.")
	}
	if kind := schemaKind(t.schema); kind == "" {
		return nil, parseFailed(fmt.Sprintf("Error converting value \"%s\" to type 'System.Uri' of a known deployment template schema. Path '$schema'.", t.schema))
	}
	if v, ok := root.Lookup("contentVersion"); !ok {
		return nil, parseFailed("Required property 'contentVersion' not found in JSON. Path ''.")
	} else if s, _ := v.(string); !contentVersion(s) {
		return nil, parseFailed("The value of 'contentVersion' must have the form '1.0.0.0'. Path 'contentVersion'.")
	}
	version := root.Text("languageVersion")
	switch version {
	case "", "1.0":
	case "2.0", "1.9-experimental", "1.10-experimental", "2.1-experimental", "2.2-experimental":
		t.symbolic = true
	default:
		return nil, invalid("The language version '%s' is not supported. The supported versions are '1.0, 2.0'.", version)
	}
	for name, to := range map[string]**expr.Object{"parameters": &t.parameters, "variables": &t.variables, "outputs": &t.outputs, "definitions": &t.types, "asserts": &t.asserts} {
		v, _ := root.Lookup(name)
		o, ok := v.(*expr.Object)
		if v != nil && !ok {
			return nil, parseFailed(fmt.Sprintf("The value of '%s' must be an object, it is of type '%s'. Path '%s'.", name, expr.TypeOf(v), name))
		}
		*to = o
		if o == nil {
			*to = expr.NewObject(0)
		}
	}
	if v, _ := root.Lookup("imports"); v != nil {
		return nil, arm.NotImplemented("Imports of extensions in templates are not implemented.")
	}
	if v, _ := root.Lookup("extensions"); v != nil {
		return nil, arm.NotImplemented("Extensions in templates are not implemented.")
	}
	for _, limit := range []struct {
		what string
		n    int
		max  int
	}{{"parameters", t.parameters.Len(), maxParameters}, {"variables", t.variables.Len(), maxVariables}, {"outputs", t.outputs.Len(), maxOutputs}} {
		if limit.n > limit.max {
			return nil, invalid("The number of template %s limit exceeded. Limit: '%d' and actual: '%d'", limit.what, limit.max, limit.n)
		}
	}
	var ok bool
	t.resources, ok = root.Lookup("resources")
	if !ok || t.resources == nil {
		if !ok && !t.symbolic {
			return nil, parseFailed("Required property 'resources' not found in JSON. Path ''.")
		}
		t.resources = []any{}
	}
	switch t.resources.(type) {
	case []any:
	case *expr.Object:
		t.symbolic = true
	default:
		return nil, parseFailed(fmt.Sprintf("The value of 'resources' must be an array, it is of type '%s'. Path 'resources'.", expr.TypeOf(t.resources)))
	}
	var err error
	t.functions, err = userFunctions(root)
	return t, err
}

func parseFailed(why string) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template parse failed: '%s'.", why)
}

// schemaKind is the scope for which a schema is, "" for an unknown one.
func schemaKind(schema string) ScopeKind {
	s := strings.ToLower(strings.TrimSuffix(schema, "#"))
	s = s[strings.LastIndexByte(s, '/')+1:]
	switch s {
	case "deploymenttemplate.json":
		return ResourceGroup
	case "subscriptiondeploymenttemplate.json":
		return Subscription
	case "managementgroupdeploymenttemplate.json":
		return ManagementGroup
	case "tenantdeploymenttemplate.json":
		return Tenant
	}
	return ""
}

func contentVersion(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return false
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
