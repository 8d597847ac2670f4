package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vauban.dev/region"
)

func newClockCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "clock [show | +DURATION]",
		Short: "Show the region's time, or move it forward",
		Long: `Show the region's time, or move it forward, to see tokens, soft delete and delays expire. It never goes
back. A DURATION is a number of weeks, days, hours, minutes and seconds: +7d, +1d12h, +90s.`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"show"},
		RunE: func(c *cobra.Command, args []string) error {
			var p region.ClockParams
			if len(args) == 1 && args[0] != "show" {
				var err error
				if p.Advance, err = parseAdvance(args[0]); err != nil {
					return &usageError{err}
				}
			}
			dir, err := a.dir()
			if err != nil {
				return err
			}
			var now region.ClockResult
			if _, err := region.Call(c.Context(), dir, region.MethodClock, p, &now); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s, %s ahead of this machine\n", now.Now.Format(time.RFC3339), now.Offset)
			return err
		},
	}
}

// parseAdvance reads +DURATION: Go's durations, and w and d for weeks and days.
func parseAdvance(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, fmt.Errorf("%q: give \"show\", or a duration to go forward by, such as +7d, +1d12h, +90s", s)
	}
	rest, ok := strings.CutPrefix(s, "+")
	if !ok || rest == "" {
		return bad()
	}
	var total time.Duration
	for _, unit := range []struct {
		letter string
		size   time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		n, after, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		v, err := strconv.ParseUint(n, 10, 16)
		if err != nil || time.Duration(v) > (1<<63-1-total)/unit.size {
			return bad()
		}
		total, rest = total+time.Duration(v)*unit.size, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || total+d < total || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
			return bad()
		}
		total += d
	}
	if total <= 0 {
		return bad()
	}
	return total, nil
}
