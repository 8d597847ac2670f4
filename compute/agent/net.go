package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

var (
	azureDNS  = netip.MustParseAddr("168.63.129.16")
	azureIMDS = "http://169.254.169.254"
)

// resolver asks the NIC's DNS and nothing else: neither the host's files nor its search domains count.
type resolver struct{ servers []netip.AddrPort }

// resolverOf asks these servers, or Azure's when there are none.
func resolverOf(servers []netip.Addr) resolver {
	if len(servers) == 0 {
		servers = []netip.Addr{azureDNS}
	}
	var r resolver
	for _, s := range servers {
		r.servers = append(r.servers, netip.AddrPortFrom(s, 53))
	}
	return r
}

// lookup returns the IPv4 addresses of a host name.
func (r resolver) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	q := new(dns.Msg).SetQuestion(dns.Fqdn(host), dns.TypeA)
	q.SetEdns0(1232, false)
	in, err := r.ask(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("DNS of %s at %s: %w", host, r, err)
	}
	var out []netip.Addr
	for _, rr := range in.Answer {
		if a, ok := rr.(*dns.A); ok {
			if ip, ok := netip.AddrFromSlice(a.A.To4()); ok {
				out = append(out, ip)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("DNS of %s at %s: %s", host, r, dns.RcodeToString[in.Rcode])
	}
	return out, nil
}

// String names the servers.
func (r resolver) String() string {
	texts := make([]string, len(r.servers))
	for i, s := range r.servers {
		texts[i] = s.Addr().String()
	}
	return strings.Join(texts, ", ")
}

// ask asks each server three times by UDP, and by TCP when the answer does not fit. The first that answers is
// believed, whatever it says.
func (r resolver) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	udp := dns.Client{Timeout: 2 * time.Second}
	var last error
	for range 3 {
		for _, server := range r.servers {
			in, _, err := udp.ExchangeContext(ctx, q, server.String())
			if err == nil && in.Truncated {
				tcp := dns.Client{Net: "tcp", Timeout: 5 * time.Second}
				in, _, err = tcp.ExchangeContext(ctx, q, server.String())
			}
			if err == nil {
				return in, nil
			}
			last = err
			if ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// dial resolves and connects.
func (r resolver) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := r.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	var errs []error
	for _, a := range addrs {
		c, err := d.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
	}
	return nil, errors.Join(errs...)
}

// httpClient speaks HTTP through the NIC. No proxy of the environment is used.
func httpClient(c Config) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CABundle != "" {
		pem, err := os.ReadFile(c.CABundle)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA bundle %s has no certificate", c.CABundle)
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           resolverOf(c.DNS).dial,
			TLSClientConfig:       conf,
			TLSHandshakeTimeout:   30 * time.Second, // connections wait in a listener while the region's server restarts
			ResponseHeaderTimeout: 2 * time.Minute,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       30 * time.Second,
		},
		// A redirect would carry a token elsewhere; no service that the agent speaks to redirects.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// pause waits, or until ctx ends, which it returns.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// backoff is 0.1 s doubled at each failure, 5 s at most.
func backoff(failures int) time.Duration {
	return min(5*time.Second, 100*time.Millisecond<<min(failures, 10))
}
