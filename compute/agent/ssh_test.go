package agent_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"vauban.dev/compute/agent"
)

func TestSSH(t *testing.T) {
	w := newWorld(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, _ := ed25519.GenerateKey(rand.Reader)
	other, _ := ssh.NewSignerFromKey(otherKey)
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	w.conf.SSH = &agent.SSH{User: "azureuser", PasswordHash: string(hash),
		AuthorizedKeys: []string{string(ssh.MarshalAuthorizedKey(signer.PublicKey()))}, Listen: "127.0.0.1:2222"}
	startAgent(t, w.conf)
	w.q.submit(w.task("up", "true")) // when it has run, the server listens
	w.q.until(t, "up", final)

	dial := func(user string, how ssh.AuthMethod) (*ssh.Client, error) {
		return ssh.Dial("tcp", "127.0.0.1:2222", &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{how}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	}
	for name, how := range map[string]struct {
		user string
		auth ssh.AuthMethod
	}{
		"wrong password": {"azureuser", ssh.Password("wrong")},
		"wrong user":     {"root", ssh.Password("correct horse")},
		"wrong key":      {"azureuser", ssh.PublicKeys(other)},
		"key, not user":  {"root", ssh.PublicKeys(signer)},
	} {
		if c, err := dial(how.user, how.auth); err == nil {
			c.Close()
			t.Errorf("%s: let in", name)
		}
	}
	for name, how := range map[string]ssh.AuthMethod{"password": ssh.Password("correct horse"), "key": ssh.PublicKeys(signer)} {
		c, err := dial("azureuser", how)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		execWithStdin(t, c)
		shellOnTerminal(t, c)
		c.Close()
	}
	if _, err := net.Dial("tcp", "127.0.0.1:2222"); err != nil {
		t.Error(err)
	}
}

func execWithStdin(t *testing.T, c *ssh.Client) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader("input"), &out, &errs
	err = s.Run("cat; hostname; ls /work; echo problem >&2; exit 3")
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 3 || out.String() != "inputnode1\n" || errs.String() != "problem\n" {
		t.Errorf("%v: %q %q", err, out.String(), errs.String())
	}
}

func shellOnTerminal(t *testing.T, c *ssh.Client) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.RequestPty("xterm", 33, 99, nil); err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.Stdout = &out
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("stty size; echo $TERM; exit 5\n")); err != nil {
		t.Fatal(err)
	}
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 5 || !strings.Contains(out.String(), "33 99\r\n") {
		t.Errorf("%v: %q", err, out.String())
	}
}

// TestMachine: a virtual machine needs no batch service; its sessions share a home that outlives them, and connections
// go out from it.
func TestMachine(t *testing.T) {
	w := newWorld(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	conf := w.conf
	conf.Batch, conf.Token, conf.Home = "", "", t.TempDir()
	conf.SSH = &agent.SSH{User: "azureuser", PasswordHash: string(hash), Listen: "127.0.0.1:2223"}
	ran := func(c *ssh.Client, command string) string {
		t.Helper()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		out, err := s.CombinedOutput(command)
		if err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
		return string(out)
	}
	for life := range 2 {
		end, done := startAgent(t, conf)
		c := connected(t, "127.0.0.1:2223", "correct horse", done)
		if life == 0 {
			ran(c, "echo kept >~/note")
		}
		if got := ran(c, "cat note; echo $USER"); got != "kept\nazureuser\n" {
			t.Errorf("life %d: %q", life, got)
		}
		forwarded(t, c)
		c.Close()
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// connected waits until the server listens.
func connected(t *testing.T, addr, password string, done <-chan error) *ssh.Client {
	t.Helper()
	conf := &ssh.ClientConfig{User: "azureuser", Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	for late := time.After(20 * time.Second); ; {
		c, err := ssh.Dial("tcp", addr, conf)
		if err == nil {
			return c
		}
		select {
		case err := <-done:
			t.Fatal("the agent ended: ", err)
		case <-late:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// forwarded asks a server of this machine through the session, and one that does not listen.
func forwarded(t *testing.T, c *ssh.Client) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn) // until the other side has said all
	})
	conn, err := c.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "there and back")
	_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	if b, err := io.ReadAll(conn); err != nil || string(b) != "there and back" {
		t.Errorf("%q, %v", b, err)
	}
	if conn, err := c.Dial("tcp", "127.0.0.1:1"); err == nil {
		conn.Close()
		t.Error("connected to nobody")
	}
}
