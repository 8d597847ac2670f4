package mlflow

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
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
	// UpdateModel changes description, tags and aliases of a model and of its versions by f, in one transaction. The versions come
	// the newest first.
	UpdateModel(ctx context.Context, workspace arm.ID, name string, f func(m *Model, versions []ModelVersion) error) error
	// DeleteVersion removes one version and the aliases that name it, and with the last version the model.
	DeleteVersion(ctx context.Context, workspace arm.ID, name, version string) error
}

// Model is a registered model.
type Model struct {
	Name        string
	Description string
	Tags        map[string]string
	Aliases     map[string]string // to versions
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
	Stage       string // Staging, Production, Archived; "" for none
	LoggedModel string // id of the logged model that it is
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
	Aliases     []aliasBody   `json:"aliases,omitempty"`
}

type aliasBody struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

func (s *Service) showModel(ctx context.Context, c *request, m Model) (modelBody, error) {
	out := modelBody{Name: m.Name, Description: m.Description, Created: m.Created.UnixMilli(), Updated: m.Updated.UnixMilli(), Tags: tagList(m.Tags), Latest: []versionBody{}}
	for _, alias := range sortedKeys(m.Aliases) {
		out.Aliases = append(out.Aliases, aliasBody{alias, m.Aliases[alias]})
	}
	vs, err := s.models.Versions(ctx, c.ws.ID, m.Name)
	out.Latest = append(out.Latest, latest(vs, nil)...)
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
	by := c.query["order_by"]
	if len(by) == 0 {
		by = []string{"name ASC"}
	}
	order, err := parseOrder(by, modelOrderOf)
	if err != nil {
		return nil, err
	}
	max, err := c.number("max_results", 100)
	if err != nil {
		return nil, err
	}
	all, err := s.models.Models(ctx, c.ws.ID)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m Model) bool { return !f.model(m) })
	slices.SortStableFunc(all, order)
	page, next, err := paginate(all, max, c.get("page_token"))
	if err != nil {
		return nil, err
	}
	out := make([]modelBody, len(page))
	for i, m := range page {
		if out[i], err = s.showModel(ctx, c, m); err != nil {
			return nil, err
		}
	}
	return map[string]any{"registered_models": out, "next_page_token": next}, nil
}

// isPrompt is the tag by which MLflow 3 keeps prompts among the registered models. Its clients ask for models by "is not a prompt",
// which is to find those without the tag.
const isPrompt = "mlflow.prompt.is_prompt"

func modelTag(tags map[string]string, key string) (string, bool) {
	v, there := tags[key]
	if !there && key == isPrompt {
		return "false", true
	}
	return v, there
}

func (f filter) model(m Model) bool {
	for i := range f {
		c := &f[i]
		value, there := m.Name, true
		if c.kind == "tags" {
			value, there = modelTag(m.Tags, c.key)
		}
		if c.kind != "tags" && c.kind != "attributes" || !c.holds(value, there) {
			return false
		}
	}
	return true
}

func modelOrderOf(kind, key string) func(Model) (float64, string, bool) {
	switch {
	case kind != "attributes":
	case key == "name":
		return func(m Model) (float64, string, bool) { return 0, m.Name, true }
	case key == "creation_timestamp":
		return func(m Model) (float64, string, bool) { return float64(millis(m.Created)), "", true }
	case key == "timestamp" || key == "last_updated_timestamp":
		return func(m Model) (float64, string, bool) { return float64(millis(m.Updated)), "", true }
	}
	return nil
}

// changeModel changes a model and its versions.
func (s *Service) changeModel(ctx context.Context, c *request, f func(*Model, []ModelVersion) error) error {
	name := c.get("name")
	if name == "" {
		return invalid("Missing value for required parameter 'name'.")
	}
	return s.models.UpdateModel(ctx, c.ws.ID, name, f)
}

func (s *Service) updateModel(ctx context.Context, c *request) (any, error) {
	if err := s.changeModel(ctx, c, func(m *Model, _ []ModelVersion) error {
		m.Description = c.get("description")
		return nil
	}); err != nil {
		return nil, err
	}
	return s.getModel(ctx, c)
}

// renameModel refuses: as in Azure, the name of a model is part of its id.
func (s *Service) renameModel(ctx context.Context, c *request) (any, error) {
	return nil, &Error{501, "NOT_IMPLEMENTED", "A registered model of a workspace is not renamed, as in Azure: its name is part of its id. Register its versions under '" + c.get("new_name") + "'."}
}

func (s *Service) deleteModel(ctx context.Context, c *request) (any, error) {
	return nil, &Error{501, "NOT_IMPLEMENTED", "A registered model of a workspace is not deleted as a whole, as in Azure. Delete its versions: with the last one of '" + c.get("name") + "' the model is gone."}
}

func (s *Service) setModelTag(ctx context.Context, c *request) (any, error) {
	key, value := c.get("key"), c.get("value")
	if key == "" {
		return nil, invalid("Missing value for required parameter 'key'.")
	}
	return nil, s.changeModel(ctx, c, func(m *Model, _ []ModelVersion) error {
		m.Tags = merge(m.Tags, []tag{{key, value}})
		return nil
	})
}

func (s *Service) deleteModelTag(ctx context.Context, c *request) (any, error) {
	return nil, s.changeModel(ctx, c, func(m *Model, _ []ModelVersion) error {
		delete(m.Tags, c.get("key"))
		return nil
	})
}

var aliasForm = regexp.MustCompile(`^[\w-]{1,255}$`)

// checkAlias refuses what MLflow refuses as an alias: other characters, what looks like a version, and "latest".
func checkAlias(alias string) error {
	if !aliasForm.MatchString(alias) {
		return invalid("Invalid alias name: '" + alias + "'. Aliases have letters, digits, underscores and hyphens.")
	}
	if rest, v := strings.CutPrefix(strings.ToLower(alias), "v"); v && strings.Trim(rest, "0123456789") == "" && rest != "" {
		return invalid("Invalid alias name: '" + alias + "'. Version aliases (e.g. 'v9') are reserved.")
	}
	if strings.EqualFold(alias, "latest") {
		return invalid("'latest' alias name (case insensitive) is reserved.")
	}
	return nil
}

func (s *Service) setAlias(ctx context.Context, c *request) (any, error) {
	alias, version := c.get("alias"), c.get("version")
	if err := checkAlias(alias); err != nil {
		return nil, err
	}
	return nil, s.changeModel(ctx, c, func(m *Model, vs []ModelVersion) error {
		if versionOf(vs, version) == nil {
			return noVersion(m.Name, version)
		}
		if m.Aliases == nil {
			m.Aliases = map[string]string{}
		}
		m.Aliases[alias] = version
		return nil
	})
}

func (s *Service) deleteAlias(ctx context.Context, c *request) (any, error) {
	return nil, s.changeModel(ctx, c, func(m *Model, _ []ModelVersion) error {
		delete(m.Aliases, c.get("alias"))
		return nil
	})
}

func (s *Service) versionByAlias(ctx context.Context, c *request) (any, error) {
	m, err := s.models.Model(ctx, c.ws.ID, c.get("name"))
	if err != nil {
		return nil, err
	}
	version := m.Aliases[c.get("alias")]
	if version == "" {
		return nil, invalid("Registered model alias " + c.get("alias") + " not found.")
	}
	return s.showVersionOf(ctx, c, m.Name, version)
}
