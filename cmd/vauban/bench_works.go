package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"vauban.dev/bench"
	"vauban.dev/bench/limit"
	"vauban.dev/bench/load"
	"vauban.dev/bench/scenario"
)

// benchWorks are the measurements of services, each at its place: Resource Manager from the internet, data
// from the jump box through private endpoints.
var benchWorks = []benchWork{
	{name: "job-warm", about: "from a job's submission to its process, on an idle node", place: scenario.Jumpbox, quick: true, do: (*benchClient).warmJob},
	{name: "job-cold", about: "the same on a cluster that has no node yet", place: scenario.Jumpbox, quick: true, do: (*benchClient).coldJob},
	{name: "arm-put-1", about: "Resource Manager: PUT, durable, one client", do: func(c *benchClient, ctx context.Context) error { return c.armPut(ctx, 1, 1000) }},
	{name: "arm-put-16", about: "Resource Manager: PUT, durable, 16 clients", do: func(c *benchClient, ctx context.Context) error { return c.armPut(ctx, 16, 3000) }},
	{name: "arm-get", about: "Resource Manager: GET, 16 clients", do: (*benchClient).armGet},
	{name: "arm-template", about: "Resource Manager: a template of 100 resources", do: (*benchClient).armTemplate},
	{name: "blob-put", about: "blob: PUT of 4 KiB, durable, 16 clients", place: scenario.Jumpbox, do: (*benchClient).blobPut},
	{name: "blob-get", about: "blob: GET of 4 KiB, 16 clients", place: scenario.Jumpbox, do: (*benchClient).blobGet},
	{name: "blob-get-1m", about: "blob: GET of 1 MiB, 16 clients", place: scenario.Jumpbox, do: (*benchClient).blobGetLarge},
	{name: "vault-get", about: "key vault: GET of a secret, 16 clients", place: scenario.Jumpbox, do: (*benchClient).vaultGet},
	{name: "mlflow-log-batch", about: "MLflow: log-batch of 100 metrics, durable, 16 clients", place: scenario.Jumpbox, do: (*benchClient).logBatch},
	{name: "dns", about: "the resolver of a virtual network, 8 clients", place: scenario.Jumpbox, do: (*benchClient).dns},
}

// rates is one service measured by its rate and by its server's processor time, beside a minimal server.
type rates struct {
	name        string
	concurrency int
	host        string // of the service
	next        func(n int64) []byte
	want        int
	limitName   string
	limitNext   func(n int64) []byte
	limitWant   int
	unit        string
	quantity    func(load.Sample) float64 // the rate; nil: operations a second
	target      bench.Target              // of the rate; zero: only the processor time is a figure
	cpu         float64                   // ms an operation at most; 0: not shown
}

const (
	rateRounds = 3
	rateTime   = 700 * time.Millisecond // of one measurement, unless the client was told otherwise
)

func (c *benchClient) rates(ctx context.Context, r rates) error {
	ours, err := load.NewLoop(ctx, load.Work{
		Addr: net.JoinHostPort(r.host, "443"), TLS: &tls.Config{ServerName: r.host}, Concurrency: r.concurrency,
		Next: r.next, Want: r.want, CPU: load.ProcessCPU(c.server),
	})
	if err != nil {
		return err
	}
	defer ours.Close()
	bare, err := load.NewLoop(ctx, load.Work{
		Addr: c.limit.HTTPS, TLS: c.limit.TLS, Concurrency: r.concurrency,
		Next: r.limitNext, Want: r.limitWant, CPU: load.ProcessCPU(c.limit.PID),
	})
	if err != nil {
		return err
	}
	defer bare.Close()
	as, bs, err := bench.Interleave(ctx, rateRounds,
		func(ctx context.Context) (load.Sample, error) { return ours.Run(ctx, c.time) },
		func(ctx context.Context) (load.Sample, error) { return bare.Run(ctx, c.time) })
	if err != nil {
		return err
	}
	return c.printRates(r, as, bs)
}

