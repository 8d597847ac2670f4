package blob

import (
	"context"
	"errors"
	"strings"

	"vauban.dev/store"
)

// The functions here are the other way to containers, Resource Manager's: they read and write in its
// transaction. What they change reaches the service's cache when it is committed (follow).

// ContainerTx is GetContainer in a transaction.
func (s *Service) ContainerTx(tx store.Tx, account, name string) (Container, error) {
	doc, err := getContainer(tx, account, name)
	return doc.public(name), err
}

// PutContainerTx makes a container, or changes the options of one that exists; created tells which.
func (s *Service) PutContainerTx(tx store.Tx, account, name string, o ContainerOptions) (created bool, err error) {
	if err := checkContainer(account, name, o); err != nil {
		return false, err
	}
	etag, now := s.stamp()
	doc, err := getContainer(tx, account, name)
	switch {
	case IsCode(err, CodeContainerNotFound):
		created, doc = true, containerDoc{UID: randomID()}
	case err != nil:
		return false, err
	}
	doc.ETag, doc.Modified, doc.Access, doc.Worm = etag, now.UnixNano(), o.PublicAccess, doc.Worm || o.Worm
	if o.Metadata != nil {
		doc.Metadata = o.Metadata
	}
	_, err = tx.Put(kindContainer, containerKey(account, name), encode(doc), store.Any)
	return created, err
}

// DeleteContainerTx is DeleteContainer in a transaction; soft delete keeps it for the days.
func (s *Service) DeleteContainerTx(tx store.Tx, account, name string, days int) error {
	doc, err := getContainer(tx, account, name)
	if err != nil {
		return err
	}
	if err := doc.Lease.Need(s.clock.Now(), "", "Container", true); err != nil {
		return err
	}
	if err := deletable(tx, account, doc); err != nil {
		return err
	}
	return s.setAside(tx, account, name, doc, days)
}

// ListContainersTx returns all containers of an account.
func (s *Service) ListContainersTx(tx store.Tx, account string) (list []Container, err error) {
	var bad error
	err = tx.Scan(kindContainer, account+"/", "", func(d store.Doc) bool {
		var doc containerDoc
		if bad = decode(d.Value, &doc); bad != nil {
			return false
		}
		list = append(list, doc.public(strings.TrimPrefix(d.Key, account+"/")))
		return true
	})
	return list, errors.Join(err, bad)
}

// follow drops cached containers that were written past this service, until ctx ends.
func (s *Service) follow(ctx context.Context, changes <-chan []store.Change) {
	for {
		select {
		case <-ctx.Done():
			return
		case cs, ok := <-changes:
			if !ok {
				return
			}
			s.cmu.Lock()
			for _, c := range cs {
				delete(s.containers, c.Key)
			}
			s.cmu.Unlock()
			s.housekeeping.Wake()
		}
	}
}
