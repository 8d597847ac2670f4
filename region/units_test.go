package region

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vauban.dev/region/spawn"
)

// holderAt serves a keeper's socket in this process.
func holderAt(t *testing.T) (*Keeper, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40)) // over the 107 bytes of a socket's address
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := listenDir(dir, holderSocket)
	if err != nil {
		t.Fatal(err)
	}
	var c Control
	new(fdStore).register(&c)
	c.Handle("boom", func(context.Context, Request) (Reply, error) { panic("on purpose") })
	c.Handle("wait", func(ctx context.Context, _ Request) (Reply, error) { <-ctx.Done(); return Reply{}, ctx.Err() })
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return Dial(dir), dir
}

func TestKeeper(t *testing.T) {
	k, _ := holderAt(t)
	ctx := t.Context()
	if _, err := k.Get(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing kept: %v", err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]interface{ File() (*os.File, error) }{"tcp": tcp.(*net.TCPListener), "udp": udp.(*net.UDPConn)} {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Put(ctx, name, f); err != nil {
			t.Error(err)
		}
		f.Close()
	}
	tcp.Close()
	udp.Close()

	f, err := k.Get(ctx, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Addr().String() != tcp.Addr().String() {
		t.Errorf("kept %s, put %s", l.Addr(), tcp.Addr())
	}
	f, err = k.Get(ctx, "udp")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.FilePacketConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()

	names, err := k.List(ctx)
	if diff := cmp.Diff([]string{"tcp", "udp"}, names); err != nil || diff != "" {
		t.Errorf("list: %v %s", err, diff)
	}
	for range 2 { // dropping nothing is no error
		if err := k.Drop(ctx, "udp"); err != nil {
			t.Error(err)
		}
	}
	if names, _ := k.List(ctx); !slices.Equal(names, []string{"tcp"}) {
		t.Errorf("after drop: %v", names)
	}
}

