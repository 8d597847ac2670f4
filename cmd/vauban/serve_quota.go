package main

import (
	"cmp"
	"context"
	"slices"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/compute"
	"vauban.dev/provider/machinelearning"
	"vauban.dev/provider/network"
	"vauban.dev/provider/quota"
	"vauban.dev/provider/storage"
	"vauban.dev/region"
)

// methodQuota shows the quotas of a subscription, after it has set one.
const methodQuota = "quota" // quotaParams → []quotaUsage

// quotaParams are what `vauban quota` asks for. Name "" sets nothing, a negative Limit gives Azure's back.
type quotaParams struct {
	Subscription string `json:"subscription"`
	Location     string `json:"location"`
	Name         string `json:"name"`
	Limit        int    `json:"limit"`
}

// quotaUsage is one quota with what is taken of it.
type quotaUsage struct {
	Name    string `json:"name"` // NAMESPACE/NAME
	Used    int    `json:"used"`
	Limit   int    `json:"limit"`
	Default int    `json:"default"`
}

// quotas are those of all services.
func quotas() []quota.Quota {
	return slices.Concat(compute.Quotas(), machinelearning.Quotas(), network.Quotas(), storage.Quotas())
}

func (w *world) setQuota(ctx context.Context, r region.Request) (region.Reply, error) {
	var p quotaParams
	if err := r.Decode(&p); err != nil {
		return region.Reply{}, err
	}
	p.Subscription = cmp.Or(p.Subscription, w.first.SubscriptionID)
	if p.Name != "" {
		q, err := quota.Find(quotas(), p.Name)
		if err != nil {
			return region.Reply{}, &region.CallError{Code: region.CodeBadRequest, Message: err.Error() + ": vauban quota list shows them"}
		}
		if err := w.engine.Update(ctx, func(tx *rp.Tx) error { return quota.Set(tx, p.Subscription, p.Location, q, p.Limit) }); err != nil {
			return region.Reply{}, err
		}
	}
	var all []quotaUsage
	err := w.engine.View(ctx, func(tx *rp.Tx) error {
		id, err := arm.ParseID("/subscriptions/" + p.Subscription)
		if err != nil {
			return err
		}
		location := cmp.Or(p.Location, w.settings.Location)
		usages, err := quota.Usages(tx, p.Subscription, location, quotas(), func(q quota.Quota) (int, error) {
			switch q.Namespace {
			case "Microsoft.Network":
				return network.Taken(tx, id, location, q)
			case machinelearning.Namespace:
				return machinelearning.Taken(tx, id, location, q)
			}
			return compute.Taken(tx, id, location, q)
		})
		for _, u := range usages {
			all = append(all, quotaUsage{Name: u.Namespace + "/" + u.Name, Used: u.Used, Limit: u.Now, Default: u.Limit})
		}
		return err
	})
	return region.Reply{Result: all}, err
}
