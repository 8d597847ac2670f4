package queue

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/storagetest"
	"vauban.dev/store"
)

type call = storagetest.Call

func message(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return "<QueueMessage><MessageText>" + b.String() + "</MessageText></QueueMessage>"
}

type listed struct {
	Messages []struct {
		MessageID    string `xml:"MessageId"`
		PopReceipt   string
		DequeueCount int
		MessageText  string
	} `xml:"QueueMessage"`
}

func (r *rig) list(path string, header ...string) (l listed) {
	r.Helper()
	w := r.Want(call{Method: "GET", Path: path, Header: header}, 200, "")
	if err := xml.Unmarshal(bytes.TrimPrefix(w.Body.Bytes(), []byte("\ufeff")), &l); err != nil {
		r.Fatal(err)
	}
	return l
}

func TestQueues(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/jobs", Header: []string{"x-ms-meta-owner", "me"}}, 201, "")
	r.Want(call{Method: "PUT", Path: "/jobs", Header: []string{"x-ms-meta-owner", "me"}}, 204, "")
	r.Want(call{Method: "PUT", Path: "/jobs"}, 409, "QueueAlreadyExists")
	r.Want(call{Method: "PUT", Path: "/a--b"}, 400, "InvalidResourceName")
	r.Want(call{Method: "PUT", Path: "/ab"}, 400, "OutOfRangeInput")
	r.Want(call{Method: "PUT", Path: "/other"}, 201, "")
	if b := r.Want(call{Method: "GET", Path: "/?comp=list&maxresults=1&include=metadata"}, 200, "").Body.String(); !strings.Contains(b, "<owner>me</owner>") || strings.Contains(b, "<NextMarker />") {
		t.Error(b)
	}
	r.Want(call{Method: "GET", Path: "/?comp=list&marker=!"}, 400, "InvalidQueryParameterValue")
	r.Want(call{Method: "GET", Path: "/?comp=list&maxresults=0"}, 400, "OutOfRangeQueryParameterValue")
	r.Want(call{Method: "GET", Path: "/none?comp=metadata"}, 404, "QueueNotFound")
	r.Want(call{Method: "PATCH", Path: "/jobs"}, 405, "UnsupportedHttpVerb")
	r.Want(call{Method: "GET", Path: "/jobs?comp=x"}, 400, "InvalidQueryParameterValue")
	r.Want(call{Method: "GET", Path: "/jobs/x"}, 400, "InvalidUri")
	r.Want(call{Method: "DELETE", Path: "/jobs"}, 204, "")
	r.Want(call{Method: "DELETE", Path: "/jobs"}, 404, "QueueNotFound")
}

