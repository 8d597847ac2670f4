package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/uuid"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/authz"
	"vauban.dev/entra/directory"
	"vauban.dev/provider/authorization"
	"vauban.dev/provider/resources"
)

// credentials are the first caller of a region: a service principal that owns its subscriptions. They are
// kept in a file of the data directory that only its owner reads.
type credentials struct {
	TenantID       string `json:"tenantId"`
	ClientID       string `json:"clientId"`
	ObjectID       string `json:"objectId"`
	ClientSecret   string `json:"clientSecret"`
	SubscriptionID string `json:"subscriptionId"`
	Partner        string `json:"partnerSubscriptionId"` // of somebody else's, for exfiltration tests
}

const (
	credentialsFile     = "credentials.json"
	mainSubscription    = "Vauban"
	partnerSubscription = "Partner"
)

func readCredentials(dir string) (c credentials, err error) {
	b, err := os.ReadFile(dir + "/" + credentialsFile)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c)
}

// env is what Azure's SDKs, and Terraform's providers, take credentials from.
func (c credentials) env() map[string]string {
	env := map[string]string{}
	for name, value := range map[string]string{"TENANT_ID": c.TenantID, "CLIENT_ID": c.ClientID, "CLIENT_SECRET": c.ClientSecret, "SUBSCRIPTION_ID": c.SubscriptionID} {
		env["AZURE_"+name], env["ARM_"+name] = value, value
	}
	return env
}

// ownGroup makes who creates a management group its Owner.
func ownGroup(tx *rp.Tx, group arm.ID, caller authz.Principal) error {
	return authorization.GrantTo(tx, group, authz.Owner, caller.ObjectID, caller.Type)
}

// bootstrap makes the first principal, its subscriptions and its ownership of them and of the tenant, once.
func (w *world) bootstrap(ctx context.Context) error {
	if err := w.engine.Update(ctx, w.groups.Ensure); err != nil {
		return err
	}
	first, err := readCredentials(w.region.Dir)
	switch {
	case err == nil:
		// A crash between the file and the commit left credentials of nobody: make new ones.
		if _, err := w.entra.Principal(ctx, first.ObjectID); !errors.Is(err, directory.ErrNoPrincipal) {
			w.first = first
			if err != nil || !w.entra.Upgraded() {
				return err
			}
			return w.engine.Update(ctx, func(tx *rp.Tx) error { // earlier versions had no tenant above the subscriptions
				return authorization.Grant(tx, arm.MustParseID("/"), authz.Owner, first.ObjectID)
			})
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", credentialsFile, err)
	}
	c := credentials{TenantID: w.entra.Tenant().ID, SubscriptionID: uuid.NewString(), Partner: uuid.NewString()}
	if c.Partner < c.SubscriptionID { // clients take the first subscription of the list for the default one
		c.SubscriptionID, c.Partner = c.Partner, c.SubscriptionID
	}
	err = w.engine.Update(ctx, func(tx *rp.Tx) error {
		sp, secret, err := w.entra.CreateServicePrincipal(tx, "vauban-admin")
		if err != nil {
			return err
		}
		c.ClientID, c.ObjectID, c.ClientSecret = sp.AppID, sp.ObjectID, secret
		if err := w.entra.AssignRole(tx, c.TenantID, directory.GlobalAdministrator, sp.ObjectID); err != nil {
			return err
		}
		if err := authorization.Grant(tx, arm.MustParseID("/"), authz.Owner, sp.ObjectID); err != nil {
			return err
		}
		for name, sub := range map[string]string{mainSubscription: c.SubscriptionID, partnerSubscription: c.Partner} {
			if err := resources.Ensure(tx, sub, name); err != nil {
				return err
			}
			if err := authorization.Grant(tx, arm.MustParseID("/subscriptions/"+sub), authz.Owner, sp.ObjectID); err != nil {
				return err
			}
		}
		return writeJSON(w.path(credentialsFile), c)
	})
	w.first = c
	return err
}

// writeJSON writes a file that only its owner reads, whole or not at all.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// locations are the names of Azure's regions, the region's own first, and global.
func locations(own string) []string { return append(places(own), "global") }

// places are Azure's regions, the region's own first.
func places(own string) []string {
	names := []string{own}
	for _, l := range resources.AzureLocations() {
		if l.Name != own {
			names = append(names, l.Name)
		}
	}
	return names
}
