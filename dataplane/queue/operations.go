package queue

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// operation is one operation of the API with what permits it ("Create an account SAS", "Create a service SAS", "Permissions
// for calling data operations"). No permission of a kind, no way in by that kind.
type operation struct {
	name  string
	level byte // s, c, o: srt of an account SAS
	// account and service are the letters any of which admits, of an account and of a service SAS.
	account, service string
	// roles are the actions any of which admits, under …/queueServices/; those under queues/messages/ are data actions.
	roles []string
	run   func(*request) error
}

const (
	messagesRead    = "queues/messages/read"
	messagesWrite   = "queues/messages/write"
	messagesAdd     = "queues/messages/add/action"
	messagesProcess = "queues/messages/process/action"
	messagesDelete  = "queues/messages/delete"
)

// operations by level, method, restype and comp.
var operations = map[string]*operation{
	"s GET /list":              {name: "List Queues", level: 's', account: "l", roles: []string{"queues/read"}, run: (*request).listQueues},
	"s GET service/properties": {name: "Get Queue Service Properties", level: 's', account: "r", roles: []string{"read"}, run: (*request).getProperties},
	"s PUT service/properties": {name: "Set Queue Service Properties", level: 's', account: "w", roles: []string{"write"}, run: (*request).setProperties},
	"s GET service/stats":      {name: "Get Queue Service Stats", level: 's', account: "r", roles: []string{"read"}, run: func(q *request) error { return q.NoSecondary() }},

	"c PUT /":         {name: "Create Queue", level: 'c', account: "cw", roles: []string{"queues/write"}, run: (*request).createQueue},
	"c DELETE /":      {name: "Delete Queue", level: 'c', account: "d", roles: []string{"queues/delete"}, run: (*request).deleteQueue},
	"c GET /metadata": {name: "Get Queue Metadata", level: 'c', account: "r", service: "r", roles: []string{"queues/read"}, run: (*request).getMetadata},
	"c PUT /metadata": {name: "Set Queue Metadata", level: 'c', account: "w", roles: []string{"queues/write"}, run: (*request).setMetadata},
	"c GET /acl":      {name: "Get Queue ACL", level: 'c', run: (*request).getACL},
	"c PUT /acl":      {name: "Set Queue ACL", level: 'c', run: (*request).setACL},

	"m POST /":   {name: "Put Message", level: 'o', account: "a", service: "a", roles: []string{messagesAdd, messagesWrite}, run: (*request).putMessage},
	"m GET /":    {name: "Get Messages", level: 'o', account: "p", service: "p", roles: []string{messagesProcess}, run: (*request).getMessages},
	"m peek":     {name: "Peek Messages", level: 'o', account: "r", service: "r", roles: []string{messagesRead}, run: (*request).peekMessages},
	"m DELETE /": {name: "Clear Messages", level: 'o', account: "d", roles: []string{messagesDelete}, run: (*request).clearMessages},
	"o PUT /":    {name: "Update Message", level: 'o', account: "u", service: "u", roles: []string{messagesWrite}, run: (*request).updateMessage},
	"o DELETE /": {name: "Delete Message", level: 'o', account: "p", service: "p", roles: []string{messagesProcess, messagesDelete}, run: (*request).deleteMessage},
}

