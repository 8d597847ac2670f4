package objects

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/provider/storage"
)

// Rules is the properties of what holds rules for the blobs of an account: management and inventory policies.
type Rules struct {
	Policy   json.RawMessage `json:"policy,omitempty"`
	Modified *time.Time      `json:"lastModifiedTime,omitempty" rp:"readonly"`
}

// ObjectReplication is the properties of an object replication policy (ObjectReplicationPolicyProperties).
type ObjectReplication struct {
	Source      string                  `json:"sourceAccount"`
	Destination string                  `json:"destinationAccount"`
	Rules       []ObjectReplicationRule `json:"rules,omitempty"`

	PolicyID string     `json:"policyId,omitempty" rp:"readonly"`
	Enabled  *time.Time `json:"enabledTime,omitempty" rp:"readonly"`
}

// ObjectReplicationRule copies from one container to another.
type ObjectReplicationRule struct {
	ID          string          `json:"ruleId,omitempty"`
	Source      string          `json:"sourceContainer"`
	Destination string          `json:"destinationContainer"`
	Filters     json.RawMessage `json:"filters,omitempty"`
}

// EncryptionScope is the properties of an encryption scope (EncryptionScopeProperties).
type EncryptionScope struct {
	Source   string     `json:"source,omitempty"`
	State    string     `json:"state,omitempty"`
	Created  *time.Time `json:"creationTime,omitempty" rp:"readonly"`
	Modified *time.Time `json:"lastModifiedTime,omitempty" rp:"readonly"`
}

// LocalUser is the properties of a local user, who would come by SFTP or SMB (LocalUserProperties).
type LocalUser struct {
	Scopes   []UserScope `json:"permissionScopes,omitempty"`
	Home     string      `json:"homeDirectory,omitempty"`
	SSHKeys  []SSHKey    `json:"sshAuthorizedKeys,omitempty"`
	ACL      bool        `json:"allowAclAuthorization"`
	Group    int         `json:"groupId,omitempty"`
	Groups   []int       `json:"extendedGroups,omitempty"`
	NFS      bool        `json:"isNFSv3Enabled"`
	Shared   *bool       `json:"hasSharedKey,omitempty"`
	SSHKey   *bool       `json:"hasSshKey,omitempty"`
	Password *bool       `json:"hasSshPassword,omitempty"`

	SID  string `json:"sid,omitempty" rp:"readonly"`
	User int    `json:"userId,omitempty" rp:"readonly"`
	Key  string `json:"sharedKey,omitempty" rp:"private"`
}

// UserScope is what a local user may do where.
type UserScope struct {
	Permissions string `json:"permissions"`
	Service     string `json:"service"`
	Resource    string `json:"resourceName"`
}

// SSHKey is a public key.
type SSHKey struct {
	Description string `json:"description,omitempty"`
	Key         string `json:"key"`
}

func storagePolicies() []object {
	return []object{
		rules("managementPolicies"), rules("inventoryPolicies"),
		of(rp.Type[ObjectReplication]{
			Name: storage.AccountType + "/objectReplicationPolicies", Kind: rp.Proxy, Versions: rp.Versions[ObjectReplication](storage.Versions()...),
			StateProperty: "-", SyncDelete: true, CreateStatus: http.StatusOK,
			Validate: validateObjectReplication, Admit: admitObjectReplication,
		}),
		of(rp.Type[EncryptionScope]{
			Name: storage.AccountType + "/encryptionScopes", Kind: rp.Proxy, Versions: rp.Versions[EncryptionScope](storage.Versions()...),
			StateProperty: "-", NoDelete: true,
			NamePattern: `^[A-Za-z0-9-]{3,63}$`, NameRule: "The name of an encryption scope has 3 to 63 letters, digits and hyphens.",
			Default: func(_ string, r *rp.Resource[EncryptionScope]) {
				otherwise(&r.Properties.Source, "Microsoft.Storage")
				otherwise(&r.Properties.State, "Enabled")
			},
			Validate: validateScope,
			Admit: func(_ context.Context, tx *rp.Tx, op rp.Op, r, _ *rp.Resource[EncryptionScope]) error {
				created(&r.Properties.Created, op, tx.Now)
				r.Properties.Modified = ptr(tx.Now.UTC())
				return nil
			},
		}),
		of(rp.Type[LocalUser]{
			Name: storage.AccountType + "/localUsers", Kind: rp.Proxy, Versions: rp.Versions[LocalUser](storage.Versions()...),
			StateProperty: "-", SyncDelete: true, CreateStatus: http.StatusOK,
			NamePattern: `^[a-z0-9]([a-z0-9.-]{1,62}[a-z0-9])$`, NameRule: "The name of a local user has 3 to 64 lower-case letters, digits, hyphens and periods, and begins and ends with a letter or digit.",
			Validate: validateUser, Admit: admitUser,
			Actions: map[string]rp.Action[LocalUser]{"listKeys": {Do: userKeys}, "regeneratePassword": {Do: userPassword}},
		}),
	}
}

