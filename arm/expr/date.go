package expr

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func dates() []Func {
	return []Func{
		{Name: "dateTimeAdd", Min: 2, Max: 3, Call: callDateTimeAdd},
		{Name: "dateTimeFromEpoch", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			n, err := c.Int(0)
			if err != nil {
				return nil, err
			}
			t := time.Unix(n, 0).UTC()
			if n < -62135596800 || n > 253402300799 {
				return nil, c.Fail("the time is out of range.")
			}
			return t.Format("2006-01-02T15:04:05Z"), nil
		}},
		{Name: "dateTimeToEpoch", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			s, err := c.Text(0)
			if err != nil {
				return nil, err
			}
			t, _, ok := parseTime(s)
			if !ok {
				return nil, errorf("The template function 'dateTimeToEpoch' has an invalid parameter. The first parameter '%s' is not a valid datetime string. Please see https://aka.ms/arm-syntax-functions .", shown(s))
			}
			return t.Unix(), nil
		}},
	}
}

// UTCNow is the function utcNow. It is not built in: it has a place only in default values of parameters.
func UTCNow(now func() time.Time) Func {
	return Func{Name: "utcNow", Max: 1, Call: func(c *Call) (any, error) {
		format := "yyyyMMddTHHmmssZ"
		if len(c.Args) == 1 {
			var err error
			if format, err = c.Text(0); err != nil {
				return nil, err
			}
		}
		s, err := FormatTime(now().UTC(), format)
		if err != nil {
			return nil, c.Fail("the format '%s' is not a valid date and time format.", format)
		}
		return s, nil
	}}
}

// timeForms are the forms in which a time is read and written back.
var timeForms = []string{
	"2006-01-02T15:04:05.9999999Z07:00", "2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05Z07:00", "20060102T150405Z", "2006-01-02T15:04:05",
	"2006-01-02 15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02", "01/02/2006 15:04:05", "1/2/2006 3:04:05 PM", "01/02/2006",
	"Mon, 02 Jan 2006 15:04:05 GMT",
}

func parseTime(s string) (t time.Time, form string, ok bool) {
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), form, true
		}
	}
	return time.Time{}, "", false
}

var duration = regexp.MustCompile(`^([+-]?)P(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?$`)

func callDateTimeAdd(c *Call) (any, error) {
	base, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	span, err := c.Text(1)
	if err != nil {
		return nil, err
	}
	t, form, ok := parseTime(base)
	if !ok {
		return nil, errorf("The template function 'dateTimeAdd' has an invalid parameter. The first parameter '%s' is not a valid datetime string. Please see https://aka.ms/arm-syntax-functions .", shown(base))
	}
	m := duration.FindStringSubmatch(span)
	if m == nil || strings.HasSuffix(span, "P") || strings.HasSuffix(span, "T") {
		return nil, errorf("The template function 'dateTimeAdd' has an invalid parameter. The second parameter '%s' is not a valid ISO8601 Duration string. Please see https://aka.ms/arm-syntax-functions .", shown(span))
	}
	var n [9]int
	for i := 2; i < len(m); i++ {
		n[i], _ = strconv.Atoi(m[i])
		if m[1] == "-" {
			n[i] = -n[i]
		}
	}
	// XML's durations count a year as 365 and a month as 30 days in .NET; the function adds them to the calendar.
	t = t.AddDate(n[2], n[3], n[4]*7+n[5]).Add(time.Duration(n[6])*time.Hour + time.Duration(n[7])*time.Minute + time.Duration(n[8])*time.Second)
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, c.Fail("the result is out of the range of a datetime.")
	}
	if len(c.Args) == 3 {
		format, err := c.Text(2)
		if err != nil {
			return nil, err
		}
		s, err := FormatTime(t, format)
		if err != nil {
			return nil, c.Fail("the format '%s' is not a valid date and time format.", format)
		}
		return s, nil
	}
	return t.Format(form), nil
}

// standardTimes are .NET's standard date and time formats in the invariant culture.
var standardTimes = map[string]string{
	"d": "MM/dd/yyyy", "D": "dddd, dd MMMM yyyy", "f": "dddd, dd MMMM yyyy HH:mm", "F": "dddd, dd MMMM yyyy HH:mm:ss",
	"g": "MM/dd/yyyy HH:mm", "G": "MM/dd/yyyy HH:mm:ss", "m": "MMMM dd", "M": "MMMM dd",
	"o": "yyyy-MM-ddTHH:mm:ss.fffffffZ", "O": "yyyy-MM-ddTHH:mm:ss.fffffffZ", "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
	"s": "yyyy-MM-ddTHH:mm:ss", "t": "HH:mm", "T": "HH:mm:ss", "u": "yyyy-MM-dd HH:mm:ssZ", "U": "dddd, dd MMMM yyyy HH:mm:ss", "y": "yyyy MMMM", "Y": "yyyy MMMM",
}

// FormatTime writes a time by a .NET format string in the invariant culture.
func FormatTime(t time.Time, format string) (string, error) {
	if len(format) == 1 {
		f, ok := standardTimes[format]
		if !ok {
			return "", errSpecifier
		}
		format = f
	}
	format = strings.TrimPrefix(format, "%")
	var b strings.Builder
	for i := 0; i < len(format); {
		ch := format[i]
		n := 1
		for i+n < len(format) && format[i+n] == ch {
			n++
		}
		switch ch {
		case '\'', '"':
			end := strings.IndexByte(format[i+1:], ch)
			if end < 0 {
				return "", errSpecifier
			}
			b.WriteString(format[i+1 : i+1+end])
			i += end + 2
			continue
		case '\\':
			if i+1 < len(format) {
				b.WriteByte(format[i+1])
			}
			i += 2
			continue
		}
		s, ok := timePart(t, ch, n)
		if !ok {
			s = strings.Repeat(string(ch), n)
			if ch >= 0x80 {
				s = format[i : i+n]
			}
		}
		b.WriteString(s)
		i += n
	}
	return b.String(), nil
}

// timePart is one specifier of a custom date and time format; ok is false for a literal.
func timePart(t time.Time, ch byte, n int) (s string, ok bool) {
	digits := func(v int) string { return fmt.Sprintf("%0*d", min(n, 2), v) }
	switch ch {
	case 'y':
		switch n {
		case 1:
			return strconv.Itoa(t.Year() % 100), true
		case 2:
			return fmt.Sprintf("%02d", t.Year()%100), true
		}
		return fmt.Sprintf("%0*d", n, t.Year()), true
	case 'M':
		if n >= 4 {
			return t.Month().String(), true
		}
		if n == 3 {
			return t.Month().String()[:3], true
		}
		return digits(int(t.Month())), true
	case 'd':
		if n >= 4 {
			return t.Weekday().String(), true
		}
		if n == 3 {
			return t.Weekday().String()[:3], true
		}
		return digits(t.Day()), true
	case 'H':
		return digits(t.Hour()), true
	case 'h':
		return digits((t.Hour()+11)%12 + 1), true
	case 'm':
		return digits(t.Minute()), true
	case 's':
		return digits(t.Second()), true
	case 'f', 'F':
		frac := fmt.Sprintf("%09d", t.Nanosecond())[:min(n, 7)]
		if ch == 'F' {
			frac = strings.TrimRight(frac, "0")
		}
		return frac, true
	case 't':
		return t.Format("PM")[:min(n, 2)], true
	case 'z':
		return []string{"+0", "+00", "+00:00"}[min(n, 3)-1], true
	case 'K':
		return strings.Repeat("Z", n), true
	case 'g':
		return "A.D.", true
	}
	return "", false
}
