// Package managementgroups is Microsoft.Management: the hierarchy of management groups over the subscriptions of the
// tenant, which roles, policies and deployments are inherited along.
package managementgroups

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
)

// The resource types.
const (
	GroupType        = "Microsoft.Management/managementGroups"
	SettingsType     = GroupType + "/settings"
	SubscriptionType = GroupType + "/subscriptions" // of no stored resource: a subscription's place

	prefix    = "/providers/" + GroupType + "/"
	maxDepth  = 6      // levels below the root ("Azure management groups: important facts")
	maxGroups = 10_000 // of a tenant
)

var versions = []string{
	"2017-11-01-preview", "2018-01-01-preview", "2018-03-01-preview", "2019-11-01", "2020-02-01", "2020-05-01", "2020-10-01",
	"2021-04-01", "2023-04-01", "2024-02-01-preview",
}

// Group is the properties of a management group (Management Groups REST: ManagementGroup). Of Details a client writes the
// parent only; Children and the rest of Details are filled for who asks ($expand).
type Group struct {
	TenantID    string   `json:"tenantId,omitempty" rp:"readonly"`
	DisplayName string   `json:"displayName,omitempty"`
	Details     *Details `json:"details,omitempty"`
	Children    []child  `json:"children,omitempty" rp:"readonly"`
}

// Details of a management group.
type Details struct {
	Version     int       `json:"version,omitempty" rp:"readonly"`
	UpdatedTime time.Time `json:"updatedTime,omitzero" rp:"readonly"`
	UpdatedBy   string    `json:"updatedBy,omitempty" rp:"readonly"`
	Parent      *Parent   `json:"parent,omitempty"` // nil for the root
	Path        []element `json:"path,omitempty" rp:"readonly"`
	Ancestors   []string  `json:"managementGroupAncestors,omitempty" rp:"readonly"`
	Chain       []element `json:"managementGroupAncestorsChain,omitempty" rp:"readonly"`
}

// Parent of a management group.
type Parent struct {
	ID          string `json:"id,omitempty"`
	Name        string `json:"name,omitempty" rp:"readonly"`
	DisplayName string `json:"displayName,omitempty" rp:"readonly"`
}

type element struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
}

type child struct {
	Type        string  `json:"type"`
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	DisplayName string  `json:"displayName"`
	Children    []child `json:"children,omitempty"`
}

// Config of a Provider.
type Config struct {
	TenantID string
	// Own makes the caller Owner of the group that it has created.
	Own func(tx *rp.Tx, group arm.ID, caller authz.Principal) error
}

// Provider is Microsoft.Management.
type Provider struct {
	cfg  Config
	root arm.ID
}

// New returns the provider. The tenant's id is the name of its root group.
func New(cfg Config) *Provider {
	return &Provider{cfg: cfg, root: arm.MustParseID(prefix + cfg.TenantID)}
}

// Types are the resource types and routes.
func (p *Provider) Types() []rp.Registration {
	return []rp.Registration{
		rp.Of(rp.Type[Group]{
			Name: GroupType, Kind: rp.Proxy, Versions: rp.Versions[Group](versions...), StateProperty: "-", CreateStatus: http.StatusOK, ListReadable: true,
			NamePattern: `^[A-Za-z0-9]([-\w.()]{0,88}[-\w()])?$`,
			NameRule:    "A management group's id has up to 90 letters, numbers, hyphens, underscores, periods and parentheses; it starts with a letter or number and does not end with a period.",
			Links:       p.moveLinks, Admit: p.admit, Present: p.present, Release: p.release, Erase: erase,
			CreateScope: p.createScope, PatchForm: patchForm,
		}),
		rp.Of(rp.Type[Settings]{
			Name: SettingsType, Kind: rp.Proxy, Versions: rp.Versions[Settings](versions...), StateProperty: "-", CreateStatus: http.StatusOK, SyncDelete: true,
			Admit: p.admitSettings,
		}),
		rp.Routes(p.routes()...),
	}
}

