package keyvault

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/dataplane/keyvault/certs"
	"vauban.dev/dataplane/keyvault/jwk"
	"vauban.dev/store"
)

// badCertificate is an error of package certs as the service tells it.
func badCertificate(err error) error {
	var e certs.Error
	if errors.As(err, &e) {
		return errBadParameter("%s", e)
	}
	return badKey(err)
}

// newKey makes the key that a policy asks for.
func (p *certificatePolicy) newKey() (*jwk.Key, error) {
	base, _ := strings.CutSuffix(p.Key.Type, "-HSM")
	size := p.Key.Size
	if base == jwk.EC {
		size = 0
	}
	k, err := jwk.Generate(base, size, p.Key.Curve)
	return k, badKey(err)
}

// issued is a new version of a certificate.
type issued struct {
	certs.Bundle
	policy  certificatePolicy
	options SetOptions // of which times come from the certificate
}

// store writes a new version of a certificate with its key and its secret, under one version id, and has edit finish the head.
func (s *Service) storeCertificate(ctx context.Context, vault, name string, n issued, edit func(*headDoc) error) (o object, err error) {
	id := randomVersion()
	now := s.Clock.Now().Unix()
	base := versionDoc{
		ID: id, Enabled: !n.options.Disabled, NotBefore: n.Leaf.NotBefore.Unix(), Expires: n.Leaf.NotAfter.Unix(), Created: now, Updated: now,
		Tags: n.options.Tags, Managed: true, ContentType: n.policy.Secret.ContentType,
	}
	if err := base.check(); err != nil {
		return o, err
	}
	versions := map[*class]versionDoc{}
	cert := base
	cert.DER = n.Leaf.Raw
	versions[certificateClass] = cert
	if versions[secretClass], err = s.certificateSecret(ctx, vault, name, base, n); err != nil {
		return o, err
	}
	public := n.Key.Public()
	key, err := s.keyVersion(ctx, vault, name, id, n.Key, keyFacts{
		HSM: strings.HasSuffix(n.policy.Key.Type, "-HSM"), Operations: operationsOf(public.Type), Public: public,
	})
	if err != nil {
		return o, err
	}
	key.Enabled, key.NotBefore, key.Expires, key.Tags, key.Managed = base.Enabled, base.NotBefore, base.Expires, base.Tags, true
	versions[keyClass] = key
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		for _, c := range certificateClass.parts() {
			head, err := s.forNew(tx, c, vault, name)
			if err != nil {
				return err
			}
			if c != certificateClass && head.Current.ID != "" && !head.Current.Managed {
				return newError(http.StatusConflict, "Conflict", "", "There is a %s with the name %s that belongs to no certificate: the certificate's own %s needs the name.", c.noun, head.Name, c.noun)
			}
			if c == certificateClass {
				if head.Issuance == nil {
					head.Issuance = &certificateDoc{Created: now}
				}
				head.Issuance.Policy, head.Issuance.Updated = n.policy, now
				if err := edit(head); err != nil {
					return err
				}
				o = object{c, head, versions[c]}
			}
			if err := add(tx, c, vault, head, versions[c]); err != nil {
				return err
			}
		}
		return nil
	})
	return o, err
}

// certificateSecret is the version of a certificate's secret: the certificate with its private key, where that may leave the vault.
func (s *Service) certificateSecret(ctx context.Context, vault, name string, v versionDoc, n issued) (versionDoc, error) {
	b := n.Bundle
	if !*n.policy.Key.Exportable {
		b.Key = nil
	}
	var plain []byte
	var err error
	if v.ContentType == typePEM {
		plain, err = b.PEM()
	} else if plain, err = b.PFX(); err == nil {
		plain = encodePFX(plain)
	}
	if err != nil {
		return v, err
	}
	defer clear(plain)
	v.Sealed, err = s.seal(ctx, secretClass, vault, name, v.ID, plain)
	return v, err
}

// importCertificate adds a certificate that a client made.
func (s *Service) importCertificate(ctx context.Context, v Vault, name string, b certs.Bundle, p certificatePolicy, o SetOptions) (object, error) {
	if err := p.checkActions(); err != nil {
		return object{}, err
	}
	return s.storeCertificate(ctx, v.Name, name, issued{b, p, o}, func(head *headDoc) error {
		if head.Pending != nil && head.Pending.Status == pendingInProgress {
			return errPendingInProgress(head.Name)
		}
		return nil
	})
}

