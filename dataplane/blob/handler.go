package blob

import (
	"net/http"
	"strings"

	"vauban.dev/internal/storagehttp"
)

// request is one request on its way: account, firewall, caller, permission, operation.
type request struct {
	storagehttp.Request
	s *Service

	container, blob string
	op              *operation
	// createOnly: the permission that was found admits writing only what does not exist.
	createOnly bool
	// past: what is read is an earlier version than the current.
	past bool
	// inBatch: it is a part of a batch, of the container that batchContainer names, if any.
	inBatch        bool
	batchContainer string
}

// serve answers one request. It is the one place that writes errors.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: s.front.Begin(w, r), s: s}
	if err := q.handle(); err != nil {
		q.Fail(err)
	}
}

func (q *request) handle() error {
	if err := q.Admit(); err != nil {
		return err
	}
	q.setResource()
	if done, err := q.cross(); done || err != nil {
		return err
	}
	if q.op = findOperation(q); q.op == nil {
		return q.noOperation()
	}
	if q.inBatch {
		if err := q.mayBatch(); err != nil {
			return err
		}
	}
	q.Serves(q.op.name)
	var err error
	if q.Caller, err = q.Authenticate(false, q.signature); err != nil {
		return err
	}
	if err := q.authorize(q.op); err != nil {
		return err
	}
	if err := q.refuseUnsupported(); err != nil {
		return err
	}
	if q.blob != "" { // with a customer's key that cannot be used, not even properties and metadata are told
		if err := q.s.usable(q.Ctx, q.Account.Name); err != nil {
			return err
		}
	}
	return q.op.run(q)
}

// cross does what CORS asks: it answers a preflight request, done is true then.
func (q *request) cross() (done bool, err error) {
	if q.R.Header.Get("Origin") == "" && q.R.Method != http.MethodOptions {
		return false, nil
	}
	b, err := q.s.settings(q.Ctx, q.Account.Name)
	if err != nil {
		return false, err
	}
	return q.CrossBy(b.CORS)
}

// setResource splits the path into container and blob.
func (q *request) setResource() {
	path := strings.TrimPrefix(q.R.URL.Path, "/")
	q.container, q.blob, _ = strings.Cut(path, "/")
	if q.container != "" && q.blob == "" && q.Query.Get("restype") == "" && q.Query.Get("comp") == "" && !strings.HasSuffix(path, "/") {
		q.container, q.blob = "$root", q.container // a blob of the root container
	}
	q.blob = strings.ReplaceAll(q.blob, `\`, "/") // as Azure takes names
}

// noOperation says why no route was found.
func (q *request) noOperation() error {
	switch comp := q.Query.Get("comp"); {
	case comp != "" && unbuilt[comp] != "":
		return errNotImplemented("%s is not there yet", unbuilt[comp])
	case comp != "" || q.Query.Get("restype") != "":
		return errInvalidQuery("comp", comp)
	}
	return newError(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
}
