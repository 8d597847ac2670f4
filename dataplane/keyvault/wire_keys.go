package keyvault

import (
	"encoding/json"
	"net/http"

	"vauban.dev/dataplane/keyvault/jwk"
)

// webKey is a key on the wire, in the answers about it. Type, with -HSM where it has that, hides the public part's.
type webKey struct {
	KID        string   `json:"kid"`
	Type       string   `json:"kty"`
	Operations []string `json:"key_ops,omitempty"`
	jwk.Public
}

// keyParameters is the body of Create Key, Import Key and Update Key.
type keyParameters struct {
	Type       string             `json:"kty"`
	Size       int                `json:"key_size"`
	Exponent   int                `json:"public_exponent"`
	Curve      string             `json:"crv"`
	Operations *[]string          `json:"key_ops"`
	Key        *importedKey       `json:"key"`
	HSM        *bool              `json:"Hsm"`
	Release    json.RawMessage    `json:"release_policy"`
	Attributes *attributes        `json:"attributes"`
	Tags       *map[string]string `json:"tags"`
}

type importedKey struct {
	jwk.Private
	Operations *[]string `json:"key_ops"`
	Token      jwk.Bytes `json:"key_hsm"`
}

// options are the parameters without what is said of the key itself.
func (p *keyParameters) options() (o KeyOptions, err error) {
	if a := p.Attributes; len(p.Release) > 0 && string(p.Release) != "null" || a != nil && a.Exportable != nil && *a.Exportable {
		return o, errNotImplemented("Keys that can be released (release_policy, exportable) are not there: release needs the attestation of a confidential machine, and the region has none.")
	}
	o.SetOptions = p.Attributes.options(p.Tags)
	if p.Operations != nil {
		o.Operations = *p.Operations
	}
	return o, nil
}

func (q *request) createKey() error {
	var p keyParameters
	if err := q.readBody(&p, maxBody); err != nil {
		return err
	}
	o, err := p.options()
	if err != nil {
		return err
	}
	if p.Type == "" {
		return errBadParameter("Property kty is required.")
	}
	if p.Exponent != 0 && p.Exponent != 65537 {
		return errBadParameter("Invalid public_exponent %d: keys are made with 65537.", p.Exponent)
	}
	o.Type, o.Size, o.Curve = p.Type, p.Size, p.Curve
	made, err := q.s.createKey(q.r.Context(), q.vault, q.name, o)
	return q.answer(made, err)
}

func (q *request) importKey() error {
	var p keyParameters
	if err := q.readBody(&p, maxBody); err != nil {
		return err
	}
	if p.Key == nil || p.Key.Type == "" {
		return errBadParameter("Property key, a JSON web key with its kty, is required.")
	}
	if len(p.Key.Token) > 0 {
		return errNotImplemented("Import of a key that an HSM has wrapped (key_hsm) is not there: the region has no HSM that another would wrap for.")
	}
	o, err := p.options()
	if err != nil {
		return err
	}
	o.Type = p.Key.Type
	if p.Key.Operations != nil {
		o.Operations = *p.Key.Operations
	}
	if p.HSM != nil && *p.HSM && (o.Type == jwk.RSA || o.Type == jwk.EC || o.Type == jwk.Oct) {
		o.Type += "-HSM"
	}
	made, err := q.s.importKey(q.r.Context(), q.vault, q.name, p.Key.Private, o)
	return q.answer(made, err)
}

func (q *request) updateKey() error {
	var p keyParameters
	if err := q.readBody(&p, maxBody); err != nil {
		return err
	}
	if _, err := p.options(); err != nil {
		return err
	}
	c := p.Attributes.change(p.Tags)
	o, err := q.s.update(q.r.Context(), keyClass, q.vault.Name, q.name, q.version, func(v *versionDoc) error {
		if p.Operations != nil {
			if err := checkOperations(*p.Operations); err != nil {
				return err
			}
			v.Key.Operations = *p.Operations
		}
		return c.apply(v)
	})
	return q.answer(o, err)
}

func (q *request) getKey() error {
	o, err := q.s.get(q.r.Context(), keyClass, q.vault.Name, q.name, q.version)
	return q.answer(o, err)
}

func (q *request) rotateKey() error {
	o, err := q.s.rotate(q.r.Context(), q.vault.Name, q.name, nil)
	return q.answer(o, err)
}

