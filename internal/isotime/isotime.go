// Package isotime reads durations as Resource Manager's bodies have them.
package isotime

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var isoForm = regexp.MustCompile(`^P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?$`)

// ParseDuration parses an ISO 8601 duration of weeks, days, hours, minutes and seconds (PT120S, P1DT2H); parts of a second are dropped.
func ParseDuration(s string) (time.Duration, error) {
	m := isoForm.FindStringSubmatch(s)
	if m == nil || s == "P" || s[len(s)-1] == 'T' {
		return 0, fmt.Errorf("%q is not an ISO 8601 duration", s)
	}
	var d time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] != "" {
			n, err := strconv.Atoi(m[i+1])
			if err != nil {
				return 0, err
			}
			if d += time.Duration(n) * unit; d < 0 { // each part alone fits
				return 0, fmt.Errorf("%q is too long a duration", s)
			}
		}
	}
	return d, nil
}
