package keyvault

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Secrets is the data plane's side of secrets: Resource Manager writes them, and never reads a value. Vaults are by their
// lower-case names. Errors are *arm.Error.
type Secrets interface {
	// SetSecret writes a new version; a nil Value is that of the newest one.
	SetSecret(ctx context.Context, vault string, s Secret) (Secret, error)
	// Secret is the newest version without its value; 404 SecretNotFound.
	Secret(ctx context.Context, vault, name string) (Secret, error)
	// SecretNames are those of a vault, in their order.
	SecretNames(ctx context.Context, vault string) ([]string, error)
}

// Secret is a version of a secret. Zero times are not set.
type Secret struct {
	Name, Version, ContentType string
	Value                      *string
	Tags                       map[string]string
	Disabled                   bool
	NotBefore, Expires         time.Time
	Created, Updated           time.Time
}

// UseSecrets gives the provider the secrets of its vaults, and a view of these (Engine.View); Types then has the routes of vaults/secrets. They are routes and
// no stored type, because the data plane owns secrets (Key Vault REST: Secrets).
func (p *Provider) UseSecrets(view func(context.Context, func(*rp.Tx) error) error, s Secrets) {
	p.view, p.secrets = view, s
}

const (
	secretType = VaultType + "/secrets"
	secretPath = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.KeyVault/vaults/{vault}/secrets"
)

func (p *Provider) secretRoutes() rp.Registration {
	one := secretPath + "/{secret}"
	return rp.Routes(
		rp.Route{Method: http.MethodGet, Pattern: secretPath, Permission: secretType + "/read", Versions: versions, Reads: true, Serve: p.listSecrets},
		rp.Route{Method: http.MethodGet, Pattern: one, Permission: secretType + "/read", Versions: versions, Reads: true, Serve: p.getSecret},
		rp.Route{Method: http.MethodPut, Pattern: one, Permission: secretType + "/write", Versions: versions, Serve: p.writeSecret(false)},
		rp.Route{Method: http.MethodPatch, Pattern: one, Permission: secretType + "/write", Versions: versions, Serve: p.writeSecret(true)},
	)
}

// vault is the vault of a route's path, which must not be on its way out.
func (p *Provider) vault(ctx context.Context, path map[string]string) (v *rp.Resource[Vault], err error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + VaultType + "/" + path["vault"])
	if err != nil {
		return nil, err
	}
	err = p.view(ctx, func(tx *rp.Tx) error {
		v, err = rp.Get[Vault](tx, id)
		return err
	})
	if err == nil && v.State == arm.Deleting {
		return nil, arm.NotFound(id)
	}
	if e := arm.AsError(err); e != nil && e.Code == "ResourceNotFound" {
		return nil, arm.Errorf(http.StatusNotFound, "ParentResourceNotFound", "Failed to perform 'write' on resource(s) of type 'vaults/secrets', because the parent resource '%s' could not be found.", id)
	}
	return v, err
}

func (p *Provider) listSecrets(ctx context.Context, _ *rp.Request, path map[string]string) (*rp.Response, error) {
	v, err := p.vault(ctx, path)
	if err != nil {
		return nil, err
	}
	names, err := p.secrets.SecretNames(ctx, lowerName(v))
	if err != nil {
		return nil, err
	}
	value := []any{}
	for _, name := range names {
		s, err := p.secrets.Secret(ctx, lowerName(v), name)
		if err != nil {
			return nil, err
		}
		value = append(value, shownSecret(v, s))
	}
	return &rp.Response{Status: http.StatusOK, Body: map[string]any{"value": value}}, nil
}

func lowerName(v *rp.Resource[Vault]) string { return strings.ToLower(v.ID.Name()) }

func (p *Provider) getSecret(ctx context.Context, _ *rp.Request, path map[string]string) (*rp.Response, error) {
	v, err := p.vault(ctx, path)
	if err != nil {
		return nil, err
	}
	s, err := p.secrets.Secret(ctx, lowerName(v), path["secret"])
	if err != nil {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK, Body: shownSecret(v, s)}, nil
}

// secretBody is what a client sends (SecretCreateOrUpdateParameters).
type secretBody struct {
	Tags       map[string]string `json:"tags"`
	Properties struct {
		Value       *string `json:"value"`
		ContentType *string `json:"contentType"`
		Attributes  struct {
			Enabled   *bool `json:"enabled"`
			NotBefore int64 `json:"nbf"` // Unix seconds
			Expires   int64 `json:"exp"`
		} `json:"attributes"`
	} `json:"properties"`
}

func (p *Provider) writeSecret(patch bool) func(context.Context, *rp.Request, map[string]string) (*rp.Response, error) {
	return func(ctx context.Context, r *rp.Request, path map[string]string) (*rp.Response, error) {
		v, err := p.vault(ctx, path)
		if err != nil {
			return nil, err
		}
		var in secretBody
		if err := json.Unmarshal(r.Body, &in); err != nil {
			return nil, arm.Errorf(http.StatusBadRequest, "BadRequest", "The body of the secret is not valid: its properties are value, contentType (texts) and attributes (enabled, nbf, exp).")
		}
		s := Secret{Name: path["secret"]}
		if patch {
			if s, err = p.secrets.Secret(ctx, lowerName(v), s.Name); err != nil {
				return nil, err
			}
		} else if in.Properties.Value == nil {
			return nil, bad("The property 'value' of secret '%s' is required.", s.Name)
		}
		in.into(&s)
		if s, err = p.secrets.SetSecret(ctx, lowerName(v), s); err != nil {
			return nil, err
		}
		return &rp.Response{Status: http.StatusOK, Body: shownSecret(v, s)}, nil
	}
}

