package keyvault

import (
	"encoding/base64"
	"net/http"
	"strings"

	"vauban.dev/dataplane/keyvault/certs"
)

// certificateParameters is the body of Create, Import, Update and Merge Certificate.
type certificateParameters struct {
	Value      *string            `json:"value"` // of an import: PFX in base64, or PEM
	Password   string             `json:"pwd"`
	Chain      [][]byte           `json:"x5c"` // of a merge: DER
	Policy     *certificatePolicy `json:"policy"`
	Attributes *attributes        `json:"attributes"`
	Tags       *map[string]string `json:"tags"`
}

// encodePFX is what the secret of a certificate holds for a PFX file.
func encodePFX(b []byte) []byte { return base64.StdEncoding.AppendEncode(nil, b) }

// policy is a certificate's policy as it is shown.
func (q *request) policy(head *headDoc) *certificatePolicy {
	if head.Issuance == nil {
		return nil
	}
	yes, p := true, head.Issuance.Policy
	p.ID = q.base() + "/certificates/" + head.Name + "/policy"
	p.Attributes = &policyAttributes{Enabled: &yes, Created: &head.Issuance.Created, Updated: &head.Issuance.Updated}
	return &p
}

// operation is a pending operation on the wire (CertificateOperation).
type operation struct {
	ID        string        `json:"id"`
	Issuer    *policyIssuer `json:"issuer"`
	CSR       []byte        `json:"csr"`
	Cancelled bool          `json:"cancellation_requested"`
	Status    string        `json:"status"`
	Details   string        `json:"status_details,omitempty"`
	Target    string        `json:"target,omitempty"`
	RequestID string        `json:"request_id"`
}

func (q *request) operation(head *headDoc) operation {
	p := head.Pending
	o := operation{
		ID: q.base() + "/certificates/" + head.Name + "/pending", Issuer: p.Policy.Issuer, CSR: p.CSR, Cancelled: p.Cancelled, Status: p.Status, RequestID: p.RequestID,
	}
	switch {
	case p.Status == pendingCompleted:
		o.Target = q.base() + "/certificates/" + head.Name
	case p.Status == pendingInProgress:
		o.Details = "Pending certificate created. Please Perform Merge to complete the request."
	}
	return o
}

func (q *request) sendOperation(status int, head *headDoc, err error) error {
	if err != nil {
		return err
	}
	q.send(status, q.operation(head))
	return nil
}

func (q *request) createCertificate() error {
	var in certificateParameters
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	ctx := q.r.Context()
	p := certificatePolicy{}
	if o, err := q.s.pending(ctx, q.vault.Name, q.name); err == nil { // a new version without a policy takes the one there is
		p = o.Issuance.Policy
	} else if o, err := q.s.get(ctx, certificateClass, q.vault.Name, q.name, ""); err == nil {
		p = o.head.Issuance.Policy
	}
	if in.Policy != nil {
		p = *in.Policy
	}
	p.complete()
	if err := p.check(q.vault); err != nil {
		return err
	}
	head, err := q.s.createCertificate(ctx, q.vault, q.name, p, in.Attributes.options(in.Tags))
	if err == nil {
		q.w.Header().Set("Location", q.base()+"/certificates/"+head.Name+"/pending?api-version="+q.r.URL.Query().Get("api-version")+"&request_id="+head.Pending.RequestID)
	}
	if err != nil {
		return err
	}
	o := q.operation(head)
	o.Status, o.Target = pendingInProgress, "" // also of one that is made: clients ask again before they fetch it
	q.send(http.StatusAccepted, o)
	return nil
}

func (q *request) getPending() error {
	head, err := q.s.pending(q.r.Context(), q.vault.Name, q.name)
	return q.sendOperation(http.StatusOK, head, err)
}

func (q *request) cancelPending() error {
	var in struct {
		Cancel bool `json:"cancellation_requested"`
	}
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	if !in.Cancel {
		return errBadParameter("Property cancellation_requested must be true.")
	}
	head, err := q.s.changePending(q.r.Context(), q.vault.Name, q.name, func(head *headDoc) error {
		p := head.Pending
		if p.Status == pendingInProgress {
			p.Status, p.Sealed = pendingCancelled, nil
		}
		p.Cancelled = true
		return nil
	})
	return q.sendOperation(http.StatusOK, head, err)
}

