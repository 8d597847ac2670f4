package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"vauban.dev/authz"
	"vauban.dev/bench"
	"vauban.dev/entra"
	"vauban.dev/entra/directory"
	"vauban.dev/internal/clock"
	"vauban.dev/policy"
	"vauban.dev/store"
	"vauban.dev/store/sqlite"
)

// The size of a large tenant, and how often each figure's work is done.
const (
	benchAssignments = 10_000
	benchPolicies    = 300
	authzRounds      = 2000
	tokenRounds      = 300
)

// authzMeasurements are what a request pays for being judged, in processor time of this process.
func (b *benchmark) authzMeasurements() []bench.Measurement {
	return []bench.Measurement{
		{Name: "authz-decision", About: "the roles' and policies' decision on a write: 10,000 assignments, 300 policies", Do: b.decisions},
		{Name: "authz-token", About: "an access token verified, seen for the first time and again", Do: b.tokens},
	}
}

// processor is the processor time that a call of f takes, in milliseconds: the mean over n calls.
func processor(n int, f func(i int) error) (float64, error) {
	runtime.GC()
	before, err := processorTime()
	if err != nil {
		return 0, err
	}
	for i := range n {
		if err := f(i); err != nil {
			return 0, err
		}
	}
	after, err := processorTime()
	return float64((after - before).Nanoseconds()) / 1e6 / float64(n), err
}

func processorTime() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

const benchSubscription = "/subscriptions/11111111-1111-1111-1111-111111111111"

func (b *benchmark) decisions(ctx context.Context, add func(bench.Figure) error) error {
	const scope = benchSubscription + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/data"
	caller := authz.Principal{ObjectID: "caller"}
	for i := range 20 {
		caller.Groups = append(caller.Groups, fmt.Sprint("group", i))
	}
	spread, own := new(authz.Index), new(authz.Index)
	body := map[string]any{}
	for i := range benchAssignments {
		who := fmt.Sprint("p", i%1000)
		if i%100 == 0 { // a hundred are the caller's, by way of groups
			who = caller.Groups[i/100%20]
		}
		a := authz.Assignment{ID: fmt.Sprint("/a", i), PrincipalID: who, Definition: authz.AzureMLDataScientist, Scope: fmt.Sprint(benchSubscription, "/resourceGroups/g", i)}
		spread.Put(a)
		a.PrincipalID = caller.ObjectID
		own.Put(a)
		body[a.ID] = a.Scope
	}
	grant := authz.Assignment{ID: "/last", PrincipalID: caller.Groups[19], Definition: authz.Contributor, Scope: benchSubscription}
	spread.Put(grant)
	own.Put(grant)
	index, err := benchPolicyIndex() // compiled: a region does it once
	if err != nil {
		return err
	}
	resource := &policy.Resource{ID: scope, Type: "Microsoft.Storage/storageAccounts", Name: "data", FullName: "data", Tracked: true}
	if err := json.Unmarshal([]byte(`{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"},"tags":{"a":"b"},"properties":{"allowBlobPublicAccess":false,"minimumTlsVersion":"TLS1_2","publicNetworkAccess":"Disabled"}}`), &resource.Body); err != nil {
		return err
	}
	request := authz.Request{Action: "Microsoft.Storage/storageAccounts/write", Scope: scope}
	scopes := []string{benchSubscription}
	look := func(int) error { // the reference: finding the caller's and each group's assignments
		if _, ok := body["/a100"]; !ok {
			return errors.New("the assignment is gone")
		}
		return nil
	}
	for _, c := range []struct {
		name     string
		source   authz.Source
		policies bool
	}{
		{"roles: 10,000 assignments", spread, false},
		{"roles: 10,000 assignments, all of the caller", own, false},
		{"roles and policies: 10,000 assignments, 300 policies", spread, true},
	} {
		e := &authz.Evaluator{Source: c.source}
		took, err := processor(authzRounds, func(int) error {
			d, err := e.Check(ctx, caller, request)
			if err == nil && !d.Allowed {
				err = errors.New(d.By)
			}
			if c.policies {
				index.Write(&policy.RequestContext{Now: time.Now()}, scopes, resource, false)
			}
			return err
		})
		if err != nil {
			return err
		}
		reference, err := processor(authzRounds*100, look)
		if err != nil {
			return err
		}
		if err := add(bench.Figure{Name: c.name, Value: took, Unit: "ms CPU", Reference: bench.Reference{Name: "a map look-up", Value: reference}, Ratio: took / reference,
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 0.3}}); err != nil {
			return err
		}
	}
	return nil
}