func (q *request) getRotationPolicy() error {
	p, err := q.s.rotationPolicy(q.r.Context(), q.vault.Name, q.name)
	if err != nil {
		return err
	}
	p.ID = q.base() + "/keys/" + q.name + "/rotationpolicy"
	q.send(http.StatusOK, p)
	return nil
}

func (q *request) putRotationPolicy() error {
	var p rotationPolicy
	if err := q.readBody(&p, maxBody); err != nil {
		return err
	}
	if err := q.s.setRotationPolicy(q.r.Context(), q.vault.Name, q.name, p); err != nil {
		return err
	}
	return q.getRotationPolicy()
}

// usage is the body of an operation with a key, and its answer (KeyOperationsParameters, KeyOperationResult).
type usage struct {
	KID    string    `json:"kid,omitempty"`
	Alg    string    `json:"alg,omitempty"`
	Value  jwk.Bytes `json:"value"`
	Digest jwk.Bytes `json:"digest,omitempty"`
	IV     jwk.Bytes `json:"iv,omitempty"`
	AAD    jwk.Bytes `json:"aad,omitempty"`
	Tag    jwk.Bytes `json:"tag,omitempty"`
}

// useKey reads the body, does the operation u with it and answers with what do returns.
func (q *request) useKey(name string, always bool, do func(k *jwk.Key, in usage) (usage, error)) error {
	var in, out usage
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	if in.Alg == "" {
		return errBadParameter("Property alg is required.")
	}
	if in.Value == nil {
		return errBadParameter("Property value is required.")
	}
	o, err := q.s.useKey(q.r.Context(), q.vault.Name, q.name, q.version, use{name, always, func(k *jwk.Key) (err error) {
		out, err = do(k, in)
		return err
	}})
	if err != nil {
		return err
	}
	out.KID = q.base() + "/keys/" + o.head.Name + "/" + o.ID
	q.send(http.StatusOK, out)
	return nil
}

func encrypt(k *jwk.Key, in usage) (usage, error) {
	out, err := k.Encrypt(in.Alg, in.Value, in.IV, in.AAD)
	return usage{Value: out.Value, IV: out.IV, Tag: out.Tag, AAD: in.AAD}, err
}

func decrypt(k *jwk.Key, in usage) (usage, error) {
	plain, err := k.Decrypt(in.Alg, jwk.Sealed{Value: in.Value, IV: in.IV, Tag: in.Tag}, in.AAD)
	return usage{Value: plain}, err
}

func (q *request) encrypt() error   { return q.useKey("encrypt", false, encrypt) }
func (q *request) decrypt() error   { return q.useKey("decrypt", true, decrypt) }
func (q *request) wrapKey() error   { return q.useKey("wrapKey", false, encrypt) }
func (q *request) unwrapKey() error { return q.useKey("unwrapKey", true, decrypt) }

func (q *request) sign() error {
	return q.useKey("sign", false, func(k *jwk.Key, in usage) (usage, error) {
		sig, err := k.Sign(in.Alg, in.Value)
		return usage{Value: sig}, err
	})
}

func (q *request) verify() error {
	var in usage
	if err := q.readBody(&in, maxBody); err != nil {
		return err
	}
	if in.Alg == "" || in.Digest == nil || in.Value == nil {
		return errBadParameter("Properties alg, digest and value are required.")
	}
	good := false
	_, err := q.s.useKey(q.r.Context(), q.vault.Name, q.name, q.version, use{"verify", true, func(k *jwk.Key) (err error) {
		good, err = k.Verify(in.Alg, in.Digest, in.Value)
		return err
	}})
	if err != nil {
		return err
	}
	q.send(http.StatusOK, map[string]bool{"value": good})
	return nil
}

func (q *request) release() error {
	return errNotImplemented("Release of keys is not there: it needs the attestation of a confidential machine, and the region has none.")
}

// random refuses what Azure's vaults refuse as well: random bytes are of managed HSMs.
func (q *request) random() error {
	return newError(http.StatusBadRequest, "NotSupported", "", "Random bytes (rng) are made by managed HSMs; vaults have none.")
}

func (q *request) attestation() error {
	return newError(http.StatusBadRequest, "NotSupported", "", "Key attestations are of managed HSMs; vaults have none.")
}
