package deployments

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/arm/template"
	"vauban.dev/authz"
)

// request is a deployment as a client asks for it.
type request struct {
	id         arm.ID
	location   string
	tags       map[string]string
	properties *expr.Object
	mode       string
	template   *expr.Object
	parameters *expr.Object
	link       *expr.Object // templateLink as it is shown
	paramsLink *expr.Object
	onError    *onError
}

// session is who makes a request, and how.
type session struct {
	caller        authz.Principal
	correlation   string
	base, address string
}

func sessionOf(ctx context.Context, r *rp.Request) session {
	return session{caller: caller(ctx), correlation: r.CorrelationID, base: r.Base, address: r.ClientAddress}
}

var namePattern = regexp.MustCompile(`^[-\w._()]{1,64}$`)

func invalidDeployment(format string, args ...any) *arm.Error {
	return arm.Errorf(http.StatusBadRequest, "InvalidDeployment", format, args...)
}

// read parses the body of a deployment and fetches what it links to.
func (p *Provider) read(ctx context.Context, id arm.ID, body []byte) (*request, error) {
	q := &request{id: id, mode: "Incremental"}
	if !namePattern.MatchString(id.Name()) || strings.HasSuffix(id.Name(), ".") {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidDeploymentName", "The deployment name '%s' is invalid. The name can contain only letters, digits, '-', '.', '(', ')' or '_', no more than 64 of them, and cannot end with a period.", id.Name())
	}
	v, err := expr.Decode(body)
	root, ok := v.(*expr.Object)
	if err != nil || !ok {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: the body must be an object.")
	}
	q.location = strings.ToLower(strings.ReplaceAll(root.Text("location"), " ", ""))
	if scope := id.Scope(); scope.ResourceGroup() == "" && q.location == "" {
		return nil, arm.Errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition: deployments at the scope '%s' need the location where their data are kept.", scope)
	} else if scope.ResourceGroup() != "" && q.location != "" {
		return nil, invalidDeployment("The 'location' property is not allowed for '%s' at resource group scope. Please see https://aka.ms/deploy-to-subscription for usage details.", id.Name())
	}
	if t, _ := root.Lookup("tags"); t != nil {
		tags, ok := t.(*expr.Object)
		if !ok {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The tags of a deployment must be an object of strings.")
		}
		q.tags = map[string]string{}
		for k, v := range tags.All() {
			s, ok := v.(string)
			if !ok {
				return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The tag '%s' must be a string.", k)
			}
			q.tags[k] = s
		}
	}
	props, _ := root.Lookup("properties")
	if q.properties, ok = props.(*expr.Object); !ok {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: 'Required property 'properties' not found in JSON. Path ''.'.")
	}
	switch mode := strings.ToLower(q.properties.Text("mode")); mode {
	case "incremental", "":
	case "complete":
		q.mode = "Complete"
		if id.Scope().ResourceGroup() == "" {
			return nil, invalidDeployment("The deployment mode 'Complete' is not supported at the scope '%s'. Deployments above resource groups are incremental. Please see https://aka.ms/arm-deploy for usage details.", id.Scope())
		}
	default:
		return nil, invalidDeployment("The deployment mode '%s' is not valid. The valid modes are 'Incremental, Complete'.", q.properties.Text("mode"))
	}
	if err := p.readTemplate(ctx, q); err != nil {
		return nil, err
	}
	if err := p.readParameters(ctx, q); err != nil {
		return nil, err
	}
	return q, q.readOnError()
}

func member(o *expr.Object, name string) (*expr.Object, bool) {
	v, _ := o.Lookup(name)
	m, ok := v.(*expr.Object)
	return m, ok || v == nil
}

func (p *Provider) readTemplate(ctx context.Context, q *request) error {
	inline, ok := member(q.properties, "template")
	if v, _ := q.properties.Lookup("template"); !ok {
		text, isText := v.(string)
		parsed, err := expr.Decode([]byte(text))
		if inline, ok = parsed.(*expr.Object); !isText || err != nil || !ok {
			return invalidDeployment("The template of the deployment '%s' must be an object.", q.id.Name())
		}
	}
	link, ok := member(q.properties, "templateLink")
	switch {
	case !ok:
		return invalidDeployment("The templateLink of the deployment '%s' must be an object.", q.id.Name())
	case inline != nil && link != nil:
		return invalidDeployment("The deployment '%s' must not have both the TemplateLink and Template properties set. Please see https://aka.ms/arm-deploy for usage details.", q.id.Name())
	case inline == nil && link == nil:
		return invalidDeployment("The deployment '%s' must have either the TemplateLink or Template property set. Please see https://aka.ms/arm-deploy for usage details.", q.id.Name())
	case inline != nil:
		q.template = inline
		return nil
	}
	return p.follow(ctx, q, link)
}

func (p *Provider) readParameters(ctx context.Context, q *request) error {
	inline, ok := member(q.properties, "parameters")
	if !ok {
		return invalidDeployment("The parameters of the deployment '%s' must be an object.", q.id.Name())
	}
	link, ok := member(q.properties, "parametersLink")
	switch {
	case !ok:
		return invalidDeployment("The parametersLink of the deployment '%s' must be an object.", q.id.Name())
	case inline != nil && inline.Len() > 0 && link != nil:
		return invalidDeployment("The deployment '%s' must not have both the ParametersLink and Parameters properties set. Please see https://aka.ms/arm-deploy for usage details.", q.id.Name())
	case link != nil:
		file, err := p.fetchObject(ctx, link.Text("uri"))
		if err != nil {
			return err
		}
		q.paramsLink, inline = link, file
	}
	if inline == nil {
		inline = expr.NewObject(0)
	}
	if schema := inline.Text("$schema"); schema != "" || q.paramsLink != nil { // a whole parameter file
		if inside, ok := member(inline, "parameters"); ok && inside != nil {
			inline = inside
		} else {
			inline = inline.Without("$schema", "contentVersion")
		}
	}
	q.parameters = inline
	return nil
}

func (q *request) readOnError() error {
	o, ok := member(q.properties, "onErrorDeployment")
	if o == nil {
		if !ok {
			return invalidDeployment("The onErrorDeployment of the deployment '%s' must be an object.", q.id.Name())
		}
		return nil
	}
	q.onError = &onError{Type: o.Text("type"), Deployment: o.Text("deploymentName")}
	switch {
	case strings.EqualFold(q.onError.Type, "LastSuccessful"):
		q.onError.Type = "LastSuccessful"
	case strings.EqualFold(q.onError.Type, "SpecificDeployment") && q.onError.Deployment != "":
		q.onError.Type = "SpecificDeployment"
	default:
		return invalidDeployment("The onErrorDeployment of the deployment '%s' must have the type 'LastSuccessful', or 'SpecificDeployment' with a deploymentName. Please see https://aka.ms/arm-deploy for usage details.", q.id.Name())
	}
	return nil
}

// source is the template's source for a request.
func (p *Provider) source(q *request) template.Source {
	return template.Source{
		Template: q.template, Parameters: q.parameters, Scope: template.ScopeOf(q.id.Scope(), p.cfg.TenantID), Name: q.id.Name(), Location: q.location,
		Link: q.link, Now: p.cfg.Clock.Now, GUID: uuid.NewString,
	}
}
