package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vauban.dev/imports"
	"vauban.dev/internal/jsonc"
	"vauban.dev/region"
)

// importReport is what `vauban import` says.
type importReport struct {
	File     string             `json:"file"`
	Form     string             `json:"form"`
	Unmapped []imports.Unmapped `json:"unmapped"`
	imported
}

func newImportCmd(a *app) *cobra.Command {
	var f struct {
		group, location, parameters, subscription string
		json                                      bool
	}
	c := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Say what would break: a template, a Terraform plan or state, an export of a real subscription",
		Long: `Rehearse a file's resources in the region and undo it: what the region refuses is told, with the rule that refuses it
(template, type, policy, quota, name, network, lock, validation) and Azure's code. Nothing is written.

FILE is an ARM template (also one of vauban export or az group export), what terraform show -json writes of a plan or a state (azapi
resources as they are; those of azurerm that are mapped for sure, the others are listed), or rows of Azure Resource
Graph: az graph query -q 'resources | project id, type, location, tags, sku, kind, identity, zones, properties'.

Other subscriptions' ids are taken for this region's. Deploy a template with az deployment group create.

The exit status is 0 when nothing is refused, 1 when something is, 2 when the file cannot be read.`,
		Example: `  vauban import main.json --parameters main.parameters.json --group rg
  terraform show -json plan.out | vauban import -
  vauban import graph.json --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readInput(args[0])
			if err != nil {
				return &usageError{err}
			}
			file, err := imports.Read(data)
			if err != nil {
				return &usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			p := importParams{Group: f.group, Location: f.location, Template: file.Template, Resources: file.Resources}
			if f.parameters != "" {
				if p.Parameters, err = readParameters(f.parameters); err != nil {
					return &usageError{err}
				}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			if p.Sub, err = (resourceManager{dir}).subscription(c.Context(), f.subscription); err != nil {
				return err
			}
			report := importReport{File: args[0], Form: file.Form, Unmapped: file.Unmapped}
			if _, err := region.Call(c.Context(), dir, methodImport, p, &report.imported); err != nil {
				return err
			}
			if f.json {
				err = a.printJSON(report)
			} else {
				err = report.print(a.stdout)
			}
			if err == nil && len(report.Problems) > 0 {
				err = &exitError{region.Exit{Code: codeFailed}}
			}
			return err
		},
	}
	c.Flags().StringVar(&f.group, "group", "imported", "the resource group that a template is for; it need not be there")
	c.Flags().StringVar(&f.location, "location", "", "where a group is that is not there (default: the region's)")
	c.Flags().StringVar(&f.parameters, "parameters", "", "parameter file of a template")
	c.Flags().StringVar(&f.subscription, "subscription", "", "the subscription, by name or id (default: Vauban)")
	c.Flags().BoolVar(&f.json, "json", false, "as JSON")
	c.Flags().Bool("dry-run", true, "an import is always a dry run")
	return c
}

func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

// readParameters takes a parameter file, or its parameters alone.
func readParameters(name string) (json.RawMessage, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if data, err = jsonc.Standard(data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var file struct {
		Parameters json.RawMessage `json:"parameters"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(file.Parameters) == 0 {
		return nil, fmt.Errorf("%s: it has no parameters", name)
	}
	return file.Parameters, nil
}

func (r *importReport) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s: %s, %d resources\n", r.File, r.Form, r.Resources)
	for _, x := range r.Problems {
		at := x.From
		if at == "" {
			at = x.ID
		}
		unsure := ""
		if x.Unsure {
			unsure = " (not sure: a value is known only once it is made)"
		}
		if x.Follows != "" {
			_, e := fmt.Fprintf(w, "\nfollows     %s\n            %s, because %s is refused\n", at, x.Code, x.Follows)
			err = errors.Join(err, e)
			continue
		}
		_, e := fmt.Fprintf(w, "\n%-10s  %s\n            %s: %s%s\n", x.Rule, at, x.Code, x.Message, unsure)
		err = errors.Join(err, e)
	}
	for _, u := range r.Unmapped {
		_, e := fmt.Fprintf(w, "\nnot mapped  %s (%s)\n            %s\n", u.From, u.Type, u.Why)
		err = errors.Join(err, e)
	}
	if len(r.Problems) == 0 {
		_, e := fmt.Fprintln(w, "\nNothing is refused.")
		return errors.Join(err, e)
	}
	_, e := fmt.Fprintf(w, "\n%d refused.\n", len(r.Problems))
	return errors.Join(err, e)
}
