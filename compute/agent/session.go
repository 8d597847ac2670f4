package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"vauban.dev/compute/oci"
)

// Payloads of RFC 4254, section 6.
type (
	ptyRequest struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	windowChange struct{ Columns, Rows, Width, Height uint32 }
	execRequest  struct{ Command string }
	exitStatus   struct{ Code uint32 }
)

// session serves one SSH session: at most one terminal and one command.
func (a *Agent) session(ctx context.Context, ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var term *terminal
	var name string
	started := false
	for req := range reqs {
		ok := false
		switch req.Type {
		case "pty-req":
			var p ptyRequest
			if ssh.Unmarshal(req.Payload, &p) == nil && term == nil && !started {
				t, err := openTerminal()
				if ok = err == nil; ok {
					term, name = t, p.Term
					term.resize(p.Columns, p.Rows)
					defer term.master.Close()
				}
			}
		case "window-change":
			var w windowChange
			if ok = ssh.Unmarshal(req.Payload, &w) == nil && term != nil; ok {
				term.resize(w.Columns, w.Rows)
			}
		case "exec", "shell":
			args := []string{"/bin/bash", "-l"}
			if req.Type == "exec" {
				var e execRequest
				if ssh.Unmarshal(req.Payload, &e) != nil {
					break
				}
				args = []string{"/bin/bash", "-c", e.Command}
			}
			if ok = !started; ok {
				started = true
				wg.Go(func() {
					code, err := a.command(ctx, ch, term, name, args)
					if err != nil && ctx.Err() == nil {
						a.log.Error("SSH: command", "error", err)
						fmt.Fprintln(ch.Stderr(), "the node could not run the command")
					}
					_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(exitStatus{uint32(code)}))
					_ = ch.Close() // ends the loop over requests
				})
			}
		}
		if req.WantReply {
			_ = req.Reply(ok, nil)
		}
	}
	cancel()
}

// command runs args in a fresh container with the channel as its standard streams. On a virtual machine all
// share its home.
func (a *Agent) command(ctx context.Context, ch ssh.Channel, term *terminal, name string, args []string) (code int, err error) {
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	id := "ssh-" + hex.EncodeToString(random)
	dir := filepath.Join(a.cfg.StateDir, "ssh", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 255, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image, err := a.cfg.image("")
	if err != nil {
		return 255, err
	}
	home := a.cfg.Home
	if home == "" {
		home = dir
	}
	s := oci.Spec{ID: id, Netns: a.netns(), Hostname: a.hostname(), CABundle: a.cfg.CABundle, Nameservers: a.cfg.DNS, Search: a.cfg.Search,
		Args: args, WorkDir: home, Layers: image.Layers, Limits: a.cfg.Limits, Terminal: term != nil}
	for k, v := range image.Env {
		s.Env = append(s.Env, k+"="+v)
	}
	if a.cfg.Home != "" {
		s.Env = append(s.Env, "HOME=/work", "USER="+a.cfg.SSH.User, "LOGNAME="+a.cfg.SSH.User)
	}
	var st streams
	if term != nil {
		s.Env = append(s.Env, "TERM="+name)
		st = term.streams(ch)
	} else if st, err = pipes(ch); err != nil {
		return 255, err
	}
	c, err := a.rt.Start(ctx, s, st.theirs)
	st.closeTheirs()
	if err != nil {
		st.closeOurs()
		return 255, err
	}
	defer func() { err = errors.Join(err, c.Remove(context.WithoutCancel(ctx))) }()
	output := st.copy()
	status, err := c.Wait(ctx)
	if err != nil { // the client is gone
		_, _ = c.Stop(context.WithoutCancel(ctx), 0)
	}
	output.Wait()
	st.closeOurs()
	return status.Code, err
}

// streams connect a channel to a container.
type streams struct {
	theirs oci.Stdio
	ours   []*os.File
	in     func()
	out    []func()
}

// copy starts copying; the group is done when all output has been copied.
func (s streams) copy() *sync.WaitGroup {
	go s.in() // ends when the channel or the container's end is closed
	var wg sync.WaitGroup
	for _, f := range s.out {
		wg.Go(f)
	}
	return &wg
}

func (s streams) closeTheirs() {
	for _, f := range []*os.File{s.theirs.In, s.theirs.Out, s.theirs.Err} {
		_ = f.Close() // a terminal's is closed thrice, which is no harm
	}
}

func (s streams) closeOurs() {
	for _, f := range s.ours {
		_ = f.Close()
	}
}

func pipes(ch ssh.Channel) (streams, error) {
	var p [3][2]*os.File
	var err error
	for i := range p {
		if p[i][0], p[i][1], err = os.Pipe(); err != nil {
			for _, q := range p[:i] {
				_, _ = q[0].Close(), q[1].Close()
			}
			return streams{}, err
		}
	}
	return streams{
		theirs: oci.Stdio{In: p[0][0], Out: p[1][1], Err: p[2][1]},
		ours:   []*os.File{p[0][1], p[1][0], p[2][0]},
		in:     func() { _, _ = io.Copy(p[0][1], ch); _ = p[0][1].Close() },
		out: []func(){
			func() { _, _ = io.Copy(ch, p[1][0]) },
			func() { _, _ = io.Copy(ch.Stderr(), p[2][0]) },
		},
	}, nil
}

// terminal is a pseudo-terminal of the node.
type terminal struct{ master, slave *os.File }

func openTerminal() (*terminal, error) {
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	raw, err := m.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	var slave uintptr
	var inner error
	err = raw.Control(func(fd uintptr) {
		if inner = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); inner != nil {
			return
		}
		// By the descriptor, not by a path: /dev/pts may be another instance's.
		var errno unix.Errno
		if slave, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC); errno != 0 {
			inner = os.NewSyscallError("TIOCGPTPEER", errno)
		}
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &terminal{m, os.NewFile(slave, "terminal")}, nil
}

func (t *terminal) resize(columns, rows uint32) {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	})
}

func (t *terminal) streams(ch ssh.Channel) streams {
	return streams{
		theirs: oci.Stdio{In: t.slave, Out: t.slave, Err: t.slave},
		ours:   []*os.File{t.master},
		in:     func() { _, _ = io.Copy(t.master, ch) },
		out:    []func(){func() { _, _ = io.Copy(ch, t.master) }}, // ends by EIO when nobody has the other side
	}
}
