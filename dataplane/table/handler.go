package table

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// request is one request on its way: account, firewall, caller, permission, operation.
type request struct {
	storagehttp.Request
	s     *Service
	level level
	path  path
}

// path is what the path of a request names.
type path struct {
	tables    bool   // /Tables, or /Tables('name')
	batch     bool   // /$batch
	table     string // of both forms
	keys      bool   // …(PartitionKey='…',RowKey='…')
	partition string
	row       string
}

// serve answers one request. It is the one place that writes errors.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: s.front.Begin(w, r), s: s}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("DataServiceVersion", "3.0;")
	if err := q.handle(); err != nil {
		q.Fail(err)
	}
}

func (q *request) handle() error {
	if err := q.Admit(); err != nil {
		return err
	}
	if done, err := q.Cross(q.s.store); done || err != nil {
		return err
	}
	var err error
	if q.path, err = parsePath(q.R.URL.Path); err != nil {
		return err
	}
	op, err := q.operation()
	if err != nil {
		return err
	}
	q.Serves(op.name)
	if q.Caller, err = q.Authenticate(true, q.signature); err != nil {
		return err
	}
	if err := q.authorize(op); err != nil {
		return err
	}
	if op.each {
		return q.transaction()
	}
	if q.Query.Get("comp") == "" {
		if q.level, err = parseAccept(orElse(q.Query.Get("$format"), q.R.Header.Get("Accept"))); err != nil {
			return err
		}
	}
	return op.run(q)
}

func errURI(p, why string) error {
	return storagehttp.NewError(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.").Because("path '%s': %s", p, why)
}

// parsePath reads /Tables, /Tables('name'), /name, /name() and /name(PartitionKey='…',RowKey='…').
func parsePath(raw string) (p path, err error) {
	s := strings.TrimPrefix(raw, "/")
	name, rest, keyed := strings.Cut(s, "(")
	switch {
	case s == "":
		return p, nil
	case s == "$batch":
		p.batch = true
		return p, nil
	case strings.EqualFold(name, "Tables"):
		p.tables = true
	case keyed || !strings.Contains(s, "/"):
		p.table = name
	default:
		return p, errURI(raw, "a table has no resources below it")
	}
	if keyed {
		var ok bool
		if rest, ok = strings.CutSuffix(rest, ")"); !ok {
			return p, errURI(raw, "a parenthesis is not closed")
		}
	}
	switch {
	case rest == "":
		return p, nil
	case p.tables:
		var ok bool
		if p.table, rest, ok = cutQuoted(rest); !ok || rest != "" {
			return p, errURI(raw, "it is not Tables('name')")
		}
		return p, nil
	}
	var seen [2]bool
	for i := range 2 {
		name, after, _ := strings.Cut(rest, "=")
		value, more, ok := cutQuoted(after)
		which := slices.Index([]string{"PartitionKey", "RowKey"}, strings.TrimSpace(name))
		if i == 0 {
			more, ok = strings.CutPrefix(more, ",")
		}
		if !ok || which < 0 || seen[which] {
			return p, errURI(raw, "it is not table(PartitionKey='…',RowKey='…')")
		}
		seen[which], rest = true, more
		if which == 0 {
			p.partition = value
		} else {
			p.row = value
		}
	}
	if rest != "" {
		return p, errURI(raw, "something follows the keys")
	}
	p.keys = true
	return p, nil
}

// cutQuoted reads a text in quotes, which are doubled in it, and returns what follows.
func cutQuoted(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, "'") {
		return "", s, false
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '\'':
		case i+1 < len(s) && s[i+1] == '\'':
			i++
		default:
			return strings.ReplaceAll(s[1:i], "''", "'"), s[i+1:], true
		}
	}
	return "", s, false
}

// signature verifies the request's SAS ("Create a service SAS": for tables it names the table, tn, and ranges of keys).
func (q *request) signature() (storagehttp.Caller, error) {
	s, err := storagehttp.ParseSAS(q.Query)
	if err != nil {
		return storagehttp.Caller{}, err
	}
	c := storagehttp.Caller{SAS: s}
	named := q.Query.Get("tn")
	switch {
	case s.Services != "" || s.Types != "":
		c.Kind = storagehttp.ByAccountSAS
		err = q.VerifyKey(s, s.AccountText(q.Account.Name))
	case s.Key != nil:
		return c, storagehttp.NotImplemented("user delegation shared access signatures for tables")
	case named == "":
		return c, storagehttp.AuthenticationFailed("tn is mandatory. Cannot be empty")
	default:
		c.Kind = storagehttp.ByServiceSAS
		if err = q.VerifyKey(s, serviceText(s, q.Account.Name, q.Query.Get)); err == nil && s.Identifier != "" {
			err = q.applyPolicy(s, named)
		}
	}
	if err != nil {
		return c, err
	}
	return c, q.CheckSAS(s)
}

