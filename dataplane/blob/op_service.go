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
	include := q.Query.Get("include")
	list, next, err := q.s.listContainers(q.Ctx, q.Account.Name, q.Query.Get("prefix"), after, limit, includes(include, "deleted"))
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `">`)
	x.Option("Prefix", q.Query.Get("prefix"))
	x.Option("Marker", q.Query.Get("marker"))
	x.Option("MaxResults", q.Query.Get("maxresults"))
	x.WriteString("<Containers>")
	for _, c := range list {
		writeContainer(x, c, includes(include, "metadata"), q.s.clock.Now())
	}
	x.WriteString("</Containers>")
	if next != "" {
		next = encodeMarker(next)
	}
	x.Text("NextMarker", next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

func writeContainer(x *storagehttp.XML, c Container, metadata bool, now time.Time) {
	x.WriteString("<Container>")
	x.Text("Name", c.Name)
	if !c.Deleted.IsZero() {
		x.Text("Deleted", "true")
		x.Text("Version", c.Version)
	}
	x.WriteString("<Properties>")
	x.Text("Last-Modified", storagehttp.HTTPTime(c.LastModified))
	x.Text("Etag", c.ETag)
	x.Lease(c.doc.Lease, now)
	x.Option("PublicAccess", c.PublicAccess)
	x.WriteString("<DefaultEncryptionScope>$account-encryption-key</DefaultEncryptionScope><DenyEncryptionScopeOverride>false</DenyEncryptionScopeOverride>")
	x.Text("HasImmutabilityPolicy", strconv.FormatBool(c.doc.Guard.Days > 0))
	x.Text("HasLegalHold", strconv.FormatBool(c.doc.Guard.Hold))
	x.Text("ImmutableStorageWithVersioningEnabled", strconv.FormatBool(c.Worm))
	if !c.Deleted.IsZero() {
		x.Text("DeletedTime", storagehttp.HTTPTime(c.Deleted))
		x.Text("RemainingRetentionDays", strconv.Itoa(remaining(c.Deleted, c.KeepDays, now)))
	}
	x.WriteString("</Properties>")
	if metadata {
		x.Metadata(c.Metadata)
	}
	x.WriteString("</Container>")
}
