package objects

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/privatelink"
)

// kubernetesVersions are those that AKS supports in general availability, the oldest first (AKS Kubernetes release calendar).
var kubernetesVersions = []string{"1.31.12", "1.31.13", "1.32.8", "1.32.9", "1.33.4", "1.33.5", "1.34.0", "1.34.1"}

// clusterCredentials sign in at a cluster's API server, by profile.
type clusterCredentials map[string]string

var clusterProfiles = []string{"clusterAdmin", "clusterUser", "clusterMonitoringUser"}

func clusterActions() map[string]rp.Action[Cluster] {
	list := func(profile string) rp.Action[Cluster] {
		return rp.Action[Cluster]{Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Cluster], _ []byte) (any, error) {
			config, err := kubeconfig(r, profile)
			return map[string]any{"kubeconfigs": []any{map[string]any{"name": profile, "value": config}}}, err
		}}
	}
	return unserved(map[string]rp.Action[Cluster]{
		"listClusterAdminCredential":          list("clusterAdmin"),
		"listClusterUserCredential":           list("clusterUser"),
		"listClusterMonitoringUserCredential": list("clusterMonitoringUser"),
		"start":                               {Async: nothing[Cluster], Do: kept(power("Running"))},
		"stop":                                {Async: nothing[Cluster], Do: kept(power("Stopped"))},
		"abort":                               {Do: func(context.Context, *rp.Tx, *rp.Resource[Cluster], []byte) (any, error) { return nil, nil }}, // nothing is under way
		"rotateClusterCertificates":           {Async: nothing[Cluster], Do: kept(rotate)},
		"rotateServiceAccountSigningKeys":     {Async: nothing[Cluster], Do: kept(rotate)},
		"resetServicePrincipalProfile":        {Do: resetServicePrincipal},
		"resetAADProfile":                     {Do: resetAAD},
		"privateLinkResources": {Method: http.MethodGet, Permission: ClusterType + "/privateLinkResources/read",
			Do: clusterLinkResources},
	}, "runCommand")
}

// kept saves what an action changes before its operation begins.
func kept[T any](do func(context.Context, *rp.Tx, *rp.Resource[T], []byte) (any, error)) func(context.Context, *rp.Tx, *rp.Resource[T], []byte) (any, error) {
	return func(ctx context.Context, tx *rp.Tx, r *rp.Resource[T], body []byte) (any, error) {
		out, err := do(ctx, tx, r, body)
		if err != nil {
			return nil, err
		}
		return out, rp.Save(tx, r)
	}
}

// nothing is left to do when an operation begins.
func nothing[T any](context.Context, *rp.Resource[T], []byte) (any, error) { return nil, nil }

func (v *Cluster) newCredentials() {
	v.Credentials = clusterCredentials{}
	for _, profile := range clusterProfiles {
		v.Credentials[profile] = secret(32)
	}
}

