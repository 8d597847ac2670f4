// Package jsonc turns the JSON that Azure Resource Manager accepts of templates into JSON: comments, trailing commas,
// names without quotes, text in single quotes and over several lines (az sends all of these as they are in the
// file: "JSON with comments" of the template syntax). No library reads them all.
package jsonc

import (
	"errors"
	"fmt"
)

// Standard returns data as JSON. What is wrong for other reasons stays wrong: the reader of the result says so.
// Text without any of these liberties comes back as it is. The error is for a comment or a text without an end.
func Standard(data []byte) ([]byte, error) {
	s := scanner{in: data, out: make([]byte, 0, len(data)+64), comma: -1}
	for s.at < len(s.in) {
		if err := s.step(); err != nil {
			return nil, fmt.Errorf("%w, at byte %d", err, s.at)
		}
	}
	return s.out, nil
}

type scanner struct {
	in, out []byte
	at      int
	comma   int // where in out the last comma is, if nothing but space follows it; -1 otherwise
}

var (
	errComment = errors.New("a comment has no end")
	errText    = errors.New("a text has no closing quote")
)

func (s *scanner) step() error {
	c := s.in[s.at]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		s.out = append(s.out, c)
		s.at++
		return nil
	case c == '/' && s.at+1 < len(s.in) && (s.in[s.at+1] == '/' || s.in[s.at+1] == '*'):
		return s.comment()
	case c == ',':
		s.comma = len(s.out)
	case c == '}' || c == ']':
		if s.comma >= 0 {
			s.out[s.comma] = ' '
		}
		s.comma = -1
	case c == '"' || c == '\'':
		s.comma = -1
		return s.text(c)
	case letter(c):
		s.comma = -1
		s.word()
		return nil
	default:
		s.comma = -1
	}
	s.out = append(s.out, c)
	s.at++
	return nil
}

// comment leaves lines where they are, for positions in messages.
func (s *scanner) comment() error {
	line := s.in[s.at+1] == '/'
	for s.at += 2; s.at < len(s.in); s.at++ {
		c := s.in[s.at]
		if c == '\n' {
			if line {
				return nil
			}
			s.out = append(s.out, c)
		}
		if !line && c == '*' && s.at+1 < len(s.in) && s.in[s.at+1] == '/' {
			s.at += 2
			s.out = append(s.out, ' ')
			return nil
		}
	}
	if line {
		return nil
	}
	return errComment
}

func (s *scanner) text(quote byte) error {
	s.out = append(s.out, '"')
	for s.at++; s.at < len(s.in); s.at++ {
		switch c := s.in[s.at]; {
		case c == quote:
			s.out = append(s.out, '"')
			s.at++
			return nil
		case c == '\\' && s.at+1 < len(s.in):
			s.at++
			if s.in[s.at] == '\'' {
				s.out = append(s.out, '\'')
				continue
			}
			s.out = append(s.out, c, s.in[s.at])
		case c == '"':
			s.out = append(s.out, '\\', '"')
		case c < ' ':
			s.out = append(s.out, control(c)...)
		default:
			s.out = append(s.out, c)
		}
	}
	return errText
}

// control writes a control character that stands bare in a text.
func control(c byte) string {
	switch c {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	return fmt.Sprintf(`\u%04x`, c)
}

func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}

// word is true, false, null, or a name without quotes: one that a colon follows.
func (s *scanner) word() {
	start := s.at
	for s.at < len(s.in) && (letter(s.in[s.at]) || s.in[s.at] >= '0' && s.in[s.at] <= '9') {
		s.at++
	}
	i := s.at
	for i < len(s.in) && (s.in[i] == ' ' || s.in[i] == '\t' || s.in[i] == '\n' || s.in[i] == '\r') {
		i++
	}
	w := s.in[start:s.at]
	if i < len(s.in) && s.in[i] == ':' {
		s.out = append(s.out, '"')
		s.out = append(s.out, w...)
		s.out = append(s.out, '"')
		return
	}
	s.out = append(s.out, w...)
}
