// Package objects is the resource types that are object only: what Resource Manager does with them is done in full
// (validated, stored, listed, locked, governed, deployed), and the service behind them is not there. What would need it
// answers NotImplemented.
package objects

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatelink"
)

// Provider registers the types.
type Provider struct {
	links *privatelink.Links
	sizes any
}

// New makes the provider.
func New() *Provider { return &Provider{} }

// Use gives the provider the region's links, which know its registries as targets.
func (p *Provider) Use(l *privatelink.Links) { p.links = l }

// UseSizes gives the provider the list of virtual machine sizes, as Microsoft.Compute answers it.
func (p *Provider) UseSizes(list any) { p.sizes = list }

// object is one type: its name and its registration.
type object struct {
	name   string
	reg    rp.Registration
	served bool // its service is there: it is not object only
}

// served marks a type whose service another package is.
func served(o object) object {
	o.served = true
	return o
}

func of[T any](t rp.Type[T]) object { return object{name: t.Name, reg: rp.Of(t)} }

func (p *Provider) objects() []object {
	return slices.Concat(p.registries(), monitors(), []object{containerGroups()}, clusters(), p.machines(), []object{networkProfiles()}, storagePolicies())
}

// Types are the resource types and routes.
func (p *Provider) Types() (all []rp.Registration) {
	for _, o := range p.objects() {
		all = append(all, o.reg)
	}
	return append(all, p.registryRoutes(), containerRoutes(), clusterRoutes(), logsRoutes(), billingRoutes())
}

// Names are the object-only types, in alphabetical order.
func Names() (names []string) {
	for _, o := range New().objects() {
		if !o.served {
			names = append(names, o.name)
		}
	}
	slices.Sort(names)
	return names
}

// unserved are actions that need the service of a type.
func unserved[T any](actions map[string]rp.Action[T], names ...string) map[string]rp.Action[T] {
	if actions == nil {
		actions = map[string]rp.Action[T]{}
	}
	for _, name := range names {
		actions[name] = rp.Action[T]{Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[T], _ []byte) (any, error) {
			return nil, arm.NotImplemented("'%s' is not implemented: %s is object only. Its resources are validated, stored and deployed; the service that would do this is not part of the region.", name, r.ID.Type())
		}}
	}
	return actions
}

// done is the Reconcile of types whose writes are operations in Azure: nothing is left to do.
func done[T any](context.Context, *rp.Resource[T]) (rp.Result, error) { return rp.Result{}, nil }

// refuse is a 400.
func refuse(code, format string, args ...any) error {
	return arm.Errorf(http.StatusBadRequest, code, format, args...)
}

// oneOf gives value the spelling that it has among allowed, in which case does not count; an empty value stays so.
func oneOf(code, field string, value *string, allowed ...string) error {
	if *value == "" {
		return nil
	}
	for _, a := range allowed {
		if strings.EqualFold(a, *value) {
			*value = a
			return nil
		}
	}
	return refuse(code, "The value '%s' of '%s' is invalid. It must be one of %s.", *value, field, strings.Join(allowed, ", "))
}

// must refuses an absent value of a required member.
func must(code, field, value string) error {
	if value == "" {
		return refuse(code, "The required property '%s' is missing.", field)
	}
	return nil
}

// first is the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// otherwise sets what nobody set.
func otherwise[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func ptr[T any](v T) *T { return &v }

// secret is a random secret of n bytes in base64.
func secret(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// hostLabel is a random part of a host name.
func hostLabel() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// tagged is the Present of types that always show their tags.
func tagged[T any](_ context.Context, _ *rp.Tx, r *rp.Resource[T]) error {
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	return nil
}

// sku is the envelope's sku.
type sku struct {
	Name string `json:"name"`
	Tier string `json:"tier,omitempty"`
}

// skuOf reads the sku of a resource, which Resource Manager has checked to be an object; zero without one.
func skuOf[T any](r *rp.Resource[T]) (s sku) {
	_ = json.Unmarshal(r.SKU, &s) // mistyped members stay empty, and are refused as such
	return s
}

// live is the resource of an id that must be there, and not on its way out.
func live[T any](tx *rp.Tx, id arm.ID) (*rp.Resource[T], error) {
	r, err := rp.Get[T](tx, id)
	if err == nil && r.State == arm.Deleting {
		return nil, arm.NotFound(id)
	}
	return r, err
}

// created is the time of a creation, which later writes keep.
func created(t **time.Time, op rp.Op, now time.Time) {
	if op == rp.Create {
		*t = ptr(now.UTC())
	}
}
