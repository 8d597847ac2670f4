package kql

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// of makes a function of one text.
func ofText(typ Type, do func(string) any) *function {
	return &function{least: 1, most: 1, typ: typ, do: func(_ *run, a []any) (any, error) { return do(text(a[0])), nil }}
}

// pattern checks that an argument is a constant regular expression, and compiles it once.
func constantRegex(at int) func(s *scope, c *call, args []*compiled) error {
	return func(s *scope, c *call, args []*compiled) error {
		if !args[at].fix {
			return s.fault(c.place, "%s(): the regular expression must be a constant", c.name)
		}
		v, err := args[at].of(nil)
		if err != nil {
			return err
		}
		re, err := regex(text(v))
		if err != nil {
			return s.fault(c.place, "%s(): %v", c.name, err)
		}
		args[at] = constant(re, Dynamic)
		return nil
	}
}

var texts = map[string]*function{
	"tolower": ofText(String, func(s string) any { return strings.ToLower(s) }),
	"toupper": ofText(String, func(s string) any { return strings.ToUpper(s) }),
	"strlen":  ofText(Long, func(s string) any { return int64(utf8.RuneCountInString(s)) }),
	"reverse": ofText(String, func(s string) any {
		r := []rune(s)
		for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
			r[i], r[j] = r[j], r[i]
		}
		return string(r)
	}),
	"url_encode": ofText(String, func(s string) any { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }),
	"url_decode": ofText(String, func(s string) any {
		d, err := url.QueryUnescape(s)
		if err != nil {
			return ""
		}
		return d
	}),
	"base64_encode_tostring": ofText(String, func(s string) any { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"base64_decode_tostring": ofText(String, func(s string) any {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || !utf8.Valid(b) {
			return ""
		}
		return string(b)
	}),
	"hash_sha256": ofText(String, func(s string) any { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }),
	"strcat": {least: 1, most: 64, typ: String, do: func(_ *run, a []any) (any, error) {
		var b strings.Builder
		for _, v := range a {
			b.WriteString(text(v))
		}
		return b.String(), nil
	}},
	"strcat_delim": {least: 2, most: 64, typ: String, do: func(_ *run, a []any) (any, error) {
		parts := make([]string, len(a)-1)
		for i, v := range a[1:] {
			parts[i] = text(v)
		}
		return strings.Join(parts, text(a[0])), nil
	}},
	"strcat_array": {least: 2, most: 2, typ: String, do: func(r *run, a []any) (any, error) {
		list, _ := a[0].([]any)
		parts := make([]string, len(list))
		for i, v := range list {
			parts[i] = text(v)
		}
		return strings.Join(parts, text(a[1])), r.spend(len(list))
	}},
	"strcmp": {least: 2, most: 2, typ: Long, do: func(_ *run, a []any) (any, error) { return int64(strings.Compare(text(a[0]), text(a[1]))), nil }},
	"strrep": {least: 2, most: 3, typ: String, do: func(_ *run, a []any) (any, error) {
		s, delim := text(a[0]), ""
		if len(a) == 3 {
			delim = text(a[2])
		}
		n, _ := a[1].(int64)
		n = max(0, min(n, 1024))
		if int(n)*(len(s)+len(delim)) > maxText {
			return nil, &Fault{Kind: TooMuch, Message: "strrep(): the text is too long."}
		}
		return strings.TrimSuffix(strings.Repeat(s+delim, int(n)), delim), nil
	}},
	"substring": {least: 2, most: 3, typ: String, do: substring},
	"split": {least: 2, most: 3, typ: Dynamic, first: true, do: func(r *run, a []any) (any, error) {
		s, delim := text(a[0]), text(a[1])
		parts := []string{s}
		if delim != "" {
			parts = strings.Split(s, delim)
		}
		if err := r.alloc(len(s) + 32*len(parts)); err != nil {
			return nil, err
		}
		if len(a) == 3 {
			n, _ := a[2].(int64)
			if n >= 0 && n < int64(len(parts)) {
				return []any{parts[n]}, nil
			}
			return []any{}, nil
		}
		return Plain(parts), nil
	}},
	"indexof": {least: 2, most: 4, typ: Long, do: func(_ *run, a []any) (any, error) {
		s, start := text(a[0]), 0
		if len(a) > 2 {
			n, _ := a[2].(int64)
			start = int(max(0, min(n, int64(len(s)))))
		}
		i := strings.Index(s[start:], text(a[1]))
		if i < 0 {
			return int64(-1), nil
		}
		return int64(utf8.RuneCountInString(s[:start+i])), nil
	}},
	"countof": {least: 2, most: 2, typ: Long, do: func(_ *run, a []any) (any, error) {
		if text(a[1]) == "" {
			return int64(0), nil
		}
		return int64(strings.Count(text(a[0]), text(a[1]))), nil
	}},
	"replace_string": {least: 3, most: 3, typ: String, do: replaceText},
	"replace_regex":  {least: 3, most: 3, typ: String, check: constantRegex(1), do: replaceRegex},
	"replace":        {least: 3, most: 3, typ: String, check: constantRegex(0), do: func(r *run, a []any) (any, error) { return replaceRegex(r, []any{a[2], a[0], a[1]}) }},
	"trim":           {least: 2, most: 2, typ: String, check: constantRegex(0), do: func(r *run, a []any) (any, error) { return trim(r, a, true, true) }},
	"trim_start":     {least: 2, most: 2, typ: String, check: constantRegex(0), do: func(r *run, a []any) (any, error) { return trim(r, a, true, false) }},
	"trim_end":       {least: 2, most: 2, typ: String, check: constantRegex(0), do: func(r *run, a []any) (any, error) { return trim(r, a, false, true) }},
	"extract":        {least: 3, most: 4, typ: String, check: constantRegex(0), do: extract},
	"extract_all":    {least: 2, most: 2, typ: Dynamic, check: constantRegex(0), do: extractAll},
	"parse_url":      ofText(Dynamic, parseURL),
	"parse_version":  ofText(Real, parseVersion),
	"isvalid_ipv4":   ofText(Bool, func(s string) any { a, err := netip.ParseAddr(s); return err == nil && a.Is4() }),
	"ipv4_is_private": ofText(Bool, func(s string) any {
		p, ok := prefix(s)
		if !ok {
			return nil
		}
		return p.Addr().IsPrivate()
	}),
	"ipv4_is_in_range": {least: 2, most: 2, typ: Bool, do: func(_ *run, a []any) (any, error) {
		x, ok := prefix(text(a[0]))
		y, ok2 := prefix(text(a[1]))
		if !ok || !ok2 {
			return nil, nil
		}
		return y.Contains(x.Addr()) && x.Bits() >= y.Bits(), nil
	}},
	"ipv4_netmask_suffix": ofText(Long, func(s string) any {
		p, ok := prefix(s)
		if !ok {
			return nil
		}
		return int64(p.Bits())
	}),
}

func prefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, 32), true
}

