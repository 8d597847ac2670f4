package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"
	"vauban.dev/compute"
)

const (
	transfers = 4 // at a time
	attempts  = 4
)

// workDir is a task's /work, of which the content is the task's: everything in it is reached through an
// os.Root, so that no link leads out of it.
type workDir struct {
	root  *os.Root
	owner int // of what is downloaded, for the container's root; 0 leaves it
}

func openWork(dir string, owner int) (*workDir, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &workDir{r, owner}, nil
}

func (w *workDir) close() { _ = w.root.Close() }

// mkdir makes a directory with its parents and gives each to the owner.
func (w *workDir) mkdir(dir string) error {
	for i := range len(dir) + 1 {
		if i < len(dir) && dir[i] != '/' || i == 0 {
			continue
		}
		if err := w.root.Mkdir(dir[:i], 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		} else if err == nil {
			if err := w.chown(dir[:i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *workDir) chown(name string) error {
	if w.owner == 0 {
		return nil
	}
	return w.root.Lchown(name, w.owner, w.owner)
}

// write makes a file from r.
func (w *workDir) write(name string, r io.Reader) error {
	if dir := path.Dir(name); dir != "." {
		if err := w.mkdir(dir); err != nil {
			return err
		}
	}
	f, err := w.root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close(), w.chown(name))
}

// download is one blob and where it goes in /work.
type download struct{ url, name string }

// plan lists what a task needs: code and inputs, folders resolved to their blobs.
func plan(ctx context.Context, b *blobs, t *compute.Task) ([]download, error) {
	var out []download
	add := func(f compute.File, dir string) error {
		if !f.Folder {
			name := f.Path
			if name == "" {
				name = lastSegment(f.URL)
			}
			if !safePath(name) {
				return fmt.Errorf("%q is no path for a file", name)
			}
			out = append(out, download{f.URL, path.Join(dir, name)})
			return nil
		}
		var names []string
		err := retry(ctx, func() (err error) { names, err = b.list(ctx, f.URL); return })
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return fmt.Errorf("%s: there is no blob below it", place(f.URL))
		}
		for _, n := range names {
			u, err := below(f.URL, n)
			if err != nil {
				return err
			}
			out = append(out, download{u, path.Join(dir, f.Path, n)})
		}
		return nil
	}
	for _, f := range t.Code {
		if err := add(f, inWork(compute.CodePath)); err != nil {
			return nil, fmt.Errorf("code: %w", err)
		}
	}
	for _, in := range t.Inputs {
		if err := add(in.File, path.Join(inWork(compute.InputsPath), in.Name)); err != nil {
			return nil, fmt.Errorf("input %q: %w", in.Name, err)
		}
	}
	return out, nil
}

// lastSegment of a URL's path, decoded.
func lastSegment(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// inWork is a path of the container below /work, relative to it.
func inWork(p string) string { return strings.TrimPrefix(p, compute.WorkPath+"/") }

// fetch downloads all, some at a time.
func fetch(ctx context.Context, b *blobs, w *workDir, all []download) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	for _, d := range all {
		g.Go(func() error {
			return retry(ctx, func() error {
				body, err := b.get(ctx, d.url)
				if err != nil {
					return err
				}
				defer body.Close()
				return w.write(d.name, body)
			})
		})
	}
	return g.Wait()
}

// retry tries again what may pass.
func retry(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil || lasting(err) || n+1 == attempts {
			return err
		}
		if pause(ctx, backoff(n)) != nil {
			return err
		}
	}
}

// upload writes the regular files of an output's directory below its URL. Symbolic links and special files
// are left out. A directory that is not there has no files.
func upload(ctx context.Context, b *blobs, w *workDir, o compute.Output) (files int, err error) {
	dir := path.Join(inWork(compute.OutputsPath), o.Name)
	if o.Dir != "" {
		dir = path.Join(inWork(compute.CodePath), o.Dir)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	err = fs.WalkDir(w.root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case name == dir && errors.Is(err, fs.ErrNotExist):
			return fs.SkipAll
		case err != nil:
			return err
		case !e.Type().IsRegular():
			return ctx.Err()
		}
		u, err := below(o.URL, strings.TrimPrefix(name, dir+"/"))
		if err != nil {
			return err
		}
		files++
		g.Go(func() error { return retry(ctx, func() error { return uploadFile(ctx, b, w.root, name, u) }) })
		return ctx.Err()
	})
	if werr := g.Wait(); werr != nil { // first: its failure is why the walk was ended
		return files, werr
	}
	return files, err
}

// uploadFile writes one file as a block blob.
func uploadFile(ctx context.Context, b *blobs, root *os.Root, name, u string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() <= blockSize {
		return b.put(ctx, u, io.NewSectionReader(f, 0, fi.Size()), fi.Size())
	}
	var ids []string
	for at := int64(0); at < fi.Size(); at += blockSize {
		n := min(blockSize, fi.Size()-at)
		id := blockID(at)
		if err := b.putBlock(ctx, u, id, io.NewSectionReader(f, at, n), n); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return b.putBlockList(ctx, u, "application/octet-stream", ids)
}

// blockID names a block by its place in the blob.
func blockID(at int64) string { return fmt.Sprintf("%020d", at) }
