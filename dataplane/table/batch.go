package table

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"vauban.dev/internal/storagehttp"
)

const (
	maxBatch      = 4 << 20
	maxOperations = 100
)

// part is one request of a batch.
type part struct {
	request *http.Request
	body    []byte
}

// parseBatch reads a multipart/mixed body ("Performing entity group transactions"): one change set of writes, or one
// query.
func parseBatch(contentType string, body []byte) (parts []part, changes bool, err error) {
	return parseParts(contentType, body, 0)
}

func parseParts(contentType string, body []byte, depth int) (parts []part, changes bool, err error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/mixed" || params["boundary"] == "" || depth > 1 {
		return nil, false, errInvalidInput("Content-Type '%s' is not multipart/mixed with a boundary", contentType)
	}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts, changes, nil
		}
		if err != nil {
			return nil, false, errInvalidInput("the parts of the batch cannot be read: %v", err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return nil, false, errInvalidInput("a part of the batch cannot be read: %v", err)
		}
		inner := p.Header.Get("Content-Type")
		if strings.HasPrefix(strings.ToLower(inner), "multipart/mixed") {
			if len(parts) > 0 {
				return nil, false, errInvalidInput("a batch has one change set or one query")
			}
			if parts, _, err = parseParts(inner, b, depth+1); err != nil {
				return nil, false, err
			}
			changes = true
			continue
		}
		one, err := parsePart(b)
		if err != nil {
			return nil, false, err
		}
		if parts = append(parts, one); len(parts) > maxOperations {
			return nil, false, errInvalidInput("a batch has at most %d operations", maxOperations)
		}
	}
}

func parsePart(b []byte) (part, error) {
	r := bufio.NewReader(bytes.NewReader(bytes.TrimLeft(b, "\r\n")))
	req, err := http.ReadRequest(r)
	if err != nil {
		return part{}, errInvalidInput("a part of the batch is no HTTP request: %v", err)
	}
	rest, err := io.ReadAll(r) // whatever Content-Length says: the part has an end of its own
	if err != nil {
		return part{}, err
	}
	return part{req, bytes.TrimSpace(rest)}, nil
}

// answer takes what an operation of a batch answers.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: http.Header{}, code: http.StatusOK} }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// step is a part of a change set with what it does.
type step struct {
	q  *request
	op Operation
}

// transaction answers an entity group transaction: all of its operations are done or none.
func (q *request) transaction() error {
	body, err := q.body(maxBatch)
	if err != nil {
		return err
	}
	parts, changes, err := parseBatch(q.R.Header.Get("Content-Type"), body)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return errInvalidInput("the batch is empty")
	}
	if !changes {
		return q.batchQuery(parts)
	}
	steps, at, err := q.steps(parts)
	if err == nil {
		ops := make([]Operation, len(steps))
		for i := range steps {
			ops[i] = steps[i].op
		}
		var written []Entity
		if written, err = q.s.Apply(q.Ctx, q.Account.Name, steps[0].q.path.table, ops); err == nil {
			return q.sendChanges(steps, written)
		}
		var failed failedAt
		if errors.As(err, &failed) {
			at = failed.index
		}
	}
	e := asError(err)
	if e == nil {
		return err
	}
	accepted := *q
	return accepted.sendParts(true, []*answer{failure(q, parts[at].request, e, fmt.Sprintf("%d:", at))})
}

// inner is a part as a request of its own, of the same caller.
func (q *request) inner(p part) (*request, *operation, error) {
	in := *q
	in.R = p.request.WithContext(q.Ctx)
	in.R.TLS, in.R.Host = q.R.TLS, q.R.Host
	in.R.Body = io.NopCloser(bytes.NewReader(p.body))
	query := storagehttp.ParseQuery(p.request.URL.RawQuery)
	in.Query = url.Values{}
	for k, v := range q.Query { // the caller's signature
		in.Query[k] = v
	}
	for k, v := range query {
		if !strings.HasPrefix(k, "s") && k != "tn" && k != "epk" && k != "erk" {
			in.Query[k] = v
		}
	}
	var err error
	if in.path, err = parsePath(p.request.URL.Path); err != nil {
		return &in, nil, err
	}
	op, err := in.operation()
	if err != nil {
		return &in, nil, err
	}
	if op.each {
		return &in, nil, errInvalidInput("a batch has no batch in it")
	}
	if err := in.authorize(op); err != nil {
		return &in, nil, err
	}
	in.level, err = parseAccept(p.request.Header.Get("Accept"))
	return &in, op, err
}

