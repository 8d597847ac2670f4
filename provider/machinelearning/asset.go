package machinelearning

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// AssetVersion is the properties of one version of a code, data, model or environment asset.
type AssetVersion struct {
	Description string    `json:"description,omitempty"`
	Tags        StringMap `json:"tags"`
	Attributes  StringMap `json:"properties"`
	IsAnonymous bool      `json:"isAnonymous"`
	IsArchived  bool      `json:"isArchived"`

	CodeURI  string `json:"codeUri,omitempty"`
	DataURI  string `json:"dataUri,omitempty"`
	DataType string `json:"dataType,omitempty"`
	ModelURI string `json:"modelUri,omitempty"`

	ModelType string          `json:"modelType,omitempty"`
	JobName   string          `json:"jobName,omitempty"`
	Stage     string          `json:"stage,omitempty"` // of a model: Staging, Production, Archived
	Flavors   json.RawMessage `json:"flavors,omitempty"`

	Image           string          `json:"image,omitempty"`
	CondaFile       string          `json:"condaFile,omitempty"`
	Build           json.RawMessage `json:"build,omitempty"`
	EnvironmentType string          `json:"environmentType,omitempty"`
	OSType          string          `json:"osType,omitempty"`
}

func (v *AssetVersion) place() string {
	for _, u := range []string{v.CodeURI, v.DataURI, v.ModelURI} {
		if u != "" {
			return u
		}
	}
	return ""
}

// AssetContainer is the properties of an asset: what holds for all of its versions.
type AssetContainer struct {
	Description   string    `json:"description,omitempty"`
	Tags          StringMap `json:"tags"`
	Attributes    StringMap `json:"properties"`
	IsArchived    bool      `json:"isArchived"`
	DataType      string    `json:"dataType,omitempty"`
	LatestVersion string    `json:"latestVersion,omitempty" rp:"readonly"`
	NextVersion   string    `json:"nextVersion,omitempty" rp:"readonly"`
	// Aliases of a model's versions, which MLflow alone shows.
	Aliases map[string]string `json:"aliases,omitempty" rp:"private"`
}

const assetName = `^[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}$`

// AssetKinds are the collections of assets under a workspace.
var assetKinds = []string{"codes", "data", "models", "environments"}

func assetTypes() []rp.Registration {
	var regs []rp.Registration
	for _, kind := range assetKinds {
		regs = append(regs,
			rp.Of(rp.Type[AssetContainer]{
				Name: WorkspaceType + "/" + kind, Kind: rp.Proxy, Versions: rp.Versions[AssetContainer](versions...), StateProperty: "-", SyncDelete: true,
				NamePattern: assetName, NameRule: "Asset names start with a letter or digit and contain letters, digits, dots, hyphens and underscores.",
				Default: func(_ string, r *rp.Resource[AssetContainer]) { fill(&r.Properties.Tags, &r.Properties.Attributes) },
				Present: presentContainer,
			}),
			rp.Of(rp.Type[AssetVersion]{
				Name: WorkspaceType + "/" + kind + "/versions", Kind: rp.Proxy, Versions: rp.Versions[AssetVersion](versions...), StateProperty: "-", SyncDelete: true,
				NamePattern: assetName, NameRule: "Versions start with a letter or digit and contain letters, digits, dots, hyphens and underscores.",
				ImplicitParent: true,
				Select:         selectVersion,
				Default: func(_ string, r *rp.Resource[AssetVersion]) {
					v := &r.Properties
					fill(&v.Tags, &v.Attributes)
					if kind == "models" && v.Flavors == nil {
						v.Flavors = json.RawMessage("{}")
					}
					if kind == "environments" {
						v.EnvironmentType = "UserCreated"
						if v.OSType == "" {
							v.OSType = "Linux"
						}
					}
				},
				Validate: func(op rp.Op, new, old *rp.Resource[AssetVersion]) error { return validateVersion(kind, op, new, old) },
				Actions:  map[string]rp.Action[AssetVersion]{"publish": rp.Missing[AssetVersion]("Registries keep no files that a version could be copied to: create the version in the registry itself.")},
			}))
	}
	return regs
}

func fill(maps ...*StringMap) {
	for _, m := range maps {
		if *m == nil {
			*m = StringMap{}
		}
	}
}

// selectVersion implements the query of "versions": hash and hashVersion find content that is there
// already, tags and stage narrow the list.
func selectVersion(query map[string]string, r *rp.Resource[AssetVersion]) bool {
	v := &r.Properties
	if h := query["hash"]; h != "" && v.Attributes["hash_sha256"] != h {
		return false
	}
	if h := query["hashVersion"]; h != "" && v.Attributes["hash_version"] != h {
		return false
	}
	switch query["listViewType"] {
	case "ArchivedOnly":
		return v.IsArchived
	case "All":
		return true
	}
	return !v.IsArchived
}

