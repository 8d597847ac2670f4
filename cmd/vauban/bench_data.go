package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"vauban.dev/bench"
	"vauban.dev/bench/limit"
	"vauban.dev/bench/load"
	"vauban.dev/fabric"
)

const (
	batchSize  = 100 // metrics
	batchRuns  = 16  // runs that are logged to
	dnsClients = 8
)

// tracking is a workspace's tracking server.
type tracking struct {
	*benchClient
	host, base, token string
}

func (c *benchClient) openMLflow(ctx context.Context) (*tracking, error) {
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://management.azure.com"+c.values["workspace"]+"?api-version="+mlVersion, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	b, err := c.do(r)
	if err != nil {
		return nil, err
	}
	var w struct {
		Properties struct {
			URI string `json:"mlFlowTrackingUri"`
		}
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, err
	}
	rest, ok := strings.CutPrefix(w.Properties.URI, "azureml://")
	host, _, _ := strings.Cut(rest, "/")
	if !ok {
		return nil, fmt.Errorf("the workspace's mlFlowTrackingUri is %q", w.Properties.URI)
	}
	return &tracking{c, host, "https://" + rest + "/api/2.0/mlflow/", token}, nil
}

// call posts JSON and reads JSON.
func (m *tracking) call(ctx context.Context, method string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.base+method, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+m.token)
	r.Header.Set("Content-Type", "application/json")
	if b, err = m.do(r); err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// runs makes the runs that are logged to.
func (m *tracking) runs(ctx context.Context) ([]string, error) {
	var e struct {
		ID string `json:"experiment_id"`
	}
	if err := m.call(ctx, "experiments/create", map[string]string{"name": "bench-metrics"}, &e); err != nil {
		return nil, err
	}
	var ids []string
	for range batchRuns {
		var r struct {
			Run struct {
				Info struct {
					ID string `json:"run_id"`
				} `json:"info"`
			} `json:"run"`
		}
		if err := m.call(ctx, "runs/create", map[string]any{"experiment_id": e.ID, "start_time": 1}, &r); err != nil {
			return nil, err
		}
		ids = append(ids, r.Run.Info.ID)
	}
	return ids, nil
}

func (c *benchClient) logBatch(ctx context.Context) error {
	m, err := c.openMLflow(ctx)
	if err != nil {
		return err
	}
	ids, err := m.runs(ctx)
	if err != nil {
		return err
	}
	var batches []func(int64) []byte
	var body []byte
	for _, id := range ids {
		var list []string
		for i := range batchSize {
			list = append(list, fmt.Sprintf(`{"key":"metric-%d","value":0.%d,"timestamp":17000%s,"step":%s}`, i, i+1, number, number))
		}
		body = []byte(`{"run_id":"` + id + `","metrics":[` + strings.Join(list, ",") + `]}`)
		b, err := request(http.MethodPost, m.base+"runs/log-batch", m.token, http.Header{"Content-Type": {"application/json"}}, body)
		if err != nil {
			return err
		}
		batches = append(batches, numbered(b))
	}
	bare, err := c.limitRequest(http.MethodPost, fmt.Sprint(limit.PathRows, batchSize), body)
	if err != nil {
		return err
	}
	return c.rates(ctx, rates{
		name: "MLflow log-batch of 100 metrics, c=16", concurrency: 16, host: m.host, want: http.StatusOK,
		next:      func(n int64) []byte { return batches[n%batchRuns](n) },
		limitName: "minimal Go, 100 SQLite rows, fsync", limitNext: always(bare), limitWant: http.StatusOK,
		unit: "metrics/s", quantity: func(s load.Sample) float64 { return batchSize * s.PerSecond() },
		target: atLeast(75_000), cpu: 1.5,
	})
}

// dns asks for the name of the storage account, which leads through the public names to a private zone.
func (c *benchClient) dns(ctx context.Context) error {
	name := c.blobHost()
	ours := load.DNS{Addr: fabric.WireServer.String() + ":53", Name: name, Clients: dnsClients, CPU: load.ProcessCPU(c.server)}
	bare := load.DNS{Addr: c.limit.DNS, Name: name, Clients: dnsClients, CPU: load.ProcessCPU(c.limit.PID)}
	as, bs, err := bench.Interleave(ctx, rateRounds,
		func(ctx context.Context) (load.Sample, error) { return ours.Run(ctx, c.time) },
		func(ctx context.Context) (load.Sample, error) { return bare.Run(ctx, c.time) })
	if err != nil {
		return err
	}
	return c.printRates(rates{name: "DNS, a private endpoint's name, 8 clients", limitName: "miekg/dns, one fixed answer", target: atLeast(70_000)}, as, bs)
}
