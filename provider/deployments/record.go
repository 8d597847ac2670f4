package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/store"
)

// The kinds of documents: the record of a deployment by its lower-case id, what it deploys, and its operations by its
// id and theirs.
const (
	recordKind    = "deployment"
	contentKind   = "deployment.content"
	operationKind = "deployment.operation"
)

// The states of deployments and operations.
const (
	accepted  = "Accepted"
	runs      = "Running"
	succeeded = "Succeeded"
	failed    = "Failed"
	canceled  = "Canceled"
)

// record is a deployment as it is shown. It holds no secret.
type record struct {
	ID             string            `json:"id"`
	Location       string            `json:"location,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Mode           string            `json:"mode"`
	State          string            `json:"state"`
	Start          time.Time         `json:"start"`
	Changed        time.Time         `json:"changed"`
	CorrelationID  string            `json:"correlationId"`
	Hash           string            `json:"hash"`
	TemplateLink   json.RawMessage   `json:"templateLink,omitempty"`
	ParametersLink json.RawMessage   `json:"parametersLink,omitempty"`
	Parameters     json.RawMessage   `json:"parameters,omitempty"`
	Outputs        json.RawMessage   `json:"outputs,omitempty"`
	Resources      []string          `json:"resources,omitempty"` // ids of what it wrote
	Providers      json.RawMessage   `json:"providers,omitempty"`
	Dependencies   json.RawMessage   `json:"dependencies,omitempty"`
	Error          *arm.Error        `json:"error,omitempty"`
	OnError        *onError          `json:"onError,omitempty"`
	Operation      string            `json:"operation"` // the last segment of its operationStatuses
	Canceling      bool              `json:"canceling,omitempty"`

	// who deploys, for what it writes
	Caller        authz.Principal `json:"caller"`
	Base, Address string
}

// onError is what happens when a deployment fails ("Rollback on error").
type onError struct {
	Type       string `json:"type"` // LastSuccessful, SpecificDeployment
	Deployment string `json:"deployment,omitempty"`
	State      string `json:"state,omitempty"`
}

func (r *record) key() string  { return strings.ToLower(r.ID) }
func (r *record) name() string { return r.ID[strings.LastIndexByte(r.ID, '/')+1:] }

func (r *record) active() bool { return r.State == accepted || r.State == runs }

// scope is where the deployment is made.
func (r *record) scope() arm.ID {
	id, err := arm.ParseID(r.ID)
	if err != nil {
		return arm.ID{}
	}
	return id.Scope()
}

// content is what a deployment deploys. Parameters are by value; those of secure types are dropped when it ends.
type content struct {
	Template   json.RawMessage `json:"template"`
	Parameters json.RawMessage `json:"parameters"`
	Sent       json.RawMessage `json:"sent,omitempty"` // as they were sent, for deployment(); no secrets
	Secrets    bool            `json:"secrets,omitempty"`
}

// step is one operation of a deployment.
type step struct {
	ID         string    `json:"id"`
	Resource   string    `json:"resource,omitempty"`
	Type       string    `json:"type,omitempty"`
	Name       string    `json:"name,omitempty"`
	Operation  string    `json:"operation"` // Create, Delete, EvaluateDeploymentOutput
	State      string    `json:"state"`
	Start      time.Time `json:"start"`
	Changed    time.Time `json:"changed"`
	Tracking   string    `json:"tracking"`
	Request    string    `json:"request,omitempty"`
	StatusCode string    `json:"statusCode,omitempty"`
	Failure    any       `json:"failure,omitempty"`
}

func put(tx *rp.Tx, kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, key, b, store.Any)
	return err
}

// read decodes a document; store.ErrNotFound.
func read[T any](tx *rp.Tx, kind, key string) (*T, error) {
	doc, err := tx.Get(kind, key)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(doc.Value, v); err != nil {
		return nil, fmt.Errorf("deployments: stored %s %s: %w", kind, key, err)
	}
	return v, nil
}

// scan decodes the documents under a prefix.
func scan[T any](tx *rp.Tx, kind, prefix string) ([]*T, error) {
	var all []*T
	var bad error
	err := tx.Scan(kind, prefix, "", func(doc store.Doc) bool {
		v := new(T)
		if err := json.Unmarshal(doc.Value, v); err != nil {
			bad = fmt.Errorf("deployments: stored %s %s: %w", kind, doc.Key, err)
			return false
		}
		all = append(all, v)
		return true
	})
	return all, errors.Join(err, bad)
}

// prefix is that of the keys of a scope's deployments.
func prefix(scope arm.ID) string {
	return strings.TrimSuffix(scope.Key(), "/") + "/providers/microsoft.resources/deployments/"
}

func (p *Provider) find(ctx context.Context, id arm.ID) (r *record, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		r, err = read[record](tx, recordKind, id.Key())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(id)
	}
	return r, err
}

func notFound(id arm.ID) *arm.Error {
	return arm.Errorf(404, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
}

// unfinished are the keys of the deployments that are under way by their records.
func (p *Provider) unfinished(ctx context.Context) (keys []string, err error) {
	err = p.engine.View(ctx, func(tx *rp.Tx) error {
		all, err := scan[record](tx, recordKind, "")
		for _, r := range all {
			if r.active() {
				keys = append(keys, r.key())
			}
		}
		return err
	})
	return keys, err
}

// The limit of a scope's history: Azure begins to delete the oldest at 775 of 800 and goes down to 750
// ("Automatic deletions from deployment history").
const (
	historyFull = 775
	historyKept = 750
)

// trim deletes the oldest deployments of a scope whose history is nearly full.
func trim(tx *rp.Tx, scope arm.ID) error {
	own := prefix(scope)
	n := 0
	if err := tx.Scan(recordKind, own, "", func(store.Doc) bool { n++; return true }); err != nil || n < historyFull {
		return err
	}
	all, err := scan[record](tx, recordKind, own)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *record) int { return a.Start.Compare(b.Start) })
	for _, r := range all {
		if n <= historyKept {
			return nil
		}
		if r.active() {
			continue
		}
		if err := erase(tx, r.key()); err != nil {
			return err
		}
		n--
	}
	return nil
}

// erase deletes a deployment's documents.
func erase(tx *rp.Tx, key string) error {
	steps := []string{}
	if err := tx.Scan(operationKind, key+"/", "", func(doc store.Doc) bool {
		steps = append(steps, doc.Key)
		return true
	}); err != nil {
		return err
	}
	for _, k := range steps {
		if err := tx.Delete(operationKind, k, store.Any); err != nil {
			return err
		}
	}
	for _, kind := range []string{contentKind, recordKind} {
		if err := tx.Delete(kind, key, store.Any); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// EraseScope deletes the deployments of a scope that goes: a resource group.
func EraseScope(tx *rp.Tx, scope arm.ID) error {
	var keys []string
	if err := tx.Scan(recordKind, prefix(scope), "", func(doc store.Doc) bool {
		keys = append(keys, doc.Key)
		return true
	}); err != nil {
		return err
	}
	for _, k := range keys {
		if err := erase(tx, k); err != nil {
			return err
		}
	}
	return nil
}
