package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"vauban.dev/store"
	"vauban.dev/store/postgres"
	"vauban.dev/store/sqlite"
)

const (
	stateFile = "state.db" // the documents of a region that was given no database
	homeFile  = "store.id" // what ties a database to this data directory
)

// openBackend opens the store that the settings name. ended is closed when the store works no more, nil for one that
// cannot end before its Close.
func openBackend(ctx context.Context, dir string, s settings, dial postgres.Dial) (db store.Store, ended <-chan struct{}, err error) {
	if s.Store == "" {
		db, err = sqlite.Open(filepath.Join(dir, stateFile))
		return db, nil, err
	}
	tcp, err := s.databaseAddresses()
	if err != nil {
		return nil, nil, err
	}
	if len(tcp) == 0 { // its socket is in the file system, which a region shares with its machine
		dial = nil
	}
	pg, err := postgres.OpenBy(ctx, s.Store, dial)
	if err != nil {
		return nil, nil, err
	}
	if err := claim(ctx, pg, filepath.Join(dir, homeFile)); err != nil {
		return nil, nil, errors.Join(err, pg.Close())
	}
	return pg, pg.Ended(), nil
}

const kindHome = "region.home"

// claim ties the database to the data directory: keys and blobs are there, and with another's nothing could be read.
// The file has the id first, so that a database never belongs to a directory that does not know of it.
func claim(ctx context.Context, db store.Store, file string) error {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	own := string(b)
	home, err := readHome(ctx, db)
	switch {
	case err != nil:
		return err
	case home != "" && home == own:
		return nil
	case home != "":
		return errors.New("the database holds the state of another region, whose keys are in another --data directory; give this one a database or a schema (search_path) of its own")
	case own == "":
		own = uuid.NewString()
		if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
			return err
		}
	}
	return db.Update(ctx, func(tx store.Tx) error {
		b, err := json.Marshal(own)
		if err != nil {
			return err
		}
		_, err = tx.Put(kindHome, "id", b, store.None)
		return err
	})
}

// readHome is the id of the data directory that a database belongs to, "" when it is new.
func readHome(ctx context.Context, db store.Store) (id string, err error) {
	err = db.View(ctx, func(tx store.Tx) error {
		d, err := tx.Get(kindHome, "id")
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(d.Value, &id)
	})
	return id, err
}
