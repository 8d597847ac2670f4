package storagehttp

import "context"

// Served is what a service has found out of a request that somebody keeps a log of: who watches puts it into the
// request's context, and reads it when the service has answered.
type Served struct {
	ID        string // x-ms-request-id
	Account   Account
	Caller    Caller
	Version   string
	Operation string // "Put Blob"; "" where none was found
	Code      string // of the error that was answered, "" for none
}

type servedKey struct{}

// WithServed is ctx with somewhere to note what is found out.
func WithServed(ctx context.Context) (context.Context, *Served) {
	s := &Served{}
	return context.WithValue(ctx, servedKey{}, s), s
}

// noting is where a request is noted; nobody reads what the services of requests without a watcher note.
func noting(ctx context.Context) *Served {
	if s, ok := ctx.Value(servedKey{}).(*Served); ok {
		return s
	}
	return &Served{}
}

// Serves notes which operation the request asks for, by its name in the service's documentation.
func (q *Request) Serves(operation string) { q.noted.Operation = operation }
