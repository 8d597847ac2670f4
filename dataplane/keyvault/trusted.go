package keyvault

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"vauban.dev/authz"
	"vauban.dev/dataplane/keyvault/jwk"
	"vauban.dev/firewall"
)

// Trusted is one of the region's own services that uses a key for a resource, with the resource's managed identity. It comes over
// the platform's own path: the vault's firewall admits it by its bypass for trusted services or where the vault is open, and roles or
// access policies decide about the identity as about any caller.
type Trusted struct {
	Principal authz.Principal
	Resource  string // ARM id
}

// wrapAlgorithm is what services wrap data keys with.
const wrapAlgorithm = "RSA-OAEP-256"

// NewestKeyVersion returns the id of a key's newest version for a trusted service.
func (s *Service) NewestKeyVersion(ctx context.Context, t Trusted, vault, name string) (version string, err error) {
	err = s.trusted(ctx, t, vault, name, "", "GET keys/N", func(q *request) error {
		o, err := s.get(ctx, keyClass, q.vault.Name, name, "")
		version = o.ID
		return err
	})
	return version, err
}

// WrapFor wraps a data key with a version of a key for a trusted service. Errors are *Error as clients get them, or ErrNoVault.
func (s *Service) WrapFor(ctx context.Context, t Trusted, vault, name, version string, plain []byte) (wrapped []byte, err error) {
	err = s.trusted(ctx, t, vault, name, version, "POST keys/N/V/wrapkey", func(q *request) error {
		_, err := s.useKey(ctx, q.vault.Name, name, version, use{"wrapKey", false, func(k *jwk.Key) error {
			out, err := k.Encrypt(wrapAlgorithm, plain, nil, nil)
			wrapped = out.Value
			return err
		}})
		return err
	})
	return wrapped, err
}

// UnwrapFor unwraps what WrapFor wrapped.
func (s *Service) UnwrapFor(ctx context.Context, t Trusted, vault, name, version string, wrapped []byte) (plain []byte, err error) {
	err = s.trusted(ctx, t, vault, name, version, "POST keys/N/V/unwrapkey", func(q *request) error {
		_, err := s.useKey(ctx, q.vault.Name, name, version, use{"unwrapKey", true, func(k *jwk.Key) (err error) {
			plain, err = k.Decrypt(wrapAlgorithm, jwk.Sealed{Value: wrapped}, nil)
			return err
		}})
		return err
	})
	return plain, err
}

// trusted takes a call of a trusted service the road of a request: vault, firewall, permission, operation, log.
func (s *Service) trusted(ctx context.Context, t Trusted, vault, name, version, route string, do func(*request) error) (err error) {
	path := "/keys/" + name + "/" + version
	q := &request{
		s: s, r: (&http.Request{URL: &url.URL{Path: path}}).WithContext(ctx), principal: t.Principal, route: routes[route], class: keyClass,
		name: name, version: version, service: t.Resource, status: http.StatusOK,
	}
	defer func() {
		var e *Error
		if errors.As(err, &e) {
			q.status = e.Status
		}
		if err != nil { // what is used every few seconds is told where it fails
			q.record(err)
		}
	}()
	if q.vault, err = s.Vaults.Lookup(ctx, vault); err != nil {
		return err
	}
	rules := q.vault.Firewall
	if d := firewall.DecideInstance(rules, t.Principal.TenantID, t.Resource, true); !d.Allowed {
		inner := "ForbiddenByFirewall"
		if d.Code == firewall.PublicAccessDisabled {
			inner = "ForbiddenByConnection"
		}
		return newError(http.StatusForbidden, "Forbidden", inner, "The vault's network rules refuse the service that calls for %s.\r\nVault: %s;location=%s\r\nVauban: %s", t.Resource, q.vault.Name, q.vault.Location, d.Rule)
	}
	if err := q.authorize(); err != nil {
		return err
	}
	return do(q)
}
