// Package features is Microsoft.Features: the preview features of a subscription, which are asked for by name. They are
// kept and shown; what a region does does not depend on them.
package features

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/store"
)

// kind are the features that subscriptions have asked for, by subscription/namespace/feature in lower case.
const kind = "features.registration"

// registration is a feature that a subscription has asked for, or given up again.
type registration struct {
	State   string    `json:"state"` // Registered, Unregistered
	Since   time.Time `json:"since"`
	Profile bool      `json:"profile,omitempty"` // by a subscriptionFeatureRegistration
	// Of a subscriptionFeatureRegistration: what its creator said.
	Description string            `json:"description,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// The states of a feature (Features REST: Features).
const (
	stateNot          = "NotRegistered"
	stateRegistered   = "Registered"
	stateUnregistered = "Unregistered"
)

var (
	versions        = []string{"2014-08-01-preview", "2015-12-01", "2021-07-01"}
	profileVersions = []string{"2021-07-01"}
)

const (
	root    = "/subscriptions/{subscription}/providers/Microsoft.Features"
	feature = root + "/providers/{namespace}/features/{feature}"
	profile = root + "/featureProviders/{namespace}/subscriptionFeatureRegistrations"
)

// Types are the routes.
func Types() []rp.Registration {
	return []rp.Registration{rp.Routes(
		route(http.MethodGet, root+"/features", "Microsoft.Features/features/read", versions, list),
		route(http.MethodGet, root+"/providers/{namespace}/features", "Microsoft.Features/features/read", versions, list),
		route(http.MethodGet, feature, "Microsoft.Features/providers/features/read", versions, show),
		route(http.MethodPost, feature+"/register", "Microsoft.Features/providers/features/register/action", versions, set(stateRegistered, "Registering")),
		route(http.MethodPost, feature+"/unregister", "Microsoft.Features/providers/features/unregister/action", versions, set(stateUnregistered, "Unregistering")),
		route(http.MethodGet, root+"/subscriptionFeatureRegistrations", "Microsoft.Features/subscriptionFeatureRegistrations/read", profileVersions, listProfiles),
		route(http.MethodGet, profile, "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations/read", profileVersions, listProfiles),
		route(http.MethodGet, profile+"/{feature}", "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations/read", profileVersions, showProfile),
		route(http.MethodPut, profile+"/{feature}", "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations/write", profileVersions, putProfile),
		route(http.MethodDelete, profile+"/{feature}", "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations/delete", profileVersions, deleteProfile),
	)}
}

func route(method, pattern, permission string, versions []string, do func(tx *rp.Tx, path map[string]string, body []byte) (any, error)) rp.Route {
	return rp.Route{Method: method, Pattern: pattern, Permission: permission, Versions: versions,
		Do: func(_ context.Context, tx *rp.Tx, path, _ map[string]string, body []byte) (any, error) {
			return do(tx, path, body)
		}}
}

// name is a feature's: its namespace and itself, as Azure spells them.
type name struct{ namespace, feature string }

// find looks a feature of Azure's up: 404 for one that is none.
func find(path map[string]string) (name, error) {
	for _, n := range known {
		if strings.EqualFold(n.namespace, path["namespace"]) && strings.EqualFold(n.feature, path["feature"]) {
			return n, nil
		}
	}
	return name{}, arm.Errorf(http.StatusNotFound, "FeatureNotFound", "The feature '%s' could not be found in the namespace '%s'.", path["feature"], path["namespace"])
}

func (n name) key(subscription string) string {
	return strings.ToLower(subscription + "/" + n.namespace + "/" + n.feature)
}

// read is what the subscription asked for; the zero registration if it did not.
func (n name) read(tx *rp.Tx, subscription string) (r registration, err error) {
	doc, err := tx.Get(kind, n.key(subscription))
	if errors.Is(err, store.ErrNotFound) {
		return registration{State: stateNot}, nil
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(doc.Value, &r)
}

func (n name) write(tx *rp.Tx, subscription string, r registration) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = tx.Put(kind, n.key(subscription), b, store.Any)
	return err
}

func (n name) shown(subscription, state string) map[string]any {
	return map[string]any{
		"id":   "/subscriptions/" + subscription + "/providers/Microsoft.Features/providers/" + n.namespace + "/features/" + n.feature,
		"name": n.namespace + "/" + n.feature, "type": "Microsoft.Features/providers/features", "properties": map[string]any{"state": state},
	}
}

func list(tx *rp.Tx, path map[string]string, _ []byte) (any, error) {
	value := []any{}
	for _, n := range known {
		if of, some := path["namespace"]; some && !strings.EqualFold(of, n.namespace) {
			continue
		}
		r, err := n.read(tx, path["subscription"])
		if err != nil {
			return nil, err
		}
		value = append(value, n.shown(path["subscription"], r.State))
	}
	return map[string]any{"value": value}, nil
}

func show(tx *rp.Tx, path map[string]string, _ []byte) (any, error) {
	n, err := find(path)
	if err != nil {
		return nil, err
	}
	r, err := n.read(tx, path["subscription"])
	return n.shown(path["subscription"], r.State), err
}

// set changes the state. The answer says that the change is under way, as Azure's does; it is done when the next one asks.
func set(to, underway string) func(*rp.Tx, map[string]string, []byte) (any, error) {
	return func(tx *rp.Tx, path map[string]string, _ []byte) (any, error) {
		n, err := find(path)
		if err != nil {
			return nil, err
		}
		r, err := n.read(tx, path["subscription"])
		switch {
		case err != nil:
			return nil, err
		case r.State == to || to == stateUnregistered && r.State == stateNot:
			return n.shown(path["subscription"], r.State), nil
		}
		return n.shown(path["subscription"], underway), n.write(tx, path["subscription"], registration{State: to, Since: tx.Now})
	}
}

func (n name) profile(subscription string, r registration, tenant string) map[string]any {
	return map[string]any{
		"id":   "/subscriptions/" + subscription + "/providers/Microsoft.Features/featureProviders/" + n.namespace + "/subscriptionFeatureRegistrations/" + n.feature,
		"name": n.feature, "type": "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations",
		"properties": map[string]any{
			"tenantId": tenant, "subscriptionId": subscription, "featureName": n.feature, "providerNamespace": n.namespace,
			"displayName": n.feature, "description": r.Description, "metadata": r.Metadata, "state": r.State, "approvalType": "AutoApproval",
			"authorizationProfile": map[string]any{}, "registrationDate": r.Since.UTC().Format("2006-01-02T15:04:05.0000000Z"),
			"releaseDate": r.Since.UTC().Format("2006-01-02T15:04:05.0000000Z"), "shouldFeatureDisplayInPortal": false,
		},
	}
}

func listProfiles(tx *rp.Tx, path map[string]string, _ []byte) (any, error) {
	value := []any{}
	for _, n := range known {
		if of, some := path["namespace"]; some && !strings.EqualFold(of, n.namespace) {
			continue
		}
		r, err := n.read(tx, path["subscription"])
		if err != nil {
			return nil, err
		}
		if r.Profile {
			value = append(value, n.profile(path["subscription"], r, tx.Caller.TenantID))
		}
	}
	return map[string]any{"value": value}, nil
}

func notAsked(n name) error {
	return arm.Errorf(http.StatusNotFound, "FeatureRegistrationNotFound", "The feature '%s' of '%s' has no feature registration in the subscription.", n.feature, n.namespace)
}

func showProfile(tx *rp.Tx, path map[string]string, _ []byte) (any, error) {
	n, err := find(path)
	if err != nil {
		return nil, err
	}
	r, err := n.read(tx, path["subscription"])
	if err == nil && !r.Profile {
		err = notAsked(n)
	}
	if err != nil {
		return nil, err
	}
	return n.profile(path["subscription"], r, tx.Caller.TenantID), nil
}

func putProfile(tx *rp.Tx, path map[string]string, body []byte) (any, error) {
	n, err := find(path)
	if err != nil {
		return nil, err
	}
	var b struct {
		Properties struct {
			Description string            `json:"description"`
			Metadata    map[string]string `json:"metadata"`
		} `json:"properties"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &b); err != nil {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: 'properties.description' is a text and 'properties.metadata' an object of texts.")
		}
	}
	r := registration{State: stateRegistered, Since: tx.Now, Profile: true, Description: b.Properties.Description, Metadata: b.Properties.Metadata}
	return n.profile(path["subscription"], r, tx.Caller.TenantID), n.write(tx, path["subscription"], r)
}

