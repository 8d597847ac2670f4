package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vauban.dev/bench"
	"vauban.dev/bench/limit"
	"vauban.dev/bench/load"
	"vauban.dev/region"
)

// benchRounds is how often what takes a start is measured.
const benchRounds = 3

// benchRegion is a running region of the benchmark's own.
type benchRegion struct {
	exe, dir string
	server   int // the process
	env      map[string]string
}

// up starts a region on an empty directory.
func (b *benchmark) up(ctx context.Context) (*benchRegion, error) {
	dir, err := os.MkdirTemp(b.dir, "region-")
	if err != nil {
		return nil, err
	}
	r := &benchRegion{exe: b.exe, dir: dir}
	image := filepath.Join(b.dir, "image")
	if err := os.MkdirAll(image, 0o755); err != nil {
		return nil, err
	}
	args := []string{"up", "--detach", "--image", benchImage + "=" + image}
	if b.database != "" {
		args = append(args, "--store", b.database)
	}
	if err := r.command(ctx, args...); err != nil {
		return nil, errors.Join(err, r.down()) // interrupted, it may have begun to stand
	}
	var ready region.ReadyResult
	if _, err := region.Call(ctx, dir, region.MethodReady, nil, &ready); err != nil {
		return nil, errors.Join(err, r.down())
	}
	st, err := region.Inspect(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, r.down())
	}
	r.server, r.env = st.Server, ready.Env
	return r, nil
}

// command runs vauban on the region. Its words are told only when it fails.
func (r *benchRegion) command(ctx context.Context, args ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, r.exe, append(args, "--data", r.dir)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("vauban %s: %w: %s", args[0], err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// down ends the region also when the benchmark was interrupted, and removes its data.
func (r *benchRegion) down() error {
	return errors.Join(r.command(context.Background(), "down"), os.RemoveAll(r.dir))
}

// client runs a work of the benchmark's client at a place in the region, and passes on its figures.
func (r *benchRegion) client(ctx context.Context, place, work string, add func(bench.Figure) error) error {
	args := []string{"exec", "--data", r.dir}
	if place != "" {
		args = append(args, "--subnet", place)
	}
	args = append(args, "--", r.exe, "bench", "client", work, "--data", r.dir, "--server", strconv.Itoa(r.server))
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, r.exe, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimPrefix(strings.TrimSpace(stderr.String()), "vauban: "))
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var f bench.Figure
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := add(f); err != nil {
			return err
		}
	}
}

// firstAnswer signs in and lists the subscriptions, from outside the region, by its loopback listener.
func (r *benchRegion) firstAnswer(ctx context.Context) error {
	proxy, err := url.Parse(r.env["HTTPS_PROXY"])
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(r.env["SSL_CERT_FILE"])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	first, err := readCredentials(r.dir)
	if err != nil {
		return err
	}
	c := &benchClient{http: &http.Client{Transport: transport}, first: first}
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return err
	}
	return c.get(ctx, "https://management.azure.com/subscriptions?api-version=2022-12-01", token)
}

func (b *benchmark) limitArgs() []string { return []string{b.exe, "bench", "limit"} }

// start measures a whole region beside a minimal HTTPS server of the same binary, both from the start of
// their process to their first answer.
func (b *benchmark) start(ctx context.Context, add func(bench.Figure) error) error {
	ours := func(ctx context.Context) (float64, error) {
		began := time.Now()
		r, err := b.up(ctx)
		if err != nil {
			return 0, err
		}
		err = r.firstAnswer(ctx)
		took := time.Since(began)
		return took.Seconds(), errors.Join(err, r.down())
	}
	bare := func(ctx context.Context) (float64, error) {
		began := time.Now()
		p, err := limit.Start(ctx, b.dir, b.limitArgs()...)
		if err != nil {
			return 0, err
		}
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: p.TLS}}
		err = (&benchClient{http: c}).get(ctx, "https://"+p.HTTPS+limit.PathBytes+"100", "")
		took := time.Since(began)
		c.CloseIdleConnections()
		return took.Seconds(), errors.Join(err, p.Stop())
	}
	as, bs, err := bench.Interleave(ctx, benchRounds, ours, bare)
	if err != nil {
		return err
	}
	return add(bench.Pair(as, bs, func(v float64) float64 { return v }).Figure("region start to first ARM answer", "s",
		"minimal Go HTTPS server, start to answer", bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 0.5}))
}

// idle is how long a server is left alone before its memory is read.
const idle = 5 * time.Second

// memory compares the resident memory of the servers alone, shared pages in full.
func (b *benchmark) memory(ctx context.Context, add func(bench.Figure) error) (err error) {
	r, err := b.up(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.down()) }()
	if err := r.firstAnswer(ctx); err != nil {
		return err
	}
	p, err := limit.Start(ctx, b.dir, b.limitArgs()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	ours, err := load.ProcessMemory(r.server)
	if err != nil {
		return err
	}
	bare, err := load.ProcessMemory(p.PID)
	if err != nil {
		return err
	}
	const mb = 1e6
	return add(bench.Figure{Name: "idle memory of the server (RSS)", Value: float64(ours.RSS) / mb, Unit: "MB",
		Reference: bench.Reference{Name: "minimal Go HTTPS server", Value: float64(bare.RSS) / mb}, Ratio: float64(ours.RSS) / float64(bare.RSS),
		Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 150}})
}

// resources makes the scenario's resources in new regions; the last one stays for the measurements that
// work in it.
func (b *benchmark) resources(ctx context.Context, add func(bench.Figure) error) error {
	var all []bench.Figure
	for range benchRounds {
		b.broken = b.provision(ctx, func(f bench.Figure) error { all = append(all, f); return nil })
		if b.broken != nil {
			return b.broken
		}
	}
	if len(all) == 0 {
		return errors.New("no figure")
	}
	value, ref, ratio := make([]float64, len(all)), make([]float64, len(all)), make([]float64, len(all))
	for i, f := range all {
		value[i], ref[i], ratio[i] = f.Value, f.Reference.Value, f.Ratio
	}
	f := all[0]
	f.Value, f.Reference.Value, f.Ratio = bench.Median(value), bench.Median(ref), bench.Median(ratio)
	return add(f)
}

// benchImage is the environment of the measured jobs: nothing beside the machine's own programs.
const benchImage = "vauban.invalid/bench/base"
