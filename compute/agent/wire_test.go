package agent

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func FuzzParseList(f *testing.F) {
	f.Add([]byte(`<EnumerationResults><Blobs><Blob><Name>p/a/b</Name></Blob><Blob><Name>p/</Name></Blob></Blobs><NextMarker>m</NextMarker></EnumerationResults>`), "p/")
	f.Add([]byte(`<EnumerationResults><Blobs><Blob><Name>../../etc/passwd</Name></Blob></Blobs></EnumerationResults>`), "")
	f.Add([]byte(`<EnumerationResults><Blobs><Blob><Name>p/../x</Name></Blob></Blobs>`), "p/")
	f.Fuzz(func(t *testing.T, body []byte, prefix string) {
		names, _, err := parseList(body, prefix)
		if err != nil {
			return
		}
		for _, n := range names {
			if joined := path.Join("/dir", n); !strings.HasPrefix(joined, "/dir/") || joined != "/dir/"+n {
				t.Errorf("%q leaves the directory", n)
			}
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"access_token":"x","expires_on":"1800000000"}`))
	f.Add([]byte(`{"access_token":"","expires_on":"-"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if tok, err := parseToken(body); err == nil && tok.value == "" {
			t.Error("no token and no error")
		}
	})
}

func FuzzStatusError(f *testing.F) {
	f.Add([]byte("<Error><Code>BlobNotFound</Code><Message>gone\nTime:1</Message></Error>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if e := statusError(&http.Response{StatusCode: 404, Header: http.Header{}}, body); len(e.Error()) == 0 {
			t.Error("silent")
		}
	})
}

func TestListRefusesEscapes(t *testing.T) {
	for _, name := range []string{"p/../../x", "p/a/../../../x", "p//x", "p/./x", "q/x"} {
		body := "<E><Blobs><Blob><Name>" + name + "</Name></Blob></Blobs></E>"
		if names, _, err := parseList([]byte(body), "p/"); err == nil {
			t.Errorf("%s: %v", name, names)
		}
	}
}

func TestURLs(t *testing.T) {
	c, p, err := splitBlob("https://a.blob.core.windows.net/c/x y/z?sv=1&sig=a%2Bb")
	if d := cmp.Diff([]any{"https://a.blob.core.windows.net/c?sv=1&sig=a%2Bb", "x y/z/", nil}, []any{c, p, err}); d != "" {
		t.Error(d)
	}
	u, err := below("https://a/c/p/?sig=a%2Bb", "d/ä#1.txt")
	if d := cmp.Diff([]any{"https://a/c/p/d/%C3%A4%231.txt?sig=a%2Bb", nil}, []any{u, err}); d != "" {
		t.Error(d)
	}
	u, err = withQuery("https://a/c?sig=a%2Bb", "comp", "list", "marker", "", "prefix", "x/y")
	if d := cmp.Diff([]any{"https://a/c?sig=a%2Bb&comp=list&prefix=x%2Fy", nil}, []any{u, err}); d != "" {
		t.Error(d)
	}
}

// TestBlocks: however a log grows, its blocks are the log, in order, and few; ids have one length.
func TestBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var have []block
		size := int64(0)
		for _, n := range rapid.SliceOfN(rapid.Int64Range(0, 3*blockSize), 0, 300).Draw(t, "grow") {
			if n > blockSize/2 {
				n /= 1000 // mostly small steps
			}
			size += n
			have = extend(have, size)
			at := int64(0)
			for _, b := range have {
				if b.at != at || b.size <= 0 || b.size > blockSize {
					t.Fatalf("block %+v at %d", b, at)
				}
				if len(base64.StdEncoding.EncodeToString([]byte(b.id))) != 56 {
					t.Fatalf("id %q", b.id)
				}
				at += b.size
			}
			if at != size {
				t.Fatalf("%d bytes of %d", at, size)
			}
			if most := size/blockSize*2 + 2*maxSmallTail; int64(len(have)) > most {
				t.Fatalf("%d blocks for %d bytes", len(have), size)
			}
		}
	})
}

// TestResolver: the NIC's DNS is the only one asked, by TCP when the answer is cut.
func TestResolver(t *testing.T) {
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := func(truncate bool) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			switch {
			case q.Question[0].Name != "acct.blob.core.windows.net.":
				m.Rcode = dns.RcodeNameError
			case truncate:
				m.Truncated = true
			default:
				cname, _ := dns.NewRR("acct.blob.core.windows.net. 60 IN CNAME acct.privatelink.blob.core.windows.net.")
				a, _ := dns.NewRR("acct.privatelink.blob.core.windows.net. 60 IN A 10.20.0.5")
				m.Answer = []dns.RR{cname, a}
			}
			_ = w.WriteMsg(m)
		}
	}
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: h(true)}, {Listener: tcp, Handler: h(false)}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	r := resolver{[]netip.AddrPort{netip.MustParseAddrPort(udp.LocalAddr().String())}}
	got, err := r.lookup(t.Context(), "acct.blob.core.windows.net")
	if err != nil || len(got) != 1 || got[0].String() != "10.20.0.5" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := r.lookup(t.Context(), "localhost"); err == nil || !strings.Contains(err.Error(), "NXDOMAIN") {
		t.Errorf("the host's files were read: %v", err)
	}
}
