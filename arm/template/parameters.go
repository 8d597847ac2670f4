package template

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
)

// readParameters gives every parameter its value: what was sent, a secret of a vault, the default.
func (d *Deployment) readParameters(ctx context.Context) error {
	given := d.Source.Parameters
	if given == nil {
		given = expr.NewObject(0)
	}
	var extra []string
	for name := range given.All() {
		if _, ok := d.template.parameters.Lookup(name); !ok {
			extra = append(extra, name)
		}
	}
	if len(extra) > 0 {
		return invalid("The template parameters '%s' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are '%s'. Please see https://aka.ms/arm-pass-parameter-values for usage details.",
			strings.Join(extra, ", "), strings.Join(keys(d.template.parameters), ", "))
	}
	d.partial = expr.NewObject(d.template.parameters.Len())
	values := expr.NewObject(d.template.parameters.Len())
	for name := range d.template.parameters.All() {
		v, err := d.parameter(ctx, name)
		var e *expr.Error
		if errors.As(err, &e) {
			return arm.Errorf(400, "InvalidTemplate", "Unable to process template language expressions for the default value of the template parameter '%s'. '%s'", name, e.Message)
		}
		if err != nil {
			return err
		}
		values.Set(name, v)
	}
	d.parameters = values
	return nil
}

type openParameters struct{}

// parameter is the value of one parameter, while they are read; defaults may refer to other parameters.
func (d *Deployment) parameter(ctx context.Context, name string) (any, error) {
	v, ok := d.template.parameters.Lookup(name)
	if !ok {
		return nil, parameterMissing(name)
	}
	def, ok := v.(*expr.Object)
	if !ok {
		return nil, invalid("The template parameter '%s' is not valid: it must be an object", name)
	}
	key := strings.ToLower(name)
	if v, ok := d.partial.Get(key); ok {
		return v, nil
	}
	open, _ := ctx.Value(openParameters{}).(*openNames)
	if open.has(key) {
		return nil, invalid("The template parameter '%s' has a circular reference. Please see https://aka.ms/arm-syntax-parameters for usage details.", name)
	}
	ctx = context.WithValue(ctx, openParameters{}, &openNames{name: key, outer: open})
	s, err := d.schemaOf(def)
	if err == nil && s.kind == "" && !d.template.symbolic {
		err = &expr.Error{Message: "it has no type"}
	}
	if err != nil {
		return nil, invalid("The template parameter '%s' is not valid: %s", name, strings.TrimSuffix(err.Error(), "."))
	}
	if d.Source.Resolved != nil {
		if v, ok := d.Source.Resolved.Lookup(name); ok {
			d.partial.Set(key, v)
			return v, nil
		}
	}
	value, err := d.given(ctx, name, def, s)
	if err != nil {
		return nil, err
	}
	if why := s.violation(d, value, name); why != "" {
		return nil, parameterRefused(name, value, s, why)
	}
	d.partial.Set(key, value)
	return value, nil
}

func parameterRefused(name string, value any, s *schema, why string) *arm.Error {
	text := fmt.Sprintf("The provided value for the template parameter '%s' is not valid. %s", name, why)
	if shown, ok := value.(string); ok && strings.Contains(why, "is not part of the allowed value(s)") && !s.secure {
		text = fmt.Sprintf("The provided value '%s' for the template parameter '%s' is not valid. %s", shown, name, why)
	}
	e := arm.Errorf(400, "InvalidTemplate", "Deployment template validation failed: '%s'.", text)
	e.AdditionalInfo = violated("properties.template.parameters." + name)
	return e
}

// violated is the remark that Azure adds to a refused parameter.
func violated(path string) []arm.AdditionalInfo {
	return []arm.AdditionalInfo{{Type: "TemplateViolation", Info: map[string]any{"lineNumber": 0, "linePosition": 0, "path": path}}}
}

