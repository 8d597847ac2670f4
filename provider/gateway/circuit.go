package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/network"
	"vauban.dev/store"
)

// The resource types of ExpressRoute.
const (
	CircuitType       = "Microsoft.Network/expressRouteCircuits"
	PeeringType       = CircuitType + "/peerings"
	AuthorizationType = CircuitType + "/authorizations"
)

// Circuit is the properties of an ExpressRoute circuit (Network REST: ExpressRouteCircuitPropertiesFormat).
type Circuit struct {
	ResourceGUID string           `json:"resourceGuid,omitempty" rp:"readonly"`
	Classic      bool             `json:"allowClassicOperations"`
	State        string           `json:"circuitProvisioningState" rp:"readonly"`
	Provider     string           `json:"serviceProviderProvisioningState" rp:"readonly"`
	ServiceKey   string           `json:"serviceKey,omitempty" rp:"readonly"`
	Properties   *ServiceProvider `json:"serviceProviderProperties,omitempty"`
	GlobalReach  bool             `json:"globalReachEnabled"`
	Port         *Ref             `json:"expressRoutePort,omitempty"`
}

// ServiceProvider is who lays a circuit, and where.
type ServiceProvider struct {
	Name      string `json:"serviceProviderName"`
	Location  string `json:"peeringLocation"`
	Bandwidth int    `json:"bandwidthInMbps"`
}

func (p *Provider) circuitType() rp.Registration {
	return rp.Of(rp.Type[Circuit]{
		Name: CircuitType, Kind: rp.Tracked, Versions: rp.Versions[Circuit](network.VersionsSince("2015-06-15")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Inline: map[string]string{"peerings": PeeringType, "authorizations": AuthorizationType},
		Default: func(_ string, r *rp.Resource[Circuit]) {
			if len(r.SKU) == 0 {
				r.SKU = json.RawMessage(`{"name":"Standard_MeteredData","tier":"Standard","family":"MeteredData"}`)
			}
		},
		Validate: validateCircuit,
		Admit: func(_ context.Context, _ *rp.Tx, op rp.Op, new, _ *rp.Resource[Circuit]) error {
			if op == rp.Create {
				new.Properties.ResourceGUID, new.Properties.ServiceKey = uuid.NewString(), uuid.NewString()
			}
			return nil
		},
		Reconcile: applied[Circuit](p),
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Circuit]) error {
			r.Properties.State, r.Properties.Provider = "Enabled", "NotProvisioned"
			_, ok, err := Attached(tx, r.ID)
			if ok {
				r.Properties.Provider = "Provisioned"
			}
			return err
		},
		Release:  releaseCircuit,
		Finalize: applied[Circuit](p),
	})
}

func validateCircuit(_ rp.Op, new, _ *rp.Resource[Circuit]) error {
	v := &new.Properties
	var sku struct{ Name, Tier, Family string }
	if err := json.Unmarshal(new.SKU, &sku); err != nil || sku.Tier == "" || sku.Family == "" {
		return bad("InvalidRequestFormat", "The sku of ExpressRoute circuit %s must have a tier and a family.", new.ID)
	}
	switch {
	case v.Port != nil:
		return arm.NotImplemented("ExpressRoute Direct is not implemented (expressRoutePort of %s).", new.ID)
	case v.GlobalReach:
		return arm.NotImplemented("Global Reach is not implemented (%s).", new.ID)
	case v.Properties == nil || v.Properties.Name == "" || v.Properties.Location == "" || v.Properties.Bandwidth <= 0:
		return bad("InvalidRequestFormat", "ExpressRoute circuit %s must have serviceProviderName, peeringLocation and bandwidthInMbps in serviceProviderProperties.", new.ID)
	}
	return nil
}

func releaseCircuit(_ context.Context, tx *rp.Tx, r *rp.Resource[Circuit]) error {
	users, err := connectionsOf(tx, r.ID)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return bad("InUseExpressRouteCircuitCannotBeDeleted", "ExpressRoute circuit %s cannot be deleted because it is in use by the following connections: %s.", r.ID, join(users))
	}
	if at, ok, err := Attached(tx, r.ID); err != nil || ok {
		return errors.Join(err, bad("ExpressRouteCircuitIsProvisioned", "ExpressRoute circuit %s cannot be deleted while its provider has it provisioned: it is attached to %s (`vauban expressroute detach`).", r.ID, at))
	}
	return nil
}

