package agent

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// forwardRequest is the payload of RFC 4254, section 7.2.
type forwardRequest struct {
	Host       string
	Port       uint32
	Origin     string
	OriginPort uint32
}

// forward joins a channel to a connection from the machine's interface (ssh -L, ssh -J): the rules of the network
// hold for it as for what runs on the machine.
func (a *Agent) forward(ctx context.Context, ch ssh.NewChannel) {
	var q forwardRequest
	if ssh.Unmarshal(ch.ExtraData(), &q) != nil || q.Port == 0 || q.Port > 65535 {
		_ = ch.Reject(ssh.ConnectionFailed, "the request is malformed")
		return
	}
	c, err := resolverOf(a.cfg.DNS).dial(ctx, "tcp4", net.JoinHostPort(q.Host, strconv.Itoa(int(q.Port))))
	if err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer c.Close()
	channel, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = c.Close(), channel.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	both := make(chan struct{}, 2)
	wg.Go(func() {
		_, _ = io.Copy(c, channel)
		_ = c.(*net.TCPConn).CloseWrite()
		both <- struct{}{}
	})
	wg.Go(func() {
		_, _ = io.Copy(channel, c)
		_ = channel.CloseWrite()
		both <- struct{}{}
	})
	<-both
	<-both
	_ = channel.Close() // ends its requests
}