func validateVersion(kind string, op rp.Op, new, old *rp.Resource[AssetVersion]) error {
	v := &new.Properties
	required := map[string]string{"codes": v.CodeURI, "data": v.DataURI, "models": v.ModelURI}
	if place, ok := required[kind]; ok && place == "" {
		return userError("A version of %s needs its URI (properties.%sUri).", kind, strings.TrimSuffix(kind, "s"))
	}
	if kind == "environments" && v.Image == "" && v.Build == nil {
		return userError("An environment needs properties.image or properties.build.")
	}
	if op == rp.Update && old.Properties.place() != v.place() {
		return arm.Errorf(http.StatusConflict, "UserError", "A resource with the same name and version already exists with a different asset path: the path of %s is immutable.", new.ID.Name())
	}
	if op == rp.Update && kind == "environments" && (old.Properties.Image != v.Image || old.Properties.CondaFile != v.CondaFile) {
		return arm.Errorf(http.StatusConflict, "UserError", "Environment version '%s' exists and is immutable: register a new version.", new.ID.Name())
	}
	return nil
}

func presentContainer(_ context.Context, tx *rp.Tx, r *rp.Resource[AssetContainer]) error {
	vs, err := rp.List[AssetVersion](tx, r.ID.Type().String()+"/versions", r.ID)
	if err != nil {
		return err
	}
	next := 1
	var newest time.Time
	for _, v := range vs {
		if n, err := strconv.Atoi(v.ID.Name()); err == nil && n >= next {
			next = n + 1
		}
		if !v.SystemData.CreatedAt.Before(newest) {
			newest, r.Properties.LatestVersion = v.SystemData.CreatedAt, v.ID.Name()
		}
	}
	r.Properties.NextVersion = strconv.Itoa(next)
	return nil
}

// codeRoutes is startPendingUpload, which comes before the version exists: a container of its own in the
// workspace's storage, and a SAS to fill it.
func (p *Provider) codeRoutes() rp.Registration {
	var routes []rp.Route
	for _, kind := range assetKinds {
		routes = append(routes, rp.Route{
			Method: http.MethodPost, Permission: WorkspaceType + "/" + kind + "/versions/write", Versions: versions,
			Pattern: "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + WorkspaceType + "/{workspace}/" + kind + "/{name}/versions/{version}/startPendingUpload",
			Do:      p.startPendingUpload,
		})
	}
	return rp.Routes(routes...)
}

func workspaceOf(tx *rp.Tx, path map[string]string) (*rp.Resource[Workspace], error) {
	id, err := arm.ParseID("/subscriptions/" + path["subscription"] + "/resourceGroups/" + path["group"] + "/providers/" + WorkspaceType + "/" + path["workspace"])
	if err != nil {
		return nil, err
	}
	return Get(tx, id)
}

const uploadTime = 24 * time.Hour // as long as Azure's SAS of a pending upload holds

func (p *Provider) startPendingUpload(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
	var asked struct{ PendingUploadID, PendingUploadType string }
	if len(body) > 0 && json.Unmarshal(body, &asked) != nil {
		return nil, userError("The body of startPendingUpload is not valid: an object with pendingUploadId and pendingUploadType is expected.")
	}
	if asked.PendingUploadID == "" {
		asked.PendingUploadID = uuid.NewString()
	}
	if asked.PendingUploadType == "" {
		asked.PendingUploadType = "TemporaryBlobReference"
	}
	w, err := workspaceOf(tx, path)
	if err != nil {
		return nil, err
	}
	account, err := arm.ParseID(w.Properties.StorageAccount)
	if err != nil {
		return nil, err
	}
	container := uuid.NewString()[:18] + "-" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := p.Containers.PutContainer(tx, account, storage.Container{Name: container}); err != nil {
		return nil, err
	}
	if _, err := tx.Put(kindUpload, uploadKey(w.Properties.WorkspaceID, container), []byte("{}"), store.Any); err != nil {
		return nil, err
	}
	sas, err := p.SAS.ContainerSAS(tx, account.Name(), container, "rcwl", tx.Now.Add(uploadTime))
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"pendingUploadId": asked.PendingUploadID, "pendingUploadType": asked.PendingUploadType,
		"blobReferenceForConsumption": map[string]any{
			"blobUri": BlobPath{Account: account.Name(), Container: container}.URL(), "storageAccountArmId": account.String(),
			"credential": map[string]any{"credentialType": "SAS", "sasUri": sas},
		},
	}, nil
}
