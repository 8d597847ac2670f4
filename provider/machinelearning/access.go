package machinelearning

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/ml"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// Data actions on the blobs of a container.
const (
	readBlobs  = storage.AccountType + "/blobServices/containers/blobs/read"
	writeBlobs = storage.AccountType + "/blobServices/containers/blobs/write"
)

// kindUpload notes, by workspace's GUID and name, the containers that startPendingUpload made: they are the
// workspace's.
const kindUpload = "ml.upload"

func uploadKey(guid, container string) string { return guid + "/" + container }

// dropUploads forgets the uploads of a workspace that goes.
func dropUploads(tx store.Tx, guid string) error {
	var keys []string
	err := tx.Scan(kindUpload, uploadKey(guid, ""), "", func(d store.Doc) bool {
		keys = append(keys, d.Key)
		return true
	})
	for _, k := range keys {
		err = errors.Join(err, deleteDoc(tx, kindUpload, k))
	}
	return err
}

// open returns the URL of a place with a signature for its container. The service holds the keys of all
// accounts, so it must know by whose right it signs:
//   - the workspace's own containers are the workspace's;
//   - a datastore that has a key or SAS stored is opened with that;
//   - anything else takes the submitter's own data role there, asked now, not when the job was submitted.
func (p *Provider) open(tx *rp.Tx, w *rp.Resource[Workspace], at BlobPath, user ml.User, write bool) (string, error) {
	permissions := "rl"
	if write {
		permissions = "rcwl"
	}
	expiry := tx.Now.Add(sasTime)
	switch {
	case at.sas != "":
		return at.URL() + "?" + strings.TrimPrefix(at.sas, "?"), nil
	case at.key != "":
		key, err := base64.StdEncoding.DecodeString(at.key)
		if err != nil {
			return "", userError("The stored key of storage account '%s' is not base64.", at.Account)
		}
		return joinSAS(at)(p.SAS.KeySAS(at.Account, at.Container, key, permissions, expiry))
	}
	own, err := ownContainer(tx, w, at)
	if err != nil {
		return "", err
	}
	if !own {
		if err := p.allowed(tx, at, user, write); err != nil {
			return "", err
		}
	}
	return joinSAS(at)(p.SAS.ContainerSAS(tx, at.Account, at.Container, permissions, expiry))
}

// joinSAS puts the signature of a container's URL to the URL of the place in it.
func joinSAS(at BlobPath) func(string, error) (string, error) {
	return func(container string, err error) (string, error) {
		_, query, _ := strings.Cut(container, "?")
		return at.URL() + "?" + query, err
	}
}

func ownAccount(w *rp.Resource[Workspace], account string) bool {
	id, err := arm.ParseID(w.Properties.StorageAccount)
	return err == nil && strings.EqualFold(id.Name(), account)
}

// ownContainer: the default containers, and those made for uploads of this workspace.
func ownContainer(tx store.Tx, w *rp.Resource[Workspace], at BlobPath) (bool, error) {
	if !ownAccount(w, at.Account) {
		return false, nil
	}
	if at.Container == ArtifactContainer || at.Container == BlobContainer(w) {
		return true, nil
	}
	_, err := tx.Get(kindUpload, uploadKey(w.Properties.WorkspaceID, at.Container))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// allowed asks the user's data role on the container: 403 with which assignment is missing.
func (p *Provider) allowed(tx *rp.Tx, at BlobPath, user ml.User, write bool) error {
	account, err := storage.ByName(tx, at.Account)
	if errors.Is(err, store.ErrNotFound) || isNotFound(err) {
		return userError("The storage account '%s' does not exist.", at.Account)
	}
	if err != nil {
		return err
	}
	action := readBlobs
	if write {
		action = writeBlobs
	}
	scope := account.ID.String() + "/blobServices/default/containers/" + at.Container
	who := authz.Principal{TenantID: user.TenantID, ObjectID: user.ObjectID, Name: user.Name}
	d, err := p.Access.Check(context.Background(), who, authz.Request{Action: action, Data: true, Scope: scope})
	if err != nil {
		return err
	}
	if !d.Allowed {
		return arm.Errorf(http.StatusForbidden, "UserError", "'%s' (object id %s), who submits the job, may not perform '%s' on '%s': %s.", user.Name, user.ObjectID, action, scope, strings.TrimSuffix(d.By, "."))
	}
	return nil
}

// mayUse checks, when a job is submitted, what open will ask when it is dispatched.
func (p *Provider) mayUse(tx *rp.Tx, w *rp.Resource[Workspace], at BlobPath, user ml.User, write bool) error {
	if at.key != "" || at.sas != "" {
		return nil
	}
	own, err := ownContainer(tx, w, at)
	if own || err != nil {
		return err
	}
	return p.allowed(tx, at, user, write)
}

// sasTime is how long the URLs of a task open its data; a job may run as long.
const sasTime = 7 * 24 * time.Hour
