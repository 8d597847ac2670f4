// Package privatelink is the target's side of Private Link: the privateEndpointConnections and
// privateLinkResources of a storage account, a vault, a workspace. The endpoint's side is in
// provider/network. (Azure: "Private Endpoint and Private Link REST API for resource providers".)
package privatelink

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Record is what a private DNS zone must hold for one name of a member: an A record Name in Zone.
type Record struct{ Zone, Name string }

// Member is one address that an endpoint gets: the names that must lead to it, as clients ask for them,
// and the records by which a privatelink zone makes them do so.
type Member struct {
	GroupID string   `json:"groupId"`
	Name    string   `json:"name"`
	FQDNs   []string `json:"fqdns"`
	Records []Record `json:"records"`
}

// Group is a sub-resource that can be linked (blob, vault, amlworkspace).
type Group struct {
	ID      string
	Zones   []string // requiredZoneNames
	Members []Member
}

// Target describes one resource type that can stand behind private endpoints.
type Target struct {
	Type     string   // Microsoft.Storage/storageAccounts
	Versions []string // api-versions of the children
	// Whole: the resource is linked as a whole. It has one group without an id, endpoints name none, and its
	// connections have link identifiers.
	Whole bool
	// Groups of the resource id, or arm.NotFound, also for one that is being deleted: a connection that came
	// under it now would never go.
	Groups func(tx *rp.Tx, id arm.ID) ([]Group, error)
	// Singular: the service writes actionRequired where others write actionsRequired.
	Singular bool
	// Shows: the service shows the ETag of a connection, and a deleted one in the answer of its DELETE.
	Shows bool
}

// Live returns a target's resource for its Groups: arm.NotFound when there is none or it is being deleted.
func Live[T any](tx *rp.Tx, id arm.ID) (*rp.Resource[T], error) {
	r, err := rp.Get[T](tx, id)
	if err == nil && r.State == arm.Deleting {
		return nil, arm.NotFound(id)
	}
	return r, err
}

// State of a connection, as both sides show it.
type State struct {
	Status          string `json:"status"` // Pending, Approved, Rejected, Disconnected
	Description     string `json:"description,omitempty"`
	ActionsRequired string `json:"actionsRequired,omitempty"`
	// ActionRequired is how a Singular target spells it.
	ActionRequired string `json:"actionRequired,omitempty"`
}

// spelled is the state as a target spells it.
func (s State) spelled(singular bool) State {
	action := cmp.Or(s.ActionsRequired, s.ActionRequired, "None")
	s.ActionsRequired, s.ActionRequired = action, ""
	if singular {
		s.ActionsRequired, s.ActionRequired = "", action
	}
	return s
}

// Connection is the properties of a privateEndpointConnections resource.
type Connection struct {
	PrivateEndpoint Ref      `json:"privateEndpoint" rp:"readonly"`
	GroupIDs        []string `json:"groupIds,omitempty" rp:"readonly"`
	State           State    `json:"privateLinkServiceConnectionState"`
	// LinkID tells connections to a private link service apart (proxy protocol).
	LinkID string `json:"linkIdentifier,omitempty" rp:"readonly"`
}

// Ref is a reference by id.
type Ref struct {
	ID string `json:"id"`
}

// Links knows all targets of the region.
type Links struct{ targets map[string]Target }

// New returns the links of these targets.
func New(targets ...Target) *Links {
	l := &Links{targets: map[string]Target{}}
	for _, t := range targets {
		l.targets[strings.ToLower(t.Type)] = t
	}
	return l
}

// Available are the types of all targets, in order.
func (l *Links) Available() []string {
	types := make([]string, 0, len(l.targets))
	for _, t := range l.targets {
		types = append(types, t.Type)
	}
	slices.Sort(types)
	return types
}

// Connection of an endpoint to a target, for the endpoint's side.
type Link struct {
	Name    string // of the privateEndpointConnections resource
	State   State
	Members []Member // of the linked groups, in the order addresses are given
}

