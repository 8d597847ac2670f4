package linux

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// token of an nft statement.
type token struct {
	text   string
	quoted bool
}

// tokens splits one statement or element of nft's language.
func tokens(s string) ([]token, error) {
	var out []token
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ';':
			i++
		case c == '{' || c == '}' || c == ',':
			out = append(out, token{text: string(c)})
			i++
		case c == '"':
			end := strings.IndexByte(s[i+1:], '"')
			if end < 0 {
				return nil, errors.New("a quoted string does not end")
			}
			out = append(out, token{text: s[i+1 : i+1+end], quoted: true})
			i += end + 2
		default:
			end := strings.IndexAny(s[i:], " \t\r\n;{},\"")
			if end < 0 {
				end = len(s) - i
			}
			out = append(out, token{text: s[i : i+end]})
			i += end
		}
	}
	if fields(out) > maxFields {
		return nil, fmt.Errorf("a concatenation of more than %d fields", maxFields)
	}
	return out, nil
}

// fields is the longest concatenation in a statement: fields of at most three words, with dots between.
func fields(toks []token) int {
	longest, n := 0, 1
	dot := func(i int) bool { return i >= 0 && i < len(toks) && toks[i].text == "." && !toks[i].quoted }
	last := -1
	for i := range toks {
		switch {
		case dot(i):
			n++
			last = i
		case toks[i].text == "{" || toks[i].text == "}" || toks[i].text == "," || toks[i].text == ":" || i-last > 3:
			n = 1
			last = i
		}
		longest = max(longest, n)
	}
	return longest
}

// symbols are names that nft's numeric listing (-n) spells as numbers. Both sides of a comparison are
// translated, so a name that is also a keyword does no harm.
var symbols = map[string]string{
	"icmp": "1", "igmp": "2", "tcp": "6", "udp": "17", "gre": "47", "esp": "50", "ah": "51", "sctp": "132",
	"invalid": "1", "established": "2", "related": "4", "new": "8", "untracked": "64",
	"and": "&", "or": "|", "xor": "^",
	"ipv4": "2", "ipv6": "10", "original": "0", "reply": "1", "missing": "0", "exists": "1",
	"expected": "1", "seen-reply": "2", "assured": "4", "confirmed": "8", "snat": "16", "dnat": "32",
	"unicast": "1", "local": "2", "broadcast": "3", "anycast": "4", "multicast": "5", "blackhole": "6",
	"echo-reply": "0", "destination-unreachable": "3", "echo-request": "8", "time-exceeded": "11",
	"filter": "0", "srcnat": "100", "dstnat": "-100", "mangle": "-150", "raw": "-300",
}

// canonical is what a statement says.
func canonical(toks []token) string {
	out := make([]string, 0, len(toks))
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		switch {
		case t.quoted:
			out = append(out, strconv.Quote(t.text))
		case t.text == "{":
			end := closing(toks, i)
			elems := splitElements(toks[i+1 : end])
			canon := make([]string, len(elems))
			for j, e := range elems {
				canon[j] = canonical(e)
			}
			merge := !slices.ContainsFunc(canon, func(s string) bool { return strings.Contains(s, " : ") })
			canon = canonicalElements(canon, merge)
			if merge && len(canon) == 1 {
				out = append(out, canon[0])
			} else {
				out = append(out, "{ "+strings.Join(canon, ", ")+" }")
			}
			i = end
		default:
			out = append(out, word(t.text))
		}
	}
	return strings.Join(simplify(joinLists(splitPorts(out))), " ")
}

