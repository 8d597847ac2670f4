// Package conformance replays what clients of Azure sent and compares the answers of a region with Azure's: status,
// headers, the tree of keys and types, the values that the request had chosen, error codes, the spelling of words.
// It knows of a region nothing but its REST interface.
package conformance

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Case is one request that Azure answered.
type Case struct {
	// Scenario is what must be played in order against the same state: a recorded test, or an example alone.
	Scenario string
	// Recorded tells a recording of an SDK's tests, whose status and headers are Azure's, from an example of a REST
	// specification, which stands alone and takes for granted what it speaks of.
	Recorded bool
	Method   string
	Host     string
	Path     string // with the query
	Request  any
	Status   int // of a recording
	Headers  []string
	Links    map[string]string // of a recording: where its client was told to ask on, by header
	Response any
	Waits    bool // a client asked again until Azure was done; what is expected is the answer that ended its waiting
}

// line is a case as the files have it: in lower case the recordings, the others the examples.
type line struct {
	Src     string
	N       int
	URI     string
	Status  int
	Headers map[string]string
	Poll    bool

	ID, Path, Query   string
	Method            string
	Request, Response any
}

// Load reads the cases of a folder, files ending in .jsonl or .jsonl.gz, in their order. Polls of asynchronous
// operations are left out: who replays follows the region's own.
func Load(dir string) (cases []Case, err error) {
	var files []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.HasSuffix(path, ".jsonl") || strings.HasSuffix(path, ".jsonl.gz")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		some, err := loadFile(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		cases = append(cases, some...)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%s has no cases: files *.jsonl or *.jsonl.gz, a JSON object a line", dir)
	}
	return cases, nil
}

func loadFile(path string) (cases []Case, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	var lines []line
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		lines = append(lines, l)
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		if a.Src == b.Src {
			return cmp.Compare(a.N, b.N)
		}
		return cmp.Compare(a.Src, b.Src)
	})
	for _, l := range lines {
		if l.Poll {
			continue
		}
		c, err := l.read()
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	waiting(cases)
	return cases, in.Err()
}

// waiting finds the GETs of a recording that its client sent again at once: it waited for Azure to become ready, as for
// a deleted secret to be seen among the deleted ones. A region is ready at once, so each is held against the answer
// that ended the wait. They stay cases: none is left out.
func waiting(cases []Case) {
	for i := len(cases) - 2; i >= 0; i-- {
		c, next := &cases[i], cases[i+1]
		if c.Recorded && c.Method == http.MethodGet && next.Method == http.MethodGet && c.Scenario == next.Scenario && c.Host == next.Host && c.Path == next.Path && c.Status != next.Status {
			c.Status, c.Headers, c.Response, c.Waits = next.Status, next.Headers, next.Response, true
		}
	}
}

// anyScope stands in examples of what is at any scope.
var anyScope = regexp.MustCompile(`(?i)^/\{?(scope|resourceUri|resourceId)\}?/`)

func (l line) read() (Case, error) {
	c := Case{Method: l.Method, Request: unquote(l.Request), Response: l.Response}
	if l.URI == "" {
		c.Scenario, c.Host, c.Path = l.ID, managementHost, anyScope.ReplaceAllString(l.Path, "/subscriptions/scope/")+"?"+l.Query
		c.agree()
		return c, nil
	}
	u, err := url.Parse(l.URI)
	if err != nil {
		return c, err
	}
	c.Scenario, c.Recorded, c.Status, c.Host, c.Path = l.Src, true, l.Status, u.Host, u.RequestURI()
	c.Links = map[string]string{}
	for name, v := range l.Headers {
		if strings.HasPrefix(v, "https://") {
			c.Links[name] = v
		}
		if name = strings.ToLower(name); name != "content-type" || l.Response != nil {
			c.Headers = append(c.Headers, name)
		}
	}
	slices.Sort(c.Headers)
	return c, nil
}

// unquote reads a body that was recorded as the text of a Python value: bytes, which were written down as such several
// times over.
func unquote(body any) any {
	text, ok := body.(string)
	if !ok || !strings.HasPrefix(text, "b'") {
		return body
	}
	for len(text) > 2 && text[0] == 'b' && (text[1] == '\'' || text[1] == '"') && text[len(text)-1] == text[1] {
		text = unescape(text[2 : len(text)-1])
	}
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return body
	}
	return v
}

// unescape reads what stands between the quotes of Python's bytes.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		i++
		switch c := text[i]; c {
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 't':
			out.WriteByte('\t')
		case 'x':
			if b, err := strconv.ParseUint(text[i+1:min(i+3, len(text))], 16, 8); err == nil {
				out.WriteByte(byte(b))
				i += 2
				continue
			}
			out.WriteString(`\x`)
		case '\\', '\'', '"':
			out.WriteByte(c)
		default:
			out.WriteByte('\\')
			out.WriteByte(c)
		}
	}
	return out.String()
}

// Type is what the case is of: Microsoft.Network/virtualNetworks/subnets, and for an operation that is on no resource
// the words of its path. Names in between are left out.
func (c Case) Type() string {
	if c.Host != managementHost {
		return "data plane " + c.Host[strings.Index(c.Host, ".")+1:]
	}
	path, _, _ := strings.Cut(c.Path, "?")
	i := strings.LastIndex(strings.ToLower(path), "/providers/")
	if i < 0 {
		return "Resource Manager " + strings.Join(words(strings.Split(strings.Trim(path, "/"), "/"), 0), "/")
	}
	parts := strings.Split(path[i+len("/providers/"):], "/")
	return strings.Join(append(parts[:1:1], words(parts[1:], 0)...), "/")
}

// words are every second segment.
func words(segments []string, from int) (out []string) {
	for i := from; i < len(segments); i += 2 {
		out = append(out, segments[i])
	}
	return out
}
