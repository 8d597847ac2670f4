package machinelearning

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/globalname"
	"vauban.dev/provider/storage"
)

// assets puts datastores and assets into the yard's workspace.
func (y *yard) assets() {
	y.t.Helper()
	store := func(name string, d Datastore) error {
		return rp.Save(y.tx, &rp.Resource[Datastore]{ID: arm.MustParseID(yardSpace + "/datastores/" + name), State: arm.Succeeded, Properties: d})
	}
	version := func(path string, v AssetVersion) error {
		return rp.Save(y.tx, &rp.Resource[AssetVersion]{ID: arm.MustParseID(yardSpace + path), State: arm.Succeeded, Properties: v})
	}
	account := func(name string) error {
		id := arm.MustParseID(yardGroup + "/providers/Microsoft.Storage/storageAccounts/" + name)
		return errors.Join(globalname.Names("storage.name").Claim(y.tx, id), rp.Save(y.tx, &rp.Resource[storage.Account]{ID: id, State: arm.Succeeded}))
	}
	y.update(func(tx *rp.Tx) error {
		y.tx = tx
		return errors.Join(
			account("acct"), account("partner"),
			store("blobs", Datastore{Type: "AzureBlob", Account: "acct", Container: "data"}),
			store("keyed", Datastore{Type: "AzureBlob", Account: "partner", Container: "secrets", Secrets: map[string]any{"key": "a2V5"}}),
			store("files", Datastore{Type: "AzureFile", Account: "acct"}),
			store("evil", Datastore{Type: "AzureBlob", Account: "evil.example/", Container: "c"}),
			version("/data/d/versions/1", AssetVersion{DataURI: "azureml://datastores/blobs/paths/d/1/"}),
			version("/data/long/versions/1", AssetVersion{DataURI: "azureml://subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/RG/workspaces/mlw/datastores/blobs/paths/l"}),
			version("/data/web/versions/1", AssetVersion{DataURI: "https://partner.blob.core.windows.net/open/x.csv"}),
			version("/data/loop/versions/1", AssetVersion{DataURI: "azureml:loop:1"}),
			version("/data/loop/versions/2", AssetVersion{DataURI: "azureml://locations/westeurope/workspaces/" + yardGUID + "/data/loop/versions/2"}),
			version("/data/other/versions/1", AssetVersion{DataURI: strings.Replace("azureml://"+yardSpace[1:]+"/datastores/blobs/paths/x", "/mlw/", "/mlx/", 1)}),
			version("/models/d/versions/1", AssetVersion{ModelURI: "azureml://jobs/train/outputs/artifacts/paths/model"}),
			version("/codes/c/versions/1", AssetVersion{CodeURI: "https://acct.blob.core.windows.net/uploads/src"}),
		)
	})
}

func TestResolveURI(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.assets()
	const long = "azureml://subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/workspaces/mlw"
	data := func(path string) BlobPath { return BlobPath{Account: "acct", Container: "data", Path: path} }
	for _, c := range []struct {
		uri, kind string
		want      BlobPath
	}{
		{"https://acct.blob.core.windows.net/data/a/b.csv", "", data("a/b.csv")},
		{"https://ACCT.blob.core.windows.net/data/a%20b/", "", data("a b")},
		{"https://acct.blob.core.windows.net/data", "", data("")},
		{"https://acct.blob.core.windows.net/$root/x", "", BlobPath{Account: "acct", Container: "$root", Path: "x"}},
		{"azureml://datastores/blobs/paths/a/b", "", data("a/b")},
		{"azureml://datastores/blobs/paths/", "", data("")},
		{"azureml://Datastores/BLOBS/Paths/a", "", data("a")},
		{"azureml://datastores/blobs/paths/datastores/x/paths/y", "", data("datastores/x/paths/y")},
		{long + "/datastores/blobs/paths/a", "", data("a")},
		{strings.Replace(long, "/workspaces", "/providers/Microsoft.MachineLearningServices/workspaces", 1) + "/datastores/blobs/paths/a", "", data("a")},
		{strings.ToUpper(long[10:]), "", BlobPath{}}, // no scheme: refused below
		{"azureml://datastores/keyed/paths/a", "", BlobPath{Account: "partner", Container: "secrets", Path: "a", key: "a2V5"}},
		{"azureml://jobs/train/outputs/artifacts/paths/model/", "", BlobPath{Account: "acct", Container: "azureml", Path: "ExperimentRun/dcid.train/model"}},
		{long + "/jobs/train/outputs/artifacts/paths/", "", BlobPath{Account: "acct", Container: "azureml", Path: "ExperimentRun/dcid.train"}},
		{"azureml:d:1", "data", data("d/1")},
		{"azureml:d:1", "models", BlobPath{Account: "acct", Container: "azureml", Path: "ExperimentRun/dcid.train/model"}},
		{"azureml:long:1", "data", data("l")},
		{"azureml:web:1", "data", BlobPath{Account: "partner", Container: "open", Path: "x.csv"}},
		{yardSpace + "/data/d/versions/1", "", data("d/1")},
		{"azureml:" + yardSpace + "/codes/c/versions/1", "", BlobPath{Account: "acct", Container: "uploads", Path: "src"}},
		{"azureml://locations/westeurope/workspaces/" + yardGUID + "/data/d/versions/1", "", data("d/1")},
		{long + "/models/d/versions/1", "", BlobPath{Account: "acct", Container: "azureml", Path: "ExperimentRun/dcid.train/model"}},
	} {
		y.view(func(tx *rp.Tx) error {
			w, err := rp.Get[Workspace](tx, arm.MustParseID(yardSpace))
			if err != nil {
				return err
			}
			got, err := resolveURI(tx, w, c.uri, c.kind)
			if c.want == (BlobPath{}) {
				if err == nil {
					t.Errorf("%s: %+v", c.uri, got)
				}
				return nil
			}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(BlobPath{})); err != nil || d != "" {
				t.Errorf("%s: %v\n%s", c.uri, err, d)
			}
			return nil
		})
	}
}

