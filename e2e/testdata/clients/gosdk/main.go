// Command gosdk manages a region with the unmodified ARM clients of azure-sdk-for-go: create, list by pages, update, wait for
// long-running operations, delete, and requests that are refused with typed errors. It ends with "managed", or with each
// disagreement and status 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

const (
	group    = "go-sdk"
	location = "westeurope"
)

// account is what every part of the program works with.
type account struct {
	cred              azcore.TokenCredential
	subscription      string
	bad               int
	identityPrincipal string
}

func main() {
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	a := &account{cred: cred, subscription: os.Getenv("AZURE_SUBSCRIPTION_ID")}
	for _, part := range []struct {
		name string
		do   func(context.Context)
	}{
		{"groups", a.groups}, {"network", a.network}, {"storage", a.storage}, {"vaults", a.vaults}, {"machine learning", a.machineLearning},
		{"governance", a.governance}, {"deployments", a.deployments}, {"the end", a.end},
	} {
		fmt.Println("--", part.name)
		part.do(ctx)
	}
	if a.bad > 0 {
		fmt.Println(a.bad, "disagreements")
		os.Exit(1)
	}
	fmt.Println("managed")
}

// is notes a value that is not the one awaited.
func is[T comparable](a *account, what string, got, want T) {
	if got != want {
		a.bad++
		fmt.Printf("%s: %v, want %v\n", what, got, want)
	}
}

// ok notes an error.
func (a *account) ok(what string, err error) bool {
	if err != nil {
		a.bad++
		fmt.Printf("%s: %v\n", what, err)
	}
	return err == nil
}

// refused notes that err is not the service's answer with this status and code.
func (a *account) refused(what string, err error, status int, code string) {
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		a.bad++
		fmt.Printf("%s: %v, want %d %s\n", what, err, status, code)
		return
	}
	if e.StatusCode != status || e.ErrorCode != code {
		a.bad++
		fmt.Printf("%s: %d %s, want %d %s\n%v\n", what, e.StatusCode, e.ErrorCode, status, code, err)
	}
}

// wait follows a long-running operation to its end.
func wait[T any](ctx context.Context, a *account, what string, p *runtime.Poller[T], err error) (out T) {
	if !a.ok(what, err) {
		return out
	}
	out, err = p.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
	a.ok(what, err)
	return out
}

// all reads every page of a list.
func all[P, T any](ctx context.Context, a *account, what string, pager *runtime.Pager[P], of func(P) []*T) (list []*T) {
	for pager.More() {
		p, err := pager.NextPage(ctx)
		if !a.ok(what, err) {
			return list
		}
		list = append(list, of(p)...)
	}
	return list
}

// value is what a pointer of an answer points at; an answer without it is a disagreement.
func value[T any](a *account, what string, p *T) (v T) {
	if p == nil {
		a.bad++
		fmt.Println(what, "is missing")
		return v
	}
	return *p
}

func (a *account) id(rest string) string {
	return "/subscriptions/" + a.subscription + "/resourceGroups/" + group + "/providers/" + rest
}

func (a *account) groups(ctx context.Context) {
	c, err := armresources.NewResourceGroupsClient(a.subscription, a.cred, nil)
	if !a.ok("groups", err) {
		return
	}
	g, err := c.CreateOrUpdate(ctx, group, armresources.ResourceGroup{Location: to.Ptr(location), Tags: map[string]*string{"by": to.Ptr("go")}}, nil)
	if a.ok("create a group", err) {
		is(a, "state", value(a, "state", g.Properties.ProvisioningState), "Succeeded")
	}
	u, err := c.Update(ctx, group, armresources.ResourceGroupPatchable{Tags: map[string]*string{"by": to.Ptr("go"), "round": to.Ptr("2")}}, nil)
	if a.ok("update a group", err) {
		is(a, "tags", len(u.Tags), 2)
	}
	e, err := c.CheckExistence(ctx, group, nil)
	a.ok("exists", err)
	is(a, "exists", e.Success, true)
	e, err = c.CheckExistence(ctx, "go-none", nil)
	a.ok("exists not", err)
	is(a, "exists not", e.Success, false)
	_, err = c.Get(ctx, "go-none", nil)
	a.refused("get a group that is not there", err, http.StatusNotFound, "ResourceGroupNotFound")
	_, err = c.CreateOrUpdate(ctx, group, armresources.ResourceGroup{Location: to.Ptr("northeurope")}, nil)
	a.refused("move a group", err, http.StatusConflict, "InvalidResourceGroupLocation")
	_, err = c.CreateOrUpdate(ctx, "bad name!", armresources.ResourceGroup{Location: to.Ptr(location)}, nil)
	a.refused("a bad name", err, http.StatusBadRequest, "InvalidResourceGroup")
	list := all(ctx, a, "list groups", c.NewListPager(&armresources.ResourceGroupsClientListOptions{Filter: to.Ptr("tagName eq 'by' and tagValue eq 'go'")}),
		func(p armresources.ResourceGroupsClientListResponse) []*armresources.ResourceGroup { return p.Value })
	is(a, "groups by tag", len(list), 1)

	p, err := armresources.NewProvidersClient(a.subscription, a.cred, nil)
	if !a.ok("providers", err) {
		return
	}
	ns := all(ctx, a, "list providers", p.NewListPager(nil), func(p armresources.ProvidersClientListResponse) []*armresources.Provider { return p.Value })
	is(a, "some providers", len(ns) > 5, true)
	r, err := p.Register(ctx, "Microsoft.Network", nil)
	if a.ok("register", err) {
		is(a, "registered", value(a, "state", r.RegistrationState), "Registered")
	}
}

