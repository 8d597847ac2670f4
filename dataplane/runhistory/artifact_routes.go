package runhistory

import (
	"context"
	"net/http"
	"strings"

	"vauban.dev/authz"
	"vauban.dev/ml"
)

// pathOp is an operation on a path below a holder.
type pathOp func(*request, context.Context, holder, string) (any, error)

// The artifacts of a run, as run history's facade has them: the path is in the query, or for SDK v1 in the
// path itself.
var runArtifactRoutes = joinEntries(
	[]entry{{http.MethodPost, "history/v1.0/[run]/artifacts/batch/metadata", writeRuns, ofRun(func(q *request, ctx context.Context, h holder, _ string) (any, error) { return q.createEmpty(ctx, h) })}},
	runPath("prefix/contentinfo", (*request).listContent),
	runPath("contentinfo", (*request).getContent),
	runPath("artifacturi", (*request).getURI),
	runPath("metadata", (*request).getArtifact),
	runPath("path", (*request).listArtifacts),
	[]entry{{http.MethodGet, "history/v1.0/[run]/artifacts", readRuns, ofRun((*request).listArtifacts)}},
)

func joinEntries(groups ...[]entry) (out []entry) {
	for _, g := range groups {
		out = append(out, g...)
	}
	return out
}

func runPath(name string, op pathOp) []entry {
	return []entry{
		{http.MethodGet, "history/v1.0/[run]/artifacts/" + name, readRuns, ofRun(op)},
		{http.MethodGet, "history/v1.0/[run]/artifacts/" + name + "/{path...}", readRuns, ofRun(op)},
	}
}

func ofRun(op pathOp) func(context.Context, *request) (any, error) {
	return func(ctx context.Context, q *request) (any, error) {
		r, err := q.loadOwner(ctx, q.path["run"])
		if err != nil {
			return nil, err
		}
		if err := q.inExperiment(r); err != nil {
			return nil, err
		}
		return op(q, ctx, holder{runOrigin, r.DataContainer()}, q.artifactPath())
	}
}

func (q *request) artifactPath() string {
	if p := q.path["path"]; p != "" {
		return p
	}
	return q.r.URL.Query().Get("path")
}

// The artifact service, which names artifacts by origin and container. SDK v1 writes the operation before
// them and the path behind; later clients write the operation behind and the path in the query.
var artifactRoutes = joinEntries(
	[]entry{
		{http.MethodPost, "artifact/v2.0/artifacts/batch/metadata", readRuns, artifactsByID},
		{http.MethodPost, "artifact/v2.0/artifacts/batch/metadata/{origin}/{container}", writeRuns, held(writeRuns, createEmptyIn)},
		{http.MethodPost, "artifact/v2.0/artifacts/{origin}/{container}/batch/metadata", writeRuns, held(writeRuns, createEmptyIn)},
	},
	artifactPaths("prefix/contentinfo", readRuns, (*request).listContent),
	artifactPaths("contentinfo", readRuns, (*request).getContent),
	artifactPaths("metadata", readRuns, (*request).getArtifact),
	artifactPaths("write", writeRuns, writeSAS),
	[]entry{
		{http.MethodGet, "artifact/v2.0/artifacts/{origin}/{container}", readRuns, held(readRuns, (*request).listArtifacts)},
		{http.MethodGet, "artifact/v2.0/artifacts/{origin}/{container}/{path...}", readRuns, held(readRuns, (*request).listArtifacts)},
	},
)

func artifactPaths(name, permission string, op pathOp) []entry {
	return []entry{
		{http.MethodGet, "artifact/v2.0/artifacts/" + name + "/{origin}/{container}/{path...}", permission, held(permission, op)},
		{http.MethodGet, "artifact/v2.0/artifacts/" + name + "/{origin}/{container}", permission, held(permission, op)},
		{http.MethodGet, "artifact/v2.0/artifacts/{origin}/{container}/" + name, permission, held(permission, op)},
	}
}

func createEmptyIn(q *request, ctx context.Context, h holder, _ string) (any, error) {
	return q.createEmpty(ctx, h)
}

func writeSAS(q *request, ctx context.Context, h holder, path string) (any, error) {
	path, err := cleanPath(path, false)
	if err != nil {
		return nil, err
	}
	return q.content(ctx, h, path, upload)
}

func held(permission string, op pathOp) func(context.Context, *request) (any, error) {
	return func(ctx context.Context, q *request) (any, error) {
		h := holder{q.path["origin"], q.path["container"]}
		if err := q.openHolder(ctx, h, permission); err != nil {
			return nil, err
		}
		return op(q, ctx, h, q.artifactPath())
	}
}

// openHolder checks that the caller may touch what the artifacts belong to. A run token opens its own run's;
// artifacts that belong to no run are asked of the roles of the identity it acts as.
func (q *request) openHolder(ctx context.Context, h holder, permission string) error {
	if strings.ContainsAny(h.origin+h.container, "/\\") || h.origin == ".." || h.container == ".." {
		return badRequest("'%s/%s' holds no artifacts.", h.origin, h.container)
	}
	if !strings.EqualFold(h.origin, runOrigin) {
		if q.run == nil {
			return nil
		}
		return q.checkRoles(ctx, authz.Request{Action: permission, Scope: q.ws.ID.String()})
	}
	id, ok := strings.CutPrefix(h.container, (&ml.Run{}).DataContainer())
	if !ok {
		return notFound("Artifact container %s not found.", h.container)
	}
	_, err := q.loadOwner(ctx, id)
	return err
}

func artifactsByID(ctx context.Context, q *request) (any, error) {
	var in struct {
		IDs []string `json:"artifactIds"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	arts, infos, errs := map[string]any{}, map[string]any{}, map[string]any{}
	for _, id := range in.IDs {
		a, c, err := q.artifactByID(ctx, id)
		if e := asError(err); e != nil {
			errs[id] = q.errorBody(e)
			continue
		}
		if err != nil {
			return nil, err
		}
		arts[id], infos[id] = a, c
	}
	return map[string]any{"artifacts": arts, "artifactContentInformation": infos, "errors": errs}, nil
}

func (q *request) artifactByID(ctx context.Context, id string) (a, c any, err error) {
	origin, rest, _ := strings.Cut(id, "/")
	container, path, _ := strings.Cut(rest, "/")
	h := holder{origin, container}
	if err := q.openHolder(ctx, h, readRuns); err != nil {
		return nil, nil, err
	}
	if a, err = q.getArtifact(ctx, h, path); err != nil {
		return nil, nil, err
	}
	c, err = q.getContent(ctx, h, path)
	return a, c, err
}
