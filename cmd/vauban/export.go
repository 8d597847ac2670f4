package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"vauban.dev/arm"
)

func newExportCmd(a *app) *cobra.Command {
	var f struct {
		format, out, subscription string
		names, literal            bool
		resources                 []string
	}
	c := &cobra.Command{
		Use:   "export GROUP",
		Short: "Write a resource group as an ARM template or as Bicep",
		Long: `Write a resource group as a template that makes the same resources again: in another group, in another region, in
Azure. Names and what stands outside of the group are parameters with the present values as defaults; secrets are
parameters without any. What cannot be exported is told on the standard error.`,
		Example: `  vauban export rg --out rg.json
  vauban export rg --format bicep > rg.bicep
  vauban export rg --skip-all-params | vauban import -`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			format := map[string]string{"arm": "Json", "json": "Json", "bicep": "Bicep"}[f.format]
			if format == "" {
				return &usageError{fmt.Errorf("--format %q: arm or bicep", f.format)}
			}
			options := "IncludeParameterDefaultValue"
			if f.names {
				options += ",SkipResourceNameParameterization"
			}
			if f.literal {
				options += ",SkipAllParameterization"
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			m := resourceManager{dir}
			group, err := m.scope(c.Context(), args[0], f.subscription)
			if err != nil {
				return err
			}
			if len(f.resources) == 0 {
				f.resources = []string{"*"}
			}
			var answer struct {
				Template json.RawMessage `json:"template"`
				Output   string          `json:"output"`
				Error    *arm.Error      `json:"error"`
			}
			p := armParams{Method: http.MethodPost, Path: group.String() + "/exportTemplate", Version: groupsVersion}
			if _, err := m.do(c.Context(), p, map[string]any{"resources": f.resources, "options": options, "outputFormat": format}, &answer); err != nil {
				return err
			}
			text := []byte(answer.Output)
			if format == "Json" {
				if text, err = json.MarshalIndent(answer.Template, "", "  "); err != nil {
					return err
				}
				text = append(text, '\n')
			}
			if answer.Error != nil {
				for _, d := range answer.Error.Details {
					fmt.Fprintf(a.stderr, "not exported: %s: %s\n", d.Target, d.Message)
				}
			}
			if f.out != "" {
				return os.WriteFile(f.out, text, 0o644)
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
	c.Flags().StringVar(&f.format, "format", "arm", "form: arm, bicep")
	c.Flags().StringVar(&f.out, "out", "", "write to this file")
	c.Flags().StringVar(&f.subscription, "subscription", "", "the group's subscription, by name or id (default: Vauban)")
	c.Flags().StringSliceVar(&f.resources, "resource", nil, "only these, by id, and what is in them")
	c.Flags().BoolVar(&f.names, "skip-resource-name-params", false, "write names as they are")
	c.Flags().BoolVar(&f.literal, "skip-all-params", false, "write names and ids as they are")
	return c
}
