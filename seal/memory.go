package seal

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// secrets is memory for data keys: pages of their own that are neither swapped out nor in a core dump, where the system allows it (the
// lock has a limit, RLIMIT_MEMLOCK), and that Go's collector does not copy.
var secrets struct {
	sync.Mutex
	free [][]byte // of KeySize bytes, all zero
}

// NoCoreDumps has the process, and what it starts, leave no core file, in which keys would be.
func NoCoreDumps() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Cur = 0
	return unix.Setrlimit(unix.RLIMIT_CORE, &limit)
}

// keep moves a secret of KeySize bytes into such memory for as long as k lives, or is not forgotten. What it was in is overwritten.
func (k *Key) keep(secret []byte) {
	k.secret = newSecret()
	copy(k.secret, secret)
	clear(secret)
	k.cleanup = runtime.AddCleanup(k, dropSecret, k.secret)
}

func newSecret() []byte {
	secrets.Lock()
	defer secrets.Unlock()
	if len(secrets.free) == 0 {
		page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			page = make([]byte, unix.Getpagesize()) // what is left is the heap
		} else {
			_ = unix.Madvise(page, unix.MADV_DONTDUMP)
			_ = unix.Mlock(page)
		}
		for ; len(page) >= KeySize; page = page[KeySize:] {
			secrets.free = append(secrets.free, page[:KeySize:KeySize])
		}
	}
	last := len(secrets.free) - 1
	s := secrets.free[last]
	secrets.free = secrets.free[:last]
	return s
}

// dropSecret overwrites a secret and gives its place to others.
func dropSecret(s []byte) {
	clear(s)
	secrets.Lock()
	defer secrets.Unlock()
	secrets.free = append(secrets.free, s)
}
