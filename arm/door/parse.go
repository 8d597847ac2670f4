package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"vauban.dev/arm"
	"vauban.dev/internal/httpx"
	"vauban.dev/internal/jsonc"
)

const (
	maxBody  = 4 << 20 // Azure Resource Manager's limit of a request
	maxDepth = 64
)

// parse reads the body of a write and makes sure that it is JSON that means one thing.
func (d *Door) parse(c *call) error {
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		return nil
	}
	data, err := httpx.ReadBody(c.w, c.r, maxBody)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return arm.Errorf(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request content size exceeds the maximum size of 4 MB.")
	}
	if err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read.")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := checkMediaType(c.r.Header.Get("Content-Type")); err != nil {
		return err
	}
	if c.target.Lenient {
		if data, err = jsonc.Standard(data); err != nil {
			return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s.'.", err)
		}
	}
	if err := checkJSON(data); err != nil {
		return err
	}
	c.req.Body = data
	return nil
}

// checkMediaType refuses what declares itself something else than JSON (415).
func checkMediaType(header string) error {
	if header == "" {
		return nil
	}
	t, _, err := mime.ParseMediaType(header)
	if err == nil && (t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json")) {
		return nil
	}
	return arm.Errorf(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The content media type '%s' is not supported. Only 'application/json' is supported.", clean(header))
}

// checkJSON refuses, with its position, JSON that does not parse, that is nested deeper than maxDepth, or that has
// a member twice in one object: whoever decides on such a body may read another member than who acts on it.
// At the top and in its members' objects names are compared without case, as Resource Manager reads them;
// deeper down names are the users' own (environment variables).
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return badJSON(data, invalidAt(data), "it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	s := scanner{data: data, dec: dec}
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) && s.complete {
			return nil
		}
		if err != nil {
			return s.syntax(err)
		}
		if err := s.token(t); err != nil {
			return err
		}
	}
}

// scanner follows the nesting of a token stream.
type scanner struct {
	data     []byte
	dec      *json.Decoder
	levels   []level
	complete bool // one value has been read
}

type level struct {
	names map[string]bool // of an object; nil for an array
	value bool            // a member's value is next
}

func (s *scanner) token(t json.Token) error {
	if s.complete {
		return badJSON(s.data, s.dec.InputOffset(), "there is more after the JSON value")
	}
	top := len(s.levels) - 1
	if top >= 0 && s.levels[top].names != nil && !s.levels[top].value {
		if name, ok := t.(string); ok {
			return s.member(name)
		}
	}
	switch t {
	case json.Delim('{'), json.Delim('['):
		if len(s.levels) == maxDepth {
			return badJSON(s.data, s.dec.InputOffset(), fmt.Sprintf("it is nested deeper than %d levels", maxDepth))
		}
		l := level{}
		if t == json.Delim('{') {
			l.names = map[string]bool{}
		}
		s.levels = append(s.levels, l)
		return nil
	case json.Delim('}'), json.Delim(']'):
		s.levels = s.levels[:top]
		top--
	}
	if top < 0 {
		s.complete = true
		return nil
	}
	s.levels[top].value = false
	return nil
}

func (s *scanner) member(name string) error {
	l := &s.levels[len(s.levels)-1]
	key := name
	if len(s.levels) <= 2 {
		key = strings.ToLower(name)
	}
	if l.names[key] {
		return badJSON(s.data, s.dec.InputOffset(), fmt.Sprintf("the member '%s' stands twice in one object", clean(name)))
	}
	l.names[key], l.value = true, true
	return nil
}

func (s *scanner) syntax(err error) error {
	at := s.dec.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = syntax.Offset
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badJSON(s.data, int64(len(s.data)), "unexpected end when reading JSON")
	}
	return badJSON(s.data, at, err.Error())
}

func badJSON(data []byte, at int64, why string) *arm.Error {
	head := data[:min(int(at), len(data))]
	line := 1 + bytes.Count(head, []byte("\n"))
	position := len(head) - (bytes.LastIndexByte(head, '\n') + 1)
	return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s, line %d, position %d.'.", why, line, position)
}

func invalidAt(data []byte) int64 {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return int64(i)
		}
		i += n
	}
	return int64(len(data))
}
