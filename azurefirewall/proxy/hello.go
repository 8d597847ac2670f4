package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// hello is what a TLS handshake begins with.
type hello struct {
	serverName string
	encrypted  bool   // the true name may be inside an Encrypted Client Hello
	raw        []byte // as it was read
}

// maxHello is more than any client sends.
const maxHello = 64 << 10

// encryptedClientHello is the extension that hides the server's name (RFC 9849).
const encryptedClientHello = 0xfe0d

var errHelloRead = errors.New("the client hello has been read")

// readHello reads a client hello with crypto/tls, and answers nothing.
func readHello(r io.Reader) (h hello, err error) {
	rec := &recorder{r: io.LimitReader(r, maxHello)}
	err = tls.Server(rec, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		h.serverName = info.ServerName
		h.encrypted = slices.Contains(info.Extensions, encryptedClientHello)
		return nil, errHelloRead
	}}).Handshake()
	h.raw = rec.read.Bytes()
	if errors.Is(err, errHelloRead) {
		return h, nil
	}
	if err == nil {
		err = errors.New("no client hello")
	}
	return h, err
}

// recorder is a connection that notes what is read from it and says nothing.
type recorder struct {
	r    io.Reader
	read bytes.Buffer
}

func (c *recorder) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read.Write(p[:n])
	return n, err
}

func (c *recorder) Write(p []byte) (int, error)      { return len(p), nil }
func (c *recorder) Close() error                     { return nil }
func (c *recorder) LocalAddr() net.Addr              { return nil }
func (c *recorder) RemoteAddr() net.Addr             { return nil }
func (c *recorder) SetDeadline(time.Time) error      { return nil }
func (c *recorder) SetReadDeadline(time.Time) error  { return nil }
func (c *recorder) SetWriteDeadline(time.Time) error { return nil }

// prefixed is a connection some of whose bytes were read already.
type prefixed struct {
	net.Conn
	r io.Reader
}

func newPrefixed(c net.Conn, read []byte) *prefixed {
	return &prefixed{c, io.MultiReader(bytes.NewReader(read), c)}
}

func (c *prefixed) Read(p []byte) (int, error) { return c.r.Read(p) }