// printRates prints the rate and, where a target is set, the server's processor time.
func (c *benchClient) printRates(r rates, as, bs []load.Sample) error {
	if r.quantity == nil {
		r.quantity, r.unit = load.Sample.PerSecond, "a second"
	}
	if r.target != (bench.Target{}) {
		if err := c.print(bench.Pair(as, bs, r.quantity).Figure(r.name, r.unit, r.limitName, r.target)); err != nil {
			return err
		}
	}
	if r.cpu == 0 {
		return nil
	}
	return c.print(bench.Pair(as, bs, load.Sample.CPUPerOp).Figure(r.name+": CPU each", "ms", r.limitName,
		bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: r.cpu}))
}

func atLeast(limit float64) bench.Target {
	return bench.Target{On: bench.OnValue, Bound: bench.AtLeast, Limit: limit}
}

// request is one that is sent many times.
func request(method, at, token string, headers http.Header, body []byte) ([]byte, error) {
	r, err := http.NewRequest(method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range headers {
		r.Header[k] = v
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("User-Agent", "vauban-bench")
	return load.Bytes(r)
}

// always sends the same request.
func always(b []byte) func(int64) []byte { return func(int64) []byte { return b } }

// numbered puts a number of the request's own into its text, of eight digits, wherever @@@@@@@@ stands.
func numbered(b []byte) func(int64) []byte {
	return func(n int64) []byte {
		return bytes.ReplaceAll(b, []byte(number), fmt.Appendf(nil, "%d", 10_000_000+n))
	}
}

const number = "@@@@@@@@"

// limitRequest is one to the minimal server.
func (c *benchClient) limitRequest(method, path string, body []byte) ([]byte, error) {
	return request(method, "https://"+limit.Host+path, "", nil, body)
}

func (c *benchClient) armPut(ctx context.Context, concurrency int, target float64) error {
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return err
	}
	body := []byte(`{"location":"` + c.values["location"] + `","tags":{"made-by":"bench","purpose":"a durable write"}}`)
	path := "/subscriptions/" + c.values["subscription"] + "/resourcegroups/arm-put-" + fmt.Sprint(concurrency) + "-" + number
	ours, err := request(http.MethodPut, "https://management.azure.com"+path+"?api-version=2024-11-01", token, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return err
	}
	bare, err := c.limitRequest(http.MethodPut, limit.PathRow+number, body)
	if err != nil {
		return err
	}
	return c.rates(ctx, rates{
		name: fmt.Sprintf("ARM PUT, durable, c=%d", concurrency), concurrency: concurrency,
		host: "management.azure.com", next: numbered(ours), want: http.StatusCreated,
		limitName: "minimal Go, SQLite, fsync", limitNext: numbered(bare), limitWant: http.StatusCreated,
		target: atLeast(target), cpu: 1,
	})
}

func (c *benchClient) armGet(ctx context.Context) error {
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return err
	}
	at := "https://management.azure.com" + c.values["storage"] + "?api-version=2023-05-01"
	ours, err := request(http.MethodGet, at, token, nil, nil)
	if err != nil {
		return err
	}
	put, err := c.limitRequest(http.MethodPut, limit.PathRow+"account", bytes.Repeat([]byte("a"), 1500))
	if err != nil {
		return err
	}
	if err := once(ctx, c.limit.HTTPS, c.limit.TLS, put, http.StatusCreated); err != nil {
		return err
	}
	bare, err := c.limitRequest(http.MethodGet, limit.PathRow+"account", nil)
	if err != nil {
		return err
	}
	return c.rates(ctx, rates{
		name: "ARM GET of a storage account, c=16", concurrency: 16, host: "management.azure.com", next: always(ours), want: http.StatusOK,
		limitName: "minimal Go, a SQLite row", limitNext: always(bare), limitWant: http.StatusOK,
		target: bench.Target{On: bench.OnRatio, Bound: bench.AtLeast, Limit: 0.5}, cpu: 0.3,
	})
}

const blobVersion = "2023-11-03"

func (c *benchClient) blobHost() string { return c.values["account"] + ".blob.core.windows.net" }

// blobRequest is one to the blob of a name.
func (c *benchClient) blobRequest(ctx context.Context, method, name string, size int) ([]byte, error) {
	token, err := c.token(ctx, "https://storage.azure.com")
	if err != nil {
		return nil, err
	}
	h := http.Header{"X-Ms-Version": {blobVersion}}
	var body []byte
	if method == http.MethodPut {
		h.Set("X-Ms-Blob-Type", "BlockBlob")
		h.Set("Content-Type", "application/octet-stream")
		body = bytes.Repeat([]byte("vauban"), size/6+1)[:size]
	}
	return request(method, "https://"+c.blobHost()+"/data/"+name, token, h, body)
}

