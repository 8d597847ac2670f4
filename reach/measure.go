package reach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"
)

// World is a running region, as far as measuring needs it. Its methods are called by many goroutines.
type World interface {
	// Probe makes the connections from a place, by a process that stands there, and returns a result for
	// each. An error says that no process could be started there.
	Probe(ctx context.Context, p Place, targets []Target) ([]Result, error)
	// Explain asks the model.
	Explain(ctx context.Context, p Place, host string, port uint16) (Model, error)
	// Counters tells how many packets each rule has dropped.
	Counters(ctx context.Context) (map[Rule]uint64, error)
	// Token is a bearer token for an audience.
	Token(ctx context.Context, audience string) (string, error)
}

// clean is how often a dropped connection is tried again to see its rule's counter rise by it alone: other
// packets may meet a rule at the same time.
const clean = 3

// retryMS is how long such a connection waits for an answer: the kernel repeats a SYN after a second.
const retryMS = 1300

// Measure makes every connection of the scenario and judges the cells. All connections are tried at once;
// those that are dropped then again, one at a time, between two looks at the counters. What cannot be
// measured stands in its cell; the error is ctx's.
func Measure(ctx context.Context, w World, s Scenario) (*Table, error) {
	t := &Table{Mode: s.Mode, Places: s.Places, Things: s.Things}
	for _, thing := range s.Things {
		for _, place := range s.Places {
			c := Cell{Place: place.ID, Thing: thing.ID}
			if e, ok := s.Expect[[2]string{place.ID, thing.ID}]; ok {
				c.Expected = &e
			}
			t.Cells = append(t.Cells, c)
		}
	}
	m := measuring{world: w, table: t}
	m.sign(ctx)
	var wg sync.WaitGroup
	for _, p := range s.Places {
		wg.Go(func() { m.place(ctx, p) })
	}
	wg.Wait()
	m.drops(ctx)
	for i := range t.Cells {
		t.Cells[i].Judge()
	}
	return t, ctx.Err()
}

type measuring struct {
	world   World
	table   *Table
	targets map[string]Target // by thing, with tokens
	missing map[string]string // by thing: why it has no token
}

// sign makes the targets ready: each audience's token is got once.
func (m *measuring) sign(ctx context.Context) {
	m.targets, m.missing = map[string]Target{}, map[string]string{}
	tokens := map[string]string{}
	for _, thing := range m.table.Things {
		t := thing.Target
		if t.Token != "" {
			if tokens[t.Token] == "" {
				token, err := m.world.Token(ctx, t.Token)
				if err != nil {
					m.missing[thing.ID] = fmt.Sprintf("token for %s: %v", t.Token, err)
					continue
				}
				tokens[t.Token] = token
			}
			t.Headers = maps.Clone(t.Headers)
			if t.Headers == nil {
				t.Headers = map[string]string{}
			}
			t.Headers["Authorization"] = "Bearer " + tokens[t.Token]
		}
		if t.Kind != HTTP && t.Address == "" {
			m.missing[thing.ID] = "it is not up: it has no address"
		}
		t.Name = thing.ID
		m.targets[thing.ID] = t
	}
}

// place measures all cells of a place.
func (m *measuring) place(ctx context.Context, p Place) {
	var cells []*Cell
	var targets []Target
	for i := range m.table.Cells {
		c := &m.table.Cells[i]
		if c.Place != p.ID || c.Expected == nil {
			continue
		}
		c.Measured = &Measurement{Outcome: NotMeasured, Failure: m.missing[c.Thing]}
		if c.Measured.Failure == "" {
			cells, targets = append(cells, c), append(targets, m.targets[c.Thing])
		}
	}
	if len(cells) == 0 {
		return
	}
	var results []Result
	err := errors.New("there is no such place: it is not up")
	if p.From != "" {
		results, err = m.world.Probe(ctx, p, targets)
	}
	if err == nil && len(results) != len(targets) {
		err = fmt.Errorf("%d results of %d connections", len(results), len(targets))
	}
	for i, c := range cells {
		if err != nil {
			c.Measured.Failure = err.Error()
			continue
		}
		c.Measured.Result, c.Measured.Outcome = results[i], results[i].Outcome()
		m.explain(ctx, p, c)
	}
}

func (m *measuring) explain(ctx context.Context, p Place, c *Cell) {
	host, port, err := m.targets[c.Thing].endpoint()
	if err == nil {
		c.Measured.Model, err = m.world.Explain(ctx, p, host, port)
	}
	if err != nil {
		c.Measured.Failure = "explain: " + err.Error()
	}
}

// endpoint is what the target connects to.
func (t Target) endpoint() (host string, port uint16, err error) {
	addr := t.Address
	if t.Kind == HTTP {
		u, err := url.Parse(t.URL)
		if err != nil {
			return "", 0, err
		}
		addr = u.Host
		if u.Port() == "" {
			addr = net.JoinHostPort(u.Hostname(), u.Scheme) // https, http: the port's name
		}
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := net.LookupPort("tcp", text)
	return host, uint16(n), err
}

// drops tries the dropped connections again, each alone.
func (m *measuring) drops(ctx context.Context) {
	for i := range m.table.Cells {
		c := &m.table.Cells[i]
		if c.Measured == nil || c.Measured.Outcome != Dropped || ctx.Err() != nil {
			continue
		}
		j := slices.IndexFunc(m.table.Places, func(p Place) bool { return p.ID == c.Place })
		for range clean {
			if err := m.alone(ctx, m.table.Places[j], c); err != nil {
				c.Measured.Failure = err.Error()
				break
			}
			if r := c.Measured.Rose; len(r) == 1 && r[0].Packets == c.Measured.Result.Sent || c.Measured.Outcome != Dropped {
				break
			}
		}
	}
}

// alone tries one connection between two looks at the counters.
func (m *measuring) alone(ctx context.Context, p Place, c *Cell) error {
	before, err := m.world.Counters(ctx)
	if err != nil {
		return fmt.Errorf("counters: %w", err)
	}
	t := m.targets[c.Thing]
	t.ConnectMS = retryMS
	results, err := m.world.Probe(ctx, p, []Target{t})
	if err != nil {
		return err
	}
	after, err := m.world.Counters(ctx)
	if err != nil {
		return fmt.Errorf("counters: %w", err)
	}
	if len(results) != 1 {
		return fmt.Errorf("%d results of one connection", len(results))
	}
	c.Measured.Result, c.Measured.Outcome = results[0], results[0].Outcome()
	c.Measured.Rose = Rose(before, after)
	return nil
}

// Rose lists the counters that rose, the highest rise first.
func Rose(before, after map[Rule]uint64) (out []Rise) {
	for r, n := range after {
		if n > before[r] {
			out = append(out, Rise{r, n - before[r]})
		}
	}
	slices.SortFunc(out, func(a, b Rise) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Rule.String(), b.Rule.String()))
	})
	return out
}
