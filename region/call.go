package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets in a data directory.
const (
	controlSocket = "ctl.sock"  // the server's
	holderSocket  = "hold.sock" // the holder's
)

// ErrNotRunning says that nobody answers for a data directory.
var ErrNotRunning = errors.New("the region is not running")

// Call asks the server of the region at dir. result may be nil. The files that come with the answer are
// the caller's to close. Errors: ErrNotRunning, a *CallError, or ctx's.
func Call(ctx context.Context, dir, method string, params, result any) ([]*os.File, error) {
	return callSocket(ctx, dir, controlSocket, method, params, nil, result)
}

func callSocket(ctx context.Context, dir, socket, method string, params any, files []*os.File, result any) ([]*os.File, error) {
	conn, err := dialDir(dir, socket)
	if err != nil {
		return nil, dialError(err)
	}
	defer conn.Close()
	return callConn(ctx, conn, method, params, files, result)
}

func dialError(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return ErrNotRunning
	}
	return err
}

func callConn(ctx context.Context, conn *net.UnixConn, method string, params any, files []*os.File, result any) (got []*os.File, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() {
		switch {
		case err == nil:
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
			err = fmt.Errorf("%w: it ended during the call", ErrNotRunning)
		}
	}()
	var w wireRequest
	w.Method = method
	if params != nil {
		if w.Params, err = json.Marshal(params); err != nil {
			return nil, err
		}
	}
	if err := writeFrame(conn, w, files); err != nil {
		return nil, err
	}
	var r wireReply
	got, err = readFrame(conn, maxReply, &r)
	if err != nil {
		return nil, err
	}
	if r.Error != nil {
		closeAll(got)
		return nil, r.Error
	}
	if result == nil {
		return got, nil
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		closeAll(got)
		return nil, fmt.Errorf("%s: the answer: %w", method, err)
	}
	return got, nil
}
