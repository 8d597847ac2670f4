package storagehttp

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStringToSign(t *testing.T) {
	r, err := http.NewRequest("PUT", "http://myaccount.blob.core.windows.net/mycontainer/a%20b?comp=metadata&Timeout=20&restype=x%2Cy&restype=a", strings.NewReader("12345"))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"x-ms-version": "2015-02-21", "x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT", "Date": "ignored", "x-ms-meta-m1": " v 1 ", "Content-Type": "text/plain; charset=UTF-8", "If-Match": "*"} {
		r.Header.Set(k, v)
	}
	want := "PUT\n\n\n5\n\ntext/plain; charset=UTF-8\n\n\n*\n\n\n\n" +
		"x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-meta-m1:v 1\nx-ms-version:2015-02-21\n" +
		"/myaccount/mycontainer/a%20b\ncomp:metadata\nrestype:a,x,y\ntimeout:20"
	if d := cmp.Diff(want, StringToSign(r, "myaccount", strings.Compare)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want = "PUT\n\ntext/plain; charset=UTF-8\n\n" +
		"x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-meta-m1:v 1\nx-ms-version:2015-02-21\n/myaccount/mycontainer/a%20b?comp=metadata"
	if d := cmp.Diff(want, StringToSignLite(r, "myaccount", strings.Compare)); d != "" {
		t.Errorf("lite (-want +got):\n%s", d)
	}
}

func TestCompareCulture(t *testing.T) {
	for _, pair := range [][2]string{{"x-ms-meta-a_b", "x-ms-meta-a1"}, {"x-ms-meta-a1", "x-ms-meta-ab"}, {"x-ms-a", "x-ms-aa"}, {"x-ms-ab-c", "x-ms-a-bc"}, {"x-ms-date", "x-ms-meta-1"}} {
		if compareCulture(pair[0], pair[1]) >= 0 || compareCulture(pair[1], pair[0]) <= 0 || compareCulture(pair[0], pair[0]) != 0 {
			t.Errorf("%s does not come before %s", pair[0], pair[1])
		}
	}
}

func FuzzParseSAS(f *testing.F) {
	for _, s := range []string{
		"sv=2023-11-03&sp=r&se=2026-11-22T11:00:00Z&sr=b&sig=AAAA", "sv=2015-04-05&ss=b&srt=sco&sp=rw&st=2026-11-22&se=2026-11-22T11:00Z&sip=1.2.3.4-1.2.3.5&spr=https&sig=AA%3D%3D",
		"sv=2025-07-05&sr=c&sp=l&se=2026-11-22&skoid=o&sktid=t&skt=a&ske=b&sks=b&skv=2023-11-03&sduoid=x&rscc=no-store&sig=AAAA", "sig=%zz&sv=x", "se=9999-99-99",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := ParseSAS(ParseQuery(raw))
		if err != nil {
			return
		}
		if s.Identifier == "" && (s.ExpiryText == "" || s.Permissions == "") || len(s.Signature) == 0 {
			t.Errorf("accepted %+v", s)
		}
	})
}

func FuzzStringToSign(f *testing.F) {
	f.Add("GET", "/c/b%20x?comp=list&restype=container", "x-ms-date", "now")
	f.Add("PUT", "/%zz?&&=&a", "X-MS-meta-é", " a\tb ")
	f.Fuzz(func(t *testing.T, method, target, name, value string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, Header: http.Header{http.CanonicalHeaderKey(name): {value}}}
		text := StringToSign(r, "acct", compareCulture)
		if !strings.HasPrefix(text, method+"\n") || !strings.Contains(text, "\n/acct") {
			t.Errorf("%q", text)
		}
		_ = StringToSignLite(r, "acct", strings.Compare)
		if !strings.HasPrefix(TableStringToSign(r, "acct", strings.Compare), method+"\n") {
			t.Error("the method is not signed")
		}
	})
}
