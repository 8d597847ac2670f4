package objects

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
)

const (
	webhookType     = RegistryType + "/webhooks"
	replicationType = RegistryType + "/replications"
	childName       = `^[a-zA-Z0-9]{5,50}$`
	childNameRule   = "Names must contain 5 to 50 alphanumeric characters."
	dashedName      = `^[a-zA-Z0-9-]{5,50}$`
	dashedNameRule  = "Names must contain 5 to 50 alphanumeric characters and hyphens."
)

// Replication of a registry in another location.
type Replication struct {
	Status *struct {
		DisplayStatus string    `json:"displayStatus"`
		Message       string    `json:"message"`
		Timestamp     time.Time `json:"timestamp"`
	} `json:"status,omitempty" rp:"readonly"`
	RegionEndpointEnabled *bool  `json:"regionEndpointEnabled,omitempty"`
	ZoneRedundancy        string `json:"zoneRedundancy,omitempty"`
}

// Webhook is told of what happens to the images of a registry. Where it is called is in no answer but getCallbackConfig's.
type Webhook struct {
	Status        string            `json:"status,omitempty"`
	Scope         string            `json:"scope"`
	Actions       []string          `json:"actions"`
	ServiceURI    string            `json:"serviceUri,omitempty" rp:"secret"`
	CustomHeaders map[string]string `json:"customHeaders,omitempty" rp:"secret"`
	Events        []webhookEvent    `json:"events,omitempty" rp:"private"` // the last ones, the newest first
}

// ScopeMap is a list of what tokens may do to repositories.
type ScopeMap struct {
	Actions      []string   `json:"actions"`
	Kind         string     `json:"type,omitempty" rp:"readonly"`
	CreationDate *time.Time `json:"creationDate,omitempty" rp:"readonly"`
}

// Token signs in with the permissions of a scope map.
type Token struct {
	ScopeMapID   string     `json:"scopeMapId"`
	Status       string     `json:"status,omitempty"`
	CreationDate *time.Time `json:"creationDate,omitempty" rp:"readonly"`
}

// CacheRule has a registry keep what it pulls from another.
type CacheRule struct {
	CredentialSet string     `json:"credentialSetResourceId,omitempty"`
	Source        string     `json:"sourceRepository"`
	Target        string     `json:"targetRepository"`
	CreationDate  *time.Time `json:"creationDate,omitempty" rp:"readonly"`
}

// CredentialSet is what a cache rule signs in with at another registry.
type CredentialSet struct {
	LoginServer  string           `json:"loginServer"`
	Credentials  []authCredential `json:"authCredentials"`
	CreationDate *time.Time       `json:"creationDate,omitempty" rp:"readonly"`
}

type authCredential struct {
	Name     string            `json:"name"`
	Username string            `json:"usernameSecretIdentifier"`
	Password string            `json:"passwordSecretIdentifier"`
	Health   *credentialHealth `json:"credentialHealth,omitempty"`
}

type credentialHealth struct {
	Status  string `json:"status"`
	Code    string `json:"errorCode,omitempty"`
	Message string `json:"errorMessage,omitempty"`
}

// TaskAgents is an agent pool of a registry's tasks.
type TaskAgents struct {
	Count *int   `json:"count,omitempty"`
	Tier  string `json:"tier,omitempty"`
	OS    string `json:"os,omitempty"`
}

func since(versions []string, first string) []string {
	for i, v := range versions {
		if v >= first {
			return versions[i:]
		}
	}
	return nil
}

