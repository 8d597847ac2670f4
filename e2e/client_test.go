package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// client speaks plain REST to the region's services under Azure's names.
type client struct {
	http   *http.Client
	creds  credentials
	mu     sync.Mutex
	tokens map[string]string // by audience
}

// credentials of a service principal, as the environment gives them to Azure's SDKs.
type credentials struct{ tenant, id, secret string }

func credentialsOf(getenv func(string) string) credentials {
	return credentials{getenv("AZURE_TENANT_ID"), getenv("AZURE_CLIENT_ID"), getenv("AZURE_CLIENT_SECRET")}
}

// wire is how a client connects; the zero value goes where DNS says and believes what it finds.
type wire struct {
	Bundle string   // PEM file of authorities
	Proxy  string   // URL of the loopback proxy
	Dial   string   // HOST:PORT to connect to, whatever the URL says
	SNI    string   // server name in TLS, whatever the URL says; certificates are not checked then
	HTTP1  bool     // no HTTP/2
	ALPN   []string // what TLS offers
}

func newClient(w wire, c credentials) (*client, error) {
	tr := &http.Transport{ForceAttemptHTTP2: !w.HTTP1, TLSClientConfig: &tls.Config{}, MaxIdleConnsPerHost: 64}
	if w.Bundle != "" {
		pem, err := os.ReadFile(w.Bundle)
		if err != nil {
			return nil, err
		}
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	tr.Proxy = http.ProxyFromEnvironment
	if w.Proxy != "" {
		u, err := url.Parse(w.Proxy)
		if err != nil {
			return nil, err
		}
		tr.Proxy = http.ProxyURL(u)
	}
	if w.SNI != "" {
		tr.TLSClientConfig.ServerName, tr.TLSClientConfig.InsecureSkipVerify = w.SNI, true
	}
	if w.Dial != "" {
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.Dial)
		}
	}
	return &client{http: &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, creds: c, tokens: map[string]string{}}, nil
}

// patience ends what hangs; nothing is measured by it.
const patience = 60 * time.Second

// answer to a request. Code and Message are those of the error that a service of Azure wrote in its own form.
type answer struct {
	Status  int
	Code    string
	Inner   string // the code of innererror, where a service has one
	Message string
	Header  http.Header
	Body    []byte
}

func (a *answer) ok() bool { return a.Status < 400 }

func (a *answer) String() string {
	if a.ok() {
		return fmt.Sprintf("%d %s", a.Status, a.Body)
	}
	return fmt.Sprintf("%d %s: %s", a.Status, a.Code, a.Message)
}

// json unmarshals the body.
func (a *answer) json(into any) error {
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("%d %q: %w", a.Status, a.Body, err)
	}
	return nil
}

// request is what do sends. A URL that begins with / is Resource Manager's.
type request struct {
	Method, URL string
	Body        io.Reader
	Length      int64       // of the body, where it cannot be seen
	Header      http.Header // overrides; a key "Host" is the request's Host
	Token       string      // "" takes the client's own for the service, "-" sends none
}

// do sends r. Its error says that there was no answer.
func (c *client) do(ctx context.Context, r request) (*answer, error) {
	if strings.HasPrefix(r.URL, "/") {
		r.URL = "https://management.azure.com" + r.URL
	}
	q, err := http.NewRequestWithContext(ctx, r.Method, r.URL, r.Body)
	if err != nil {
		return nil, err
	}
	if r.Length > 0 {
		q.ContentLength = r.Length
	}
	if r.Body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	if strings.HasSuffix(q.URL.Hostname(), ".blob.core.windows.net") {
		q.Header.Set("x-ms-version", "2023-11-03")
		q.Header.Set("x-ms-blob-type", "BlockBlob")
	}
	if r.Token == "" {
		if r.Token, err = c.token(ctx, audience(q.URL.Hostname())); err != nil {
			return nil, err
		}
	}
	if r.Token != "" && r.Token != "-" {
		q.Header.Set("Authorization", "Bearer "+r.Token)
	}
	for name, values := range r.Header {
		if name == "Host" {
			q.Host = values[0]
			continue
		}
		q.Header[name] = values
	}
	return c.send(q)
}

func (c *client) send(q *http.Request) (*answer, error) {
	res, err := c.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{Status: res.StatusCode, Header: res.Header, Body: body}
	a.readError()
	return a, nil
}

// readError reads the error forms of Azure's services: {"error":{…}} of Resource Manager, Key Vault, Graph
// and the workspace, {"error":"…","error_description":"…"} of Entra, {"error_code":…} of MLflow, XML of storage.
func (a *answer) readError() {
	var j struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		Code        string          `json:"error_code"`
		Message     string          `json:"message"`
	}
	if json.Unmarshal(a.Body, &j) == nil {
		var e struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
		switch {
		case json.Unmarshal(j.Error, &e) == nil && e.Code != "":
			a.Code, a.Inner, a.Message = e.Code, e.InnerError.Code, e.Message
		case json.Unmarshal(j.Error, &a.Code) == nil:
			a.Message = j.Description
		default:
			a.Code, a.Message = j.Code, j.Message
		}
		return
	}
	var x struct {
		XMLName xml.Name
		Code    string
		Message string
		Detail  string `xml:"AuthenticationErrorDetail"`
	}
	if xml.Unmarshal(a.Body, &x) == nil && x.XMLName.Local == "Error" {
		a.Code, a.Message = x.Code, strings.TrimSpace(x.Message+" "+x.Detail)
	}
}

// audience is what a token for a host is issued for, "" where none is needed.
func audience(host string) string {
	host = strings.ToLower(host)
	for suffix, a := range map[string]string{
		"management.azure.com":    "https://management.azure.com",
		".blob.core.windows.net":  "https://storage.azure.com",
		".file.core.windows.net":  "https://storage.azure.com",
		".queue.core.windows.net": "https://storage.azure.com",
		".table.core.windows.net": "https://storage.azure.com",
		".vault.azure.net":        "https://vault.azure.net",
		".api.azureml.ms":         "https://ml.azure.com",
		"graph.microsoft.com":     "https://graph.microsoft.com",
	} {
		if strings.HasSuffix(host, suffix) {
			return a
		}
	}
	return ""
}

// token signs the client in, once for each audience.
func (c *client) token(ctx context.Context, audience string) (string, error) {
	if audience == "" {
		return "-", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tokens[audience]; t != "" {
		return t, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.creds.id}, "client_secret": {c.creds.secret}, "scope": {audience + "/.default"}}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://login.microsoftonline.com/"+c.creds.tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := c.send(q)
	if err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if err := a.json(&t); err != nil || t.AccessToken == "" {
		return "", errors.Join(fmt.Errorf("sign in: %s", a), err)
	}
	c.tokens[audience] = t.AccessToken
	return t.AccessToken, nil
}

// forget drops the tokens that the client has, as a client does when they have expired.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tokens)
}

func jsonBody(v any) io.Reader {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return strings.NewReader(v)
	case []byte:
		return bytes.NewReader(v)
	}
	b, err := json.Marshal(v)
	if err != nil { // literals of tests
		panic(err)
	}
	return bytes.NewReader(b)
}
