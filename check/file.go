// Package check is reach tests as code: a file says who must and who must not reach what; the answers of the
// model and of real packets are held against it, and come out as text, JUnit or SARIF. It is pure: the command
// brings file, region and packets together.
package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"vauban.dev/explain"
	"vauban.dev/fabric"
)

// Version of the file's format.
const Version = 1

// File is reach.yaml.
type File struct {
	Version int    `yaml:"version"`
	Tests   []Test `yaml:"tests"`
}

// Test says what must become of connections: each of From to each of To.
type Test struct {
	Name string `yaml:"name"`
	// From are places as `vauban explain --from` takes them; To are HOST:PORT, or HOST for ICMP.
	From     Strings `yaml:"from"`
	To       Strings `yaml:"to"`
	Protocol string  `yaml:"protocol"` // tcp, udp, icmp; "" is tcp
	As       string  `yaml:"as"`       // a principal, as `--as` takes it
	Expect   string  `yaml:"expect"`   // allow, deny
	// By is what must refuse: a rule's label (nsg-training/DenyInternet, fabric/no-route), a layer (name, network,
	// service, role), or words of the reason.
	By string `yaml:"by"`

	Line int `yaml:"-"` // in the file
}

// Strings is a text or a list of texts.
type Strings []string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (s *Strings) UnmarshalYAML(n ast.Node) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		list = &ast.SequenceNode{Values: []ast.Node{n}}
	}
	*s = nil
	for _, x := range list.Values {
		text, ok := x.(*ast.StringNode)
		if !ok {
			return fmt.Errorf("line %d: a text or a list of texts is expected", x.GetToken().Position.Line)
		}
		*s = append(*s, text.Value)
	}
	return nil
}

// maxFile bounds a file that is read.
const maxFile = 1 << 20

// Read reads a file and checks it. Errors name the line.
func Read(r io.Reader) (*File, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	var f File
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&f); errors.Is(err, io.EOF) {
		return nil, errors.New("line 1: it is empty")
	} else if err != nil {
		return nil, errors.New(plain(err))
	}
	lines := testLines(data)
	if f.Version != Version {
		return nil, fmt.Errorf("line 1: version: %d is written here", Version)
	}
	if len(f.Tests) == 0 {
		return nil, errors.New("line 1: there are no tests")
	}
	for i := range f.Tests {
		if i < len(lines) {
			f.Tests[i].Line = lines[i]
		}
		if err := f.Tests[i].check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", f.Tests[i].Line, err)
		}
	}
	return &f, nil
}

// plain is an error of the YAML library in one line: "line 3: unknown field …".
func plain(err error) string {
	text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if at, what, ok := strings.Cut(rest, "] "); ok {
			line, _, _ := strings.Cut(at, ":")
			return "line " + line + ": " + what
		}
	}
	return text
}

// testLines are the lines that the tests begin at.
func testLines(data []byte) (out []int) {
	f, err := parser.ParseBytes(data, 0)
	if err != nil || len(f.Docs) == 0 {
		return nil
	}
	root, ok := f.Docs[0].Body.(*ast.MappingNode)
	if !ok {
		return nil
	}
	for _, kv := range root.Values {
		list, ok := kv.Value.(*ast.SequenceNode)
		if !ok || kv.Key.GetToken().Value != "tests" {
			continue
		}
		for _, x := range list.Values {
			out = append(out, firstLine(x))
		}
	}
	return out
}

// firstLine of a node: the token of a mapping is its first colon's, whose key stands before it.
func firstLine(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken().Position.Line
	}
	return n.GetToken().Position.Line
}

func (t *Test) check() error {
	if t.Name == "" {
		t.Name = strings.Join(t.From, ", ") + " to " + strings.Join(t.To, ", ")
	}
	if len(t.From) == 0 || len(t.To) == 0 {
		return fmt.Errorf("test %q needs from and to", t.Name)
	}
	if t.Expect != "allow" && t.Expect != "deny" {
		return fmt.Errorf("test %q: expect: %q: allow or deny", t.Name, t.Expect)
	}
	if t.By != "" && t.Expect == "allow" {
		return fmt.Errorf("test %q: by goes with expect: deny", t.Name)
	}
	if t.Protocol == "" {
		t.Protocol = "tcp"
	}
	p, err := explain.ParseProtocol(t.Protocol)
	if err != nil {
		return fmt.Errorf("test %q: %w", t.Name, err)
	}
	for _, to := range t.To {
		if _, _, err := Endpoint(to, p); err != nil {
			return fmt.Errorf("test %q: %w", t.Name, err)
		}
	}
	for _, from := range t.From {
		if from != "internet" && !strings.HasPrefix(from, "node:") && !strings.HasPrefix(from, "nic:") && !strings.Contains(from, "/") {
			return fmt.Errorf("test %q: from: %q: internet, VNET/SUBNET, nic:NAME or node:NAME", t.Name, from)
		}
	}
	return nil
}

// Endpoint reads what a test's to says.
func Endpoint(to string, p fabric.Protocol) (host string, port uint16, err error) {
	if p == fabric.ICMP {
		if to == "" || strings.Contains(to, ":") {
			return "", 0, fmt.Errorf("to: %q: ICMP has no ports", to)
		}
		return to, 0, nil
	}
	host, text, err := net.SplitHostPort(to)
	n, convErr := strconv.ParseUint(text, 10, 16)
	if err != nil || convErr != nil || host == "" || n == 0 {
		return "", 0, fmt.Errorf("to: %q: write HOST:PORT", to)
	}
	return host, uint16(n), nil
}

// Case is one connection of a test.
type Case struct {
	*Test
	From, To string
}

// Cases are all connections of a file, in its order.
func (f *File) Cases() (out []Case) {
	for i := range f.Tests {
		for _, from := range f.Tests[i].From {
			for _, to := range f.Tests[i].To {
				out = append(out, Case{&f.Tests[i], from, to})
			}
		}
	}
	return slices.Clip(out)
}
