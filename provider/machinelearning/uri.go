package machinelearning

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

// BlobPath is a place in blob storage, with the secret that a datastore has for it.
type BlobPath struct {
	Account, Container, Path string

	key, sas string
}

// URL of the place.
func (b BlobPath) URL() string {
	u := url.URL{Scheme: "https", Host: b.Account + ".blob.core.windows.net", Path: "/" + b.Container}
	if b.Path != "" {
		u.Path += "/" + b.Path
	}
	return u.String()
}

var (
	accountName   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	containerName = regexp.MustCompile(`^(?:\$root|\$logs|\$web|[a-z0-9](?:-?[a-z0-9]){2,62})$`)
)

// check returns the place in its one spelling, or why it is none: a name that no account or container has, a path
// that leads out of its container or that readers take for different ones.
func (b BlobPath) check() (BlobPath, string) {
	b.Account, b.Path = strings.ToLower(b.Account), strings.TrimSuffix(b.Path, "/")
	switch {
	case !accountName.MatchString(b.Account):
		return b, "'" + b.Account + "' is not the name of a storage account"
	case !containerName.MatchString(b.Container):
		return b, "'" + b.Container + "' is not the name of a container"
	case len(b.Path) > 1024:
		return b, "its path is longer than 1024 characters"
	case strings.ContainsFunc(b.Path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '\ufffd' }):
		return b, "its path has characters that no path has here"
	case b.Path == "":
		return b, ""
	}
	for s := range strings.SplitSeq(b.Path, "/") {
		if s == "" || s == "." || s == ".." {
			return b, "its path has an empty or relative segment"
		}
	}
	return b, ""
}

// uriResolver is a URI that is being resolved in a workspace. What it names must be the workspace's: its datastores,
// its jobs, its assets. A blob URL may name any account; by whose right it is opened is open's business.
type uriResolver struct {
	tx   *rp.Tx
	w    *rp.Resource[Workspace]
	uri  string
	kind string // of assets in the short form azureml:NAME:VERSION
}

func (u *uriResolver) bad(why string) error {
	return userError("The URI '%s' cannot be used: %s.", u.uri, why)
}

// resolveURI finds the place that a data URI of the workspace means: a blob URL, an azureml:// URI of a datastore,
// a job's artifacts or an asset, in its short or long form, azureml:NAME:VERSION (an asset of the kind), or the
// resource id of a data, model or code version. Errors are *arm.Error.
func resolveURI(tx *rp.Tx, w *rp.Resource[Workspace], uri, kind string) (BlobPath, error) {
	u := &uriResolver{tx, w, uri, kind}
	at, err := u.place()
	if err != nil {
		return BlobPath{}, err
	}
	at, why := at.check()
	if why != "" {
		return BlobPath{}, u.bad(why)
	}
	return at, nil
}

func (u *uriResolver) place() (BlobPath, error) {
	if strings.HasPrefix(u.uri, "https://") {
		return u.blob()
	}
	if rest, ok := strings.CutPrefix(u.uri, "azureml://"); ok {
		return u.scheme(strings.Split(rest, "/"))
	}
	id, err := assetID(u.w, u.uri, u.kind)
	if err != nil {
		return BlobPath{}, u.bad(err.Error())
	}
	return u.asset(id)
}

// blob is https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH.
func (u *uriResolver) blob() (BlobPath, error) {
	v, err := url.Parse(u.uri)
	if err != nil {
		return BlobPath{}, userError("A URI of the job is not a URL.") // it is not shown: it may have a signature
	}
	if v.RawQuery != "" || v.Fragment != "" || v.User != nil {
		u.uri = (&url.URL{Scheme: v.Scheme, Host: v.Host, Path: v.Path}).String()
		return BlobPath{}, u.bad("it carries a signature or another query; register a datastore that has the credential")
	}
	account, rest, ok := strings.Cut(v.Host, ".")
	if !ok || rest != "blob.core.windows.net" {
		return BlobPath{}, u.bad("only blob storage can be read by URL")
	}
	container, path, _ := strings.Cut(strings.TrimPrefix(v.Path, "/"), "/")
	return BlobPath{Account: account, Container: container, Path: path}, nil
}