func substring(_ *run, a []any) (any, error) {
	s := []rune(text(a[0]))
	start, _ := a[1].(int64)
	n := int64(len(s))
	if start < 0 {
		start = max(0, start+n)
	}
	start = min(start, n)
	count := n - start
	if len(a) == 3 {
		if c, ok := a[2].(int64); ok {
			count = max(0, min(c, count))
		}
	}
	return string(s[start : start+count]), nil
}

// grown refuses a replacement before it is made too long.
func grown(n int) error {
	if n > maxText {
		return &Fault{Kind: TooMuch, Message: "A text of the query is too long."}
	}
	return nil
}

func replaceText(r *run, a []any) (any, error) {
	s, old, with := text(a[0]), text(a[1]), text(a[2])
	if old == "" {
		return s, nil
	}
	if err := grown(len(s) + strings.Count(s, old)*len(with)); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(s, old, with), r.spend(len(s) / 16)
}

var backReference = regexp.MustCompile(`\\(\d)`)

func replaceRegex(r *run, a []any) (any, error) {
	s, re := text(a[0]), a[1].(*regexp.Regexp)
	with := backReference.ReplaceAllString(strings.ReplaceAll(text(a[2]), "$", "$$"), "$${$1}")
	matches := re.FindAllStringIndex(s, -1)
	if err := grown(len(s) + len(matches)*(len(with)+4*len(s)/max(1, len(matches)))); err != nil {
		return nil, err
	}
	return re.ReplaceAllString(s, with), r.spend(len(s) / 8)
}

