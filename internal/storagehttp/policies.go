package storagehttp

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Policy is a stored access policy: what a service SAS that names it (si) need not say ("Define a stored access policy").
type Policy struct {
	ID         string    `json:"id"`
	Start      time.Time `json:"st,omitzero"`
	Expiry     time.Time `json:"se,omitzero"`
	Permission string    `json:"sp,omitempty"`
}

const (
	maxPolicies = 5
	maxPolicyID = 64
)

// ParseIdentifiers reads the body of a Set … ACL operation; letters are the permissions that the service knows. An empty
// body is no policies. It refuses with InvalidXmlDocument.
func ParseIdentifiers(r io.Reader, letters string) ([]Policy, error) {
	body, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return nil, err
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return nil, nil
	}
	var doc struct {
		XMLName     xml.Name `xml:"SignedIdentifiers"`
		Identifiers []struct {
			ID     string `xml:"Id"`
			Policy struct {
				Start      string `xml:"Start"`
				Expiry     string `xml:"Expiry"`
				Permission string `xml:"Permission"`
			} `xml:"AccessPolicy"`
		} `xml:"SignedIdentifier"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil {
		return nil, InvalidXML(err)
	}
	list := make([]Policy, len(doc.Identifiers))
	for i, d := range doc.Identifiers {
		p := Policy{ID: d.ID, Permission: strings.TrimSpace(d.Policy.Permission)}
		for _, f := range []struct {
			text string
			to   *time.Time
		}{{d.Policy.Start, &p.Start}, {d.Policy.Expiry, &p.Expiry}} {
			if f.text = strings.TrimSpace(f.text); f.text == "" {
				continue
			}
			if *f.to, err = ParseTime(f.text); err != nil {
				return nil, InvalidXML(fmt.Errorf("'%s' is not a time", f.text))
			}
		}
		list[i] = p
	}
	return list, CheckPolicies(list, letters)
}

// CheckPolicies judges the stored access policies of a resource; letters are the permissions that its service knows.
func CheckPolicies(list []Policy, letters string) error {
	if len(list) > maxPolicies {
		return InvalidXML(fmt.Errorf("%d identifiers; a resource has at most %d", len(list), maxPolicies))
	}
	seen := map[string]bool{}
	for _, p := range list {
		if p.ID == "" || len([]rune(p.ID)) > maxPolicyID || seen[p.ID] {
			return InvalidXML(fmt.Errorf("the id '%s' is empty, longer than %d characters or there twice", p.ID, maxPolicyID))
		}
		seen[p.ID] = true
		for _, letter := range p.Permission {
			if !strings.ContainsRune(letters, letter) {
				return InvalidXML(fmt.Errorf("permission '%c' of '%s' is none of '%s'", letter, p.ID, letters))
			}
		}
	}
	return nil
}

// Identifiers is the document that a Get … ACL operation answers.
func Identifiers(list []Policy) *XML {
	x := NewXML()
	if len(list) == 0 {
		x.WriteString("<SignedIdentifiers />")
		return x
	}
	x.WriteString("<SignedIdentifiers>")
	for _, p := range list {
		x.WriteString("<SignedIdentifier>")
		x.Text("Id", p.ID)
		x.WriteString("<AccessPolicy>")
		x.Option("Start", policyTime(p.Start))
		x.Option("Expiry", policyTime(p.Expiry))
		x.Option("Permission", p.Permission)
		x.WriteString("</AccessPolicy></SignedIdentifier>")
	}
	x.WriteString("</SignedIdentifiers>")
	return x
}

func policyTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// Apply fills in what a signature leaves to the stored access policy that it names; what both say is refused, as in
// Azure. The signature must have been verified before.
func (s *SAS) Apply(list []Policy) error {
	if s.Identifier == "" {
		return nil
	}
	for _, p := range list {
		if p.ID != s.Identifier {
			continue
		}
		switch {
		case p.Permission != "" && s.Permissions != "":
			return AuthenticationFailed("sp is said by the signature and by the stored access policy '%s'", p.ID)
		case !p.Expiry.IsZero() && s.ExpiryText != "":
			return AuthenticationFailed("se is said by the signature and by the stored access policy '%s'", p.ID)
		case !p.Start.IsZero() && s.StartText != "":
			return AuthenticationFailed("st is said by the signature and by the stored access policy '%s'", p.ID)
		}
		if p.Permission != "" {
			s.Permissions = p.Permission
		}
		if !p.Expiry.IsZero() {
			s.Expiry = p.Expiry
		}
		if !p.Start.IsZero() {
			s.Start = p.Start
		}
		return nil
	}
	return AuthenticationFailed("there is no stored access policy '%s' on the resource", s.Identifier)
}