// Ensure makes the root group when it is not there.
func (p *Provider) Ensure(tx *rp.Tx) error {
	_, err := rp.Get[Group](tx, p.root)
	if e := arm.AsError(err); e == nil || e.Status != http.StatusNotFound {
		return err
	}
	return rp.Save(tx, &rp.Resource[Group]{ID: p.root, State: arm.Succeeded, Properties: Group{
		TenantID: p.cfg.TenantID, DisplayName: "Tenant Root Group", Details: &Details{Version: 1, UpdatedTime: tx.Now}}})
}

// Root is the scope of the tenant's root group.
func (p *Provider) Root() arm.ID { return p.root }

// parentOf is the group that the body of a write names, the zero ID when it names none.
func parentOf(g *Group) (arm.ID, error) {
	if g.Details == nil || g.Details.Parent == nil || g.Details.Parent.ID == "" {
		return arm.ID{}, nil
	}
	return groupID(g.Details.Parent.ID, "properties.details.parent.id")
}

func groupID(text, member string) (arm.ID, error) {
	id, err := arm.ParseID(text)
	if err != nil || !strings.EqualFold(id.Type().String(), GroupType) || id.Scope().Key() != "/" {
		return arm.ID{}, arm.Errorf(http.StatusBadRequest, "BadRequest", "%s: '%s' is not the id of a management group, %sNAME.", member, text, prefix)
	}
	return id, nil
}

// moveLinks: a group is put under a parent by who may write there; under the root by everybody who may write the group.
func (p *Provider) moveLinks(r *rp.Resource[Group]) []rp.Link {
	parent, err := parentOf(&r.Properties)
	if err != nil || parent.IsZero() || parent.Key() == p.root.Key() {
		return nil // what is no id, admit refuses
	}
	return []rp.Link{{Action: GroupType + "/write", ID: parent}}
}

// createScope: a new group needs the right to write at its parent, unless the settings let everybody create under the root.
func (p *Provider) createScope(tx *rp.Tx, _ arm.ID, body []byte) (arm.ID, error) {
	var sent struct {
		Properties Group `json:"properties"`
	}
	_ = json.Unmarshal(body, &sent) // what does not decode is refused after the role check
	parent, err := parentOf(&sent.Properties)
	if err != nil || parent.IsZero() {
		parent = p.root
	}
	if parent.Key() != p.root.Key() {
		return parent, nil
	}
	s, err := p.settings(tx)
	if err != nil || s.RequireAuthorization == nil || *s.RequireAuthorization {
		return parent, err
	}
	return arm.ID{}, nil
}

func (p *Provider) admit(_ context.Context, tx *rp.Tx, op rp.Op, new, old *rp.Resource[Group]) error {
	g := &new.Properties
	isRoot := new.ID.Key() == p.root.Key()
	parent, err := parentOf(g)
	if err != nil {
		return err
	}
	details := &Details{Version: 1, UpdatedTime: tx.Now, UpdatedBy: tx.Caller.ObjectID}
	if old != nil && old.Properties.Details != nil {
		details.Version, details.Parent = old.Properties.Details.Version+1, old.Properties.Details.Parent
	}
	t, err := p.tree(tx)
	if err != nil {
		return err
	}
	switch {
	case isRoot && !parent.IsZero():
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The root management group '%s' cannot be moved.", p.root.Name())
	case isRoot:
	case parent.IsZero() && details.Parent == nil:
		details.Parent = &Parent{ID: p.root.String()}
	case !parent.IsZero():
		above := t.groups[parent.Key()]
		if above == nil {
			return arm.Errorf(http.StatusNotFound, "NotFound", "properties.details.parent.id: '%s' not found", parent)
		}
		if err := t.fits(new.ID.Key(), above); err != nil {
			return err
		}
		details.Parent = &Parent{ID: above.id.String()}
	}
	if g.DisplayName == "" {
		g.DisplayName = new.ID.Name()
		if old != nil {
			g.DisplayName = old.Properties.DisplayName
		}
	}
	g.TenantID, g.Details, g.Children = p.cfg.TenantID, details, nil
	if op == rp.Update {
		return nil
	}
	if len(t.groups) > maxGroups { // with this one
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The tenant has %d management groups, the most that it may have.", maxGroups)
	}
	if p.cfg.Own == nil || tx.Caller.ObjectID == "" {
		return nil
	}
	return p.cfg.Own(tx, new.ID, tx.Caller)
}

