package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/store"
)

// Kinds of documents for what is said of all of a vault's certificates.
const (
	kindIssuer   = "keyvault.issuer"   // vault/name → issuerDoc
	kindContacts = "keyvault.contacts" // vault → contactsDoc
)

// issuerDoc is an issuer on the wire and in the store (IssuerBundle). A password is taken and not kept: nothing here would use it.
type issuerDoc struct {
	ID           string             `json:"id,omitempty"`
	Provider     string             `json:"provider,omitempty"`
	Credentials  *issuerCredentials `json:"credentials,omitempty"`
	Organization json.RawMessage    `json:"org_details,omitempty"`
	Attributes   *policyAttributes  `json:"attributes,omitempty"`
	Name         string             `json:"name,omitempty"` // in the store
}

type issuerCredentials struct {
	AccountID string `json:"account_id,omitempty"`
}

type contact struct {
	Email string `json:"email,omitempty"`
	Name  string `json:"name,omitempty"`
	Phone string `json:"phone,omitempty"`
}

type contactsDoc struct {
	ID       string    `json:"id,omitempty"`
	Contacts []contact `json:"contacts"`
}

// providers of certificates that an issuer may name. None of them is in the region; templates that name them work until a certificate is asked for.
var providers = []string{"DigiCert", "GlobalSign", "OneCertV2-PublicCA", "OneCertV2-PrivateCA", "Test"}

func errNoIssuer(name string) *Error {
	return newError(http.StatusNotFound, "CertificateIssuerNotFound", "", "Issuer not found: %s", name)
}

func (s *Service) loadIssuer(ctx context.Context, vault, name string) (doc issuerDoc, err error) {
	if err := checkName(name); err != nil {
		return doc, err
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		doc, err = getIssuer(tx, vault, name)
		return err
	})
	return doc, err
}

func getIssuer(tx store.Tx, vault, name string) (doc issuerDoc, err error) {
	d, err := tx.Get(kindIssuer, headKey(vault, name))
	if errors.Is(err, store.ErrNotFound) {
		return doc, errNoIssuer(name)
	}
	if err != nil {
		return doc, err
	}
	return doc, decode(d.Value, &doc)
}

// checkIssuer says whether certificates of the issuer can be made.
func (s *Service) checkIssuer(ctx context.Context, v Vault, name string) error {
	if strings.EqualFold(name, issuerSelf) || strings.EqualFold(name, issuerUnknown) {
		return nil
	}
	doc, err := s.loadIssuer(ctx, v.Name, name)
	if err != nil {
		return err
	}
	return errNotImplemented("The issuer %s is of %s, an authority that the region cannot reach: use issuer %s, or %s and merge what an authority signed.", doc.Name, doc.Provider, issuerSelf, issuerUnknown)
}

func (q *request) shownIssuer(doc issuerDoc) issuerDoc {
	doc.ID = q.base() + "/certificates/issuers/" + doc.Name
	doc.Name = ""
	return doc
}

func (q *request) getIssuer() error {
	doc, err := q.s.loadIssuer(q.r.Context(), q.vault.Name, q.issuer)
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.shownIssuer(doc))
	return nil
}

func (q *request) setIssuer() error    { return q.writeIssuer(false) }
func (q *request) updateIssuer() error { return q.writeIssuer(true) }

func (q *request) writeIssuer(patch bool) error {
	var in issuerDoc
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	if err := checkName(q.issuer); err != nil {
		return err
	}
	if strings.EqualFold(q.issuer, issuerSelf) || strings.EqualFold(q.issuer, issuerUnknown) {
		return errBadParameter("The name %s is reserved: an issuer cannot have it.", q.issuer)
	}
	now := q.s.Clock.Now().Unix()
	yes := true
	doc := issuerDoc{Name: q.issuer, Attributes: &policyAttributes{Enabled: &yes, Created: &now}}
	err := q.s.Store.Update(q.r.Context(), func(tx store.Tx) error {
		old, err := getIssuer(tx, q.vault.Name, q.issuer)
		var missing *Error
		switch {
		case err == nil && patch:
			doc = old
		case err == nil:
			doc.Name, doc.Attributes.Created = old.Name, old.Attributes.Created
		case patch || !errors.As(err, &missing):
			return err
		}
		if err := doc.lay(in); err != nil {
			return err
		}
		doc.Attributes.Updated = &now
		return put(tx, kindIssuer, headKey(q.vault.Name, q.issuer), doc)
	})
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.shownIssuer(doc))
	return nil
}

