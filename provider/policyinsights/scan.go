package policyinsights

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
	"vauban.dev/provider/policy"
	"vauban.dev/store"
)

// stateKind are the documents that hold the latest states of a resource, by its lower-case id.
const stateKind = "policy.state"

// cycle is how old states become before everything is evaluated again, as Azure does once a day.
const cycle = 24 * time.Hour

// scanner keeps the states of resources equal to what the index says of them. What changed in the store is noted by
// Run; a scan evaluates it. Queries scan first what is noted, so that they never answer from before a write that was
// acknowledged.
type scanner struct {
	p *Provider

	scanning sync.Mutex // one scan at a time

	mu     sync.Mutex
	dirty  map[string]bool // lower-case ids of groups and subscriptions; "" is everything
	seen   int64           // version of the store up to which changes are noted
	wake   chan struct{}   // closed and replaced when seen or dirty change
	follow bool            // Run is under way
	full   time.Time       // the latest scan of everything
}

func newScanner(p *Provider) *scanner {
	return &scanner{p: p, dirty: map[string]bool{"": true}, wake: make(chan struct{})}
}

// Run follows the store until ctx ends: what changed is scanned, and what deployIfNotExists asks for is deployed.
func (p *Provider) Run(ctx context.Context) {
	global := map[string]bool{}
	for _, t := range []string{policy.DefinitionType, policy.DefinitionVersionType, policy.SetType, policy.SetVersionType, policy.AssignmentType, policy.ExemptionType, AttestationType} {
		global[rp.StoreKind(t)] = true
	}
	s := p.scans
	watch, stop := context.WithCancel(ctx)
	defer stop()
	changes := p.cfg.Store.Watch(watch, append(append(p.engine.StoreKinds(), rp.EventKind), p.cfg.Kinds...)...)
	s.mu.Lock()
	// What was written before the watch began is never told by it: everything is scanned once.
	s.seen, s.dirty[""], s.follow = p.cfg.Store.Changed(), true, true
	s.notify()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.follow = false
		s.notify()
		s.mu.Unlock()
	}()
	work := make(chan struct{}, 1)
	work <- struct{}{}
	var wg sync.WaitGroup
	wg.Go(func() { p.work(watch, work) })
	defer wg.Wait()
	defer stop()
	for cs := range changes {
		s.note(cs, global)
		select {
		case work <- struct{}{}:
		default:
		}
	}
}

// work scans what was noted, whenever there is something.
func (p *Provider) work(ctx context.Context, wake <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
		if err := p.scans.scan(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			p.cfg.Log.Error("policy scan", "err", err)
		}
		next, err := p.deployDue(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
			p.cfg.Log.Error("policy deployments", "err", err)
		}
		if !next.IsZero() {
			timer.Reset(next.Sub(p.cfg.Clock.Now()))
		}
	}
}

// note remembers what changed.
func (s *scanner) note(cs []store.Change, global map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cs {
		s.seen = max(s.seen, c.Version)
		switch {
		case c.Kind == rp.EventKind:
			s.p.noteEvent(c)
		case slices.Contains(s.p.cfg.Kinds, c.Kind):
		case global[c.Kind]:
			s.dirty[""] = true
		default:
			s.dirty[place(c.Key)] = true
		}
	}
	s.notify()
}

// notify wakes those who wait for a change of s; s.mu is held.
func (s *scanner) notify() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// place is the resource group of an id, or its subscription: what is evaluated together.
func place(key string) string {
	parts := strings.SplitN(strings.TrimPrefix(key, "/"), "/", 5)
	switch {
	case len(parts) >= 4 && parts[0] == "subscriptions" && parts[2] == "resourcegroups":
		return "/" + strings.Join(parts[:4], "/")
	case len(parts) >= 2 && parts[0] == "subscriptions":
		return "/" + strings.Join(parts[:2], "/")
	}
	return ""
}

