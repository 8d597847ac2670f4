package graph

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/entra/directory"
	"vauban.dev/store"
)

// passwords are client secrets without their values, which nobody knows.
func passwords(list []directory.Secret) []object {
	out := []object{}
	for _, s := range list {
		out = append(out, object{"keyId": s.KeyID, "displayName": text(s.Name), "hint": s.Hint, "startDateTime": when(s.Start), "endDateTime": when(s.End), "secretText": nil, "customKeyIdentifier": nil})
	}
	return out
}

// keys are certificates; the certificate itself is shown where keyCredentials is selected (showKeys).
func keys(list []directory.Key) []object {
	out := []object{}
	for _, k := range list {
		out = append(out, object{"keyId": k.KeyID, "displayName": text(k.Name), "usage": k.Usage, "type": k.Type, "customKeyIdentifier": strings.ToUpper(hex.EncodeToString(k.Identifier)),
			"startDateTime": when(k.Start), "endDateTime": when(k.End), "key": nil})
	}
	return out
}

func (c *Call) showKeys(o object, list []directory.Key) {
	if !slices.ContainsFunc(c.query.selected, func(s string) bool { return strings.EqualFold(s, "keyCredentials") }) {
		return
	}
	shown := keys(list)
	for i, k := range list {
		shown[i]["key"] = base64.StdEncoding.EncodeToString(k.Certificate)
	}
	o["keyCredentials"] = shown
}

// maxCredentials bounds the credentials of an application.
const maxCredentials = 100

