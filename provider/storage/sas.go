package storage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// Signer signs shared access signatures for the blob service. Errors are *arm.Error.
type Signer interface {
	// SignSAS returns the query of a signature that says what q says, for an account (container is ""), a container, or a
	// blob in it.
	SignSAS(account, container, blob string, key []byte, q url.Values) (string, error)
}

// sasParameters are the bodies of ListAccountSas and ListServiceSas, by the parameters of a signature that they become.
var (
	accountSAS = map[string]string{
		"signedServices": "ss", "signedResourceTypes": "srt", "signedPermission": "sp", "signedIp": "sip", "signedProtocol": "spr", "signedStart": "st", "signedExpiry": "se",
	}
	serviceSAS = map[string]string{
		"signedResource": "sr", "signedPermission": "sp", "signedIp": "sip", "signedProtocol": "spr", "signedStart": "st", "signedExpiry": "se", "signedIdentifier": "si",
		"rscc": "rscc", "rscd": "rscd", "rsce": "rsce", "rscl": "rscl", "rsct": "rsct",
	}
)

// readSAS reads a body into the parameters of a signature, and the key that is to sign.
func readSAS(r *rp.Resource[Account], names map[string]string, body []byte) (in map[string]string, q url.Values, key []byte, err error) {
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, nil, nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	q = url.Values{}
	for name, parameter := range names {
		if v := in[name]; v != "" {
			q.Set(parameter, v)
		}
	}
	n := 0
	switch in["keyToSign"] {
	case "", "key1":
	case "key2":
		n = 1
	default:
		return nil, nil, nil, invalid("keyToSign '%s' is none of key1, key2.", in["keyToSign"])
	}
	if q.Get("se") == "" && q.Get("si") == "" {
		return nil, nil, nil, invalid("signedExpiry is missing.")
	}
	key, err = base64.StdEncoding.DecodeString(r.Properties.Keys[n])
	return in, q, key, err
}

func (p *Provider) listAccountSAS(_ context.Context, _ *rp.Tx, r *rp.Resource[Account], body []byte) (any, error) {
	_, q, key, err := readSAS(r, accountSAS, body)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"ss", "srt", "sp"} {
		if q.Get(name) == "" {
			return nil, invalid("signedServices, signedResourceTypes and signedPermission are needed.")
		}
	}
	token, err := p.containers.SignSAS(strings.ToLower(r.ID.Name()), "", "", key, q)
	return map[string]string{"accountSasToken": token}, err
}

// listServiceSAS signs for a container or a blob: the services of files, queues and tables are not there.
func (p *Provider) listServiceSAS(_ context.Context, _ *rp.Tx, r *rp.Resource[Account], body []byte) (any, error) {
	in, q, key, err := readSAS(r, serviceSAS, body)
	if err != nil {
		return nil, err
	}
	account := strings.ToLower(r.ID.Name())
	service, rest, _ := strings.Cut(strings.TrimPrefix(in["canonicalizedResource"], "/"), "/")
	if service == "file" || service == "queue" || service == "table" {
		return nil, arm.NotImplemented("canonicalizedResource '%s': the %s service is not part of the region.", in["canonicalizedResource"], service)
	}
	of, rest, _ := strings.Cut(rest, "/")
	container, blob, _ := strings.Cut(rest, "/")
	if service != "blob" || !strings.EqualFold(of, account) || container == "" {
		return nil, invalid("canonicalizedResource '%s' is not of the form /blob/%s/container or /blob/%s/container/blob.", in["canonicalizedResource"], account, account)
	}
	if sr := q.Get("sr"); sr != "c" && (sr != "b" || blob == "") {
		return nil, invalid("signedResource '%s' is c for a container, or b for a blob that canonicalizedResource names.", sr)
	}
	token, err := p.containers.SignSAS(account, container, blob, key, q)
	return map[string]string{"serviceSasToken": token}, err
}