// Connect makes (or finds) the connection of endpoint to the groups of target. Manual connections wait
// for approval; automatic ones are approved, the door has checked the caller's permission for it. Errors:
// 404 for the target, 400 for a group that it does not have or a type that cannot be linked.
func (l *Links) Connect(tx *rp.Tx, target arm.ID, groups []string, endpoint arm.ID, message string, manual bool) (Link, error) {
	members, err := l.members(tx, target, groups)
	if err != nil {
		return Link{}, err
	}
	id := connectionID(target, endpoint)
	c, err := rp.Get[Connection](tx, id)
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		state := State{Status: "Approved", Description: "Auto-Approved"}
		if manual {
			state = State{Status: "Pending", Description: message}
		}
		state = state.spelled(l.targets[target.Type().Key()].Singular)
		c = &rp.Resource[Connection]{ID: id, State: arm.Succeeded, Properties: Connection{
			PrivateEndpoint: Ref{ID: endpoint.String()}, GroupIDs: groups, State: state}}
		if l.targets[target.Type().Key()].Whole {
			c.Properties.GroupIDs, c.Properties.LinkID = nil, linkID(id)
		}
		err = rp.Save(tx, c)
	}
	if err != nil {
		return Link{}, err
	}
	return Link{Name: id.Name(), State: c.Properties.State.spelled(false), Members: members}, nil
}

func (l *Links) members(tx *rp.Tx, target arm.ID, groups []string) ([]Member, error) {
	t, ok := l.targets[target.Type().Key()]
	if !ok {
		return nil, arm.Errorf(http.StatusBadRequest, "PrivateLinkServiceTypeNotSupported", "Resource type '%s' of '%s' cannot be the target of a private endpoint.", target.Type(), target)
	}
	have, err := t.Groups(tx, target)
	if err != nil {
		return nil, err
	}
	if t.Whole {
		return have[0].Members, nil
	}
	var out []Member
	for _, want := range groups {
		i := slices.IndexFunc(have, func(g Group) bool { return strings.EqualFold(g.ID, want) })
		if i < 0 {
			var ids []string
			for _, g := range have {
				ids = append(ids, g.ID)
			}
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidPrivateLinkServiceGroupId", "Group id '%s' is not a sub-resource of '%s'. It has: %s.", want, target, strings.Join(ids, ", "))
		}
		out = append(out, have[i].Members...)
	}
	if len(out) == 0 {
		return nil, arm.Errorf(http.StatusBadRequest, "MissingParameterOnPrivateLinkServiceConnection", "A private link service connection to '%s' is missing required parameter 'group Id'.", target)
	}
	return out, nil
}

// Disconnect removes the connection of an endpoint that is deleted.
func (l *Links) Disconnect(tx *rp.Tx, target, endpoint arm.ID) error {
	if _, ok := l.targets[target.Type().Key()]; !ok {
		return nil
	}
	return rp.Remove(tx, connectionID(target, endpoint))
}

// Names are the host names that lead to a sub-resource of target; the first label of one may be a wildcard.
func (l *Links) Names(tx *rp.Tx, target arm.ID, group string) (names []string, err error) {
	members, err := l.members(tx, target, []string{group})
	for _, m := range members {
		names = append(names, m.FQDNs...)
	}
	return names, err
}

// Connected reports whether the sub-resource of target has an approved or pending connection: from then on
// its public name goes through the privatelink zone.
func (l *Links) Connected(tx *rp.Tx, target arm.ID, group string) (bool, error) {
	cs, err := Connections(tx, target)
	return slices.ContainsFunc(cs, func(c *rp.Resource[Connection]) bool {
		live := c.Properties.State.Status == "Approved" || c.Properties.State.Status == "Pending"
		return live && slices.ContainsFunc(c.Properties.GroupIDs, func(g string) bool { return strings.EqualFold(g, group) })
	}), err
}

// Approvals counts the approved connections of a target.
func Approvals(tx *rp.Tx, target arm.ID) (n int, err error) {
	cs, err := Connections(tx, target)
	for _, c := range cs {
		if c.Properties.State.Status == "Approved" {
			n++
		}
	}
	return n, err
}

// Connections lists the connections of a target.
func Connections(tx *rp.Tx, target arm.ID) ([]*rp.Resource[Connection], error) {
	return rp.List[Connection](tx, target.Type().String()+"/privateEndpointConnections", target)
}

// Approved reports whether endpoint is connected to target and approved.
func Approved(tx *rp.Tx, target, endpoint arm.ID) (bool, error) {
	c, err := rp.Get[Connection](tx, connectionID(target, endpoint))
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return c.Properties.State.Status == "Approved", nil
}

// connectionID is stable for a pair, so that a retried Connect finds what it made.
func connectionID(target, endpoint arm.ID) arm.ID {
	h := sha256.Sum256([]byte(target.Key() + " " + endpoint.Key()))
	return target.Child("privateEndpointConnections", endpoint.Name()+"."+hex.EncodeToString(h[:16]))
}

// linkID is a number for a connection, as Azure's are: 32 bits in decimal.
func linkID(connection arm.ID) string {
	h := sha256.Sum256([]byte(connection.Key()))
	return strconv.FormatUint(uint64(binary.LittleEndian.Uint32(h[:])), 10)
}