// benchPolicyIndex has 300 assignments of Azure's own definitions, those that need no parameters.
func benchPolicyIndex() (*policy.Index, error) {
	var assignments []*policy.Assignment
	for round := 0; len(assignments) < benchPolicies; round++ {
		before := len(assignments)
		for i, d := range policy.Builtins() {
			a := &policy.Assignment{ID: fmt.Sprintf("%s/providers/Microsoft.Authorization/policyAssignments/p%d-%d", benchSubscription, round, i), DefinitionID: d.ID, Scope: benchSubscription}
			bound, err := policy.Bind(builtinPolicies{}, a)
			if err != nil || len(bound) != 1 || bound[0].Broken != nil {
				continue
			}
			if assignments = append(assignments, a); len(assignments) == benchPolicies {
				break
			}
		}
		if len(assignments) == before {
			return nil, errors.New("no built-in policy can be assigned without parameters")
		}
	}
	return policy.NewIndex(builtinPolicies{}, assignments, nil, func(string, string) bool { return false }), nil
}

type builtinPolicies struct{}

func (builtinPolicies) Definition(id, _ string) (*policy.Compiled, error) {
	d, ok := policy.FindBuiltin(filepath.Base(id))
	if !ok {
		return nil, fmt.Errorf("there is no policy %s", id)
	}
	return d.Compile()
}

func (builtinPolicies) Set(id, _ string) (*policy.SetDefinition, error) {
	return nil, fmt.Errorf("there is no initiative %s", id)
}

func (b *benchmark) tokens(ctx context.Context, add func(bench.Figure) error) (err error) {
	db, err := sqlite.Open(filepath.Join(b.dir, "tokens.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	dir, err := entra.New(ctx, db, new(clock.Region), directory.Options{})
	if err != nil {
		return err
	}
	var who directory.ServicePrincipal
	err = db.Update(ctx, func(tx store.Tx) (err error) {
		who, _, err = dir.CreateServicePrincipal(tx, "bench")
		return err
	})
	if err != nil {
		return err
	}
	var tokens []string
	for range tokenRounds {
		t, err := dir.IssueFor(ctx, who.ObjectID, entra.AudienceARM)
		if err != nil {
			return err
		}
		tokens = append(tokens, t.AccessToken)
	}
	verify := func(i int) error {
		_, err := dir.Verify(ctx, tokens[i%tokenRounds], entra.AudienceARM)
		return err
	}
	signature, err := benchSignature()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name   string
		rounds int
	}{{"token: seen for the first time", tokenRounds}, {"token: seen again", authzRounds}} {
		took, err := processor(c.rounds, verify)
		if err != nil {
			return err
		}
		reference, err := processor(tokenRounds, signature)
		if err != nil {
			return err
		}
		if err := add(bench.Figure{Name: c.name, Value: took, Unit: "ms CPU", Reference: bench.Reference{Name: "an RS256 signature alone", Value: reference}, Ratio: took / reference,
			Target: bench.Target{On: bench.OnValue, Bound: bench.AtMost, Limit: 0.1}}); err != nil {
			return err
		}
	}
	return nil
}

// benchSignature verifies one signature as tokens have it.
func benchSignature() (func(int) error, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("vauban"))
	signed, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	return func(int) error { return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signed) }, err
}
