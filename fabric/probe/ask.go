package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"vauban.dev/fabric"
)

// ask makes one connection. By TCP it is enough that it is accepted; by HTTP the answer must be 200.
func (p *Prober) ask(ctx context.Context, t Target) error {
	to := netip.AddrPortFrom(t.Addr, t.Probe.Port)
	if t.Probe.Protocol == fabric.ProbeTCP {
		c, err := p.dial(ctx, t.VNet, to)
		if err != nil {
			return err
		}
		return c.Close()
	}
	return p.get(ctx, t, to)
}

func (p *Prober) get(ctx context.Context, t Target, to netip.AddrPort) error {
	scheme := "http"
	if t.Probe.Protocol == fabric.ProbeHTTPS {
		scheme = "https"
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, t.VNet, to) },
		// Azure's probes take any certificate, also a self-signed one.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
		Proxy:             nil,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	path := t.Probe.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+to.String()+path, nil)
	if err != nil {
		return err
	}
	q.Header.Set("User-Agent", "Load Balancer Agent")
	a, err := client.Do(q)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(a.Body, maxBody))
	if err = errors.Join(err, a.Body.Close()); err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d, not 200", q.URL, a.StatusCode)
	}
	return nil
}

// maxBody is how much of an answer is read: its status is what counts.
const maxBody = 64 << 10
