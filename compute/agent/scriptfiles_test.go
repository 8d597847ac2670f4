package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTailFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	f, err := newTailFile(name, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all strings.Builder
	for i := range 1000 {
		line := strings.Repeat(string(rune('a'+i%26)), i%17+1) + "\n"
		all.WriteString(line)
		if _, err := f.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 200 || !strings.HasSuffix(all.String(), string(b)) || len(b) < min(100, all.Len()) {
			t.Fatalf("%d bytes of %d: %q", len(b), all.Len(), b)
		}
	}
}

func TestLastLines(t *testing.T) {
	l := &lastLines{}
	for range 30 {
		_, _ = l.Write([]byte("x\n\n"))
	}
	_, _ = l.Write([]byte(strings.Repeat("y", 5000) + "\nla"))
	_, _ = l.Write([]byte("st"))
	got := l.lines()
	if len(got) != maxErrorLines || got[maxErrorLines-1] != "last" || len(got[maxErrorLines-2]) != maxErrorLine {
		t.Errorf("%d %q", len(got), got[len(got)-1])
	}
}

func TestScriptOutputs(t *testing.T) {
	dir := t.TempDir()
	work, err := openWork(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer work.close()
	if err := work.mkdir(scriptOutput); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, scriptOutput, scriptOutputs)
	for what, c := range map[string]struct {
		make func() error
		want string // "refused", or the outputs
	}{
		"none":    {func() error { return nil }, ""},
		"empty":   {func() error { return os.WriteFile(file, []byte(" \n"), 0o600) }, ""},
		"object":  {func() error { return os.WriteFile(file, []byte(`{"a": {"b": [1]}}`), 0o600) }, `{"a":{"b":[1]}}`},
		"array":   {func() error { return os.WriteFile(file, []byte(`[1]`), 0o600) }, "refused"},
		"null":    {func() error { return os.WriteFile(file, []byte(`null`), 0o600) }, "refused"},
		"no JSON": {func() error { return os.WriteFile(file, []byte(`{"a":`), 0o600) }, "refused"},
		"large":   {func() error { return os.WriteFile(file, make([]byte, maxScriptOutputs+1), 0o600) }, "refused"},
		"link":    {func() error { return os.Symlink("/etc/passwd", file) }, "refused"},
		"pipe":    {func() error { return unix.Mkfifo(file, 0o600) }, "refused"},
		"folder":  {func() error { return os.Mkdir(file, 0o700) }, "refused"},
	} {
		if err := c.make(); err != nil {
			t.Fatal(err)
		}
		got, err := readScriptOutputs(work)
		var e *scriptError
		if c.want == "refused" && (!errors.As(err, &e) || e.code != "DeploymentScriptInvalidOutputs") || c.want != "refused" && (err != nil || string(got) != c.want) {
			t.Errorf("%s: %s %v", what, got, err)
		}
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
	}
}
