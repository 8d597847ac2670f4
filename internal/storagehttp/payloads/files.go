// Package payloads keeps the sealed bytes of a storage service in files: whole and on disk before a document names them,
// gone after the last document that named them, and never under a reader.
package payloads

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"vauban.dev/seal"
)

// Files keeps sealed payloads, a file each, named by a random reference: dir/account/xx/ref. A file is whole
// and on disk before the document that names it is committed, and is removed after the commit that lets go
// of it; what a crash leaves in between is swept. Safe for use by many goroutines.
type Files struct {
	service string // what payloads are bound to, with account and reference
	dir     string
	boot    string // the first 8 digits of the references made by this process

	mu    sync.Mutex
	known map[string]bool     // directories that exist and are on disk
	pins  map[string]int      // readers per blob key
	later map[string][]string // paths to remove when the readers of a blob key are gone

	// Payloads that several blobs named may be read under another key than that of the last to let go of them: they wait for
	// all readers who were there. Readers have numbers that rise.
	readers map[int64]bool
	last    int64
	waiting []waitingPath
}

// waitingPath is a file to remove when no reader up to the number is left.
type waitingPath struct {
	path   string
	reader int64
}

// New keeps the payloads of a service (blob, file) below dir.
func New(service, dir string) *Files {
	var b [4]byte
	rand.Read(b[:])
	return &Files{service: service, dir: dir, boot: hex.EncodeToString(b[:]), known: map[string]bool{}, pins: map[string]int{}, later: map[string][]string{}, readers: map[int64]bool{}}
}

// Binding is what the payload is sealed to.
func (f *Files) Binding(account, ref string) string { return f.service + "/" + account + "/" + ref }

// Ref makes a new reference.
func (f *Files) Ref() string {
	var b [12]byte
	rand.Read(b[:])
	return f.boot + hex.EncodeToString(b[:])
}

// Path is where a payload is.
func (f *Files) Path(account, ref string) string {
	return filepath.Join(f.dir, account, ref[len(ref)-2:], ref)
}

// Create seals what is read from r into a new file and returns its size, on disk.
func (f *Files) Create(account, ref string, k *seal.Key, r io.Reader) (n int64, err error) {
	path := f.Path(account, ref)
	if err := f.makeDir(account, filepath.Dir(path)); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	w, err := seal.NewWriter(file, k, f.Binding(account, ref))
	if err != nil {
		return 0, err
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	n, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
	if closed := w.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return n, err
	}
	if err = file.Sync(); err != nil {
		return n, err
	}
	return n, syncDir(filepath.Dir(path))
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func (f *Files) makeDir(account, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known[dir] {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := errors.Join(syncDir(filepath.Join(f.dir, account)), syncDir(f.dir)); err != nil {
		return err
	}
	f.known[dir] = true
	return nil
}

// RemoveAccount removes all files of an account.
func (f *Files) RemoveAccount(account string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	root := filepath.Join(f.dir, account)
	for dir := range f.known {
		if filepath.Dir(dir) == root {
			delete(f.known, dir)
		}
	}
	return os.RemoveAll(root)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open returns the plaintext of a payload of size bytes; the caller closes the file.
func (f *Files) Open(account, ref string, size int64, k *seal.Key) (*os.File, *seal.Reader, error) {
	file, err := os.Open(f.Path(account, ref))
	if err != nil {
		return nil, nil, err
	}
	r, err := seal.NewReader(file, seal.SealedSize(size), k, f.Binding(account, ref))
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, r, nil
}

// Pin keeps the files of what has the key (a blob, a file) until Unpin. Readers pin before they read its document.
func (f *Files) Pin(key string) (reader int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pins[key]++
	f.last++
	f.readers[f.last] = true
	return f.last
}

// Unpin ends what Pin began.
func (f *Files) Unpin(key string, reader int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.readers, reader)
	f.removeWaiting()
	if f.pins[key]--; f.pins[key] > 0 {
		return
	}
	delete(f.pins, key)
	for _, path := range f.later[key] {
		_ = os.Remove(path) // what stays is swept at the next start
	}
	delete(f.later, key)
}

// RemoveShared removes payloads that no document names any more, and that several blobs have named.
func (f *Files) RemoveShared(account string, refs []string) {
	if len(refs) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range refs {
		f.waiting = append(f.waiting, waitingPath{f.Path(account, ref), f.last})
	}
	f.removeWaiting()
}

// removeWaiting removes what no reader waits for; f.mu is held.
func (f *Files) removeWaiting() {
	if len(f.waiting) == 0 {
		return
	}
	oldest := f.last + 1
	for r := range f.readers {
		oldest = min(oldest, r)
	}
	n := 0
	for n < len(f.waiting) && f.waiting[n].reader < oldest {
		_ = os.Remove(f.waiting[n].path)
		n++
	}
	f.waiting = f.waiting[n:]
}

// Remove removes payloads that no document names any more; those that readers of the key may still need go when these
// are done.
func (f *Files) Remove(account, key string, refs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ref := range refs {
		path := f.Path(account, ref)
		if f.pins[key] > 0 {
			f.later[key] = append(f.later[key], path)
			continue
		}
		_ = os.Remove(path)
	}
}

// Orphans removes the payloads of earlier processes that are not live.
func (f *Files) Orphans(ctx context.Context, live func(account, ref string) bool) (removed int, err error) {
	err = filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(f.dir, path)
		if err != nil {
			return err
		}
		account, _, _ := strings.Cut(rel, string(filepath.Separator))
		if strings.HasPrefix(d.Name(), f.boot) || live(account, d.Name()) {
			return nil
		}
		removed++
		return os.Remove(path)
	})
	return removed, err
}