// operation is the one that the request asks for.
func (q *request) operation() (*operation, error) {
	level := "s"
	switch {
	case q.message != "":
		level = "o"
	case q.messages:
		level = "m"
	case q.queue != "":
		level = "c"
	}
	comp := strings.ToLower(q.Query.Get("comp"))
	method, key := q.R.Method, strings.ToLower(q.Query.Get("restype"))+"/"+comp
	if level == "m" && method == http.MethodGet && strings.EqualFold(q.Query.Get("peekonly"), "true") {
		return operations["m peek"], nil
	}
	if method == http.MethodHead && level == "c" {
		method = http.MethodGet
	}
	if op := operations[level+" "+method+" "+key]; op != nil {
		return op, nil
	}
	switch {
	case comp == "userdelegationkey":
		return nil, storagehttp.NotImplemented("user delegation keys of the queue service")
	case comp != "":
		return nil, storagehttp.InvalidQuery("comp", comp)
	}
	return nil, storagehttp.NewError(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
}

func (q *request) getProperties() error { return q.GetProperties(q.s.store) }
func (q *request) setProperties() error { return q.SetProperties(q.s.store) }

// maxPage is how many queues a page of a list has at most.
const maxPage = 5000

func (q *request) listQueues() error {
	limit, err := q.number("maxresults", maxPage, 1, 1<<31)
	if err != nil {
		return err
	}
	after, err := decodeMarker(q.Query.Get("marker"))
	if err != nil {
		return err
	}
	var list []Queue
	var more bool
	err = q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		list, more, err = q.s.ListTx(tx, q.Account.Name, q.Query.Get("prefix"), after, int(min(limit, maxPage)))
		return err
	})
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `">`)
	x.Option("Prefix", q.Query.Get("prefix"))
	x.Option("Marker", q.Query.Get("marker"))
	x.Option("MaxResults", q.Query.Get("maxresults"))
	x.WriteString("<Queues>")
	for _, found := range list {
		x.WriteString("<Queue>")
		x.Text("Name", found.Name)
		if strings.EqualFold(q.Query.Get("include"), "metadata") {
			x.Metadata(found.Metadata)
		}
		x.WriteString("</Queue>")
	}
	x.WriteString("</Queues>")
	next := ""
	if more {
		next = encodeMarker(list[len(list)-1].Name)
	}
	x.Text("NextMarker", next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

func (q *request) createQueue() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	created := false
	err = q.s.store.Update(q.Ctx, func(tx store.Tx) (err error) {
		created, err = q.s.CreateTx(tx, q.Account.Name, q.queue, m)
		return err
	})
	switch {
	case err != nil:
		return err
	case created:
		return q.Send(http.StatusCreated)
	}
	return q.Send(http.StatusNoContent)
}

func (q *request) deleteQueue() error {
	err := q.s.store.Update(q.Ctx, func(tx store.Tx) error { return q.s.DeleteTx(tx, q.Account.Name, q.queue) })
	if err != nil {
		return err
	}
	q.s.housekeeping.Wake()
	return q.Send(http.StatusNoContent)
}

func (q *request) getMetadata() error {
	n, found, err := q.s.Count(q.Ctx, q.Account.Name, q.queue)
	if err != nil {
		return err
	}
	q.SetMetadata(found.Metadata)
	q.W.Header().Set("x-ms-approximate-messages-count", strconv.Itoa(n))
	return q.Send(http.StatusOK)
}

func (q *request) setMetadata() error {
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	return q.change(func(found *Queue) { found.Metadata = m })
}

func (q *request) change(f func(*Queue)) error {
	err := q.s.store.Update(q.Ctx, func(tx store.Tx) error { return q.s.UpdateTx(tx, q.Account.Name, q.queue, f) })
	if err != nil {
		return err
	}
	return q.Send(http.StatusNoContent)
}

func (q *request) getACL() error {
	var found Queue
	err := q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		found, err = q.s.GetTx(tx, q.Account.Name, q.queue)
		return err
	})
	if err != nil {
		return err
	}
	return q.SendXML(storagehttp.Identifiers(found.Policies))
}

func (q *request) setACL() error {
	list, err := storagehttp.ParseIdentifiers(q.R.Body, "raup")
	if err != nil {
		return err
	}
	return q.change(func(found *Queue) { found.Policies = list })
}

// defaultTTL is how long a message lives that does not say.
const defaultTTL = int64(maxVisible / time.Second)

// unlimitedSince is the first version in which messages may live longer than seven days.
const unlimitedSince = "2017-07-29"

func (q *request) putMessage() error {
	delay, err := q.seconds("visibilitytimeout", 0, 0)
	if err != nil {
		return err
	}
	limit := int64(1<<31 - 1)
	if q.Version < unlimitedSince {
		limit = defaultTTL
	}
	ttl, err := q.number("messagettl", defaultTTL, -1, limit)
	if err != nil {
		return err
	}
	if ttl == 0 || ttl < 0 && q.Version < unlimitedSince {
		return storagehttp.InvalidQuery("messagettl", q.Query.Get("messagettl"))
	}
	if ttl > 0 && delay >= time.Duration(ttl)*time.Second {
		return storagehttp.InvalidQuery("visibilitytimeout", q.Query.Get("visibilitytimeout")).Because("the visibility timeout %v is not below the time to live of %d s", delay, ttl)
	}
	text, err := q.text()
	if err != nil {
		return err
	}
	if text == nil {
		return storagehttp.NewError(http.StatusBadRequest, "MissingContentLengthHeader", "The body of the request is missing.").Because("Put Message has a QueueMessage document")
	}
	m, err := q.s.Put(q.Ctx, q.Account.Name, q.queue, *text, delay, time.Duration(ttl)*time.Second)
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString("<QueueMessagesList>")
	m.write(x, true, false)
	x.WriteString("</QueueMessagesList>")
	return q.SendXMLStatus(http.StatusCreated, x)
}

