package runhistory

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vauban.dev/ml"
)

// Artifacts of a run lie in the workspace's storage account, in container azureml, as the blobs
// {origin}/{container}/{path}; a run's are ExperimentRun/dcid.{run}/{path}. What the blob service lists is
// what there is: an artifact that was announced and not uploaded does not show.
const (
	artifactContainer = "azureml"
	runOrigin         = "ExperimentRun"
	datastore         = "workspaceartifactstore"
	// sasTime is how long the URLs hold that clients are given.
	sasTime      = 8 * time.Hour
	readOnly     = "r"
	upload       = "rcw"
	artifactPage = 500
	maxArtifact  = 1024 // characters of a blob's name
)

// holder is what artifacts belong to: {origin}/{container}.
type holder struct{ origin, container string }

func (h holder) prefix() string          { return h.origin + "/" + h.container + "/" }
func (h holder) blob(path string) string { return h.prefix() + path }

type dataPathBody struct {
	Store string  `json:"dataStoreName"`
	Path  string  `json:"relativePath"`
	SQL   *string `json:"sqlDataPath"`
}

type artifactBody struct {
	ID        string            `json:"artifactId"`
	Origin    string            `json:"origin"`
	Container string            `json:"container"`
	Path      string            `json:"path"`
	ETag      *string           `json:"etag"`
	Created   stamp             `json:"createdTime"`
	DataPath  dataPathBody      `json:"dataPath"`
	Tags      map[string]string `json:"tags"`
}

type contentBody struct {
	URI       string            `json:"contentUri"`
	Origin    string            `json:"origin"`
	Container string            `json:"container"`
	Path      string            `json:"path"`
	Tags      map[string]string `json:"tags"`
}

func (h holder) artifact(path string, b Blob) artifactBody {
	return artifactBody{
		ID: h.blob(path), Origin: h.origin, Container: h.container, Path: path, ETag: orNull(b.ETag), Created: stamp(b.Created),
		DataPath: dataPathBody{Store: datastore, Path: h.blob(path)}, Tags: map[string]string{},
	}
}

// cleanPath checks an artifact's path; it may be empty where it is a prefix.
func cleanPath(path string, prefix bool) (string, error) {
	path = strings.TrimLeft(path, "/")
	if path == "" {
		if prefix {
			return "", nil
		}
		return "", badRequest("The path of an artifact is missing.")
	}
	for seg := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if seg == "." || seg == ".." || seg == "" || strings.ContainsAny(seg, "\\\x00") {
			return "", badRequest("'%s' is no path of an artifact.", path)
		}
	}
	if len(path) > maxArtifact || !prefix && strings.HasSuffix(path, "/") {
		return "", badRequest("'%s' is no path of an artifact.", path)
	}
	return path, nil
}

func (q *request) expiry() time.Time { return q.s.Clock.Now().Add(sasTime) }

func (q *request) content(ctx context.Context, h holder, path, permissions string) (contentBody, error) {
	url, err := q.s.Blobs.SAS(ctx, q.ws.StorageAccount, artifactContainer, h.blob(path), permissions, q.expiry())
	return contentBody{URI: url, Origin: h.origin, Container: h.container, Path: path, Tags: map[string]string{}}, err
}

func (q *request) stat(ctx context.Context, h holder, path string) (Blob, error) {
	b, err := q.s.Blobs.Stat(ctx, q.ws.StorageAccount, artifactContainer, h.blob(path))
	if errors.Is(err, ErrNoBlob) {
		return b, notFound("Artifact %s was not found.", h.blob(path))
	}
	return b, err
}

