package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vauban.dev/entra/signin"
	"vauban.dev/region"
)

func newUserCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "The people who sign in to the region",
		Long: `Make and list the users of the region's Microsoft Entra tenant, and sign in a device or a terminal for one.

  vauban user add ana --role Owner          make a user; the password is shown once
  vauban exec -- az login --use-device-code sign az in as her: it shows a code
  vauban user approve CODE --user ana       answer it in another terminal, without a browser`,
	}
	c.AddCommand(newUserAddCmd(a), newUserPasswordCmd(a), newUserListCmd(a), newUserApproveCmd(a),
		newUserChangeCmd(a, userDisable, "Let a user sign in no more; sessions and tokens end at once"),
		newUserChangeCmd(a, userEnable, "Let a user sign in again"),
		newUserChangeCmd(a, userDelete, "Put a user into the recycle bin, from which `az rest` restores for 30 days"),
		newUserChangeCmd(a, userResetMFA, "Take a user's second factors and locks away, and end the sessions"))
	return c
}

func newUserAddCmd(a *app) *cobra.Command {
	var p userParams
	var stdin bool
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a user",
		Long: `Make a user. NAME is completed by the tenant's domain: ana becomes ana@vauban.onmicrosoft.com. The password is
made by the region and shown once, unless --password-stdin gives one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p.Name = args[0]
			return a.setUser(c.Context(), methodUserAdd, p, stdin)
		},
	}
	c.Flags().StringVar(&p.DisplayName, "display-name", "", "the name that people read (default: NAME)")
	c.Flags().StringVar(&p.Role, "role", "", "a built-in role at the region's subscription, such as Owner or Reader")
	c.Flags().BoolVar(&p.Admin, "admin", false, "make the user Global Administrator of the tenant")
	c.Flags().BoolVar(&p.MustChange, "must-change", false, "ask for another password at the first sign-in")
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from the standard input")
	return c
}

func newUserPasswordCmd(a *app) *cobra.Command {
	var p userParams
	var stdin bool
	c := &cobra.Command{
		Use:   "password NAME",
		Short: "Give a user another password",
		Long:  "Give a user another password, made by the region and shown once unless --password-stdin gives one. Sessions and tokens of the user end.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p.Name = args[0]
			return a.setUser(c.Context(), methodUserPassword, p, stdin)
		},
	}
	c.Flags().BoolVar(&p.MustChange, "must-change", false, "ask for another password at the next sign-in")
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from the standard input")
	return c
}

func newUserChangeCmd(a *app, what, short string) *cobra.Command {
	return &cobra.Command{
		Use:   what + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var u userInfo
			if _, err := region.Call(c.Context(), dir, methodUserChange, userChange{Name: args[0], What: what}, &u); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "user  %s: %s\n", u.Name, what)
			return nil
		},
	}
}

// setUser makes a user or his password, and prints what the region made.
func (a *app) setUser(ctx context.Context, method string, p userParams, stdin bool) error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	if stdin {
		if p.Password, err = readSecret("Password: "); err != nil {
			return err
		}
	}
	var u userInfo
	if _, err := region.Call(ctx, dir, method, p, &u); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "user      %s\n", u.Name)
	if u.Password != "" {
		fmt.Fprintf(a.stdout, "password  %s\n", u.Password)
		fmt.Fprintln(a.stderr, "The password is kept nowhere: note it now.")
	}
	return nil
}

func newUserListCmd(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "The users of the tenants",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var all []userInfo
			if _, err := region.Call(c.Context(), dir, methodUsers, nil, &all); err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, all)
			}
			t := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "USER\tNAME\tTYPE\tENABLED\tOBJECT ID")
			for _, u := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%v\t%s\n", u.Name, u.Display, u.Type, u.Enabled, u.ID)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newUserApproveCmd(a *app) *cobra.Command {
	var p deviceParams
	var yes bool
	c := &cobra.Command{
		Use:   "approve CODE",
		Short: "Sign in the device or terminal that shows a code",
		Long: `Answer a device code without a browser: what ` + "`az login --use-device-code`" + ` waits for. The password, and the code
of an authenticator app where a policy asks for one, are asked for on the terminal.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p.Code = args[0]
			return a.approve(c.Context(), p, yes)
		},
	}
	c.Flags().StringVar(&p.User, "user", "", "who signs in (asked for when missing)")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask whether this is the application that you started")
	return c
}

func (a *app) approve(ctx context.Context, p deviceParams, yes bool) error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	var waiting signin.DeviceRequest
	if _, err := region.Call(ctx, dir, methodDevice, p, &waiting); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s asks from %s to act for you: %s\n", waiting.Client, waiting.Address, strings.Join(waiting.Scopes, " "))
	if !yes {
		answer, err := readLine("Did you start this yourself? [y/N] ")
		if err != nil {
			return err
		}
		if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
			return errors.New("nothing was signed in")
		}
	}
	if p.User == "" {
		if p.User, err = readLine("User: "); err != nil {
			return err
		}
	}
	if p.Password, err = readSecret("Password of this region (never a real Azure password): "); err != nil {
		return err
	}
	_, err = region.Call(ctx, dir, methodApprove, p, nil)
	if refused := new(region.CallError); errors.As(err, &refused) && refused.Code == codeNeedsFactor {
		if p.OTP, err = readSecret("Code of your authenticator app: "); err != nil {
			return err
		}
		_, err = region.Call(ctx, dir, methodApprove, p, nil)
	}
	if err == nil {
		fmt.Fprintln(a.stderr, "Signed in: the application goes on by itself.")
	}
	return err
}

// stdin is read line by line by all prompts together.
var stdin = bufio.NewReader(os.Stdin)

func readLine(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	line, err := stdin.ReadString('\n')
	if err != nil && line == "" {
		return "", fmt.Errorf("the standard input has ended where an answer was expected: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// readSecret reads a line without showing it, if the standard input is a terminal.
func readSecret(prompt string) (string, error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil { // not a terminal
		return readLine("")
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return "", err
	}
	line, err := readLine(prompt)
	fmt.Fprintln(os.Stderr)
	return line, errors.Join(err, unix.IoctlSetTermios(fd, unix.TCSETS, old))
}
