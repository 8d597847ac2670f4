package file

import (
	"net/http"
	"strconv"
	"strings"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// request is one request on its way: account, firewall, caller, permission, operation.
type request struct {
	storagehttp.Request
	s *Service

	share    string
	names    []string // the path in the share
	snapshot string
}

// serve answers one request. It is the one place that writes errors.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: s.front.Begin(w, r), s: s}
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
	if err := q.setResource(); err != nil {
		return err
	}
	op, err := q.operation()
	if err != nil {
		return err
	}
	q.Serves(op.name)
	if q.Caller, err = q.Authenticate(false, q.signature); err != nil {
		return err
	}
	if err := q.authorize(op); err != nil {
		return err
	}
	if q.snapshot != "" && !op.past {
		return storagehttp.InvalidQuery("sharesnapshot", q.snapshot).Because("%s is not for snapshots", op.name)
	}
	if q.share != "" { // with a customer's key that cannot be used, not even properties and metadata are told
		if err := q.s.usable(q.Ctx, q.Account.Name); err != nil {
			return err
		}
	}
	return op.run(q)
}

// setResource splits the path into share and path.
func (q *request) setResource() (err error) {
	path := strings.TrimPrefix(q.R.URL.Path, "/")
	q.share, path, _ = strings.Cut(path, "/")
	q.snapshot = q.Query.Get("sharesnapshot")
	if q.share == "" {
		return nil
	}
	if err := checkShareName(q.share); err != nil {
		return err
	}
	q.names, err = parsePath(path, strings.EqualFold(q.R.Header.Get("X-Ms-Allow-Trailing-Dot"), "true"))
	return err
}

// signature verifies the request's SAS ("Create a service SAS": sr is s or f).
func (q *request) signature() (storagehttp.Caller, error) {
	s, err := storagehttp.ParseSAS(q.Query)
	if err != nil {
		return storagehttp.Caller{}, err
	}
	c := storagehttp.Caller{SAS: s}
	switch {
	case s.Services != "" || s.Types != "":
		c.Kind = storagehttp.ByAccountSAS
		err = q.VerifyKey(s, s.AccountText(q.Account.Name))
	case s.Key != nil:
		return c, storagehttp.NotImplemented("user delegation shared access signatures for files")
	case q.share == "":
		return c, storagehttp.ResourceTypeMismatch("the signature is for a share or a file, not for the service")
	case s.Resource != "s" && s.Resource != "f":
		return c, storagehttp.AuthenticationFailed("sr is mandatory and is s or f, not '%s'", s.Resource)
	default:
		c.Kind = storagehttp.ByServiceSAS
		path := q.share
		if s.Resource == "f" {
			path = strings.Join(append([]string{q.share}, q.names...), "/")
		}
		if err = q.VerifyKey(s, serviceText(s, q.Account.Name, path)); err == nil {
			err = q.applyPolicy(s)
		}
	}
	if err != nil {
		return c, err
	}
	return c, q.CheckSAS(s)
}

// serviceText is the string to sign of a service SAS for a share or a file.
func serviceText(s *storagehttp.SAS, account, path string) string {
	lines := []string{s.Permissions, s.StartText, s.ExpiryText, "/file/" + account + "/" + path, s.Identifier, s.IP, s.Protocol, s.Version}
	return strings.Join(append(lines, s.Headers[:]...), "\n")
}

func (q *request) applyPolicy(s *storagehttp.SAS) error {
	if s.Identifier == "" {
		return nil
	}
	var found Found
	err := q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		found, err = q.s.GetTx(tx, q.Account.Name, q.share)
		return err
	})
	if err != nil && !storagehttp.IsCode(err, "ShareNotFound") {
		return err
	}
	return s.Apply(found.Policies)
}

const actionRoot = "Microsoft.Storage/storageAccounts/fileServices/"

func (q *request) authorize(op *operation) error {
	switch q.Caller.Kind {
	case storagehttp.ByKey:
		return nil
	case storagehttp.ByAccountSAS:
		if err := q.CheckAccountSAS("f", op.level, op.name); err != nil {
			return err
		}
		return op.permits(op.sas, q.Caller.SAS.Permissions)
	case storagehttp.ByServiceSAS:
		switch {
		case !op.delegable:
			return storagehttp.PermissionMismatch().Because("%s cannot be permitted by a service SAS", op.name)
		case q.Caller.SAS.Resource == "f" && op.directory:
			return storagehttp.ResourceTypeMismatch("%s is for a directory, the signature for a file", op.name)
		}
		return op.permits(op.sas, q.Caller.SAS.Permissions)
	case storagehttp.ByToken:
		return q.authorizeRoles(op)
	}
	return q.NoCredentials()
}

func (o *operation) permits(letters, has string) error {
	if letters != "" && strings.ContainsAny(has, letters) {
		return nil
	}
	return storagehttp.PermissionMismatch().Because("%s needs one of the permissions '%s', the signature has '%s'", o.name, letters, has)
}

// authorizeRoles judges a token. Azure takes tokens for files only with the intent to back up, which passes by the
// permissions of files and directories.
func (q *request) authorizeRoles(op *operation) error {
	if !strings.EqualFold(q.R.Header.Get("X-Ms-File-Request-Intent"), "backup") {
		return storagehttp.MissingHeader("x-ms-file-request-intent").Because("requests with a token say x-ms-file-request-intent: backup")
	}
	scope := q.Account.ID + "/fileServices/default"
	if q.share != "" {
		scope += map[bool]string{true: "/fileshares/", false: "/shares/"}[op.data()] + q.share
	}
	return q.HasRole(storagehttp.RoleCheck{Operation: op.name, Root: actionRoot, Actions: op.roles, Data: isData, Scope: scope, Attributes: q.attributes})
}

// isData reports whether an action below fileServices/ is a data action.
func isData(action string) bool {
	return strings.HasPrefix(action, "fileshares/files/") || strings.HasSuffix(action, "FileBackupSemantics/action")
}

func (o *operation) data() bool { return len(o.roles) > 0 && isData(o.roles[0]) }

// attributes answers conditions of roles about the environment of this request: files have no attributes of their own there.
func (q *request) attributes(a authz.Attribute) ([]string, bool, error) {
	name := strings.ToLower(a.Name)
	switch {
	case a.Source == authz.FromEnvironment:
		return q.Environment(name)
	case a.Source == authz.FromResource && name == "microsoft.storage/storageaccounts:name":
		return []string{q.Account.Name}, true, nil
	}
	return nil, false, nil
}

// limit reads maxresults.
func (q *request) limit() (int, error) {
	v := q.Query.Get("maxresults")
	if v == "" {
		return maxPage, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 {
		return 0, storagehttp.NewError(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.").
			WithElement("QueryParameterName", "maxresults").WithElement("QueryParameterValue", v).WithElement("MinimumAllowed", "1").WithElement("MaximumAllowed", strconv.Itoa(maxPage)).
			Because("maxresults is 1 to %d, not '%s'", maxPage, v)
	}
	return int(min(n, maxPage)), nil
}

// maxPage is how many items a page of a list has at most.
const maxPage = 5000