// given is the value that was sent, or the default.
func (d *Deployment) given(ctx context.Context, name string, def *expr.Object, s *schema) (any, error) {
	var sent *expr.Object
	if d.Source.Parameters != nil {
		if v, ok := d.Source.Parameters.Lookup(name); ok {
			if sent, ok = v.(*expr.Object); !ok {
				return nil, invalid("The value for the template parameter '%s' is not valid: it must be an object with a member 'value' or 'reference'. Please see https://aka.ms/arm-create-parameter-file for usage details.", name)
			}
		}
	}
	if sent != nil {
		if ref, ok := sent.Lookup("reference"); ok && ref != nil {
			return d.secret(ctx, name, ref, s)
		}
		if v, ok := sent.Lookup("value"); ok && (v != nil || s.nullable || !hasDefault(def)) {
			return v, nil
		}
	}
	if v, ok := def.Lookup("defaultValue"); ok {
		own := expr.Table{}
		own.Add(expr.UTCNow(d.Source.Now), expr.Func{Name: "newGuid", Call: func(*expr.Call) (any, error) { return d.Source.GUID(), nil }})
		for _, f := range []string{"variables", "reference", "references", "copyIndex"} {
			own.Add(expr.Func{Name: f, Max: -1, Call: func(*expr.Call) (any, error) {
				return nil, &expr.Error{Message: "The template function '" + f + "' is not expected at this location. Please see https://aka.ms/arm-functions for usage details."}
			}})
		}
		return d.walk(ctx, d.env.With(own), v, nil, 0)
	}
	if s.nullable {
		return nil, nil
	}
	e := invalid("The value for the template parameter '%s' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details.", name)
	e.AdditionalInfo = violated("properties.template.parameters." + name)
	return nil, e
}

func hasDefault(def *expr.Object) bool {
	_, ok := def.Lookup("defaultValue")
	return ok
}

// secret reads a parameter that refers to a secret of a vault; only secure parameters may.
func (d *Deployment) secret(ctx context.Context, name string, ref any, s *schema) (any, error) {
	o, _ := ref.(*expr.Object)
	vault, _ := o.Lookup("keyVault")
	v, _ := vault.(*expr.Object)
	if o == nil || v == nil || v.Text("id") == "" || o.Text("secretName") == "" {
		return nil, invalid("The reference of the template parameter '%s' is not valid: it needs keyVault.id and secretName. Please see https://aka.ms/arm-keyvault for usage details", name)
	}
	if !s.secure {
		return nil, arm.Errorf(400, "KeyVaultParameterReferenceSecretRetrieveFailed", "The template parameter '%s' has a reference to a secret of a key vault, but its type '%s' is not SecureString or SecureObject. Please see https://aka.ms/arm-keyvault for usage details.", name, s.name())
	}
	text, err := d.host.Secret(ctx, v.Text("id"), o.Text("secretName"), o.Text("secretVersion"))
	if err != nil || s.kind != "object" {
		return text, err
	}
	value, err := expr.Decode([]byte(text))
	if err != nil {
		return nil, invalid("The secret of the template parameter '%s' is not the JSON of an object", name)
	}
	return value, nil
}

// Shown are the parameters as a deployment shows them: name to type and value, the value only when it is no secret.
func (d *Deployment) Shown() *expr.Object {
	out := expr.NewObject(d.template.parameters.Len())
	for name, v := range d.template.parameters.All() {
		def, _ := v.(*expr.Object)
		s, err := d.schemaOf(def)
		if err != nil {
			continue
		}
		shown := expr.ObjectOf("type", s.name())
		if value, ok := d.parameters.Get(name); ok && !s.secure {
			shown.Set("value", value)
		}
		out.Set(name, shown)
	}
	return out
}

// Secrets says whether a parameter has a secure type.
func (d *Deployment) Secrets() bool {
	for name := range d.template.parameters.All() {
		if d.secure(name) {
			return true
		}
	}
	return false
}

// Public are the values of the parameters that are no secrets.
func (d *Deployment) Public() *expr.Object {
	out := expr.NewObject(d.parameters.Len())
	for name, v := range d.parameters.All() {
		if !d.secure(name) {
			out.Set(name, v)
		}
	}
	return out
}