func deleteProfile(tx *rp.Tx, path map[string]string, _ []byte) (any, error) {
	n, err := find(path)
	if err != nil {
		return nil, err
	}
	r, err := n.read(tx, path["subscription"])
	if err != nil || !r.Profile {
		return nil, err
	}
	return &rp.Response{Status: http.StatusOK}, tx.Delete(kind, n.key(path["subscription"]), store.Any)
}

// known are features of Azure's of the namespaces that a region serves, in the order of their names.
var known = func() (all []name) {
	for _, s := range strings.Fields(`
		Microsoft.Compute/AutomaticZoneRebalancing
		Microsoft.Compute/DiskOnlineLiveResize
		Microsoft.Compute/EncryptionAtHost
		Microsoft.Compute/InGuestAutoPatchVMPreview
		Microsoft.Compute/InGuestHotPatchVMPreview
		Microsoft.Compute/SharedDisksForPremium
		Microsoft.Compute/UseStandardSecurityType
		Microsoft.ContainerRegistry/PrivatePreview
		Microsoft.ContainerService/AKS-AzurePolicyExternalData
		Microsoft.ContainerService/AKS-ExtensionManager
		Microsoft.ContainerService/AKSNetworkModePreview
		Microsoft.ContainerService/APIServerSecurityRangesPreview
		Microsoft.ContainerService/AutoUpgradePreview
		Microsoft.ContainerService/AzureOverlayPreview
		Microsoft.ContainerService/EnableAPIServerVnetIntegrationPreview
		Microsoft.ContainerService/EnableWorkloadIdentityPreview
		Microsoft.ContainerService/NodePublicIPPrefixPreview
		Microsoft.ContainerService/PodSecurityPolicyPreview
		Microsoft.KeyVault/PrivateEndpointPreview
		Microsoft.MachineLearningServices/MSI
		Microsoft.MachineLearningServices/PrivateLinkPreview
		Microsoft.Network/AllowPrivateEndpoints
		Microsoft.Network/AllowPrivateEndpointNSG
		Microsoft.Network/AllowLBPreview
		Microsoft.Network/AllowRegionalGatewayManagerForSecureGateway
		Microsoft.Network/AllowVirtualNetworkEncryption
		Microsoft.Network/AFWEnableNetworkRuleNameLogging
		Microsoft.Network/AFWEnableStructuredLogs
		Microsoft.Network/AzureFirewallBasic
		Microsoft.Network/EnableApplicationGatewayNetworkIsolation
		Microsoft.Network/MaxPrivateEndpoints
		Microsoft.Network/PrivateResolver
		Microsoft.Resources/AvailabilityZonePeering
		Microsoft.Resources/ResourceChangesPreview
		Microsoft.Storage/AllowNFSV3
		Microsoft.Storage/AllowSFTP
		Microsoft.Storage/BlobIndex
		Microsoft.Storage/CustomerControlledFailover
		Microsoft.Storage/PartitionedDns
		Microsoft.Storage/PremiumHns
		Microsoft.Storage/XArchiveRehydratePriority`) {
		namespace, feature, _ := strings.Cut(s, "/")
		all = append(all, name{namespace, feature})
	}
	slices.SortFunc(all, func(a, b name) int {
		return strings.Compare(strings.ToLower(a.namespace+"/"+a.feature), strings.ToLower(b.namespace+"/"+b.feature))
	})
	return all
}()