// scheme is what follows azureml://.
func (u *uriResolver) scheme(parts []string) (BlobPath, error) {
	rest, why := ownWorkspace(u.w, parts)
	if why != "" {
		return BlobPath{}, u.bad(why)
	}
	is := func(i int, word string) bool { return i < len(rest) && strings.EqualFold(rest[i], word) }
	switch {
	case is(0, "datastores") && is(2, "paths"):
		return u.datastore(rest[1], strings.Join(rest[3:], "/"))
	case is(0, "jobs") && is(2, "outputs") && is(4, "paths"):
		return u.job(rest[1], rest[3], strings.Join(rest[5:], "/"))
	case len(rest) == 4 && is(2, "versions"):
		id, why := versionID(u.w, rest[0], rest[1], rest[3])
		if why != "" {
			return BlobPath{}, u.bad(why)
		}
		return u.asset(id)
	}
	return BlobPath{}, u.bad("it names neither a datastore's path nor a job's artifacts nor a version of an asset")
}

// ownWorkspace takes from an azureml:// URI the segments that name a workspace, if any does; why is set when it is
// another one.
func ownWorkspace(w *rp.Resource[Workspace], parts []string) (rest []string, why string) {
	is := func(i int, word string) bool { return i < len(parts) && strings.EqualFold(parts[i], word) }
	const other = "it is of another workspace"
	switch {
	case is(0, "registries"):
		return nil, "registries are not there yet"
	case is(0, "locations") && is(2, "workspaces") && len(parts) > 4:
		if !is(3, w.Properties.WorkspaceID) {
			return nil, other
		}
		return parts[4:], ""
	case !is(0, "subscriptions"):
		return parts, ""
	case !is(2, "resourceGroups") || len(parts) < 7:
		return nil, "it names no workspace"
	}
	rest = parts[4:]
	if strings.EqualFold(rest[0], "providers") && strings.EqualFold(rest[1], Namespace) {
		rest = rest[2:]
	}
	if len(rest) < 3 || !strings.EqualFold(rest[0], "workspaces") {
		return nil, "it names no workspace"
	}
	if !is(1, w.ID.Subscription()) || !is(3, w.ID.ResourceGroup()) || !strings.EqualFold(rest[1], w.ID.Name()) {
		return nil, other
	}
	return rest[2:], ""
}

func (u *uriResolver) datastore(name, path string) (BlobPath, error) {
	id := u.w.ID.Child("datastores", name)
	if id.IsZero() {
		return BlobPath{}, u.bad("it names no datastore")
	}
	d, err := rp.Get[Datastore](u.tx, id)
	if isNotFound(err) {
		return BlobPath{}, u.bad("there is no datastore '" + name + "'")
	}
	if err != nil {
		return BlobPath{}, err
	}
	if d.Properties.Type != "AzureBlob" {
		return BlobPath{}, arm.NotImplemented("Datastore '%s' is of type %s: jobs read AzureBlob datastores only, as yet.", name, d.Properties.Type)
	}
	at := BlobPath{Account: d.Properties.Account, Container: d.Properties.Container, Path: path}
	at.key, _ = d.Properties.Secrets["key"].(string)
	at.sas, _ = d.Properties.Secrets["sasToken"].(string)
	return at, nil
}

