package storage

import (
	"context"
	"encoding/json"
	"net/http"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// Queues is the data plane's side of queues: it owns them, as it does blob containers. Errors are *arm.Error.
type Queues interface {
	// Queue returns a queue's metadata, or 404 QueueNotFound.
	Queue(tx store.Tx, account arm.ID, name string) (metadata map[string]string, err error)
	// PutQueue makes it or changes its metadata.
	PutQueue(tx store.Tx, account arm.ID, name string, metadata map[string]string) error
	// DeleteQueue removes it; 404 QueueNotFound.
	DeleteQueue(tx store.Tx, account arm.ID, name string) error
	// ListQueues lists the names of all of the account with their metadata, in order.
	ListQueues(tx store.Tx, account arm.ID) (names []string, metadata []map[string]string, err error)
}

// Tables is the data plane's side of tables. Errors are *arm.Error.
type Tables interface {
	// Table returns a table as it was named, and its stored access policies; 404 TableNotFound.
	Table(tx store.Tx, account arm.ID, name string) (Table, error)
	// PutTable makes it, or changes the policies of one that is there unless they are nil.
	PutTable(tx store.Tx, account arm.ID, t Table) error
	// DeleteTable removes it; 404 TableNotFound.
	DeleteTable(tx store.Tx, account arm.ID, name string) error
	// ListTables lists all of the account, in order.
	ListTables(tx store.Tx, account arm.ID) ([]Table, error)
}

// ServiceRules are the rules of CORS of the queue, the table and the file service, which the data planes keep: Set Service Properties
// and Resource Manager are two ways to them.
type ServiceRules interface {
	CORS(tx store.Tx, account arm.ID, service string) ([]CORSRule, error)
	SetCORS(tx store.Tx, account arm.ID, service string, rules []CORSRule) error
}

// Table is a table with its stored access policies (Storage REST: TableSignedIdentifier).
type Table struct {
	Name        string
	Identifiers []Identifier
}

// Identifier is a stored access policy.
type Identifier struct {
	ID     string        `json:"id"`
	Policy *AccessPolicy `json:"accessPolicy,omitempty"`
}

// AccessPolicy is what a stored access policy says; times are RFC 3339.
type AccessPolicy struct {
	Permission string `json:"permission"`
	Start      string `json:"startTime,omitempty"`
	Expiry     string `json:"expiryTime,omitempty"`
}

const accountPath = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{account}/"

// child are the routes of one kind of child that the data plane owns.
type child struct {
	path                string // queueServices/default/queues
	permission          string // queueServices/queues/
	list, get, put, del func(tx *rp.Tx, a *rp.Resource[Account], name string, body []byte) (any, error)
}

func (c child) routes() []rp.Route {
	do := func(f func(*rp.Tx, *rp.Resource[Account], string, []byte) (any, error)) func(context.Context, *rp.Tx, map[string]string, map[string]string, []byte) (any, error) {
		return func(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
			a, err := accountOf(tx, path)
			if err != nil {
				return nil, err
			}
			return f(tx, a, path["name"], body)
		}
	}
	all, one, permission := accountPath+c.path, accountPath+c.path+"/{name}", AccountType+"/"+c.permission
	return []rp.Route{
		{Method: http.MethodGet, Pattern: all, Permission: permission + "read", Versions: versions, Do: do(c.list)},
		{Method: http.MethodGet, Pattern: one, Permission: permission + "read", Versions: versions, Do: do(c.get)},
		{Method: http.MethodPut, Pattern: one, Permission: permission + "write", Versions: versions, Do: do(c.put)},
		{Method: http.MethodPatch, Pattern: one, Permission: permission + "write", Versions: versions, Do: do(c.put)},
		{Method: http.MethodDelete, Pattern: one, Permission: permission + "delete", Versions: versions, Do: do(c.del)},
	}
}

// queueRoutes serve queueServices/default/queues and tableServices/default/tables: routes and no stored types, because the
// data planes own what they show.
func (p *Provider) queueRoutes() rp.Registration {
	if p.queues == nil {
		return rp.Routes()
	}
	queues := child{
		path: "queueServices/default/queues", permission: "queueServices/queues/",
		list: p.listQueues, get: p.getQueue, put: p.putQueue, del: p.deleteQueue,
	}
	tables := child{
		path: "tableServices/default/tables", permission: "tableServices/tables/",
		list: p.listTables, get: p.getTable, put: p.putTable, del: p.deleteTable,
	}
	return rp.Routes(append(queues.routes(), tables.routes()...)...)
}

func queueBody(a *rp.Resource[Account], name string, metadata map[string]string) map[string]any {
	if metadata == nil {
		metadata = map[string]string{}
	}
	return map[string]any{
		"id": a.ID.String() + "/queueServices/default/queues/" + name, "name": name, "type": AccountType + "/queueServices/queues",
		"properties": map[string]any{"metadata": metadata},
	}
}

func (p *Provider) listQueues(tx *rp.Tx, a *rp.Resource[Account], _ string, _ []byte) (any, error) {
	names, metadata, err := p.queues.ListQueues(tx, a.ID)
	if err != nil {
		return nil, err
	}
	value := make([]any, len(names))
	for i := range names {
		value[i] = queueBody(a, names[i], metadata[i])
	}
	return map[string]any{"value": value}, nil
}

func (p *Provider) getQueue(tx *rp.Tx, a *rp.Resource[Account], name string, _ []byte) (any, error) {
	metadata, err := p.queues.Queue(tx, a.ID, name)
	if err != nil {
		return nil, err
	}
	return queueBody(a, name, metadata), nil
}

func (p *Provider) putQueue(tx *rp.Tx, a *rp.Resource[Account], name string, body []byte) (any, error) {
	var in struct {
		Properties struct {
			Metadata map[string]string `json:"metadata"`
		} `json:"properties"`
	}
	if err := readBody(body, &in); err != nil {
		return nil, err
	}
	if err := p.queues.PutQueue(tx, a.ID, name, in.Properties.Metadata); err != nil {
		return nil, err
	}
	return p.getQueue(tx, a, name, nil)
}

func (p *Provider) deleteQueue(tx *rp.Tx, a *rp.Resource[Account], name string, _ []byte) (any, error) {
	return nil, gone(p.queues.DeleteQueue(tx, a.ID, name))
}

func tableBody(a *rp.Resource[Account], t Table) map[string]any {
	properties := map[string]any{"tableName": t.Name}
	if len(t.Identifiers) > 0 {
		properties["signedIdentifiers"] = t.Identifiers
	}
	return map[string]any{
		"id": a.ID.String() + "/tableServices/default/tables/" + t.Name, "name": t.Name, "type": AccountType + "/tableServices/tables", "properties": properties,
	}
}

func (p *Provider) listTables(tx *rp.Tx, a *rp.Resource[Account], _ string, _ []byte) (any, error) {
	list, err := p.tables.ListTables(tx, a.ID)
	if err != nil {
		return nil, err
	}
	value := make([]any, len(list))
	for i, t := range list {
		value[i] = tableBody(a, t)
	}
	return map[string]any{"value": value}, nil
}

func (p *Provider) getTable(tx *rp.Tx, a *rp.Resource[Account], name string, _ []byte) (any, error) {
	t, err := p.tables.Table(tx, a.ID, name)
	if err != nil {
		return nil, err
	}
	return tableBody(a, t), nil
}

func (p *Provider) putTable(tx *rp.Tx, a *rp.Resource[Account], name string, body []byte) (any, error) {
	var in struct {
		Properties struct {
			Identifiers []Identifier `json:"signedIdentifiers"`
		} `json:"properties"`
	}
	if err := readBody(body, &in); err != nil {
		return nil, err
	}
	if err := p.tables.PutTable(tx, a.ID, Table{name, in.Properties.Identifiers}); err != nil {
		return nil, err
	}
	return p.getTable(tx, a, name, nil)
}

func (p *Provider) deleteTable(tx *rp.Tx, a *rp.Resource[Account], name string, _ []byte) (any, error) {
	return nil, gone(p.tables.DeleteTable(tx, a.ID, name))
}

// gone takes what was not there for deleted, as of containers.
func gone(err error) error {
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return nil
	}
	return err
}

func readBody(body []byte, into any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	return nil
}
