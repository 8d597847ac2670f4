package blob

import (
	"net/http"
	"strings"
	"testing"

	"vauban.dev/internal/storagehttp"
)

// FuzzServiceText: two different containers never share a string to sign.
func FuzzServiceText(f *testing.F) {
	f.Add("sv=2023-11-03&sp=r&se=2026-11-22T11:00:00Z&sr=b&sig=AAAA")
	f.Add("sv=2025-07-05&sr=c&sp=l&se=2026-11-22&skoid=o&sktid=t&skt=a&ske=b&sks=b&skv=2023-11-03&sduoid=x&rscc=no-store&sig=AAAA")
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := storagehttp.ParseSAS(storagehttp.ParseQuery(raw))
		if err == nil && serviceText(s, "acct", "a", "b", "") == serviceText(s, "acct", "c", "b", "") {
			t.Error("the container is not signed")
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("bytes=0-10", "*", "Sun, 22 Nov 2026 10:00:00 GMT", int64(100))
	f.Add("bytes=5-", `"0x8D", W/"x"`, "", int64(5))
	f.Add("bytes=-1", "", "x", int64(0))
	f.Add("bytes=4611686018427387904-", "", "", int64(1))
	f.Fuzz(func(t *testing.T, rng, match, date string, size int64) {
		if size < 0 {
			return
		}
		if r, ok := parseRange(rng); ok {
			if c, err := r.clip(size); err == nil && (c.Start < 0 || c.End < c.Start || c.End >= size) {
				t.Errorf("%q of %d bytes is %+v", rng, size, c)
			}
		}
		c, err := parseConditions(http.Header{"If-Match": {match}, "If-None-Match": {match}, "If-Modified-Since": {date}})
		if err == nil {
			_ = c.forRead(1, 2)
			_ = c.forWrite(true, 1, 2)
		}
	})
}

func FuzzBlockList(f *testing.F) {
	f.Add(`<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>AAAA</Latest><Committed>BBBB</Committed><Uncommitted>CCCC</Uncommitted></BlockList>`)
	f.Add(`<BlockList/>`)
	f.Add(`<BlockList><Latest>A<b/></Latest></BlockList>`)
	f.Add(`<!DOCTYPE x [<!ENTITY a "b">]><BlockList><Latest>&a;</Latest></BlockList>`)
	f.Fuzz(func(t *testing.T, body string) {
		list, err := parseBlockList(strings.NewReader(body))
		if err != nil {
			return
		}
		for _, b := range list {
			if checkBlockID(b.ID) != nil || b.From != "latest" && b.From != "committed" && b.From != "uncommitted" {
				t.Errorf("accepted %+v", b)
			}
		}
	})
}

func FuzzTagExpr(f *testing.F) {
	f.Add("a='b' AND \"c d\">='e''f'", false)
	f.Add("@container='x' AND a='b'", false)
	f.Add("a<>'b' OR c='d'", true)
	f.Fuzz(func(t *testing.T, text string, condition bool) {
		e, err := parseTagExpr(text, condition)
		if err != nil {
			return
		}
		if !condition && len(e.or) != 1 {
			t.Errorf("OR in %q", text)
		}
		_ = e.match("x", map[string]string{"a": "b"})
		_ = e.named(map[string]string{"a": "b"})
	})
}

func FuzzBatch(f *testing.F) {
	f.Add("multipart/mixed; boundary=b", "--b\r\nContent-Type: application/http\r\n\r\nDELETE /c/b HTTP/1.1\r\nA: b\r\n\r\n--b--\r\n")
	f.Add("multipart/mixed", "--b--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		list, err := parseBatch(contentType, strings.NewReader(body))
		if err == nil && (len(list) == 0 || len(list) > maxBatchParts) {
			t.Errorf("%d requests", len(list))
		}
		for _, b := range list {
			if !strings.HasPrefix(b.target, "/") && err == nil && b.target != "*" {
				t.Errorf("target %q", b.target)
			}
		}
	})
}