func trim(r *run, a []any, start, end bool) (any, error) {
	re, s := a[0].(*regexp.Regexp), text(a[1])
	all := re.FindAllStringIndex(s, -1)
	from, to := 0, len(s)
	if start {
		for _, m := range all {
			if m[0] == from {
				from = m[1]
			}
		}
	}
	if end {
		for i := len(all) - 1; i >= 0; i-- {
			if all[i][1] == to && all[i][0] >= from {
				to = all[i][0]
			}
		}
	}
	return s[from:max(from, to)], r.spend(len(s) / 8)
}

func extract(r *run, a []any) (any, error) {
	m := a[0].(*regexp.Regexp).FindStringSubmatch(text(a[2]))
	n, _ := a[1].(int64)
	if n < 0 || n >= int64(len(m)) {
		return "", nil
	}
	return m[n], r.spend(len(text(a[2])) / 16)
}

func extractAll(r *run, a []any) (any, error) {
	s := text(a[1])
	out := []any{}
	for _, m := range a[0].(*regexp.Regexp).FindAllStringSubmatch(s, -1) {
		switch len(m) {
		case 1:
			out = append(out, m[0])
		case 2:
			out = append(out, m[1])
		default:
			out = append(out, Plain(m[1:]))
		}
	}
	if err := r.spend(len(s) / 8); err != nil {
		return nil, err
	}
	return out, r.alloc(32*len(out) + len(s))
}

func parseURL(s string) any {
	u, err := url.Parse(s)
	if err != nil {
		return nil
	}
	query := map[string]any{}
	for k, v := range u.Query() {
		query[k] = v[0]
	}
	password, _ := u.User.Password()
	return map[string]any{"Scheme": u.Scheme, "Host": u.Hostname(), "Port": u.Port(), "Path": u.Path, "Username": u.User.Username(), "Password": password, "Query Parameters": query, "Fragment": u.Fragment}
}

// parseVersion makes of up to four numbers one that orders as they do.
func parseVersion(s string) any {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return nil
	}
	sum := 0.0
	for i := range 4 {
		n := 0.0
		if i < len(parts) {
			f, ok := convert(parts[i], Long).(int64)
			if !ok {
				return nil
			}
			n = float64(f)
		}
		sum = sum*1e8 + n
	}
	return sum
}

var times = map[string]*function{
	"now": {least: 0, most: 1, typ: Datetime, do: func(r *run, a []any) (any, error) {
		if len(a) == 1 {
			return arith("+", r.now, convert(a[0], Timespan)), nil
		}
		return r.now, nil
	}},
	"ago":           {least: 1, most: 1, typ: Datetime, do: func(r *run, a []any) (any, error) { return arith("-", r.now, convert(a[0], Timespan)), nil }},
	"datetime_add":  {least: 3, most: 3, typ: Datetime, do: datetimeAdd},
	"datetime_diff": {least: 3, most: 3, typ: Long, do: datetimeDiff},
	"datetime_part": {least: 2, most: 2, typ: Long, do: func(_ *run, a []any) (any, error) { return part(text(a[0]), a[1]), nil }},
	"getyear":       {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) { return part("year", a[0]), nil }},
	"getmonth":      {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) { return part("month", a[0]), nil }},
	"monthofyear":   {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) { return part("month", a[0]), nil }},
	"dayofmonth":    {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) { return part("day", a[0]), nil }},
	"dayofyear":     {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) { return part("dayofyear", a[0]), nil }},
	"hourofday":     {least: 1, most: 1, typ: Long, do: func(_ *run, a []any) (any, error) { return part("hour", a[0]), nil }},
	"dayofweek": {least: 1, most: 1, typ: Timespan, do: func(_ *run, a []any) (any, error) {
		if t, ok := convert(a[0], Datetime).(time.Time); ok {
			return time.Duration(t.Weekday()) * 24 * time.Hour, nil
		}
		return nil, nil
	}},
	"startofday": startOf(func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }),
	"startofweek": startOf(func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day()-int(t.Weekday()), 0, 0, 0, 0, time.UTC)
	}),
	"startofmonth": startOf(func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) }),
	"startofyear":  startOf(func(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) }),
	"endofday":     startOf(func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, -100, time.UTC) }),
	"endofmonth":   startOf(func(t time.Time) time.Time { return time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, -100, time.UTC) }),
	"format_datetime": {least: 2, most: 2, typ: String, do: func(_ *run, a []any) (any, error) {
		t, ok := convert(a[0], Datetime).(time.Time)
		if !ok {
			return "", nil
		}
		return formatTime(t, text(a[1])), nil
	}},
	"unixtime_seconds_todatetime": {least: 1, most: 1, typ: Datetime, do: func(_ *run, a []any) (any, error) {
		if n, ok := convert(a[0], Long).(int64); ok && n > -1<<36 && n < 1<<38 {
			return time.Unix(n, 0).UTC(), nil
		}
		return nil, nil
	}},
	"make_timespan": {least: 2, most: 4, typ: Timespan, do: func(_ *run, a []any) (any, error) {
		scale := []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second}
		if len(a) < 4 {
			scale = scale[1:]
		}
		var d time.Duration
		for i, v := range a {
			n, ok := v.(int64)
			if !ok || n > 100_000 || n < 0 {
				return nil, nil
			}
			d += time.Duration(n) * scale[i]
		}
		return d, nil
	}},
}

