package bastion

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/crypto/ssh"
)

// sshd is a machine that lets alice in, by password or key, and echoes what she types in capitals. "size" tells the
// terminal's size, "exit" ends.
func sshd(t *testing.T) (serve func(net.Conn), privateKey string) {
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ssh.ServerConfig{
		PasswordCallback: func(c ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			if c.User() == "alice" && string(p) == "secret" {
				return nil, nil
			}
			return nil, fmt.Errorf("no")
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if string(k.Marshal()) == string(mine.Marshal()) {
				return nil, nil
			}
			return nil, fmt.Errorf("no")
		},
	}
	cfg.AddHostKey(signer)
	return func(c net.Conn) {
		conn, channels, requests, err := ssh.NewServerConn(c, cfg)
		if err != nil {
			return
		}
		defer conn.Close()
		go ssh.DiscardRequests(requests)
		for n := range channels {
			ch, reqs, err := n.Accept()
			if err != nil {
				return
			}
			go shellOf(ch, reqs)
		}
	}, string(pem.EncodeToMemory(block))
}

func shellOf(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var mu sync.Mutex
	size := ""
	for r := range reqs {
		switch r.Type {
		case "pty-req":
			var p struct {
				Term       string
				Cols, Rows uint32
				W, H       uint32
				Modes      string
			}
			ssh.Unmarshal(r.Payload, &p)
			mu.Lock()
			size = fmt.Sprintf("%s %dx%d", p.Term, p.Cols, p.Rows)
			mu.Unlock()
		case "window-change":
			var p struct{ Cols, Rows, W, H uint32 }
			ssh.Unmarshal(r.Payload, &p)
			mu.Lock()
			size = fmt.Sprintf("%dx%d", p.Cols, p.Rows)
			mu.Unlock()
			io.WriteString(ch, "resized\n")
		case "shell":
			go func() {
				defer ch.Close()
				buf := make([]byte, 256)
				for {
					n, err := ch.Read(buf)
					if err != nil {
						return
					}
					switch line := string(buf[:n]); line {
					case "size":
						mu.Lock()
						io.WriteString(ch, size+"\n")
						mu.Unlock()
					case "exit":
						ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{3}))
						return
					default:
						io.WriteString(ch, strings.ToUpper(line)+"\n")
					}
				}
			}()
		}
		if r.WantReply {
			r.Reply(true, nil)
		}
	}
}

// browser is the page's side of a terminal.
type browser struct {
	*rig
	ws  *websocket.Conn
	ctx context.Context
}

func (r *rig) browse(l login) *browser {
	r.Helper()
	ws, status := r.socket("/webssh/" + r.tokens("protocol", protocolSSH).WebsocketToken)
	if ws == nil {
		r.Fatal(status)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	r.Cleanup(cancel)
	b := &browser{r, ws, ctx}
	b.tell(l)
	return b
}

func (b *browser) tell(v any) {
	b.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = b.ws.Write(b.ctx, websocket.MessageText, text)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func (b *browser) notice() (n notice) {
	b.Helper()
	kind, text, err := b.ws.Read(b.ctx)
	if err != nil || kind != websocket.MessageText || json.Unmarshal(text, &n) != nil {
		b.Fatalf("heard %v %q %v", kind, text, err)
	}
	return n
}

func (b *browser) types(line, want string) {
	b.Helper()
	if line != "" {
		if err := b.ws.Write(b.ctx, websocket.MessageBinary, []byte(line)); err != nil {
			b.Fatal(err)
		}
	}
	kind, text, err := b.ws.Read(b.ctx)
	if err != nil || kind != websocket.MessageBinary || string(text) != want {
		b.Errorf("typed %q, saw %q %v, want %q", line, text, err, want)
	}
}

func TestTerminal(t *testing.T) {
	serve, key := sshd(t)
	for name, l := range map[string]login{
		"password": {User: "alice", Password: "secret", size: size{Cols: 80, Rows: 24}},
		"key":      {User: "alice", PrivateKey: key, size: size{Cols: 80, Rows: 24}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.serve(serve)
			b := r.browse(l)
			if n := b.notice(); n.Error != "" || !strings.Contains(n.Info, "SHA256:") {
				t.Fatalf("notice %+v", n)
			}
			b.types("hello", "HELLO\n")
			b.types("size", "xterm-256color 80x24\n")
			b.tell(size{Cols: 120, Rows: 40})
			b.types("", "resized\n")
			b.types("size", "120x40\n")
			if err := b.ws.Write(b.ctx, websocket.MessageBinary, []byte("exit")); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.ws.Read(b.ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("the end: %v", err)
			}
		})
	}
}

func TestTerminalRefuses(t *testing.T) {
	serve, _ := sshd(t)
	for name, l := range map[string]login{
		"a wrong password": {User: "alice", Password: "wrong"},
		"no user":          {Password: "secret"},
		"no key":           {User: "alice", PrivateKey: "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.serve(serve)
			n := r.browse(l).notice()
			if n.Error == "" || strings.Contains(n.Error, "secret") {
				t.Errorf("notice %+v", n)
			}
		})
	}
}

// A browser that goes ends the machine's session.
func TestTerminalBrowserGoes(t *testing.T) {
	serve, _ := sshd(t)
	r := newRig(t)
	ended := make(chan struct{})
	r.serve(func(c net.Conn) { serve(c); close(ended) })
	b := r.browse(login{User: "alice", Password: "secret"})
	b.notice()
	b.ws.CloseNow()
	<-ended
}
