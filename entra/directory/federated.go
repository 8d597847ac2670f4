package directory

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"vauban.dev/store"
)

// FederatedCredential lets a token of another issuer stand for a secret ("Workload identity federation";
// Microsoft Graph, federatedIdentityCredential). The token's iss, sub and aud must be equal to it, with case.
type FederatedCredential struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Issuer      string   `json:"issuer"`
	Subject     string   `json:"subject"`
	Audiences   []string `json:"audiences"`
	Description string   `json:"description,omitempty"`
}

// maxFederated bounds the federated credentials of an application or identity, as Azure does.
const maxFederated = 20

var federatedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`)

func (f *FederatedCredential) check() error {
	u, err := url.Parse(f.Issuer)
	switch {
	case !federatedName.MatchString(f.Name):
		return &Invalid{"name", "3 to 120 letters, digits, - and _, the first a letter or digit"}
	case err != nil || u.Scheme != "https" || u.Host == "" || len(f.Issuer) > 600:
		return &Invalid{"issuer", "an https URL of at most 600 characters"}
	case f.Subject == "" || len(f.Subject) > 600:
		return &Invalid{"subject", "1 to 600 characters"}
	case len(f.Audiences) != 1 || f.Audiences[0] == "" || len(f.Audiences[0]) > 600:
		return &Invalid{"audiences", "exactly one audience of 1 to 600 characters; api://AzureADTokenExchange is the recommended one"}
	case len(f.Description) > 600:
		return &Invalid{"description", "at most 600 characters"}
	}
	return nil
}

// putFederated adds a credential to a list, or replaces the one with its name; *Invalid, *Conflict.
func putFederated(list []FederatedCredential, f FederatedCredential) ([]FederatedCredential, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	out := slices.Clone(list)
	at := slices.IndexFunc(out, func(x FederatedCredential) bool { return strings.EqualFold(x.Name, f.Name) })
	for i, x := range out {
		if i != at && x.Issuer == f.Issuer && x.Subject == f.Subject {
			return nil, &Conflict{"issuer and subject", f.Issuer + " " + f.Subject}
		}
	}
	if at < 0 {
		if len(out) >= maxFederated {
			return nil, &Invalid{"federatedIdentityCredentials", "at most 20"}
		}
		return append(out, f), nil
	}
	out[at] = f
	return out, nil
}

// PutIdentityCredential gives a user-assigned identity a federated credential, or replaces the one with its
// name; ErrNoPrincipal, *Invalid, *Conflict.
func (o *Objects) PutIdentityCredential(tx store.Tx, objectID string, f FederatedCredential) error {
	return o.UpdatePrincipal(tx, objectID, func(p *ServicePrincipal) (err error) {
		f.ID = newID() // what a token hangs on: another subject is another credential
		for _, x := range p.Federated {
			if strings.EqualFold(x.Name, f.Name) && x.Issuer == f.Issuer && x.Subject == f.Subject && slices.Equal(x.Audiences, f.Audiences) {
				f.ID = x.ID
			}
		}
		p.Federated, err = putFederated(p.Federated, f)
		return err
	})
}

// RemoveIdentityCredential takes a federated credential away from a user-assigned identity, if it has one with
// this name; ErrNoPrincipal.
func (o *Objects) RemoveIdentityCredential(tx store.Tx, objectID, name string) error {
	return o.UpdatePrincipal(tx, objectID, func(p *ServicePrincipal) error {
		p.Federated = slices.DeleteFunc(p.Federated, func(f FederatedCredential) bool { return strings.EqualFold(f.Name, name) })
		return nil
	})
}

// PutFederated gives an application a federated credential, or replaces the one with its name, and returns it
// with its id; ErrNotFound, *Invalid, *Conflict.
func (o *Objects) PutFederated(tx store.Tx, applicationID string, f FederatedCredential) (FederatedCredential, error) {
	_, err := o.UpdateApplication(tx, applicationID, func(a *Application) (err error) {
		f.ID = newID()
		for _, x := range a.Federated {
			if strings.EqualFold(x.Name, f.Name) {
				f.ID = x.ID
			}
		}
		a.Federated, err = putFederated(a.Federated, f)
		return err
	})
	return f, err
}

// RemoveFederated takes a federated credential away from an application, if it has it; ErrNotFound.
func (o *Objects) RemoveFederated(tx store.Tx, applicationID, id string) error {
	_, err := o.UpdateApplication(tx, applicationID, func(a *Application) error {
		a.Federated = slices.DeleteFunc(a.Federated, func(f FederatedCredential) bool { return f.ID == id })
		return nil
	})
	return err
}