// into lays what was sent over a secret.
func (b *secretBody) into(s *Secret) {
	in := &b.Properties
	s.Value = in.Value
	if b.Tags != nil {
		s.Tags = b.Tags
	}
	if in.ContentType != nil {
		s.ContentType = *in.ContentType
	}
	if in.Attributes.Enabled != nil {
		s.Disabled = !*in.Attributes.Enabled
	}
	if n := in.Attributes.NotBefore; n != 0 {
		s.NotBefore = time.Unix(n, 0)
	}
	if n := in.Attributes.Expires; n != 0 {
		s.Expires = time.Unix(n, 0)
	}
}

func shownSecret(v *rp.Resource[Vault], s Secret) map[string]any {
	uri := strings.TrimSuffix(v.Properties.URI, "/") + "/secrets/" + s.Name
	attributes := map[string]any{"enabled": !s.Disabled, "created": s.Created.Unix(), "updated": s.Updated.Unix()}
	if !s.NotBefore.IsZero() {
		attributes["nbf"] = s.NotBefore.Unix()
	}
	if !s.Expires.IsZero() {
		attributes["exp"] = s.Expires.Unix()
	}
	properties := map[string]any{"attributes": attributes, "secretUri": uri, "secretUriWithVersion": uri + "/" + s.Version}
	if s.ContentType != "" {
		properties["contentType"] = s.ContentType
	}
	body := map[string]any{"id": v.ID.String() + "/secrets/" + s.Name, "name": s.Name, "type": secretType, "location": v.Location, "properties": properties}
	if len(s.Tags) > 0 {
		body["tags"] = s.Tags
	}
	return body
}

// accessPolicies is PUT vaults/{vault}/accessPolicies/{add|replace|remove} (Key Vault REST: Vaults, Update Access Policy).
func accessPolicies() rp.Registration {
	const path = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.KeyVault/vaults/{vault}/accessPolicies/{operation}"
	return rp.Routes(rp.Route{Method: http.MethodPut, Pattern: path, Permission: VaultType + "/accessPolicies/write", Versions: versions, Do: updatePolicies})
}

func updatePolicies(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + VaultType + "/" + path["vault"])
	if err != nil {
		return nil, err
	}
	v, err := rp.Get[Vault](tx, id)
	if err != nil {
		return nil, err
	}
	var in struct {
		Properties struct {
			AccessPolicies []AccessPolicy `json:"accessPolicies"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, bad("The body is not valid: properties.accessPolicies is a list of tenantId, objectId and permissions.")
	}
	if err := validatePolicies(in.Properties.AccessPolicies); err != nil {
		return nil, err
	}
	operation := strings.ToLower(path["operation"])
	switch operation {
	case "add", "replace", "remove":
	default:
		return nil, bad("The operation '%s' on access policies is none of add, replace, remove.", path["operation"])
	}
	for _, policy := range in.Properties.AccessPolicies {
		v.Properties.AccessPolicies = merged(v.Properties.AccessPolicies, policy, operation)
	}
	if err := rp.Save(tx, v); err != nil {
		return nil, err
	}
	return map[string]any{
		"id": v.ID.String() + "/accessPolicies/", "type": VaultType + "/accessPolicies",
		"properties": map[string]any{"accessPolicies": v.Properties.AccessPolicies},
	}, nil
}

// merged is the policies after one operation with one policy: it adds its permissions to those of its principal, takes
// their place, or takes them away.
func merged(all []AccessPolicy, p AccessPolicy, operation string) []AccessPolicy {
	all = slices.Clone(all)
	i := slices.IndexFunc(all, func(o AccessPolicy) bool {
		return strings.EqualFold(o.ObjectID, p.ObjectID) && strings.EqualFold(o.Application, p.Application) && strings.EqualFold(o.TenantID, p.TenantID)
	})
	if i < 0 {
		if operation != "remove" {
			all = append(all, p)
		}
		return all
	}
	if operation == "replace" {
		all[i] = p
		return all
	}
	permissions, left := map[string][]string{}, 0
	for _, kind := range []string{"keys", "secrets", "certificates", "storage"} {
		list := slices.Clone(all[i].Permissions[kind])
		for _, one := range p.Permissions[kind] {
			has := func(s string) bool { return strings.EqualFold(s, one) }
			switch {
			case operation == "remove":
				list = slices.DeleteFunc(list, has)
			case !slices.ContainsFunc(list, has):
				list = append(list, one)
			}
		}
		if len(list) > 0 {
			permissions[kind] = list
			left += len(list)
		}
	}
	if operation == "remove" && left == 0 {
		return slices.Delete(all, i, i+1)
	}
	all[i].Permissions = permissions
	return all
}
