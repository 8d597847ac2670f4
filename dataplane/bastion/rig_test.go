package bastion

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"vauban.dev/arm"
	"vauban.dev/authz"
	"vauban.dev/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	dnsName   = "bst-1.bastion.azure.com"
	bastionID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/bastionHosts/b"
	vnetID    = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v"
	machine   = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces/n"
)

var client = netip.MustParseAddr("203.0.113.10")

// rig is a bastion whose machine is on this machine's loopback.
type rig struct {
	*testing.T
	service *Service
	server  *httptest.Server

	mu     sync.Mutex
	host   Host
	origin origin.Origin
	denied string // action that nobody has
	dialed []netip.AddrPort
	target string // where Dial leads; "" = nowhere
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, host: Host{ID: bastionID, NIC: "nic", VNet: vnetID, Tunneling: true, IPConnect: true}, origin: origin.Origin{Kind: origin.Internet, Source: client, Target: "nic"}}
	r.service = New(Config{Region: r, Authorizer: r, Log: slog.New(slog.DiscardHandler)})
	h := r.service.Handler()
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		o := r.origin
		r.mu.Unlock()
		h.ServeHTTP(w, q.WithContext(origin.NewContext(q.Context(), o)))
	}))
	t.Cleanup(func() {
		r.service.Close()
		r.server.CloseClientConnections()
		r.server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

func (r *rig) Bastion(_ context.Context, name string) (Host, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.host, name == dnsName, nil
}

func (r *rig) Target(_ context.Context, _ Host, id string) (Target, error) {
	if id != machine {
		return Target{}, arm.NotFound(arm.MustParseID(machine))
	}
	return Target{Addr: netip.MustParseAddr("10.0.1.4"), Reads: []authz.Request{{Action: "Microsoft.Network/networkInterfaces/read", Scope: machine}}}, nil
}

func (r *rig) Reached(o origin.Origin, h Host) (string, bool) {
	return "another address", o.Target == h.NIC
}

func (r *rig) Dial(ctx context.Context, _ Host, to netip.AddrPort) (net.Conn, error) {
	r.mu.Lock()
	r.dialed = append(r.dialed, to)
	target := r.target
	r.mu.Unlock()
	if target == "" {
		return nil, fmt.Errorf("i/o timeout")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", target)
}

func (r *rig) Verify(_ context.Context, token string) (authz.Principal, error) {
	if token != "good" {
		return authz.Principal{}, arm.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	}
	return authz.Principal{ObjectID: "oid", Name: "alice"}, nil
}

func (r *rig) Check(_ context.Context, _ authz.Principal, q authz.Request) (authz.Decision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return authz.Decision{Allowed: q.Action != r.denied, By: "test"}, nil
}

// serve runs a machine's TCP server until the test ends.
func (r *rig) serve(handle func(net.Conn)) {
	r.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	r.target = l.Addr().String()
	r.Cleanup(func() { r.service.Close(); l.Close(); wg.Wait() })
}

func form(changes ...string) url.Values {
	f := url.Values{"resourceId": {machine}, "protocol": {protocolTunnel}, "workloadHostPort": {"22"}, "aztoken": {"good"}}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "" {
			f.Del(changes[i])
		} else {
			f.Set(changes[i], changes[i+1])
		}
	}
	return f
}

// do makes a request of the bastion.
func (r *rig) do(method, path, body string) (int, map[string]any) {
	r.Helper()
	q, err := http.NewRequestWithContext(r.Context(), method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	q.Host = dnsName
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	var m map[string]any
	json.Unmarshal(b, &m)
	return resp.StatusCode, m
}

func (r *rig) tokens(changes ...string) tokens {
	r.Helper()
	status, m := r.do(http.MethodPost, "/api/tokens", form(changes...).Encode())
	if status != http.StatusOK {
		r.Fatalf("tokens: %d %v", status, m)
	}
	auth, _ := m["authToken"].(string)
	socket, _ := m["websocketToken"].(string)
	return tokens{AuthToken: auth, WebsocketToken: socket}
}

func (r *rig) socket(path string) (*websocket.Conn, int) {
	r.Helper()
	ws, resp, err := websocket.Dial(r.Context(), strings.Replace(r.server.URL, "http", "ws", 1)+path, &websocket.DialOptions{Host: dnsName})
	if err != nil {
		if resp == nil {
			r.Fatal(err)
		}
		return nil, resp.StatusCode
	}
	r.Cleanup(func() { ws.CloseNow() })
	return ws, resp.StatusCode
}

// echo answers each line with itself.
func echo(c net.Conn) {
	for s := bufio.NewScanner(c); s.Scan(); {
		fmt.Fprintf(c, "%s\n", s.Text())
	}
}

const patience = 20 * time.Second
