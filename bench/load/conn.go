// Package load asks servers as fast as they answer: a closed loop over keep-alive connections, with so
// little work of its own that what is measured is the server.
package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Conn is one HTTP/1.1 connection over TLS, for one goroutine.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte
}

// Dial connects to addr; cfg names the server.
func Dial(ctx context.Context, addr string, cfg *tls.Config) (*Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: cfg}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: c, in: bufio.NewReaderSize(c, 32<<10), buf: make([]byte, 64<<10)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Bytes is a request as it goes over a connection. Made once, it can be sent many times.
func Bytes(r *http.Request) ([]byte, error) {
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// StatusError is an answer with another status than the wanted one.
type StatusError struct {
	Got, Want int
	Body      string // the beginning
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("answered %d instead of %d: %s", e.Got, e.Want, e.Body)
}

// Do sends a request and reads its answer to the end. It returns the bytes of the body; a status other
// than want is a *StatusError.
func (c *Conn) Do(request []byte, want int) (int64, error) {
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return 0, &StatusError{res.StatusCode, want, string(text)}
	}
	return c.drain(res.Body)
}

func (c *Conn) drain(body io.Reader) (n int64, err error) {
	for {
		k, err := body.Read(c.buf)
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
