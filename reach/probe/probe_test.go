package probe

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vauban.dev/reach"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers every connection with f, on loopback.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func say(text string) func(net.Conn) {
	return func(c net.Conn) { fmt.Fprint(c, text) }
}

// full is the address of a listener that takes no more connections: the kernel drops their SYNs.
func full(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return addr
}

func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestRun(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"error":{"code":"Forbidden","message":"no","innererror":{"code":"ForbiddenByFirewall"}}}`)
		}
	}))
	defer web.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	defer secure.Close()
	targets := []reach.Target{
		{Name: "a", Kind: reach.HTTP, URL: web.URL, Headers: map[string]string{"Authorization": "Bearer t"}},
		{Name: "b", Kind: reach.HTTP, URL: web.URL + "/x"},
		{Name: "c", Kind: reach.HTTP, URL: secure.URL},
		{Name: "d", Kind: reach.SSH, Address: serve(t, say("hello\r\nSSH-2.0-Go \x1b[1m\r\n"))},
		{Name: "e", Kind: reach.SSH, Address: serve(t, say("hello\r\n"))},
		{Name: "f", Kind: reach.TCP, Address: serve(t, say(""))},
		{Name: "g", Kind: reach.TCP, Address: closed(t)},
		{Name: "h", Kind: reach.TCP, Address: full(t), ConnectMS: 300},
		{Name: "i", Kind: reach.TCP, Address: full(t), ConnectMS: 1700},
		{Name: "j", Kind: reach.SSH, Address: full(t), ConnectMS: 1, AnswerMS: 1},
		{Name: "k", Kind: "telnet", Address: "127.0.0.1:1"},
		{Name: "l", Kind: reach.HTTP, URL: "ftp://127.0.0.1/"},
		{Name: "m", Kind: reach.TCP, Address: "[::1]:1"},
	}
	want := []reach.Outcome{
		reach.Answered, reach.Forbidden, reach.Broken, reach.Banner, reach.Broken, reach.Open, reach.Reset, reach.Dropped, reach.Dropped,
		reach.Dropped, reach.NotMeasured, reach.NotMeasured, reach.NotMeasured,
	}
	got := Run(t.Context(), targets)
	for i, r := range got {
		if r.Name != targets[i].Name || r.Outcome() != want[i] {
			t.Errorf("%s is %s, want %s: %+v", targets[i].Name, r.Outcome(), want[i], r)
		}
	}
	if diff := cmp.Diff(reach.Result{
		Name: "b", Address: web.Listener.Addr().String(), Connect: reach.Connected, Status: 403, Code: "Forbidden", Inner: "ForbiddenByFirewall", Message: "no",
	}, got[1], cmpopts.IgnoreFields(reach.Result{}, "TookMS", "ConnectedMS")); diff != "" {
		t.Error(diff)
	}
	if got[3].Banner != "SSH-2.0-Go  [1m" {
		t.Errorf("banner %q", got[3].Banner)
	}
	if got[7].Sent < 1 || got[8].Sent < 2 { // more where the machine is slow
		t.Errorf("packets of unanswered connections: %d and %d, want 1, and 2 after a second", got[7].Sent, got[8].Sent)
	}
}

func TestMute(t *testing.T) {
	silent := make(chan struct{})
	addr := serve(t, func(net.Conn) { <-silent })
	got := Run(t.Context(), []reach.Target{{Kind: reach.SSH, Address: addr, AnswerMS: 50}})
	close(silent)
	if got[0].Outcome() != reach.Silent {
		t.Errorf("%+v", got[0])
	}
}

func TestAzureError(t *testing.T) {
	for _, test := range []struct {
		name, body, header   string
		code, inner, message string
	}{
		{"arm", `{"error":{"code":"AuthorizationFailed","message":"The client has no role."}}`, "", "AuthorizationFailed", "", "The client has no role."},
		{"vault", `{"error":{"code":"Forbidden","message":"a\r\nb","innererror":{"code":"ForbiddenByConnection"}}}`, "", "Forbidden", "ForbiddenByConnection", "a\nb"},
		{"storage", "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthorizationFailure</Code><Message>no&#xA;RequestId:1</Message></Error>", "x", "AuthorizationFailure", "", "no\nRequestId:1"},
		{"entra", `{"error":"invalid_client","error_description":"AADSTS7000215"}`, "", "invalid_client", "", "AADSTS7000215"},
		{"head", "", "BlobNotFound", "BlobNotFound", "", ""},
		{"page", "<html>no</html>", "", "", "", "<html>no</html>"},
	} {
		code, inner, message := azureError(http.Header{"X-Ms-Error-Code": {test.header}}, []byte(test.body))
		if code != test.code || inner != test.inner || message != test.message {
			t.Errorf("%s: %q, %q, %q", test.name, code, inner, message)
		}
	}
}

func FuzzAzureError(f *testing.F) {
	f.Add("", []byte(`{"error":{"code":"Forbidden","message":"m","innererror":{"code":"x"}}}`))
	f.Add("x", []byte("\ufeff<?xml version=\"1.0\"?><Error><Code>A</Code><Message>b</Message></Error>"))
	f.Add("", []byte("\x1b[2J\xff"))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		code, inner, message := azureError(http.Header{"X-Ms-Error-Code": {header}}, body)
		for _, s := range []string{code, inner, message} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) || len(s) > maxMessage {
				t.Errorf("%q would reach a terminal", s)
			}
		}
		if _, err := json.Marshal([]string{code, inner, message}); err != nil {
			t.Error(err)
		}
	})
}
