package blob

import (
	"net/http"
	"strings"

	"vauban.dev/authz"
	"vauban.dev/internal/storagehttp"
)

// authorize judges whether the caller may do op on the request's container and blob.
func (q *request) authorize(op *operation) error {
	if op.parts { // each of its requests is authorized for itself
		if q.Caller.Kind == storagehttp.Anonymous {
			return q.NoCredentials()
		}
		return nil
	}
	var err error
	switch q.Caller.Kind {
	case storagehttp.ByKey:
	case storagehttp.ByAccountSAS, storagehttp.ByServiceSAS:
		err = q.authorizeSAS(op)
	case storagehttp.ByDelegationSAS:
		if err = q.authorizeSAS(op); err == nil {
			err = q.authorizeRoles(op)
		}
	case storagehttp.ByToken:
		err = q.authorizeRoles(op)
	default:
		err = q.authorizeAnonymous(op)
	}
	if err == nil && op.tags && op != writeTags && q.R.Header.Get("X-Ms-Tags") != "" {
		create := q.createOnly // of the write, not of its tags
		err = q.authorize(writeTags)
		q.createOnly = create
	}
	return err
}

func (q *request) authorizeSAS(op *operation) error {
	s := q.Caller.SAS
	if q.Caller.Kind == storagehttp.ByAccountSAS {
		if err := q.CheckAccountSAS("b", op.level, op.name); err != nil {
			return err
		}
	} else if !op.delegable {
		return errPermission().Because("%s cannot be permitted by a service or user delegation SAS", op.name)
	}
	if strings.ContainsAny(s.Permissions, op.sas) && op.sas != "" {
		return nil
	}
	if op.sasCreate != "" && strings.ContainsAny(s.Permissions, op.sasCreate) {
		q.createOnly = true
		return nil
	}
	return errPermission().Because("%s needs one of the permissions '%s', the signature has '%s'", op.name, op.sas+op.sasCreate, s.Permissions)
}

const actionRoot = "Microsoft.Storage/storageAccounts/blobServices/"

// scope is the resource on which roles are judged: the container, the finest at which roles are assigned.
func (q *request) scope(op *operation) string {
	scope := q.Account.ID + "/blobServices/default"
	if op.level != levelService {
		scope += "/containers/" + q.container
	}
	return scope
}

func (q *request) authorizeRoles(op *operation) error {
	if len(op.roles)+len(op.rolesCreate) == 0 {
		return errPermission().Because("%s cannot be permitted by a role", op.name)
	}
	scope := q.scope(op)
	why := ""
	ask := func(action string) (bool, error) {
		d, err := q.Front.Authorizer.Check(q.Ctx, q.Caller.Principal, authz.Request{
			Action: actionRoot + action, Data: strings.HasPrefix(action, "containers/blobs/"), Scope: scope,
			SubOperations: q.subOperations(op), Attributes: q.attributes(op),
		})
		why = d.By
		return d.Allowed, err
	}
	for _, action := range op.roles {
		if ok, err := ask(action); ok || err != nil {
			return err
		}
	}
	first := why
	for _, action := range op.rolesCreate {
		if ok, err := ask(action); ok || err != nil {
			q.createOnly = q.createOnly || ok
			return err
		}
	}
	action := append(append([]string{}, op.roles...), op.rolesCreate...)[0]
	return errPermission().Because("%s lacks %s%s on %s: %s", q.Caller, actionRoot, action, scope, first)
}

func (q *request) authorizeAnonymous(op *operation) error {
	if op.anonymous == "" {
		return q.NoCredentials()
	}
	if !q.Account.AllowBlobPublicAccess {
		return newError(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.").
			Because("the request has no Authorization header and no signature, and allowBlobPublicAccess is false")
	}
	c, err := q.s.container(q.Ctx, q.Account.Name, q.container)
	if err != nil && !IsCode(err, CodeContainerNotFound) {
		return err
	}
	if c.Access == "" || op.anonymous == "container" && c.Access != "container" {
		return newError(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.").
			Because("to an anonymous caller: the container is not public").WithHeader("WWW-Authenticate", q.Challenge())
	}
	return nil
}
