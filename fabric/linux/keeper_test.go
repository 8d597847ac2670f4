package linux

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// memoryKeeper keeps duplicates of descriptors in this process, as the holder does in its own.
type memoryKeeper struct {
	mu   sync.Mutex
	kept map[string]int
}

func newMemoryKeeper() *memoryKeeper { return &memoryKeeper{kept: map[string]int{}} }

func (k *memoryKeeper) Get(_ context.Context, name string) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, ok := k.kept[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	dup, err := unix.Dup(fd)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), name), nil
}

func (k *memoryKeeper) Put(_ context.Context, name string, f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	dup, err := unix.Dup(int(f.Fd()))
	if err != nil {
		return err
	}
	k.kept[name] = dup
	return nil
}

func (k *memoryKeeper) Drop(_ context.Context, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, ok := k.kept[name]
	if !ok {
		return fs.ErrNotExist
	}
	delete(k.kept, name)
	return unix.Close(fd)
}

func (k *memoryKeeper) List(context.Context) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.kept)), nil
}
