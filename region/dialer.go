package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// DialCommand is the hidden subcommand under which the program must call DialOut.
const DialCommand = "dial"

// dialerName is the dialer's name in process listings.
const dialerName = "region-dialer"

// dialEnv carries the addresses that a dialer may dial.
const dialEnv = "REGION_DIAL"

// dialSocket is the descriptor on which a dialer is asked.
const dialSocket = 3

// dialTimeout bounds one attempt, also when who asked is gone.
const dialTimeout = 30 * time.Second

// maxAddress bounds a request: a host name, a port.
const maxAddress = 512

// A server has no way out of its region. What it needs outside, its database, is dialled by a process that stays in the
// machine's network: the dialer makes TCP connections to the addresses that it was started with and to no other, and
// hands the connected sockets over; it sees no byte of what goes through them. It ends when its server does, because
// then nobody has the other end of its socket.

// startDialer starts the dialer of a server and returns the end of its socket that the server needs.
func startDialer(addresses []string) (*os.File, error) {
	ours, theirs, err := dialerPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	allowed, err := json.Marshal(addresses)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{dialerName, DialCommand}, Dir: "/",
		Env: []string{dialEnv + "=" + string(allowed)}, ExtraFiles: []*os.File{theirs}, SysProcAttr: &unix.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the dialer: %w", err), ours.Close())
	}
	go cmd.Wait() // a zombie until this process ends, if it ends first
	return ours, nil
}

func dialerPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "dialer"), os.NewFile(uintptr(fds[1]), "dialer"), nil
}

// DialOut is the dialer. It returns when its server is gone.
func DialOut(ctx context.Context) error {
	var allowed []string
	if err := json.Unmarshal([]byte(os.Getenv(dialEnv)), &allowed); err != nil {
		return fmt.Errorf("%s is started by `vauban up`", DialCommand)
	}
	unix.CloseOnExec(dialSocket)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/comm", []byte(dialerName), 0); err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	for {
		address, reply, err := receive(dialSocket)
		if err != nil || reply == nil {
			return err
		}
		go func() {
			defer reply.Close()
			answer(ctx, int(reply.Fd()), address, allowed)
		}()
	}
}

// answer dials and passes the socket, or says why there is none.
func answer(ctx context.Context, reply int, address string, allowed []string) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	f, err := dialFile(ctx, address, allowed)
	if err != nil {
		_ = unix.Sendmsg(reply, []byte(err.Error()), nil, nil, unix.MSG_NOSIGNAL) // who asked may be gone
		return
	}
	defer f.Close()
	_ = unix.Sendmsg(reply, []byte{0}, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
}

func dialFile(ctx context.Context, address string, allowed []string) (*os.File, error) {
	if !slices.Contains(allowed, address) {
		return nil, fmt.Errorf("the region may not dial %q", address)
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(*net.TCPConn).File()
}

// receive reads one message and the descriptor that came with it; nil, without an error, at the end.
func receive(socket int) (text string, file *os.File, err error) {
	b, oob := make([]byte, maxAddress), make([]byte, unix.CmsgSpace(4))
	var n, m int
	for {
		n, m, _, _, err = unix.Recvmsg(socket, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil || n == 0 && m == 0 {
		return "", nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		return "", nil, err
	}
	for _, msg := range messages {
		fds, err := unix.ParseUnixRights(&msg)
		if err == nil && len(fds) == 1 {
			file = os.NewFile(uintptr(fds[0]), "passed")
		}
	}
	return string(b[:n]), file, nil
}

// dialer is the server's end. Calls do not wait for each other: each has a socket of its own for the answer.
type dialer struct{ f *os.File }

// dial asks for a TCP connection to one of the addresses that `up` named.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
	ours, theirs, err := dialerPair()
	if err != nil {
		return nil, fail(err)
	}
	defer ours.Close()
	err = unix.Sendmsg(int(d.f.Fd()), []byte(address), unix.UnixRights(int(theirs.Fd())), nil, unix.MSG_NOSIGNAL)
	theirs.Close()
	if err != nil {
		return nil, fail(fmt.Errorf("the region's dialer is gone: %w; start the server again", err))
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Shutdown(int(ours.Fd()), unix.SHUT_RD) })
	text, f, err := receive(int(ours.Fd()))
	stop()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && f == nil && text == "":
		err = errors.New("the region's dialer is gone; start the server again")
	case err == nil && f == nil:
		err = errors.New(text)
	}
	if f != nil {
		defer f.Close()
	}
	if err != nil {
		return nil, fail(err)
	}
	return net.FileConn(f)
}