// lay lays what a client sent over an issuer.
func (d *issuerDoc) lay(in issuerDoc) error {
	if in.Provider != "" {
		d.Provider = in.Provider
	}
	known := false
	for _, p := range providers {
		if strings.EqualFold(p, d.Provider) {
			d.Provider, known = p, true
		}
	}
	if !known {
		return errBadParameter("Property provider '%s' is none of %s.", d.Provider, strings.Join(providers, ", "))
	}
	if in.Credentials != nil {
		d.Credentials = in.Credentials
	}
	if in.Organization != nil {
		d.Organization = in.Organization
	}
	if a := in.Attributes; a != nil && a.Enabled != nil {
		d.Attributes.Enabled = a.Enabled
	}
	return nil
}

func (q *request) deleteIssuer() error {
	var doc issuerDoc
	err := q.s.Store.Update(q.r.Context(), func(tx store.Tx) (err error) {
		if doc, err = getIssuer(tx, q.vault.Name, q.issuer); err != nil {
			return err
		}
		return tx.Delete(kindIssuer, headKey(q.vault.Name, q.issuer), store.Any)
	})
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.shownIssuer(doc))
	return nil
}

func (q *request) listIssuers() error {
	type listed struct {
		ID       string `json:"id"`
		Provider string `json:"provider"`
	}
	list, err := []listed{}, error(nil)
	err = q.s.Store.View(q.r.Context(), func(tx store.Tx) error {
		var bad error
		err := tx.Scan(kindIssuer, headKey(q.vault.Name, ""), "", func(d store.Doc) bool {
			var doc issuerDoc
			if bad = decode(d.Value, &doc); bad == nil {
				list = append(list, listed{q.shownIssuer(doc).ID, doc.Provider})
			}
			return bad == nil
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return err
	}
	q.send(http.StatusOK, map[string]any{"value": list, "nextLink": nil})
	return nil
}

func contactsKey(vault string) string { return strings.ToLower(vault) }

func errNoContacts() *Error {
	return newError(http.StatusNotFound, "ContactsNotFound", "", "Contacts not found")
}

func (q *request) contacts(tx store.Tx) (doc contactsDoc, err error) {
	d, err := tx.Get(kindContacts, contactsKey(q.vault.Name))
	if errors.Is(err, store.ErrNotFound) {
		return doc, errNoContacts()
	}
	if err != nil {
		return doc, err
	}
	doc.ID = q.base() + "/certificates/contacts"
	return doc, decode(d.Value, &doc)
}

func (q *request) getContacts() error {
	var doc contactsDoc
	err := q.s.Store.View(q.r.Context(), func(tx store.Tx) (err error) {
		doc, err = q.contacts(tx)
		return err
	})
	if err != nil {
		return err
	}
	q.send(http.StatusOK, doc)
	return nil
}

func (q *request) setContacts() error {
	var doc contactsDoc
	if err := q.readBody(&doc, maxBody); err != nil {
		return err
	}
	for i, c := range doc.Contacts {
		if c.Email == "" || len(c.Email)+len(c.Name)+len(c.Phone) > 1024 {
			return errBadParameter("Invalid contacts: contacts[%d] needs an email, and is not longer than 1024 characters.", i)
		}
	}
	if len(doc.Contacts) == 0 {
		return errBadParameter("Invalid contacts: the list is empty. Delete it instead.")
	}
	doc.ID = ""
	err := q.s.Store.Update(q.r.Context(), func(tx store.Tx) error {
		return put(tx, kindContacts, contactsKey(q.vault.Name), doc)
	})
	if err != nil {
		return err
	}
	doc.ID = q.base() + "/certificates/contacts"
	q.send(http.StatusOK, doc)
	return nil
}

func (q *request) deleteContacts() error {
	var doc contactsDoc
	err := q.s.Store.Update(q.r.Context(), func(tx store.Tx) (err error) {
		if doc, err = q.contacts(tx); err != nil {
			return err
		}
		return tx.Delete(kindContacts, contactsKey(q.vault.Name), store.Any)
	})
	if err != nil {
		return err
	}
	q.send(http.StatusOK, doc)
	return nil
}

// forgetSettings removes a vault's issuers and contacts.
func forgetSettings(tx store.Tx, vault string) error {
	err := tx.Delete(kindContacts, contactsKey(vault), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, deleteAll(tx, kindIssuer, headKey(vault, "")))
}
