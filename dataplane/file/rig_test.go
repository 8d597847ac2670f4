package file

import (
	"context"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an account with the service under test.
type rig struct {
	*storagetest.Rig
	s    *Service
	dir  string
	days int
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{Rig: storagetest.New(t, "file")}
	r.dir = filepath.Join(t.TempDir(), "files")
	r.reopen()
	return r
}

// reopen is the service as a new process would have it.
func (r *rig) reopen() {
	r.Helper()
	s, err := Open(Config{
		Config: storagehttp.Config{Store: r.Store, Keys: r.Keys, Clock: r.Clock, Accounts: r.Rig, Tokens: r.Rig, Authorizer: r.Rig},
		Dir:    r.dir, Settings: r,
	})
	if err != nil {
		r.Fatal(err)
	}
	r.s, r.Handler = s, s.Handler()
}

// DeletedShareDays is what the account's fileServices/default says.
func (r *rig) DeletedShareDays(context.Context, string) (int, error) { return r.days, nil }