func (a *account) deployments(ctx context.Context) {
	c, err := armresources.NewDeploymentsClient(a.subscription, a.cred, nil)
	if !a.ok("deployments", err) {
		return
	}
	template := map[string]any{
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"parameters": map[string]any{"name": map[string]any{"type": "string"}},
		"resources": []any{map[string]any{"type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2023-09-01", "name": "[parameters('name')]",
			"location": "[resourceGroup().location]", "properties": map[string]any{}}},
		"outputs": map[string]any{"id": map[string]any{"type": "string", "value": "[resourceId('Microsoft.Network/networkSecurityGroups', parameters('name'))]"}},
	}
	props := func(mode armresources.DeploymentMode, name any) *armresources.DeploymentProperties {
		return &armresources.DeploymentProperties{Mode: to.Ptr(mode), Template: template, Parameters: map[string]any{"name": map[string]any{"value": name}}}
	}
	p, err := c.BeginCreateOrUpdate(ctx, group, "first", armresources.Deployment{Properties: props(armresources.DeploymentModeIncremental, "deployed")}, nil)
	d := wait(ctx, a, "deploy", p, err)
	if d.Properties != nil {
		is(a, "deployed", value(a, "state", d.Properties.ProvisioningState), armresources.ProvisioningStateSucceeded)
		out, _ := d.Properties.Outputs.(map[string]any)
		id, _ := out["id"].(map[string]any)
		is(a, "output", id["value"], any(a.id("Microsoft.Network/networkSecurityGroups/deployed")))
	}
	w, err := c.BeginWhatIf(ctx, group, "second", armresources.DeploymentWhatIf{Properties: &armresources.DeploymentWhatIfProperties{
		Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template, Parameters: map[string]any{"name": map[string]any{"value": "another"}}}}, nil)
	if r := wait(ctx, a, "what-if", w, err); r.Properties != nil {
		created := 0
		for _, change := range r.Properties.Changes {
			if *change.ChangeType == armresources.ChangeTypeCreate {
				created++
			}
		}
		is(a, "what-if creates", created, 1)
	} else {
		is(a, "what-if has properties", false, true)
	}
	v, err := c.BeginValidate(ctx, group, "third", armresources.Deployment{Properties: props(armresources.DeploymentModeIncremental, 7)}, nil)
	if err == nil {
		r, err := v.PollUntilDone(ctx, nil)
		if err == nil {
			is(a, "validation of a wrong type has an error", r.Error != nil, true)
		} else {
			a.refused("validate a wrong type", err, http.StatusBadRequest, "InvalidTemplate")
		}
	} else {
		a.refused("validate a wrong type", err, http.StatusBadRequest, "InvalidTemplate")
	}
	o, err := armresources.NewDeploymentOperationsClient(a.subscription, a.cred, nil)
	if a.ok("operations", err) {
		ops := all(ctx, a, "list operations", o.NewListPager(group, "first", nil),
			func(p armresources.DeploymentOperationsClientListResponse) []*armresources.DeploymentOperation {
				return p.Value
			})
		is(a, "operations", len(ops) >= 1, true)
	}
	x, err := c.ExportTemplate(ctx, group, "first", nil)
	a.ok("export", err)
	is(a, "exported", x.Template != nil, true)
	dp, err := c.BeginDelete(ctx, group, "first", nil)
	wait(ctx, a, "delete a deployment", dp, err)
}

func (a *account) end(ctx context.Context) {
	r, err := armresources.NewClient(a.subscription, a.cred, nil)
	if a.ok("resources", err) {
		list := all(ctx, a, "list resources", r.NewListByResourceGroupPager(group, &armresources.ClientListByResourceGroupOptions{Top: to.Ptr[int32](3)}),
			func(p armresources.ClientListByResourceGroupResponse) []*armresources.GenericResourceExpanded {
				return p.Value
			})
		is(a, "resources in the group", len(list) > 5, true)
	}
	c, err := armresources.NewResourceGroupsClient(a.subscription, a.cred, nil)
	if !a.ok("groups", err) {
		return
	}
	p, err := c.BeginDelete(ctx, group, nil)
	wait(ctx, a, "delete the group", p, err)
	_, err = c.Get(ctx, group, nil)
	a.refused("the group is gone", err, http.StatusNotFound, "ResourceGroupNotFound")
	a.purgeVault(ctx)
	_, err = c.BeginDelete(ctx, group, nil)
	a.refused("delete it again", err, http.StatusNotFound, "ResourceGroupNotFound")
}