// selfSign makes a certificate by a policy of issuer Self. reuse is the key to use again, nil for a new one.
func (s *Service) selfSign(ctx context.Context, vault, name string, p certificatePolicy, o SetOptions, reuse *jwk.Key, edit func(*headDoc) error) (made object, err error) {
	if reuse == nil {
		if reuse, err = p.newKey(); err != nil {
			return made, err
		}
	}
	b, err := p.spec().SelfSigned(reuse, s.Clock.Now())
	if err != nil {
		return made, badCertificate(err)
	}
	return s.storeCertificate(ctx, vault, name, issued{b, p, o}, edit)
}

// currentKey is the key of a certificate's newest version; nil where the certificate was never issued.
func (s *Service) currentKey(ctx context.Context, vault, name string) (*jwk.Key, error) {
	o, err := s.get(ctx, keyClass, vault, name, "")
	if IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.private(ctx, vault, o)
}

// updateCertificate changes a version of a certificate, and of its key and secret what concerns them.
func (s *Service) updateCertificate(ctx context.Context, vault, name, version string, c Change, policy *certificatePolicy) (o object, err error) {
	if err := checkName(name); err != nil {
		return o, err
	}
	c.NotBefore, c.Expires = nil, nil // the certificate's own
	now := s.Clock.Now().Unix()
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		for _, part := range certificateClass.parts() {
			head, err := s.active(tx, part, vault, name)
			if err != nil {
				return err
			}
			id := version
			if id == "" {
				id = head.Current.ID
			}
			v, err := getVersion(tx, part, vault, name, id)
			if err != nil {
				return err
			}
			if err := c.apply(&v); err != nil {
				return err
			}
			v.Updated = now
			if err := v.check(); err != nil {
				return err
			}
			if part == certificateClass && policy != nil {
				head.Issuance.Policy, head.Issuance.Updated = *policy, now
			}
			if v.ID == head.Current.ID {
				head.Current = v
				head.Current.Sealed = nil
			}
			if part == certificateClass {
				o = object{part, head, v}
			}
			if err := errors.Join(put(tx, part.version, versionKey(vault, name, v.ID), v), put(tx, part.head, headKey(vault, name), head)); err != nil {
				return err
			}
		}
		return nil
	})
	return o, err
}

// renews reports whether a certificate's renewal is due by the region's clock.
func (s *Service) renews(head *headDoc) bool {
	if head.Issuance == nil || head.Deleted != 0 || head.Current.ID == "" || !head.Current.Enabled {
		return false
	}
	p := head.Issuance.Policy
	if p.Issuer == nil || !strings.EqualFold(p.Issuer.Name, issuerSelf) {
		return false // nobody that the vault could ask
	}
	from, to, now := head.Current.NotBefore, head.Current.Expires, s.Clock.Now().Unix()
	for _, a := range p.Actions {
		if !strings.EqualFold(a.Action.Type, "AutoRenew") {
			continue
		}
		if d := int64(a.Trigger.Days) * 24 * 3600; d > 0 && now >= to-d {
			return true
		}
		if pct := int64(a.Trigger.Percentage); pct > 0 && now >= from+(to-from)/100*pct {
			return true
		}
	}
	return false
}

// Renew makes a new version of every certificate whose policy says that it is time, once.
func (s *Service) Renew(ctx context.Context) error {
	due, err := s.heads(ctx, certificateClass, s.renews)
	if err != nil {
		return err
	}
	for _, p := range due {
		o, err := s.get(ctx, certificateClass, p.vault, p.name, "")
		if err != nil {
			return err
		}
		policy := o.head.Issuance.Policy
		var reuse *jwk.Key
		if policy.Key.Reuse {
			if reuse, err = s.currentKey(ctx, p.vault, p.name); err != nil {
				return err
			}
		}
		made, err := s.selfSign(ctx, p.vault, p.name, policy, SetOptions{Tags: o.Tags}, reuse, func(head *headDoc) error {
			if !s.renews(head) {
				return errAnotherWasFirst
			}
			return nil
		})
		if errors.Is(err, errAnotherWasFirst) {
			continue
		}
		if err != nil {
			return err
		}
		s.Log.Info("keyvault: certificate renewed by its policy", "vault", p.vault, "certificate", p.name, "version", made.ID)
	}
	return nil
}

var errAnotherWasFirst = errors.New("keyvault: renewed already")

// parseChain parses the certificates of a merge, of which one belongs to the key: that one, and the others.
func parseChain(k *jwk.Key, ders [][]byte) (leaf *x509.Certificate, chain []*x509.Certificate, err error) {
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, errBadParameter("Property x5c[%d] is not an X.509 certificate.", i)
		}
		if leaf == nil && certs.Belongs(k, c) {
			leaf = c
		} else {
			chain = append(chain, c)
		}
	}
	if leaf == nil {
		return nil, nil, errBadParameter("Property x5c: the public key of the end-entity certificate does not match the one of the pending request.")
	}
	return leaf, chain, nil
}
