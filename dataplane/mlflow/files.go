package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"vauban.dev/ml"
)

type fileInfo struct {
	Path string `json:"path"`
	Dir  bool   `json:"is_dir"`
	Size *int64 `json:"file_size,omitempty"`
}

// listArtifacts lists what lies directly below a path of a run's artifacts.
func (s *Service) listArtifacts(ctx context.Context, c *request) (any, error) {
	r, err := s.open(ctx, c)
	if err != nil {
		return nil, err
	}
	below := strings.Trim(c.get("path"), "/")
	if slices.Contains(strings.Split(below, "/"), "..") {
		return nil, invalid("Invalid path '" + below + "'.")
	}
	files, err := s.files.List(ctx, c.ws.ID, r.DataContainer())
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(children(files, below), 0, c.get("page_token"))
	return map[string]any{"root_uri": c.artifacts(r.ExperimentID, r.ID), "files": page, "next_page_token": next}, err
}

// children are the files and directories directly below a path, in order.
func children(files []File, below string) []fileInfo {
	prefix := ""
	if below != "" {
		prefix = below + "/"
	}
	out := []fileInfo{}
	seen := map[string]bool{}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Path, prefix)
		if !ok || rest == "" {
			continue
		}
		name, _, dir := strings.Cut(rest, "/")
		if seen[name] {
			continue
		}
		seen[name] = true
		info := fileInfo{Path: prefix + name, Dir: dir}
		if !dir {
			info.Size = &f.Size
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b fileInfo) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// datasetContext is the tag of a run's input that says what it was for: training, evaluation …
const datasetContext = "mlflow.data.context"

// datasetInput is one dataset that a run read.
type datasetInput struct {
	Tags    []tag `json:"tags"`
	Dataset struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
	} `json:"dataset"`
}

func (d *datasetInput) context() (string, bool) {
	for _, t := range d.Tags {
		if t.Key == datasetContext {
			return t.Value, true
		}
	}
	return "", false
}

func datasetsOf(r *ml.Run) []datasetInput {
	var in []datasetInput
	if len(r.Inputs) == 0 || json.Unmarshal(r.Inputs, &in) != nil {
		return nil
	}
	return in
}

// inDataset says whether one dataset of a run holds the clause.
func (c *clause) inDataset(r *ml.Run) bool {
	return slices.ContainsFunc(datasetsOf(r), func(d datasetInput) bool {
		switch c.key {
		case "name":
			return c.holds(d.Dataset.Name, true)
		case "digest":
			return c.holds(d.Dataset.Digest, true)
		}
		return c.holds(d.context())
	})
}

type datasetSummary struct {
	Experiment string `json:"experiment_id"`
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	Context    string `json:"context,omitempty"`
}

// searchDatasets lists the datasets that runs of experiments read, each once.
func (s *Service) searchDatasets(ctx context.Context, c *request) (any, error) {
	var in struct {
		Experiments []string `json:"experiment_ids"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Experiments) == 0 || len(in.Experiments) > 20 {
		return nil, invalid("SearchDatasets request must specify at least one and at most 20 experiment_ids.")
	}
	out := []datasetSummary{}
	seen := map[datasetSummary]bool{}
	for _, e := range in.Experiments {
		err := s.runs.Runs(ctx, c.ws.GUID, e, func(r *ml.Run) bool {
			if r.Deleted || !c.caller.Holds(r) {
				return true
			}
			for _, d := range datasetsOf(r) {
				about, _ := d.context()
				if sum := (datasetSummary{e, d.Dataset.Name, d.Dataset.Digest, about}); !seen[sum] {
					seen[sum] = true
					out = append(out, sum)
				}
			}
			return len(out) < 1000
		})
		if err != nil && !errors.Is(err, ml.ErrNotFound) {
			return nil, err
		}
	}
	return map[string]any{"dataset_summaries": out}, nil
}
