package conformance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Run plays all cases: recordings scenario by scenario, in order, and each example alone in groups of its own, after
// what it takes for granted was made. Cases that are not wanted only tell how resources are made. progress is told each
// result. An error says that the region did not answer.
func Run(ctx context.Context, r *Region, cases []Case, wanted func(Case) bool, progress func(Result)) ([]Result, error) {
	known := newCorpus(cases)
	var results []Result
	add := func(c Case, diffs []string) {
		res := Result{c, diffs}
		results = append(results, res)
		progress(res)
	}
	var s *seeder
	scenario := ""
	for i, c := range cases {
		if !wanted(c) {
			continue
		}
		if s == nil || !c.Recorded || c.Scenario != scenario {
			if s != nil {
				if err := s.clean(ctx); err != nil {
					return results, err
				}
			}
			scenario = c.Scenario
			s = &seeder{Region: r, corpus: known, w: r.world(), made: map[string]bool{}, inner: map[string][]string{}, shown: map[string]*maker{}}
			s.w.suffix = "c" + strconv.Itoa(i)
		}
		diffs, err := s.one(ctx, c)
		if err != nil {
			return results, fmt.Errorf("%s %s: %w", c.Method, c.Path, err)
		}
		add(c, diffs)
	}
	if s != nil {
		return results, s.clean(ctx)
	}
	return results, nil
}

func (r *Region) world() *world {
	return &world{subscription: r.Subscription, tenant: r.Tenant, principal: r.ObjectID, location: r.Location, names: map[string]string{}}
}

func (s *seeder) one(ctx context.Context, c Case) ([]string, error) {
	if c.Host != managementHost {
		return s.plane(ctx, c)
	}
	if !c.Recorded {
		if err := s.prepare(ctx, c); err != nil {
			return nil, err
		}
	} else {
		s.w.rename(c.Path)
		if err := s.stood(ctx, c); err != nil {
			return nil, err
		}
		if err := s.framed(ctx, c); err != nil {
			return nil, err
		}
	}
	diffs, err := s.play(ctx, s.w, c)
	if path, _, _ := strings.Cut(c.Path, "?"); !c.Recorded && c.Method == http.MethodPut && err == nil && len(diffs) == 1 && strings.HasPrefix(diffs[0], "status 4") {
		// An example may change what it takes for granted: then that is there before.
		if err := s.ensure(ctx, path); err != nil {
			return nil, err
		}
		before := "without it: " + diffs[0]
		if diffs, err = s.play(ctx, s.w, c); len(diffs) > 0 {
			diffs = append(diffs, before)
		}
	}
	if !c.Recorded && c.Method == http.MethodPost && err == nil && len(diffs) == 1 && strings.HasPrefix(diffs[0], "status 400") {
		diffs, err = s.otherwise(ctx, c, diffs)
	}
	if len(diffs) > 0 && !c.Recorded {
		diffs = append(diffs, s.refused...)
	}
	return diffs, err
}

// stood makes the group that a recorded request was answered in, unless the recording makes it itself: the frames of
// tests had made it before.
func (s *seeder) stood(ctx context.Context, c Case) error {
	path, _, _ := strings.Cut(c.Path, "?")
	if own := strings.ToLower(s.w.path(path)); c.Method == http.MethodPut && strings.Count(own, "/") == 4 && !strings.Contains(own, "/providers/") {
		s.made[own] = true
		return nil
	}
	if c.Status >= http.StatusBadRequest && c.Method != http.MethodPut {
		return nil
	}
	return s.group(ctx, path)
}

// framed makes what a recorded PUT names and no request of any recording makes: the frames of tests had made it before.
func (s *seeder) framed(ctx context.Context, c Case) error {
	if c.Method != http.MethodPut || c.Status >= http.StatusBadRequest {
		return nil
	}
	for _, id := range ids(c.Request) {
		if _, known := s.basic(typeOf(id), id); !known || s.recorded[strings.ToLower(id)] || parent(id) != "" {
			continue
		}
		if err := s.ensure(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// clean removes the groups of a scenario, for which nobody waits, and what was made outside of them.
func (s *seeder) clean(ctx context.Context) error {
	for _, url := range slices.Backward(s.beyond) {
		if _, err := s.send(ctx, http.MethodDelete, url, nil); err != nil {
			return err
		}
	}
	for id := range s.made {
		if strings.Contains(id, "/providers/") || strings.Count(id, "/") != 4 {
			continue
		}
		if _, err := s.send(ctx, http.MethodDelete, "https://"+managementHost+id+"?api-version=2021-04-01", nil); err != nil {
			return err
		}
	}
	return nil
}
