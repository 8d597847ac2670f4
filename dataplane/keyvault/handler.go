package keyvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"vauban.dev/authz"
	"vauban.dev/firewall"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
	"vauban.dev/store"
)

// request is one request on its way: vault, firewall, caller, permission, operation.
type request struct {
	s         *Service
	w         http.ResponseWriter
	r         *http.Request
	id        string
	vault     Vault
	origin    origin.Origin
	principal authz.Principal
	route     route
	class     *class // nil of what is no object: random bytes
	deleted   bool   // of the path: deletedsecrets …
	name      string // of the object
	version   string
	issuer    string
	service   string // the resource that a trusted service calls for, instead of a client
	status    int    // of the answer, once it is sent
}

// serve answers one request. It is the one place that writes errors.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	q := &request{s: s, w: w, r: r, id: uuid.NewString(), origin: origin.FromContext(r.Context())}
	h := w.Header()
	h.Set("Server", "Vauban-KeyVault/1.0")
	h.Set("Cache-Control", "no-cache")
	h.Set("x-ms-request-id", q.id)
	h.Set("x-ms-keyvault-service-version", "vauban")
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 1024 {
		h.Set("x-ms-client-request-id", id)
	}
	begun := s.Clock.Now()
	err := q.handle()
	if err != nil {
		q.fail(err)
	}
	q.record(err)
	q.audit(begun)
}

// record writes the line of the log that says who did what from where: no value, no token, no query.
func (q *request) record(err error) {
	operation := q.route.name
	if operation == "" {
		operation = "(refused before)"
	}
	from := q.origin.String()
	if q.service != "" {
		from = "the platform, for " + q.service
	}
	line := []any{
		"operation", operation, "vault", q.vault.Name, "path", q.r.URL.Path, "status", q.status, "request", q.id,
		"oid", q.principal.ObjectID, "appid", q.principal.AppID, "origin", from,
	}
	var e *Error
	if errors.As(err, &e) {
		line = append(line, "code", e.Code, "inner", e.Inner)
	}
	q.s.Log.Info("keyvault: operation", line...)
}

func (q *request) handle() error {
	if err := q.setVault(); err != nil {
		return err
	}
	if err := q.passFirewall(); err != nil {
		return err
	}
	if err := q.authenticate(); err != nil {
		return err
	}
	if err := q.checkVersion(); err != nil {
		return err
	}
	if err := q.findRoute(); err != nil {
		return err
	}
	if err := q.authorize(); err != nil {
		return err
	}
	return q.route.run(q)
}

// setVault finds the vault that the host names.
func (q *request) setVault() error {
	host := q.r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	name, ok := strings.CutSuffix(host, q.s.HostSuffix)
	if !ok || !vaultName.MatchString(name) {
		return newError(http.StatusNotFound, "VaultNotFound", "", "The host '%s' is no vault's.", q.r.Host)
	}
	var err error
	q.vault, err = q.s.Vaults.Lookup(q.r.Context(), name)
	if errors.Is(err, ErrNoVault) {
		return newError(http.StatusNotFound, "VaultNotFound", "", "There is no vault '%s'.", name)
	}
	if err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("x-ms-keyvault-region", q.vault.Location)
	conn := "Ipv4"
	if q.origin.Kind == origin.PrivateEndpoint {
		conn = "PrivateLink"
	}
	h.Set("x-ms-keyvault-network-info", fmt.Sprintf("conn_type=%s;addr=%s;act_addr_fam=InterNetwork;", conn, q.origin.Source))
	return nil
}

// passFirewall applies the vault's network rules before anything of the request is believed.
func (q *request) passFirewall() error {
	rules := q.vault.Firewall
	rules.GroupIDs = []string{"vault"}
	if rules.ResourceID == "" {
		rules.ResourceID = q.vault.ID
	}
	d := firewall.Decide(rules, q.origin)
	if d.Allowed {
		return nil
	}
	inner, message := "ForbiddenByFirewall", fmt.Sprintf("Client address is not authorized and caller is not a trusted service.\r\nClient address: %s", q.origin.Source)
	if d.Code == firewall.PublicAccessDisabled || d.Code == firewall.WrongPrivateEndpoint {
		inner, message = "ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link."
	}
	return newError(http.StatusForbidden, "Forbidden", inner, "%s\r\nVault: %s;location=%s\r\nVauban: %s refused: %s", message, q.vault.Name, q.vault.Location, q.origin, d.Rule)
}

// audiences of tokens for Key Vault: the resource, with and without its slash, and the service's own id.
var audiences = []string{"https://vault.azure.net", "https://vault.azure.net/", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"}

func (q *request) authenticate() error {
	scheme, token, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return q.challenge("AKV10000: Request is missing a Bearer or PoP token.")
	}
	var err error
	q.principal, err = q.s.Tokens.Verify(q.r.Context(), strings.TrimSpace(token), audiences...)
	if err != nil {
		return q.challenge("Error validating token: " + err.Error())
	}
	if q.vault.TenantID != "" && !strings.EqualFold(q.principal.TenantID, q.vault.TenantID) {
		return q.challenge(fmt.Sprintf("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/%s/, found https://sts.windows.net/%s/.", q.vault.TenantID, q.principal.TenantID))
	}
	return nil
}

// challenge is the 401 that tells clients where to get a token and for what.
func (q *request) challenge(message string) error {
	e := newError(http.StatusUnauthorized, "Unauthorized", "", "%s", message)
	e.Header = map[string]string{"WWW-Authenticate": fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="https://vault.azure.net"`, q.vault.TenantID)}
	return e
}

var apiVersion = regexp.MustCompile(`^(7\.[0-6](-preview(\.\d)?)?|2015-06-01|2016-10-01|2025-06-01-preview|2025-07-01|2026-04-01)$`)

func (q *request) checkVersion() error {
	v := q.r.URL.Query().Get("api-version")
	if v == "" {
		return errBadParameter("api-version must be specified")
	}
	if !apiVersion.MatchString(v) {
		return errBadParameter("The specified version (%s) is not recognized. Consider using the latest supported version (2026-04-01).", v)
	}
	return nil
}

// fail writes an error. One that is not ours is a bare 500 and a line in the log.
func (q *request) fail(err error) {
	var e *Error
	if !errors.As(err, &e) {
		if q.r.Context().Err() != nil {
			return // the client went away
		}
		q.s.Log.Error("keyvault: request failed", "request", q.id, "method", q.r.Method, "vault", q.vault.Name, "err", err)
		e = newError(http.StatusInternalServerError, "InternalServerError", "", "Internal server error.")
		if errors.Is(err, store.ErrFull) {
			e = newError(http.StatusInsufficientStorage, "InsufficientStorage", "", httpx.DiskFull)
		}
	}
	for k, v := range e.Header {
		q.w.Header().Set(k, v)
	}
	type inner struct {
		Code string `json:"code"`
	}
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Inner   *inner `json:"innererror,omitempty"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = e.Code, e.Message
	if e.Inner != "" {
		body.Error.Inner = &inner{e.Inner}
	}
	q.send(e.Status, body)
}

// send answers with JSON.
func (q *request) send(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		q.s.Log.Error("keyvault: encode answer", "request", q.id, "err", err)
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":"Internal server error."}}`)
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", fmt.Sprint(len(b)))
	q.status = status
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(b) // a client that went away misses nothing
	}
}
