package bastion

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"vauban.dev/origin"
)

func TestTunnel(t *testing.T) {
	r := newRig(t)
	r.serve(echo)
	for _, path := range []string{"/webtunnelv2/", "/webtunnel/"} {
		x := r.tokens()
		ws, status := r.socket(path + x.WebsocketToken + "?X-Node-Id=" + node)
		if ws == nil {
			t.Fatalf("%s: %d", path, status)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := ws.Write(ctx, websocket.MessageBinary, []byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		kind, b, err := ws.Read(ctx)
		if err != nil || kind != websocket.MessageBinary || string(b) != "hello\n" {
			t.Fatalf("%s: heard %q %v", path, b, err)
		}
		// The token is good for one connection.
		if _, status := r.socket(path + x.WebsocketToken); status != http.StatusUnauthorized {
			t.Errorf("%s: a used token: %d", path, status)
		}
		// The session's end ends its connections.
		if status, _ := r.do(http.MethodDelete, "/api/tokens/"+x.AuthToken, ""); status != http.StatusNoContent {
			t.Errorf("end of the session: %d", status)
		}
		if _, _, err := ws.Read(ctx); err == nil {
			t.Error("the connection outlived its session")
		}
		if status, _ := r.do(http.MethodDelete, "/api/tokens/"+x.AuthToken, ""); status != http.StatusNotFound {
			t.Errorf("the session ended twice: %d", status)
		}
	}
	if got := r.dialed[0].String(); got != "10.0.1.4:22" {
		t.Errorf("dialed %s", got)
	}
}

// A machine that ends the connection ends the WebSocket, and a session takes several connections.
func TestTunnelEnds(t *testing.T) {
	r := newRig(t)
	r.serve(func(c net.Conn) { c.Write([]byte("bye")) })
	first := r.tokens()
	second := r.tokens("token", first.AuthToken)
	if first.AuthToken != second.AuthToken {
		t.Error("the session did not go on")
	}
	for _, token := range []string{first.WebsocketToken, second.WebsocketToken} {
		ws, status := r.socket("/webtunnelv2/" + token)
		if ws == nil {
			t.Fatal(status)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, b, err := ws.Read(ctx); err != nil || string(b) != "bye" {
			t.Errorf("heard %q %v", b, err)
		}
		if _, _, err := ws.Read(ctx); err == nil {
			t.Error("the connection has no end")
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(*rig)
		form   []string
		status int
		code   string
	}{
		"no token":                  {nil, []string{"aztoken", ""}, 401, "InvalidAuthenticationToken"},
		"a bad token":               {nil, []string{"aztoken", "bad"}, 401, "InvalidAuthenticationToken"},
		"no role on the bastion":    {func(r *rig) { r.denied = "Microsoft.Network/bastionHosts/read" }, nil, 403, "AuthorizationFailed"},
		"no role on the machine":    {func(r *rig) { r.denied = "Microsoft.Network/networkInterfaces/read" }, nil, 403, "AuthorizationFailed"},
		"no role on the network":    {func(r *rig) { r.denied = "Microsoft.Network/virtualNetworks/read" }, []string{"hostname", "10.0.1.9"}, 403, "AuthorizationFailed"},
		"no such machine":           {nil, []string{"resourceId", machine + "x"}, 404, "ResourceNotFound"},
		"no native clients":         {func(r *rig) { r.host.Tunneling = false }, nil, 403, "NativeClientDisabled"},
		"an unknown protocol":       {nil, []string{"protocol", "smtp"}, 400, "InvalidProtocol"},
		"no port":                   {nil, []string{"workloadHostPort", ""}, 400, "InvalidPort"},
		"a port that is none":       {nil, []string{"workloadHostPort", "70000"}, 400, "InvalidPort"},
		"no connections by address": {func(r *rig) { r.host.IPConnect = false }, []string{"hostname", "10.0.1.9"}, 403, "IpConnectDisabled"},
		"an address's other ports":  {nil, []string{"hostname", "10.0.1.9", "workloadHostPort", "80"}, 400, "InvalidPort"},
		"a name for an address":     {nil, []string{"hostname", "localhost"}, 400, "InvalidHostname"},
		"another way in":            {func(r *rig) { r.origin.Target = "" }, nil, 403, "AccessDenied"},
		"an address not listed":     {func(r *rig) { r.host.Allowed = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }, nil, 403, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if c.set != nil {
				c.set(r)
			}
			status, m := r.do(http.MethodPost, "/api/tokens", form(c.form...).Encode())
			if status != c.status || m["code"] != c.code || m["message"] == "" {
				t.Errorf("%d %v, want %d %s", status, m, c.status, c.code)
			}
		})
	}
}

func TestAllowedClients(t *testing.T) {
	r := newRig(t)
	r.host.Allowed = []netip.Prefix{netip.PrefixFrom(client, 32)}
	r.tokens("hostname", "10.0.1.9", "resourceId", "")
}

func TestUnreachableTarget(t *testing.T) {
	r := newRig(t)
	if _, status := r.socket("/webtunnelv2/" + r.tokens().WebsocketToken); status != http.StatusBadGateway {
		t.Errorf("%d, want 502", status)
	}
}

// Tokens are of one bastion and one protocol.
func TestTokensAreBound(t *testing.T) {
	r := newRig(t)
	r.serve(echo)
	if _, status := r.socket("/webssh/" + r.tokens().WebsocketToken); status != http.StatusUnauthorized {
		t.Errorf("a tunnel's token opened a terminal: %d", status)
	}
	if _, status := r.socket("/webtunnelv2/" + r.tokens("protocol", protocolSSH).WebsocketToken); status != http.StatusUnauthorized {
		t.Errorf("a terminal's token opened a tunnel: %d", status)
	}
	q := httptest.NewRequest(http.MethodGet, "/", nil)
	q.Host = "bst-2.bastion.azure.com"
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, q.WithContext(origin.NewContext(q.Context(), r.origin)))
	if w.Code != http.StatusNotFound {
		t.Errorf("a bastion that is not there: %d", w.Code)
	}
}

func TestPage(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]int{"/": 200, "/static/bastion.js": 200, "/static/xterm.js": 200, "/static/none.js": 404, "/static/..%2fservice.go": 404} {
		if status, _ := r.do(http.MethodGet, path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	b, err := page.ReadFile("page/index.html")
	if err != nil || !strings.Contains(string(b), "not to Microsoft") {
		t.Errorf("the page does not say whose it is: %v", err)
	}
}

// What is vendored is what npm has: page/README.md.
func TestVendored(t *testing.T) {
	for name, want := range map[string]string{
		"xterm.js":          "1f991ac3b4b283ebf96e60ae23a00a52765dd3a2e46fa6fdda9f1aab032f7495",
		"xterm.css":         "ba8e6985669488981ccf40c0cefe3aba80722cb6c92de7ad628b0bd717faf2b6",
		"addon-fit.js":      "bdaefa370b1bfc42ee88d46fe6072400902a4d4b2d45cd93438dda9b23c97089",
		"xterm.LICENSE.txt": "b569f629d00f2626a8100df2a1798210535621e42164dfd426a6fe5aac7b0ccd",
	} {
		b, err := page.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s was changed", name)
		}
	}
}

// Nothing that a client sends makes the service fail.
func FuzzTokens(f *testing.F) {
	f.Add("resourceId=x&workloadHostPort=22&protocol=tcptunnel&aztoken=good")
	f.Add("%zz&&hostname=::1&workloadHostPort=-1&protocol=ssh&aztoken=good")
	f.Fuzz(func(t *testing.T, body string) {
		r := newRig(t)
		q := httptest.NewRequest(http.MethodPost, "/api/tokens", strings.NewReader(body))
		q.Host = dnsName
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, q.WithContext(origin.NewContext(q.Context(), r.origin)))
		if w.Code >= 500 {
			t.Errorf("%d for %q", w.Code, body)
		}
	})
}
