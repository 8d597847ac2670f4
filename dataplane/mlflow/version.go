package mlflow

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
)

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
	LoggedModel string `json:"model_id,omitempty"`
	// Aliases are there when the version is read alone.
	Aliases []string `json:"aliases,omitempty"`
}

func showVersion(v ModelVersion) versionBody {
	return versionBody{
		Name: v.Name, Version: v.Version, Created: v.Created.UnixMilli(), Updated: v.Updated.UnixMilli(), User: v.User, Stage: cmp.Or(v.Stage, "None"), LoggedModel: v.LoggedModel,
		Description: v.Description, Source: v.Source, RunID: v.RunID, Status: "READY", Tags: tagList(v.Tags),
	}
}

// latest is the newest version of each stage, or of those stages that are asked for; versions come the newest first.
func latest(vs []ModelVersion, stages []string) (out []versionBody) {
	seen := map[string]bool{}
	for _, v := range vs {
		stage := cmp.Or(v.Stage, "None")
		if !seen[stage] && (len(stages) == 0 || slices.ContainsFunc(stages, func(s string) bool { return strings.EqualFold(s, stage) })) {
			out = append(out, showVersion(v))
		}
		seen[stage] = true
	}
	return out
}

func (s *Service) latestVersions(ctx context.Context, c *request) (any, error) {
	var in struct {
		Stages []string `json:"stages"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	for _, stage := range append(in.Stages, c.query["stages"]...) {
		if _, err := stageOf(stage); err != nil {
			return nil, err
		}
	}
	vs, err := s.models.Versions(ctx, c.ws.ID, c.get("name"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_versions": append([]versionBody{}, latest(vs, append(in.Stages, c.query["stages"]...))...)}, nil
}

var stages = []string{"None", "Staging", "Production", "Archived"}

// stageOf is a stage as it is written; "" for None.
func stageOf(s string) (string, error) {
	for _, stage := range stages {
		if strings.EqualFold(stage, s) {
			return strings.TrimPrefix(stage, "None"), nil
		}
	}
	return "", invalid("Invalid Model Version stage: " + s + ". Value must be one of " + strings.Join(stages, ", ") + ".")
}

func (s *Service) createVersion(ctx context.Context, c *request) (any, error) {
	var in struct {
		Name        string `json:"name"`
		Source      string `json:"source"`
		RunID       string `json:"run_id"`
		LoggedModel string `json:"model_id"`
		Description string `json:"description"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Name == "" || in.Source == "" {
		return nil, invalid("Missing value for required parameter 'name' or 'source'.")
	}
	if id, ok := strings.CutPrefix(in.Source, "models:/"); ok {
		if _, err := s.runs.LoggedModel(ctx, c.ws.GUID, id); err != nil {
			return nil, notFound("Logged model with ID '" + id + "' not found.")
		}
		in.LoggedModel = id
	}
	v, err := s.models.CreateVersion(ctx, c.ws.ID, ModelVersion{
		Name: in.Name, Source: in.Source, RunID: in.RunID, Description: in.Description, Tags: tagMap(in.Tags), LoggedModel: in.LoggedModel, User: c.caller.Name})
	if err != nil {
		return nil, err
	}
	return map[string]any{"model_version": showVersion(v)}, nil
}

func (s *Service) getVersion(ctx context.Context, c *request) (any, error) {
	return s.showVersionOf(ctx, c, c.get("name"), c.get("version"))
}

func (s *Service) showVersionOf(ctx context.Context, c *request, name, version string) (any, error) {
	v, err := s.models.Version(ctx, c.ws.ID, name, version)
	if err != nil {
		return nil, err
	}
	m, err := s.models.Model(ctx, c.ws.ID, name)
	if err != nil {
		return nil, err
	}
	body := showVersion(v)
	for _, alias := range sortedKeys(m.Aliases) {
		if m.Aliases[alias] == v.Version {
			body.Aliases = append(body.Aliases, alias)
		}
	}
	return map[string]any{"model_version": body}, nil
}

func noVersion(name, version string) error {
	return notFound("Model Version (name=" + name + ", version=" + version + ") not found")
}

// versionOf is the version of that number, nil when it is not there.
func versionOf(vs []ModelVersion, version string) *ModelVersion {
	for i := range vs {
		if vs[i].Version == version {
			return &vs[i]
		}
	}
	return nil
}

// changeVersion changes the version of the request by f, which also has the others of the model.
func (s *Service) changeVersion(ctx context.Context, c *request, f func(v *ModelVersion, all []ModelVersion) error) error {
	return s.changeModel(ctx, c, func(m *Model, vs []ModelVersion) error {
		v := versionOf(vs, c.get("version"))
		if v == nil {
			return noVersion(m.Name, c.get("version"))
		}
		return f(v, vs)
	})
}

func (s *Service) updateVersion(ctx context.Context, c *request) (any, error) {
	if err := s.changeVersion(ctx, c, func(v *ModelVersion, _ []ModelVersion) error {
		v.Description = c.get("description")
		return nil
	}); err != nil {
		return nil, err
	}
	return s.getVersion(ctx, c)
}

func (s *Service) setVersionTag(ctx context.Context, c *request) (any, error) {
	key, value := c.get("key"), c.get("value")
	if key == "" {
		return nil, invalid("Missing value for required parameter 'key'.")
	}
	return nil, s.changeVersion(ctx, c, func(v *ModelVersion, _ []ModelVersion) error {
		v.Tags = merge(v.Tags, []tag{{key, value}})
		return nil
	})
}

func (s *Service) deleteVersionTag(ctx context.Context, c *request) (any, error) {
	return nil, s.changeVersion(ctx, c, func(v *ModelVersion, _ []ModelVersion) error {
		delete(v.Tags, c.get("key"))
		return nil
	})
}

func (s *Service) deleteVersion(ctx context.Context, c *request) (any, error) {
	return nil, s.models.DeleteVersion(ctx, c.ws.ID, c.get("name"), c.get("version"))
}

// transition moves a version to a stage; archive_existing_versions sends those that are there to Archived.
func (s *Service) transition(ctx context.Context, c *request) (any, error) {
	var in struct {
		Stage   string `json:"stage"`
		Archive bool   `json:"archive_existing_versions"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	stage, err := stageOf(in.Stage)
	if err != nil {
		return nil, err
	}
	if in.Archive && stage != "Staging" && stage != "Production" {
		return nil, invalid("Model version transition cannot archive existing model versions because '" + in.Stage + "' is not an Active stage. Valid stages are Staging, Production.")
	}
	if err := s.changeVersion(ctx, c, func(v *ModelVersion, all []ModelVersion) error {
		for i := range all {
			if in.Archive && all[i].Stage == stage {
				all[i].Stage = "Archived"
			}
		}
		v.Stage = stage
		return nil
	}); err != nil {
		return nil, err
	}
	return s.getVersion(ctx, c)
}

func (s *Service) searchVersions(ctx context.Context, c *request) (any, error) {
	f, err := parseFilter(c.get("filter"), versionAttributes)
	if err != nil {
		return nil, err
	}
	by := c.query["order_by"]
	if len(by) == 0 {
		by = []string{"last_updated_timestamp DESC", "name ASC", "version_number DESC"}
	}
	order, err := parseOrder(by, versionOrder)
	if err != nil {
		return nil, err
	}
	max, err := c.number("max_results", 10000)
	if err != nil {
		return nil, err
	}
	all, err := s.models.Versions(ctx, c.ws.ID, "")
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(v ModelVersion) bool { return !f.version(v) })
	slices.SortStableFunc(all, order)
	page, next, err := paginate(all, max, c.get("page_token"))
	out := make([]versionBody, len(page))
	for i, v := range page {
		out[i] = showVersion(v)
	}
	return map[string]any{"model_versions": out, "next_page_token": next}, err
}

func versionNumber(v ModelVersion) float64 {
	n, _ := strconv.ParseFloat(v.Version, 64) // one that is no number comes first
	return n
}

func versionOrder(kind, key string) func(ModelVersion) (float64, string, bool) {
	switch {
	case kind != "attributes":
	case key == "name":
		return func(v ModelVersion) (float64, string, bool) { return 0, v.Name, true }
	case key == "version_number":
		return func(v ModelVersion) (float64, string, bool) { return versionNumber(v), "", true }
	case key == "creation_timestamp":
		return func(v ModelVersion) (float64, string, bool) { return float64(millis(v.Created)), "", true }
	case key == "last_updated_timestamp":
		return func(v ModelVersion) (float64, string, bool) { return float64(millis(v.Updated)), "", true }
	}
	return nil
}

func (f filter) version(v ModelVersion) bool {
	for i := range f {
		c := &f[i]
		ok := false
		switch {
		case c.kind == "tags":
			value, there := modelTag(v.Tags, c.key)
			ok = c.holds(value, there)
		case c.kind != "attributes":
		case c.key == "version_number":
			ok = ordered(c.op, cmp.Compare(versionNumber(v), c.number))
		default:
			ok = c.holds(map[string]string{"name": v.Name, "run_id": v.RunID, "source_path": v.Source}[c.key], true)
		}
		if !ok {
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
	uri := v.Source
	if id, ok := strings.CutPrefix(v.Source, "models:/"); ok {
		m, err := s.runs.LoggedModel(ctx, c.ws.GUID, id)
		if err != nil {
			return nil, err
		}
		uri = c.artifacts(m.ExperimentID, m.ID)
	}
	return map[string]any{"artifact_uri": uri}, nil
}
