package kql

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tEOF tokenKind = iota
	tName
	tQuoted  // ['name'] where a name may stand is told by the parser; this is a text
	tNumber  // value: int64, float64 or time.Duration
	tPunct   // one of the operators and brackets
	tLiteral // datetime(…), timespan(…), guid(…), dynamic(…): value
)

type token struct {
	kind  tokenKind
	text  string
	value any
	typ   Type
	at    int // offset in the text
	place place
}

// hyphenated are the words that have a hyphen.
var hyphenated = []string{"project-away", "project-rename", "project-keep", "project-reorder", "mv-expand", "mv-apply", "parse-where", "parse-kv", "make-series", "sample-distinct", "top-nested", "top-hitters"}

// puncts are the signs, the longer first.
var puncts = []string{"!between", "!in~", "!startswith_cs", "!startswith", "!endswith_cs", "!endswith", "!contains_cs", "!contains", "!hasprefix", "!hassuffix", "!has_cs", "!has", "!in", "==", "=~", "!=", "!~", "<>", "<=", ">=", "..", "=>", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", ",", "|", ".", ";", ":"}

// scan reads all tokens.
func scan(text string) ([]token, *Fault) {
	var all []token
	i := 0
	from, at := 0, place{1, 0} // where the last token stands
	for {
		i = skip(text, i)
		passed := text[from:i]
		if n := strings.Count(passed, "\n"); n > 0 {
			at.line, at.column = at.line+n, 0
			passed = passed[strings.LastIndexByte(passed, '\n')+1:]
		}
		at.column += utf8.RuneCountInString(passed)
		from = i
		if i >= len(text) {
			return append(all, token{kind: tEOF, text: "<EOF>", at: len(text), place: at}), nil
		}
		t, next, f := scanOne(text, i)
		if f != nil {
			return nil, f
		}
		t.place = at
		all, i = append(all, t), next
	}
}

// skip passes space and comments.
func skip(text string, i int) int {
	for i < len(text) {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case unicode.IsSpace(r) || r == '\ufeff':
			i += n
		case strings.HasPrefix(text[i:], "//"):
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end
			} else {
				i = len(text)
			}
		default:
			return i
		}
	}
	return i
}

func scanOne(text string, i int) (token, int, *Fault) {
	c := text[i]
	switch {
	case c == '"' || c == '\'':
		return scanText(text, i, i+1, false)
	case (c == '@' || c == 'h' || c == 'H') && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\''):
		return scanText(text, i, i+2, c == '@')
	case c >= '0' && c <= '9':
		return scanNumber(text, i)
	case letter(c):
		return scanName(text, i)
	}
	for _, p := range puncts {
		if len(text)-i >= len(p) && strings.EqualFold(text[i:i+len(p)], p) && (!letter(p[len(p)-1]) || i+len(p) == len(text) || !letter(text[i+len(p)]) && !digit(text[i+len(p)])) {
			return token{kind: tPunct, text: strings.ToLower(p), at: i}, i + len(p), nil
		}
	}
	_, n := utf8.DecodeRuneInString(text[i:])
	return token{}, 0, faultAt(text, i, text[i:i+n], "")
}

func letter(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
func digit(c byte) bool { return c >= '0' && c <= '9' }

func scanText(text string, at, from int, verbatim bool) (token, int, *Fault) {
	quote := text[from-1]
	var b strings.Builder
	for i := from; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote && verbatim && i+1 < len(text) && text[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c == quote:
			return token{kind: tQuoted, text: b.String(), at: at}, i + 1, nil
		case c == '\n':
			return token{}, 0, faultAt(text, at, text[at:i], string(quote))
		case c == '\\' && !verbatim:
			r, multibyte, tail, err := strconv.UnquoteChar(text[i:], quote)
			if err != nil {
				return token{}, 0, faultAt(text, i, text[i:min(i+2, len(text))], "")
			}
			if r < utf8.RuneSelf || !multibyte {
				b.WriteByte(byte(r))
			} else {
				b.WriteRune(r)
			}
			i = len(text) - len(tail) - 1
		default:
			b.WriteByte(c)
		}
	}
	return token{}, 0, faultAt(text, at, text[at:], string(quote))
}