// present fills what the query asks for; a listing shows names only.
func (p *Provider) present(ctx context.Context, tx *rp.Tx, r *rp.Resource[Group]) error {
	query := rp.Query(ctx)
	g := &r.Properties
	r.SystemData = arm.SystemData{}
	if query == nil {
		g.Details = nil
		return nil
	}
	t, err := p.tree(tx)
	if err != nil {
		return err
	}
	at := t.groups[r.ID.Key()]
	if at == nil || g.Details == nil {
		return nil
	}
	d := *g.Details
	g.Details = &d
	if at.parent != nil {
		d.Parent = &Parent{ID: at.parent.id.String(), Name: at.parent.id.Name(), DisplayName: at.parent.display}
	}
	var above []element // from the parent outwards
	for up := at.parent; up != nil; up = up.parent {
		above = append(above, element{up.id.Name(), up.display})
	}
	switch expand := strings.ToLower(query.Get("$expand")); expand {
	case "":
	case "children":
		all := strings.EqualFold(query.Get("$recurse"), "true")
		groupsOnly := strings.EqualFold(strings.ReplaceAll(query.Get("$filter"), "'", ""), "children.childType ne Subscription")
		g.Children = t.children(at, all, groupsOnly)
	case "path":
		for i := len(above) - 1; i >= 0; i-- {
			d.Path = append(d.Path, above[i])
		}
	case "ancestors":
		for _, e := range above {
			d.Ancestors = append(d.Ancestors, e.Name)
		}
		d.Chain = above
	default:
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The value '%s' of $expand is not children, path or ancestors.", expand)
	}
	return nil
}

func (p *Provider) release(_ context.Context, tx *rp.Tx, r *rp.Resource[Group]) error {
	if r.ID.Key() == p.root.Key() {
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The root management group '%s' cannot be deleted.", p.root.Name())
	}
	t, err := p.tree(tx)
	if err != nil {
		return err
	}
	if at := t.groups[r.ID.Key()]; at != nil && len(at.groups)+len(at.subscriptions) > 0 {
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The management group '%s' has %d child groups and %d subscriptions. Move them to another group before it is deleted.", r.ID.Name(), len(at.groups), len(at.subscriptions))
	}
	return nil
}

// erase takes the group out of the settings that name it.
func erase(_ context.Context, tx *rp.Tx, r *rp.Resource[Group]) error {
	all, err := rp.List[Settings](tx, SettingsType, arm.MustParseID("/"))
	if err != nil {
		return err
	}
	for _, s := range all {
		if strings.EqualFold(s.Properties.DefaultGroup, r.ID.String()) {
			s.Properties.DefaultGroup = ""
			if err := rp.Save(tx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// patchForm: a PATCH spells the members of the group flat ("PatchManagementGroupRequest").
func patchForm(patch []byte) ([]byte, error) {
	var sent struct {
		DisplayName *string `json:"displayName"`
		Parent      *string `json:"parentGroupId"`
	}
	if err := json.Unmarshal(patch, &sent); err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: displayName and parentGroupId are texts.")
	}
	properties := map[string]any{}
	if sent.DisplayName != nil {
		properties["displayName"] = *sent.DisplayName
	}
	if sent.Parent != nil {
		properties["details"] = map[string]any{"parent": map[string]any{"id": *sent.Parent}}
	}
	return json.Marshal(map[string]any{"properties": properties})
}
