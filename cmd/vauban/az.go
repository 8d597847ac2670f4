package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// azDir is where az keeps its sign-in for a region, in the data directory: not the user's own ~/.azure, which
// may be signed in to Azure.
const azDir = "az"

// signAzIn writes the profile that `az login --service-principal` would leave, so that the first az command
// of a newcomer answers. It is written once: what az makes of it after that is the user's. The files are those
// that azure-cli-core 2.x keeps (_profile.py, auth/identity.py).
func signAzIn(dir string, c credentials) error {
	dir = filepath.Join(dir, azDir)
	secrets, profile := filepath.Join(dir, "service_principal_entries.json"), filepath.Join(dir, "azureProfile.json")
	if b, err := os.ReadFile(secrets); err == nil && strings.Contains(string(b), c.ClientID) {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	type subscription struct {
		ID              string            `json:"id"`
		Name            string            `json:"name"`
		State           string            `json:"state"`
		User            map[string]string `json:"user"`
		IsDefault       bool              `json:"isDefault"`
		TenantID        string            `json:"tenantId"`
		HomeTenantID    string            `json:"homeTenantId"`
		EnvironmentName string            `json:"environmentName"`
		ManagedBy       []string          `json:"managedByTenants"`
	}
	of := func(id, name string) subscription {
		return subscription{
			id, name, "Enabled", map[string]string{"name": c.ClientID, "type": "servicePrincipal"}, id == c.SubscriptionID,
			c.TenantID, c.TenantID, "AzureCloud", []string{},
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The secret is last: it says that all is written.
	if err := writeJSON(profile, map[string]any{"subscriptions": []subscription{of(c.SubscriptionID, mainSubscription), of(c.Partner, partnerSubscription)}}); err != nil {
		return err
	}
	return writeJSON(secrets, []map[string]string{{"client_id": c.ClientID, "tenant": c.TenantID, "client_secret": c.ClientSecret}})
}

// azEnv leads az to that sign-in.
func (w *world) azEnv() map[string]string {
	return map[string]string{"AZURE_CONFIG_DIR": w.path(azDir)}
}

// azExtensions is the folder of az's extensions that the user has in this environment: az looks for them
// beside its sign-in. It is empty when the environment names one already.
func azExtensions(getenv func(string) string) string {
	config := getenv("AZURE_CONFIG_DIR")
	if config == "" && getenv("HOME") != "" {
		config = filepath.Join(getenv("HOME"), ".azure")
	}
	if config == "" || getenv("AZURE_EXTENSION_DIR") != "" {
		return ""
	}
	return filepath.Join(config, "cliextensions")
}