// settle scans what was written before the call, and everything when the latest scan of it is a cycle ago.
func (s *scanner) settle(ctx context.Context) error {
	want := s.p.cfg.Store.Changed(s.p.engine.StoreKinds()...)
	for {
		s.mu.Lock()
		if !s.follow { // nobody notes changes
			s.dirty[""] = true
		}
		if s.p.cfg.Clock.Now().Sub(s.full) >= cycle {
			s.dirty[""] = true
		}
		ready, wake := !s.follow || s.seen >= want, s.wake
		s.mu.Unlock()
		if ready {
			return s.scan(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

// everything has the whole region evaluated, and waits for it.
func (s *scanner) everything(ctx context.Context) error {
	s.mu.Lock()
	s.dirty[""] = true
	s.mu.Unlock()
	return s.settle(ctx)
}

// scan evaluates what is noted. What cannot be evaluated stays noted.
func (s *scanner) scan(ctx context.Context) error {
	s.scanning.Lock()
	defer s.scanning.Unlock()
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[string]bool{}
	s.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	scopes := slices.Sorted(maps.Keys(dirty))
	if dirty[""] {
		scopes = []string{"/"}
	}
	for _, scope := range scopes {
		if err := s.p.scanScope(ctx, scope); err != nil {
			s.mu.Lock()
			maps.Copy(s.dirty, dirty)
			s.mu.Unlock()
			return err
		}
	}
	if dirty[""] {
		s.mu.Lock()
		s.full = s.p.cfg.Clock.Now()
		s.mu.Unlock()
	}
	return nil
}

// states is the document of a resource.
type states struct {
	ResourceID string          `json:"resourceId"`
	Records    []policy.Record `json:"records"`
}

// scanScope evaluates the resources at and under a scope and writes what is different.
func (p *Provider) scanScope(ctx context.Context, scope string) error {
	id, err := arm.ParseID(scope)
	if err != nil {
		return err
	}
	index, err := p.cfg.Policies.Index(ctx)
	if err != nil {
		return err
	}
	found, before := map[string]states{}, map[string]states{}
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		if before, err = readStates(tx, id); err != nil {
			return err
		}
		return p.evaluate(ctx, tx, index, id, found)
	})
	if err != nil {
		return err
	}
	return p.writeStates(ctx, found, before)
}

func readStates(tx *rp.Tx, scope arm.ID) (map[string]states, error) {
	all := map[string]states{}
	prefix := scope.Key()
	if prefix == "/" {
		prefix = ""
	}
	var bad error
	err := tx.Scan(stateKind, prefix, "", func(d store.Doc) bool {
		if rest := d.Key[len(prefix):]; rest != "" && rest[0] != '/' {
			return true
		}
		var s states
		bad = json.Unmarshal(d.Value, &s)
		all[d.Key] = s
		return bad == nil
	})
	return all, errors.Join(err, bad)
}

// evaluate asks the index about every resource that anything in force could concern.
func (p *Provider) evaluate(ctx context.Context, tx *rp.Tx, index *rules.Index, scope arm.ID, found map[string]states) error {
	attested, err := readAttestations(tx)
	if err != nil {
		return err
	}
	concerned := func(typeName string) bool { return index.Concerns(policy.TypeName(typeName)) }
	return rp.EachDocumentOf(ctx, tx, scope, concerned, func(doc *rp.Document) error {
		records, err := p.evaluateOne(ctx, tx, index, doc, attested)
		if err == nil && len(records) > 0 {
			found[doc.ID.Key()] = states{ResourceID: doc.ID.String(), Records: records}
		}
		return err
	})
}

func (p *Provider) evaluateOne(ctx context.Context, tx *rp.Tx, index *rules.Index, doc *rp.Document, attested []attestation) ([]policy.Record, error) {
	scopes, err := p.cfg.Policies.Enclosing(ctx, doc.ID)
	if err != nil {
		return nil, err
	}
	res := policy.NewResource(doc.ID, doc.Type, doc.Kind, doc.Body)
	rc := p.cfg.Policies.ScanContext(ctx, doc.ID, doc.Version)
	rc.Now = tx.Now
	var records []policy.Record
	for _, s := range index.Scan(rc, scopes, res, related(ctx, tx), attestedBy(attested, scopes, tx.Now)) {
		records = append(records, policy.NewRecord(s.Finding, res, s.Compliance, tx.Now))
	}
	return records, nil
}

// related finds the resources that auditIfNotExists and deployIfNotExists look for.
func related(ctx context.Context, tx *rp.Tx) rules.Related {
	return func(q rules.Query) ([]*rules.Resource, error) {
		scope, err := arm.ParseID(q.Scope)
		if err != nil {
			return nil, err
		}
		typ := q.Type
		if strings.EqualFold(typ, "Microsoft.Resources/subscriptions/resourceGroups") {
			typ = "Microsoft.Resources/resourceGroups"
		}
		if !strings.Contains(typ, "/") {
			return nil, nil
		}
		var found []*rules.Resource
		err = rp.EachDocument(ctx, tx, scope, typ, func(doc *rp.Document) error {
			res := policy.NewResource(doc.ID, doc.Type, doc.Kind, doc.Body)
			if named(res, q.Name) {
				found = append(found, res)
			}
			return nil
		})
		return found, err
	}
}

// named compares a resource's name with that of a query: the last name, the full one, or parent/? for all of a parent.
func named(res *rules.Resource, name string) bool {
	switch parent, all := strings.CutSuffix(name, "/?"); {
	case name == "" || name == "?":
		return true
	case all:
		cut := strings.LastIndexByte(res.FullName, '/')
		return cut >= 0 && strings.EqualFold(res.FullName[:cut], parent)
	case strings.Contains(name, "/"):
		return strings.EqualFold(res.FullName, name)
	}
	return strings.EqualFold(res.Name, name)
}

// writeStates writes the documents that differ; a record that says what it said keeps its time, for a cycle.
func (p *Provider) writeStates(ctx context.Context, found, before map[string]states) error {
	var put, gone []string
	for key, s := range found {
		if same := keepTimes(s.Records, before[key].Records, p.cfg.Clock.Now()); !same {
			put = append(put, key)
		}
	}
	for key := range before {
		if _, still := found[key]; !still {
			gone = append(gone, key)
		}
	}
	if len(put)+len(gone) == 0 {
		return nil
	}
	return p.engine.Update(ctx, func(tx *rp.Tx) error {
		for _, key := range put {
			b, err := json.Marshal(found[key])
			if err != nil {
				return err
			}
			if _, err := tx.Put(stateKind, key, b, store.Any); err != nil {
				return err
			}
		}
		for _, key := range gone {
			if err := tx.Delete(stateKind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// keepTimes gives records their times from before where nothing else changed, and says whether that is so of all.
func keepTimes(now, before []policy.Record, at time.Time) bool {
	same := len(now) == len(before)
	for i := range now {
		if i >= len(before) || at.Sub(before[i].Timestamp) >= cycle {
			same = false
			continue
		}
		r := before[i]
		r.Timestamp = now[i].Timestamp
		a, _ := json.Marshal(r)
		b, _ := json.Marshal(now[i])
		if string(a) != string(b) {
			same = false
			continue
		}
		now[i].Timestamp = before[i].Timestamp
	}
	return same
}