// createEmpty announces artifacts: the answer has the URL to upload each to. One that is there already is
// a conflict, as artifacts are immutable.
func (q *request) createEmpty(ctx context.Context, h holder) (any, error) {
	var in struct {
		Paths []struct {
			Path string            `json:"path"`
			Tags map[string]string `json:"tags"`
		} `json:"paths"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Paths) == 0 {
		return nil, badRequest("paths is empty.")
	}
	arts, infos, errs := map[string]artifactBody{}, map[string]contentBody{}, map[string]errorBody{}
	for _, p := range in.Paths {
		info, err := q.announce(ctx, h, p.Path)
		if e := asError(err); e != nil {
			errs[p.Path] = q.errorBody(e)
			continue
		}
		if err != nil {
			return nil, err
		}
		// Clients look the answer up by the path as they wrote it.
		arts[p.Path], infos[p.Path] = h.artifact(info.Path, Blob{Created: q.s.Clock.Now()}), info
	}
	return map[string]any{"artifacts": arts, "artifactContentInformation": infos, "errors": errs}, nil
}

func (q *request) announce(ctx context.Context, h holder, path string) (contentBody, error) {
	path, err := cleanPath(path, false)
	if err != nil {
		return contentBody{}, err
	}
	_, err = q.s.Blobs.Stat(ctx, q.ws.StorageAccount, artifactContainer, h.blob(path))
	if err == nil {
		return contentBody{}, userError(http.StatusConflict, "Conflict", "Resource Conflict: ArtifactId %s already exists.", h.blob(path))
	}
	if !errors.Is(err, ErrNoBlob) {
		return contentBody{}, err
	}
	return q.content(ctx, h, path, upload)
}

// list is a page of the artifacts whose path starts with prefix.
func (q *request) list(ctx context.Context, h holder, prefix string) ([]artifactBody, string, error) {
	v := q.r.URL.Query()
	after, err := pageStart(v.Get("continuationToken"))
	if err != nil {
		return nil, "", err
	}
	size, err := integer(v.Get("pageSize"))
	if err != nil {
		return nil, "", err
	}
	if size <= 0 || size > artifactPage {
		size = artifactPage
	}
	if prefix, err = cleanPath(prefix, true); err != nil {
		return nil, "", err
	}
	blobs, err := q.s.Blobs.List(ctx, q.ws.StorageAccount, artifactContainer, h.blob(prefix), after, size+1)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(blobs) > size {
		blobs = blobs[:size]
		next = blobs[size-1].Name
	}
	out := []artifactBody{}
	for _, b := range blobs {
		path := strings.TrimPrefix(b.Name, h.prefix())
		if prefix == "" || path == prefix || strings.HasSuffix(prefix, "/") || strings.HasPrefix(path, prefix+"/") {
			out = append(out, h.artifact(path, b))
		}
	}
	return out, next, nil
}

func (q *request) listArtifacts(ctx context.Context, h holder, prefix string) (any, error) {
	out, next, err := q.list(ctx, h, prefix)
	if err != nil {
		return nil, err
	}
	return q.nextPage(out, next), nil
}

func (q *request) listContent(ctx context.Context, h holder, prefix string) (any, error) {
	arts, next, err := q.list(ctx, h, prefix)
	if err != nil {
		return nil, err
	}
	out := []contentBody{}
	for _, a := range arts {
		c, err := q.content(ctx, h, a.Path, readOnly)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return q.nextPage(out, next), nil
}

func (q *request) getArtifact(ctx context.Context, h holder, path string) (any, error) {
	path, err := cleanPath(path, false)
	if err != nil {
		return nil, err
	}
	b, err := q.stat(ctx, h, path)
	if err != nil {
		return nil, err
	}
	return h.artifact(path, b), nil
}

func (q *request) getContent(ctx context.Context, h holder, path string) (any, error) {
	path, err := cleanPath(path, false)
	if err != nil {
		return nil, err
	}
	if _, err := q.stat(ctx, h, path); err != nil {
		return nil, err
	}
	return q.content(ctx, h, path, readOnly)
}

func (q *request) getURI(ctx context.Context, h holder, path string) (any, error) {
	c, err := q.getContent(ctx, h, path)
	if err != nil {
		return nil, err
	}
	return c.(contentBody).URI, nil
}

// logFolders are where runs keep what is shown as their logs.
var logFolders = []string{"user_logs/", "system_logs/", "logs/", "azureml-logs/"}

const maxLogs = 1000

// logFiles are the URLs of a run's logs by their path.
func (q *request) logFiles(ctx context.Context, r *ml.Run) (map[string]string, error) {
	h := holder{runOrigin, r.DataContainer()}
	out := map[string]string{}
	for _, folder := range logFolders {
		blobs, err := q.s.Blobs.List(ctx, q.ws.StorageAccount, artifactContainer, h.blob(folder), "", maxLogs)
		if err != nil {
			return nil, err
		}
		for _, b := range blobs {
			path := strings.TrimPrefix(b.Name, h.prefix())
			c, err := q.content(ctx, h, path, readOnly)
			if err != nil {
				return nil, err
			}
			out[path] = c.URI
		}
	}
	return out, nil
}

// integer reads a number in a query; "" is 0.
func integer(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, badRequest("'%s' is not a number.", s)
	}
	return n, nil
}
