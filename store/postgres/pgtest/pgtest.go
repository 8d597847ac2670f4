// Package pgtest starts a PostgreSQL of the machine's own programs for tests, on a socket that nobody else can open.
package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Server is a running PostgreSQL with an empty database.
type Server struct {
	dir  string
	port int // on 127.0.0.1; 0: a socket only
	cmd  *exec.Cmd
	done chan error
}

// Start makes a database cluster in a temporary directory and starts its server. Debian's package is postgresql.
// PostgreSQL refuses root: then its processes are those of the user nobody.
func Start() (*Server, error) { return start("", nil) }

// StartTCP starts a server that listens on a port of the loopback, too, and asks everybody for a password.
func StartTCP(password string) (*Server, error) { return start(password, nil) }

// Certificate is that of a server, and its key, in PEM.
type Certificate struct{ Chain, Key []byte }

// StartTLS is Start for a server that listens on a port of the loopback, too, where it takes nothing without TLS and password.
func StartTLS(password string, c Certificate) (*Server, error) { return start(password, &c) }

func start(password string, cert *Certificate) (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, done: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("pgtest: %w", err), os.RemoveAll(dir))
		}
	}()
	attr, err := s.ownUser()
	if err != nil {
		return nil, err
	}
	how := []string{"-A", "trust"}
	if password != "" {
		if err := os.WriteFile(s.path("password"), []byte(password), 0o644); err != nil { // the directory is closed to others
			return nil, err
		}
		how = []string{"-A", "scram-sha-256", "--pwfile", s.path("password")}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), append(how, "-D", s.path("data"), "-U", "vauban", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")...)
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	options := []string{"-D", s.path("data"), "-k", dir, "-c", "max_connections=200"}
	if cert != nil {
		tls, err := s.writeTLS(*cert, attr.Credential)
		if err != nil {
			return nil, err
		}
		options = append(options, tls...)
	}
	if password == "" {
		s.cmd = exec.Command(filepath.Join(bin, "postgres"), append(options, "-h", "")...)
		s.cmd.SysProcAttr, s.cmd.Dir = attr, dir
		return s, s.run()
	}
	// A port that was free a moment ago may be another process's by now.
	for range 5 {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		s.cmd = exec.Command(filepath.Join(bin, "postgres"), append(options, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port))...)
		s.cmd.SysProcAttr, s.cmd.Dir = attr, dir
		if err = s.run(); !errors.Is(err, errPortTaken) {
			return s, err
		}
		<-s.done
	}
	return nil, err
}

var errPortTaken = errors.New("another process has the port")

// writeTLS writes the files that the server reads, whose key must be its own user's alone, and returns its options.
func (s *Server) writeTLS(c Certificate, owner *syscall.Credential) ([]string, error) {
	for name, text := range map[string][]byte{"server.crt": c.Chain, "server.key": c.Key, "hba.conf": []byte("hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n")} {
		if err := os.WriteFile(s.path(name), text, 0o600); err != nil {
			return nil, err
		}
		if owner == nil {
			continue
		}
		if err := os.Chown(s.path(name), int(owner.Uid), int(owner.Gid)); err != nil {
			return nil, err
		}
	}
	return []string{"-c", "ssl=on", "-c", "ssl_cert_file=" + s.path("server.crt"), "-c", "ssl_key_file=" + s.path("server.key"), "-c", "hba_file=" + s.path("hba.conf")}, nil
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// ownUser gives the directory to the user that PostgreSQL runs as.
func (s *Server) ownUser() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(s.dir, int(uid), int(gid))
}

// run starts the server and returns when it takes connections.
func (s *Server) run() error {
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the server dies with the thread that began it
		defer runtime.UnlockOSThread()
		if err := s.cmd.Start(); err != nil {
			started <- err
			return
		}
		var said strings.Builder
		ready := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if ready {
				continue
			}
			said.WriteString(lines.Text() + "\n")
			if ready = strings.Contains(lines.Text(), "ready to accept connections"); ready {
				started <- nil
			}
		}
		err := s.cmd.Wait()
		if !ready {
			started <- endedEarly(err, said.String())
		}
		s.done <- err
	}()
	return <-started
}

func endedEarly(err error, said string) error {
	if strings.Contains(said, "Address already in use") {
		return fmt.Errorf("%w: %s", errPortTaken, said)
	}
	return fmt.Errorf("postgres ended: %w: %s", err, said)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// TCP is the connection string by TCP, without the password.
func (s *Server) TCP(schema string) string {
	u := url.URL{Scheme: "postgres", User: url.User("vauban"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/postgres", RawQuery: url.Values{"search_path": {schema}}.Encode()}
	return u.String()
}

// URL is the connection string; everything is in the named schema, which must exist.
func (s *Server) URL(schema string) string {
	q := url.Values{"host": {s.dir}, "search_path": {schema}}
	if s.port != 0 { // the socket has its number
		q.Set("port", strconv.Itoa(s.port))
	}
	return (&url.URL{Scheme: "postgres", User: url.User("vauban"), Path: "/postgres", RawQuery: q.Encode()}).String()
}

// Restart kills every process of the server, as a power cut does, and starts it again.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.Again()
}

// Kill ends every process of the server at once: no checkpoint, and recovery at the next start.
func (s *Server) Kill() error {
	err := s.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.done
	return err
}

// Again starts the server after Kill.
func (s *Server) Again() error {
	next := exec.Command(s.cmd.Path, s.cmd.Args[1:]...)
	next.SysProcAttr, next.Dir = s.cmd.SysProcAttr, s.cmd.Dir
	s.cmd = next
	return s.run()
}

// Close ends the server and removes its files.
func (s *Server) Close() error {
	err := s.cmd.Process.Signal(syscall.SIGINT)
	<-s.done
	return errors.Join(err, os.RemoveAll(s.dir))
}

// programs is the directory of PostgreSQL's server programs; Debian keeps them out of the PATH.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("pgtest: no initdb in PATH or /usr/lib/postgresql: install PostgreSQL (apt-get install postgresql)")
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb)))) // 0 for what is no number
	return n
}
