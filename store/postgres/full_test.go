package postgres

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"vauban.dev/internal/testkit/smalldisk"
	"vauban.dev/store"
)

// TestFullDisk: when the tables cannot grow, writes are refused with ErrFull and leave nothing, what was acknowledged is
// there, and writes go on as soon as there is room.
func TestFullDisk(t *testing.T) {
	const size = 4 << 20
	smalldisk.Run(t, size, func(t *testing.T, d *smalldisk.Disk) {
		if os.Geteuid() == 0 { // the server is nobody's then
			nobody, err := user.Lookup("nobody")
			if err != nil {
				t.Fatal(err)
			}
			uid, err := strconv.Atoi(nobody.Uid)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(d.Dir, uid, -1); err != nil {
				t.Fatal(err)
			}
			for dir := d.Dir; dir != os.TempDir(); dir = dir[:strings.LastIndexByte(dir, '/')] {
				if err := os.Chmod(dir, 0o711); err != nil { // on the way there
					t.Fatal(err)
				}
			}
		}
		url := newSchema(t)
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		for _, text := range []string{
			fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", d.Dir),
			"ALTER ROLE vauban SET default_tablespace = small", // tables; the log stands beside the data
		} {
			if _, err := conn.Exec(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		s := mustOpen(t, url, lease)
		outcome := map[string]error{}
		write := func(key string) error {
			value := make([]byte, 50_000) // random: PostgreSQL cannot make it small
			rand.Read(value)
			err := put(t.Context(), s, "k", key, string(value))
			outcome[key] = err
			return err
		}
		fill := func(round string) {
			t.Helper()
			for i := 0; ; i++ {
				err := write(fmt.Sprintf("%s-%d", round, i))
				if errors.Is(err, store.ErrFull) {
					return
				}
				if err != nil || i > 1000 {
					t.Fatalf("write %d: %v, want ErrFull in the end", i, err)
				}
			}
		}
		check := func() {
			t.Helper()
			err := s.View(t.Context(), func(tx store.Tx) error {
				for key, outcome := range outcome {
					if _, err := tx.Get("k", key); outcome == nil && err != nil || outcome != nil && !errors.Is(err, store.ErrNotFound) {
						return fmt.Errorf("%s: Update said %v, Get %v", key, outcome, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		fill("first")
		check()
		if err := s.Err(); err != nil {
			t.Fatalf("the store has ended: %v", err)
		}
		d.Resize(t, 2*size)
		if err := write("room"); err != nil {
			t.Errorf("with room again: %v", err)
		}
		fill("second")
		check()
		d.Resize(t, 3*size) // for what closing writes
		if err := write("again"); err != nil {
			t.Errorf("with room again: %v", err)
		}
		mustClose(t, s)
	})
}
