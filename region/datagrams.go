package region

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// keptDatagrams is the name in the holder of the UDP socket on the machine's own network, by which VPN
// clients outside of the region reach its gateways.
const keptDatagrams = "region/datagrams"

// keepDatagrams opens the socket unless the holder has it: on listen, else on the port that this data
// directory had before, else on a free one of the loopback.
func (r *Region) keepDatagrams(ctx context.Context, listen string) error {
	f, err := r.keeper.Get(ctx, keptDatagrams)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	remembered := filepath.Join(r.dir, "datagrams")
	c, err := listenDatagrams(ctx, listen, remembered)
	if err != nil {
		return fmt.Errorf("the gateways' UDP socket: %w", err)
	}
	defer c.Close()
	if err := os.WriteFile(remembered, []byte(c.LocalAddr().String()+"\n"), 0o600); err != nil {
		return err
	}
	f, err = c.(*net.UDPConn).File()
	if err != nil {
		return err
	}
	defer f.Close()
	return r.keeper.Put(ctx, keptDatagrams, f)
}

func listenDatagrams(ctx context.Context, listen, remembered string) (net.PacketConn, error) {
	var lc net.ListenConfig
	if listen != "" {
		return lc.ListenPacket(ctx, "udp4", listen)
	}
	if b, err := os.ReadFile(remembered); err == nil {
		if c, err := lc.ListenPacket(ctx, "udp4", strings.TrimSpace(string(b))); err == nil {
			return c, nil
		}
	}
	return lc.ListenPacket(ctx, "udp4", "127.0.0.1:0")
}

// Datagrams is the UDP socket on the machine's own network; the region itself has no way there. Closing it
// ends this process's use: the holder keeps it.
func (s *Server) Datagrams(ctx context.Context) (net.PacketConn, error) {
	f, err := s.Keeper.Get(ctx, keptDatagrams)
	if err != nil {
		return nil, fmt.Errorf("the gateways' UDP socket: %w", err)
	}
	defer f.Close()
	return net.FilePacketConn(f)
}
