// Package probe makes the connections of a reach table. It runs as a process at the place that they are
// made from: in its network namespace, with its name servers and its certificate authorities.
package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"vauban.dev/reach"
)

const (
	defaultConnect = 3 * time.Second
	defaultAnswer  = 15 * time.Second
	maxBody        = 64 << 10
	maxBanner      = 255 // RFC 4253, 4.2
)

// Run makes all connections at once and returns their results in the targets' order.
func Run(ctx context.Context, targets []reach.Target) []reach.Result {
	out := make([]reach.Result, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() { out[i] = one(ctx, t) })
	}
	wg.Wait()
	return out
}

// attempt is one connection under way.
type attempt struct {
	target reach.Target
	url    *url.URL // HTTP
	out    reach.Result
}

func one(ctx context.Context, t reach.Target) reach.Result {
	began := time.Now()
	a := attempt{target: t, out: reach.Result{Name: t.Name, Connect: reach.ConnectFailed}}
	a.run(ctx)
	a.out.TookMS = time.Since(began).Milliseconds()
	return a.out
}

func (a *attempt) run(ctx context.Context) {
	began := time.Now()
	host, port, err := a.endpoint()
	if err != nil {
		a.out.Error = err.Error()
		return
	}
	addr, err := a.resolve(ctx, host)
	if err != nil {
		a.out.Error = err.Error()
		return
	}
	to := netip.AddrPortFrom(addr, port)
	a.out.Address = to.String()
	if a.target.Kind == reach.Name {
		return
	}
	conn, sent, how, err := dial(ctx, to, milliseconds(a.target.ConnectMS, defaultConnect))
	a.out.Connect, a.out.Sent = how, sent
	if err != nil {
		a.out.Error = err.Error()
		return
	}
	defer conn.Close()
	a.out.ConnectedMS = time.Since(began).Milliseconds()
	if err := conn.SetDeadline(time.Now().Add(milliseconds(a.target.AnswerMS, defaultAnswer))); err != nil {
		a.out.Error = err.Error()
		return
	}
	switch a.target.Kind {
	case reach.HTTP:
		err = a.request(ctx, conn)
	case reach.SSH:
		err = a.greet(conn)
	}
	if err != nil {
		a.out.Error = err.Error()
		var timeout net.Error
		a.out.Mute = errors.As(err, &timeout) && timeout.Timeout()
	}
}

func milliseconds(n int, or time.Duration) time.Duration {
	if n <= 0 {
		return or
	}
	return time.Duration(n) * time.Millisecond
}

// endpoint is the host and port that the target names.
func (a *attempt) endpoint() (host string, port uint16, err error) {
	address := a.target.Address
	switch a.target.Kind {
	case reach.HTTP:
		if a.url, err = url.Parse(a.target.URL); err != nil {
			return "", 0, err
		}
		if a.url.Scheme != "http" && a.url.Scheme != "https" {
			return "", 0, fmt.Errorf("%q is no http or https URL", a.target.URL)
		}
		address = a.url.Host
		if a.url.Port() == "" {
			address = net.JoinHostPort(a.url.Hostname(), a.url.Scheme)
		}
	case reach.TCP, reach.SSH, reach.Name:
	default:
		return "", 0, fmt.Errorf("%q is no kind of target: http, tcp, ssh, name", a.target.Kind)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := net.LookupPort("tcp", service)
	return host, uint16(n), err
}

// resolve asks the place's resolver, and no other mechanism of the machine.
func (a *attempt) resolve(ctx context.Context, host string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr, nil
	}
	r := net.Resolver{PreferGo: true}
	addrs, err := r.LookupNetIP(ctx, "ip4", host)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound || err == nil && len(addrs) == 0 {
		a.out.Connect = reach.ConnectNoName
		return netip.Addr{}, fmt.Errorf("%s has no address here", host)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	for _, addr := range addrs {
		a.out.Addresses = append(a.out.Addresses, addr.Unmap().String())
	}
	return addrs[0].Unmap(), nil
}

// greet reads what an SSH server says first (RFC 4253, 4.2: lines before "SSH-" are to be ignored).
func (a *attempt) greet(conn net.Conn) error {
	r := bufio.NewReader(io.LimitReader(conn, 20*maxBanner))
	for {
		line, err := r.ReadString('\n')
		if strings.HasPrefix(line, "SSH-") {
			a.out.Banner = printable(strings.TrimRight(line, "\r\n"), maxBanner)
			return nil
		}
		if err != nil {
			return fmt.Errorf("no SSH banner: %w", err)
		}
	}
}

// request sends the request over conn and reads the answer.
func (a *attempt) request(ctx context.Context, conn net.Conn) error {
	method := a.target.Method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, a.target.URL, nil)
	if err != nil {
		return err
	}
	for k, v := range a.target.Headers {
		r.Header.Set(k, v)
	}
	if a.url.Scheme == "https" {
		t := tls.Client(conn, &tls.Config{ServerName: a.url.Hostname(), MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		a.out.TLS = describeTLS(t.ConnectionState())
		conn = t
	}
	r.Close = true
	if err := r.Write(conn); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	a.out.Status = answer.StatusCode
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		a.out.Code, a.out.Inner, a.out.Message = azureError(answer.Header, body)
	}
	return nil
}

func describeTLS(s tls.ConnectionState) string {
	text := tls.VersionName(s.Version)
	if len(s.PeerCertificates) > 0 {
		leaf := s.PeerCertificates[0]
		text += ", certificate of " + leaf.Subject.CommonName + " by " + leaf.Issuer.CommonName
	}
	return text
}