func closing(toks []token, open int) int {
	depth := 0
	for i := open; i < len(toks); i++ {
		if toks[i].quoted {
			continue
		}
		switch toks[i].text {
		case "{":
			depth++
		case "}":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(toks)
}

func splitElements(toks []token) [][]token {
	var out [][]token
	start := 0
	for i, t := range toks {
		if t.text == "," && !t.quoted {
			out = append(out, toks[start:i])
			start = i + 1
		}
	}
	if start < len(toks) {
		out = append(out, toks[start:])
	}
	return out
}

// splitPorts takes one 32-bit comparison apart into the two ports that nft joined in it.
func splitPorts(words []string) []string {
	var out []string
	for i := 0; i < len(words); i++ {
		if rest := words[i:]; match(rest, "@th", ",", "0", ",", "32") && len(rest) > 5 {
			if n, err := strconv.ParseUint(rest[5], 10, 32); err == nil {
				out = append(out, "th", "sport", strconv.FormatUint(n>>16, 10), "th", "dport", strconv.FormatUint(n&0xffff, 10))
				i += 5
				continue
			}
		}
		out = append(out, words[i])
	}
	return out
}

// joinLists sorts comma lists such as the states of ct state.
func joinLists(words []string) []string {
	var out []string
	for i := 0; i < len(words); i++ {
		if i+1 >= len(words) || words[i+1] != "," {
			out = append(out, words[i])
			continue
		}
		list := []string{words[i]}
		for i+2 < len(words) && words[i+1] == "," {
			list = append(list, words[i+2])
			i += 2
		}
		slices.Sort(list)
		out = append(out, strings.Join(list, ","))
	}
	return out
}

// simplify drops what nft leaves out when it lists a rule: matches that the next one implies, and
// defaults.
func simplify(words []string) []string {
	words = impliedTransport(words)
	var out []string
	for i := 0; i < len(words); i++ {
		rest := words[i:]
		switch {
		case match(rest, "meta", "nfproto", symbols["ipv4"], "ip"):
			i += 2
		case len(rest) >= 4 && rest[0] == "ip" && rest[1] == "protocol" && rest[2] == rest[3]:
			i += 2
		case match(rest, "burst", "5", "packets"):
			i += 2
		case match(rest, "counter", "name") && len(rest) > 2:
			out = append(out, "counter", "name", strings.Trim(rest[2], `"`))
			i += 2
		default:
			out = append(out, words[i])
		}
	}
	return out
}

// impliedTransport rewrites "meta l4proto 6 … th dport 80" to "… 6 dport 80": the match of a port of a known
// protocol implies the protocol.
func impliedTransport(words []string) []string {
	for i := 0; i+2 < len(words); i++ {
		if words[i] != "meta" || words[i+1] != "l4proto" {
			continue
		}
		proto, rest := words[i+2], slices.Clone(words[i+3:])
		implied := false
		for j := 0; j+1 < len(rest); j++ {
			port := rest[j+1] == "dport" || rest[j+1] == "sport"
			if port && (rest[j] == "th" || rest[j] == proto) && !strings.HasPrefix(proto, "{") {
				rest[j], implied = proto, true
			}
		}
		if implied {
			return append(slices.Clone(words[:i]), rest...)
		}
	}
	return words
}

func match(words []string, pattern ...string) bool {
	return len(words) >= len(pattern) && slices.Equal(words[:len(pattern)], pattern)
}

// word is one token in canonical form: numbers are decimal, ranges and prefixes are lo-hi.
func word(s string) string {
	if n, ok := symbols[s]; ok {
		return n
	}
	if r, ok := parseRange(s); ok {
		return r.String()
	}
	return s
}

// span is an inclusive range of addresses or of numbers.
type span struct {
	lo, hi   uint64
	lo4, hi4 netip.Addr
}

func (r span) addr() bool { return r.lo4.IsValid() }

func (r span) String() string {
	switch {
	case r.addr() && r.lo4 == r.hi4:
		return r.lo4.String()
	case r.addr():
		return r.lo4.String() + "-" + r.hi4.String()
	case r.lo == r.hi:
		return strconv.FormatUint(r.lo, 10)
	}
	return strconv.FormatUint(r.lo, 10) + "-" + strconv.FormatUint(r.hi, 10)
}

func parseRange(s string) (span, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return span{}, false
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return span{lo4: p.Masked().Addr(), hi4: lastAddr(p)}, true
	}
	lo, hi, ranged := strings.Cut(s, "-")
	if !ranged {
		hi = lo
	}
	if a, err := netip.ParseAddr(lo); err == nil {
		b, err := netip.ParseAddr(hi)
		return span{lo4: a, hi4: b}, err == nil
	}
	a, err := strconv.ParseUint(lo, 0, 64)
	if err != nil {
		return span{}, false
	}
	b, err := strconv.ParseUint(hi, 0, 64)
	return span{lo: a, hi: b}, err == nil
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// canonicalElements sorts elements. In a set of plain ranges it joins neighbours first, as nft does.
func canonicalElements(elems []string, merge bool) []string {
	if merge {
		if spans, ok := parseRanges(elems); ok {
			elems = elems[:0:0]
			for _, r := range joinRanges(spans) {
				elems = append(elems, r.String())
			}
		}
	}
	slices.Sort(elems)
	return elems
}

func parseRanges(elems []string) ([]span, bool) {
	out := make([]span, len(elems))
	for i, e := range elems {
		r, ok := parseRange(e)
		if !ok || (i > 0 && r.addr() != out[0].addr()) {
			return nil, false
		}
		out[i] = r
	}
	return out, true
}

func joinRanges(in []span) []span {
	slices.SortFunc(in, func(a, b span) int {
		return cmp.Or(a.lo4.Compare(b.lo4), cmp.Compare(a.lo, b.lo))
	})
	var out []span
	for _, r := range in {
		if len(out) > 0 {
			last := &out[len(out)-1]
			if r.addr() && (!last.hi4.Less(r.lo4) || last.hi4.Next() == r.lo4) {
				if last.hi4.Less(r.hi4) {
					last.hi4 = r.hi4
				}
				continue
			}
			if !r.addr() && r.lo <= last.hi+1 {
				last.hi = max(last.hi, r.hi)
				continue
			}
		}
		out = append(out, r)
	}
	return out
}
