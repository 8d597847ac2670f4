package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/dataplane/queue"
	"vauban.dev/dataplane/table"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// queues answers provider/storage from dataplane/queue.
type queues struct{ *queue.Service }

// armStorageError gives a storage service's errors to callers of Resource Manager.
func armStorageError(err error) error {
	var e *storagehttp.Error
	if errors.As(err, &e) {
		return arm.Errorf(e.Status, e.Code, "%s", e.Message)
	}
	return err
}

func (q queues) Queue(tx store.Tx, account arm.ID, name string) (map[string]string, error) {
	found, err := q.GetTx(tx, accountName(account), name)
	return found.Metadata, armStorageError(err)
}

func (q queues) PutQueue(tx store.Tx, account arm.ID, name string, metadata map[string]string) error {
	_, err := q.GetTx(tx, accountName(account), name)
	if storagehttp.IsCode(err, "QueueNotFound") {
		_, err = q.CreateTx(tx, accountName(account), name, metadata)
		return armStorageError(err)
	}
	if err != nil || metadata == nil {
		return armStorageError(err)
	}
	return armStorageError(q.UpdateTx(tx, accountName(account), name, func(found *queue.Queue) { found.Metadata = metadata }))
}

func (q queues) DeleteQueue(tx store.Tx, account arm.ID, name string) error {
	return armStorageError(q.DeleteTx(tx, accountName(account), name))
}

func (q queues) ListQueues(tx store.Tx, account arm.ID) (names []string, metadata []map[string]string, err error) {
	list, _, err := q.ListTx(tx, accountName(account), "", "", 0)
	for _, found := range list {
		names, metadata = append(names, found.Name), append(metadata, found.Metadata)
	}
	return names, metadata, armStorageError(err)
}

// armIdentifiers are stored access policies as Resource Manager shows them.
func armIdentifiers(policies []storagehttp.Policy) (out []storage.Identifier) {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	for _, p := range policies {
		out = append(out, storage.Identifier{ID: p.ID, Policy: &storage.AccessPolicy{Permission: p.Permission, Start: at(p.Start), Expiry: at(p.Expiry)}})
	}
	return out
}

// storagePolicies reads stored access policies of Resource Manager; InvalidValuesForRequestParameters.
func storagePolicies(in []storage.Identifier) ([]storagehttp.Policy, error) {
	list := make([]storagehttp.Policy, len(in))
	for i, p := range in {
		list[i].ID = p.ID
		if p.Policy == nil {
			continue
		}
		list[i].Permission = p.Policy.Permission
		for _, f := range []struct {
			text string
			to   *time.Time
		}{{p.Policy.Start, &list[i].Start}, {p.Policy.Expiry, &list[i].Expiry}} {
			if f.text == "" {
				continue
			}
			at, err := storagehttp.ParseTime(f.text)
			if err != nil {
				return nil, arm.Errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: signedIdentifiers: '%s' is not a time.", f.text)
			}
			*f.to = at
		}
	}
	return list, nil
}

// tables answers provider/storage from dataplane/table.
type tables struct{ *table.Service }

func armTable(t table.Table) storage.Table {
	out := storage.Table{Name: t.Name}
	out.Identifiers = armIdentifiers(t.Policies)
	return out
}

func (t tables) Table(tx store.Tx, account arm.ID, name string) (storage.Table, error) {
	found, err := t.GetTx(tx, accountName(account), name)
	return armTable(found), armStorageError(err)
}

func (t tables) PutTable(tx store.Tx, account arm.ID, in storage.Table) error {
	err := t.CreateTx(tx, accountName(account), in.Name)
	if err != nil && !storagehttp.IsCode(err, "TableAlreadyExists") || in.Identifiers == nil {
		if storagehttp.IsCode(err, "TableAlreadyExists") {
			return nil
		}
		return armStorageError(err)
	}
	list, err := storagePolicies(in.Identifiers)
	if err != nil {
		return err
	}
	if err := storagehttp.CheckPolicies(list, "raud"); err != nil {
		return armStorageError(err)
	}
	return armStorageError(t.SetPoliciesTx(tx, accountName(account), in.Name, list))
}

func (t tables) DeleteTable(tx store.Tx, account arm.ID, name string) error {
	return armStorageError(t.DeleteTx(tx, accountName(account), name))
}

func (t tables) ListTables(tx store.Tx, account arm.ID) (out []storage.Table, err error) {
	err = t.ListTx(tx, accountName(account), "", func(found table.Table) (bool, error) {
		out = append(out, armTable(found))
		return true, nil
	})
	return out, armStorageError(err)
}

// serviceRules are the rules of CORS that the queue, table and file services keep.
type serviceRules struct{}

func (serviceRules) CORS(tx store.Tx, account arm.ID, service string) (out []storage.CORSRule, err error) {
	p, err := storagehttp.PropertiesTx(tx, accountName(account), service)
	if err != nil {
		return nil, err
	}
	for _, r := range p.CORS.Rules {
		out = append(out, storage.CORSRule{Origins: items(r.Origins), Methods: items(r.Methods), Headers: items(r.Headers), Exposed: items(r.Exposed), MaxAge: r.MaxAge})
	}
	return out, nil
}

func (serviceRules) SetCORS(tx store.Tx, account arm.ID, service string, rules []storage.CORSRule) error {
	cors := &storagehttp.CORS{}
	for _, r := range rules {
		cors.Rules = append(cors.Rules, storagehttp.CORSRule{
			Origins: strings.Join(r.Origins, ","), Methods: strings.Join(r.Methods, ","), Headers: strings.Join(r.Headers, ","), Exposed: strings.Join(r.Exposed, ","), MaxAge: r.MaxAge,
		})
	}
	return storagehttp.SetPropertiesTx(tx, accountName(account), service, storagehttp.Properties{CORS: cors})
}

// items splits a list at commas; "" has none.
func items(list string) []string {
	out := []string{}
	for v := range strings.SplitSeq(list, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}
