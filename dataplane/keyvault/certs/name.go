package certs

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
)

// attributeTypes of X.500 names (RFC 4514, 3, and what Windows calls them).
var attributeTypes = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3}, "SN": {2, 5, 4, 4}, "SERIALNUMBER": {2, 5, 4, 5}, "C": {2, 5, 4, 6}, "L": {2, 5, 4, 7}, "ST": {2, 5, 4, 8}, "S": {2, 5, 4, 8},
	"STREET": {2, 5, 4, 9}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "T": {2, 5, 4, 12}, "G": {2, 5, 4, 42}, "POSTALCODE": {2, 5, 4, 17},
	"E": {1, 2, 840, 113549, 1, 9, 1}, "EMAILADDRESS": {1, 2, 840, 113549, 1, 9, 1}, "DC": {0, 9, 2342, 19200300, 100, 1, 25}, "UID": {0, 9, 2342, 19200300, 100, 1, 1},
}

const maxName = 2048

// ParseName encodes an X.500 name, CN=host, O="Contoso, Ltd", in the order it is written in. Values may be quoted or escaped with \.
// An empty name is empty.
func ParseName(s string) ([]byte, error) {
	if len(s) > maxName {
		return nil, wrong("Invalid policy: the subject is longer than %d characters.", maxName)
	}
	var rdns pkix.RDNSequence
	for rest := strings.TrimSpace(s); rest != ""; {
		kind, after, ok := strings.Cut(rest, "=")
		kind = strings.ToUpper(strings.TrimSpace(kind))
		oid := attributeTypes[kind]
		if oid == nil && ok {
			oid, _ = parseOID(strings.TrimPrefix(kind, "OID.")) // nil if it is none
		}
		if !ok || oid == nil {
			return nil, wrong("Invalid policy: the subject '%s' is not an X.500 name such as CN=example.com, O=Contoso.", s)
		}
		value, left, ok := nameValue(strings.TrimLeft(after, " "))
		if !ok || value == "" {
			return nil, wrong("Invalid policy: the value of %s in the subject '%s' can not be read.", kind, s)
		}
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
		rest = strings.TrimSpace(left)
	}
	der, err := asn1.Marshal(rdns)
	if err != nil {
		return nil, wrong("Invalid policy: the subject '%s' can not be encoded.", s)
	}
	return der, nil
}

// nameValue takes one value and the separator after it off s.
func nameValue(s string) (value, rest string, ok bool) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, `"`)
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
			b.WriteByte(s[i])
		case quoted && c == '"':
			rest = strings.TrimLeft(s[i+1:], " ")
			if rest != "" && rest[0] != ',' && rest[0] != ';' {
				return "", "", false
			}
			return b.String(), strings.TrimLeft(rest, ",;"), true
		case !quoted && (c == ',' || c == ';'):
			return strings.TrimRight(b.String(), " "), s[i+1:], true
		case !quoted && (c == '"' || c == '+'):
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimRight(b.String(), " "), "", !quoted
}