// kubeconfig is the file by which a client would reach the cluster, in base64.
func kubeconfig(r *rp.Resource[Cluster], profile string) (string, error) {
	v := &r.Properties
	if v.DisableLocalAccounts && profile == "clusterAdmin" {
		return "", refuse("BadRequest", "Getting static credential is not allowed because this cluster is set to disable local accounts.")
	}
	host := v.FQDN
	if v.PrivateFQDN != "" {
		host = v.PrivateFQDN
	}
	name, user := r.ID.Name(), profile+"_"+r.ID.ResourceGroup()+"_"+r.ID.Name()
	config, err := json.Marshal(map[string]any{ // JSON is YAML
		"apiVersion": "v1", "kind": "Config", "current-context": name, "preferences": map[string]any{},
		"clusters": []any{map[string]any{"name": name, "cluster": map[string]any{"server": "https://" + host + ":443"}}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": user}}},
		"users":    []any{map[string]any{"name": user, "user": map[string]any{"token": v.Credentials[profile]}}},
	})
	return base64.StdEncoding.EncodeToString(config), err
}

func power(code string) func(context.Context, *rp.Tx, *rp.Resource[Cluster], []byte) (any, error) {
	return func(_ context.Context, _ *rp.Tx, r *rp.Resource[Cluster], _ []byte) (any, error) {
		r.Properties.Power = &powerState{code}
		return nil, nil
	}
}

func rotate(_ context.Context, _ *rp.Tx, r *rp.Resource[Cluster], _ []byte) (any, error) {
	r.Properties.newCredentials()
	return nil, nil
}

// resetServicePrincipal answers at once: its body has a secret, which is in no operation.
func resetServicePrincipal(_ context.Context, _ *rp.Tx, r *rp.Resource[Cluster], body []byte) (any, error) {
	var q servicePrincipal
	if err := json.Unmarshal(body, &q); err != nil || q.ClientID == "" {
		return nil, missingParameter("clientId")
	}
	r.Properties.ServicePrincipal = &q
	return struct{}{}, nil
}

func resetAAD(_ context.Context, _ *rp.Tx, r *rp.Resource[Cluster], body []byte) (any, error) {
	if err := json.Unmarshal(body, &r.Properties.AAD); err != nil {
		return nil, invalidParameter("aadProfile", "an object is expected.")
	}
	delete(r.Properties.AAD, "serverAppSecret")
	return struct{}{}, nil
}

// upgradeImage is an agent pool on the newest node image.
func upgradeImage(_ context.Context, _ *rp.Tx, r *rp.Resource[AgentPool], _ []byte) (any, error) {
	os, _ := r.Properties["osType"].(string)
	r.Properties["nodeImageVersion"] = nodeImages[strings.ToLower(os)]
	return map[string]any{"id": r.ID.String(), "name": r.ID.Name(), "type": r.ID.Type().String(), "properties": r.Properties}, nil
}

// clusterRoutes are what a cluster has beside its resources.
func clusterRoutes() rp.Registration {
	const at = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + ClusterType + "/{cluster}"
	get := func(path, permission string, do func(r *rp.Resource[Cluster]) (any, error)) rp.Route {
		return rp.Route{Method: http.MethodGet, Pattern: at + path, Permission: ClusterType + permission, Versions: clusterVersions, Reads: true,
			Do: func(_ context.Context, tx *rp.Tx, in, _ map[string]string, _ []byte) (any, error) {
				r, err := clusterAt(tx, in)
				if err != nil {
					return nil, err
				}
				return do(r)
			}}
	}
	return rp.Routes(
		get("/upgradeProfiles/default", "/upgradeProfiles/read", upgradeProfile),
		get("/availableAgentPoolVersions", "/availableAgentPoolVersions/read", poolVersions),
		rp.Route{Method: http.MethodPost, Pattern: at + "/accessProfiles/{profile}/listCredential", Permission: ClusterType + "/accessProfiles/listCredential/action", Versions: clusterVersions, Reads: true,
			Do: func(_ context.Context, tx *rp.Tx, in, _ map[string]string, _ []byte) (any, error) {
				r, err := clusterAt(tx, in)
				if err != nil {
					return nil, err
				}
				i := slices.IndexFunc(clusterProfiles, func(p string) bool { return strings.EqualFold(p, in["profile"]) })
				if i < 0 {
					return nil, arm.NotFound(r.ID.Child("accessProfiles", in["profile"]))
				}
				config, err := kubeconfig(r, clusterProfiles[i])
				return map[string]any{"id": r.ID.Child("accessProfiles", clusterProfiles[i]).String(), "name": clusterProfiles[i], "type": ClusterType + "/accessProfiles",
					"location": r.Location, "properties": map[string]any{"kubeConfig": config}}, err
			}},
	)
}

func clusterAt(tx *rp.Tx, in map[string]string) (*rp.Resource[Cluster], error) {
	id, err := arm.ParseID("/subscriptions/" + in["subscription"] + "/resourceGroups/" + in["group"] + "/providers/" + ClusterType + "/" + in["cluster"])
	if err != nil {
		return nil, err
	}
	r, err := live[Cluster](tx, id)
	if err != nil {
		return nil, err
	}
	return r, presentCluster(context.Background(), tx, r)
}

// upgradeProfile is what the control plane and the pools can be upgraded to: patches, and one minor version. What is no
// longer supported goes to the oldest that is ("Upgrade an AKS cluster").
func upgradeProfile(r *rp.Resource[Cluster]) (any, error) {
	profile := func(name, os, version string) map[string]any {
		upgrades := []any{}
		for _, v := range kubernetesVersions {
			if newer(v, version) && (minor(v) <= minor(version)+1 || minor(version) < minor(kubernetesVersions[0]) && minor(v) == minor(kubernetesVersions[0])) {
				upgrades = append(upgrades, map[string]any{"kubernetesVersion": v, "isPreview": false})
			}
		}
		return map[string]any{"name": name, "kubernetesVersion": version, "osType": os, "upgrades": upgrades}
	}
	pools := []any{}
	for _, p := range r.Properties.AgentPools {
		name, _ := p["name"].(string)
		os, _ := p["osType"].(string)
		version, _ := p["orchestratorVersion"].(string)
		pools = append(pools, profile(name, os, version))
	}
	return map[string]any{"id": r.ID.Child("upgradeProfiles", "default").String(), "name": "default", "type": ClusterType + "/upgradeProfiles",
		"properties": map[string]any{"controlPlaneProfile": profile("master", "Linux", r.Properties.KubernetesVersion), "agentPoolProfiles": pools}}, nil
}

// poolVersions are those that a new pool can have: up to the control plane's.
func poolVersions(r *rp.Resource[Cluster]) (any, error) {
	list := []any{}
	for _, v := range kubernetesVersions {
		if !newer(v, r.Properties.KubernetesVersion) {
			list = append(list, map[string]any{"default": v == defaultKubernetes, "kubernetesVersion": v, "isPreview": false})
		}
	}
	if current := r.Properties.KubernetesVersion; !slices.Contains(kubernetesVersions, current) {
		list = append(list, map[string]any{"default": false, "kubernetesVersion": current, "isPreview": false})
	}
	return map[string]any{"id": r.ID.Child("availableAgentPoolVersions", "default").String(), "name": "default", "type": ClusterType + "/availableAgentPoolVersions",
		"properties": map[string]any{"agentPoolVersions": list}}, nil
}

func numbers(version string) (n [3]int) {
	for i, part := range strings.SplitN(version, ".", 3) {
		n[i], _ = strconv.Atoi(part) // what is no number was refused when it was written
	}
	return n
}

func minor(version string) int { return numbers(version)[1] }

// newer: a is a later version than b.
func newer(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return slices.Compare(x[:], y[:]) > 0
}

// clusterLinkResources have a form of their own in AKS.
func clusterLinkResources(_ context.Context, tx *rp.Tx, r *rp.Resource[Cluster], _ []byte) (any, error) {
	groups, err := ClusterTarget().Groups(tx, r.ID)
	list := []any{}
	for _, g := range groups {
		list = append(list, map[string]any{"id": r.ID.Child("privateLinkResources", g.ID).String(), "name": g.ID, "type": ClusterType + "/privateLinkResources",
			"groupId": g.ID, "requiredMembers": []string{g.ID}, "privateLinkServiceID": r.ID.Child("privateLinkServices", g.ID).String()})
	}
	return map[string]any{"value": list}, err
}

// ClusterTarget is a private cluster as a target of private endpoints.
func ClusterTarget() privatelink.Target {
	return privatelink.Target{Type: ClusterType, Versions: since(clusterVersions, "2020-06-01"), Groups: func(tx *rp.Tx, id arm.ID) ([]privatelink.Group, error) {
		r, err := privatelink.Live[Cluster](tx, id)
		if err != nil || r.Properties.PrivateFQDN == "" {
			return nil, err
		}
		zone := "privatelink." + r.Location + ".azmk8s.io"
		name := strings.TrimSuffix(r.Properties.PrivateFQDN, "."+zone)
		return []privatelink.Group{{ID: "management", Zones: []string{zone}, Members: []privatelink.Member{
			{GroupID: "management", Name: "management", FQDNs: []string{r.Properties.PrivateFQDN}, Records: []privatelink.Record{{Zone: zone, Name: name}}},
		}}}, nil
	}}
}
