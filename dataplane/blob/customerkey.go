package blob

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"vauban.dev/seal"
)

// sealing says with which key a blob's payloads are encrypted: the account's when it is zero.
type sealing struct {
	Hash string `json:"h,omitempty"` // base64 of the SHA-256 of the key that the client gave ("Encryption customer-provided keys")
}

// customerKey is such a key as a request brings it. It is never kept.
type customerKey struct {
	sealing
	secret string // 32 bytes; "": none
}

// customerKey reads the headers x-ms-encryption-….
func (q *request) customerKey() (customerKey, error) { return q.readCustomerKey("X-Ms-Encryption-") }

// sourceKey reads the headers x-ms-source-encryption-…, for the source of a copy.
func (q *request) sourceKey() (customerKey, error) {
	return q.readCustomerKey("X-Ms-Source-Encryption-")
}

func (q *request) readCustomerKey(prefix string) (k customerKey, err error) {
	h := q.R.Header
	key, sum, algorithm := h.Get(prefix+"Key"), h.Get(prefix+"Key-Sha256"), h.Get(prefix+"Algorithm")
	if key == "" && sum == "" && algorithm == "" {
		return k, nil
	}
	prefix = strings.ToLower(prefix)
	if q.R.TLS == nil {
		return k, errInvalidHeader(prefix+"key", "…").Because("a key is taken over https only")
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != seal.KeySize {
		return k, errInvalidHeader(prefix+"key", "…").Because("header %skey is not base64 of 32 bytes", prefix)
	}
	if algorithm != "AES256" {
		return k, errInvalidHeader(prefix+"algorithm", algorithm)
	}
	hash := sha256.Sum256(raw)
	given, err := base64.StdEncoding.DecodeString(sum)
	if err != nil || subtle.ConstantTimeCompare(given, hash[:]) != 1 {
		return k, errInvalidHeader(prefix+"key-sha256", sum).Because("header %skey-sha256 is not the SHA-256 of the key", prefix)
	}
	return customerKey{sealing{base64.StdEncoding.EncodeToString(hash[:])}, string(raw)}, nil
}

// matches judges whether k is the key of what is sealed so.
func (k customerKey) matches(s sealing) error {
	switch {
	case k.Hash == s.Hash:
		return nil
	case k.Hash == "":
		return newError(http.StatusConflict, "BlobUsesCustomerSpecifiedEncryption", "The blob is encrypted with customer specified encryption, but it was not provided in the request.")
	case s.Hash == "":
		return newError(http.StatusConflict, "BlobDoesNotUseCustomerSpecifiedEncryption", "The blob is not encrypted with customer specified encryption, but it was provided in the request.")
	}
	return newError(http.StatusConflict, "BlobCustomerSpecifiedEncryptionMismatch", "The customer specified encryption does not match the encryption used to encrypt the blob.")
}

// tell sets the headers that say how a write was encrypted.
func (k customerKey) tell(h http.Header) {
	h.Set("x-ms-request-server-encrypted", "true")
	if k.Hash != "" {
		h.Set("x-ms-encryption-key-sha256", k.Hash)
	}
}

// sealingKey returns the key of payloads: the account's, or one derived from it and from the customer's, so that neither alone
// opens what was sealed.
func (s *Service) sealingKey(ctx context.Context, account string, k customerKey) (*seal.Key, error) {
	key, err := s.key(ctx, account)
	if err != nil || k.secret == "" {
		return key, err
	}
	return key.Sub("customer key\x00" + k.secret)
}
