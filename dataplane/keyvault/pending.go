package keyvault

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/dataplane/keyvault/certs"
	"vauban.dev/dataplane/keyvault/jwk"
	"vauban.dev/store"
)

// States of a pending operation.
const (
	pendingInProgress = "inProgress"
	pendingCompleted  = "completed"
	pendingCancelled  = "cancelled"
)

// pendingDocument is the making of a certificate's next version.
type pendingDocument struct {
	RequestID string            `json:"requestId"`
	Status    string            `json:"status"`
	CSR       []byte            `json:"csr"`
	Cancelled bool              `json:"cancelled,omitempty"`
	Policy    certificatePolicy `json:"policy"` // of the version to be
	Enabled   bool              `json:"enabled"`
	Tags      map[string]string `json:"tags,omitempty"`
	Sealed    []byte            `json:"sealed,omitempty"` // the private key that the request is for
	Version   string            `json:"version,omitempty"`
}

// pendingBinding ties the key of a pending operation to it.
func pendingBinding(vault, name, request string) string {
	return "vaultpending/" + versionKey(vault, name, request)
}

func errNoPending(name string) *Error {
	return newError(http.StatusNotFound, "PendingCertificateNotFound", "", "Pending certificate not found: %s", name)
}

func errPendingInProgress(name string) *Error {
	return newError(http.StatusConflict, "Conflict", "PendingCertificateInProgress",
		"A new key vault certificate can not be created or imported while a pending key vault certificate's status is inProgress: %s", name)
}

// createCertificate begins a certificate by its policy: of issuer Self it is made at once, of Unknown a request waits for its merge.
func (s *Service) createCertificate(ctx context.Context, v Vault, name string, p certificatePolicy, o SetOptions) (*headDoc, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := s.checkIssuer(ctx, v, p.Issuer.Name); err != nil {
		return nil, err
	}
	reuse, err := s.reused(ctx, v.Name, name, p)
	if err != nil {
		return nil, err
	}
	k := reuse
	if k == nil {
		if k, err = p.newKey(); err != nil {
			return nil, err
		}
	}
	csr, err := p.spec().Request(k)
	if err != nil {
		return nil, badCertificate(err)
	}
	pending := &pendingDocument{RequestID: strings.ReplaceAll(uuid.NewString(), "-", ""), Status: pendingInProgress, CSR: csr, Policy: p, Enabled: !o.Disabled, Tags: o.Tags}
	free := func(head *headDoc) error {
		if head.Pending != nil && head.Pending.Status == pendingInProgress {
			return errPendingInProgress(head.Name)
		}
		head.Pending = pending
		return nil
	}
	if strings.EqualFold(p.Issuer.Name, issuerSelf) {
		pending.Status = pendingCompleted
		made, err := s.selfSign(ctx, v.Name, name, p, o, k, free)
		return made.head, err
	}
	if pending.Sealed, err = s.sealPending(ctx, v.Name, name, pending.RequestID, k); err != nil {
		return nil, err
	}
	return s.putPending(ctx, v.Name, name, free)
}

func (s *Service) reused(ctx context.Context, vault, name string, p certificatePolicy) (*jwk.Key, error) {
	if !p.Key.Reuse {
		return nil, nil
	}
	return s.currentKey(ctx, vault, name)
}

func (s *Service) sealPending(ctx context.Context, vault, name, request string, k *jwk.Key) ([]byte, error) {
	own, err := s.Keys.Key(ctx, owner(vault))
	if err != nil {
		return nil, err
	}
	plain, err := k.Marshal()
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return own.Seal(nil, plain, pendingBinding(vault, name, request))
}

// putPending has edit change a certificate's pending operation; the certificate may be a new one.
func (s *Service) putPending(ctx context.Context, vault, name string, edit func(*headDoc) error) (head *headDoc, err error) {
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		if head, err = s.forNew(tx, certificateClass, vault, name); err != nil {
			return err
		}
		if err := edit(head); err != nil {
			return err
		}
		if head.Issuance == nil {
			now := s.Clock.Now().Unix()
			head.Issuance = &certificateDoc{Policy: head.Pending.Policy, Created: now, Updated: now}
		}
		return put(tx, certificateClass.head, headKey(vault, name), head)
	})
	return head, err
}

// changePending has edit change the pending operation there is.
func (s *Service) changePending(ctx context.Context, vault, name string, edit func(*headDoc) error) (head *headDoc, err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		if head, err = s.active(tx, certificateClass, vault, name); err != nil {
			return err
		}
		if head.Pending == nil {
			return errNoPending(name)
		}
		if err := edit(head); err != nil {
			return err
		}
		return put(tx, certificateClass.head, headKey(vault, name), head)
	})
	return head, err
}

func (s *Service) pending(ctx context.Context, vault, name string) (head *headDoc, err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		head, err = s.active(tx, certificateClass, vault, name)
		return err
	})
	if IsNotFound(err) || err == nil && head.Pending == nil {
		return nil, errNoPending(name)
	}
	return head, err
}

// merge makes a version of the certificates that an authority signed by the pending request.
func (s *Service) merge(ctx context.Context, vault, name string, ders [][]byte, o SetOptions, tags bool) (made object, err error) {
	head, err := s.pending(ctx, vault, name)
	if err != nil {
		return made, err
	}
	p := head.Pending
	if p.Status != pendingInProgress {
		return made, newError(http.StatusForbidden, "Forbidden", "", "The pending certificate %s is %s: nothing can be merged.", name, p.Status)
	}
	own, err := s.Keys.Existing(ctx, owner(vault))
	if err != nil {
		return made, err
	}
	plain, err := own.Open(nil, p.Sealed, pendingBinding(vault, name, p.RequestID))
	if err != nil {
		return made, err
	}
	defer clear(plain)
	k, err := jwk.Parse(plain)
	if err != nil {
		return made, err
	}
	leaf, chain, err := parseChain(k, ders)
	if err != nil {
		return made, err
	}
	if !tags {
		o.Tags = p.Tags
	}
	return s.storeCertificate(ctx, vault, head.Name, issued{certs.Bundle{Key: k, Leaf: leaf, Chain: chain}, p.Policy, o}, func(head *headDoc) error {
		if head.Pending == nil || head.Pending.RequestID != p.RequestID || head.Pending.Status != pendingInProgress {
			return errNoPending(name)
		}
		head.Pending.Status, head.Pending.Sealed = pendingCompleted, nil
		return nil
	})
}
