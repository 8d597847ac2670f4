package objects

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// kindBilling are the billing features that were set: component's id → billing.
const kindBilling = "objects.billing"

// billing is what a component may take in a day (Application Insights REST: ComponentCurrentBillingFeatures). Nothing is
// taken in, so that nothing is capped.
type billing struct {
	Cap struct {
		Cap       float64 `json:"Cap"` // GB a day
		Reset     int     `json:"ResetTime"`
		Warning   int     `json:"WarningThreshold"`
		NoWarning bool    `json:"StopSendNotificationWhenHitThreshold"`
		NoNotice  bool    `json:"StopSendNotificationWhenHitCap"`
		Max       float64 `json:"MaxHistoryCap"`
	} `json:"DataVolumeCap"`
	Features []string `json:"CurrentBillingFeatures"`
}

var billingVersions = []string{"2014-08-01", "2015-05-01"}

// billingRoutes serve components/currentbillingfeatures: a part of a component, no resource.
func billingRoutes() rp.Registration {
	const pattern = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Insights/components/{component}/currentbillingfeatures"
	return rp.Routes(
		rp.Route{Method: http.MethodGet, Pattern: pattern, Permission: ComponentType + "/currentbillingfeatures/read", Versions: billingVersions, Reads: true, Do: showBilling},
		rp.Route{Method: http.MethodPut, Pattern: pattern, Permission: ComponentType + "/currentbillingfeatures/write", Versions: billingVersions, Do: putBilling},
	)
}

func componentOf(tx *rp.Tx, path map[string]string) (arm.ID, error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + ComponentType + "/" + path["component"])
	if err != nil {
		return id, err
	}
	return id, rp.Exists(tx, id)
}

func readBilling(tx *rp.Tx, id arm.ID) (b billing, err error) {
	b.Cap.Cap, b.Cap.Reset, b.Cap.Warning, b.Cap.Max, b.Features = 100, 24, 90, 1000, []string{"Basic"}
	doc, err := tx.Get(kindBilling, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return b, nil
	}
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(doc.Value, &b)
}

func showBilling(_ context.Context, tx *rp.Tx, path, _ map[string]string, _ []byte) (any, error) {
	id, err := componentOf(tx, path)
	if err != nil {
		return nil, err
	}
	return readBilling(tx, id)
}

func putBilling(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
	id, err := componentOf(tx, path)
	if err != nil {
		return nil, err
	}
	b, err := readBilling(tx, id)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: DataVolumeCap has numbers and CurrentBillingFeatures names.")
	}
	if b.Cap.Cap < 0 || b.Cap.Cap > b.Cap.Max || b.Cap.Warning < 0 || b.Cap.Warning > 100 {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "DataVolumeCap.Cap is between 0 and %v GB, DataVolumeCap.WarningThreshold between 0 and 100 percent.", b.Cap.Max)
	}
	value, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	_, err = tx.Put(kindBilling, id.Key(), value, store.Any)
	return b, err
}

// forgetBilling goes with its component.
func forgetBilling(_ context.Context, tx *rp.Tx, r *rp.Resource[Component]) error {
	err := tx.Delete(kindBilling, r.ID.Key(), store.Any)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
