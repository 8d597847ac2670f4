package machinelearning

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// RegisteredModel is a model as a registry of models shows it: the ARM resource workspaces/models.
type RegisteredModel struct {
	Name        string
	Description string
	Tags        map[string]string
	Aliases     map[string]string // to versions
	Created     time.Time
	Updated     time.Time
}

// RegisteredVersion is one version of a model: the ARM resource workspaces/models/versions.
type RegisteredVersion struct {
	Name        string
	Version     string
	Description string
	Source      string // where its files are, as who registered it named it: runs:/…, azureml://…, a blob URL
	RunID       string
	User        string
	Stage       string // Staging, Production, Archived; "" for none
	LoggedModel string // id of the logged model that it is
	Tags        map[string]string
	Created     time.Time
	Updated     time.Time
}

const (
	modelType = WorkspaceType + "/models"
	// sourceProperty keeps the source of a version that came by MLflow; modelUri has the place it means.
	sourceProperty = "mlflow.modelSourceUri"
	// loggedProperty keeps the id of the logged model that a version is.
	loggedProperty = "mlflow.loggedModelId"
)

var assetNames = regexp.MustCompile(assetName)

// modelID is the id of a model of the workspace, which must exist; 400 for a name that none can have.
func modelID(tx *rp.Tx, workspace arm.ID, name string) (arm.ID, error) {
	if !assetNames.MatchString(name) {
		return arm.ID{}, userError("'%s' cannot name a model: names start with a letter or digit and contain letters, digits, dots, hyphens and underscores.", name)
	}
	w, err := rp.Get[Workspace](tx, workspace)
	if err != nil {
		return arm.ID{}, err
	}
	if w.State == arm.Deleting {
		return arm.ID{}, arm.Errorf(http.StatusConflict, "UserError", "The workspace '%s' is being deleted.", workspace.Name())
	}
	return w.ID.Child("models", name), nil
}

func showModel(r *rp.Resource[AssetContainer]) RegisteredModel {
	return RegisteredModel{
		Name: r.ID.Name(), Description: r.Properties.Description, Tags: maps.Clone(r.Properties.Tags), Aliases: maps.Clone(r.Properties.Aliases),
		Created: r.SystemData.CreatedAt, Updated: r.SystemData.LastModifiedAt,
	}
}

func showModelVersion(r *rp.Resource[AssetVersion]) RegisteredVersion {
	v := &r.Properties
	return RegisteredVersion{
		Name: r.ID.Parent().Name(), Version: r.ID.Name(), Description: v.Description, Source: modelSource(v), RunID: v.JobName,
		Stage: v.Stage, LoggedModel: v.Attributes[loggedProperty], User: r.SystemData.CreatedBy, Tags: maps.Clone(v.Tags), Created: r.SystemData.CreatedAt, Updated: r.SystemData.LastModifiedAt,
	}
}

// CreateModel registers a model; 409 when it exists.
func (p *Provider) CreateModel(ctx context.Context, workspace arm.ID, m RegisteredModel) (out RegisteredModel, err error) {
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		id, err := modelID(tx, workspace, m.Name)
		if err != nil {
			return err
		}
		if _, err := rp.Get[AssetContainer](tx, id); err == nil {
			return arm.Errorf(http.StatusConflict, "UserError", "Registered Model (name=%s) already exists.", m.Name)
		} else if !isNotFound(err) {
			return err
		}
		r, err := saveModel(tx, id, m.Description, m.Tags)
		if err != nil {
			return err
		}
		out = showModel(r)
		return nil
	})
	return out, err
}

func saveModel(tx *rp.Tx, id arm.ID, description string, tags map[string]string) (*rp.Resource[AssetContainer], error) {
	r := &rp.Resource[AssetContainer]{ID: id, State: arm.Succeeded, Properties: AssetContainer{Description: description, Tags: maps.Clone(tags)}}
	fillModel(&r.Properties)
	return r, rp.Save(tx, r)
}

func fillModel(c *AssetContainer) { fill(&c.Tags, &c.Attributes) }

