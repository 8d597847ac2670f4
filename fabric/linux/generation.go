package linux

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// generation is a number that the kernel raises with every change of a namespace's nftables: when it
// stands still, nobody changed a rule.
func (d *Driver) generation(s *space) (uint32, error) {
	var gen uint32
	err := d.enter(s.fd, func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		msgs, err := c.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN),
				Flags: netlink.Request,
			},
			Data: []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
		})
		if err != nil {
			return err
		}
		for _, m := range msgs {
			if len(m.Data) < 4 {
				continue
			}
			attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
			if err != nil {
				return err
			}
			for _, a := range attrs {
				if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
					gen = binary.BigEndian.Uint32(a.Data)
					return nil
				}
			}
		}
		return errors.New("no generation in the answer")
	})
	if err != nil {
		return 0, fmt.Errorf("generation of the rules of %s: %w", s.name, err)
	}
	return gen, nil
}