// serviceText is the string to sign of a service SAS for a table.
func serviceText(s *storagehttp.SAS, account string, get func(string) string) string {
	return strings.Join([]string{
		s.Permissions, s.StartText, s.ExpiryText, "/table/" + account + "/" + strings.ToLower(get("tn")), s.Identifier, s.IP, s.Protocol, s.Version,
		get("spk"), get("srk"), get("epk"), get("erk"),
	}, "\n")
}

func (q *request) applyPolicy(s *storagehttp.SAS, table string) error {
	var found Table
	err := q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		found, err = q.s.GetTx(tx, q.Account.Name, table)
		return err
	})
	if err != nil && !storagehttp.IsCode(err, "TableNotFound") {
		return err
	}
	return s.Apply(found.Policies)
}

// bounds are the keys that the caller's SAS is for.
func (q *request) bounds() (b Bounds) {
	if q.Caller.Kind != storagehttp.ByServiceSAS {
		return b
	}
	for name, to := range map[string]**string{"spk": &b.StartPartition, "srk": &b.StartRow, "epk": &b.EndPartition, "erk": &b.EndRow} {
		if v := q.Query.Get(name); v != "" {
			*to = &v
		}
	}
	return b
}

const actionRoot = "Microsoft.Storage/storageAccounts/tableServices/"

// authorize judges whether the caller may do op on the table that the request names.
func (q *request) authorize(op *operation) error {
	if op.each { // a transaction: each of its operations is judged
		if q.Caller.Kind == storagehttp.Anonymous {
			return q.NoCredentials()
		}
		return nil
	}
	switch q.Caller.Kind {
	case storagehttp.ByKey:
		return nil
	case storagehttp.ByAccountSAS:
		if err := q.CheckAccountSAS("t", op.level, op.name); err != nil {
			return err
		}
		return q.permits(op, op.account)
	case storagehttp.ByServiceSAS:
		switch {
		case op.service == "":
			return storagehttp.PermissionMismatch().Because("%s cannot be permitted by a service SAS", op.name)
		case !strings.EqualFold(q.Query.Get("tn"), q.path.table):
			return storagehttp.AuthenticationFailed("The signature is for table '%s', the request for '%s'.", q.Query.Get("tn"), q.path.table)
		}
		return q.permits(op, op.service)
	case storagehttp.ByToken:
		return q.authorizeRoles(op)
	}
	return q.NoCredentials()
}

// permits asks for one of the letters, or for all of them when the operation may do several things.
func (q *request) permits(op *operation, letters string) error {
	has := q.Caller.SAS.Permissions
	missing := func(l rune) bool { return !strings.ContainsRune(has, l) }
	if letters != "" && (op.all && !strings.ContainsFunc(letters, missing) || !op.all && strings.ContainsAny(has, letters)) {
		return nil
	}
	return storagehttp.PermissionMismatch().Because("%s needs the permissions '%s', the signature has '%s'", op.name, letters, has)
}

func (q *request) authorizeRoles(op *operation) error {
	scope := q.Account.ID + "/tableServices/default"
	if q.path.table != "" {
		scope += "/tables/" + q.path.table
	}
	return q.HasRole(storagehttp.RoleCheck{Operation: op.name, Root: actionRoot, Actions: op.roles, Data: storagehttp.Below("tables/entities/"), Scope: scope, Attributes: q.attributes})
}

func (q *request) attributes(a authz.Attribute) ([]string, bool, error) {
	name := strings.ToLower(a.Name)
	switch a.Source {
	case authz.FromEnvironment:
		return q.Environment(name)
	case authz.FromResource:
		switch name {
		case "microsoft.storage/storageaccounts:name":
			return []string{q.Account.Name}, true, nil
		case "microsoft.storage/storageaccounts/tableservices/tables:name":
			return []string{q.path.table}, q.path.table != "", nil
		}
	}
	return nil, false, nil
}

// maxBody is the longest body of one operation: an entity of 1 MiB in UTF-16 may be longer in JSON.
const maxBody = 8 << 20

func (q *request) body(limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(q.R.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, storagehttp.TooLarge(limit)
	}
	if t := q.R.Header.Get("Content-Type"); strings.Contains(strings.ToLower(t), "atom") {
		return nil, storagehttp.NewError(http.StatusUnsupportedMediaType, "AtomFormatNotSupported", "Atom format is not supported.").Because("Content-Type is '%s'; application/json is read", t)
	}
	return b, nil
}

func asError(err error) *storagehttp.Error {
	var e *storagehttp.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
