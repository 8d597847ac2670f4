package network

import (
	"regexp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// PublicDNS is the public name of an address (Network REST: PublicIPAddressDnsSettings).
type PublicDNS struct {
	Label       string `json:"domainNameLabel,omitempty"`
	LabelScope  string `json:"domainNameLabelScope,omitempty"`
	FQDN        string `json:"fqdn,omitempty"`
	ReverseFQDN string `json:"reverseFqdn,omitempty"`
}

// PublicDNSSuffix is the domain of the labels of public addresses: LABEL.LOCATION and it.
const PublicDNSSuffix = "cloudapp.azure.com"

var label = regexp.MustCompile(`^[a-z][a-z0-9-]{1,61}[a-z0-9]$`)

// complete makes the name that the label has in a location.
func (d *PublicDNS) complete(location string) {
	d.FQDN = ""
	if d.Label != "" {
		d.FQDN = strings.ToLower(d.Label) + "." + location + "." + PublicDNSSuffix
	}
}

func (d *PublicDNS) validate() error {
	switch {
	case d == nil || d.Label == "" && d.LabelScope == "":
		return nil
	case d.LabelScope != "":
		return arm.NotImplemented("domainNameLabelScope %s is not implemented.", clip(d.LabelScope))
	case !label.MatchString(d.Label):
		return badLabel(d.Label)
	}
	return nil
}

func badLabel(text string) *arm.Error {
	return bad("InvalidDomainNameLabel", "The domain name label %s is invalid. It must conform to the following regular expression: %s.", clip(text), label)
}

// free refuses a label that another address of the location has.
func (d *PublicDNS) free(tx *rp.Tx, r *rp.Resource[PublicIP]) error {
	if d == nil || d.Label == "" {
		return nil
	}
	other, err := PublicIPByLabel(tx, d.Label, r.Location)
	if err != nil || other == nil || other.ID.Key() == r.ID.Key() {
		return err
	}
	return bad("DnsRecordInUse", "DNS record %s is already used by another public IP.", d.FQDN)
}

// PublicIPByLabel is the public address with a domain name label in a location, nil for none.
func PublicIPByLabel(tx *rp.Tx, label, location string) (*rp.Resource[PublicIP], error) {
	ips, err := rp.List[PublicIP](tx, PublicIPType, root)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		if d := ip.Properties.DNS; d != nil && ip.State != arm.Deleting && ip.Location == location && strings.EqualFold(d.Label, label) {
			return ip, nil
		}
	}
	return nil, nil
}