// attachKind says onto what a circuit is attached; key: lower-case circuit id.
const attachKind = "gateway/attached"

// Attach provisions a circuit, as its provider does: at says onto what it leads. An *arm.Error is 404.
func Attach(tx *rp.Tx, circuit arm.ID, at string) error {
	r, err := rp.Get[Circuit](tx, circuit)
	if err != nil {
		return err
	}
	b, err := json.Marshal(at)
	if err != nil {
		return err
	}
	tx.Wake(r.ID)
	_, err = tx.Put(attachKind, r.ID.Key(), b, store.Any)
	return err
}

// Detach ends what Attach did; a circuit that is not attached is no error.
func Detach(tx *rp.Tx, circuit arm.ID) error {
	tx.Wake(circuit)
	if err := tx.Delete(attachKind, circuit.Key(), store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// Attached is onto what a circuit leads.
func Attached(tx *rp.Tx, circuit arm.ID) (at string, ok bool, err error) {
	d, err := tx.Get(attachKind, circuit.Key())
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	return at, true, json.Unmarshal(d.Value, &at)
}

// Peering is the properties of a circuit's peering (ExpressRouteCircuitPeeringPropertiesFormat).
type Peering struct {
	Kind      string `json:"peeringType"`
	State     string `json:"state"`
	AzureASN  uint32 `json:"azureASN"`
	PeerASN   uint32 `json:"peerASN"`
	Primary   string `json:"primaryPeerAddressPrefix"`
	Secondary string `json:"secondaryPeerAddressPrefix"`
	VLAN      int    `json:"vlanId"`
	SharedKey string `json:"sharedKey,omitempty" rp:"secret"`
}

const (
	privatePeering = "AzurePrivatePeering"
	microsoftASN   = 12076 // of Microsoft's side of every circuit
)

func (p *Provider) peeringType() rp.Registration {
	return rp.Of(rp.Type[Peering]{
		Name: PeeringType, Kind: rp.Proxy, Versions: rp.Versions[Peering](network.VersionsSince("2015-06-15")...), ShowETag: true,
		Default: func(_ string, r *rp.Resource[Peering]) {
			v := &r.Properties
			spell(&v.Kind, privatePeering, "MicrosoftPeering", "AzurePublicPeering")
			if v.Kind == "" {
				v.Kind = r.ID.Name()
			}
			v.State, v.AzureASN = "Enabled", microsoftASN
		},
		Validate:  validatePeering,
		Reconcile: applied[Peering](p),
		Release:   releasePeering,
		Finalize:  applied[Peering](p),
	})
}

func validatePeering(_ rp.Op, new, _ *rp.Resource[Peering]) error {
	v := &new.Properties
	switch {
	case v.Kind != privatePeering:
		return arm.NotImplemented("Peering %s is of type %s; only AzurePrivatePeering is implemented.", new.ID, clip(v.Kind))
	case !strings.EqualFold(new.ID.Name(), privatePeering):
		return bad("InvalidRequestFormat", "A peering has the name of its type: %s, not %s.", privatePeering, new.ID.Name())
	case v.SharedKey != "":
		return arm.NotImplemented("MD5 signatures of BGP are not implemented (sharedKey of %s).", new.ID)
	case v.PeerASN == 0:
		return bad("InvalidRequestFormat", "peerASN of %s is missing.", new.ID)
	case v.VLAN < 1 || v.VLAN > 4094:
		return bad("InvalidRequestFormat", "vlanId of %s must be 1 to 4094.", new.ID)
	}
	for name, text := range map[string]string{"primaryPeerAddressPrefix": v.Primary, "secondaryPeerAddressPrefix": v.Secondary} {
		pre, err := netip.ParsePrefix(text)
		if err != nil || !pre.Addr().Is4() || pre.Bits() != 30 || pre.Masked() != pre {
			return bad("InvalidRequestFormat", "%s of %s is '%s'; it must be an IPv4 prefix of /30, for example 192.168.15.16/30.", name, new.ID, clip(text))
		}
	}
	return nil
}

// releasePeering lets a peering go with its circuit, whose own Release says what uses that.
func releasePeering(ctx context.Context, tx *rp.Tx, r *rp.Resource[Peering]) error {
	if rp.Removing(ctx).Key() != r.ID.Key() {
		return nil
	}
	users, err := connectionsOf(tx, r.ID.Parent())
	if err != nil || len(users) == 0 {
		return err
	}
	return bad("InUseExpressRouteCircuitPeeringCannotBeDeleted", "Peering %s cannot be deleted because its circuit is in use by the following connections: %s.", r.ID, join(users))
}

// ends are the two addresses of the primary link: the first is the customer's, the second Microsoft's.
// https://learn.microsoft.com/azure/expressroute/expressroute-routing
func (v *Peering) ends() (customer, microsoft netip.Prefix, err error) {
	pre, err := netip.ParsePrefix(v.Primary)
	if err != nil {
		return customer, microsoft, err
	}
	one := pre.Masked().Addr().Next()
	return netip.PrefixFrom(one, pre.Bits()), netip.PrefixFrom(one.Next(), pre.Bits()), nil
}

// privatePeeringOf is the private peering of a circuit, nil for none.
func privatePeeringOf(tx *rp.Tx, circuit arm.ID) (*Peering, error) {
	r, err := rp.Get[Peering](tx, circuit.Child("peerings", privatePeering))
	if err != nil && arm.AsError(err).Status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil || r.State == arm.Deleting {
		return nil, err
	}
	return &r.Properties, nil
}

// CustomerAddress is what the device at a circuit's other end gets; invalid for one without a private peering.
func CustomerAddress(tx *rp.Tx, circuit arm.ID) (netip.Prefix, error) {
	v, err := privatePeeringOf(tx, circuit)
	if v == nil || err != nil {
		return netip.Prefix{}, err
	}
	customer, _, err := v.ends()
	return customer, err
}

// Authorization lets another subscription's gateway use a circuit (AuthorizationPropertiesFormat).
type Authorization struct {
	Key       string `json:"authorizationKey,omitempty" rp:"readonly"`
	UseStatus string `json:"authorizationUseStatus,omitempty" rp:"readonly"`
}

func (p *Provider) authorizationType() rp.Registration {
	return rp.Of(rp.Type[Authorization]{
		Name: AuthorizationType, Kind: rp.Proxy, Versions: rp.Versions[Authorization](network.VersionsSince("2015-06-15")...), ShowETag: true,
		NamePattern: namePattern, NameRule: nameRule,
		Admit: func(_ context.Context, _ *rp.Tx, op rp.Op, new, _ *rp.Resource[Authorization]) error {
			if op == rp.Create {
				new.Properties.Key = uuid.NewSHA1(uuid.New(), []byte(rand.Text())).String()
			}
			return nil
		},
		Present: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Authorization]) error {
			used, err := r.Properties.usedBy(tx, r.ID.Parent())
			r.Properties.UseStatus = "Available"
			if used != "" {
				r.Properties.UseStatus = "InUse"
			}
			return err
		},
	})
}

