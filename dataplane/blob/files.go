package blob

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"vauban.dev/seal"
	"vauban.dev/store"
)

// inlineMax is the largest payload, in bytes, that is kept in the store instead of a file: one commit makes
// it durable, and commits of many callers share one fsync.
const inlineMax = 32 << 10

// files keeps sealed payloads, a file each, named by a random reference: dir/account/xx/ref. A file is whole
// and on disk before the document that names it is committed, and is removed after the commit that lets go
// of it; what a crash leaves in between is swept.
type files struct {
	dir  string
	boot string // the first 8 digits of the references made by this process

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

func newFiles(dir string) *files {
	var b [4]byte
	rand.Read(b[:])
	return &files{dir: dir, boot: hex.EncodeToString(b[:]), known: map[string]bool{}, pins: map[string]int{}, later: map[string][]string{}, readers: map[int64]bool{}}
}

// ref makes a new reference.
func (f *files) ref() string {
	var b [12]byte
	rand.Read(b[:])
	return f.boot + hex.EncodeToString(b[:])
}

func (f *files) path(account, ref string) string {
	return filepath.Join(f.dir, account, ref[len(ref)-2:], ref)
}

// create seals what is read from r into a new file and returns its size, on disk.
func (f *files) create(account, ref string, k *seal.Key, r io.Reader) (n int64, err error) {
	path := f.path(account, ref)
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
	w, err := seal.NewWriter(file, k, binding(account, ref))
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

func (f *files) makeDir(account, dir string) error {
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

// removeAccount removes all files of an account.
func (f *files) removeAccount(account string) error {
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

// open returns the plaintext of a payload; the caller closes the file.
func (f *files) open(account string, p part, k *seal.Key) (*os.File, *seal.Reader, error) {
	file, err := os.Open(f.path(account, p.Ref))
	if err != nil {
		return nil, nil, err
	}
	r, err := seal.NewReader(file, seal.SealedSize(p.plain()), k, binding(account, p.Ref))
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, r, nil
}

// pin keeps the files of a blob until unpin. Readers pin before they read the blob's document.
func (f *files) pin(key string) (reader int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pins[key]++
	f.last++
	f.readers[f.last] = true
	return f.last
}

func (f *files) unpin(key string, reader int64) {
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

// removeShared removes the files of parts that no document names any more, and that several blobs have named.
func (f *files) removeShared(account string, parts []part) {
	if len(parts) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range parts {
		f.waiting = append(f.waiting, waitingPath{f.path(account, p.Ref), f.last})
	}
	f.removeWaiting()
}

// removeWaiting removes what no reader waits for; f.mu is held.
func (f *files) removeWaiting() {
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

// remove removes the files of parts that no document names any more; files that readers of the blob may
// still need go when these are done.
func (f *files) remove(account, key string, parts []part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range parts {
		if p.Inline || p.Ref == "" {
			continue
		}
		path := f.path(account, p.Ref)
		if f.pins[key] > 0 {
			f.later[key] = append(f.later[key], path)
			continue
		}
		_ = os.Remove(path)
	}
}

// orphans calls yield with every payload of earlier processes until it returns false.
func (f *files) orphans(ctx context.Context, live func(account, ref string) bool) (removed int, err error) {
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

// payload is a body on its way into a blob: in a file already, or sealed and waiting for the commit.
type payload struct {
	part
	sealed []byte // Inline
}

// write keeps a body. Small ones are sealed in memory, for the document store, when inline; others go to a
// file, which is on disk when write returns. An empty body is no payload at all: Ref is "".
func (s *Service) write(ctx context.Context, account string, with customerKey, body io.Reader, inline bool) (payload, error) {
	k, err := s.sealingKey(ctx, account, with)
	if err != nil {
		return payload{}, err
	}
	br := bufio.NewReaderSize(body, inlineMax+1)
	head, err := br.Peek(inlineMax + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return payload{}, err
	}
	if len(head) == 0 {
		return payload{}, nil
	}
	ref := s.files.ref()
	if inline && len(head) <= inlineMax {
		sealed, err := k.Seal(make([]byte, 0, seal.SealedSize(int64(len(head)))), head, binding(account, ref))
		return payload{part: part{Ref: ref, Size: int64(len(head)), Inline: true}, sealed: sealed}, err
	}
	n, err := s.files.create(account, ref, k, br)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return payload{part: part{Ref: ref, Size: n}}, err
}

// discard removes the file of a payload that no commit took.
func (s *Service) discard(account string, p payload) { s.files.remove(account, "", []part{p.part}) }
