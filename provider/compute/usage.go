package compute

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/quota"
)

// The quotas that are not of a family of sizes.
const (
	coresQuota    = "cores"
	machinesQuota = "virtualMachines"
	setsQuota     = "virtualMachineScaleSets"
)

// Quotas are Azure's limits of a subscription in a location, as recorded of one in West US: processors in all and of each
// family of sizes, machines, availability sets.
// https://learn.microsoft.com/azure/virtual-machines/quotas
func Quotas() []quota.Quota {
	of := func(name, localized string, limit int) quota.Quota {
		return quota.Quota{Namespace: Namespace, Name: name, Localized: localized, Limit: limit}
	}
	all := []quota.Quota{
		{Namespace: Namespace, Name: "availabilitySets", Localized: "Availability Sets", Limit: 2000, Type: Namespace + "/availabilitySets",
			Refuse: func(_, location string, limit int) *arm.Error {
				return exceeds("Availability Sets", location, limit, limit, 1)
			}},
		of(coresQuota, "Total Regional vCPUs", 100),
		of(machinesQuota, "Virtual Machines", 25000),
		of(setsQuota, "Virtual Machine Scale Sets", 2000),
	}
	seen := map[string]bool{}
	for _, s := range sizes {
		if !seen[s.Family] {
			seen[s.Family] = true
			all = append(all, of(s.Family, familyName(s.Family), 100))
		}
	}
	return all
}

// familyName is what people read: standardDSv2Family is Standard DSv2 Family vCPUs.
func familyName(family string) string {
	if strings.HasPrefix(family, "basic") {
		return "Basic A Family vCPUs"
	}
	return "Standard " + strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(family, "standard"), "Family"), "_", "-") + " Family vCPUs"
}

// exceeds is Azure's refusal of what a quota does not have.
// https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-resource-quota
func exceeds(what, location string, limit, used, more int) *arm.Error {
	return arm.Errorf(http.StatusConflict, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved %s quota. Additional details - Deployment Model: Resource Manager, Location: %s, Current Limit: %d, Current Usage: %d, Additional Required: %d, (Minimum) New Limit Required: %d. Setup Alerts when Quota reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . Submit a request for Quota increase by specifying parameters listed in the 'Details' section for deployment to succeed. Please read more about quota limits at https://docs.microsoft.com/en-us/azure/azure-supportability/per-vm-quota-requests",
		what, location, limit, used, more, used+more)
}

// Taken is what the machines of a subscription in a location take of a quota.
func Taken(tx *rp.Tx, subscription arm.ID, location string, q quota.Quota) (int, error) {
	return takenBut(tx, subscription, location, q, arm.ID{})
}

// takenBut leaves one machine out.
func takenBut(tx *rp.Tx, subscription arm.ID, location string, q quota.Quota, except arm.ID) (int, error) {
	all, err := rp.List[VM](tx, Type, subscription)
	n := 0
	for _, r := range all {
		if r.Location == location && r.ID.Key() != except.Key() {
			n += demand(r, q)
		}
	}
	return n, err
}

// demand is what one machine takes of a quota. Processors of a machine that is deallocated stay counted, as in Azure.
func demand(r *rp.Resource[VM], q quota.Quota) int {
	if q.Name == machinesQuota {
		return 1
	}
	s, ok := sizeOf(r.Properties.Hardware.Size)
	if ok && (q.Name == coresQuota || q.Name == s.Family) {
		return s.CPUs
	}
	return 0
}

// withinQuotas refuses a machine for which there are not processors enough, or one too many.
func withinQuotas(tx *rp.Tx, r *rp.Resource[VM]) error {
	subscription, err := arm.ParseID("/subscriptions/" + r.ID.Subscription())
	if err != nil {
		return err
	}
	for _, q := range Quotas() {
		more := demand(r, q)
		if q.Type != "" || more == 0 {
			continue
		}
		limit, err := quota.Limit(tx, r.ID.Subscription(), r.Location, q)
		if err != nil {
			return err
		}
		used, err := takenBut(tx, subscription, r.Location, q, r.ID)
		if err != nil {
			return err
		}
		if used+more > limit {
			what := q.Localized
			if q.Name != machinesQuota && q.Name != coresQuota {
				what = q.Name + " Cores"
			} else if q.Name == coresQuota {
				what = "Total Regional Cores"
			}
			return exceeds(what, r.Location, limit, used, more)
		}
	}
	return nil
}

// listUsages is what is taken of the quotas (Compute REST: Usage, List).
func usages(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	subscription, err := arm.ParseID("/subscriptions/" + path["subscription"])
	if err != nil {
		return nil, err
	}
	location := strings.ToLower(strings.ReplaceAll(path["location"], " ", ""))
	all, err := quota.Usages(tx, path["subscription"], location, Quotas(), func(q quota.Quota) (int, error) {
		return Taken(tx, subscription, location, q)
	})
	value := []any{}
	for _, u := range all {
		value = append(value, u.Shown())
	}
	return map[string]any{"value": value}, err
}
