package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// machineTrust is where Debian and Ubuntu keep certificates that the administrator trusts (update-ca-certificates(8)).
type machineTrust struct {
	dir string
	// update makes it count; fresh looks for what is gone too.
	update func(ctx context.Context, out io.Writer, fresh bool) error
}

func debianTrust() machineTrust {
	return machineTrust{"/usr/local/share/ca-certificates", func(ctx context.Context, out io.Writer, fresh bool) error {
		var args []string
		if fresh {
			args = append(args, "--fresh")
		}
		c := exec.CommandContext(ctx, "update-ca-certificates", args...)
		c.Stdout, c.Stderr = out, out
		return c.Run()
	}}
}

func newTrustCmd(a *app) *cobra.Command {
	var remove, yes bool
	c := &cobra.Command{
		Use:   "trust",
		Short: "Add the region's certificate authority to what this machine trusts, after asking; or remove it",
		Long: `Add the region's certificate authority to what every program of this machine trusts (Debian and Ubuntu:
update-ca-certificates), or remove it. Whoever has the key of that authority, in the region's data directory, can then
pretend to be any host to programs of this machine: remove it when the region is not used any more.

It is not needed inside vauban exec, nor for clients that take vauban env: they trust it by themselves. Firefox and
Chromium have stores of their own.`,
		Example: `  sudo vauban trust --data "$HOME/.local/state/vauban"
  sudo vauban trust --data "$HOME/.local/state/vauban" --remove`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := filepath.Abs(a.data)
			if err != nil {
				return err
			}
			return a.trust(c.Context(), debianTrust(), dir, c.InOrStdin(), remove, yes)
		},
	}
	c.Flags().BoolVar(&remove, "remove", false, "remove it")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// trust adds or removes the authority of the region in dir. Nothing is changed without an answer to the question.
func (a *app) trust(ctx context.Context, m machineTrust, dir string, in io.Reader, remove, yes bool) error {
	cert, err := os.ReadFile(filepath.Join(dir, "ca", "ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no region in %s that has ever run: name its directory with --data, or start it with `vauban up -d`", dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s belongs to another user: run this as root, or as that user to see what is to be done", dir)
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(cert)
	if block == nil {
		return fmt.Errorf("%s: no certificate", filepath.Join(dir, "ca", "ca.pem"))
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, "ca", "ca.pem"), err)
	}
	sum := sha256.Sum256(block.Bytes)
	file := filepath.Join(m.dir, fmt.Sprintf("vauban-%x.crt", sum[:4]))
	have, err := os.ReadFile(file)
	there := err == nil && bytes.Equal(have, cert)
	switch {
	case remove && errors.Is(err, fs.ErrNotExist):
		fmt.Fprintln(a.stdout, "This machine does not trust the region: there is nothing to remove.")
		return nil
	case !remove && there:
		fmt.Fprintln(a.stdout, "This machine trusts the region already: "+file)
		return nil
	}
	if _, err := os.Stat(m.dir); err != nil {
		return fmt.Errorf("this machine has no %s: it is neither Debian nor Ubuntu, or lacks the package ca-certificates. Add %s to its trust by hand, or use `vauban env`, which needs none", m.dir, filepath.Join(dir, "ca", "ca.pem"))
	}
	what := "add to"
	if remove {
		what = "remove from"
	}
	fmt.Fprintf(a.stdout, "Certificate authority %q of %s\n  SHA-256 %X\n  valid until %s\n", parsed.Subject.CommonName, dir, sum, parsed.NotAfter.Format("2006-01-02"))
	if !yes && !agreed(a.stdout, in, "Shall it be "+map[bool]string{false: "added to", true: "removed from"}[remove]+" what every program of this machine trusts?") {
		return fmt.Errorf("nothing is changed: answer yes, or use --yes")
	}
	if remove {
		err = os.Remove(file)
	} else {
		err = os.WriteFile(file, cert, 0o644)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("to %s the machine's trust needs root: sudo %s trust --data %s%s", what, exeName(), dir, map[bool]string{true: " --remove"}[remove])
	}
	if err != nil {
		return err
	}
	if err := m.update(ctx, a.stdout, remove); err != nil {
		if !remove {
			err = errors.Join(err, os.Remove(file)) // not half trusted
		}
		return fmt.Errorf("update-ca-certificates: %w", err)
	}
	fmt.Fprintln(a.stdout, map[bool]string{false: "This machine trusts the region: ", true: "This machine does not trust the region any more: "}[remove]+file)
	return nil
}

func exeName() string {
	if exe, err := os.Executable(); err == nil {
		return exe
	}
	return "vauban"
}

// agreed reads an answer; anything but yes is no.
func agreed(out io.Writer, in io.Reader, question string) bool {
	fmt.Fprint(out, question+" [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(out)
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
