package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"vauban.dev/store"
)

// What a notification says.
const (
	committed = "c" // there are changes
	seen      = "s" // a server has seen changes
)

// errGap ends a server that was out of touch for so long that the others went on without it.
var errGap = errors.New("postgres: changes of other servers were missed: this server was without its database for too long")

// errLease ends a server that could not renew its lease: the others wait for it no longer.
var errLease = errors.New("postgres: the lease of this server has ended")

// register enters this server, under the lock of the writers: from now on they keep their changes for it.
func (s *Store) register(ctx context.Context, conn *pgx.Conn) (version int64, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT version FROM clock FOR UPDATE").Scan(&version); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM server WHERE expires < now() - interval '1 hour'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO server VALUES ($1, now() + $2, $3, $3)", s.id, s.lease, version)
		return err
	})
	return version, err
}

// live keeps this server's lease and follows what other servers commit, until the store ends. A lost connection is
// made again; a lost lease is the end.
func (s *Store) live(ctx context.Context, conn *pgx.Conn) {
	defer s.running.Done()
	var err error
	for ctx.Err() == nil {
		if conn == nil {
			conn, err = s.listen(ctx)
		}
		if err == nil {
			err = s.follow(ctx, conn)
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errGap) || s.left() <= 0 {
			s.fail(fmt.Errorf("%w: %w", errLease, err))
			break
		}
		closeQuietly(conn)
		conn, err = nil, nil
		select {
		case <-ctx.Done():
		case <-time.After(s.lease / 20):
		}
	}
	if conn != nil && !conn.IsClosed() && s.Err() == nil { // the others need not wait for the lease's end
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.lease)
		defer cancel()
		_, _ = conn.Exec(ctx, "DELETE FROM server WHERE id = $1", s.id)
	}
	closeQuietly(conn)
}

func closeQuietly(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // it is given up in any case
}

func (s *Store) listen(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		closeQuietly(conn)
		return nil, err
	}
	return conn, nil
}

// follow renews the lease and takes notifications in turn, until something fails.
func (s *Store) follow(ctx context.Context, conn *pgx.Conn) error {
	due, behind := true, true // at once, for what happened while there was no connection
	for {
		if err := s.attend(ctx, conn, due, behind); err != nil {
			return err
		}
		n, err := s.wait(ctx, conn, s.left()-s.lease*4/5)
		if err != nil {
			return err
		}
		due, behind = n == "", n == committed
		if n == seen {
			select {
			case s.progress <- struct{}{}:
			default:
			}
		}
	}
}

// attend renews the lease when that is due and catches up when this server is behind, before the lease's end.
func (s *Store) attend(ctx context.Context, conn *pgx.Conn, due, behind bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.left()*4/5)
	defer cancel()
	if due {
		if err := s.renew(ctx, conn); err != nil {
			return err
		}
	}
	if behind {
		return s.catchUp(ctx, conn)
	}
	return nil
}

// wait returns what the next notification says, "" at the time of the next renewal.
func (s *Store) wait(ctx context.Context, conn *pgx.Conn, d time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err == nil {
		return n.Payload, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !conn.IsClosed() {
		return "", nil
	}
	return "", err
}

// renew moves the lease's end. The time is taken before: this server counts its lease from there, so it ends here
// before it ends for the others.
func (s *Store) renew(ctx context.Context, conn *pgx.Conn) error {
	at := s.now()
	tag, err := conn.Exec(ctx, "UPDATE server SET expires = now() + $2 WHERE id = $1 AND expires > now()", s.id, s.lease)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return errGap
	}
	s.renewed.Store(at)
	_, err = conn.Exec(ctx, "DELETE FROM change WHERE version <= (SELECT min(seen) FROM server WHERE expires > now())")
	return err
}

// catchUp publishes what others have committed, and tells them.
func (s *Store) catchUp(ctx context.Context, conn *pgx.Conn) error {
	some := false
	version, err := s.writer.Others(func(after int64) ([]store.Change, error) {
		found, err := changes(ctx, conn, after)
		some = len(found) > 0
		return found, err
	})
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue("UPDATE server SET seen = $1 WHERE id = $2 AND seen < $1", version, s.id)
	if some {
		b.Queue("SELECT pg_notify($1, $2)", s.channel, seen)
	}
	return conn.SendBatch(ctx, b).Close()
}