func startOf(f func(time.Time) time.Time) *function {
	return &function{least: 1, most: 2, typ: Datetime, first: true, do: func(_ *run, a []any) (any, error) {
		if t, ok := convert(a[0], Datetime).(time.Time); ok {
			return f(t), nil
		}
		return nil, nil
	}}
}

func part(what string, v any) any {
	t, ok := convert(v, Datetime).(time.Time)
	if !ok {
		return nil
	}
	_, week := t.ISOWeek()
	n, known := map[string]int{
		"year": t.Year(), "quarter": (int(t.Month()) + 2) / 3, "month": int(t.Month()), "week_of_year": week, "day": t.Day(), "dayofyear": t.YearDay(), "hour": t.Hour(),
		"minute": t.Minute(), "second": t.Second(), "millisecond": t.Nanosecond() / 1e6, "microsecond": t.Nanosecond() / 1e3, "nanosecond": t.Nanosecond(),
	}[strings.ToLower(what)]
	if !known {
		return nil
	}
	return int64(n)
}

func datetimeAdd(_ *run, a []any) (any, error) {
	n, ok := convert(a[1], Long).(int64)
	t, ok2 := convert(a[2], Datetime).(time.Time)
	if !ok || !ok2 || n > 1<<31 || n < -1<<31 {
		return nil, nil
	}
	switch what := strings.ToLower(text(a[0])); what {
	case "year":
		return t.AddDate(int(n), 0, 0), nil
	case "quarter":
		return t.AddDate(0, 3*int(n), 0), nil
	case "month":
		return t.AddDate(0, int(n), 0), nil
	case "week":
		return t.AddDate(0, 0, 7*int(n)), nil
	case "day":
		return t.AddDate(0, 0, int(n)), nil
	default:
		if unit, ok := units[what]; ok {
			return t.Add(unit * time.Duration(n)), nil
		}
	}
	return nil, nil
}

// datetimeDiff counts the boundaries of a period between two times.
func datetimeDiff(_ *run, a []any) (any, error) {
	x, ok := convert(a[1], Datetime).(time.Time)
	y, ok2 := convert(a[2], Datetime).(time.Time)
	if !ok || !ok2 {
		return nil, nil
	}
	months := func(t time.Time) int64 { return int64(t.Year())*12 + int64(t.Month()) - 1 }
	switch what := strings.ToLower(text(a[0])); what {
	case "year":
		return int64(x.Year() - y.Year()), nil
	case "quarter":
		return months(x)/3 - months(y)/3, nil
	case "month":
		return months(x) - months(y), nil
	case "week":
		return int64(x.Truncate(7*24*time.Hour).Sub(y.Truncate(7*24*time.Hour)) / (7 * 24 * time.Hour)), nil
	default:
		if unit, ok := units[what]; ok {
			return int64(x.Truncate(unit).Sub(y.Truncate(unit)) / unit), nil
		}
	}
	return nil, nil
}

