package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vauban.dev/authz"
	"vauban.dev/region"
)

func newExplainAccessCmd(a *app) *cobra.Command {
	var p accessParams
	var data, asJSON bool
	var attributes []string
	c := &cobra.Command{
		Use:   "access --principal WHO --action ACTION --scope ID",
		Short: "Say whether a principal may do something, which role assignment grants it or what is missing",
		Long: `Say whether a principal may do something at a scope: which role assignment grants it, through which group and at
which scope, or what each one that reaches the scope lacks, which deny assignment refuses, which comparison of a
condition does not hold and with which values, and the narrowest built-in role that would grant it.

It is decided by what is stored, as every request is. Conditions are asked with the attributes that --attr gives;
an attribute that is not given is one that the request does not have.

The exit status is 0 when the action is allowed, 1 when it is refused.`,
		Example: `  vauban explain access --principal my-app --action Microsoft.Storage/storageAccounts/listKeys/action --scope /subscriptions/…/storageAccounts/data
  vauban explain access --principal my-app --action Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read \
    --scope /subscriptions/…/containers/data --attr '@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name]=data'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p.Data = data || !c.Flags().Changed("data-action") && authz.KnownAction(p.Action, true) && !authz.KnownAction(p.Action, false)
			for _, text := range attributes {
				name, value, err := parseAttribute(text)
				if err != nil {
					return &usageError{err}
				}
				if p.Attributes == nil {
					p.Attributes = map[string][]string{}
				}
				p.Attributes[name] = append(p.Attributes[name], value)
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var out accessResult
			if _, err := region.Call(c.Context(), dir, methodAccess, p, &out); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(a.stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(out)
			} else {
				err = out.Print(a.stdout, out.Name)
			}
			if err == nil && !out.Allowed {
				err = &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().StringVar(&p.Principal, "principal", "", "who: an object id, a client id, a name, or the id of a resource with an identity")
	c.Flags().StringVar(&p.Action, "action", "", "what: Microsoft.Storage/storageAccounts/read")
	c.Flags().StringVar(&p.Scope, "scope", "", "where: /, the id of a management group, a subscription, a resource group or a resource")
	c.Flags().BoolVar(&data, "data-action", false, "the action is a data action (default: as Azure lists it)")
	c.Flags().StringArrayVar(&p.SubOperations, "sub-operation", nil, "the suboperation that conditions are asked with: Blob.List")
	c.Flags().StringArrayVar(&attributes, "attr", nil, "an attribute that conditions are asked with: '@Request[NAME]=VALUE'; repeat it for more, and for more values of one")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	for _, name := range []string{"principal", "action", "scope"} {
		c.MarkFlagRequired(name)
	}
	return c
}

// parseAttribute reads @Source[name]=value.
func parseAttribute(text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "]=")
	source, _, bracket := strings.Cut(strings.TrimPrefix(name, "@"), "[")
	for _, known := range []authz.AttributeSource{authz.FromRequest, authz.FromResource, authz.FromPrincipal, authz.FromEnvironment} {
		if ok && bracket && strings.EqualFold(source, string(known)) {
			return "@" + strings.TrimPrefix(name, "@") + "]", value, nil
		}
	}
	return "", "", fmt.Errorf("--attr %q: write '@Request[NAME]=VALUE', with @Request, @Resource, @Principal or @Environment", text)
}
