package blob

import (
	"context"
	"errors"
	"strings"
	"time"

	"vauban.dev/store"
)

// deletedContainer is what soft delete keeps of a container; its blobs stay where they are, under its uid.
type deletedContainer struct {
	Doc  containerDoc `json:"c"`
	At   int64        `json:"at"` // Unix nanoseconds
	Days int          `json:"days"`
}

func deletedKey(account, name, version string) string { return account + "/" + name + "/" + version }

func (d deletedContainer) over(now time.Time) bool {
	return !now.Before(time.Unix(0, d.At).AddDate(0, 0, d.Days))
}

func (d deletedContainer) public(name, version string) Container {
	c := d.Doc.public(name)
	c.Deleted, c.KeepDays, c.Version = time.Unix(0, d.At).UTC(), d.Days, version
	return c
}

// setAside deletes a container: softly for the days, or into the trash.
func (s *Service) setAside(tx store.Tx, account, name string, doc containerDoc, days int) error {
	if days == 0 {
		return trash(tx, account, name, doc)
	}
	tick, now := s.stamp()
	doc.Lease = nil
	if err := tx.Delete(kindContainer, containerKey(account, name), store.Any); err != nil {
		return err
	}
	version := strings.Trim(formatETag(tick), `"`)[2:]
	_, err := tx.Put(kindDeleted, deletedKey(account, name, version), encode(deletedContainer{doc, now.UnixNano(), days}), store.Any)
	return err
}

// restoreContainer brings a deleted container back under its name; ContainerNotFound, ContainerAlreadyExists.
func (s *Service) restoreContainer(ctx context.Context, account, name, deleted, version string) (Container, error) {
	return s.putContainer(ctx, account, name, func(tx store.Tx) (doc containerDoc, err error) {
		key := deletedKey(account, deleted, version)
		d, err := tx.Get(kindDeleted, key)
		if errors.Is(err, store.ErrNotFound) {
			return doc, errContainerNotFound()
		}
		if err != nil {
			return doc, err
		}
		var past deletedContainer
		if err := decode(d.Value, &past); err != nil {
			return doc, err
		}
		if past.over(s.clock.Now()) {
			return doc, errContainerNotFound()
		}
		if _, err := tx.Get(kindContainer, containerKey(account, name)); err == nil {
			return doc, errContainerExists()
		} else if !errors.Is(err, store.ErrNotFound) {
			return doc, err
		}
		etag, now := s.stamp()
		doc = past.Doc
		doc.ETag, doc.Modified = etag, now.UnixNano()
		return doc, tx.Delete(kindDeleted, key, store.Any)
	})
}

// deletedContainers calls f with the deleted containers whose names begin with prefix.
func deletedContainers(tx store.Tx, account, prefix string, f func(key, name, version string, d deletedContainer)) error {
	var bad error
	err := tx.Scan(kindDeleted, account+"/"+prefix, "", func(d store.Doc) bool {
		name, version, _ := strings.Cut(strings.TrimPrefix(d.Key, account+"/"), "/")
		var past deletedContainer
		if bad = decode(d.Value, &past); bad == nil {
			f(d.Key, name, version, past)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

// expireContainers moves to the trash what soft delete has kept long enough, or, of one account that is deleted, all of it.
func (s *Service) expireContainers(ctx context.Context, account string) error {
	now := s.clock.Now()
	return s.store.Update(ctx, func(tx store.Tx) error {
		old := map[string]string{} // key → where the blobs are
		var bad error
		err := tx.Scan(kindDeleted, account, "", func(d store.Doc) bool {
			var past deletedContainer
			bad = decode(d.Value, &past)
			if bad == nil && (account != "" || past.over(now)) {
				owner, _, _ := strings.Cut(d.Key, "/")
				old[d.Key] = owner + "/" + past.Doc.UID
			}
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
		for key, where := range old {
			if err := tx.Delete(kindDeleted, key, store.Any); err != nil {
				return err
			}
			if _, err := tx.Put(kindTrash, where, []byte("{}"), store.Any); err != nil {
				return err
			}
		}
		return nil
	})
}