// job is azureml://jobs/{job}/outputs/artifacts/paths/{path}.
func (u *uriResolver) job(name, output, path string) (BlobPath, error) {
	account, err := arm.ParseID(u.w.Properties.StorageAccount)
	if err != nil {
		return BlobPath{}, err
	}
	if !strings.EqualFold(output, "artifacts") {
		return BlobPath{}, arm.NotImplemented("Output '%s' of job '%s': only the artifacts of a job can be named, as yet.", output, name)
	}
	if u.w.ID.Child("jobs", name).IsZero() {
		return BlobPath{}, u.bad("it names no job")
	}
	return BlobPath{Account: account.Name(), Container: ArtifactContainer, Path: strings.TrimSuffix("ExperimentRun/dcid."+name+"/"+path, "/")}, nil
}

func (u *uriResolver) asset(id arm.ID) (BlobPath, error) {
	v, err := rp.Get[AssetVersion](u.tx, id)
	if isNotFound(err) {
		return BlobPath{}, arm.Errorf(http.StatusNotFound, "UserError", "The asset '%s' does not exist.", id)
	}
	if err != nil {
		return BlobPath{}, err
	}
	uri := v.Properties.place()
	inner := &uriResolver{u.tx, u.w, uri, ""}
	switch { // an asset of an asset is none: their chains need not end
	case strings.HasPrefix(uri, "https://"):
		return inner.blob()
	case strings.HasPrefix(uri, "azureml://"):
		rest, why := ownWorkspace(u.w, strings.Split(strings.TrimPrefix(uri, "azureml://"), "/"))
		if why != "" {
			return BlobPath{}, inner.bad(why)
		}
		if strings.EqualFold(rest[0], "datastores") || strings.EqualFold(rest[0], "jobs") {
			return inner.scheme(rest)
		}
	}
	return BlobPath{}, userError("The asset '%s' has no data that can be read.", id)
}

type reason string

func (r reason) Error() string { return string(r) }

// assetID is the id of an asset's version that a reference of the workspace names: azureml:NAME:VERSION (of the
// kind), azureml://locations/…/workspaces/GUID/KIND/NAME/versions/VERSION, or a resource id. The error says why not.
func assetID(w *rp.Resource[Workspace], ref, kind string) (arm.ID, error) {
	if rest, ok := strings.CutPrefix(ref, "azureml://"); ok {
		parts, why := ownWorkspace(w, strings.Split(rest, "/"))
		if why != "" {
			return arm.ID{}, reason(why)
		}
		if len(parts) != 4 || !strings.EqualFold(parts[2], "versions") {
			return arm.ID{}, reason("it names no version of an asset")
		}
		return known(versionID(w, parts[0], parts[1], parts[3]))
	}
	short := strings.TrimPrefix(ref, "azureml:")
	if strings.HasPrefix(short, "/") {
		id, err := arm.ParseID(short)
		if err != nil {
			return arm.ID{}, reason("it is not a resource id")
		}
		if !id.Within(w.ID) {
			return arm.ID{}, reason("it is of another workspace")
		}
		names, types := id.Names(), id.Type().Types
		if len(types) != 3 || !strings.EqualFold(types[2], "versions") {
			return arm.ID{}, reason("it is not the id of a version of an asset")
		}
		return known(versionID(w, types[1], names[1], names[2]))
	}
	name, version, ok := strings.Cut(short, ":")
	if !ok {
		return arm.ID{}, reason("it is none of a blob URL, azureml://…, azureml:NAME:VERSION and a resource id")
	}
	return known(versionID(w, kind, name, version))
}

func known(id arm.ID, why string) (arm.ID, error) {
	if why != "" {
		return arm.ID{}, reason(why)
	}
	return id, nil
}

// versionID is the id of a version of an asset of the workspace.
func versionID(w *rp.Resource[Workspace], kind, name, version string) (id arm.ID, why string) {
	for _, k := range assetKinds {
		if !strings.EqualFold(k, kind) {
			continue
		}
		if !assetNames.MatchString(name) || !assetNames.MatchString(version) {
			return id, "it names no version of an asset"
		}
		return w.ID.Child(k, name).Child("versions", version), ""
	}
	return id, "'" + kind + "' is no kind of asset"
}
