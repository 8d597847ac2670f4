package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Patience of Stop with a server and with a holder that do not answer, before they are killed.
const (
	serverPatience = 15 * time.Second
	holderPatience = 3 * time.Second
)

// Stop ends the region at dir: the server is asked to end, then the holder ends every process that is
// left in the region, and itself. The data stay. ErrNotRunning says that there was nothing to end.
func Stop(ctx context.Context, dir string) error {
	err := stopPeer(ctx, dir, controlSocket, MethodStop, serverPatience, true)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return fmt.Errorf("end the server: %w", err)
	}
	// Its answer says that all is over. The process may linger until the parent of the server, which
	// is in its pid namespace, has noticed the server's end.
	err = stopPeer(ctx, dir, holderSocket, methodEnd, holderPatience, false)
	if errors.Is(err, ErrNotRunning) {
		return err
	}
	if err != nil {
		return fmt.Errorf("end the holder: %w", err)
	}
	return errors.Join(remove(dir, controlSocket), remove(dir, holderSocket))
}

func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// stopPeer asks the process behind a socket to end, waits until it has answered, or has ended, and
// kills it when that takes longer than patience.
func stopPeer(ctx context.Context, dir, socket, method string, patience time.Duration, ended bool) error {
	conn, err := dialDir(dir, socket)
	if err != nil {
		return dialError(err)
	}
	defer conn.Close()
	pidfd, err := pidfdOf(conn)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = callConn(asked, conn, method, nil, nil, nil)
	if ended && (err == nil || errors.Is(err, ErrNotRunning)) {
		err = waitPidfd(asked, pidfd)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return err
	}
	return waitPidfd(ctx, pidfd)
}

// pidfdOf is the process that listens on the other end.
func pidfdOf(conn *net.UnixConn) (int, error) {
	p, err := peerOf(conn)
	if err != nil {
		return -1, err
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == unix.ESRCH {
		return -1, ErrNotRunning
	}
	return fd, err
}

// pollStep bounds how late waitPidfd sees that its context has ended.
const pollStep = 100 * time.Millisecond

// waitPidfd waits until the process has ended.
func waitPidfd(ctx context.Context, fd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(pollStep/time.Millisecond))
		switch {
		case err != nil && err != unix.EINTR:
			return err
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