// usedBy is the connection that was made with the authorization.
func (v *Authorization) usedBy(tx *rp.Tx, circuit arm.ID) (string, error) {
	users, err := connectionsOf(tx, circuit)
	if err != nil {
		return "", err
	}
	for _, c := range users {
		if c.Properties.AuthorizationKey == v.Key {
			return c.ID.String(), nil
		}
	}
	return "", nil
}

// admitCircuit checks a connection to a circuit: provisioned, with a private peering, not used by another, and
// of this subscription or authorised.
func (v *Connection) admitCircuit(tx *rp.Tx, id arm.ID) error {
	c, err := live[Circuit](tx, v.Peer, id)
	if err != nil {
		return err
	}
	if _, ok, err := Attached(tx, c.ID); err != nil || !ok {
		return errors.Join(err, bad("ExpressRouteCircuitNotProvisioned", "ExpressRoute circuit %s is not provisioned by its provider yet, so %s cannot use it: `vauban expressroute attach` provisions it.", c.ID, id))
	}
	peering, err := privatePeeringOf(tx, c.ID)
	if err != nil {
		return err
	}
	if peering == nil {
		return bad("ExpressRouteCircuitPeeringNotFound", "ExpressRoute circuit %s has no private peering for %s.", c.ID, id)
	}
	users, err := connectionsOf(tx, c.ID)
	if err != nil {
		return err
	}
	for _, o := range users {
		if o.ID.Key() != id.Key() {
			return arm.NotImplemented("Several connections of one circuit are not implemented: %s has %s.", c.ID, o.ID)
		}
	}
	if v.AuthorizationKey == "" && strings.EqualFold(c.ID.Subscription(), id.Subscription()) {
		return nil
	}
	list, err := rp.List[Authorization](tx, AuthorizationType, c.ID)
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Properties.Key == v.AuthorizationKey && a.State != arm.Deleting {
			return nil
		}
	}
	return bad("ExpressRouteAuthorizationNotFound", "The authorizationKey of %s is of no authorization of %s.", id, c.ID)
}

