package machinelearning

import (
	"context"
	"maps"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/locks"
)

// UpdateModel changes description, tags and aliases of a model, and description, tags and stages of its versions, by f in one
// transaction; 404. The versions come the newest first.
func (p *Provider) UpdateModel(ctx context.Context, workspace arm.ID, name string, f func(*RegisteredModel, []RegisteredVersion) error) error {
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		r, vs, err := modelAndVersions(tx, workspace, name)
		if err != nil {
			return err
		}
		m, shown := showModel(r), make([]RegisteredVersion, 0, len(vs))
		for _, v := range vs {
			shown = append(shown, showModelVersion(v))
		}
		newestFirst(shown)
		if err := f(&m, shown); err != nil {
			return err
		}
		for i := range shown {
			if err := saveVersion(tx, vs[shown[i].Version], &shown[i]); err != nil {
				return err
			}
		}
		c := &r.Properties
		c.Description, c.Tags, c.Aliases = m.Description, maps.Clone(m.Tags), m.Aliases
		return rp.Save(tx, r)
	})
}

func saveVersion(tx *rp.Tx, r *rp.Resource[AssetVersion], v *RegisteredVersion) error {
	o := &r.Properties
	if o.Description == v.Description && o.Stage == v.Stage && maps.Equal(o.Tags, v.Tags) {
		return nil
	}
	o.Description, o.Stage, o.Tags = v.Description, v.Stage, maps.Clone(v.Tags)
	return rp.Save(tx, r)
}

// modelAndVersions are a model and its versions by their number, without those that are archived.
func modelAndVersions(tx *rp.Tx, workspace arm.ID, name string) (*rp.Resource[AssetContainer], map[string]*rp.Resource[AssetVersion], error) {
	id, err := modelID(tx, workspace, name)
	if err != nil {
		return nil, nil, err
	}
	r, err := rp.Get[AssetContainer](tx, id)
	if err != nil {
		return nil, nil, err
	}
	list, err := rp.List[AssetVersion](tx, modelType+"/versions", id)
	vs := map[string]*rp.Resource[AssetVersion]{}
	for _, v := range list {
		if !v.Properties.IsArchived {
			vs[v.ID.Name()] = v
		}
	}
	return r, vs, err
}

// DeleteVersion removes one version of a model and the aliases that name it, and with the last version the model; 404.
func (p *Provider) DeleteVersion(ctx context.Context, workspace arm.ID, name, version string) error {
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		r, vs, err := modelAndVersions(tx, workspace, name)
		if err != nil {
			return err
		}
		v := vs[version]
		if v == nil {
			return arm.Errorf(404, "UserError", "Model Version (name=%s, version=%s) not found", name, version)
		}
		if err := rp.CheckLocks(tx, locks.Delete, v.ID); err != nil {
			return err
		}
		if err := rp.Remove(tx, v.ID); err != nil {
			return err
		}
		left, err := rp.List[AssetVersion](tx, modelType+"/versions", r.ID) // archived ones too
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return rp.Remove(tx, r.ID)
		}
		maps.DeleteFunc(r.Properties.Aliases, func(_, at string) bool { return at == version })
		return rp.Save(tx, r)
	})
}