// TestMessages follows messages through the region's clock.
func TestMessages(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/jobs"}, 201, "")
	put := func(query, text string) {
		t.Helper()
		r.Want(call{Method: "POST", Path: "/jobs/messages" + query, Body: message(text)}, 201, "")
	}
	put("", "first <&>")
	put("?visibilitytimeout=60", "late")
	put("?messagettl=30", "short")
	put("?messagettl=-1", "eternal")
	if l := r.list("/jobs/messages?peekonly=true&numofmessages=32"); len(l.Messages) != 3 || l.Messages[0].MessageText != "first <&>" || l.Messages[0].PopReceipt != "" || l.Messages[0].DequeueCount != 0 {
		t.Fatalf("peeked %+v", l)
	}
	l := r.list("/jobs/messages?visibilitytimeout=10")
	m := l.Messages[0]
	if m.MessageText != "first <&>" || m.DequeueCount != 1 {
		t.Fatalf("got %+v", m)
	}
	r.Clock.Move(11 * time.Second)
	again := r.list("/jobs/messages?numofmessages=32&visibilitytimeout=20")
	if n := len(again.Messages); n != 3 || again.Messages[2].MessageID != m.MessageID || again.Messages[2].DequeueCount != 2 {
		t.Fatalf("after ten seconds %+v", again)
	}
	one := "/jobs/messages/" + m.MessageID
	r.Want(call{Method: "DELETE", Path: one + "?popreceipt=" + url.QueryEscape(m.PopReceipt)}, 400, "PopReceiptMismatch")
	r.Want(call{Method: "DELETE", Path: one + "?popreceipt=x"}, 400, "InvalidQueryParameterValue")
	r.Want(call{Method: "DELETE", Path: one}, 400, "MissingRequiredQueryParameter")
	receipt := url.QueryEscape(again.Messages[2].PopReceipt)
	r.Want(call{Method: "PUT", Path: one + "?popreceipt=" + receipt}, 400, "MissingRequiredQueryParameter")
	w := r.Want(call{Method: "PUT", Path: one + "?visibilitytimeout=0&popreceipt=" + receipt, Body: message("changed")}, 204, "")
	receipt = url.QueryEscape(w.Header().Get("x-ms-popreceipt"))
	if l := r.list("/jobs/messages?peekonly=true"); len(l.Messages) != 1 || l.Messages[0].MessageText != "changed" {
		t.Errorf("changed: %+v", l)
	}
	r.Want(call{Method: "DELETE", Path: one + "?popreceipt=" + receipt}, 204, "")
	r.Want(call{Method: "DELETE", Path: one + "?popreceipt=" + receipt}, 404, "MessageNotFound")

	r.Clock.Move(50 * time.Second) // short is over, late is there
	var texts []string
	for _, m := range r.list("/jobs/messages?numofmessages=32").Messages {
		texts = append(texts, m.MessageText)
	}
	if fmt.Sprint(texts) != "[eternal late]" {
		t.Errorf("after a minute %v", texts)
	}
	r.Clock.Move(7 * 24 * time.Hour)
	if n := r.Want(call{Method: "HEAD", Path: "/jobs?comp=metadata"}, 200, "").Header().Get("x-ms-approximate-messages-count"); n != "1" {
		t.Errorf("after a week %s messages", n)
	}
	if err := r.s.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := r.documents(kindMessage); n != 1 {
		t.Errorf("%d texts are left", n)
	}
	r.Want(call{Method: "DELETE", Path: "/jobs/messages"}, 204, "")
	if l := r.list("/jobs/messages?peekonly=true"); len(l.Messages) != 0 {
		t.Errorf("cleared: %+v", l)
	}
	if err := r.s.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := r.documents(kindMessage) + r.documents(kindOrder) + r.documents(kindTrash); n != 0 {
		t.Errorf("%d documents of nothing", n)
	}
}

func (r *rig) documents(kind string) (n int) {
	r.Helper()
	err := r.Store.View(context.Background(), func(tx store.Tx) error {
		return tx.Scan(kind, "", "", func(store.Doc) bool { n++; return true })
	})
	if err != nil {
		r.Fatal(err)
	}
	return n
}

func TestMessageRefusals(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/jobs"}, 201, "")
	for _, tt := range []struct {
		method, path, body, version string
		status                      int
		code                        string
	}{
		{"POST", "/none/messages", message("x"), "", 404, "QueueNotFound"},
		{"POST", "/jobs/messages", message(strings.Repeat("x", MaxMessage+1)), "", 413, "RequestBodyTooLarge"},
		{"POST", "/jobs/messages", message(strings.Repeat("é", MaxMessage/2)), "", 201, ""},
		{"POST", "/jobs/messages", "<x/>", "", 400, "InvalidXmlDocument"},
		{"POST", "/jobs/messages", "", "", 400, "MissingContentLengthHeader"},
		{"POST", "/jobs/messages?messagettl=0", message("x"), "", 400, "InvalidQueryParameterValue"},
		{"POST", "/jobs/messages?messagettl=-2", message("x"), "", 400, "OutOfRangeQueryParameterValue"},
		{"POST", "/jobs/messages?messagettl=604801", message("x"), "2017-04-17", 400, "OutOfRangeQueryParameterValue"},
		{"POST", "/jobs/messages?messagettl=604801", message("x"), "2017-07-29", 201, ""},
		{"POST", "/jobs/messages?messagettl=5&visibilitytimeout=5", message("x"), "", 400, "InvalidQueryParameterValue"},
		{"POST", "/jobs/messages?visibilitytimeout=604801", message("x"), "", 400, "OutOfRangeQueryParameterValue"},
		{"GET", "/jobs/messages?numofmessages=33", "", "", 400, "OutOfRangeQueryParameterValue"},
		{"GET", "/jobs/messages?numofmessages=x", "", "", 400, "InvalidQueryParameterValue"},
		{"GET", "/jobs/messages?visibilitytimeout=0", "", "", 400, "OutOfRangeQueryParameterValue"},
		{"PUT", "/jobs?comp=acl", "<SignedIdentifiers><SignedIdentifier><Id>a</Id><AccessPolicy><Permission>w</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>", "", 400, "InvalidXmlDocument"},
		{"GET", "/?restype=service&comp=stats", "", "", 400, "InvalidQueryParameterValue"},
	} {
		version := tt.version
		if version == "" {
			version = "2023-11-03"
		}
		w := r.Do(call{Method: tt.method, Path: tt.path, Body: tt.body, Header: []string{"x-ms-version", version}})
		if got := w.Header().Get("x-ms-error-code"); w.Code != tt.status || got != tt.code {
			t.Errorf("%s %s (%s) = %d %s, want %d %s", tt.method, tt.path, version, w.Code, got, tt.status, tt.code)
		}
	}
}

