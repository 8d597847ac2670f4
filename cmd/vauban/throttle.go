package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vauban.dev/arm/door"
	"vauban.dev/region"
)

func newThrottleCmd(a *app) *cobra.Command {
	var reads, writes, deletes string
	c := &cobra.Command{
		Use:   "throttle [show | on | off]",
		Short: "Have Resource Manager refuse callers that ask too often, as Azure does",
		Long: `Show how many requests Resource Manager takes of a caller, or hold callers to it: 429 with Retry-After beyond. A
limit is a token bucket, SIZE/REFILL: requests at once, and further ones every second, for each caller in each
subscription. Azure's are 250/25 for reads, 200/10 for writes and for deletions. A region begins with throttling
off: what is left is counted in the headers all the same.`,
		Example: `  vauban throttle on                 Azure's limits
  vauban throttle on --writes 5/0.2  see what a pipeline does when it is refused`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"show", "on", "off"},
		RunE: func(c *cobra.Command, args []string) error {
			p := throttleParams{Limits: door.AzureLimits()}
			for _, b := range []struct {
				text string
				to   *door.Bucket
			}{{reads, &p.Limits.Reads}, {writes, &p.Limits.Writes}, {deletes, &p.Limits.Deletes}} {
				if err := parseBucket(b.text, b.to); err != nil {
					return &usageError{err}
				}
			}
			if len(args) == 1 {
				switch p.Change = args[0]; p.Change {
				case "show", "on", "off":
				default:
					return &usageError{fmt.Errorf("%q: give show, on or off", args[0])}
				}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var now throttleState
			if _, err := region.Call(c.Context(), dir, methodThrottle, p, &now); err != nil {
				return err
			}
			word := "off: requests are counted, none is refused"
			if now.On {
				word = "on"
			}
			_, err = fmt.Fprintf(a.stdout, "throttling is %s\nreads    %s\nwrites   %s\ndeletes  %s\n", word, now.Limits.Reads, now.Limits.Writes, now.Limits.Deletes)
			return err
		},
	}
	c.Flags().StringVar(&reads, "reads", "", "SIZE/REFILL of GET and HEAD")
	c.Flags().StringVar(&writes, "writes", "", "SIZE/REFILL of PUT, PATCH and POST")
	c.Flags().StringVar(&deletes, "deletes", "", "SIZE/REFILL of DELETE")
	return c
}

// parseBucket reads SIZE/REFILL; "" leaves what is there.
func parseBucket(s string, to *door.Bucket) error {
	if s == "" {
		return nil
	}
	size, refill, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(size)
	rate, err2 := strconv.ParseFloat(refill, 64)
	if !ok || err != nil || err2 != nil || n < 1 || n > 1_000_000 || !(rate > 0 && rate <= 1_000_000) {
		return fmt.Errorf("%q: give SIZE/REFILL, such as 250/25", s)
	}
	*to = door.Bucket{Size: n, Refill: rate}
	return nil
}