func TestResolveURIRefuses(t *testing.T) {
	y := newYard(t, Scale{Max: 1, Idle: idle2m}, -1)
	y.assets()
	const long = "azureml://subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/workspaces/mlw"
	for uri, says := range map[string]string{
		"":                                      "none of a blob URL",
		"x":                                     "none of a blob URL",
		"ftp://acct.blob.core.windows.net/c/x":  "no kind of asset",
		"http://acct.blob.core.windows.net/c/x": "no kind of asset",
		"file:///etc/passwd":                    "no version",
		"/etc/passwd":                           "not a resource id",
		"https://www.example.com/c/x":           "only blob storage",
		"https://acct.blob.core.windows.net.evil.example/c/x":                  "only blob storage",
		"https://evil.example/acct.blob.core.windows.net/x":                    "only blob storage",
		"https://acct.blob.core.windows.net:8443/c/x":                          "only blob storage",
		"https://acct.blob.core.windows.net@evil.example/c/x":                  "signature or another query",
		"https://acct.dfs.core.windows.net/c/x":                                "only blob storage",
		"https://a.b.blob.core.windows.net/c/x":                                "only blob storage",
		"https://blob.core.windows.net/c/x":                                    "only blob storage",
		"https://ac-ct.blob.core.windows.net/data/x":                           "not the name of a storage account",
		"https://acct.blob.core.windows.net/":                                  "not the name of a container",
		"https://acct.blob.core.windows.net/C/x":                               "not the name of a container",
		"https://acct.blob.core.windows.net/data/../other/x":                   "relative segment",
		"https://acct.blob.core.windows.net/data/%2e%2e/x":                     "relative segment",
		"https://acct.blob.core.windows.net/../data/x":                         "not the name of a container",
		"https://acct.blob.core.windows.net/data//x":                           "relative segment",
		"https://acct.blob.core.windows.net/data/a%5c..%5cb":                   "characters",
		"https://acct.blob.core.windows.net/data/a%00b":                        "characters",
		"https://acct.blob.core.windows.net/data/a%ffb":                        "characters",
		"https://acct.blob.core.windows.net/data/" + strings.Repeat("x", 1100): "longer than 1024",
		"azureml://":                                                             "names neither",
		"azureml://datastores/none/paths/x":                                      "no datastore 'none'",
		"azureml://datastores/blobs/path/x":                                      "names neither",
		"azureml://datastores//paths/x":                                          "names no datastore",
		"azureml://datastores/blobs/paths/../../x":                               "relative segment",
		"azureml://datastores/blobs/paths/a/./b":                                 "relative segment",
		"azureml://datastores/evil/paths/x":                                      "not the name of a storage account",
		"azureml://jobs/x/outputs/artifacts/paths/../../dcid.other/x":            "relative segment",
		"azureml://jobs/../outputs/artifacts/paths/x":                            "", // dcid... is a directory of its own
		"azureml://jobs/x/outputs/artifacts":                                     "names neither",
		"azureml://registries/azureml/models/m/versions/1":                       "registries are not there yet",
		strings.Replace(long, "mlw", "mlx", 1) + "/datastores/blobs/paths/x":     "of another workspace",
		strings.Replace(long, "/rg/", "/rg2/", 1) + "/datastores/blobs/paths/x":  "of another workspace",
		strings.Replace(long, "1111/", "1112/", 1) + "/datastores/blobs/paths/x": "of another workspace",
		"azureml://subscriptions/a/datastores/blobs/paths/x":                     "names no workspace",
		"azureml://locations/westeurope/workspaces/" + strings.Replace(yardGUID, "a", "b", 1) + "/data/d/versions/1": "of another workspace",
		"azureml:d":                      "none of a blob URL",
		"azureml:../d:1":                 "no version",
		"azureml:d:../2":                 "no version",
		"azureml:none:1":                 "does not exist",
		"azureml:d:2":                    "does not exist",
		"azureml:loop:1":                 "no data that can be read",
		"azureml:loop:2":                 "no data that can be read",
		"azureml:other:1":                "of another workspace",
		yardSpace + "/data/d":            "not the id of a version",
		yardSpace + "/computes/cpu":      "not the id of a version",
		yardSpace + "/jobs/j/versions/1": "no kind of asset",
		strings.Replace(yardSpace, "mlw", "mlx", 1) + "/data/d/versions/1": "of another workspace",
		yardGroup + "/providers/Microsoft.Storage/storageAccounts/acct":    "of another workspace",
	} {
		y.view(func(tx *rp.Tx) error {
			w, err := rp.Get[Workspace](tx, arm.MustParseID(yardSpace))
			if err != nil {
				return err
			}
			kind := "data"
			if strings.Contains(says, "no kind of asset") {
				kind = ""
			}
			got, err := resolveURI(tx, w, uri, kind)
			if says == "" {
				if err != nil || got.Container != ArtifactContainer || strings.Contains("/"+got.Path+"/", "/../") {
					t.Errorf("%s: %+v, %v", uri, got, err)
				}
				return nil
			}
			e := arm.AsError(err)
			if e == nil || e.Status != http.StatusBadRequest && e.Status != http.StatusNotFound || !strings.Contains(e.Message, says) {
				t.Errorf("%s: %+v, %v; want %q", uri, got, err, says)
			}
			return nil
		})
	}
	// Kinds of data that jobs do not read are told so.
	y.view(func(tx *rp.Tx) error {
		w, err := rp.Get[Workspace](tx, arm.MustParseID(yardSpace))
		if err != nil {
			return err
		}
		for _, uri := range []string{"azureml://datastores/files/paths/x", "azureml://jobs/x/outputs/model/paths/x"} {
			if _, err := resolveURI(tx, w, uri, "data"); arm.AsError(err) == nil || arm.AsError(err).Status != http.StatusNotImplemented {
				t.Errorf("%s: %v", uri, err)
			}
		}
		// A signature in a URL is in no message.
		_, err = resolveURI(tx, w, "https://acct.blob.core.windows.net/data/x?sv=2021&sig=topsecret", "data")
		if err == nil || strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "signature") {
			t.Errorf("%v", err)
		}
		return nil
	})
}

