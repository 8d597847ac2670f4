package table

import (
	"testing"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/internal/storagehttp/storagetest"
)

// rig is a table service with one account.
type rig struct {
	*storagetest.Rig
	s *Service
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := storagetest.New(t, "table")
	s := Open(storagehttp.Config{Store: r.Store, Keys: r.Keys, Clock: r.Clock, Accounts: r, Tokens: r, Authorizer: r})
	r.Handler = s.Handler()
	return &rig{r, s}
}
