package table

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/internal/odata"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// operation is one operation of the API with what permits it ("Create an account SAS", "Create a service SAS", "Permissions
// for calling data operations"). No permission of a kind, no way in by that kind.
type operation struct {
	name  string
	level byte // s, c, o: srt of an account SAS
	// account and service are the letters any of which admits, all of them if all, of an account and of a service SAS.
	account, service string
	all              bool
	// roles are the actions any of which admits, those that "&" joins together, under …/tableServices/.
	roles []string
	each  bool // a transaction, each of whose operations is judged
	// writes: it does action to one entity.
	writes bool
	action Action
	run    func(*request) error
}

const (
	entitiesRead   = "tables/entities/read"
	entitiesWrite  = "tables/entities/write"
	entitiesAdd    = "tables/entities/add/action"
	entitiesUpdate = "tables/entities/update/action"
	entitiesDelete = "tables/entities/delete"
)

var (
	insertEntity  = &operation{name: "Insert Entity", level: 'o', account: "a", service: "a", roles: []string{entitiesWrite, entitiesAdd}, writes: true, action: Insert, run: write(Insert)}
	upsertEntity  = &operation{name: "Insert Or Replace Entity", level: 'o', account: "au", service: "au", all: true, roles: []string{entitiesWrite, entitiesAdd + "&" + entitiesUpdate}, writes: true, action: InsertOrReplace, run: write(InsertOrReplace)}
	upmergeEntity = &operation{name: "Insert Or Merge Entity", level: 'o', account: "au", service: "au", all: true, roles: []string{entitiesWrite, entitiesAdd + "&" + entitiesUpdate}, writes: true, action: InsertOrMerge, run: write(InsertOrMerge)}
	updateEntity  = &operation{name: "Update Entity", level: 'o', account: "u", service: "u", roles: []string{entitiesWrite, entitiesUpdate}, writes: true, action: Replace, run: write(Replace)}
	mergeEntity   = &operation{name: "Merge Entity", level: 'o', account: "u", service: "u", roles: []string{entitiesWrite, entitiesUpdate}, writes: true, action: Merge, run: write(Merge)}
	deleteEntity  = &operation{name: "Delete Entity", level: 'o', account: "d", service: "d", roles: []string{entitiesDelete}, writes: true, action: Delete, run: write(Delete)}
	getEntity     = &operation{name: "Get Entity", level: 'o', account: "r", service: "r", roles: []string{entitiesRead}, run: (*request).getEntity}
	queryEntities = &operation{name: "Query Entities", level: 'o', account: "r", service: "r", roles: []string{entitiesRead}, run: (*request).queryEntities}
)

// others are the operations that the query or /Tables tells, by what the path names and the method.
var others = map[string]*operation{
	"GET service/properties": {name: "Get Table Service Properties", level: 's', account: "r", roles: []string{"read"}, run: func(q *request) error { return q.GetProperties(q.s.store) }},
	"PUT service/properties": {name: "Set Table Service Properties", level: 's', account: "w", roles: []string{"write"}, run: func(q *request) error { return q.SetProperties(q.s.store) }},
	"GET service/stats":      {name: "Get Table Service Stats", level: 's', account: "r", roles: []string{"read"}, run: func(q *request) error { return q.NoSecondary() }},
	"GET table/acl":          {name: "Get Table ACL", level: 'c', run: (*request).getACL},
	"PUT table/acl":          {name: "Set Table ACL", level: 'c', run: (*request).setACL},
	"GET Tables":             {name: "Query Tables", level: 'c', account: "l", roles: []string{"tables/read"}, run: (*request).queryTables},
	"POST Tables":            {name: "Create Table", level: 'c', account: "cw", roles: []string{"tables/write"}, run: (*request).createTable},
	"GET Tables()":           {name: "Get Table", level: 'c', account: "l", roles: []string{"tables/read"}, run: (*request).getTable},
	"DELETE Tables()":        {name: "Delete Table", level: 'c', account: "d", roles: []string{"tables/delete"}, run: (*request).deleteTable},
	"POST $batch":            {name: "Entity Group Transaction", level: 'o', each: true},
}

