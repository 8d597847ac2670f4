package mlflow

import (
	"context"
	"strconv"
	"time"

	"vauban.dev/arm"
	"vauban.dev/ml"
)

// Models are the registered models of a workspace: Resource Manager's models and their versions. Errors
// are *arm.Error.
type Models interface {
	CreateModel(ctx context.Context, workspace arm.ID, m Model) (Model, error)
	Model(ctx context.Context, workspace arm.ID, name string) (Model, error)
	Models(ctx context.Context, workspace arm.ID) ([]Model, error)
	// CreateVersion registers the next version of a model, which it makes when it is missing.
	CreateVersion(ctx context.Context, workspace arm.ID, v ModelVersion) (ModelVersion, error)
	Version(ctx context.Context, workspace arm.ID, name, version string) (ModelVersion, error)
	// Versions lists those of one model, or with "" of all, the newest first.
	Versions(ctx context.Context, workspace arm.ID, name string) ([]ModelVersion, error)
}

// Model is a registered model.
type Model struct {
	Name        string
	Description string
	Tags        map[string]string
	Created     time.Time
	Updated     time.Time
}

// ModelVersion is one version of a model.
type ModelVersion struct {
	Name        string
	Version     string
	Description string
	Source      string // where its files are: runs:/…, azureml://…, a blob URL
	RunID       string
	User        string
	Tags        map[string]string
	Created     time.Time
	Updated     time.Time
}

type modelBody struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Created     int64         `json:"creation_timestamp"`
	Updated     int64         `json:"last_updated_timestamp"`
	Latest      []versionBody `json:"latest_versions"`
	Tags        []tag         `json:"tags,omitempty"`
}

type versionBody struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Created     int64  `json:"creation_timestamp"`
	Updated     int64  `json:"last_updated_timestamp"`
	User        string `json:"user_id,omitempty"`
	Stage       string `json:"current_stage"`
	Description string `json:"description,omitempty"`
	Source      string `json:"source"`
	RunID       string `json:"run_id,omitempty"`
	Status      string `json:"status"`
	Tags        []tag  `json:"tags,omitempty"`
}

func showVersion(v ModelVersion) versionBody {
	return versionBody{
		Name: v.Name, Version: v.Version, Created: v.Created.UnixMilli(), Updated: v.Updated.UnixMilli(), User: v.User, Stage: "None",
		Description: v.Description, Source: v.Source, RunID: v.RunID, Status: "READY", Tags: tagList(v.Tags),
	}
}

func (s *Service) showModel(ctx context.Context, c *request, m Model) (modelBody, error) {
	out := modelBody{Name: m.Name, Description: m.Description, Created: m.Created.UnixMilli(), Updated: m.Updated.UnixMilli(), Tags: tagList(m.Tags), Latest: []versionBody{}}
	vs, err := s.models.Versions(ctx, c.ws.ID, m.Name)
	if err == nil && len(vs) > 0 {
		out.Latest = append(out.Latest, showVersion(vs[0]))
	}
	return out, err
}

func tagMap(ts []tag) map[string]string {
	m := map[string]string{}
	for _, t := range ts {
		m[t.Key] = t.Value
	}
	return m
}

func (s *Service) createModel(ctx context.Context, c *request) (any, error) {
	var in struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, invalid("Missing value for required parameter 'name'.")
	}
	if _, err := s.models.Model(ctx, c.ws.ID, in.Name); err == nil {
		return nil, &Error{400, "RESOURCE_ALREADY_EXISTS", "Registered Model (name=" + in.Name + ") already exists."}
	}
	m, err := s.models.CreateModel(ctx, c.ws.ID, Model{Name: in.Name, Description: in.Description, Tags: tagMap(in.Tags)})
	if err != nil {
		return nil, err
	}
	body, err := s.showModel(ctx, c, m)
	return map[string]any{"registered_model": body}, err
}

func (s *Service) getModel(ctx context.Context, c *request) (any, error) {
	m, err := s.models.Model(ctx, c.ws.ID, c.get("name"))
	if err != nil {
		return nil, err
	}
	body, err := s.showModel(ctx, c, m)
	return map[string]any{"registered_model": body}, err
}

func (s *Service) searchModels(ctx context.Context, c *request) (any, error) {
	f, err := parseFilter(c.get("filter"), modelAttributes)
	if err != nil {
		return nil, err
	}
	all, err := s.models.Models(ctx, c.ws.ID)
	if err != nil {
		return nil, err
	}
	out := []modelBody{}
	for _, m := range all {
		if !f.experiment(&ml.Experiment{Name: m.Name, Tags: m.Tags}) {
			continue
		}
		body, err := s.showModel(ctx, c, m)
		if err != nil {
			return nil, err
		}
		out = append(out, body)
	}
	max, _ := strconv.Atoi(c.get("max_results"))
	page, next, err := paginate(out, max, c.get("page_token"))
	return map[string]any{"registered_models": page, "next_page_token": next}, err
}

func (s *Service) latestVersions(ctx context.Context, c *request) (any, error) {
	vs, err := s.models.Versions(ctx, c.ws.ID, c.get("name"))
	if err != nil {
		return nil, err
	}
	out := []versionBody{}
	if len(vs) > 0 {
		out = append(out, showVersion(vs[0]))
	}
	return map[string]any{"model_versions": out}, nil
}

func (s *Service) createVersion(ctx context.Context, c *request) (any, error) {
	var in struct {
		Name        string `json:"name"`
		Source      string `json:"source"`
		RunID       string `json:"run_id"`
		Description string `json:"description"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" || in.Source == "" {
		return nil, invalid("Missing value for required parameter 'name' or 'source'.")
	}
	v, err := s.models.CreateVersion(ctx, c.ws.ID, ModelVersion{
		Name: in.Name, Source: in.Source, RunID: in.RunID, Description: in.Description, Tags: tagMap(in.Tags), User: c.caller.Name})
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_version": showVersion(v)}, nil
}

func (s *Service) getVersion(ctx context.Context, c *request) (any, error) {
	v, err := s.models.Version(ctx, c.ws.ID, c.get("name"), c.get("version"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_version": showVersion(v)}, nil
}

func (s *Service) searchVersions(ctx context.Context, c *request) (any, error) {
	f, err := parseFilter(c.get("filter"), versionAttributes)
	if err != nil {
		return nil, err
	}
	all, err := s.models.Versions(ctx, c.ws.ID, "")
	if err != nil {
		return nil, err
	}
	out := []versionBody{}
	for _, v := range all {
		if f.version(v) {
			out = append(out, showVersion(v))
		}
	}
	max, _ := strconv.Atoi(c.get("max_results"))
	page, next, err := paginate(out, max, c.get("page_token"))
	return map[string]any{"model_versions": page, "next_page_token": next}, err
}

func (f filter) version(v ModelVersion) bool {
	for i := range f {
		c := &f[i]
		value := map[string]string{"name": v.Name, "run_id": v.RunID, "version_number": v.Version, "source_path": v.Source}[c.key]
		if c.kind == "tags" {
			value = v.Tags[c.key]
		}
		if !c.holds(value, true) {
			return false
		}
	}
	return true
}

func (s *Service) downloadURI(ctx context.Context, c *request) (any, error) {
	v, err := s.models.Version(ctx, c.ws.ID, c.get("name"), c.get("version"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"artifact_uri": v.Source}, nil
}
