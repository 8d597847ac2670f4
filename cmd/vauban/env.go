package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newEnvCmd(a *app) *cobra.Command {
	var shell string
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the variables that point clients outside the region at its loopback listener",
		Long: `Print the variables that point clients outside the region at its loopback listener: a proxy for the names of Azure,
the certificate authority, and the credentials of the region's first principal as az, the SDKs (AZURE_*), Terraform
(ARM_*) and PowerShell take them. The names are Azure's own, so that az and the SDKs need no registered cloud; az's
sign-in is in a directory of its own (AZURE_CONFIG_DIR).

PowerShell signs in with
  Connect-AzAccount -ServicePrincipal -Tenant $env:AZURE_TENANT_ID -Credential (New-Object PSCredential($env:AZURE_CLIENT_ID, (ConvertTo-SecureString $env:AZURE_CLIENT_SECRET -AsPlainText -Force)))`,
		Example: `  eval "$(vauban env)"
  vauban env --shell fish | source
  vauban env --shell pwsh | Out-String | Invoke-Expression`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var ready region.ReadyResult
			if _, err := region.Call(c.Context(), dir, region.MethodReady, nil, &ready); err != nil {
				return err
			}
			if dir := azExtensions(os.Getenv); dir != "" {
				ready.Env["AZURE_EXTENSION_DIR"] = dir
			}
			return printEnv(a.stdout, shell, ready.Env)
		},
	}
	c.Flags().StringVar(&shell, "shell", "sh", "form: sh, fish, pwsh, json")
	c.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions([]string{"sh", "fish", "pwsh", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func printEnv(w io.Writer, shell string, env map[string]string) error {
	var format string
	var quote *strings.Replacer
	switch shell {
	case "sh":
		format, quote = "export %s='%s'\n", strings.NewReplacer(`'`, `'\''`)
	case "fish":
		format, quote = "set -gx %s '%s'\n", strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	case "pwsh":
		format, quote = "$env:%s = '%s'\n", strings.NewReplacer(`'`, `''`)
	case "json":
		return json.NewEncoder(w).Encode(env)
	default:
		return &usageError{fmt.Errorf("--shell %q: sh, fish, pwsh or json", shell)}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if _, err := fmt.Fprintf(w, format, name, quote.Replace(env[name])); err != nil {
			return err
		}
	}
	return nil
}