// circuitStats is the body of a circuit's statistics (ExpressRouteCircuitStats).
type circuitStats struct {
	PrimaryIn    uint64 `json:"primarybytesIn"`
	PrimaryOut   uint64 `json:"primarybytesOut"`
	SecondaryIn  uint64 `json:"secondarybytesIn"`
	SecondaryOut uint64 `json:"secondarybytesOut"`
}

func (p *Provider) circuitRoutes() []rp.Route {
	const circuit = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + CircuitType + "/{name}"
	stats := func(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
		id, err := arm.ParseID(fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", path["subscription"], path["group"], CircuitType, path["name"]))
		if err != nil {
			return nil, err
		}
		if _, err := rp.Get[Circuit](tx, id); err != nil {
			return nil, err
		}
		var s circuitStats
		users, err := connectionsOf(tx, id)
		for _, c := range users {
			w := p.cfg.Wire.Circuit(tunnelName(c.ID))
			s.PrimaryIn, s.PrimaryOut = s.PrimaryIn+w.In, s.PrimaryOut+w.Out
		}
		return s, err
	}
	versions := network.VersionsSince("2015-06-15")
	return []rp.Route{
		{Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/Microsoft.Network/expressRouteServiceProviders", Permission: "Microsoft.Network/expressRouteServiceProviders/read", Versions: versions, Do: serviceProviders},
		{Method: http.MethodGet, Pattern: circuit + "/stats", Permission: CircuitType + "/stats/read", Versions: versions, Do: stats},
		{Method: http.MethodGet, Pattern: circuit + "/peerings/{peering}/stats", Permission: PeeringType + "/stats/read", Versions: versions, Do: stats},
	}
}

// bandwidths are those that circuits have, in Mbit/s.
// https://learn.microsoft.com/azure/expressroute/expressroute-introduction
var bandwidths = []struct {
	name string
	mbps int
}{{"50Mbps", 50}, {"100Mbps", 100}, {"200Mbps", 200}, {"500Mbps", 500}, {"1Gbps", 1000}, {"2Gbps", 2000}, {"5Gbps", 5000}, {"10Gbps", 10000}}

// serviceProviders lists who lays circuits here: this machine. Circuits may name any other.
func serviceProviders(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
	const name = "Vauban"
	offered := []map[string]any{}
	for _, b := range bandwidths {
		offered = append(offered, map[string]any{"offerName": b.name, "valueInMbps": b.mbps})
	}
	return values[any]{Value: []any{map[string]any{
		"name": name, "id": "/subscriptions//resourceGroups//providers/Microsoft.Network/expressRouteServiceProviders/", "type": "Microsoft.Network/expressRouteServiceProviders",
		"properties": map[string]any{"peeringLocations": []string{"This machine"}, "bandwidthsOffered": offered, "provisioningState": string(arm.Succeeded)},
	}}}, nil
}