// units of timespan literals.
var units = map[string]time.Duration{
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour, "h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"ms": time.Millisecond, "milli": time.Millisecond, "millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"microsecond": time.Microsecond, "microseconds": time.Microsecond, "tick": 100, "ticks": 100,
}

func scanNumber(text string, i int) (token, int, *Fault) {
	end := i
	for end < len(text) && (digit(text[end]) || text[end] == '.' && end+1 < len(text) && digit(text[end+1])) {
		end++
	}
	word := end
	for word < len(text) && (letter(text[word]) || digit(text[word]) || (text[word] == '-' || text[word] == '+') && (text[word-1] == 'e' || text[word-1] == 'E')) {
		word++
	}
	digits, suffix := text[i:end], text[end:word]
	t := token{kind: tNumber, text: text[i:word], at: i}
	if unit, ok := units[strings.ToLower(suffix)]; ok {
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil || f*float64(unit) > float64(1<<62) {
			return token{}, 0, faultAt(text, i, t.text, "")
		}
		t.value, t.typ = time.Duration(f*float64(unit)), Timespan
		return t, word, nil
	}
	if n, err := strconv.ParseInt(t.text, 0, 64); err == nil {
		t.value, t.typ = n, Long
		return t, word, nil
	}
	f, err := strconv.ParseFloat(t.text, 64)
	if err != nil {
		return token{}, 0, faultAt(text, i, t.text, "")
	}
	t.value, t.typ = f, Real
	return t, word, nil
}

func scanName(text string, i int) (token, int, *Fault) {
	end := i
	for end < len(text) && (letter(text[end]) || digit(text[end])) {
		end++
	}
	for _, h := range hyphenated {
		if len(text)-i >= len(h) && strings.EqualFold(text[i:i+len(h)], h) {
			return token{kind: tName, text: h, at: i}, i + len(h), nil
		}
	}
	word := text[i:end]
	if strings.EqualFold(word, "in") && end < len(text) && text[end] == '~' {
		return token{kind: tName, text: "in~", at: i}, end + 1, nil
	}
	if open := skip(text, end); open < len(text) && text[open] == '(' {
		if read, ok := literals[word]; ok {
			return scanLiteral(text, i, open+1, word, read)
		}
	}
	return token{kind: tName, text: word, at: i}, end, nil
}

// literals are the words whose brackets hold a value of their own form.
var literals = map[string]func(string) (any, Type, bool){
	"datetime": readDatetime, "date": readDatetime, "timespan": readTimespan, "time": readTimespan, "guid": readGUID, "dynamic": readDynamic,
}

// scanLiteral takes what is between the brackets; dynamic may have brackets and texts in it.
func scanLiteral(text string, at, from int, word string, read func(string) (any, Type, bool)) (token, int, *Fault) {
	depth := 0
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case c == '(':
			depth++
		case c == ')' && depth == 0:
			v, typ, ok := read(strings.TrimSpace(text[from:i]))
			if !ok {
				return token{}, 0, faultAt(text, from, text[from:i], "")
			}
			return token{kind: tLiteral, text: text[at : i+1], value: v, typ: typ, at: at}, i + 1, nil
		case c == ')':
			depth--
		case c == '"' || c == '\'':
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return token{}, 0, faultAt(text, at, word, ")")
}

// faultAt is a fault of syntax at an offset.
func faultAt(text string, at int, tok, expected string) *Fault {
	before := text[:min(at, len(text))]
	line := strings.Count(before, "\n")
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	if len(tok) > 100 {
		tok = tok[:100]
	}
	return &Fault{Kind: Syntax, Message: "ParserFailure", Line: line + 1, Column: column, Token: strings.ToValidUTF8(tok, "\ufffd"), Expected: expected}
}
