package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
)

// SSH is the node's SSH server on its NIC, for clusters with an administrator's account. Sessions run in
// fresh containers of the node's default image, never in the node itself.
type SSH struct {
	User string `json:"user"`
	// PasswordHash is bcrypt's, "" forbids passwords. AuthorizedKeys are lines of an authorized_keys
	// file. One of both is required.
	PasswordHash   string   `json:"passwordHash,omitempty"`
	AuthorizedKeys []string `json:"authorizedKeys,omitempty"`
	Listen         string   `json:"listen,omitempty"` // ":22"
}

const (
	sshHandshake   = 20 * time.Second
	sshConnections = 16
	sshAuthTries   = 6
)

type sshServer struct {
	a    *Agent
	conf *ssh.ServerConfig
	l    net.Listener
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// listenSSH starts the server; it ends with close, or ctx.
func (a *Agent) listenSSH(ctx context.Context, c *SSH) (*sshServer, error) {
	conf, err := c.server()
	if err != nil {
		return nil, err
	}
	key, err := hostKey(filepath.Join(a.cfg.StateDir, "ssh_host_ed25519_key"))
	if err != nil {
		return nil, fmt.Errorf("SSH host key: %w", err)
	}
	conf.AddHostKey(key)
	addr := c.Listen
	if addr == "" {
		addr = ":22"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &sshServer{a: a, conf: conf, l: l, stop: stop}
	s.wg.Go(func() { s.accept(ctx) })
	return s, nil
}

func (s *sshServer) close() {
	s.stop()
	_ = s.l.Close()
	s.wg.Wait()
}

// server checks who may come in.
func (c *SSH) server() (*ssh.ServerConfig, error) {
	var keys [][]byte
	for _, line := range c.AuthorizedKeys {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("SSH: authorized key: %w", err)
		}
		keys = append(keys, k.Marshal())
	}
	if c.User == "" || len(keys) == 0 && c.PasswordHash == "" {
		return nil, errors.New("SSH: a user with a password or a key is required")
	}
	refused := errors.New("refused")
	user := func(m ssh.ConnMetadata) bool {
		return subtle.ConstantTimeCompare([]byte(m.User()), []byte(c.User)) == 1
	}
	conf := &ssh.ServerConfig{MaxAuthTries: sshAuthTries, ServerVersion: "SSH-2.0-Vauban"}
	if len(keys) > 0 {
		conf.PublicKeyCallback = func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			for _, have := range keys {
				if bytes.Equal(have, k.Marshal()) && user(m) {
					return nil, nil
				}
			}
			return nil, refused
		}
	}
	if c.PasswordHash != "" {
		conf.PasswordCallback = func(m ssh.ConnMetadata, pw []byte) (*ssh.Permissions, error) {
			// The hash is computed for a wrong user too: the time tells nothing.
			if bcrypt.CompareHashAndPassword([]byte(c.PasswordHash), pw) != nil || !user(m) {
				return nil, refused
			}
			return nil, nil
		}
	}
	return conf, nil
}

// hostKey reads the node's key, or makes it.
func hostKey(file string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return nil, err
		}
		b = pem.EncodeToMemory(block)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(b)
}

// accept serves connections, so many at a time.
func (s *sshServer) accept(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.l.Close() })
	defer stop()
	slots := make(chan struct{}, sshConnections)
	for {
		c, err := s.l.Accept()
		if err != nil {
			if ctx.Err() != nil || pause(ctx, 100*time.Millisecond) != nil {
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
			s.wg.Go(func() { defer func() { <-slots }(); s.connection(ctx, c) })
		default:
			_ = c.Close()
		}
	}
}

func (s *sshServer) connection(ctx context.Context, c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(sshHandshake))
	conn, channels, requests, err := ssh.NewServerConn(c, s.conf)
	if err != nil {
		s.a.log.Warn("SSH: refused", "from", c.RemoteAddr().String())
		return
	}
	_ = c.SetDeadline(time.Time{})
	s.a.log.Info("SSH: connected", "from", c.RemoteAddr().String(), "user", conn.User())
	var wg sync.WaitGroup
	wg.Go(func() { ssh.DiscardRequests(requests) })
	for ch := range channels {
		if ch.ChannelType() == "direct-tcpip" && s.a.cfg.Home != "" {
			wg.Go(func() { s.a.forward(ctx, ch) })
			continue
		}
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, reqs, err := ch.Accept()
		if err != nil {
			continue
		}
		wg.Go(func() { s.a.session(ctx, channel, reqs) })
	}
	cancel() // the client is gone: so are its commands
	wg.Wait()
}
