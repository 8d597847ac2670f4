package managedidentity

import (
	"context"
	"net/http"
	"net/url"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// FederatedType is the resource type of an identity's federated credentials.
const FederatedType = IdentityType + "/federatedIdentityCredentials"

// Federated is the properties of a federated credential (ManagedIdentity REST:
// FederatedIdentityCredentialProperties): whose token stands for the identity's own proof.
type Federated struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

func federatedType(d Directory) rp.Registration {
	return rp.Of(rp.Type[Federated]{
		Name:          FederatedType,
		Kind:          rp.Proxy,
		Versions:      rp.Versions[Federated]("2022-01-31-preview", "2023-01-31", "2023-07-31-preview", "2024-11-30", "2025-01-31-preview", "2025-05-31-preview"),
		NamePattern:   `^[a-zA-Z0-9][a-zA-Z0-9_-]{2,119}$`,
		NameRule:      "Federated identity credential names must start with a letter or number, and contain 3 to 120 letters, numbers, hyphens and underscores.",
		StateProperty: "-",
		SyncDelete:    true,
		Validate:      func(_ rp.Op, new, _ *rp.Resource[Federated]) error { return new.Properties.check() },
		Admit: func(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Federated]) error {
			return d.PutFederated(tx, new.ID.Parent(), new.ID.Name(), new.Properties)
		},
		Release: func(_ context.Context, tx *rp.Tx, r *rp.Resource[Federated]) error {
			return d.RemoveFederated(tx, r.ID.Parent(), r.ID.Name())
		},
	})
}

func (f Federated) check() error {
	u, err := url.Parse(f.Issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || len(f.Issuer) > 600:
		return invalid("issuer", "an https URL of at most 600 characters")
	case f.Subject == "" || len(f.Subject) > 600:
		return invalid("subject", "1 to 600 characters")
	case len(f.Audiences) != 1 || f.Audiences[0] == "" || len(f.Audiences[0]) > 600:
		return invalid("audiences", "exactly one audience of 1 to 600 characters; api://AzureADTokenExchange is the recommended one")
	}
	return nil
}

func invalid(property, rule string) error {
	return arm.Errorf(http.StatusBadRequest, "BadRequest", "Invalid value for property properties.%s: %s.", property, rule)
}
