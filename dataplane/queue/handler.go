package queue

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// request is one request on its way: account, firewall, caller, permission, operation.
type request struct {
	storagehttp.Request
	s *Service

	queue    string
	messages bool   // /queue/messages…
	message  string // /queue/messages/{message}
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
	return op.run(q)
}

// setResource splits the path into queue, "messages" and message.
func (q *request) setResource() error {
	parts := strings.Split(strings.Trim(q.R.URL.Path, "/"), "/")
	q.queue = parts[0]
	if q.queue != "" {
		if err := checkName(q.queue); err != nil {
			return err
		}
	}
	if len(parts) == 1 {
		return nil
	}
	if !strings.EqualFold(parts[1], "messages") || len(parts) > 3 {
		return storagehttp.NewError(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.").Because("path '%s' is not /queue/messages/message", q.R.URL.Path)
	}
	q.messages = true
	if len(parts) == 3 {
		q.message = parts[2]
	}
	return nil
}

// signature verifies the request's SAS ("Create a service SAS": for queues it has no sr).
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
		return c, storagehttp.NotImplemented("user delegation shared access signatures for queues")
	case q.queue == "":
		return c, storagehttp.ResourceTypeMismatch("the signature is for a queue, not for the service")
	default:
		c.Kind = storagehttp.ByServiceSAS
		if err = q.VerifyKey(s, serviceText(s, q.Account.Name, q.queue)); err == nil {
			err = q.applyPolicy(s)
		}
	}
	if err != nil {
		return c, err
	}
	return c, q.CheckSAS(s)
}

// serviceText is the string to sign of a service SAS for a queue.
func serviceText(s *storagehttp.SAS, account, queue string) string {
	return strings.Join([]string{s.Permissions, s.StartText, s.ExpiryText, "/queue/" + account + "/" + queue, s.Identifier, s.IP, s.Protocol, s.Version}, "\n")
}

func (q *request) applyPolicy(s *storagehttp.SAS) error {
	if s.Identifier == "" {
		return nil
	}
	var found Queue
	err := q.s.store.View(q.Ctx, func(tx store.Tx) (err error) {
		found, err = q.s.GetTx(tx, q.Account.Name, q.queue)
		return err
	})
	if err != nil && !storagehttp.IsCode(err, "QueueNotFound") {
		return err
	}
	return s.Apply(found.Policies)
}

const actionRoot = "Microsoft.Storage/storageAccounts/queueServices/"

func (q *request) authorize(op *operation) error {
	switch q.Caller.Kind {
	case storagehttp.ByKey:
		return nil
	case storagehttp.ByAccountSAS:
		if err := q.CheckAccountSAS("q", op.level, op.name); err != nil {
			return err
		}
		return op.permits(op.account, q.Caller.SAS.Permissions)
	case storagehttp.ByServiceSAS:
		if op.service == "" {
			return storagehttp.PermissionMismatch().Because("%s cannot be permitted by a service SAS", op.name)
		}
		return op.permits(op.service, q.Caller.SAS.Permissions)
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

func (q *request) authorizeRoles(op *operation) error {
	scope := q.Account.ID + "/queueServices/default"
	if q.queue != "" {
		scope += "/queues/" + q.queue
	}
	return q.HasRole(storagehttp.RoleCheck{Operation: op.name, Root: actionRoot, Actions: op.roles, Data: storagehttp.Below("queues/messages/"), Scope: scope, Attributes: q.attributes})
}

// attributes answers conditions of roles about this request ("Actions and attributes for Azure role assignment conditions
// for Azure Queue Storage").
func (q *request) attributes(a authz.Attribute) ([]string, bool, error) {
	name := strings.ToLower(a.Name)
	switch a.Source {
	case authz.FromEnvironment:
		return q.Environment(name)
	case authz.FromResource:
		switch name {
		case "microsoft.storage/storageaccounts:name":
			return []string{q.Account.Name}, true, nil
		case "microsoft.storage/storageaccounts/queueservices/queues:name":
			return []string{q.queue}, q.queue != "", nil
		}
	}
	return nil, false, nil
}

// number reads a parameter that is a number from low to high.
func (q *request) number(name string, missing, low, high int64) (int64, error) {
	v := q.Query.Get(name)
	if v == "" {
		return missing, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, storagehttp.InvalidQuery(name, v)
	}
	if n < low || n > high {
		return 0, storagehttp.NewError(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.").
			WithElement("QueryParameterName", name).WithElement("QueryParameterValue", v).WithElement("MinimumAllowed", strconv.FormatInt(low, 10)).
			WithElement("MaximumAllowed", strconv.FormatInt(high, 10)).Because("%s is from %d to %d, not %d", name, low, high, n)
	}
	return n, nil
}

// seconds reads a parameter that is a time of at most seven days.
func (q *request) seconds(name string, missing, low int64) (time.Duration, error) {
	n, err := q.number(name, missing, low, int64(maxVisible/time.Second))
	return time.Duration(n) * time.Second, err
}

// maxBody is the longest body of a message: its text may be five times as long in XML.
const maxBody = 5*MaxMessage + 1024

// text reads the body of Put Message and Update Message; nil when there is none.
func (q *request) text() (*string, error) {
	body, err := io.ReadAll(io.LimitReader(q.R.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	return parseMessage(body)
}

func parseMessage(body []byte) (*string, error) {
	if len(body) > maxBody {
		return nil, errMessageTooLarge(len(body))
	}
	if len(body) == 0 {
		return nil, nil
	}
	var doc struct {
		XMLName xml.Name `xml:"QueueMessage"`
		Text    *string  `xml:"MessageText"`
	}
	if err := xml.Unmarshal(body, &doc); err != nil {
		return nil, storagehttp.InvalidXML(err)
	}
	if doc.Text == nil {
		return nil, storagehttp.InvalidXML(errors.New("QueueMessage has no MessageText"))
	}
	if !utf8.ValidString(*doc.Text) {
		return nil, storagehttp.InvalidXML(errors.New("the text is not UTF-8"))
	}
	return doc.Text, nil
}

func encodeMarker(name string) string { return base64.URLEncoding.EncodeToString([]byte(name)) }

func decodeMarker(v string) (string, error) {
	b, err := base64.URLEncoding.DecodeString(v)
	if err != nil {
		return "", storagehttp.InvalidQuery("marker", v)
	}
	return string(b), nil
}

// cutKey splits account/uid/… .
func cutKey(key string) (account, uid, rest string) {
	account, rest, _ = strings.Cut(key, "/")
	uid, rest, _ = strings.Cut(rest, "/")
	return account, uid, rest
}