func registryChildren() []object {
	return []object{
		of(rp.Type[Replication]{
			Name: replicationType, Versions: rp.Versions[Replication](registryVersions...), NamePattern: childName, NameRule: childNameRule,
			Default: func(_ string, r *rp.Resource[Replication]) {
				otherwise(&r.Properties.ZoneRedundancy, "Disabled")
				otherwise(&r.Properties.RegionEndpointEnabled, ptr(true))
			},
			Validate: func(_ rp.Op, r, _ *rp.Resource[Replication]) error {
				return oneOf("InvalidRequestContent", "zoneRedundancy", &r.Properties.ZoneRedundancy, "Enabled", "Disabled")
			},
			Admit: admitReplication, Present: tagged[Replication], Reconcile: done[Replication],
		}),
		of(rp.Type[Webhook]{
			Name: webhookType, Versions: rp.Versions[Webhook](registryVersions...), NamePattern: childName, NameRule: childNameRule,
			CreateStatus: http.StatusOK, SyncDelete: true,
			Default: func(_ string, r *rp.Resource[Webhook]) {
				otherwise(&r.Properties.Status, "enabled")
			},
			Validate: validateWebhook, Admit: admitWebhook, Present: tagged[Webhook],
			Actions: map[string]rp.Action[Webhook]{
				"getCallbackConfig": {Do: func(_ context.Context, _ *rp.Tx, r *rp.Resource[Webhook], _ []byte) (any, error) {
					headers := r.Properties.CustomHeaders
					if headers == nil {
						headers = map[string]string{}
					}
					return map[string]any{"serviceUri": r.Properties.ServiceURI, "customHeaders": headers}, nil
				}},
				"listEvents": {Do: webhookEvents},
				"ping":       {Do: pingWebhook},
			},
		}),
		of(rp.Type[ScopeMap]{
			Name: RegistryType + "/scopeMaps", Kind: rp.Proxy, Versions: rp.Versions[ScopeMap](since(registryVersions, "2019-05-01")...),
			NamePattern: dashedName, NameRule: dashedNameRule,
			Validate: func(_ rp.Op, r, _ *rp.Resource[ScopeMap]) error {
				if len(r.Properties.Actions) == 0 {
					return must("InvalidRequestContent", "properties.actions", "")
				}
				return nil
			},
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[ScopeMap]) error {
				created(&new.Properties.CreationDate, op, tx.Now)
				new.Properties.Kind = "UserDefined"
				return nil
			},
			Reconcile: done[ScopeMap],
		}),
		of(rp.Type[Token]{
			Name: RegistryType + "/tokens", Kind: rp.Proxy, Versions: rp.Versions[Token](since(registryVersions, "2019-05-01")...),
			NamePattern: dashedName, NameRule: dashedNameRule,
			Default: func(_ string, r *rp.Resource[Token]) { otherwise(&r.Properties.Status, "enabled") },
			Validate: func(_ rp.Op, r, _ *rp.Resource[Token]) error {
				return first(must("InvalidRequestContent", "properties.scopeMapId", r.Properties.ScopeMapID),
					oneOf("InvalidRequestContent", "properties.status", &r.Properties.Status, "enabled", "disabled"))
			},
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Token]) error {
				created(&new.Properties.CreationDate, op, tx.Now)
				return refers[ScopeMap](tx, "properties.scopeMapId", new.Properties.ScopeMapID)
			},
			Reconcile: done[Token],
		}),
		of(rp.Type[CacheRule]{
			Name: RegistryType + "/cacheRules", Kind: rp.Proxy, Versions: rp.Versions[CacheRule](since(registryVersions, "2023-01-01-preview")...),
			NamePattern: dashedName, NameRule: dashedNameRule,
			Validate: func(_ rp.Op, r, _ *rp.Resource[CacheRule]) error {
				return first(must("InvalidRequestContent", "properties.sourceRepository", r.Properties.Source),
					must("InvalidRequestContent", "properties.targetRepository", r.Properties.Target))
			},
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[CacheRule]) error {
				created(&new.Properties.CreationDate, op, tx.Now)
				if new.Properties.CredentialSet == "" {
					return nil
				}
				return refers[CredentialSet](tx, "properties.credentialSetResourceId", new.Properties.CredentialSet)
			},
			Reconcile: done[CacheRule],
		}),
		of(rp.Type[CredentialSet]{
			Name: RegistryType + "/credentialSets", Kind: rp.Proxy, Versions: rp.Versions[CredentialSet](since(registryVersions, "2023-01-01-preview")...),
			NamePattern: dashedName, NameRule: dashedNameRule,
			Validate: validateCredentialSet,
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[CredentialSet]) error {
				created(&new.Properties.CreationDate, op, tx.Now)
				return nil
			},
			Reconcile: done[CredentialSet],
		}),
		of(rp.Type[TaskAgents]{
			Name: RegistryType + "/agentPools", Versions: rp.Versions[TaskAgents](since(registryVersions, "2019-06-01-preview")...),
			NamePattern: `^[a-zA-Z0-9-]{3,20}$`, NameRule: "Names must contain 3 to 20 alphanumeric characters and hyphens.",
			Default: func(_ string, r *rp.Resource[TaskAgents]) {
				otherwise(&r.Properties.Count, ptr(1))
				otherwise(&r.Properties.Tier, "S1")
				otherwise(&r.Properties.OS, "Linux")
			},
			Validate: func(_ rp.Op, r, _ *rp.Resource[TaskAgents]) error {
				return oneOf("InvalidRequestContent", "properties.os", &r.Properties.OS, "Linux", "Windows")
			},
			Reconcile: done[TaskAgents],
			Actions:   unserved[TaskAgents](nil, "listQueueStatus"),
		}),
		taskType(),
	}
}

