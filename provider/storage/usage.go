package storage

import (
	"context"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/quota"
)

// Quotas are the accounts of a subscription in a location.
// https://learn.microsoft.com/azure/storage/common/scalability-targets-standard-account
func Quotas() []quota.Quota {
	return []quota.Quota{{
		Namespace: "Microsoft.Storage", Name: "StorageAccounts", Localized: "Storage Accounts", Limit: 250, Type: AccountType,
		Refuse: func(subscription, location string, limit int) *arm.Error {
			return arm.Errorf(http.StatusConflict, "MaxStorageAccountsCountPerSubscriptionExceeded", "Subscription %s already contains %d storage accounts with Standard Dns endpoints in location %s and the maximum allowed is %d.",
				subscription, limit, location, limit)
		},
	}}
}

// usageRoutes list what is taken of the quotas (Storage REST: Usages, List By Location).
func usageRoutes() rp.Registration {
	return rp.Routes(rp.Route{
		Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/providers/Microsoft.Storage/locations/{location}/usages",
		Permission: "Microsoft.Storage/locations/usages/read", Versions: versions,
		Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
			all, err := quota.Usages(tx, path["subscription"], path["location"], Quotas(), nil)
			value := []any{}
			for _, u := range all {
				value = append(value, u.Shown())
			}
			return map[string]any{"value": value}, err
		},
	})
}