func TestAuthorization(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"/jobs", "/other"} {
		r.Want(call{Method: "PUT", Path: name}, 201, "")
	}
	put := func(auth string) call {
		return call{Method: "POST", Path: "/jobs/messages", Body: message("x"), Auth: auth}
	}
	sas := func(queue string, kv ...string) string {
		q := url.Values{"sv": {"2023-11-03"}}
		for i := 0; i < len(kv); i += 2 {
			q.Set(kv[i], kv[i+1])
		}
		return r.Sign(q, func(s *storagehttp.SAS) string {
			if s.Services != "" {
				return s.AccountText(storagetest.Name)
			}
			return serviceText(s, storagetest.Name, queue)
		})
	}
	const until = "2026-11-22T11:00:00Z"
	r.Want(put(sas("jobs", "sp", "a", "se", until)), 201, "")
	r.Want(put(sas("jobs", "sp", "rup", "se", until)), 403, "AuthorizationPermissionMismatch")
	r.Want(put(sas("other", "sp", "a", "se", until)), 403, "AuthenticationFailed")
	r.Want(put(sas("jobs", "sp", "a", "se", "2026-11-22T09:00:00Z")), 403, "AuthenticationFailed")
	r.Want(put(sas("jobs", "sp", "a", "se", until, "sip", "198.51.100.1")), 403, "AuthorizationSourceIPMismatch")
	r.Want(put(sas("jobs", "si", "p")), 403, "AuthenticationFailed")
	r.Want(call{Method: "DELETE", Path: "/jobs", Auth: sas("jobs", "sp", "raup", "se", until)}, 403, "AuthorizationPermissionMismatch")
	policy := `<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy><Expiry>2026-11-22T11:00:00.0000000Z</Expiry><Permission>a</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>`
	r.Want(call{Method: "PUT", Path: "/jobs?comp=acl", Body: policy}, 204, "")
	r.Want(put(sas("jobs", "si", "p")), 201, "")
	r.Want(put(sas("jobs", "si", "p", "sp", "a")), 403, "AuthenticationFailed")
	r.Clock.Move(time.Hour)
	r.Want(put(sas("jobs", "si", "p")), 403, "AuthenticationFailed")
	r.Want(put(sas("", "ss", "q", "srt", "o", "sp", "a", "se", "2026-11-23")), 201, "")
	r.Want(put(sas("", "ss", "b", "srt", "o", "sp", "a", "se", "2026-11-23")), 403, "AuthorizationServiceMismatch")
	r.Want(put(sas("", "ss", "q", "srt", "s", "sp", "a", "se", "2026-11-23")), 403, "AuthorizationResourceTypeMismatch")

	r.Want(put("token"), 403, "AuthorizationPermissionMismatch")
	r.Grants[messagesAdd] = true
	r.Want(put("token"), 201, "")
	r.Want(call{Method: "GET", Path: "/jobs/messages", Auth: "token"}, 403, "AuthorizationPermissionMismatch")
	r.Want(put("none"), 401, "NoAuthenticationInformation")
	r.Account.AllowSharedKeyAccess = false
	r.Want(put(""), 403, "KeyBasedAuthenticationNotPermitted")
	r.Account.Firewall.PublicNetworkAccess = "Disabled"
	r.Want(put("token"), 403, "AuthorizationFailure")
}

