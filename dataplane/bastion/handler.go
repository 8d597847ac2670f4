package bastion

import (
	"context"
	"embed"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"vauban.dev/arm"
	"vauban.dev/internal/httpx"
	"vauban.dev/origin"
)

//go:embed page
var page embed.FS

// node names the instance that a session is on; a region's bastions have one.
const node = "bastion-0"

// Handler serves the hosts of all bastions.
//
// The API of native clients is what Azure's CLI extension `bastion` calls: POST /api/tokens, then a WebSocket at
// /webtunnelv2/TOKEN (older ones: /webtunnel/TOKEN), then DELETE /api/tokens/TOKEN.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/tokens", s.on(s.makeTokens))
	mux.HandleFunc("DELETE /api/tokens/{token}", s.on(s.endSession))
	mux.HandleFunc("GET /webtunnel/{token}", s.on(s.tunnel))
	mux.HandleFunc("GET /webtunnelv2/{token}", s.on(s.tunnel))
	mux.HandleFunc("GET /webssh/{token}", s.on(s.terminal))
	mux.HandleFunc("GET /{$}", s.on(file("index.html")))
	mux.HandleFunc("GET /static/{name}", s.on(func(w http.ResponseWriter, r *http.Request, c call) error {
		return file(r.PathValue("name"))(w, r, c)
	}))
	return mux
}

// call is a request to one bastion.
type call struct {
	dns  string
	host Host
}

// on finds the bastion, sees that the request came by its address, and writes what fails.
func (s *Service) on(do func(http.ResponseWriter, *http.Request, call) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		err := func() error {
			c := call{dns: httpx.CanonicalHost(r.Host)}
			h, ok, err := s.cfg.Region.Bastion(r.Context(), c.dns)
			if err != nil {
				return err
			}
			if !ok {
				return refuse(http.StatusNotFound, "BastionHostNotFound", "There is no bastion called %s.", clip(c.dns))
			}
			c.host = h
			if err := s.enters(origin.FromContext(r.Context()), h); err != nil {
				return err
			}
			return do(w, r, c)
		}()
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

// enters judges where a request comes from: the bastion's own address only, and its list of clients.
func (s *Service) enters(o origin.Origin, h Host) error {
	if why, ok := s.cfg.Region.Reached(o, h); !ok {
		return refuse(http.StatusForbidden, "AccessDenied", "%s cannot reach %s: %s", o, h.ID, why)
	}
	if len(h.Allowed) == 0 {
		return nil
	}
	for _, p := range h.Allowed {
		if p.Contains(o.Source) {
			return nil
		}
	}
	return refuse(http.StatusForbidden, "AccessDenied", "%s is not in networkAcls.ipRules of %s.", o, h.ID)
}

// fail answers as the CLI expects it: a JSON object with a message.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := arm.AsError(err)
	if e == nil || e.Status >= http.StatusInternalServerError && e.Code == "InternalServerError" {
		s.cfg.Log.ErrorContext(r.Context(), "bastion", "path", r.Pattern, "error", err)
		e = refuse(http.StatusInternalServerError, "InternalServerError", "The server encountered an internal error.")
	}
	for k, v := range e.Header {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(map[string]string{"code": e.Code, "message": e.Message})
}

// formSize bounds the body of a request for tokens: a token of Entra is some kilobytes.
const formSize = 64 << 10

// tokens is the answer to a request for tokens.
type tokens struct {
	AuthToken      string   `json:"authToken"`
	Username       string   `json:"username"`
	DataSource     string   `json:"dataSource"`
	NodeID         string   `json:"nodeId"`
	Sources        []string `json:"availableDataSources"`
	WebsocketToken string   `json:"websocketToken"`
}

func (s *Service) makeTokens(w http.ResponseWriter, r *http.Request, c call) error {
	r.Body = http.MaxBytesReader(w, r.Body, formSize)
	if err := r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "InvalidRequest", "The body is not a form of at most %d bytes.", formSize)
	}
	f := r.PostForm
	x := want{
		resource: f.Get("resourceId"), hostname: f.Get("hostname"), protocol: f.Get("protocol"), token: f.Get("aztoken"), session: f.Get("token"),
	}
	if port, err := strconv.ParseUint(f.Get("workloadHostPort"), 10, 16); err == nil {
		x.port = uint16(port)
	}
	to, caller, err := s.authorize(r.Context(), c.host, x)
	if err != nil {
		return err
	}
	auth, socket, err := s.permit(c.host, c.dns, x, to, caller, time.Now())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(tokens{AuthToken: auth, Username: caller.Name, NodeID: node, Sources: []string{}, WebsocketToken: socket})
}

func (s *Service) endSession(w http.ResponseWriter, r *http.Request, c call) error {
	if !s.end(r.PathValue("token"), c.dns) {
		return refuse(http.StatusNotFound, "SessionNotFound", "There is no such session.")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// open takes the token of a request, connects to the target and accepts the WebSocket.
func (s *Service) open(w http.ResponseWriter, r *http.Request, c call, ssh bool) (*grant, net.Conn, *websocket.Conn, error) {
	g := s.take(r.PathValue("token"), c.dns, ssh, time.Now())
	if g == nil {
		return nil, nil, nil, refuse(http.StatusUnauthorized, "InvalidToken", "The token is not valid, or was used.")
	}
	target, err := s.dial(r.Context(), g)
	if err != nil {
		return nil, nil, nil, refuse(http.StatusBadGateway, "TargetUnreachable", "%v", err)
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil { // it has answered
		target.Close()
		return nil, nil, nil, nil
	}
	ws.SetReadLimit(messageSize)
	return g, target, ws, nil
}

// messageSize bounds one message of a client.
const messageSize = 1 << 20

// tunnel carries bytes both ways until one side ends.
func (s *Service) tunnel(w http.ResponseWriter, r *http.Request, c call) error {
	g, target, ws, err := s.open(w, r, c, false)
	if ws == nil {
		return err
	}
	stream := websocket.NetConn(g.session.ctx, ws, websocket.MessageBinary)
	splice(g.session.ctx, stream, target)
	return nil
}

// splice copies both ways until one ends or ctx does, then closes both.
func splice(ctx context.Context, a, b net.Conn) {
	var once sync.Once
	shut := func() { once.Do(func() { a.Close(); b.Close() }) }
	stop := context.AfterFunc(ctx, shut)
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			defer shut()
			io.Copy(way[0], way[1])
		})
	}
	wg.Wait()
}

// file answers a file of the page.
func file(name string) func(http.ResponseWriter, *http.Request, call) error {
	return func(w http.ResponseWriter, r *http.Request, _ call) error {
		if _, err := page.Open("page/" + name); err != nil {
			return refuse(http.StatusNotFound, "NotFound", "There is no such page.")
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "no-referrer")
		http.ServeFileFS(w, r, page, "page/"+name)
		return nil
	}
}