func TestKeeperRefuses(t *testing.T) {
	k, dir := holderAt(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var refused *CallError
	for what, err := range map[string]error{
		"no socket": k.Put(t.Context(), "a", file),
		"no name":   k.Drop(t.Context(), ""),
		"long name": k.Drop(t.Context(), strings.Repeat("x", maxKeptName+1)),
	} {
		if !errors.As(err, &refused) || refused.Code != CodeBadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
	for method, code := range map[string]string{"boom": CodeFailed, "nonsense": CodeNoMethod} {
		_, err := callSocket(t.Context(), dir, holderSocket, method, nil, nil, nil)
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	_, dir := holderAt(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := callSocket(ctx, dir, holderSocket, "wait", nil, nil, nil)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := callSocket(t.Context(), t.TempDir(), holderSocket, "wait", nil, nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
}

func TestPeersOfOtherUsersAreRefused(t *testing.T) {
	if err := admit(Peer{UID: os.Geteuid()}); err != nil {
		t.Error(err)
	}
	var refused *CallError
	if err := admit(Peer{UID: os.Geteuid() + 1}); !errors.As(err, &refused) || refused.Code != CodeForbidden {
		t.Errorf("another user: %v", err)
	}
}

// FuzzControl sends anything, with a descriptor, to a holder's socket: it must answer or hang up.
func FuzzControl(f *testing.F) {
	frame := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	for _, s := range []string{"", "{}", `{"method":"get"}`, `{"method":"get","params":{"name":"a"}}`, `{"method":"put","params":{"name":"a"}}`,
		`{"method":"list"}`, `{"method":"drop","params":[]}`, `{"method":1}`, "null", "[[[[[["} {
		f.Add(frame(s), true)
		f.Add([]byte(s), false)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, false)
	var c Control
	new(fdStore).register(&c)
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte, withFile bool) {
		a, b := socketPair(t)
		defer a.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer b.Close()
			c.answer(context.Background(), b)
		}()
		var rights []byte
		if withFile {
			rights = unix.UnixRights(int(null.Fd()))
		}
		if len(in) > 0 {
			a.WriteMsgUnix(in, rights, nil)
		}
		a.CloseWrite()
		io.Copy(io.Discard, a)
		<-done
	})
}

func socketPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

func TestFrameWithTooManyDescriptors(t *testing.T) {
	a, b := socketPair(t)
	defer a.Close()
	defer b.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	before := openFiles(t)
	if _, _, err := a.WriteMsgUnix([]byte{0, 0, 0, 0}, unix.UnixRights(slices.Repeat([]int{int(null.Fd())}, 100)...), nil); err != nil {
		t.Fatal(err)
	}
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := readFrame(b, 1024, new(any)); !errors.Is(err, errFrame) {
		t.Errorf("got %v", err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open, were %d", after, before)
	}
}

// As many files as an answer may carry arrive, and one more is not sent.
func TestFrameCarriesManyFiles(t *testing.T) {
	a, b := socketPair(t)
	defer a.Close()
	defer b.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := writeFrame(a, "hello", slices.Repeat([]*os.File{null}, MaxFiles+1)); err == nil {
		t.Error("more files are sent than are taken")
	}
	if err := writeFrame(a, "hello", slices.Repeat([]*os.File{null}, MaxFiles)); err != nil {
		t.Fatal(err)
	}
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	files, err := readFrame(b, 1024, new(any))
	if err != nil || len(files) != MaxFiles {
		t.Errorf("%d files, %v", len(files), err)
	}
	closeAll(files)
}

func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestParseStat(t *testing.T) {
	line := "12 (a) b) (c) S 1 12 12 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 0"
	start, state, err := parseStat([]byte(line))
	if err != nil || start != 987654 || state != 'S' {
		t.Errorf("%d %c %v", start, state, err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 2", "1 (x) S 1 12 12 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 x 0"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestParseSubIDs(t *testing.T) {
	for in, want := range map[string]idRange{
		"":                                    {},
		"ann:100000:65536\n":                  {1, 100000, 65536},
		"1000:200000:65536\n":                 {1, 200000, 65536},
		"bob:100000:65536\n":                  {},
		"ann:100000:1000\nann:300000:99999":   {1, 300000, 65536},
		"ann:x:65536\nann:4294967000:65536\n": {},
		"ann:0:65536\n":                       {},
	} {
		got, err := parseSubIDs(strings.NewReader(in), []string{"1000", "ann"})
		if err != nil || got != want {
			t.Errorf("%q: %v %v, want %v", in, got, err, want)
		}
	}
}

func TestIsolation(t *testing.T) {
	for in, want := range map[string]Isolation{
		"0 0 4294967295\n":           {"root", 0, 4294967294},
		"0 1000 1\n":                 {"rootless", 1000, 0},
		"0 1000 1\n1 100000 65536\n": {"rootless", 1000, 65536},
	} {
		ids, err := parseIDMap([]byte(in))
		if err != nil || isolationOf(ids) != want {
			t.Errorf("%q: %+v %v", in, isolationOf(ids), err)
		}
	}
	for _, bad := range []string{"", "0 0\n", "0 a 1\n", "0 0 4294967296\n"} {
		if _, err := parseIDMap([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestLimits(t *testing.T) {
	root := t.TempDir()
	write := func(path, s string) string {
		t.Helper()
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(s), 0o644)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("v2/user/cgroup.controllers", "cpu memory pids\n")
	write("v1/memory/x", "")
	for _, test := range []struct {
		root, self string
		want       Limits
	}{
		{"v2", "0::/user\n", Limits{true, true, true, "cgroup v2"}},
		{"v1", "4:memory:/\n3:cpu,cpuacct:/\n0::/\n", Limits{Memory: true, How: "cgroup v1"}},
		{"none", "0::/user\n", Limits{How: "no cgroup limits: none is mounted"}},
	} {
		self := write("self-"+test.root, test.self)
		if diff := cmp.Diff(test.want, ownLimits(filepath.Join(root, test.root), self)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.root, diff)
		}
	}
}

func TestPreflightRemedies(t *testing.T) {
	refused := &spawn.Error{Step: "unshare net", Errno: unix.EPERM}
	for want, sysctls := range map[string]map[string]string{
		"kernel.apparmor_restrict_unprivileged_userns=0": {"kernel.apparmor_restrict_unprivileged_userns": "1", "user.max_user_namespaces": "100"},
		"kernel.unprivileged_userns_clone=1":             {"kernel.unprivileged_userns_clone": "0", "user.max_user_namespaces": "100"},
		"user.max_user_namespaces=15000":                 {"user.max_user_namespaces": "0"},
		"CONFIG_USER_NS":                                 {},
	} {
		p := explainNamespaces(refused, false, func(name string) string { return sysctls[name] })
		if !p.Fatal || !strings.Contains(p.Remedy, want) {
			t.Errorf("%v: %+v", sysctls, p)
		}
	}
	p := explainNamespaces(refused, true, func(string) string { return "100" })
	if !strings.Contains(p.Remedy, "--cap-add SYS_ADMIN") {
		t.Errorf("root: %+v", p)
	}
	for _, p := range Preflight() {
		if p.What == "" || p.Remedy == "" {
			t.Errorf("%+v", p)
		}
	}
}

func TestDNSOnly(t *testing.T) {
	in := "passwd: files\nhosts:  files resolve [!UNAVAIL=return] dns\nnetworks: files"
	want := "passwd: files\nnetworks: files\nhosts: files dns\n"
	if got := string(dnsOnly([]byte(in))); got != want {
		t.Errorf("got %q", got)
	}
}

func TestSetEnv(t *testing.T) {
	got := setEnv([]string{"A=1", "HTTP_PROXY=x", "No_Proxy=y", "B=2=3", "SSL_CERT_FILE=old"}, map[string]string{"SSL_CERT_FILE": "new"}, proxies)
	if diff := cmp.Diff([]string{"A=1", "B=2=3", "SSL_CERT_FILE=new"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWithSbin(t *testing.T) {
	got := withSbin([]string{"A=1", "PATH=/bin:/usr/sbin"})
	if diff := cmp.Diff([]string{"A=1", "PATH=/bin:/usr/sbin:/usr/local/sbin:/sbin"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNetNSNames(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "a/b", "../user", "/x"} {
		if _, err := openNetNS(bad); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
