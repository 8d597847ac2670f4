package deployments

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/expr"
	"vauban.dev/arm/rp"
	"vauban.dev/internal/jsonc"
)

// maxTemplate is the size of a template and of a parameter file.
const maxTemplate = 4 << 20

// follow reads the template that a link names: by uri, or by the id of a template spec's version.
func (p *Provider) follow(ctx context.Context, q *request, link *expr.Object) error {
	if id := link.Text("id"); id != "" {
		t, err := p.spec(ctx, id, link.Text("relativePath"))
		if err != nil {
			return err
		}
		q.template, q.link = t, expr.ObjectOf("id", id, "contentVersion", t.Text("contentVersion"))
		return nil
	}
	uri := link.Text("uri")
	if uri == "" {
		if link.Text("relativePath") != "" {
			return arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: 'The relativePath '%s' of the templateLink can be used only when the template of the deployment was linked to itself, or in a template spec. Please see https://aka.ms/arm-deploy for usage details.'.", link.Text("relativePath"))
		}
		return invalidDeployment("The templateLink of the deployment '%s' needs an uri or an id. Please see https://aka.ms/arm-deploy for usage details.", q.id.Name())
	}
	full := uri
	if query := link.Text("queryString"); query != "" {
		sep := "?"
		if strings.Contains(uri, "?") {
			sep = "&"
		}
		full += sep + strings.TrimPrefix(query, "?")
	}
	t, err := p.fetchObject(ctx, full)
	if err != nil {
		return err
	}
	version := t.Text("contentVersion")
	if want := link.Text("contentVersion"); want != "" && want != version {
		return arm.Errorf(http.StatusBadRequest, "InvalidContentVersion", "The contentVersion '%s' of the template at '%s' is not the version '%s' that the link asks for.", version, uri, want)
	}
	q.template, q.link = t, expr.ObjectOf("uri", uri, "contentVersion", version)
	return nil
}

// fetchObject reads a JSON object, comments allowed. The query of a uri, which may hold a signature, is in no
// message.
func (p *Provider) fetchObject(ctx context.Context, uri string) (*expr.Object, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidContentLink", "The provided content link '%s' is invalid or not supported. Content link must be an absolute URI not referencing local host or UNC path.", bare(uri))
	}
	fail := func(why string) error {
		return arm.Errorf(http.StatusBadRequest, "InvalidContentLink", "Unable to download deployment content from '%s'. %s Please see https://aka.ms/arm-deploy for usage details.", bare(uri), why)
	}
	if p.cfg.Fetch == nil {
		return nil, fail("This region reads no links.")
	}
	data, err := p.cfg.Fetch(ctx, uri)
	if err != nil {
		return nil, fail(strings.TrimSuffix(err.Error(), ".") + ".")
	}
	if len(data) > maxTemplate {
		return nil, fail("It has more than 4 MB.")
	}
	data, err = jsonc.Standard([]byte(strings.TrimPrefix(string(data), "\ufeff")))
	if err == nil {
		var v any
		if v, err = expr.Decode(data); err == nil {
			if o, ok := v.(*expr.Object); ok {
				return o, nil
			}
			return nil, fail("It is not a JSON object.")
		}
	}
	return nil, fail("It is not JSON: " + err.Error() + ".")
}

func bare(uri string) string {
	head, _, _ := strings.Cut(uri, "?")
	return head
}

// relative completes the links of nested deployments that are relative to the template in which they stand, and
// hands its query string on.
func relative(body *expr.Object, parent *expr.Object) *expr.Object {
	props, ok := member(body, "properties")
	if !ok || props == nil {
		return body
	}
	link, ok := member(props, "templateLink")
	if !ok || link == nil {
		return body
	}
	path := link.Text("relativePath")
	if path == "" || link.Text("uri") != "" || link.Text("id") != "" {
		return body
	}
	whole := link.Clone().Without("relativePath")
	switch {
	case parent.Text("id") != "":
		whole.Set("id", parent.Text("id"))
		whole.Set("relativePath", path)
	case parent.Text("uri") != "":
		base, err := url.Parse(parent.Text("uri"))
		ref, err2 := url.Parse(path)
		if err != nil || err2 != nil {
			return body
		}
		whole.Set("uri", base.ResolveReference(ref).String())
	default:
		return body
	}
	p := props.Clone()
	p.Set("templateLink", whole)
	out := body.Clone()
	out.Set("properties", p)
	return out
}

// spec is the template of a template spec's version, or the artifact at a path in it.
func (p *Provider) spec(ctx context.Context, text, path string) (t *expr.Object, err error) {
	id, err := arm.ParseID(text)
	if err != nil {
		return nil, err
	}
	if id.Type().Key() != strings.ToLower(SpecVersionType) {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidTemplateSpecId", "The id '%s' of the templateLink is not that of a template spec's version.", text)
	}
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		v, err := rp.Get[SpecVersion](tx, id)
		if err != nil {
			return err
		}
		t, err = v.Properties.at(path)
		return err
	})
	return t, err
}