// timeForms are those of format_datetime, the longer first, as Go writes them.
var timeForms = []struct{ kusto, layout string }{
	{"yyyy", "2006"}, {"yy", "06"}, {"MM", "01"}, {"M", "1"}, {"dd", "02"}, {"d", "2"}, {"HH", "15"}, {"hh", "03"}, {"h", "3"}, {"mm", "04"}, {"m", "4"}, {"ss", "05"}, {"s", "5"}, {"fffffff", ".0000000"}, {"fff", ".000"}, {"tt", "PM"},
}

func formatTime(t time.Time, form string) string {
	var b strings.Builder
next:
	for i := 0; i < len(form); {
		for _, f := range timeForms {
			if strings.HasPrefix(form[i:], f.kusto) {
				b.WriteString(strings.TrimPrefix(t.Format(f.layout), "."))
				i += len(f.kusto)
				continue next
			}
		}
		b.WriteByte(form[i])
		i++
	}
	return b.String()
}

func real1(f func(float64) float64) *function {
	return &function{least: 1, most: 1, typ: Real, do: func(_ *run, a []any) (any, error) {
		if x, ok := number(a[0]); ok {
			return f(x), nil
		}
		return nil, nil
	}}
}

var numbers = map[string]*function{
	"round": {least: 1, most: 2, typ: Real, do: func(_ *run, a []any) (any, error) {
		x, ok := number(a[0])
		if !ok {
			return nil, nil
		}
		n := 0.0
		if len(a) == 2 {
			n, _ = number(a[1])
		}
		p := math.Pow(10, max(-15, min(n, 15)))
		return math.Round(x*p) / p, nil
	}},
	"floor": {least: 2, most: 2, like: 1, first: true, do: bin}, "bin": {least: 2, most: 2, like: 1, first: true, do: bin},
	"ceiling": real1(math.Ceil), "sqrt": real1(math.Sqrt), "log": real1(math.Log), "log10": real1(math.Log10), "exp": real1(math.Exp),
	"pow": {least: 2, most: 2, typ: Real, do: func(_ *run, a []any) (any, error) {
		x, ok := number(a[0])
		y, ok2 := number(a[1])
		if !ok || !ok2 {
			return nil, nil
		}
		return math.Pow(x, y), nil
	}},
	"abs": {least: 1, most: 1, like: 1, do: func(_ *run, a []any) (any, error) {
		switch x := a[0].(type) {
		case int64:
			return max(x, -x), nil
		case float64:
			return math.Abs(x), nil
		case time.Duration:
			return x.Abs(), nil
		}
		return nil, nil
	}},
	"min_of": {least: 2, most: 64, like: 1, do: func(_ *run, a []any) (any, error) { return best(a, -1), nil }},
	"max_of": {least: 2, most: 64, like: 1, do: func(_ *run, a []any) (any, error) { return best(a, 1), nil }},
}

func best(values []any, sign int) any {
	take, end := extreme(sign)
	for _, v := range values {
		_ = take(v) // it cannot fail
	}
	return end()
}

// bin rounds down to a multiple: of numbers, spans of time, and times since the beginning of time.
func bin(_ *run, a []any) (any, error) {
	switch x := a[0].(type) {
	case time.Time:
		if d, ok := convert(a[1], Timespan).(time.Duration); ok && d > 0 {
			return x.Truncate(d), nil
		}
	case time.Duration:
		if d, ok := convert(a[1], Timespan).(time.Duration); ok && d > 0 {
			return x.Truncate(d), nil
		}
	case int64:
		if n, ok := a[1].(int64); ok && n > 0 {
			down := x / n * n
			if x < 0 && down != x {
				down -= n
			}
			return down, nil
		}
	}
	x, ok := number(a[0])
	y, ok2 := number(a[1])
	if !ok || !ok2 || y <= 0 {
		return nil, nil
	}
	return math.Floor(x/y) * y, nil
}