// Model returns a registered model; 404.
func (p *Provider) Model(ctx context.Context, workspace arm.ID, name string) (out RegisteredModel, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		id, err := modelID(tx, workspace, name)
		if err != nil {
			return err
		}
		r, err := rp.Get[AssetContainer](tx, id)
		if err != nil {
			return err
		}
		out = showModel(r)
		return nil
	})
	return out, err
}

// Models lists the registered models of a workspace that are not archived, by name.
func (p *Provider) Models(ctx context.Context, workspace arm.ID) (out []RegisteredModel, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		rs, err := rp.List[AssetContainer](tx, modelType, workspace)
		for _, r := range rs {
			if !r.Properties.IsArchived {
				out = append(out, showModel(r))
			}
		}
		return err
	})
	return out, err
}

// CreateVersion registers the next version of a model, which it makes when it is missing.
func (p *Provider) CreateVersion(ctx context.Context, workspace arm.ID, v RegisteredVersion) (out RegisteredVersion, err error) {
	err = p.engine.Update(ctx, func(tx *rp.Tx) error {
		id, err := modelID(tx, workspace, v.Name)
		if err != nil {
			return err
		}
		if _, err := rp.Get[AssetContainer](tx, id); isNotFound(err) {
			_, err = saveModel(tx, id, "", nil)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		vs, err := rp.List[AssetVersion](tx, modelType+"/versions", id)
		if err != nil {
			return err
		}
		next := 1
		for _, o := range vs {
			if n, err := strconv.Atoi(o.ID.Name()); err == nil {
				next = max(next, n+1)
			}
		}
		r, err := newModelVersion(id.Child("versions", strconv.Itoa(next)), workspace, v)
		if err != nil {
			return err
		}
		if err := rp.Save(tx, r); err != nil {
			return err
		}
		out = showModelVersion(r)
		return nil
	})
	return out, err
}

func newModelVersion(id, workspace arm.ID, v RegisteredVersion) (*rp.Resource[AssetVersion], error) {
	place, err := modelPlace(workspace, v.Source)
	if err != nil {
		return nil, err
	}
	r := &rp.Resource[AssetVersion]{ID: id, State: arm.Succeeded, Properties: AssetVersion{
		Description: v.Description, Tags: maps.Clone(v.Tags), ModelURI: place, ModelType: "mlflow_model", JobName: v.RunID,
	}}
	fill(&r.Properties.Tags, &r.Properties.Attributes)
	r.Properties.Attributes[sourceProperty] = v.Source
	if v.LoggedModel != "" {
		r.Properties.Attributes[loggedProperty] = v.LoggedModel
	}
	return r, nil
}

// Version returns one version of a model; 404.
func (p *Provider) Version(ctx context.Context, workspace arm.ID, name, version string) (out RegisteredVersion, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		id, err := modelID(tx, workspace, name)
		if err != nil {
			return err
		}
		if !assetNames.MatchString(version) {
			return userError("'%s' cannot be a version.", version)
		}
		r, err := rp.Get[AssetVersion](tx, id.Child("versions", version))
		if err != nil {
			return err
		}
		out = showModelVersion(r)
		return nil
	})
	return out, err
}

// Versions lists the versions of one model, or with "" of all, that are not archived, the newest first.
func (p *Provider) Versions(ctx context.Context, workspace arm.ID, name string) (out []RegisteredVersion, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		scope := workspace
		if name != "" {
			var err error
			if scope, err = modelID(tx, workspace, name); err != nil {
				return err
			}
			if _, err := rp.Get[AssetContainer](tx, scope); err != nil {
				return err
			}
		}
		rs, err := rp.List[AssetVersion](tx, modelType+"/versions", scope)
		for _, r := range rs {
			if !r.Properties.IsArchived {
				out = append(out, showModelVersion(r))
			}
		}
		return err
	})
	newestFirst(out)
	return out, err
}

func newestFirst(vs []RegisteredVersion) {
	slices.SortStableFunc(vs, func(a, b RegisteredVersion) int {
		x, _ := strconv.Atoi(a.Version)
		y, _ := strconv.Atoi(b.Version)
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(y, x))
	})
}
