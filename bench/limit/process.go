package limit

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Main is the body of the process that Start makes: it serves until stdin ends.
func Main(ctx context.Context, dir string, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		io.Copy(io.Discard, stdin)
	}()
	return Serve(ctx, dir, func(r Ready) error { return json.NewEncoder(stdout).Encode(r) })
}

// Process is a limit server in a process of its own, so that its memory and processor time can be told.
type Process struct {
	Ready
	TLS   *tls.Config
	cmd   *exec.Cmd
	stdin io.Closer
	dir   string
}

// Start runs argv, a program that calls Main with the directory that is added as its last argument, and
// waits until it answers. Its data are under parent.
func Start(ctx context.Context, parent string, argv ...string) (*Process, error) {
	dir, err := os.MkdirTemp(parent, "limit-")
	if err != nil {
		return nil, err
	}
	p := &Process{dir: dir, cmd: exec.CommandContext(ctx, argv[0], append(argv[1:], dir)...)}
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.Ready)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the reference server did not start: %w", err), p.Stop())
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.CA))
	p.TLS = &tls.Config{RootCAs: roots, ServerName: Host}
	return p, nil
}

// Stop ends the process and removes its data.
func (p *Process) Stop() error {
	p.stdin.Close()
	return errors.Join(p.cmd.Wait(), os.RemoveAll(p.dir))
}
