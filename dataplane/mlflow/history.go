package mlflow

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/ml"
)

// Limits of the requests that read the metrics of many runs, as MLflow has them.
const (
	maxBulkRuns   = 100
	maxBulkPoints = 25000
	defaultPoints = 2500 // of an interval
)

type runMetric struct {
	metric
	Run string `json:"run_id"`
}

func (s *Service) history(ctx context.Context, c *request) (any, error) {
	ps, err := s.points(ctx, c, c.runID())
	if err != nil {
		return nil, err
	}
	out := make([]metric, len(ps))
	for i, p := range ps {
		out[i] = showMetric(p)
	}
	max, err := c.number("max_results", 0)
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(out, max, c.get("page_token"))
	return map[string]any{"metrics": page, "next_page_token": next}, err
}

// points is the history of metric_key of a run that the caller's token opens.
func (s *Service) points(ctx context.Context, c *request, run string) ([]ml.Metric, error) {
	if _, err := s.openRun(ctx, c, run); err != nil {
		return nil, err
	}
	key := c.get("metric_key")
	if key == "" {
		return nil, invalid("Missing value for required parameter 'metric_key'.")
	}
	return s.runs.History(ctx, c.ws.GUID, run, key)
}

// number is a query parameter that is a number, or otherwise.
func (c *request) number(name string, otherwise int) (int, error) {
	v := c.get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, invalid("Invalid value '" + v + "' for parameter '" + name + "' supplied: a number is expected.")
	}
	return n, nil
}

// bulkRuns are the runs that a request for many names.
func (c *request) bulkRuns(parameter string) ([]string, error) {
	var runs []string
	for _, v := range c.query[parameter] {
		runs = append(runs, strings.Split(v, ",")...)
	}
	if len(runs) == 0 {
		return nil, invalid("GetMetricHistoryBulk request must specify at least one run_id.")
	}
	if len(runs) > maxBulkRuns {
		return nil, invalid("GetMetricHistoryBulk request cannot specify more than 100 run_ids.")
	}
	return runs, nil
}

func (s *Service) historyBulk(ctx context.Context, c *request) (any, error) {
	runs, err := c.bulkRuns("run_id")
	if err != nil {
		return nil, err
	}
	limit, err := c.number("max_results", maxBulkPoints)
	if err != nil {
		return nil, err
	}
	out := []runMetric{}
	for _, run := range runs {
		ps, err := s.points(ctx, c, run)
		if err != nil {
			return nil, err
		}
		byStep(ps)
		for _, p := range ps {
			out = append(out, runMetric{showMetric(p), run})
		}
	}
	return map[string]any{"metrics": out[:max(0, min(limit, maxBulkPoints, len(out)))]}, nil
}

func byStep(ps []ml.Metric) {
	slices.SortStableFunc(ps, func(a, b ml.Metric) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Timestamp, b.Timestamp))
	})
}

// historyInterval answers the points of runs at steps that are sampled evenly, with the last step of each run.
func (s *Service) historyInterval(ctx context.Context, c *request) (any, error) {
	runs, err := c.bulkRuns("run_ids")
	if err != nil {
		return nil, err
	}
	n, err := c.number("max_results", defaultPoints)
	if err != nil {
		return nil, err
	}
	if n < 1 || n > defaultPoints {
		return nil, invalid("max_results must be between 1 and 2500.")
	}
	first, last, all, err := c.interval()
	if err != nil {
		return nil, err
	}
	histories := map[string][]ml.Metric{}
	steps := map[int64]bool{}
	for _, run := range runs {
		ps, err := s.points(ctx, c, run)
		if err != nil {
			return nil, err
		}
		for _, p := range ps {
			if all || p.Step >= first && p.Step <= last {
				histories[run] = append(histories[run], p)
				steps[p.Step] = true
			}
		}
	}
	kept := sample(slices.Sorted(maps.Keys(steps)), n)
	out := []runMetric{}
	for _, run := range runs {
		ps := histories[run]
		byStep(ps)
		for _, p := range ps {
			if kept[p.Step] || p.Step == ps[len(ps)-1].Step {
				out = append(out, runMetric{showMetric(p), run})
			}
		}
	}
	return map[string]any{"metrics": out}, nil
}

// interval is start_step and end_step; all when there are none.
func (c *request) interval() (first, last int64, all bool, err error) {
	from, to := c.get("start_step"), c.get("end_step")
	if (from == "") != (to == "") {
		return 0, 0, false, invalid("If either start step or end step are specified, both must be specified.")
	}
	if from == "" {
		return 0, 0, true, nil
	}
	a, err := c.number("start_step", 0)
	if err != nil {
		return 0, 0, false, err
	}
	b, err := c.number("end_step", 0)
	if err == nil && a > b {
		err = invalid("end_step must be greater than start_step. Found start_step=" + from + " and end_step=" + to + ".")
	}
	return int64(a), int64(b), false, err
}

// sample chooses n steps with equal distances, the first and the last among them.
func sample(steps []int64, n int) map[int64]bool {
	kept := map[int64]bool{}
	if len(steps) <= n {
		for _, s := range steps {
			kept[s] = true
		}
		return kept
	}
	for i := range n {
		kept[steps[i*len(steps)/n]] = true
	}
	kept[steps[len(steps)-1]] = true
	return kept
}