// steps reads the parts of a change set; at is the part that err is about.
func (q *request) steps(parts []part) (steps []step, at int, err error) {
	seen := map[string]bool{}
	for i, p := range parts {
		in, op, err := q.inner(p)
		if err != nil {
			return nil, i, err
		}
		if !op.writes {
			return nil, i, errInvalidInput("%s is no operation of a change set", op.name)
		}
		w, err := in.write(op.action)
		if err != nil {
			return nil, i, err
		}
		e := &w.Entity
		if i > 0 && (!strings.EqualFold(in.path.table, steps[0].q.path.table) || e.PartitionKey != steps[0].op.Entity.PartitionKey) {
			return nil, i, refuse("CommandsInBatchActOnDifferentPartitions", "All commands in a batch must operate on same entity group.", "the first is of table '%s', PartitionKey '%s'", steps[0].q.path.table, steps[0].op.Entity.PartitionKey)
		}
		if seen[e.RowKey] {
			return nil, i, refuse("InvalidDuplicateRow", "A command with RowKey '"+strings.ToValidUTF8(e.RowKey, "\ufffd")+"' is already present in the batch. An entity can appear only once in a batch.", "operation %d", i)
		}
		seen[e.RowKey] = true
		steps = append(steps, step{in, w})
	}
	return steps, 0, nil
}

// sendChanges answers each operation of a change set that was done.
func (q *request) sendChanges(steps []step, written []Entity) error {
	answers := make([]*answer, len(steps))
	for i, st := range steps {
		w := newAnswer()
		in := st.q
		in.W = w
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("DataServiceVersion", "3.0;")
		if id := in.R.Header.Get("Content-Id"); id != "" {
			h.Set("Content-ID", strings.Map(printable, id))
		}
		e := &written[i]
		var err error
		switch st.op.Action {
		case Insert:
			h.Set("ETag", e.ETag())
			v := in.view()
			err = in.created(v.endpoint+v.path(e), v.entity(e, true))
		case Delete:
			err = in.Send(http.StatusNoContent)
		default:
			h.Set("ETag", e.ETag())
			err = in.Send(http.StatusNoContent)
		}
		if err != nil {
			return err
		}
		answers[i] = w
	}
	return q.sendParts(true, answers)
}

func printable(r rune) rune {
	if r < 0x20 || r > 0x7e {
		return -1
	}
	return r
}

// batchQuery answers a batch of one query.
func (q *request) batchQuery(parts []part) error {
	if len(parts) > 1 {
		return errInvalidInput("a batch has one change set or one query, not %d", len(parts))
	}
	w := newAnswer()
	in, op, err := q.inner(parts[0])
	if err == nil && op != queryEntities && op != getEntity {
		err = errInvalidInput("%s stands outside of a change set", op.name)
	}
	if err == nil {
		in.W = w
		err = op.run(in)
	}
	if err != nil {
		e := asError(err)
		if e == nil {
			return err
		}
		w = failure(q, parts[0].request, e, "0:")
	}
	return q.sendParts(false, []*answer{w})
}

// failure is the answer of the operation for which a batch was refused; its number stands before the message.
func failure(q *request, r *http.Request, e *storagehttp.Error, number string) *answer {
	w := newAnswer()
	numbered := *e
	numbered.Message = number + e.Message
	inner := q.Request
	inner.R = r
	contentType, body := errorBody(&inner, &numbered)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("DataServiceVersion", "3.0;")
	h.Set("Content-Type", contentType)
	h.Set("x-ms-error-code", e.Code)
	w.WriteHeader(e.Status)
	w.body.Write(body)
	return w
}

// sendParts answers 202 with the answers as parts, in a change set if they are of one.
func (q *request) sendParts(changes bool, answers []*answer) error {
	boundary, set := "batchresponse_"+q.ID, "changesetresponse_"+q.ID
	var b bytes.Buffer
	inner := boundary
	if changes {
		inner = set
		fmt.Fprintf(&b, "--%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n", boundary, set)
	}
	for _, a := range answers {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 %d %s\r\n", inner, a.code, http.StatusText(a.code))
		if err := a.header.Write(&b); err != nil {
			return err
		}
		b.WriteString("\r\n")
		b.Write(a.body.Bytes())
		b.WriteString("\r\n")
	}
	if changes {
		fmt.Fprintf(&b, "--%s--\r\n", set)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	q.W.Header().Set("Cache-Control", "no-cache")
	return q.SendBody(http.StatusAccepted, "multipart/mixed; boundary="+boundary, b.Bytes())
}