// rules is the type of a policy of which an account has one, named default.
func rules(name string) object {
	return of(rp.Type[Rules]{
		Name: storage.AccountType + "/" + name, Kind: rp.Proxy, Versions: rp.Versions[Rules](storage.Versions()...),
		StateProperty: "-", SyncDelete: true, CreateStatus: http.StatusOK,
		Validate: func(_ rp.Op, r, _ *rp.Resource[Rules]) error {
			if err := onlyOne(r.ID.Type(), r.ID.Name(), "default"); err != nil {
				return err
			}
			var p struct {
				Rules []struct {
					Name       string          `json:"name"`
					Type       string          `json:"type"`
					Definition json.RawMessage `json:"definition"`
				} `json:"rules"`
			}
			if json.Unmarshal(r.Properties.Policy, &p) != nil || len(p.Rules) == 0 {
				return refuse(badStorage, "properties.policy needs an object with a list of rules.")
			}
			seen := map[string]bool{}
			for i, rule := range p.Rules {
				switch {
				case rule.Name == "" || seen[rule.Name]:
					return refuse(badStorage, "policy.rules[%d].name '%s' is empty or taken.", i, rule.Name)
				case name == "managementPolicies" && rule.Type != "Lifecycle":
					return refuse(badStorage, "policy.rules[%d].type '%s' is not Lifecycle.", i, rule.Type)
				case !jsonObject(rule.Definition):
					return refuse(badStorage, "policy.rules[%d].definition is missing.", i)
				}
				seen[rule.Name] = true
			}
			return nil
		},
		Admit: func(_ context.Context, tx *rp.Tx, _ rp.Op, r, _ *rp.Resource[Rules]) error {
			r.Properties.Modified = ptr(tx.Now.UTC())
			return nil
		},
	})
}

func validateObjectReplication(_ rp.Op, r, _ *rp.Resource[ObjectReplication]) error {
	p := &r.Properties
	if r.ID.Name() != "default" && !guid.MatchString(r.ID.Name()) {
		return refuse(badStorage, "The name of an object replication policy is 'default' or a GUID, not '%s'.", r.ID.Name())
	}
	for i, rule := range p.Rules {
		if rule.Source == "" || rule.Destination == "" {
			return refuse(badStorage, "rules[%d] needs sourceContainer and destinationContainer.", i)
		}
	}
	return first(must(badStorage, "properties.sourceAccount", p.Source), must(badStorage, "properties.destinationAccount", p.Destination))
}

func admitObjectReplication(_ context.Context, tx *rp.Tx, op rp.Op, r, old *rp.Resource[ObjectReplication]) error {
	p := &r.Properties
	switch {
	case op == rp.Update:
		p.PolicyID, p.Enabled = old.Properties.PolicyID, old.Properties.Enabled
	case r.ID.Name() == "default":
		p.PolicyID = uuid.NewString()
	default:
		p.PolicyID = r.ID.Name()
	}
	for i := range p.Rules {
		otherwise(&p.Rules[i].ID, uuid.NewString())
	}
	if p.Enabled == nil {
		p.Enabled = ptr(tx.Now.UTC())
	}
	return nil
}

func validateScope(_ rp.Op, r, _ *rp.Resource[EncryptionScope]) error {
	p := &r.Properties
	if err := first(oneOf(badStorage, "source", &p.Source, "Microsoft.Storage", "Microsoft.KeyVault"), oneOf(badStorage, "state", &p.State, "Enabled", "Disabled")); err != nil {
		return err
	}
	// What protects is never accepted and left undone.
	switch {
	case p.Source != "Microsoft.Storage":
		return arm.NotImplemented("properties.source '%s': customer-managed keys are not there yet; accounts are encrypted with the platform's key.", p.Source)
	case p.State != "Enabled":
		return arm.NotImplemented("properties.state '%s': a scope that is disabled would go on to be readable.", p.State)
	}
	return nil
}

func validateUser(_ rp.Op, r, _ *rp.Resource[LocalUser]) error {
	for i, s := range r.Properties.Scopes {
		if err := first(must(badStorage, fmt.Sprintf("permissionScopes[%d].permissions", i), s.Permissions), must(badStorage, fmt.Sprintf("permissionScopes[%d].service", i), s.Service),
			must(badStorage, fmt.Sprintf("permissionScopes[%d].resourceName", i), s.Resource)); err != nil {
			return err
		}
	}
	for i, k := range r.Properties.SSHKeys {
		if err := must(badStorage, fmt.Sprintf("sshAuthorizedKeys[%d].key", i), k.Key); err != nil {
			return err
		}
	}
	return nil
}

// admitUser gives a new user its ids, which count from 1000 in an account.
func admitUser(_ context.Context, tx *rp.Tx, op rp.Op, r, _ *rp.Resource[LocalUser]) error {
	p := &r.Properties
	if p.Shared == nil {
		p.Shared = ptr(true)
	}
	if p.SSHKey == nil {
		p.SSHKey = ptr(len(p.SSHKeys) > 0)
	}
	if p.Password == nil {
		p.Password = ptr(false)
	}
	if op != rp.Create {
		return nil
	}
	users, err := rp.List[LocalUser](tx, r.ID.Type().String(), r.ID.Parent())
	if err != nil {
		return err
	}
	p.User = 1000
	for _, u := range users {
		p.User = max(p.User, u.Properties.User+1)
	}
	account := uuid.NewSHA1(uuid.Nil, []byte(r.ID.Parent().Key()))
	p.SID = fmt.Sprintf("S-1-2-0-%d-%d-%d-%d", uint32(account[0])<<16|uint32(account[1])<<8|uint32(account[2]), uint32(account[3])<<8|uint32(account[4]), uint32(account[5])<<8|uint32(account[6]), p.User)
	p.Key = secret(64)
	return nil
}

func userKeys(_ context.Context, _ *rp.Tx, r *rp.Resource[LocalUser], _ []byte) (any, error) {
	keys := r.Properties.SSHKeys
	if keys == nil {
		keys = []SSHKey{}
	}
	return map[string]any{"sharedKey": r.Properties.Key, "sshAuthorizedKeys": keys}, nil
}

// userPassword shows a new password once. Nobody asks for it: there is no SFTP server.
func userPassword(_ context.Context, _ *rp.Tx, r *rp.Resource[LocalUser], _ []byte) (any, error) {
	r.Properties.Password = ptr(true)
	return map[string]any{"sshPassword": secret(24)}, nil
}