func TestCORS(t *testing.T) {
	r := newRig(t)
	preflight := call{Method: "OPTIONS", Path: "/jobs/messages", Auth: "none", Header: []string{"Origin", "https://a.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-ms-version"}}
	r.Want(preflight, 403, "CorsPreflightFailure")
	r.Want(call{Method: "PUT", Path: "/?restype=service&comp=properties", Body: `<StorageServiceProperties><Cors><CorsRule><AllowedOrigins>https://a.example</AllowedOrigins><AllowedMethods>GET</AllowedMethods><AllowedHeaders>x-ms-*</AllowedHeaders><ExposedHeaders>x-ms-request-id</ExposedHeaders><MaxAgeInSeconds>60</MaxAgeInSeconds></CorsRule></Cors></StorageServiceProperties>`}, 202, "")
	if h := r.Want(preflight, 200, "").Header(); h.Get("Access-Control-Allow-Origin") != "https://a.example" || h.Get("Access-Control-Max-Age") != "60" {
		t.Error(h)
	}
	r.Want(call{Method: "OPTIONS", Path: "/jobs", Auth: "none", Header: []string{"Origin", "https://b.example", "Access-Control-Request-Method", "GET"}}, 403, "CorsPreflightFailure")
	r.Want(call{Method: "PUT", Path: "/?restype=service&comp=properties", Body: `<StorageServiceProperties><Logging><Version>1.0</Version><Read>true</Read></Logging></StorageServiceProperties>`}, 501, "NotImplemented")
	if b := r.Want(call{Method: "GET", Path: "/?restype=service&comp=properties"}, 200, "").Body.String(); !strings.Contains(b, "<AllowedMethods>GET</AllowedMethods>") {
		t.Error(b)
	}
}

// TestAtRest: no text of a message is in the store, and with its key an account's are gone.
func TestAtRest(t *testing.T) {
	r := newRig(t)
	r.Want(call{Method: "PUT", Path: "/jobs"}, 201, "")
	const text = "a text that is long enough to be looked for"
	r.Want(call{Method: "POST", Path: "/jobs/messages", Body: message(text)}, 201, "")
	for _, kind := range []string{kindQueue, kindMessage, kindOrder} {
		err := r.Store.View(context.Background(), func(tx store.Tx) error {
			return tx.Scan(kind, "", "", func(d store.Doc) bool {
				if bytes.Contains(d.Value, []byte(text)) {
					t.Errorf("%s %s has the text", kind, d.Key)
				}
				return true
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := r.s.DeleteAccount(context.Background(), storagetest.Name); err != nil {
		t.Fatal(err)
	}
	r.Want(call{Method: "GET", Path: "/jobs/messages"}, 404, "QueueNotFound")
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{message("x"), "<QueueMessage/>", "<QueueMessage><MessageText/></QueueMessage>", `<!DOCTYPE a [<!ENTITY b "c">]><QueueMessage><MessageText>&b;</MessageText></QueueMessage>`, ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := parseMessage(b)
		if err == nil && text != nil && len(*text) > len(b) {
			t.Errorf("%d bytes became %d", len(b), len(*text))
		}
	})
}

func FuzzReceipt(f *testing.F) {
	f.Add((&entry{visible: 5, orderDoc: orderDoc{Nonce: make([]byte, nonceSize)}}).receipt())
	f.Add("////////////////////")
	f.Fuzz(func(t *testing.T, s string) {
		if at, ok := parseReceipt(s); ok && at < 0 {
			t.Errorf("%q is at %d", s, at)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	r := newRig(b)
	r.Want(call{Method: "PUT", Path: "/jobs"}, 201, "")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.s.Put(context.Background(), storagetest.Name, "jobs", "a message of some bytes", 0, time.Hour); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGetDelete(b *testing.B) {
	r := newRig(b)
	ctx := context.Background()
	r.Want(call{Method: "PUT", Path: "/jobs"}, 201, "")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.s.Put(ctx, storagetest.Name, "jobs", "a message of some bytes", 0, time.Hour); err != nil {
				b.Error(err)
				return
			}
			list, err := r.s.Get(ctx, storagetest.Name, "jobs", 1, time.Minute)
			for i := 0; i < len(list) && err == nil; i++ {
				err = r.s.Delete(ctx, storagetest.Name, "jobs", list[i].ID, list[i].Receipt)
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
}
