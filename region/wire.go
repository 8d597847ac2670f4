package region

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// A frame on a region's sockets is a length (4 bytes, big endian), that many bytes of JSON, and up to
// MaxFiles descriptors that travel with the length (SCM_RIGHTS).
const (
	maxRequest = 1 << 20
	maxReply   = 8 << 20
)

// MaxFiles is how many files an answer may carry.
const MaxFiles = 64

// errFrame is what a peer that does not speak the protocol gets to read in our log.
var errFrame = errors.New("malformed frame")

// writeFrame sends v and files. The files stay the caller's.
func writeFrame(c *net.UnixConn, v any, files []*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxReply || len(files) > MaxFiles {
		return fmt.Errorf("frame of %d bytes and %d descriptors is over the limit", len(body), len(files))
	}
	var rights []byte
	if len(files) > 0 {
		err = withDescriptors(files, func(fds []int) { rights = unix.UnixRights(fds...) })
		if err != nil {
			return err
		}
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	_, _, err = c.WriteMsgUnix(head, rights, nil)
	runtime.KeepAlive(files)
	if err != nil {
		return err
	}
	_, err = c.Write(body)
	return err
}

// readFrame receives one frame of at most limit bytes into v. The files are the caller's to close; on
// an error there are none.
func readFrame(c *net.UnixConn, limit int, v any) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(MaxFiles*4))
	for got := 0; got < len(head); {
		n, on, flags, _, rerr := c.ReadMsgUnix(head[got:], oob)
		fs, ferr := parseRights(oob[:on])
		files = append(files, fs...)
		switch {
		case rerr != nil && got == 0 && n == 0:
			return files, rerr
		case rerr != nil:
			return files, fmt.Errorf("%w: %w", errFrame, rerr)
		case ferr != nil:
			return files, fmt.Errorf("%w: %w", errFrame, ferr)
		case flags&unix.MSG_CTRUNC != 0 || len(files) > MaxFiles:
			return files, fmt.Errorf("%w: more than %d descriptors", errFrame, MaxFiles)
		case n == 0:
			return files, io.EOF
		}
		got += n
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > uint32(limit) {
		return files, fmt.Errorf("%w: %d bytes, at most %d", errFrame, size, limit)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return files, fmt.Errorf("%w: %w", errFrame, err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return files, fmt.Errorf("%w: %w", errFrame, err)
	}
	return files, nil
}

func parseRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// withDescriptors gives the numbers of files to f. It does not use File.Fd, which makes the
// description, shared with a listener in use, blocking.
func withDescriptors(files []*os.File, f func(fds []int)) error {
	fds := make([]int, len(files))
	for i, file := range files {
		raw, err := file.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return err
		}
	}
	f(fds)
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// dialDir connects to a socket in dir. The path goes through a descriptor of dir: the address of a unix
// socket holds 107 bytes, a data directory's path may be longer.
func dialDir(dir, name string) (*net.UnixConn, error) {
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: viaDescriptor(d, name)})
}

// listenDir makes the socket name in dir, in the place of one that a dead process has left. Only the
// owner of the data directory can connect.
func listenDir(dir, name string) (*net.UnixListener, error) {
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: viaDescriptor(d, name)})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its name goes through a descriptor that is closed by then
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func viaDescriptor(d *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
}
