package machinelearning

import (
	"net/url"
	"strings"

	"vauban.dev/arm"
)

// artifactStore is where artifacts are, as a URI of the workspace's datastore.
func artifactStore(workspace arm.ID, path string) string {
	return "azureml://subscriptions/" + workspace.Subscription() + "/resourceGroups/" + workspace.ResourceGroup() +
		"/workspaces/" + workspace.Name() + "/datastores/workspaceartifactstore/paths/" + path
}

// modelPlace is the URI that Resource Manager's clients read for a source that MLflow's name.
func modelPlace(workspace arm.ID, source string) (string, error) {
	bad := userError("The source '%s' of the model names no place in this workspace: runs:/…, azureml://… and https://… do.", source)
	u, err := url.Parse(source)
	if err != nil {
		return "", bad
	}
	rest := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "runs": // runs:/{run}/{path}
		run, path, ok := strings.Cut(rest, "/")
		if !ok || run == "" || path == "" {
			return "", bad
		}
		return artifactStore(workspace, "ExperimentRun/dcid."+run+"/"+path), nil
	case "models": // models:/m-{id}, a logged model
		if !strings.HasPrefix(rest, "m-") || strings.Contains(rest, "/") {
			return "", bad
		}
		return artifactStore(workspace, "ExperimentRun/dcid."+rest), nil
	case "azureml":
		if u.Host == "artifacts" { // azureml://artifacts/{origin}/{container}/{path}
			return artifactStore(workspace, rest), nil
		}
		// azureml://{host}/mlflow/v2.0{workspace}/experiments/{id}/runs/{run}/artifacts/{path}
		if _, tail, ok := strings.Cut(rest, "/runs/"); ok {
			if run, path, ok := strings.Cut(tail, "/artifacts/"); ok && !strings.Contains(run, "/") {
				return artifactStore(workspace, "ExperimentRun/dcid."+run+"/"+path), nil
			}
		}
		return source, nil
	case "https":
		return source, nil
	}
	return "", bad
}

// modelSource is the source of a version as MLflow's clients can read it.
func modelSource(v *AssetVersion) string {
	if s := v.Attributes[sourceProperty]; s != "" {
		return s
	}
	if _, path, ok := strings.Cut(v.ModelURI, "/datastores/workspaceartifactstore/paths/"); ok {
		return "azureml://artifacts/" + path
	}
	return v.ModelURI
}