// putBlob makes the blob that a work gets.
func (c *benchClient) putBlob(ctx context.Context, name string, size int) error {
	b, err := c.blobRequest(ctx, http.MethodPut, name, size)
	if err != nil {
		return err
	}
	return onceTo(ctx, c.blobHost(), b, http.StatusCreated)
}

// once sends one request.
func once(ctx context.Context, addr string, cfg *tls.Config, b []byte, want int) error {
	conn, err := load.Dial(ctx, addr, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Do(b, want)
	return err
}

// onceTo sends one request to a service of the region.
func onceTo(ctx context.Context, host string, b []byte, want int) error {
	return once(ctx, net.JoinHostPort(host, "443"), &tls.Config{ServerName: host}, b, want)
}

func (c *benchClient) blobPut(ctx context.Context) error {
	ours, err := c.blobRequest(ctx, http.MethodPut, "put/"+number, 4<<10)
	if err != nil {
		return err
	}
	bare, err := c.limitRequest(http.MethodPut, limit.PathFile, make([]byte, 4<<10))
	if err != nil {
		return err
	}
	return c.rates(ctx, rates{
		name: "blob PUT 4 KiB, durable, c=16", concurrency: 16, host: c.blobHost(), next: numbered(ours), want: http.StatusCreated,
		limitName: "minimal Go, a file and an fsync each", limitNext: always(bare), limitWant: http.StatusCreated,
		target: atLeast(1500), cpu: 0.6,
	})
}

func (c *benchClient) blobGet(ctx context.Context) error {
	return c.blobGetSize(ctx, 4<<10, rates{
		name: "blob GET 4 KiB, c=16", limitName: "minimal Go, a file", target: atLeast(4000), cpu: 0.15,
	})
}

func (c *benchClient) blobGetLarge(ctx context.Context) error {
	return c.blobGetSize(ctx, 1<<20, rates{
		name: "blob GET 1 MiB, c=16", limitName: "minimal Go, a file", target: atLeast(900), unit: "MiB/s", quantity: load.Sample.MiBPerSecond,
	})
}

func (c *benchClient) blobGetSize(ctx context.Context, size int, r rates) error {
	name := fmt.Sprintf("get/%d", size)
	if err := c.putBlob(ctx, name, size); err != nil {
		return err
	}
	ours, err := c.blobRequest(ctx, http.MethodGet, name, 0)
	if err != nil {
		return err
	}
	bare, err := c.limitRequest(http.MethodGet, fmt.Sprint(limit.PathFile, size), nil)
	if err != nil {
		return err
	}
	r.concurrency, r.host, r.next, r.want, r.limitNext, r.limitWant = 16, c.blobHost(), always(ours), http.StatusOK, always(bare), http.StatusOK
	return c.rates(ctx, r)
}

func (c *benchClient) vaultGet(ctx context.Context) error {
	token, err := c.token(ctx, "https://vault.azure.net")
	if err != nil {
		return err
	}
	host := c.values["vaultName"] + ".vault.azure.net"
	at := "https://" + host + "/secrets/bench?api-version=7.4"
	put, err := request(http.MethodPut, at, token, http.Header{"Content-Type": {"application/json"}}, []byte(`{"value":"`+strings.Repeat("s", 64)+`"}`))
	if err != nil {
		return err
	}
	if err := onceTo(ctx, host, put, http.StatusOK); err != nil {
		return err
	}
	ours, err := request(http.MethodGet, at, token, nil, nil)
	if err != nil {
		return err
	}
	bare, err := c.limitRequest(http.MethodGet, limit.PathBytes+"400", nil)
	if err != nil {
		return err
	}
	return c.rates(ctx, rates{
		name: "key vault GET secret, c=16", concurrency: 16, host: host, next: always(ours), want: http.StatusOK,
		limitName: "minimal Go, 400 bytes from memory", limitNext: always(bare), limitWant: http.StatusOK,
		cpu: 0.15,
	})
}
