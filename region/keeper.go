package region

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Keeper speaks to a region's holder, which keeps listening sockets while the server is away:
// connections wait in their queues and are served by the next server.
type Keeper struct{ dir string }

// Dial returns the keeper of the region at dir. Nothing is sent: a holder that is gone shows in the
// first call, as ErrNotRunning.
func Dial(dir string) *Keeper { return &Keeper{dir: dir} }

// Get returns a duplicate of the socket kept under name, for net.FileListener or net.FilePacketConn.
// An error that is fs.ErrNotExist says that none is.
func (k *Keeper) Get(ctx context.Context, name string) (*os.File, error) {
	files, err := k.call(ctx, methodGet, name, nil, nil)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		closeAll(files)
		return nil, fmt.Errorf("the holder answered with %d sockets", len(files))
	}
	return files[0], nil
}

// Put keeps a duplicate of the socket f under name, in the place of what was kept under it.
func (k *Keeper) Put(ctx context.Context, name string, f *os.File) error {
	_, err := k.call(ctx, methodPut, name, []*os.File{f}, nil)
	return err
}

// Drop forgets what is kept under name, if anything is. The socket closes when nobody else has it.
func (k *Keeper) Drop(ctx context.Context, name string) error {
	_, err := k.call(ctx, methodDrop, name, nil, nil)
	return err
}

// List returns the names that are kept, sorted.
func (k *Keeper) List(ctx context.Context) ([]string, error) {
	var out struct{ Names []string }
	_, err := k.call(ctx, methodList, "", nil, &out)
	return out.Names, err
}

// namespaces returns the user, pid, mount and network namespace of the region, in this order: the
// order to enter them in.
func (k *Keeper) namespaces(ctx context.Context) ([]*os.File, error) {
	files, err := k.call(ctx, methodNamespaces, "", nil, nil)
	if err == nil && len(files) != len(holderNamespaces) {
		closeAll(files)
		return nil, fmt.Errorf("the holder answered with %d namespaces", len(files))
	}
	return files, err
}

func (k *Keeper) call(ctx context.Context, method, name string, files []*os.File, result any) ([]*os.File, error) {
	got, err := callSocket(ctx, k.dir, holderSocket, method, keepParams{Name: name}, files, result)
	var refused *CallError
	if errors.As(err, &refused) && refused.Code == CodeNotFound {
		return nil, fmt.Errorf("%s: %w", refused.Message, fs.ErrNotExist)
	}
	return got, err
}

// Methods of the holder.
const (
	methodGet        = "get"
	methodPut        = "put"
	methodDrop       = "drop"
	methodList       = "list"
	methodNamespaces = "namespaces"
	methodEnd        = "end"
)

type keepParams struct {
	Name string `json:"name,omitempty"`
}

// Limits of what a holder keeps.
const (
	maxKept     = 8192 // with maxKeptName, a list fits into maxReply
	maxKeptName = 512
)

// fdStore is the holder's side of a Keeper.
type fdStore struct {
	mu    sync.Mutex
	files map[string]*os.File
}

func (s *fdStore) register(c *Control) {
	c.Handle(methodGet, s.get)
	c.Handle(methodPut, s.put)
	c.Handle(methodDrop, s.drop)
	c.Handle(methodList, s.list)
}

func (s *fdStore) get(_ context.Context, r Request) (Reply, error) {
	closeAll(r.Files)
	name, err := keptName(r)
	if err != nil {
		return Reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[name]
	if f == nil {
		return Reply{}, &CallError{Code: CodeNotFound, Message: fmt.Sprintf("no socket is kept as %q", name)}
	}
	dup, err := duplicate(f)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Files: []*os.File{dup}}, nil
}

func (s *fdStore) put(_ context.Context, r Request) (Reply, error) {
	name, err := keptName(r)
	if err == nil {
		err = oneSocket(r.Files)
	}
	if err != nil {
		closeAll(r.Files)
		return Reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.files[name]
	if old == nil && len(s.files) >= maxKept {
		closeAll(r.Files)
		return Reply{}, &CallError{Code: CodeBadRequest, Message: fmt.Sprintf("%d sockets are kept already", maxKept)}
	}
	if s.files == nil {
		s.files = map[string]*os.File{}
	}
	s.files[name] = r.Files[0]
	if old != nil {
		old.Close()
	}
	return Reply{}, nil
}

func (s *fdStore) drop(_ context.Context, r Request) (Reply, error) {
	closeAll(r.Files)
	name, err := keptName(r)
	if err != nil {
		return Reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[name]; f != nil {
		f.Close()
		delete(s.files, name)
	}
	return Reply{}, nil
}

func (s *fdStore) list(_ context.Context, r Request) (Reply, error) {
	closeAll(r.Files)
	s.mu.Lock()
	defer s.mu.Unlock()
	out := struct{ Names []string }{make([]string, 0, len(s.files))}
	for name := range s.files {
		out.Names = append(out.Names, name)
	}
	slices.Sort(out.Names)
	return Reply{Result: out}, nil
}

func keptName(r Request) (string, error) {
	var p keepParams
	if err := r.Decode(&p); err != nil {
		return "", err
	}
	if p.Name == "" || len(p.Name) > maxKeptName {
		return "", &CallError{Code: CodeBadRequest, Message: fmt.Sprintf("a name has 1 to %d bytes", maxKeptName)}
	}
	return p.Name, nil
}

func oneSocket(files []*os.File) error {
	if len(files) != 1 {
		return &CallError{Code: CodeBadRequest, Message: fmt.Sprintf("%d descriptors where one socket or device belongs", len(files))}
	}
	var st unix.Stat_t
	var statErr error
	err := withDescriptors(files, func(fds []int) { statErr = unix.Fstat(fds[0], &st) })
	if err = errors.Join(err, statErr); err != nil {
		return err
	}
	tun := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(tunMajor, tunMinor)
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK && !tun {
		return &CallError{Code: CodeBadRequest, Message: "only sockets and TUN devices are kept"}
	}
	return nil
}

// The number of /dev/net/tun (admin-guide/devices.txt).
const tunMajor, tunMinor = 10, 200

func duplicate(f *os.File) (*os.File, error) {
	n := -1
	var dupErr error
	err := withDescriptors([]*os.File{f}, func(fds []int) { n, dupErr = unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), f.Name()), nil
}