// writeKeys replaces the certificates: those without a key stay as they are, by their keyId.
func writeKeys[T any](f func(*T) *[]directory.Key) property[T] {
	return func(v *T, raw json.RawMessage) error {
		var list []struct {
			KeyID, DisplayName, Type, Usage string
			Key                             *string
			Start                           time.Time `json:"startDateTime"`
			End                             time.Time `json:"endDateTime"`
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		if len(list) > maxCredentials {
			return badRequest("Property 'keyCredentials' has at most %d entries.", maxCredentials)
		}
		had, out := *f(v), []directory.Key{}
		for _, in := range list {
			if at := slices.IndexFunc(had, func(k directory.Key) bool { return strings.EqualFold(k.KeyID, in.KeyID) }); at >= 0 && in.Key == nil {
				out = append(out, had[at])
				continue
			}
			if in.Key == nil {
				return badRequest("New key credential must have a key value: property 'keyCredentials'.")
			}
			if in.Type != "" && in.Type != "AsymmetricX509Cert" || in.Usage != "" && in.Usage != "Verify" {
				return badRequest("Property 'keyCredentials': type is AsymmetricX509Cert and usage is Verify.")
			}
			der, err := base64.StdEncoding.DecodeString(*in.Key)
			if err != nil {
				return err
			}
			k, err := directory.NewKey(in.DisplayName, der)
			if err != nil {
				return err2refusal(err)
			}
			if k.End.Before(in.End) && !in.End.IsZero() {
				in.End = k.End
			}
			if !in.End.IsZero() {
				k.End = in.End
			}
			if in.Start.After(k.Start) {
				k.Start = in.Start
			}
			if len(in.KeyID) == 36 {
				k.KeyID = strings.ToLower(in.KeyID)
			}
			out = append(out, k)
		}
		*f(v) = out
		return nil
	}
}

// err2refusal keeps the rule that a value breaks.
func err2refusal(err error) error {
	if invalid, ok := err.(*directory.Invalid); ok {
		return badRequest("Invalid value specified for property '%s': %s.", invalid.Property, invalid.Rule)
	}
	return err
}

// credentialed is an application or a service principal as an owner of credentials.
func (c *Call) credentialed(tx store.Tx) (directory.Ref, error) {
	r, err := c.holder(tx)
	if err != nil {
		return r, err
	}
	if r.Type == directory.TypeApplication {
		return r, c.mayChangeApplication(tx, r.ID, "applications/credentials/update")
	}
	return r, c.mayChangePrincipal(tx, r.ID, "servicePrincipals/credentials/update")
}

// addPassword makes a client secret; its value is in this answer and nowhere else.
func (c *Call) addPassword() error {
	var body struct {
		Credential struct {
			DisplayName *string
			Start       *time.Time `json:"startDateTime"`
			End         *time.Time `json:"endDateTime"`
			SecretText  *string
		} `json:"passwordCredential"`
	}
	if err := c.Body(&body); err != nil {
		return err
	}
	in := body.Credential
	if in.SecretText != nil {
		return badRequest("Property 'secretText' is read-only and cannot be set.")
	}
	start := c.clock.Now()
	if in.Start != nil {
		start = *in.Start
	}
	end := start.AddDate(2, 0, 0)
	if in.End != nil {
		end = *in.End
	}
	if !end.After(start) || end.Year() > 9999 {
		return badRequest("Invalid value specified for property 'endDateTime' of resource 'PasswordCredential': it is after startDateTime.")
	}
	name := ""
	if in.DisplayName != nil {
		name = *in.DisplayName
	}
	if len(name) > 120 {
		return badRequest("Invalid value specified for property 'displayName' of resource 'PasswordCredential': at most 120 characters.")
	}
	var secret directory.Secret
	var value string
	err := c.Update(func(tx store.Tx) error {
		r, err := c.credentialed(tx)
		if err != nil {
			return err
		}
		secret, value = directory.NewSecret(name, start, end)
		return c.dir.ChangeCredentials(tx, r.ID, func(all *directory.Credentials) error {
			if len(all.Secrets) >= maxCredentials {
				return badRequest("The application has %d passwordCredentials, and can have no more.", maxCredentials)
			}
			all.Secrets = append(all.Secrets, secret)
			return nil
		})
	})
	if err != nil {
		return err
	}
	o := passwords([]directory.Secret{secret})[0]
	o["secretText"] = value
	o["@odata.context"] = c.context("microsoft.graph.passwordCredential")
	return c.Answer(http.StatusOK, o)
}

func (c *Call) removePassword() error {
	var body struct {
		KeyID string `json:"keyId"`
	}
	if err := c.Body(&body); err != nil {
		return err
	}
	err := c.Update(func(tx store.Tx) error {
		r, err := c.credentialed(tx)
		if err != nil {
			return err
		}
		return c.dir.ChangeCredentials(tx, r.ID, func(all *directory.Credentials) error {
			at := slices.IndexFunc(all.Secrets, func(s directory.Secret) bool { return strings.EqualFold(s.KeyID, body.KeyID) })
			if at < 0 {
				return badRequest("No password credential found with keyId '%s'.", printable(body.KeyID))
			}
			all.Secrets = slices.Delete(all.Secrets, at, at+1)
			return nil
		})
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusNoContent, nil)
}

var federatedKind = kind{name: "federatedIdentityCredential", set: "federatedIdentityCredentials", sample: federatedObject(directory.FederatedCredential{})}

func federatedObject(f directory.FederatedCredential) object {
	return object{"id": f.ID, "name": f.Name, "issuer": f.Issuer, "subject": f.Subject, "audiences": some(f.Audiences), "description": text(f.Description), "claimsMatchingExpression": nil}
}

func (c *Call) listFederated() error {
	var a directory.Application
	if err := c.View(func(tx store.Tx) (err error) {
		a, err = c.application(tx, c.Vars[0])
		return err
	}); err != nil {
		return err
	}
	return c.list(federatedKind, slice(a.Federated, federatedObject))
}

// slice is a source of a list that is read already.
func slice[T any](list []T, show func(T) object) source {
	return func(_ store.Tx, after string, yield func(object) bool) error {
		seen := after == ""
		for _, v := range list {
			o := show(v)
			if !seen {
				seen = o["id"] == after
				continue
			}
			if !yield(o) {
				return nil
			}
		}
		return nil
	}
}

// federated finds a federated credential by id or name.
func federated(a directory.Application, key string) (directory.FederatedCredential, error) {
	key = strings.TrimPrefix(key, "name=")
	for _, f := range a.Federated {
		if strings.EqualFold(f.ID, key) || strings.EqualFold(f.Name, key) {
			return f, nil
		}
	}
	return directory.FederatedCredential{}, notFound(key)
}

func (c *Call) getFederated() error {
	var f directory.FederatedCredential
	if err := c.View(func(tx store.Tx) error {
		a, err := c.application(tx, c.Vars[0])
		if err != nil {
			return err
		}
		f, err = federated(a, c.Vars[1])
		return err
	}); err != nil {
		return err
	}
	return c.one(http.StatusOK, federatedKind, federatedObject(f))
}

type fic = directory.FederatedCredential

var federatedProperties = map[string]property[fic]{
	"name": at(func(f *fic) *string { return &f.Name }), "issuer": at(func(f *fic) *string { return &f.Issuer }), "subject": at(func(f *fic) *string { return &f.Subject }),
	"audiences": at(func(f *fic) *[]string { return &f.Audiences }), "description": at(func(f *fic) *string { return &f.Description }), "id": nil,
}

// changeFederated creates (POST), replaces or changes (PATCH) and deletes (DELETE) a federated credential.
func (c *Call) changeFederated() error {
	var body map[string]json.RawMessage
	if c.R.Method != http.MethodDelete {
		if err := c.Body(&body); err != nil {
			return err
		}
	}
	var f directory.FederatedCredential
	err := c.Update(func(tx store.Tx) error {
		a, err := c.application(tx, c.Vars[0])
		if err != nil {
			return err
		}
		if err := c.mayChangeApplication(tx, a.ID, "applications/credentials/update"); err != nil {
			return err
		}
		f = directory.FederatedCredential{}
		if c.R.Method != http.MethodPost {
			if f, err = federated(a, c.Vars[1]); err != nil {
				return err
			}
		}
		if c.R.Method == http.MethodDelete {
			return c.dir.RemoveFederated(tx, a.ID, f.ID)
		}
		name := f.Name
		if err := apply("FederatedIdentityCredential", federatedProperties, &f, body); err != nil {
			return err
		}
		switch {
		case c.R.Method == http.MethodPatch && f.Name != name:
			return badRequest("Property 'name' is read-only and cannot be set.")
		case c.R.Method == http.MethodPost:
			if _, err := federated(a, f.Name); err == nil {
				return fail(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with name %s already exists.", printable(f.Name))
			}
		}
		f, err = c.dir.PutFederated(tx, a.ID, f)
		return err
	})
	if err != nil {
		return err
	}
	if c.R.Method == http.MethodPost {
		return c.one(http.StatusCreated, federatedKind, federatedObject(f))
	}
	return c.Answer(http.StatusNoContent, nil)
}