// Types are the resource types of all targets.
func (l *Links) Types() []rp.Registration {
	var regs []rp.Registration
	for _, t := range l.targets {
		regs = append(regs, rp.Of(rp.Type[Connection]{
			Name:     t.Type + "/privateEndpointConnections",
			Kind:     rp.Proxy,
			Versions: rp.Versions[Connection](t.Versions...),
			// The clients of storage and of machine learning take 200 and 204 for a DELETE, nothing else.
			SyncDelete: true, ShowDeleted: t.Shows, ShowETag: t.Shows,
			Default: func(_ string, r *rp.Resource[Connection]) {
				r.Properties.State = r.Properties.State.spelled(t.Singular)
			},
			Validate: validate,
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Connection]) error {
				if op == rp.Create {
					return arm.Errorf(http.StatusNotFound, "PrivateEndpointConnectionNotFound", "The private endpoint connection '%s' was not found. Connections are made by creating a private endpoint.", new.ID.Name())
				}
				return wakeEndpoint(tx, new)
			},
			Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Connection]) error { return wakeEndpoint(tx, r) },
		}))
	}
	return regs
}

func validate(_ rp.Op, new, _ *rp.Resource[Connection]) error {
	switch new.Properties.State.Status {
	case "Approved", "Rejected", "Pending", "Disconnected":
		return nil
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "properties.privateLinkServiceConnectionState.status must be Approved, Rejected, Pending or Disconnected, not '%s'.", new.Properties.State.Status)
}

// wakeEndpoint has the endpoint look at its connection again: approval, rejection and removal change
// whether its addresses answer.
func wakeEndpoint(tx *rp.Tx, c *rp.Resource[Connection]) error {
	id, err := arm.ParseID(c.Properties.PrivateEndpoint.ID)
	if err != nil {
		return err
	}
	tx.Wake(id)
	return nil
}

// linkResource is a group as services show it.
type linkResource struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Properties struct {
		GroupID           string   `json:"groupId"`
		RequiredMembers   []string `json:"requiredMembers"`
		RequiredZoneNames []string `json:"requiredZoneNames"`
	} `json:"properties"`
}

func (l *Links) resources(tx *rp.Tx, target arm.ID) ([]linkResource, error) {
	groups, err := l.targets[target.Type().Key()].Groups(tx, target)
	if err != nil {
		return nil, err
	}
	value := []linkResource{}
	for _, g := range groups {
		r := linkResource{ID: target.String() + "/privateLinkResources/" + g.ID, Name: g.ID, Type: target.Type().String() + "/privateLinkResources"}
		r.Properties.GroupID, r.Properties.RequiredZoneNames, r.Properties.RequiredMembers = g.ID, append([]string{}, g.Zones...), []string{}
		for _, m := range g.Members {
			r.Properties.RequiredMembers = append(r.Properties.RequiredMembers, m.Name)
		}
		value = append(value, r)
	}
	return value, nil
}

// Resources is the answer of GET {target}/privateLinkResources.
func (l *Links) Resources(tx *rp.Tx, target arm.ID) (any, error) {
	value, err := l.resources(tx, target)
	if err != nil {
		return nil, err
	}
	return map[string]any{"value": value}, nil
}

// Resource is the answer of GET {target}/privateLinkResources/{name}.
func (l *Links) Resource(tx *rp.Tx, target arm.ID, name string) (any, error) {
	value, err := l.resources(tx, target)
	if err != nil {
		return nil, err
	}
	for _, r := range value {
		if strings.EqualFold(r.Name, name) {
			return r, nil
		}
	}
	return nil, arm.NotFound(target.Child("privateLinkResources", name))
}

// Present is the privateEndpointConnections property of a target's answer.
func Present(tx *rp.Tx, target arm.ID) ([]any, error) {
	cs, err := Connections(tx, target)
	if err != nil || len(cs) == 0 {
		return nil, err
	}
	out := make([]any, len(cs))
	for i, c := range cs {
		properties := map[string]any{
			"provisioningState": c.State, "privateEndpoint": c.Properties.PrivateEndpoint, "privateLinkServiceConnectionState": c.Properties.State,
		}
		if c.Properties.LinkID != "" {
			properties["linkIdentifier"] = c.Properties.LinkID
		} else {
			properties["groupIds"] = c.Properties.GroupIDs
		}
		out[i] = map[string]any{"id": c.ID.String(), "name": c.ID.Name(), "type": c.ID.Type().String(), "properties": properties}
	}
	return out, nil
}
