package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/azurefirewall/proxy"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/dataplane/loganalytics"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/origin"
	"vauban.dev/provider/insights"
)

// resourceLogs takes the records of resources that have a diagnostic setting, and writes them to the settings' accounts
// and workspaces. It
// holds them in memory until then, as many as pendingMost: resource logs are no journal, in Azure neither.
type resourceLogs struct {
	w *world

	mu       sync.Mutex
	settings map[string][]*rp.Resource[insights.Setting] // by the lower-case id of the resource
	pending  map[pendingLog]*bytes.Buffer
	records  map[string][]loganalytics.Record // by the ARM id of the workspace
	size     int
	lost     int // records that found no room since the last writing
}

// pendingLog is where some records go.
type pendingLog struct {
	setting, account, container, blob string
}

const pendingMost = 32 << 20 // bytes

func newResourceLogs(w *world) *resourceLogs {
	return &resourceLogs{w: w, pending: map[pendingLog]*bytes.Buffer{}, records: map[string][]loganalytics.Record{}}
}

// load reads the settings: what is answered before one is known is logged nowhere.
func (l *resourceLogs) load(ctx context.Context) error {
	found := map[string][]*rp.Resource[insights.Setting]{}
	err := l.w.engine.View(ctx, func(tx *rp.Tx) error {
		all, err := rp.List[insights.Setting](tx, insights.SettingType, arm.MustParseID("/"))
		for _, s := range all {
			if p := &s.Properties; (insights.Given(p.StorageAccountID) || insights.Given(p.WorkspaceID)) && s.ID.Scope().Namespace() != "" {
				key := strings.ToLower(s.ID.Scope().String())
				found[key] = append(found[key], s)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings = found
	return nil
}

// wants tells whether any setting takes records of a resource; of is its id in any case.
func (l *resourceLogs) wants(of string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.settings) > 0 && len(l.settings[strings.ToLower(of)]) > 0
}

// add keeps a record for each setting of the resource that takes its category.
func (l *resourceLogs) add(of, category string, at time.Time, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.settings[strings.ToLower(of)] {
		scope := s.ID.Scope()
		if !s.Properties.Exports(category) {
			continue
		}
		if l.size+len(line) > pendingMost {
			l.lost++
			continue
		}
		l.size += len(line)
		if id := s.Properties.WorkspaceID; insights.Given(id) {
			if r, err := loganalytics.Line(line, s.Properties.Dedicated()); err == nil {
				l.records[*id] = append(l.records[*id], r)
			} else {
				l.w.log.Error("a record of a resource log", "setting", s.ID.String(), "err", err)
			}
		}
		if id := s.Properties.StorageAccountID; insights.Given(id) {
			to := pendingLog{s.ID.String(), *id, insights.LogContainer(category), insights.LogBlob(scope, at)}
			if l.pending[to] == nil {
				l.pending[to] = &bytes.Buffer{}
			}
			l.pending[to].Write(line)
		}
	}
}

// run writes what was added, until ctx ends and once more then.
func (l *resourceLogs) run(ctx context.Context) {
	changes := l.w.db.Watch(ctx, rp.StoreKind(insights.SettingType))
	l.read(ctx)
	tick := time.NewTicker(exportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			l.flush(last)
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil // ctx has ended, or is about to
				continue
			}
			l.read(ctx)
		case <-tick.C:
			l.flush(ctx)
		}
	}
}

func (l *resourceLogs) read(ctx context.Context) {
	if err := l.load(ctx); err != nil && ctx.Err() == nil {
		l.w.log.Error("diagnostic settings were not read", "err", err)
	}
}

// flush writes all that is pending. What an account does not take is tried no more: its firewall may stand in the way for
// ever, and who sends logs where they are refused loses them, as in Azure.
func (l *resourceLogs) flush(ctx context.Context) {
	l.mu.Lock()
	pending, records, lost := l.pending, l.records, l.lost
	l.pending, l.records, l.size, l.lost = map[pendingLog]*bytes.Buffer{}, map[string][]loganalytics.Record{}, 0, 0
	l.mu.Unlock()
	for id, list := range records {
		if err := l.w.writeRecords(ctx, id, list); err != nil && ctx.Err() == nil {
			l.w.log.Warn("resource logs were not written", "workspace", id, "err", err)
		}
	}
	if lost > 0 {
		l.w.log.Warn("records of resource logs were left out: too many at once", "records", lost)
	}
	for to, lines := range pending {
		setting, err := arm.ParseID(to.setting)
		var account arm.ID
		if err == nil {
			account, err = arm.ParseID(to.account)
		}
		if err == nil {
			err = l.w.writeExport(ctx, setting, account, to.container, to.blob, lines.Bytes())
		}
		if err != nil && ctx.Err() == nil {
			l.w.log.Warn("resource logs were not written", "setting", to.setting, "account", to.account, "err", err)
		}
	}
}

// vault is keyvault.Config's Audit.
func (l *resourceLogs) vault(e keyvault.Event) {
	l.w.measureVault(e)
	if l.wants(e.VaultID) {
		l.add(e.VaultID, "AuditEvent", e.Time, insights.VaultLine(e))
	}
}

// firewall is told of every record of an Azure Firewall.
func (l *resourceLogs) firewall(r proxy.Record) {
	l.w.measureFirewall(r)
	if l.wants(r.ResourceID) {
		l.add(r.ResourceID, r.Category, r.TimeGenerated, insights.FirewallLine(r.ResourceID, r.Category, r.TimeGenerated, r))
	}
}

// storage is the handler of a storage service with its requests measured, and logged where somebody wants it.
func (l *resourceLogs) storage(service string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, served := storagehttp.WithServed(r.Context())
		rec := &recorder{ResponseWriter: w}
		in := &counter{ReadCloser: r.Body}
		q := r.WithContext(ctx)
		q.Body = in
		began, start := l.w.clock.Now(), time.Now()
		next.ServeHTTP(rec, q)
		if served.Account.ID == "" {
			return
		}
		line := insights.StorageRequest{
			Served: served, Service: service, Method: r.Method, URI: requestURI(r), UserAgent: r.UserAgent(), ClientID: r.Header.Get("X-Ms-Client-Request-Id"),
			Source: source(r), Began: began, Took: time.Since(start), Status: rec.status, In: in.n, Out: rec.n,
			ETag: rec.Header().Get("ETag"), Authorization: r.Header.Get("Authorization"),
		}
		if r.TLS != nil {
			line.TLS = tls.VersionName(r.TLS.Version)
		}
		l.w.measureStorage(&line)
		if !l.wants(served.Account.ID + "/" + service + "Services/default") {
			return
		}
		id, err := line.Resource()
		if err != nil {
			return
		}
		l.add(id.String(), line.Category(), began, line.Line(l.w.settings.Location))
	})
}

// requestURI is the whole address that was asked for, with the port that Azure writes.
func requestURI(r *http.Request) string {
	host, scheme, port := r.Host, "http", "80"
	if r.TLS != nil {
		scheme, port = "https", "443"
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, port)
	}
	return scheme + "://" + host + r.URL.RequestURI()
}

// source is who sent a request, as the kernel saw it.
func source(r *http.Request) netip.AddrPort {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	if o := origin.FromContext(r.Context()); o.Source.IsValid() {
		return netip.AddrPortFrom(o.Source, at.Port())
	}
	return at
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	n      int64
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.n += int64(n)
	return n, err
}

// ReadFrom keeps files from being copied through memory.
func (r *recorder) ReadFrom(from io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := io.Copy(r.ResponseWriter, from)
	r.n += n
	return n, err
}

// counter counts what is read of a body.
type counter struct {
	io.ReadCloser
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n += int64(n)
	return n, err
}