func (q *request) deletePending() error {
	var gone headDoc
	_, err := q.s.changePending(q.r.Context(), q.vault.Name, q.name, func(head *headDoc) error {
		gone = *head
		head.Pending = nil
		return nil
	})
	return q.sendOperation(http.StatusOK, &gone, err)
}

func (q *request) mergeCertificate() error {
	var in certificateParameters
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	if len(in.Chain) == 0 {
		return errBadParameter("Property x5c is required: the certificates in base64, the signed one among them.")
	}
	o, err := q.s.merge(q.r.Context(), q.vault.Name, q.name, in.Chain, in.Attributes.options(in.Tags), in.Tags != nil)
	if err != nil {
		return err
	}
	q.send(http.StatusCreated, q.bundle(o, whole))
	return nil
}

func (q *request) importCertificate() error {
	var in certificateParameters
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	if in.Value == nil || *in.Value == "" {
		return errBadParameter("Property value is required: a PKCS#12 file in base64, or PEM blocks.")
	}
	b, contentType, err := q.parseCertificate(*in.Value, in.Password)
	if err != nil {
		return badCertificate(err)
	}
	p := policyOf(b, contentType)
	if in.Policy != nil && in.Policy.Secret != nil && in.Policy.Secret.ContentType != "" && in.Policy.Secret.ContentType != contentType {
		return errBadParameter("The policy's secret_props.contentType is %s, and the value is of type %s.", in.Policy.Secret.ContentType, contentType)
	}
	if in.Policy != nil {
		if in.Policy.Key != nil {
			if in.Policy.Key.Exportable != nil {
				p.Key.Exportable = in.Policy.Key.Exportable
			}
			p.Key.Reuse = in.Policy.Key.Reuse
		}
		p = p.over(&certificatePolicy{Actions: in.Policy.Actions, Issuer: in.Policy.Issuer})
	}
	p.complete()
	o, err := q.s.importCertificate(q.r.Context(), q.vault, q.name, b, p, in.Attributes.options(in.Tags))
	return q.answer(o, err)
}

// parseCertificate reads the value of an import. PEM comes as it is, or in base64 as az sends it.
func (q *request) parseCertificate(value, password string) (b certs.Bundle, contentType string, err error) {
	if strings.Contains(value, "-----BEGIN") {
		b, err = certs.ParsePEM([]byte(value))
		return b, typePEM, err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
	if err != nil {
		return b, "", errBadParameter("Property value is neither PEM nor base64.")
	}
	if strings.Contains(string(raw), "-----BEGIN") {
		b, err = certs.ParsePEM(raw)
		return b, typePEM, err
	}
	q.s.files.Lock() // a file makes its reader work: one at a time
	defer q.s.files.Unlock()
	b, err = certs.ParsePFX(raw, password)
	return b, typePFX, err
}

func (q *request) getCertificate() error {
	o, err := q.s.get(q.r.Context(), certificateClass, q.vault.Name, q.name, q.version)
	return q.answer(o, err)
}

func (q *request) updateCertificate() error {
	var in certificateParameters
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	var policy *certificatePolicy
	if in.Policy != nil {
		p, err := q.changedPolicy(in.Policy)
		if err != nil {
			return err
		}
		policy = &p
	}
	o, err := q.s.updateCertificate(q.r.Context(), q.vault.Name, q.name, q.version, in.Attributes.change(in.Tags), policy)
	return q.answer(o, err)
}

// changedPolicy is the certificate's policy with what was sent laid over it.
func (q *request) changedPolicy(in *certificatePolicy) (p certificatePolicy, err error) {
	o, err := q.s.get(q.r.Context(), certificateClass, q.vault.Name, q.name, "")
	if err != nil {
		return p, err
	}
	p = o.head.Issuance.Policy.over(in)
	p.complete()
	return p, p.check(q.vault)
}

func (q *request) getPolicy() error {
	o, err := q.s.get(q.r.Context(), certificateClass, q.vault.Name, q.name, "")
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.policy(o.head))
	return nil
}

func (q *request) updatePolicy() error {
	var in certificatePolicy
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	p, err := q.changedPolicy(&in)
	if err != nil {
		return err
	}
	o, err := q.s.updateCertificate(q.r.Context(), q.vault.Name, q.name, "", Change{}, &p)
	if err != nil {
		return err
	}
	q.send(http.StatusOK, q.policy(o.head))
	return nil
}
