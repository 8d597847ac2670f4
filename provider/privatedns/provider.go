// Package privatedns is Microsoft.Network/privateDnsZones: zones, their links to virtual networks, and their
// record sets; and Microsoft.Network/dnsZones, whose record sets are nearly the same. provider/network turns them
// into the resolver's model, and says who is registered in them.
package privatedns

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// The resource types.
const (
	ZoneType = "Microsoft.Network/privateDnsZones"
	LinkType = ZoneType + "/virtualNetworkLinks"
)

// family is what private and public zones have of their own.
type family struct {
	zone     string // type name
	versions []string
	kinds    []kind
	maxSets  int
	encode   func(kind, *RecordSet) (map[string]any, error)
}

var (
	privateFamily = &family{zone: ZoneType, versions: versions, kinds: kinds, maxSets: maxRecordSets, encode: encode}
	publicFamily  = &family{zone: PublicZoneType, versions: publicVersions, kinds: publicKinds, maxSets: maxPublicRecordSets, encode: encodePublic}
)

// familyOf is that of a zone or a record set.
func familyOf(id arm.ID) *family {
	if strings.EqualFold(id.Type().Types[0], "dnszones") {
		return publicFamily
	}
	return privateFamily
}

// set is the type of the record sets of a kind.
func (f *family) set(kind string) string { return f.zone + "/" + kind }

var versions = []string{"2018-09-01", "2020-01-01", "2020-06-01", "2024-06-01"}

// Syncer applies what is committed to the running resolvers.
type Syncer interface {
	// Sync returns when what was committed before the call is answered.
	Sync(ctx context.Context) error
}

// Config of a Provider.
type Config struct {
	Sync Syncer
	// VNetExists reports whether a virtual network of this id is stored and not being deleted.
	VNetExists func(tx *rp.Tx, id arm.ID) (bool, error)
}

// Provider of private DNS zones.
type Provider struct{ cfg Config }

// New makes the provider.
func New(cfg Config) *Provider { return &Provider{cfg: cfg} }

// Types are the registrations of all types of the provider.
func (p *Provider) Types() []rp.Registration {
	list := []rp.Registration{p.zoneType(), p.linkType(), p.publicZoneType(),
		rp.Routes(listAll(privateFamily, "ALL"), listAll(publicFamily, "all"), listAll(publicFamily, "recordsets")),
		rp.Operations(rp.Actions(ZoneType + "/join/action")...)}
	for _, k := range kinds {
		list = append(list, p.setType(privateFamily, k))
	}
	for _, k := range publicKinds {
		list = append(list, p.setType(publicFamily, k))
	}
	return list
}

// Ref is a reference to another resource.
type Ref struct {
	ID string `json:"id"`
}

// badRequest is what the service answers for most of what a client does wrong.
func badRequest(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
}

// tree is v as a client sees it in JSON.
func tree(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(b, &out)
}

// recordKey names a record among those of its set.
func recordKey(a netip.Addr, target string, numbers ...uint16) string {
	if a.IsValid() {
		return a.String()
	}
	return strings.TrimSpace(fmt.Sprint(numbers) + " " + target)
}

func notFound(err error) bool {
	e := arm.AsError(err)
	return e != nil && e.Status == http.StatusNotFound
}

var root = arm.MustParseID("/")

// applied is a Reconcile: the resource is done when the resolvers answer by it.
func applied[T any](p *Provider) func(context.Context, *rp.Resource[T]) (rp.Result, error) {
	return func(ctx context.Context, _ *rp.Resource[T]) (rp.Result, error) {
		return rp.Result{}, p.cfg.Sync.Sync(ctx)
	}
}

// labels reports whether name is a sequence of DNS labels; a wildcard may be the first.
func labels(name string) bool {
	for i, l := range strings.Split(name, ".") {
		if l == "*" && i == 0 {
			continue
		}
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
			return false
		}
		for _, c := range l {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return len(name) <= 253
}
