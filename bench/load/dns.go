package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNS asks a server by UDP for the address of a name.
type DNS struct {
	Addr    string
	Name    string
	Clients int
	CPU     func() (time.Duration, error) // as Work's
}

// Run asks for the duration d. A lost or refused answer is an error.
func (q *DNS) Run(ctx context.Context, d time.Duration) (Sample, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.Name), dns.TypeA)
	query, err := m.Pack()
	if err != nil {
		return Sample{}, err
	}
	before, err := q.CPU()
	if err != nil {
		return Sample{}, err
	}
	start := time.Now()
	ops, errs := make([]int, q.Clients), make([]error, q.Clients)
	var wg sync.WaitGroup
	for i := range q.Clients {
		wg.Go(func() { ops[i], errs[i] = q.ask(ctx, query, start.Add(d)) })
	}
	wg.Wait()
	s := Sample{Elapsed: time.Since(start)}
	after, err := q.CPU()
	if err := errors.Join(append(errs, err, ctx.Err())...); err != nil {
		return Sample{}, err
	}
	s.CPU = after - before
	for _, n := range ops {
		s.Ops += n
	}
	return s, nil
}

// ask is one client, with a port of its own.
func (q *DNS) ask(ctx context.Context, query []byte, until time.Time) (n int, err error) {
	c, err := net.Dial("udp", q.Addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(until.Add(5 * time.Second)); err != nil {
		return 0, err
	}
	buf := make([]byte, 1500)
	for ctx.Err() == nil && time.Now().Before(until) {
		if _, err := c.Write(query); err != nil {
			return n, err
		}
		k, err := c.Read(buf)
		if err != nil {
			return n, err
		}
		if k < 12 || buf[3]&0x0f != dns.RcodeSuccess || buf[6] == 0 && buf[7] == 0 { // RFC 1035, 4.1.1: RCODE, ANCOUNT
			return n, fmt.Errorf("%s was not resolved", q.Name)
		}
		n++
	}
	return n, nil
}
