package deployments

import (
	"bytes"
	"encoding/json"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
)

// The types of template specs.
const (
	SpecType        = "Microsoft.Resources/templateSpecs"
	SpecVersionType = "Microsoft.Resources/templateSpecs/versions"
)

// Spec is a template spec (Template Specs REST: TemplateSpec).
type Spec struct {
	DisplayName string          `json:"displayName,omitempty"`
	Description string          `json:"description,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
}

// SpecVersion is one version of a template spec.
type SpecVersion struct {
	Description string          `json:"description,omitempty"`
	Template    json.RawMessage `json:"mainTemplate,omitempty"`
	Linked      []Artifact      `json:"linkedTemplates,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Form        json.RawMessage `json:"uiFormDefinition,omitempty"`
}

// Artifact is a template that a version's main template links to by its path.
type Artifact struct {
	Path     string          `json:"path"`
	Template json.RawMessage `json:"template"`
}

// at is the template at a path, "" for the main one.
func (v *SpecVersion) at(path string) (*expr.Object, error) {
	data := v.Template
	if path != "" {
		data = nil
		for _, a := range v.Linked {
			if a.Path == path {
				data = a.Template
			}
		}
		if data == nil {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: 'The template spec has no linked template at the path '%s'.'.", path)
		}
	}
	return templateOf(data)
}

func templateOf(data []byte) (*expr.Object, error) {
	value, err := expr.Decode(data)
	t, ok := value.(*expr.Object)
	if err != nil || !ok {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidTemplateSpec", "The main template of a template spec must be an object.")
	}
	return t, nil
}

var specVersions = []string{"2019-06-01-preview", "2021-03-01-preview", "2021-05-01", "2022-02-01"}

// specs are the types of template specs.
func specs() []rp.Registration {
	return []rp.Registration{
		rp.Of(rp.Type[Spec]{
			Name: SpecType, Kind: rp.Tracked, Versions: rp.Versions[Spec](specVersions...), SyncDelete: true, StateProperty: "-",
			NamePattern: `^[-\w._()]{1,90}$`, NameRule: "Template spec names allow up to 90 characters of alphanumerics, underscores, parentheses, hyphens and periods.",
		}),
		rp.Of(rp.Type[SpecVersion]{
			Name: SpecVersionType, Kind: rp.Tracked, Versions: rp.Versions[SpecVersion](specVersions...), SyncDelete: true, StateProperty: "-",
			NamePattern: `^[-\w._()]{1,90}$`, NameRule: "Versions of template specs allow up to 90 characters of alphanumerics, underscores, parentheses, hyphens and periods.",
			Validate: func(_ rp.Op, v, _ *rp.Resource[SpecVersion]) error {
				if len(bytes.TrimSpace(v.Properties.Template)) == 0 {
					return arm.Errorf(http.StatusBadRequest, "InvalidTemplateSpec", "A version of a template spec needs a mainTemplate.")
				}
				_, err := templateOf(v.Properties.Template)
				return err
			},
		}),
	}
}
