package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/door"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/bench"
	"vauban.dev/bench/limit"
	"vauban.dev/bench/scenario"
	"vauban.dev/internal/clock"
	"vauban.dev/provider/objects"
	"vauban.dev/provider/resources"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

const (
	listed        = 100_000 // resources of a large subscription
	listedAtATime = 1000    // in a page, and in a transaction that makes them
	templateSize  = 100     // resources of a template
)

// armMeasurements are those of Resource Manager that need no region.
func (b *benchmark) armMeasurements() []bench.Measurement {
	return []bench.Measurement{
		{Name: "arm-list", About: "Resource Manager: pages of 1,000 of 100,000 resources", Do: b.armList},
	}
}

// everything is an authorizer that refuses nobody: roles are measured by themselves.
type everything struct{}

func (everything) Check(context.Context, authz.Principal, authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: true}, nil
}

// armList measures the first page and one in the middle, as the door answers them, beside reading their documents.
func (b *benchmark) armList(ctx context.Context, add func(bench.Figure) error) (err error) {
	db, err := sqlite.Open(filepath.Join(b.dir, "list.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	e := rp.New(rp.Config{Store: db, Clock: &clock.Region{}})
	if err := e.Register(append(objects.New().Types(), resources.New(resources.Tenant{}, nil, nil).Types()...)...); err != nil {
		return err
	}
	if err := seedList(ctx, e); err != nil {
		return err
	}
	d, err := door.New(door.Config{Engine: e, Authenticator: authenticate(nil), Authorizer: everything{}, Clock: &clock.Region{}})
	if err != nil {
		return err
	}
	ask := door.Inside{Caller: authz.Principal{ObjectID: "caller"}, Method: http.MethodGet, Path: benchSubscription + "/resources", Version: "2021-04-01", Query: url.Values{}}
	page := func(ctx context.Context) (float64, error) {
		began := time.Now()
		a, err := d.Do(ctx, ask)
		took := time.Since(began)
		var body struct{ Value []json.RawMessage }
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("%d: %s", a.Status, a.Body)
		}
		if err == nil {
			err = json.Unmarshal(a.Body, &body)
		}
		if err == nil && len(body.Value) != listedAtATime {
			err = fmt.Errorf("a page of %d", len(body.Value))
		}
		return float64(took) / float64(time.Millisecond), err
	}
	bare := func(ctx context.Context) (float64, error) {
		began, n := time.Now(), 0
		err := db.View(ctx, func(tx store.Tx) error {
			return tx.Scan(rp.StoreKind(objects.AvailabilitySetType), "", "", func(store.Doc) bool { n++; return n < listedAtATime })
		})
		return float64(time.Since(began)) / float64(time.Millisecond), err
	}
	for _, at := range []string{"the first", "one in the middle"} {
		as, bs, err := bench.Interleave(ctx, 10, page, bare)
		if err != nil {
			return err
		}
		err = add(bench.Pair(as, bs, func(v float64) float64 { return v }).Figure("ARM list, a page of 1,000 of 100,000 resources: "+at, "ms", "reading 1,000 documents",
			bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 50}))
		if err != nil {
			return err
		}
		if ask.Query, err = pageAfter(ctx, d, ask, 50); err != nil {
			return err
		}
	}
	return nil
}