// refers checks that a member names a resource that is there.
func refers[T any](tx *rp.Tx, field, value string) error {
	id, err := arm.ParseID(value)
	if err != nil {
		return refuse("InvalidRequestContent", "The value '%s' of '%s' is not a resource id.", value, field)
	}
	_, err = live[T](tx, id)
	return err
}

// admitReplication: with its first replication a registry has one of its own location, too.
func admitReplication(_ context.Context, tx *rp.Tx, _ rp.Op, new, _ *rp.Resource[Replication]) error {
	registry, err := live[Registry](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	if s := skuOf(registry).Name; s != "Premium" {
		return needsPremium("ReplicationNotSupported", "Replications", s)
	}
	replicate(new, tx.Now)
	others, err := rp.List[Replication](tx, replicationType, registry.ID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Location == new.Location && o.ID.Key() != new.ID.Key() {
			return arm.Errorf(http.StatusConflict, "ReplicationAlreadyExists", "The registry %s already has a replication in location '%s': '%s'.", registry.ID.Name(), new.Location, o.ID.Name())
		}
	}
	if len(others) > 0 || new.Location == registry.Location {
		return nil
	}
	home := &rp.Resource[Replication]{ID: registry.ID.Child("replications", registry.Location), Location: registry.Location, State: arm.Succeeded}
	home.Properties.ZoneRedundancy, home.Properties.RegionEndpointEnabled = "Disabled", ptr(true)
	replicate(home, tx.Now)
	return rp.Save(tx, home)
}

func replicate(r *rp.Resource[Replication], now time.Time) {
	if r.Properties.Status != nil {
		return
	}
	r.Properties.Status = ptr(struct {
		DisplayStatus string    `json:"displayStatus"`
		Message       string    `json:"message"`
		Timestamp     time.Time `json:"timestamp"`
	}{"Ready", "The replication is ready.", now.UTC()})
}

func validateWebhook(_ rp.Op, r, _ *rp.Resource[Webhook]) error {
	v := &r.Properties
	if err := first(must("InvalidRequestContent", "properties.serviceUri", v.ServiceURI), oneOf("InvalidRequestContent", "properties.status", &v.Status, "enabled", "disabled")); err != nil {
		return err
	}
	if u, err := url.Parse(v.ServiceURI); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return refuse("InvalidRequestContent", "The value of 'properties.serviceUri' is invalid. It must be an http or https URI.")
	}
	if len(v.Actions) == 0 {
		return must("InvalidRequestContent", "properties.actions", "")
	}
	for i := range v.Actions {
		if err := first(must("InvalidRequestContent", "properties.actions", v.Actions[i]),
			oneOf("InvalidRequestContent", "properties.actions", &v.Actions[i], "push", "delete", "quarantine", "chart_push", "chart_delete")); err != nil {
			return err
		}
	}
	return nil
}

// admitWebhook holds a registry to the webhooks of its SKU.
func admitWebhook(_ context.Context, tx *rp.Tx, op rp.Op, new, _ *rp.Resource[Webhook]) error {
	if op == rp.Update {
		return nil
	}
	registry, err := live[Registry](tx, new.ID.Parent())
	if err != nil {
		return err
	}
	have, err := rp.List[Webhook](tx, webhookType, registry.ID)
	if limit := registryLimits[skuOf(registry).Name][1]; err == nil && int64(len(have)) >= limit {
		return arm.Errorf(http.StatusForbidden, "QuotaExceeded", "The registry %s of SKU %s can have %d webhooks.", registry.ID.Name(), skuOf(registry).Name, limit)
	}
	return err
}

// validateCredentialSet fills in that nobody looked into the vault.
func validateCredentialSet(_ rp.Op, r, _ *rp.Resource[CredentialSet]) error {
	v := &r.Properties
	if err := must("InvalidRequestContent", "properties.loginServer", v.LoginServer); err != nil {
		return err
	}
	if len(v.Credentials) == 0 {
		return must("InvalidRequestContent", "properties.authCredentials", "")
	}
	for i := range v.Credentials {
		c := &v.Credentials[i]
		if err := first(must("InvalidRequestContent", "properties.authCredentials.usernameSecretIdentifier", c.Username),
			must("InvalidRequestContent", "properties.authCredentials.passwordSecretIdentifier", c.Password)); err != nil {
			return err
		}
		otherwise(&c.Name, "Credential1")
		c.Health = &credentialHealth{Status: "Unhealthy", Code: "NotImplemented", Message: "Registries are object only: nothing reads the secrets."}
	}
	return nil
}
