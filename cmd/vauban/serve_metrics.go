package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"vauban.dev/azurefirewall/proxy"
	"vauban.dev/dataplane/keyvault"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/metrics"
	"vauban.dev/ml"
	"vauban.dev/provider/insights"
)

const (
	metricsEvery  = 15 * time.Second // what was measured since is lost with the machine
	metricsForget = 6 * time.Hour
)

// keepMetrics writes what is measured, until ctx ends and once more then.
func (w *world) keepMetrics(ctx context.Context) {
	write, forget := time.NewTicker(metricsEvery), time.NewTicker(metricsForget)
	defer write.Stop()
	defer forget.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := w.measured.Flush(last); err != nil {
				w.log.Warn("metrics were not written", "err", err)
			}
			return
		case <-write.C:
			err = w.measured.Flush(ctx)
		case <-forget.C:
			err = w.measured.Forget(ctx, w.clock.Now())
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("metrics were not kept", "err", err)
		}
	}
}

// share is what an answer adds to an availability: everything, or nothing when the service failed.
func share(status int) float64 {
	if status >= 500 {
		return 0
	}
	return 100
}

func inMilliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// measureStorage counts a request to a storage service.
func (w *world) measureStorage(r *insights.StorageRequest) {
	how := "Anonymous"
	switch r.Caller.Kind {
	case storagehttp.ByKey:
		how = "AccountKey"
	case storagehttp.ByAccountSAS, storagehttp.ByServiceSAS:
		how = "SAS"
	case storagehttp.ByDelegationSAS:
		how = "DelegationSas"
	case storagehttp.ByToken:
		how = "OAuth"
	}
	of := metrics.Dimensions{"Primary", strings.ReplaceAll(r.Operation, " ", ""), how, r.ResponseType()}
	values := []metrics.Value{
		{Metric: insights.Transactions, Value: 1}, {Metric: insights.Ingress, Value: float64(r.In)}, {Metric: insights.Egress, Value: float64(r.Out)},
		{Metric: insights.Availability, Value: share(r.Status)},
	}
	if r.Status < 400 {
		took := inMilliseconds(r.Took)
		values = append(values, metrics.Value{Metric: insights.SuccessServerLatency, Value: took}, metrics.Value{Metric: insights.SuccessE2ELatency, Value: took})
	}
	w.measured.Add(r.Account.ID+"/"+r.Service+"Services/default", r.Began, of, values...)
}

// measureVault counts a request to a vault.
func (w *world) measureVault(e keyvault.Event) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(e.ID, "https://"), "?")
	if parts := strings.Split(kind, "/"); len(parts) > 1 {
		kind = strings.TrimSuffix(parts[1], "s")
	} else {
		kind = "vault"
	}
	of := metrics.Dimensions{kind, strings.ToLower(e.Operation), strconv.Itoa(e.Status), strconv.Itoa(e.Status/100) + "xx"}
	w.measured.Add(e.VaultID, e.Time, of,
		metrics.Value{Metric: insights.ServiceAPIHit, Value: 1}, metrics.Value{Metric: insights.ServiceAPIResult, Value: 1},
		metrics.Value{Metric: insights.ServiceAPILatency, Value: inMilliseconds(e.Duration)}, metrics.Value{Metric: insights.Availability, Value: share(e.Status)})
}

// measureFirewall counts what a rule of an Azure Firewall decided.
func (w *world) measureFirewall(r proxy.Record) {
	metric := insights.NetworkRuleHit
	switch r.Category {
	case proxy.ApplicationRule:
		metric = insights.ApplicationRuleHit
	case proxy.NetworkRule, proxy.NATRule:
	default:
		return
	}
	w.measured.Add(r.ResourceID, r.TimeGenerated, metrics.Dimensions{r.Action, r.ActionReason, r.Protocol}, metrics.Value{Metric: metric, Value: 1})
}

// measureRun counts a run that came into a state; workspace is its ARM id.
func (w *world) measureRun(workspace string, now *ml.Run) {
	metric := map[ml.Status]string{ml.Running: "Started Runs", ml.Completed: "Completed Runs", ml.Failed: "Failed Runs", ml.Canceled: "Canceled Runs"}[now.Status]
	if metric == "" {
		return
	}
	w.measured.Add(workspace, w.clock.Now(), metrics.Dimensions{"", now.Type, now.Target, now.Experiment}, metrics.Value{Metric: metric, Value: 1})
}
