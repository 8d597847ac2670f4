package blob

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

func (q *request) serviceEndpoint() string {
	scheme := "https://"
	if q.r.TLS == nil {
		scheme = "http://"
	}
	return scheme + q.account.Name + q.s.suffix + "/"
}

// getServiceProperties tells what is so: no logging, metrics, CORS rules, soft delete or static website.
func (q *request) getServiceProperties() error {
	x := newXML()
	off := "<Enabled>false</Enabled>"
	metrics := "<Version>1.0</Version>" + off + "<RetentionPolicy>" + off + "</RetentionPolicy>"
	x.WriteString("<StorageServiceProperties>" +
		"<Logging><Version>1.0</Version><Read>false</Read><Write>false</Write><Delete>false</Delete><RetentionPolicy>" + off + "</RetentionPolicy></Logging>" +
		"<HourMetrics>" + metrics + "</HourMetrics><MinuteMetrics>" + metrics + "</MinuteMetrics><Cors />" +
		"<DeleteRetentionPolicy>" + off + "</DeleteRetentionPolicy><StaticWebsite>" + off + "</StaticWebsite></StorageServiceProperties>")
	return q.sendXML(x)
}

// getServiceStats is for the secondary location of geo-redundant accounts, which no account here has.
func (q *request) getServiceStats() error {
	return errInvalidQuery("comp", "stats").because("service stats are answered by the secondary location, and this account has none")
}

func (q *request) getAccountInformation() error {
	h := q.w.Header()
	h.Set("x-ms-sku-name", orElse(q.account.SKU, "Standard_LRS"))
	h.Set("x-ms-account-kind", orElse(q.account.Kind, "StorageV2"))
	h.Set("x-ms-is-hns-enabled", "false")
	return q.send(http.StatusOK)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (q *request) getDelegationKey() error {
	if q.caller.kind != byToken {
		return errPermission().because("a user delegation key is given to the holder of a token of Microsoft Entra only; this is %s", q.caller)
	}
	var info keyInfo
	if err := decodeXML(q.r.Body, &info); err != nil {
		return err
	}
	start := q.s.clock.Now()
	var err error
	if info.Start != "" {
		if start, err = parseSASTime(info.Start); err != nil {
			return errInvalidXML(err)
		}
	}
	expiry, err := parseSASTime(info.Expiry)
	if err != nil {
		return errInvalidXML(err)
	}
	k, secret, err := q.s.delegate(q.ctx, q.account.Name, q.caller.principal, start.Truncate(time.Second), expiry.Truncate(time.Second))
	if err != nil {
		return err
	}
	x := newXML()
	x.WriteString("<UserDelegationKey>")
	x.text("SignedOid", k.ObjectID)
	x.text("SignedTid", k.TenantID)
	x.text("SignedStart", k.Start)
	x.text("SignedExpiry", k.Expiry)
	x.text("SignedService", k.Service)
	x.text("SignedVersion", k.SignedVersion)
	x.text("Value", base64.StdEncoding.EncodeToString(secret))
	x.WriteString("</UserDelegationKey>")
	return q.sendXML(x)
}

// maxResults reads the parameter; 0 when it is not there.
func (q *request) maxResults() (int, error) {
	v := q.query.Get("maxresults")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, newError(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.").because("maxresults '%s'", v)
	}
	return min(n, maxPage), nil
}

func (q *request) listContainers() error {
	limit, err := q.maxResults()
	if err != nil {
		return err
	}
	after, err := decodeMarker(q.query.Get("marker"))
	if err != nil {
		return err
	}
	list, next, err := q.s.ListContainers(q.ctx, q.account.Name, q.query.Get("prefix"), after, limit)
	if err != nil {
		return err
	}
	include := q.query.Get("include")
	x := newXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.serviceEndpoint() + `">`)
	x.option("Prefix", q.query.Get("prefix"))
	x.option("Marker", q.query.Get("marker"))
	x.option("MaxResults", q.query.Get("maxresults"))
	x.WriteString("<Containers>")
	for _, c := range list {
		x.WriteString("<Container>")
		x.text("Name", c.Name)
		x.WriteString("<Properties>")
		x.text("Last-Modified", httpTime(c.LastModified))
		x.text("Etag", c.ETag)
		x.WriteString("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>")
		x.option("PublicAccess", c.PublicAccess)
		x.WriteString("<DefaultEncryptionScope>$account-encryption-key</DefaultEncryptionScope><DenyEncryptionScopeOverride>false</DenyEncryptionScopeOverride>" +
			"<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold></Properties>")
		if includes(include, "metadata") {
			x.metadata(c.Metadata)
		}
		x.WriteString("</Container>")
	}
	x.WriteString("</Containers>")
	if next != "" {
		next = encodeMarker(next)
	}
	x.text("NextMarker", next)
	x.WriteString("</EnumerationResults>")
	return q.sendXML(x)
}
