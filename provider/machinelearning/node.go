package machinelearning

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"vauban.dev/arm"
	"vauban.dev/compute"
	"vauban.dev/store"
)

// Kinds of documents. Nodes and tasks are desired state like any resource; no user writes them.
const (
	kindNode  = "ml.node"    // node id
	kindTask  = "ml.task"    // task id
	kindQueue = "ml.queue"   // cluster/time/task id → task id, while it waits
	kindNote  = "ml.cluster" // cluster → note
)

// node is one machine of a cluster.
type node struct {
	ID      string            `json:"id"`
	Cluster string            `json:"cluster"` // resource id
	State   compute.NodeState `json:"state"`
	NIC     NIC               `json:"nic"`
	Token   [32]byte          `json:"token"`           // SHA-256
	Lease   string            `json:"lease,omitempty"` // the task that it has
	Task    string            `json:"task,omitempty"`  // the run of that
	Since   time.Time         `json:"since"`           // of the state
	// Registered: a node that is called has itself reached the service; it is of use when the call has got through.
	Registered bool       `json:"registered,omitempty"`
	Error      *arm.Error `json:"error,omitempty"`
	Runs       []string   `json:"isolation,omitempty"` // what holds on it, as its agent reported
}

func getDoc[T any](tx store.Tx, kind, key string) (*T, error) {
	d, err := tx.Get(kind, key)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(d.Value, v); err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, key, err)
	}
	return v, nil
}

func putDoc(tx store.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, store.Any)
	return err
}

func deleteDoc(tx store.Tx, kind, key string) error {
	if err := tx.Delete(kind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

func scanDocs[T any](tx store.Tx, kind string, keep func(*T) bool) (out []*T, err error) {
	e := tx.Scan(kind, "", "", func(d store.Doc) bool {
		v := new(T)
		if err = json.Unmarshal(d.Value, v); err != nil {
			err = fmt.Errorf("%s %s: %w", kind, d.Key, err)
			return false
		}
		if keep(v) {
			out = append(out, v)
		}
		return true
	})
	return out, errors.Join(err, e)
}

func nodesOf(tx store.Tx, cluster arm.ID) ([]*node, error) {
	return scanDocs(tx, kindNode, func(n *node) bool { return strings.EqualFold(n.Cluster, cluster.String()) })
}

func (n *node) enter(s compute.NodeState, now time.Time) {
	if n.State != s {
		n.State, n.Since = s, now
	}
}

// nodeSet is what is known of nodes that need not outlive the process: when each was last heard, and
// who waits for the queue to change.
type nodeSet struct {
	now     func() time.Time
	since   time.Time // before it, nobody could be heard
	mu      sync.Mutex
	heard   map[string]time.Time
	grants  map[string]grant     // of the last call to each, until it is used
	missed  map[string]time.Time // since when calls to it do not get through
	changed chan struct{}
}

func newNodeSet(now func() time.Time) *nodeSet {
	return &nodeSet{now: now, since: now(), heard: map[string]time.Time{}, grants: map[string]grant{}, missed: map[string]time.Time{}, changed: make(chan struct{})}
}

func (s *nodeSet) hear(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[id] = s.now()
}

// silent is for how long the node has not spoken to this process, which was there to hear it.
func (s *nodeSet) silent(id string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.heard[id]
	if !ok {
		last = s.since
	}
	return s.now().Sub(last)
}

func (s *nodeSet) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.heard, id)
	delete(s.grants, id)
	delete(s.missed, id)
}

// wait returns a channel that is closed at the next change.
func (s *nodeSet) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// change wakes all that wait.
func (s *nodeSet) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}
