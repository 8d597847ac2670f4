package blob

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vauban.dev/origin"
)

// server serves the fixture over plain HTTP on loopback and returns a client that signs.
func (f *fixture) server() (url string, client *http.Client) {
	f.clock.Move(time.Since(f.clock.Now()))
	srv := httptest.NewUnstartedServer(f.Handler())
	srv.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return origin.NewContext(ctx, f.origin) }
	srv.Start()
	f.Cleanup(srv.Close)
	client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	f.Cleanup(client.CloseIdleConnections)
	return srv.URL, client
}

func (f *fixture) send(client *http.Client, method, url, body string) error {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Host = acct + ".blob.core.windows.net"
	r.Header.Set("x-ms-version", "2023-11-03")
	if method == http.MethodPut {
		r.Header.Set("x-ms-blob-type", "BlockBlob")
	}
	f.sign(r)
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, url, res.Status)
	}
	return nil
}

func benchmark(b *testing.B, c int, size int64, do func(i int64) error) {
	b.SetBytes(size)
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range c {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkHTTP(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		f := newFixture(b)
		f.container("con1")
		url, client := f.server()
		body := noise(size)
		for i := range 64 {
			f.put("con1", fmt.Sprint(i), body)
		}
		for _, c := range []int{1, 16} {
			b.Run(fmt.Sprintf("GET/%dK/c=%d", size>>10, c), func(b *testing.B) {
				benchmark(b, c, int64(size), func(i int64) error { return f.send(client, "GET", fmt.Sprintf("%s/con1/%d", url, i%64), "") })
			})
			b.Run(fmt.Sprintf("PUT/%dK/c=%d", size>>10, c), func(b *testing.B) {
				benchmark(b, c, int64(size), func(i int64) error { return f.send(client, "PUT", fmt.Sprintf("%s/con1/n%d", url, i), body) })
			})
		}
	}
}

func BenchmarkPut64MiB(b *testing.B) {
	f := newFixture(b)
	f.container("con1")
	url, client := f.server()
	body := noise(64 << 20)
	benchmark(b, 1, 64<<20, func(int64) error { return f.send(client, "PUT", url+"/con1/big", body) })
}

func BenchmarkList10000(b *testing.B) {
	f := newFixture(b)
	f.container("con1")
	for i := range 100 {
		var wg sync.WaitGroup
		for j := range 100 {
			wg.Go(func() { f.put("con1", fmt.Sprintf("dir/%04d", i*100+j), "x") })
		}
		wg.Wait()
	}
	for b.Loop() {
		marker := ""
		for {
			p, err := f.List(ctx, acct, "con1", ListOptions{Marker: marker})
			if err != nil {
				b.Fatal(err)
			}
			if marker = p.Next; marker == "" {
				break
			}
		}
	}
}
