package storagehttp

import (
	"log/slog"

	"vauban.dev/authz"
	"vauban.dev/internal/clock"
	"vauban.dev/seal"
	"vauban.dev/store"
)

// Config is what a storage service is made of; all but Log are needed.
type Config struct {
	Store      store.Store
	Keys       *seal.Keyring
	Clock      clock.Clock
	Accounts   Accounts
	Tokens     Tokens
	Authorizer authz.Authorizer
	Log        *slog.Logger
}

// Front is the front of the service (blob, queue …) whose host names and private link sub-resources are named as it is.
func (c Config) Front(service string) Front {
	return Front{
		Service: service, Suffix: "." + service + ".core.windows.net", GroupIDs: []string{service, service + "_secondary"},
		Accounts: c.Accounts, Tokens: c.Tokens, Authorizer: c.Authorizer, Clock: c.Clock, Log: c.Log,
	}
}
