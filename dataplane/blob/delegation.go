package blob

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// maxDelegation is how long a user delegation key may live.
const maxDelegation = 7 * 24 * time.Hour

// delegationDoc remembers who a user delegation key was given to, as groups decide on roles too.
type delegationDoc struct {
	Principal authz.Principal `json:"principal"`
	Expiry    time.Time       `json:"expiry"`
}

// delegate gives p a user delegation key, valid until expiry, at most seven days. The key is derived from the
// account's data key and from what names it, so that only its holder is remembered.
func (s *Service) delegate(ctx context.Context, account string, p authz.Principal, start, expiry time.Time) (k storagehttp.DelegationKey, secret []byte, err error) {
	if expiry.Sub(s.clock.Now()) > maxDelegation || !expiry.After(start) {
		return k, nil, errInvalidInput("a user delegation key lives at most seven days, and ends after it starts")
	}
	k = storagehttp.DelegationKey{
		ObjectID: p.ObjectID, TenantID: p.TenantID, Service: "b", SignedVersion: sasVersion,
		Start: start.UTC().Format(time.RFC3339), Expiry: expiry.UTC().Format(time.RFC3339),
	}
	if secret, err = s.delegationSecret(ctx, account, k); err != nil {
		return k, nil, err
	}
	err = s.store.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Put(kindDelegation, delegationID(account, k), encode(delegationDoc{Principal: p, Expiry: expiry}), store.Any)
		return err
	})
	return k, secret, err
}

func delegationID(account string, k storagehttp.DelegationKey) string {
	sum := sha256.Sum256([]byte(k.Text()))
	return account + "/" + hex.EncodeToString(sum[:16])
}

func (s *Service) delegationSecret(ctx context.Context, account string, k storagehttp.DelegationKey) ([]byte, error) {
	key, err := s.key(ctx, account)
	if err != nil {
		return nil, err
	}
	return key.Derive("user delegation\x00"+k.Text(), 32)
}

// RevokeDelegationKeys makes every user delegation key of an account worthless, and every SAS made with one:
// the action revokeUserDelegationKeys.
func (s *Service) RevokeDelegationKeys(ctx context.Context, account string) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		var keys []string
		err := tx.Scan(kindDelegation, account+"/", "", func(d store.Doc) bool {
			keys = append(keys, d.Key)
			return true
		})
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := tx.Delete(kindDelegation, key, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
}

// verifyDelegationSAS returns whom the key of a user delegation SAS was given to.
func (q *request) verifyDelegationSAS(s *storagehttp.SAS) (authz.Principal, error) {
	secret, err := q.s.delegationSecret(q.Ctx, q.Account.Name, *s.Key)
	if err != nil {
		return authz.Principal{}, err
	}
	text := serviceText(s, q.Account.Name, q.container, q.blob, moment(s.Resource, q.Query))
	if !hmac.Equal(storagehttp.MAC(secret, text), s.Signature) {
		return authz.Principal{}, errAuthentication("Signature did not match. String to sign used was %s", text)
	}
	from, err1 := storagehttp.ParseTime(s.Key.Start)
	to, err2 := storagehttp.ParseTime(s.Key.Expiry)
	now := q.s.clock.Now()
	if err1 != nil || err2 != nil || now.Before(from.Add(-storagehttp.MaxSkew)) || !now.Before(to) || s.Expiry.After(to) {
		return authz.Principal{}, errAuthentication("The user delegation key is valid from %s to %s, and the signature until %s.", s.Key.Start, s.Key.Expiry, s.ExpiryText)
	}
	var doc delegationDoc
	err = q.s.store.View(q.Ctx, func(tx store.Tx) error {
		d, err := tx.Get(kindDelegation, delegationID(q.Account.Name, *s.Key))
		if err != nil {
			return err
		}
		return decode(d.Value, &doc)
	})
	if errors.Is(err, store.ErrNotFound) {
		return authz.Principal{}, newError(http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request.").Because("the user delegation key was revoked")
	}
	return doc.Principal, err
}

// expireDelegations forgets user delegation keys that are over.
func (s *Service) expireDelegations(ctx context.Context) error {
	now := s.clock.Now()
	return s.store.Update(ctx, func(tx store.Tx) error {
		var old []string
		err := tx.Scan(kindDelegation, "", "", func(d store.Doc) bool {
			var doc delegationDoc
			if decode(d.Value, &doc) == nil && doc.Expiry.Before(now) {
				old = append(old, d.Key)
			}
			return true
		})
		if err != nil {
			return err
		}
		for _, key := range old {
			if err := tx.Delete(kindDelegation, key, store.Any); err != nil {
				return err
			}
		}
		return nil
	})
}