// seedList makes a subscription and its resources, in ten groups.
func seedList(ctx context.Context, e *rp.Engine) error {
	id, err := arm.ParseID(benchSubscription)
	if err != nil {
		return err
	}
	if err := e.Update(ctx, func(tx *rp.Tx) error {
		return rp.Save(tx, &rp.Resource[resources.Subscription]{ID: id, State: arm.Succeeded})
	}); err != nil {
		return err
	}
	for at := 0; at < listed; at += listedAtATime {
		if err := e.Update(ctx, func(tx *rp.Tx) error {
			for n := at; n < at+listedAtATime; n++ {
				id, err := arm.ParseID(fmt.Sprintf("%s/resourceGroups/g%d/providers/%s/set%06d", benchSubscription, n/(listed/10), objects.AvailabilitySetType, n))
				if err != nil {
					return err
				}
				if err := rp.Save(tx, &rp.Resource[objects.AvailabilitySet]{ID: id, Location: "westeurope", Tags: map[string]string{"made-by": "bench"}, State: arm.Succeeded}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// pageAfter is the query of the page that follows n others.
func pageAfter(ctx context.Context, d *door.Door, ask door.Inside, n int) (url.Values, error) {
	for range n {
		a, err := d.Do(ctx, ask)
		if err != nil {
			return nil, err
		}
		var body struct{ NextLink string }
		if err := json.Unmarshal(a.Body, &body); err != nil {
			return nil, err
		}
		next, err := url.Parse(body.NextLink)
		if err != nil {
			return nil, err
		}
		ask.Query = next.Query()
	}
	return ask.Query, nil
}

// armTemplate deploys a template of a hundred resources, beside as many durable rows.
func (c *benchClient) armTemplate(ctx context.Context) error {
	token, err := c.token(ctx, "https://management.azure.com")
	if err != nil {
		return err
	}
	arms := scenario.Client{HTTP: c.http, Base: "https://management.azure.com", Token: token}
	group := "/subscriptions/" + c.values["subscription"] + "/resourceGroups/arm-template"
	if _, err := arms.Provision(ctx, []scenario.Stage{{Requests: []scenario.Request{{Path: group + "?api-version=2024-11-01", Body: json.RawMessage(`{"location":"` + c.values["location"] + `"}`)}}}}, c.values); err != nil {
		return err
	}
	ours := func(ctx context.Context) (float64, error) {
		at := fmt.Sprintf("%s/providers/Microsoft.Resources/deployments/d%d", group, time.Now().UnixNano())
		began := time.Now()
		_, err := arms.Provision(ctx, []scenario.Stage{{Requests: []scenario.Request{{Path: at + "?api-version=2024-11-01", Body: json.RawMessage(hundred)}}}}, c.values)
		return time.Since(began).Seconds(), err
	}
	row, err := c.limitRequest(http.MethodPut, limit.PathRow+"template", bytes.Repeat([]byte("a"), 1500))
	if err != nil {
		return err
	}
	bare := func(ctx context.Context) (float64, error) {
		began := time.Now()
		for range templateSize {
			if err := once(ctx, c.limit.HTTPS, c.limit.TLS, row, http.StatusCreated); err != nil {
				return 0, err
			}
		}
		return time.Since(began).Seconds(), nil
	}
	as, bs, err := bench.Interleave(ctx, rateRounds, ours, bare)
	if err != nil {
		return err
	}
	return c.print(bench.Pair(as, bs, func(v float64) float64 { return v }).Figure("ARM template of 100 resources, whole", "s", "minimal Go, 100 durable rows",
		bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 2}))
}

// hundred is the template: security groups, route tables, addresses and identities, a new name each time.
var hundred = func() string {
	t := `{"properties":{"mode":"Incremental","template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","variables":{"at":"[uniqueString(deployment().name)]"},"resources":[`
	var all []string
	for _, kind := range []struct{ name, version, rest string }{
		{"Microsoft.Network/networkSecurityGroups", vBenchNetwork, `,"properties":{"securityRules":[]}`},
		{"Microsoft.Network/routeTables", vBenchNetwork, `,"properties":{"routes":[]}`},
		{"Microsoft.Network/applicationSecurityGroups", vBenchNetwork, `,"properties":{}`},
		{"Microsoft.ManagedIdentity/userAssignedIdentities", "2023-01-31", ""},
	} {
		all = append(all, fmt.Sprintf(`{"type":%q,"apiVersion":%q,"name":"[concat('r', variables('at'), copyIndex())]","location":"[resourceGroup().location]","copy":{"name":%q,"count":%d}%s}`,
			kind.name, kind.version, filepath.Base(kind.name), templateSize/4, kind.rest))
	}
	return t + strings.Join(all, ",") + `]}}}`
}()

const vBenchNetwork = "2023-09-01"
