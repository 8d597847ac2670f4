package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/*.txtar, each on a data directory of its own. Beside testscript's commands:
//
//	region [FLAG]…           vauban up -d, then $GROUP and the like are set (see names)
//	network                  both virtual networks with their rules
//	call [-from PLACE] [-type TYPE] [-size BYTES] STATUS CODE METHOD URL [BODY]
//	                         one request; CODE is Azure's error code, or - for an answer that is no error
//	put URL BODY             a PUT that succeeds, and the end of its operation
//	says PATTERN             the last answer's message, or body, matches
//
// A body is JSON; @FILE reads it from a file. -size makes it that long.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:             "testdata",
		ContinueOnError: true,
		Setup:           setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"region": scriptRegion, "network": scriptNetwork, "call": scriptCall, "put": scriptPut, "says": scriptSays,
		},
	})
}

// scriptT is a testing.TB for what the harness does in a script.
type scriptT struct {
	testing.TB
	ts *testscript.TestScript
}

func (s scriptT) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }
func (s scriptT) Fatal(args ...any)                 { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptT) Helper()                           {}
func (s scriptT) Context() context.Context          { return context.Background() }

// script is what the commands of one script share.
type script struct {
	*ground
	last *answer
}

type scriptKey struct{}

func setupScript(env *testscript.Env) error {
	base, err := os.MkdirTemp("", "ve-")
	if err != nil {
		return err
	}
	s := &script{ground: &ground{dir: filepath.Join(base, "d"), exe: filepath.Join(bin, "vauban")}}
	env.Values[scriptKey{}] = s
	env.Setenv("VAUBAN_DATA", s.dir)
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	env.Defer(func() {
		if out, err := s.down(); err != nil {
			fmt.Fprintf(os.Stderr, "vauban down: %v\n%s", err, out)
		}
		os.RemoveAll(base)
	})
	return nil
}

func of(ts *testscript.TestScript) *script {
	s := ts.Value(scriptKey{}).(*script)
	s.t = scriptT{ts: ts}
	return s
}

func scriptRegion(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	s.up(args...)
	w := s.names()
	for k, v := range map[string]string{
		"SUB": s.sub, "PARTNER": s.partner, "TENANT": s.tenant, "GROUP": w.group, "VNET": w.vnet, "NETWORK": w.group + "/providers/Microsoft.Network",
		"STORAGE": w.group + "/providers/Microsoft.Storage/storageAccounts", "VAULTS": w.group + "/providers/Microsoft.KeyVault/vaults",
		"ML": w.group + "/providers/Microsoft.MachineLearningServices/workspaces", "V": "api-version=" + vNetwork, "VR": "api-version=" + vResources, "VS": "api-version=" + vStorage,
		"VV": "api-version=" + vVault, "VM": "api-version=" + vML,
	} {
		ts.Setenv(k, v)
	}
}

func scriptNetwork(ts *testscript.TestScript, _ bool, _ []string) { of(ts).network() }

func scriptCall(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	from, contentType, size := "", "", int64(0)
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-from":
			from = args[1]
		case "-type":
			contentType = args[1]
		case "-size":
			var err error
			size, err = strconv.ParseInt(args[1], 10, 64)
			ts.Check(err)
		default:
			ts.Fatalf("call: unknown flag %s", args[0])
		}
		args = args[2:]
	}
	if neg || len(args) < 4 || len(args) > 5 {
		ts.Fatalf("usage: call [-from PLACE] [-type TYPE] [-size BYTES] STATUS CODE METHOD URL [BODY]")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	r := request{Method: args[2], URL: args[3], Header: http.Header{}}
	text := ""
	if len(args) == 5 {
		text = args[4]
		if file, ok := strings.CutPrefix(text, "@"); ok {
			text = ts.ReadFile(file)
		}
		r.Body = strings.NewReader(text)
	}
	if size > 0 {
		r.Body = io.MultiReader(strings.NewReader(`{"x":"`), io.LimitReader(letters{}, size), strings.NewReader(`"}`))
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if from == "" {
		s.last, err = s.do(context.Background(), r)
	} else {
		s.last, err = s.sendFrom(from, r.Method, r.URL, text)
	}
	ts.Check(err)
	ts.Logf("%s", s.last)
	code := strings.Replace(args[1], "-", "", 1)
	if s.last.Status != status || s.last.Code != code && s.last.Inner != code {
		ts.Fatalf("answer %s, want %d %s", s.last, status, code)
	}
}

func scriptPut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: put URL BODY")
	}
	s := of(ts)
	id, version, _ := strings.Cut(args[0], "?api-version=")
	s.put(id, version, json.RawMessage(args[1]))
}

func scriptSays(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	if s.last == nil || len(args) != 1 {
		ts.Fatalf("usage: says PATTERN, after a call")
	}
	text := s.last.Message
	if s.last.ok() {
		text = string(s.last.Body)
	}
	if re, err := regexp.Compile(args[0]); err != nil || re.MatchString(text) == neg {
		ts.Fatalf("%q: %v in: %s", args[0], err, text)
	}
}

// letters never ends.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}
