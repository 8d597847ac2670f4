package linux

import (
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vauban.dev/fabric"
)

// A router tells when a connection begins and, with counts, when it ends; nobody asked, nobody is told.
func TestFollowFlows(t *testing.T) {
	d := newTestDriver(t, Config{})
	apply(t, d, compile(t, testTopology()))
	echo(t, listen(t, d, nic(web2), "10.0.1.5:80"))
	events := make(chan Flow, 100)
	router := fabric.RouterNS(vnet1)
	if err := d.FollowFlows(t.Context(), map[string]bool{router: true}, func(f Flow) { events <- f }); err != nil {
		t.Fatal(err)
	}
	c, err := patient(t, d, nic(web1), "10.0.1.5:80")
	if err != nil {
		t.Fatal(err)
	}
	if err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	f := next(t, events)
	if f.End || f.Namespace != router || f.Protocol != fabric.TCP || f.Src.String() != c.LocalAddr().String() || f.Dst.String() != "10.0.1.5:80" || f.ReplySrc != f.Dst || f.ReplyDst != f.Src {
		t.Errorf("the beginning: %+v", f)
	}
	listed, err := d.Flows(t.Context(), router)
	if err != nil || len(listed) != 1 || listed[0].Src != f.Src || listed[0].SentPackets < 2 || listed[0].ReceivedBytes == 0 || listed[0].End {
		t.Errorf("the list: %+v %v", listed, err)
	}
	// taking the namespace's connections away ends them: nobody waits for TCP's time outs
	c.Close()
	flush(t, d, router)
	for f = next(t, events); !f.End; f = next(t, events) {
	}
	if f.Dst.String() != "10.0.1.5:80" || f.SentPackets < 3 || f.ReceivedPackets < 2 || f.SentBytes <= 40 || f.ReceivedBytes <= 40 {
		t.Errorf("the end: %+v", f)
	}
	if err := d.FollowFlows(t.Context(), map[string]bool{"r-none": true}, func(Flow) {}); err == nil {
		t.Error("a router that does not exist is followed")
	}
	if _, err := patient(t, d, nic(web1), "10.0.1.5:80"); err != nil {
		t.Fatal(err)
	}
	select {
	case f := <-events:
		t.Errorf("after the end: %+v", f)
	default:
	}
}

func next(t *testing.T, events <-chan Flow) Flow {
	t.Helper()
	select {
	case f := <-events:
		return f
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
	}
	return Flow{}
}

// flush deletes the connections of a namespace (IPCTNL_MSG_CT_DELETE without a tuple).
func flush(t *testing.T, d *Driver, name string) {
	t.Helper()
	ns, err := d.open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = d.enter(ns, func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctnlMsgDelete), Flags: netlink.Request | netlink.Acknowledge},
			Data:   []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Events carry what guests have sent.
func FuzzParseFlow(f *testing.F) {
	f.Add(uint16(ctnlMsgNew), []byte{unix.AF_INET, 0, 0, 0, 8, 0, 1, 0x80, 4, 0, 1, 0x80})
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		flow, ok := parseFlow(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind&0xff)}, Data: data})
		if ok && (!flow.Src.Addr().Is4() || !flow.Dst.Addr().Is4()) {
			t.Errorf("%+v", flow)
		}
	})
}