// FuzzResolveURI: whatever a URI says, what comes of it lies in one container of one account, or nothing comes of it.
func FuzzResolveURI(f *testing.F) {
	y := newYard(f, Scale{Max: 1, Idle: idle2m}, -1)
	y.assets()
	for _, s := range []string{
		"https://acct.blob.core.windows.net/data/%2e%2e/x", "azureml://datastores/blobs/paths/a/b", "azureml:d:1", yardSpace + "/data/d/versions/1",
		"azureml://locations/westeurope/workspaces/" + yardGUID + "/data/d/versions/1", "azureml://jobs/train/outputs/artifacts/paths/model/",
		"azureml://subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/workspaces/mlw/datastores/blobs/paths/a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		y.t = t
		y.view(func(tx *rp.Tx) error {
			w, err := rp.Get[Workspace](tx, arm.MustParseID(yardSpace))
			if err != nil {
				return err
			}
			at, err := resolveURI(tx, w, uri, "data")
			if err != nil {
				if arm.AsError(err) == nil {
					t.Fatalf("%q: %v", uri, err)
				}
				return nil
			}
			again, err := resolveURI(tx, w, (BlobPath{Account: at.Account, Container: at.Container, Path: at.Path}).URL(), "data")
			at.key, at.sas = "", ""
			if err != nil || again != at {
				t.Fatalf("%q is %+v, whose URL is %+v, %v", uri, at, again, err)
			}
			return nil
		})
	})
}