// write is the message in a list: with its receipt to who took or put it, with its text to who reads it.
func (m *Message) write(x *storagehttp.XML, receipt, text bool) {
	x.WriteString("<QueueMessage>")
	x.Text("MessageId", m.ID)
	x.Text("InsertionTime", storagehttp.HTTPTime(m.Inserted))
	x.Text("ExpirationTime", storagehttp.HTTPTime(m.Expires))
	if receipt {
		x.Text("PopReceipt", m.Receipt)
		x.Text("TimeNextVisible", storagehttp.HTTPTime(m.NextVisible))
	}
	if text {
		x.Text("DequeueCount", strconv.Itoa(m.Dequeued))
		x.Text("MessageText", m.Text)
	}
	x.WriteString("</QueueMessage>")
}

func (q *request) sendMessages(list []Message, receipt bool) error {
	x := storagehttp.NewXML()
	x.WriteString("<QueueMessagesList>")
	for i := range list {
		list[i].write(x, receipt, true)
	}
	x.WriteString("</QueueMessagesList>")
	q.W.Header().Set("Cache-Control", "no-cache")
	return q.SendXML(x)
}

const (
	maxReceived   = 32
	defaultHidden = 30
)

func (q *request) getMessages() error {
	n, err := q.number("numofmessages", 1, 1, maxReceived)
	if err != nil {
		return err
	}
	hidden, err := q.seconds("visibilitytimeout", defaultHidden, 1)
	if err != nil {
		return err
	}
	list, err := q.s.Get(q.Ctx, q.Account.Name, q.queue, int(n), hidden)
	if err != nil {
		return err
	}
	return q.sendMessages(list, true)
}

func (q *request) peekMessages() error {
	n, err := q.number("numofmessages", 1, 1, maxReceived)
	if err != nil {
		return err
	}
	list, err := q.s.Peek(q.Ctx, q.Account.Name, q.queue, int(n))
	if err != nil {
		return err
	}
	return q.sendMessages(list, false)
}

func (q *request) clearMessages() error {
	if err := q.s.Clear(q.Ctx, q.Account.Name, q.queue); err != nil {
		return err
	}
	return q.Send(http.StatusNoContent)
}

func (q *request) receipt() (string, error) {
	if v := q.Query.Get("popreceipt"); v != "" {
		return v, nil
	}
	return "", storagehttp.NewError(http.StatusBadRequest, "MissingRequiredQueryParameter", "A query parameter that's mandatory for this request is not specified.").
		WithElement("QueryParameterName", "popreceipt").Because("popreceipt is what Get Messages answered with the message")
}

func (q *request) deleteMessage() error {
	receipt, err := q.receipt()
	if err != nil {
		return err
	}
	if err := q.s.Delete(q.Ctx, q.Account.Name, q.queue, q.message, receipt); err != nil {
		return err
	}
	return q.Send(http.StatusNoContent)
}

func (q *request) updateMessage() error {
	receipt, err := q.receipt()
	if err != nil {
		return err
	}
	if q.Query.Get("visibilitytimeout") == "" {
		return storagehttp.NewError(http.StatusBadRequest, "MissingRequiredQueryParameter", "A query parameter that's mandatory for this request is not specified.").
			WithElement("QueryParameterName", "visibilitytimeout").Because("Update Message says visibilitytimeout")
	}
	hidden, err := q.seconds("visibilitytimeout", 0, 0)
	if err != nil {
		return err
	}
	text, err := q.text()
	if err != nil {
		return err
	}
	m, err := q.s.Update(q.Ctx, q.Account.Name, q.queue, q.message, receipt, hidden, text)
	if err != nil {
		return err
	}
	q.W.Header().Set("x-ms-popreceipt", m.Receipt)
	q.W.Header().Set("x-ms-time-next-visible", storagehttp.HTTPTime(m.NextVisible))
	return q.Send(http.StatusNoContent)
}
