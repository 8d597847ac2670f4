package bastion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/crypto/ssh"
)

// login is a browser's first message: who logs in, and the terminal's size. It is used once and kept nowhere.
type login struct {
	User       string `json:"user"`
	Password   string `json:"password"`
	PrivateKey string `json:"privateKey"`
	Passphrase string `json:"passphrase"`
	size
}

type size struct {
	Cols int `json:"cols"`
	Rows int `json:"rows"`
}

// bounded keeps a size to what a terminal can be.
func (s size) bounded() (cols, rows int) {
	return min(max(s.Cols, 1), 1000), min(max(s.Rows, 1), 1000)
}

// notice is a message to the page: text that is not the machine's.
type notice struct {
	Info  string `json:"info,omitempty"`
	Error string `json:"error,omitempty"`
}

// loginTime is how long a browser has to send its first message, and the machine to let the user in.
const loginTime = 60 * time.Second

// terminal is SSH for a browser: binary messages are the terminal's bytes, text messages are JSON, the login
// first and sizes later.
func (s *Service) terminal(w http.ResponseWriter, r *http.Request, c call) error {
	g, target, ws, err := s.open(w, r, c, true)
	if ws == nil {
		return err
	}
	defer target.Close()
	ctx, cancel := context.WithCancel(g.session.ctx)
	defer cancel()
	if err := shell(ctx, ws, target, g.to.String()); err != nil {
		say(ctx, ws, notice{Error: err.Error()})
	}
	ws.Close(websocket.StatusNormalClosure, "")
	return nil
}

func say(ctx context.Context, ws *websocket.Conn, n notice) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return ws.Write(ctx, websocket.MessageText, b)
}

// shell logs in and carries a terminal until the machine ends it or the browser goes.
func shell(ctx context.Context, ws *websocket.Conn, target net.Conn, addr string) error {
	l, err := readLogin(ctx, ws)
	if err != nil {
		return err
	}
	auth, err := l.methods()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { target.Close() })
	defer stop()
	target.SetDeadline(time.Now().Add(loginTime))
	var hostKey ssh.PublicKey
	conn, channels, requests, err := ssh.NewClientConn(target, addr, &ssh.ClientConfig{
		User: l.User, Auth: auth,
		// A bastion knows no machine's key beforehand. The user is shown its fingerprint.
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error { hostKey = k; return nil },
	})
	if err != nil {
		return fmt.Errorf("the machine did not let %q in: %w", clip(l.User), err)
	}
	target.SetDeadline(time.Time{})
	client := ssh.NewClient(conn, channels, requests)
	defer client.Close()
	if err := say(ctx, ws, notice{Info: fmt.Sprintf("Connected to %s; its key is %s %s", addr, hostKey.Type(), ssh.FingerprintSHA256(hostKey))}); err != nil {
		return err
	}
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	return l.run(ctx, ws, session)
}

func readLogin(ctx context.Context, ws *websocket.Conn) (l login, err error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	kind, b, err := ws.Read(ctx)
	if err != nil {
		return l, err
	}
	if kind != websocket.MessageText || json.Unmarshal(b, &l) != nil || l.User == "" {
		return l, errors.New("the first message must be a login: user, and password or privateKey")
	}
	return l, nil
}

func (l *login) methods() ([]ssh.AuthMethod, error) {
	if l.PrivateKey != "" {
		var signer ssh.Signer
		var err error
		if l.Passphrase != "" {
			signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(l.PrivateKey), []byte(l.Passphrase))
		} else {
			signer, err = ssh.ParsePrivateKey([]byte(l.PrivateKey))
		}
		if err != nil {
			return nil, errors.New("the private key cannot be read, or its passphrase is wrong")
		}
		return []ssh.AuthMethod{ssh.PublicKeys(signer)}, nil
	}
	answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = l.Password
		}
		return answers, nil
	}
	return []ssh.AuthMethod{ssh.Password(l.Password), ssh.KeyboardInteractive(answer)}, nil
}

// run carries the terminal of a session.
func (l *login) run(ctx context.Context, ws *websocket.Conn, session *ssh.Session) error {
	cols, rows := l.bounded()
	if err := session.RequestPty("xterm-256color", rows, cols, ssh.TerminalModes{}); err != nil {
		return fmt.Errorf("the machine gives no terminal: %w", err)
	}
	in, err := session.StdinPipe()
	if err != nil {
		return err
	}
	out := &screen{ctx: ctx, ws: ws}
	session.Stdout, session.Stderr = out, out
	if err := session.Shell(); err != nil {
		return fmt.Errorf("the machine gives no shell: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer session.Close()
		read(ctx, ws, in, session)
	})
	session.Wait()                              // its error is the shell's own status, or that it was cut off
	ws.Close(websocket.StatusNormalClosure, "") // before the reader is stopped, which would cut the browser off
	return nil
}

// read carries what the browser sends until it goes.
func read(ctx context.Context, ws *websocket.Conn, in io.Writer, session *ssh.Session) {
	for {
		kind, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		if kind == websocket.MessageBinary {
			if _, err := in.Write(b); err != nil {
				return
			}
			continue
		}
		var s size
		if json.Unmarshal(b, &s) == nil {
			cols, rows := s.bounded()
			session.WindowChange(rows, cols)
		}
	}
}

// screen is the browser's terminal.
type screen struct {
	ctx context.Context
	ws  *websocket.Conn
}

func (s *screen) Write(b []byte) (int, error) {
	if err := s.ws.Write(s.ctx, websocket.MessageBinary, b); err != nil {
		return 0, err
	}
	return len(b), nil
}
