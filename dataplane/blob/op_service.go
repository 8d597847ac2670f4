package blob

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"vauban.dev/internal/storagehttp"
)

func (q *request) serviceEndpoint() string {
	scheme := "https://"
	if q.R.TLS == nil {
		scheme = "http://"
	}
	return scheme + q.Account.Name + q.s.front.Suffix + "/"
}

// getServiceProperties tells what is so: no logging, metrics, CORS rules, soft delete or static website.
func (q *request) getServiceProperties() error {
	x := storagehttp.NewXML()
	off := "<Enabled>false</Enabled>"
	metrics := "<Version>1.0</Version>" + off + "<RetentionPolicy>" + off + "</RetentionPolicy>"
	x.WriteString("<StorageServiceProperties>" +
		"<Logging><Version>1.0</Version><Read>false</Read><Write>false</Write><Delete>false</Delete><RetentionPolicy>" + off + "</RetentionPolicy></Logging>" +
		"<HourMetrics>" + metrics + "</HourMetrics><MinuteMetrics>" + metrics + "</MinuteMetrics><Cors />" +
		"<DeleteRetentionPolicy>" + off + "</DeleteRetentionPolicy><StaticWebsite>" + off + "</StaticWebsite></StorageServiceProperties>")
	return q.SendXML(x)
}

// getServiceStats is for the secondary location of geo-redundant accounts, which no account here has.
func (q *request) getServiceStats() error {
	return errInvalidQuery("comp", "stats").Because("service stats are answered by the secondary location, and this account has none")
}

func (q *request) getAccountInformation() error {
	h := q.W.Header()
	h.Set("x-ms-sku-name", orElse(q.Account.SKU, "Standard_LRS"))
	h.Set("x-ms-account-kind", orElse(q.Account.Kind, "StorageV2"))
	h.Set("x-ms-is-hns-enabled", "false")
	return q.Send(http.StatusOK)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (q *request) getDelegationKey() error {
	if q.Caller.Kind != storagehttp.ByToken {
		return errPermission().Because("a user delegation key is given to the holder of a token of Microsoft Entra only; this is %s", q.Caller)
	}
	var info keyInfo
	if err := storagehttp.DecodeXML(q.R.Body, &info); err != nil {
		return err
	}
	start := q.s.clock.Now()
	var err error
	if info.Start != "" {
		if start, err = storagehttp.ParseTime(info.Start); err != nil {
			return errInvalidXML(err)
		}
	}
	expiry, err := storagehttp.ParseTime(info.Expiry)
	if err != nil {
		return errInvalidXML(err)
	}
	k, secret, err := q.s.delegate(q.Ctx, q.Account.Name, q.Caller.Principal, start.Truncate(time.Second), expiry.Truncate(time.Second))
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString("<UserDelegationKey>")
	x.Text("SignedOid", k.ObjectID)
	x.Text("SignedTid", k.TenantID)
	x.Text("SignedStart", k.Start)
	x.Text("SignedExpiry", k.Expiry)
	x.Text("SignedService", k.Service)
	x.Text("SignedVersion", k.SignedVersion)
	x.Text("Value", base64.StdEncoding.EncodeToString(secret))
	x.WriteString("</UserDelegationKey>")
	return q.SendXML(x)
}

// maxResults reads the parameter; 0 when it is not there.
func (q *request) maxResults() (int, error) {
	v := q.Query.Get("maxresults")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, newError(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.").Because("maxresults '%s'", v)
	}
	return min(n, maxPage), nil
}

func (q *request) listContainers() error {
	limit, err := q.maxResults()
	if err != nil {
		return err
	}
	after, err := decodeMarker(q.Query.Get("marker"))
	if err != nil {
		return err
	}
	list, next, err := q.s.ListContainers(q.Ctx, q.Account.Name, q.Query.Get("prefix"), after, limit)
	if err != nil {
		return err
	}
	include := q.Query.Get("include")
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `">`)
	x.Option("Prefix", q.Query.Get("prefix"))
	x.Option("Marker", q.Query.Get("marker"))
	x.Option("MaxResults", q.Query.Get("maxresults"))
	x.WriteString("<Containers>")
	for _, c := range list {
		x.WriteString("<Container>")
		x.Text("Name", c.Name)
		x.WriteString("<Properties>")
		x.Text("Last-Modified", storagehttp.HTTPTime(c.LastModified))
		x.Text("Etag", c.ETag)
		x.WriteString("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>")
		x.Option("PublicAccess", c.PublicAccess)
		x.WriteString("<DefaultEncryptionScope>$account-encryption-key</DefaultEncryptionScope><DenyEncryptionScopeOverride>false</DenyEncryptionScopeOverride>" +
			"<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold></Properties>")
		if includes(include, "metadata") {
			x.Metadata(c.Metadata)
		}
		x.WriteString("</Container>")
	}
	x.WriteString("</Containers>")
	if next != "" {
		next = encodeMarker(next)
	}
	x.Text("NextMarker", next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}