// operation is the one that the request asks for.
func (q *request) operation() (*operation, error) {
	method := q.R.Method
	if m := q.R.Header.Get("X-Http-Method"); m != "" && method == http.MethodPost {
		method = strings.ToUpper(m)
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	restype, comp := strings.ToLower(q.Query.Get("restype")), strings.ToLower(q.Query.Get("comp"))
	var op *operation
	switch {
	case comp == "userdelegationkey":
		return nil, storagehttp.NotImplemented("user delegation keys of the table service")
	case comp != "" && q.path.table != "" && !q.path.tables && !q.path.keys:
		op = others[method+" table/"+comp]
	case comp != "":
		op = others[method+" "+restype+"/"+comp]
	case q.path.batch:
		op = others[method+" $batch"]
	case q.path.tables && q.path.table != "":
		op = others[method+" Tables()"]
	case q.path.tables:
		op = others[method+" Tables"]
	case q.path.keys:
		op = pointOperation(method, q.R.Header.Get("If-Match") != "")
	case q.path.table != "":
		op = map[string]*operation{http.MethodGet: queryEntities, http.MethodPost: insertEntity}[method]
	}
	switch {
	case op != nil:
		return op, nil
	case comp != "":
		return nil, storagehttp.InvalidQuery("comp", comp)
	}
	return nil, storagehttp.NewError(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.").Because("%s of '%s'", method, q.R.URL.Path)
}

// pointOperation is what a method does to one entity.
func pointOperation(method string, conditional bool) *operation {
	switch method {
	case http.MethodGet:
		return getEntity
	case http.MethodDelete:
		return deleteEntity
	case http.MethodPut:
		if conditional {
			return updateEntity
		}
		return upsertEntity
	case http.MethodPatch, "MERGE":
		if conditional {
			return mergeEntity
		}
		return upmergeEntity
	}
	return nil
}

func (q *request) view() view {
	return view{level: q.level, endpoint: q.Endpoint(), account: q.Account.Name, table: q.path.table, selected: selected(q.Query.Get("$select"))}
}

// selected reads $select; nil is all.
func selected(v string) []string {
	var list []string
	for name := range strings.SplitSeq(v, ",") {
		switch name = strings.TrimSpace(name); name {
		case "":
		case "*":
			return nil
		default:
			list = append(list, name)
		}
	}
	return list
}

func (q *request) sendJSON(status int, body []byte) error {
	q.W.Header().Set("Cache-Control", "no-cache")
	return q.SendBody(status, q.level.contentType(), body)
}

// created answers what was made: with it, or without when the client prefers so.
func (q *request) created(location string, body []byte) error {
	h := q.W.Header()
	h.Set("Location", location)
	if strings.EqualFold(q.R.Header.Get("Prefer"), "return-no-content") {
		h.Set("Preference-Applied", "return-no-content")
		h.Set("DataServiceId", location)
		return q.Send(http.StatusNoContent)
	}
	if strings.EqualFold(q.R.Header.Get("Prefer"), "return-content") {
		h.Set("Preference-Applied", "return-content")
	}
	return q.sendJSON(http.StatusCreated, body)
}

// top reads $top: 0 is none.
func (q *request) top() (int, error) {
	v := q.Query.Get("$top")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxPage {
		return 0, errInvalidInput("$top '%s' is not a number from 1 to %d", v, maxPage)
	}
	return n, nil
}

func (q *request) filter() (odata.Filter, error) {
	f, err := odata.ParseEDM(q.Query.Get("$filter"))
	if err != nil {
		return nil, errInvalidInput("$filter: %v", err)
	}
	return f, nil
}

// continuation is a token of x-ms-continuation-…: the key in base64, behind a mark that is never empty.
func continuation(key string) string { return "1!" + base64.RawURLEncoding.EncodeToString([]byte(key)) }

func (q *request) continued(name string) (string, error) {
	v := q.Query.Get(name)
	if v == "" {
		return "", nil
	}
	rest, ok := strings.CutPrefix(v, "1!")
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if !ok || err != nil {
		return "", storagehttp.InvalidQuery(name, v)
	}
	return string(b), nil
}

// tableRow is a table for filters.
type tableRow string

func (t tableRow) Member(name string) (any, bool) { return string(t), name == "TableName" }

func (q *request) queryTables() error {
	limit, err := q.top()
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = maxPage
	}
	filter, err := q.filter()
	if err != nil {
		return err
	}
	after, err := q.continued("NextTableName")
	if err != nil {
		return err
	}
	v := q.view()
	var items [][]byte
	last, more := "", false
	err = q.s.store.View(q.Ctx, func(tx store.Tx) error {
		return q.s.ListTx(tx, q.Account.Name, after, func(t Table) (bool, error) {
			in, err := filter.Match(tableRow(t.Name))
			if err != nil {
				return false, errInvalidInput("$filter: %v", err)
			}
			if more = in && len(items) == limit; more {
				return false, nil
			}
			if in {
				items, last = append(items, v.tableJSON(t.Name, false)), t.Name
			}
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	if more {
		q.W.Header().Set("x-ms-continuation-NextTableName", continuation(last))
	}
	return q.sendJSON(http.StatusOK, v.list("Tables", items))
}

func (q *request) createTable() error {
	b, err := q.body(64 << 10)
	if err != nil {
		return err
	}
	var in struct{ TableName string }
	if err := json.Unmarshal(b, &in); err != nil {
		return errInvalidInput("the body is no JSON object with TableName: %v", err)
	}
	if err := q.s.store.Update(q.Ctx, func(tx store.Tx) error { return q.s.CreateTx(tx, q.Account.Name, in.TableName) }); err != nil {
		return err
	}
	return q.created(q.Endpoint()+"Tables('"+in.TableName+"')", q.view().tableJSON(in.TableName, true))
}

func (q *request) find() (t Table, err error) {
	err = q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		t, err = q.s.GetTx(tx, q.Account.Name, q.path.table)
		return err
	})
	return t, err
}

// noTable is how operations on tables, unlike those on entities, say that there is none.
func noTable(err error) error {
	if storagehttp.IsCode(err, "TableNotFound") {
		e := asError(err)
		return storagehttp.NewError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").Because("%s", e.Vauban)
	}
	return err
}

func (q *request) getTable() error {
	t, err := q.find()
	if err != nil {
		return noTable(err)
	}
	return q.sendJSON(http.StatusOK, q.view().tableJSON(t.Name, true))
}

func (q *request) deleteTable() error {
	if err := q.s.store.Update(q.Ctx, func(tx store.Tx) error { return q.s.DeleteTx(tx, q.Account.Name, q.path.table) }); err != nil {
		return noTable(err)
	}
	q.s.housekeeping.Wake()
	return q.Send(http.StatusNoContent)
}

func (q *request) getACL() error {
	t, err := q.find()
	if err != nil {
		return err
	}
	return q.SendXML(storagehttp.Identifiers(t.Policies))
}

func (q *request) setACL() error {
	list, err := storagehttp.ParseIdentifiers(q.R.Body, "raud")
	if err != nil {
		return err
	}
	err = q.s.store.Update(q.Ctx, func(tx store.Tx) error { return q.s.SetPoliciesTx(tx, q.Account.Name, q.path.table, list) })
	if err != nil {
		return err
	}
	return q.Send(http.StatusNoContent)
}

func (q *request) getEntity() error {
	if !q.bounds().within(q.path.partition, q.path.row) {
		return errBounds()
	}
	e, err := q.s.Get(q.Ctx, q.Account.Name, q.path.table, q.path.partition, q.path.row)
	if err != nil {
		return err
	}
	q.W.Header().Set("ETag", e.ETag())
	return q.sendJSON(http.StatusOK, q.view().entity(&e, true))
}

func errBounds() error {
	return storagehttp.Unauthorized().Because("the keys are outside of the range that the signature is for (spk, srk, epk, erk)")
}

func (q *request) queryEntities() error {
	top, err := q.top()
	if err != nil {
		return err
	}
	filter, err := q.filter()
	if err != nil {
		return err
	}
	ask := Query{Filter: filter, Top: top, Bounds: q.bounds()}
	if ask.NextPartition, err = q.continued("NextPartitionKey"); err != nil {
		return err
	}
	if ask.NextRow, err = q.continued("NextRowKey"); err != nil {
		return err
	}
	page, next, err := q.s.List(q.Ctx, q.Account.Name, q.path.table, ask)
	if err != nil {
		return err
	}
	v := q.view()
	items := make([][]byte, len(page))
	for i := range page {
		items[i] = v.entity(&page[i], false)
	}
	if next != nil {
		q.W.Header().Set("x-ms-continuation-NextPartitionKey", continuation(next[0]))
		q.W.Header().Set("x-ms-continuation-NextRowKey", continuation(next[1]))
	}
	return q.sendJSON(http.StatusOK, v.list(q.path.table, items))
}

// write is the operation that does action to one entity.
func write(action Action) func(*request) error {
	return func(q *request) error {
		op, err := q.write(action)
		if err != nil {
			return err
		}
		written, err := q.s.Apply(q.Ctx, q.Account.Name, q.path.table, []Operation{op})
		if err != nil {
			return err
		}
		e := &written[0]
		if action == Delete {
			return q.Send(http.StatusNoContent)
		}
		q.W.Header().Set("ETag", e.ETag())
		if action == Insert {
			v := q.view()
			return q.created(v.endpoint+v.path(e), v.entity(e, true))
		}
		return q.Send(http.StatusNoContent)
	}
}

// write reads what the request wants done to an entity.
func (q *request) write(action Action) (op Operation, err error) {
	op.Action, op.Match = action, q.R.Header.Get("If-Match")
	switch {
	case action == Delete && op.Match == "":
		return op, storagehttp.NewError(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified.").
			WithElement("HeaderName", "If-Match").Because("Delete Entity has If-Match, an ETag or *")
	case op.Match != "" && op.Match != "*" && !strings.HasPrefix(op.Match, "W/\""):
		return op, storagehttp.InvalidHeader("If-Match", op.Match)
	case action == Delete:
		op.Entity = Entity{PartitionKey: q.path.partition, RowKey: q.path.row}
	default:
		body, err := q.body(maxBody)
		if err != nil {
			return op, err
		}
		var partition, row bool
		if op.Entity, partition, row, err = parseEntity(body); err != nil {
			return op, err
		}
		if action == Insert {
			if !partition || !row {
				return op, refuse("PropertiesNeedValue", "The values are not specified for all properties in the entity.", "an entity has PartitionKey and RowKey, which are no null")
			}
			break
		}
		if partition && op.Entity.PartitionKey != q.path.partition || row && op.Entity.RowKey != q.path.row {
			return op, errInvalidInput("the keys of the body are not those of the URI")
		}
		op.Entity.PartitionKey, op.Entity.RowKey = q.path.partition, q.path.row
	}
	if !q.bounds().within(op.Entity.PartitionKey, op.Entity.RowKey) {
		return op, errBounds()
	}
	return op, nil
}
