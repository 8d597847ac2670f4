package agent_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"testing"

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
