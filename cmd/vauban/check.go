package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vauban.dev/check"
	"vauban.dev/explain"
	"vauban.dev/region"
)

// defaultCheck is the file that check reads if none is named.
const defaultCheck = "reach.yaml"

func newCheckCmd(a *app) *cobra.Command {
	var f struct {
		junit, sarif, diff string
		json, modelOnly    bool
	}
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Run a repository's reach tests: who must and who must not reach what",
		Long: `Run the reach tests of a file, reach.yaml by default (docs/reach.md says what stands in it): each connection is
answered by the model and made by a packet, and both must do what the file says.

The exit status is 0 when every test has passed, 1 when one has not, 2 when the file cannot be read.`,
		Example: `  vauban check
  vauban check net/reach.yaml --junit out/reach.xml --sarif out/reach.sarif
  vauban check --json >base.json; vauban check --diff base.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name := defaultCheck
			if len(args) > 0 {
				name = args[0]
			}
			file, err := readCheck(name)
			if err != nil {
				return &usageError{err}
			}
			var base *check.Report
			if f.diff != "" {
				if base, err = readBase(f.diff); err != nil {
					return &usageError{fmt.Errorf("--diff %s: %w", f.diff, err)}
				}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			report := &check.Report{Version: check.Version, File: name}
			for _, x := range file.Cases() {
				answer, err := runCase(c.Context(), dir, x, !f.modelOnly)
				if c.Context().Err() != nil || codeOf(err) == codeNotRunning {
					return err
				}
				report.Results = append(report.Results, check.Judge(x, answer, err))
			}
			if err := errors.Join(
				writeTo(f.junit, report.JUnit),
				writeTo(f.sarif, func(w io.Writer) error { return report.SARIF(w, buildVersion()) }),
			); err != nil {
				return err
			}
			return a.showChecks(report, base, f.json)
		},
	}
	c.Flags().StringVar(&f.junit, "junit", "", "write JUnit XML to this file")
	c.Flags().StringVar(&f.sarif, "sarif", "", "write SARIF 2.1.0 to this file")
	c.Flags().StringVar(&f.diff, "diff", "", "an earlier report (--json) to compare with")
	c.Flags().BoolVar(&f.json, "json", false, "as JSON")
	c.Flags().BoolVar(&f.modelOnly, "model-only", false, "send no packets")
	c.MarkFlagsMutuallyExclusive("json", "diff")
	return c
}

func (a *app) showChecks(report, base *check.Report, asJSON bool) error {
	var err error
	switch {
	case asJSON:
		err = a.printJSON(report)
	case base != nil:
		err = errors.Join(report.Print(a.stdout), check.PrintDiff(a.stdout, check.Diff(base, report)))
	default:
		err = report.Print(a.stdout)
	}
	if err == nil && report.Failed() > 0 {
		err = &exitError{region.Exit{Code: codeFailed}}
	}
	return err
}

func readCheck(name string) (*check.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, err := check.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return file, nil
}

func readBase(name string) (*check.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return check.ReadReport(f)
}

// writeTo writes a file, if it has a name.
func writeTo(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// runCase asks the model, and the network itself.
func runCase(ctx context.Context, dir string, c check.Case, live bool) (*explain.Answer, error) {
	protocol, err := explain.ParseProtocol(c.Protocol)
	if err != nil {
		return nil, err
	}
	p := explainParams{Protocol: c.Protocol, As: c.As}
	if p.From, err = parseFrom(c.From); err != nil {
		return nil, err
	}
	if p.Host, p.Port, err = check.Endpoint(c.To, protocol); err != nil {
		return nil, err
	}
	var a explain.Answer
	if _, err := region.Call(ctx, dir, methodExplain, p, &a); err != nil {
		return nil, err
	}
	if live {
		err = compareLive(ctx, dir, p, &a)
	}
	return &a, err
}
