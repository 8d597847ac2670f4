package batch

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"vauban.dev/compute"
	"vauban.dev/origin"
)

// Handler is the batch service's side of the protocol, for the host azureml.<region>.batch.azure.com. It
// keeps nothing: everything is the Queue's.
type Handler struct {
	queue Queue
	log   *slog.Logger
	mux   *http.ServeMux
}

// NewHandler serves the nodes of q.
func NewHandler(q Queue, log *slog.Logger) *Handler {
	h := &Handler{queue: q, log: log, mux: http.NewServeMux()}
	// Beside each route stands who may call it: nodeOnly is the only door.
	h.mux.HandleFunc("POST /nodes/{node}/register", h.nodeOnly(h.register))
	h.mux.HandleFunc("POST /nodes/{node}/poll", h.nodeOnly(h.poll))
	h.mux.HandleFunc("POST /nodes/{node}/reports", h.nodeOnly(h.report))
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// problem is an error that the agent may read; code and message in the shape of Azure Batch's errors.
type problem struct {
	status        int
	code, message string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

// nodeOnly authenticates the node: its token, on a connection that comes from its NIC. A wrong token, a
// wrong NIC and an unknown node look the same from outside.
func (h *Handler) nodeOnly(next func(http.ResponseWriter, *http.Request, Node) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		node, err := h.authenticate(r)
		if err == nil {
			err = next(w, r, node)
		}
		if err != nil {
			h.fail(w, r, err)
		}
	}
}

func (h *Handler) authenticate(r *http.Request) (Node, error) {
	refuse := &problem{http.StatusUnauthorized, "AuthenticationFailed", "The node could not be authenticated."}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return Node{}, refuse
	}
	node, err := h.queue.Node(r.Context(), r.PathValue("node"))
	switch {
	case errors.Is(err, ErrNoNode):
		return Node{}, refuse
	case err != nil:
		return Node{}, err
	case !tokenIs(token, node.TokenSHA256):
		return Node{}, refuse
	}
	if o := origin.FromContext(r.Context()); !comesFrom(o, node) {
		h.log.Warn("batch: a node's token came from elsewhere", "node", node.ID, "origin", o.String(), "nic", o.NIC)
		return Node{}, refuse
	}
	return node, nil
}

// comesFrom tells whether a connection comes from the node. An origin that is not known never does.
func comesFrom(o origin.Origin, n Node) bool {
	switch {
	case o.Kind == origin.Unknown || n.NIC == "":
		return false
	case o.NIC != "":
		return o.NIC == n.NIC
	}
	return n.Source.IsValid() && o.Source == n.Source
}

func (h *Handler) register(w http.ResponseWriter, r *http.Request, n Node) error {
	var in Register
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if err := h.queue.Registered(r.Context(), n.ID, in); err != nil {
		return err
	}
	return answer(w, Registered{PollSeconds: int(DefaultPoll / time.Second)})
}

func (h *Handler) poll(w http.ResponseWriter, r *http.Request, n Node) error {
	var in Poll
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if in.WaitSeconds < 0 {
		return &problem{http.StatusBadRequest, "InvalidPropertyValue", "waitSeconds is negative."}
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(time.Duration(in.WaitSeconds)*time.Second, MaxPoll))
	defer cancel()
	for {
		// Taken first: a change between the question and the wait must not be missed.
		changed := h.queue.Changed(n.ID)
		reply, err := h.queue.Polled(r.Context(), n.ID, in)
		if err != nil {
			return err
		}
		if worth(reply, in.Known) {
			return answer(w, reply)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return answer(w, reply)
		}
	}
}

// worth tells whether a reply has anything that the node does not know.
func worth(r Reply, known []string) bool {
	if r.Assignment != nil || len(r.Lost) > 0 {
		return true
	}
	seen := map[string]bool{}
	for _, k := range known {
		seen[k] = true
	}
	for _, s := range r.Signals {
		if !seen[s.ID] {
			return true
		}
	}
	return false
}

func (h *Handler) report(w http.ResponseWriter, r *http.Request, n Node) error {
	var in compute.Report
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if !compute.ValidID(in.Task) || in.Attempt < 1 || in.Seq < 1 || in.State == "" {
		return &problem{http.StatusBadRequest, "InvalidPropertyValue", "The report names no task, attempt, sequence number or state."}
	}
	if err := h.queue.Report(r.Context(), n.ID, in); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody)).Decode(v)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "The request body is too large."}
	}
	if err != nil {
		return &problem{http.StatusBadRequest, "InvalidInput", "The request body is not the JSON that is expected."}
	}
	return nil
}

func answer(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the node asks again when it does not arrive
	return nil
}

// fail is the one place that turns errors into answers.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, ErrLost):
		p = &problem{http.StatusConflict, "TaskLeaseLost", "The task is no longer leased to this node."}
	case errors.Is(err, ErrNoNode):
		p = &problem{http.StatusNotFound, "NodeNotFound", "The specified node does not exist."}
	case r.Context().Err() != nil:
		return // nobody listens
	default:
		h.log.Error("batch", "path", r.URL.Path, "error", err)
		p = &problem{http.StatusInternalServerError, "InternalError", "Server encountered an internal error."}
	}
	type text struct {
		Lang  string `json:"lang"`
		Value string `json:"value"`
	}
	b, _ := json.Marshal(struct {
		Code    string `json:"code"`
		Message text   `json:"message"`
	}{p.code, text{"en-US", p.message}})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	_, _ = w.Write(b)
}
