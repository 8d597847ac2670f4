package managementgroups

import (
	"context"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Settings is the properties of a hierarchy's settings (Management Groups REST: HierarchySettings).
type Settings struct {
	TenantID             string `json:"tenantId,omitempty" rp:"readonly"`
	RequireAuthorization *bool  `json:"requireAuthorizationForGroupCreation,omitempty"`
	DefaultGroup         string `json:"defaultManagementGroup,omitempty"`
}

func (p *Provider) settings(tx *rp.Tx) (Settings, error) {
	r, err := rp.Get[Settings](tx, p.root.Child("settings", "default"))
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return Settings{}, nil
	}
	if err != nil {
		return Settings{}, err
	}
	return r.Properties, nil
}

func (p *Provider) admitSettings(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Settings]) error {
	s := &new.Properties
	switch {
	case new.ID.Name() != "default":
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "The settings of a hierarchy are named default, not '%s'.", new.ID.Name())
	case new.ID.Parent().Key() != p.root.Key():
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "Settings can only be set on the root management group of the hierarchy, '%s'.", p.root.Name())
	}
	s.TenantID = p.cfg.TenantID
	if s.DefaultGroup == "" {
		return nil
	}
	id, err := groupID(s.DefaultGroup, "properties.defaultManagementGroup")
	if err != nil {
		return err
	}
	g, err := rp.Get[Group](tx, id)
	if err != nil {
		return err
	}
	s.DefaultGroup = g.ID.String()
	return nil
}
