package machinelearning

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"vauban.dev/compute"
	"vauban.dev/store"
)

// task is a job on its way through the queue of its cluster; it goes when it has ended.
type task struct {
	ID        string    `json:"id"`
	Workspace string    `json:"workspace"` // resource id
	GUID      string    `json:"guid"`      // of the workspace
	Job       string    `json:"job"`       // resource id
	Run       string    `json:"run"`
	Cluster   string    `json:"cluster"`
	Submitted time.Time `json:"submitted"`      // its place in the queue, also when it is queued again
	Node      string    `json:"node,omitempty"` // leased to
	Attempt   int       `json:"attempt"`
	Seq       int       `json:"seq"` // of the last report of the attempt
	Canceled  bool      `json:"canceled,omitempty"`
}

// place orders the tasks that wait for a node of a cluster: the document kindQueue with this key exists exactly
// while the task waits, so that neither a poll nor a count reads the tasks of anybody else.
func (t *task) place() string {
	return fmt.Sprintf("%s%020d/%s", queuePrefix(t.Cluster), t.Submitted.UnixNano(), t.ID)
}

func queuePrefix(cluster string) string { return strings.ToLower(cluster) + "/" }

// enqueue has the task wait for a node.
func enqueue(tx store.Tx, t *task) error {
	t.Node = ""
	if _, err := tx.Put(kindQueue, t.place(), []byte(t.ID), store.Any); err != nil {
		return err
	}
	return putDoc(tx, kindTask, t.ID, t)
}

// lease gives the task to the node, as its next attempt.
func lease(tx store.Tx, t *task, n *node, now time.Time) error {
	if err := deleteDoc(tx, kindQueue, t.place()); err != nil {
		return err
	}
	t.Node, t.Attempt, t.Seq = n.ID, t.Attempt+1, 0
	n.Lease, n.Task = t.ID, t.Run
	n.enter(compute.NodeRunning, now)
	return errors.Join(putDoc(tx, kindTask, t.ID, t), putDoc(tx, kindNode, n.ID, n))
}

// taskID names the task of a job; it becomes the name of files on the node, so that a long one is shortened.
func taskID(guid, job string) string {
	if id := guid + "." + job; compute.ValidID(id) {
		return id
	}
	sum := sha256.Sum256([]byte(job))
	return guid + "." + hex.EncodeToString(sum[:])
}

// dropTask removes a task that has ended.
func dropTask(tx store.Tx, t *task) error {
	return errors.Join(deleteDoc(tx, kindQueue, t.place()), deleteDoc(tx, kindTask, t.ID))
}

// waiting counts the tasks that wait for a node of the cluster, up to a limit.
func waiting(tx store.Tx, cluster string, limit int) (n int, err error) {
	err = tx.Scan(kindQueue, queuePrefix(cluster), "", func(store.Doc) bool {
		n++
		return n < limit
	})
	return n, err
}

// oldest returns the task that waits for a node of the cluster the longest; nil when none does.
func oldest(tx store.Tx, cluster string) (*task, error) {
	id := ""
	err := tx.Scan(kindQueue, queuePrefix(cluster), "", func(d store.Doc) bool {
		id = string(d.Value)
		return false
	})
	if err != nil || id == "" {
		return nil, err
	}
	return getDoc[task](tx, kindTask, id)
}

// leased returns the task that the node has; nil when it has none.
func leased(tx store.Tx, n *node) (*task, error) {
	if n.Lease == "" {
		return nil, nil
	}
	t, err := getDoc[task](tx, kindTask, n.Lease)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.Node != n.ID {
		return nil, nil
	}
	return t, err
}

// tasksOf returns all tasks of a cluster, for its end.
func tasksOf(tx store.Tx, cluster string) ([]*task, error) {
	return scanDocs(tx, kindTask, func(t *task) bool { return strings.EqualFold(t.Cluster, cluster) })
}
