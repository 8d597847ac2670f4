package machinelearning

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/quota"
)

// totalQuota is all dedicated processors of a subscription's clusters in a location.
const totalQuota = "TotalClusterDedicatedVcpus"

// Quotas are the processors that compute clusters may have: in all, and of each family of sizes.
// https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
func Quotas() []quota.Quota {
	all := []quota.Quota{{Namespace: Namespace, Name: totalQuota, Localized: "Total Cluster Dedicated Regional vCPUs", Limit: 500}}
	for _, s := range sizes {
		if !slices.ContainsFunc(all, func(q quota.Quota) bool { return q.Name == s.Family }) {
			family := strings.TrimSuffix(strings.TrimPrefix(s.Family, "standard"), "Family")
			all = append(all, quota.Quota{Namespace: Namespace, Name: s.Family, Localized: "Standard " + family + " Family Cluster Dedicated vCPUs", Limit: 300})
		}
	}
	return all
}

func takes(q quota.Quota, size *Size) bool {
	return size != nil && (q.Name == totalQuota || q.Name == size.Family)
}

// Taken is what the nodes that clusters of a subscription have in a location take of a quota.
func Taken(tx *rp.Tx, subscription arm.ID, location string, q quota.Quota) (int, error) {
	clusters, err := rp.List[Compute](tx, ComputeType, subscription)
	n := 0
	for _, r := range clusters {
		if r.Properties.Aml == nil || r.Location != location {
			continue
		}
		if size := sizeOf(r.Properties.Aml.VMSize); takes(q, size) {
			nodes, err := nodesOf(tx, r.ID)
			if err != nil {
				return 0, err
			}
			n += len(nodes) * size.CPUs
		}
	}
	return n, err
}

// withinQuotas refuses a cluster of which not even the least nodes could be there.
func withinQuotas(tx *rp.Tx, r *rp.Resource[Compute]) error {
	subscription, err := arm.ParseID("/subscriptions/" + r.ID.Subscription())
	size := sizeOf(r.Properties.Aml.VMSize)
	if err != nil || size == nil {
		return err
	}
	least := max(1, r.Properties.Aml.Scale.Min)
	for _, q := range Quotas() {
		if !takes(q, size) {
			continue
		}
		limit, err := quota.Limit(tx, r.ID.Subscription(), r.Location, q)
		if err != nil {
			return err
		}
		used, err := Taken(tx, subscription, r.Location, q)
		if err != nil {
			return err
		}
		if more := least * size.CPUs; used+more > limit {
			what := "total"
			if q.Name != totalQuota {
				what = strings.TrimSuffix(q.Localized, " Family Cluster Dedicated vCPUs") + " family"
			}
			return arm.Errorf(http.StatusBadRequest, "ClusterMinNodesExceedCoreQuota", "The specified subscription has a %s vCPU quota of %d and cannot accomodate for at least %d requested managed compute node which maps to %d vCPUs. Talk to your Subscription Admin or refer to https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases to increase the %s quota",
				what, limit, least, more, map[bool]string{true: "total vCPU", false: "family"}[q.Name == totalQuota])
		}
	}
	return nil
}

// listUsages is what is taken of the quotas (Machine Learning REST: Usages, List).
func listUsages(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	return usagesIn(tx, path, func(u quota.Usage, id string) map[string]any {
		return map[string]any{"id": id + "/usages/" + u.Name, "type": Namespace + "/usages", "unit": "Count", "currentValue": u.Used, "limit": u.Now,
			"name": map[string]string{"value": u.Name, "localizedValue": u.Localized}}
	})
}

// listQuotas is the quotas themselves (Machine Learning REST: Quotas, List).
func listQuotas(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	return usagesIn(tx, path, func(u quota.Usage, id string) map[string]any {
		return map[string]any{"id": id + "/quotas/" + u.Name, "type": Namespace + "/vmFamily/quotas", "unit": "Count", "limit": u.Now,
			"name": map[string]string{"value": u.Name, "localizedValue": u.Localized}}
	})
}

func usagesIn(tx *rp.Tx, path map[string]string, show func(u quota.Usage, id string) map[string]any) (any, error) {
	subscription, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	location := strings.ToLower(strings.ReplaceAll(path["location"], " ", ""))
	all, err := quota.Usages(tx, path["subscription"], location, Quotas(), func(q quota.Quota) (int, error) { return Taken(tx, subscription, location, q) })
	value := []any{}
	for _, u := range all {
		value = append(value, show(u, fmt.Sprintf("%s/providers/%s/locations/%s", subscription, Namespace, location)))
	}
	return map[string]any{"value": value}, err
}
