package agent

import (
	"bytes"
	"os"
	"strings"
	"sync"
)

// tailFile is a file that keeps at least the last max bytes of what is written to it and never grows over twice of
// that, whatever a program prints.
type tailFile struct {
	mu   sync.Mutex
	f    *os.File
	size int64
	max  int64
}

func newTailFile(name string, max int64) (*tailFile, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &tailFile{f: f, max: max}, nil
}

func (t *tailFile) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size+int64(len(b)) > 2*t.max {
		if err := t.cut(); err != nil {
			return 0, err
		}
	}
	n, err := t.f.WriteAt(b, t.size)
	t.size += int64(n)
	return n, err
}

// cut leaves the last max bytes.
func (t *tailFile) cut() error {
	keep := make([]byte, min(t.max, t.size))
	if _, err := t.f.ReadAt(keep, t.size-int64(len(keep))); err != nil {
		return err
	}
	if err := t.f.Truncate(0); err != nil {
		return err
	}
	t.size = int64(len(keep))
	_, err := t.f.WriteAt(keep, 0)
	return err
}

func (t *tailFile) Close() error { return t.f.Close() }

// lastLines keeps the last lines that are written to it, each of them short.
type lastLines struct {
	full    []string
	partial []byte
}

const maxErrorLine = 2000

func (l *lastLines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		l.partial = append(l.partial, line[:min(len(line), max(0, maxErrorLine-len(l.partial)))]...)
		if ended {
			l.end()
		}
		b = rest
	}
	return n, nil
}

func (l *lastLines) end() {
	if text := strings.TrimSpace(strings.ToValidUTF8(string(l.partial), "?")); text != "" {
		if l.full = append(l.full, text); len(l.full) > maxErrorLines {
			l.full = l.full[1:]
		}
	}
	l.partial = l.partial[:0]
}

func (l *lastLines) lines() []string {
	l.end()
	return l.full
}
