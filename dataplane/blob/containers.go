package blob

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"vauban.dev/internal/storagehttp"
	"vauban.dev/store"
)

// CreateContainer makes a container; ContainerAlreadyExists.
func (s *Service) CreateContainer(ctx context.Context, account, name string, o ContainerOptions) (Container, error) {
	if err := checkContainer(account, name, o); err != nil {
		return Container{}, err
	}
	etag, now := s.stamp()
	doc := containerDoc{UID: randomID(), ETag: etag, Modified: now.UnixNano(), Access: o.PublicAccess, Metadata: o.Metadata}
	return s.putContainer(ctx, account, name, func(tx store.Tx) (containerDoc, error) {
		_, err := tx.Get(kindContainer, containerKey(account, name))
		if err == nil {
			return doc, errContainerExists()
		}
		if !errors.Is(err, store.ErrNotFound) {
			return doc, err
		}
		return doc, nil
	})
}

// UpdateContainer changes a container's public access and metadata as f says; ContainerNotFound. It is how
// the ARM resource blobServices/default/containers is updated.
func (s *Service) UpdateContainer(ctx context.Context, account, name string, f func(*ContainerOptions)) (Container, error) {
	return s.updateContainer(ctx, account, name, conditions{}, func(doc *containerDoc) error {
		o := ContainerOptions{PublicAccess: doc.Access, Metadata: doc.Metadata}
		f(&o)
		doc.Access, doc.Metadata = o.PublicAccess, o.Metadata
		return checkContainer(account, name, o)
	})
}

// updateContainer edits a container, which has a new ETag then.
func (s *Service) updateContainer(ctx context.Context, account, name string, cond conditions, f func(*containerDoc) error) (Container, error) {
	return s.editContainer(ctx, account, name, func(doc *containerDoc, etag int64, now time.Time) error {
		if err := cond.forWrite(true, doc.ETag, doc.Modified); err != nil {
			return err
		}
		if err := doc.Lease.Need(now, cond.lease, "Container", false); err != nil {
			return err
		}
		doc.ETag, doc.Modified = etag, now.UnixNano()
		return f(doc)
	})
}

// editContainer edits the document of a container.
func (s *Service) editContainer(ctx context.Context, account, name string, f func(doc *containerDoc, etag int64, now time.Time) error) (Container, error) {
	etag, now := s.stamp()
	return s.putContainer(ctx, account, name, func(tx store.Tx) (doc containerDoc, err error) {
		if doc, err = getContainer(tx, account, name); err != nil {
			return doc, err
		}
		return doc, f(&doc, etag, now)
	})
}

func checkContainer(account, name string, o ContainerOptions) error {
	if !storagehttp.IsAccountName(account) {
		return errInvalidInput("The account name '%s' is not valid.", account)
	}
	switch o.PublicAccess {
	case "", "blob", "container":
	default:
		return errInvalidHeader("x-ms-blob-public-access", o.PublicAccess)
	}
	return checkContainerName(name)
}

// putContainer commits the document that f returns, and the cache with it.
func (s *Service) putContainer(ctx context.Context, account, name string, f func(store.Tx) (containerDoc, error)) (Container, error) {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	var doc containerDoc
	key := containerKey(account, name)
	err := s.store.Update(ctx, func(tx store.Tx) (err error) {
		if doc, err = f(tx); err != nil {
			return err
		}
		_, err = tx.Put(kindContainer, key, encode(doc), store.Any)
		return err
	})
	if err != nil {
		return Container{}, err
	}
	s.containers[key] = doc
	return doc.public(name), nil
}

// GetContainer returns a container; ContainerNotFound.
func (s *Service) GetContainer(ctx context.Context, account, name string) (Container, error) {
	doc, err := s.container(ctx, account, name)
	return doc.public(name), err
}

func (s *Service) container(ctx context.Context, account, name string) (containerDoc, error) {
	key := containerKey(account, name)
	s.cmu.RLock()
	doc, ok := s.containers[key]
	s.cmu.RUnlock()
	if ok {
		return doc, nil
	}
	s.cmu.Lock()
	defer s.cmu.Unlock()
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		doc, err = getContainer(tx, account, name)
		return err
	})
	if err == nil {
		s.containers[key] = doc
	}
	return doc, err
}

func getContainer(tx store.Tx, account, name string) (doc containerDoc, err error) {
	d, err := tx.Get(kindContainer, containerKey(account, name))
	if errors.Is(err, store.ErrNotFound) {
		return doc, errContainerNotFound()
	}
	if err != nil {
		return doc, err
	}
	return doc, decode(d.Value, &doc)
}

// ListContainers returns the containers whose name starts with prefix, in order, at most limit (0: 5,000)
// after the name after, and the name to go on after ("" at the end).
func (s *Service) ListContainers(ctx context.Context, account, prefix, after string, limit int) (list []Container, next string, err error) {
	return s.listContainers(ctx, account, prefix, after, limit, false)
}

// listContainers is ListContainers, also of those that soft delete keeps. after is a name, and for one that was
// deleted NUL and its version.
func (s *Service) listContainers(ctx context.Context, account, prefix, after string, limit int, deleted bool) (list []Container, next string, err error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	start, _, midway := strings.Cut(after, "\x00")
	if start != "" {
		start = containerKey(account, start)
	}
	var gone []Container
	err = s.store.View(ctx, func(tx store.Tx) error {
		now := s.clock.Now()
		if deleted {
			err := deletedContainers(tx, account, prefix, func(_, name, version string, d deletedContainer) {
				if mark := name + "\x00" + version; !d.over(now) && (midway && mark > after || !midway && name > after) {
					gone = append(gone, d.public(name, version))
				}
			})
			if err != nil {
				return err
			}
		}
		var bad error
		err := tx.Scan(kindContainer, containerKey(account, prefix), start, func(d store.Doc) bool {
			if len(list) > limit {
				return false
			}
			var doc containerDoc
			if bad = decode(d.Value, &doc); bad != nil {
				return false
			}
			list = append(list, doc.public(strings.TrimPrefix(d.Key, account+"/")))
			return true
		})
		return errors.Join(err, bad)
	})
	if len(gone) > 0 { // a container comes before those of its name that were deleted
		list = append(list, gone...)
		slices.SortStableFunc(list, func(a, b Container) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
		})
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].Name
		if v := list[limit-1].Version; v != "" {
			next += "\x00" + v
		} else if deleted {
			next += "\x00"
		}
	}
	return list, next, err
}

// DeleteContainer removes a container; ContainerNotFound. Its blobs are gone at once for every caller; their
// bytes are removed in the background.
func (s *Service) DeleteContainer(ctx context.Context, account, name string) error {
	return s.deleteContainer(ctx, account, name, conditions{})
}

func (s *Service) deleteContainer(ctx context.Context, account, name string, cond conditions) error {
	keeps, err := s.settings(ctx, account)
	if err != nil {
		return err
	}
	s.cmu.Lock()
	defer s.cmu.Unlock()
	err = s.store.Update(ctx, func(tx store.Tx) error {
		doc, err := getContainer(tx, account, name)
		if err != nil {
			return err
		}
		if err := cond.forWrite(true, doc.ETag, doc.Modified); err != nil {
			return err
		}
		if err := doc.Lease.Need(s.clock.Now(), cond.lease, "Container", true); err != nil {
			return err
		}
		if err := deletable(tx, account, doc); err != nil {
			return err
		}
		return s.setAside(tx, account, name, doc, keeps.ContainerDays)
	})
	if err != nil {
		return err
	}
	delete(s.containers, containerKey(account, name))
	s.housekeeping.Wake()
	return nil
}

// trashContainers deletes all containers of an account.
func (s *Service) trashContainers(ctx context.Context, account string) error {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	var names []string
	err := s.store.Update(ctx, func(tx store.Tx) error {
		names = names[:0]
		docs := []containerDoc{}
		var bad error
		err := tx.Scan(kindContainer, account+"/", "", func(d store.Doc) bool {
			var doc containerDoc
			bad = decode(d.Value, &doc)
			names, docs = append(names, strings.TrimPrefix(d.Key, account+"/")), append(docs, doc)
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
		for i, name := range names {
			if err := trash(tx, account, name, docs[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		delete(s.containers, containerKey(account, name))
	}
	s.housekeeping.Wake()
	return nil
}

func trash(tx store.Tx, account, name string, doc containerDoc) error {
	if err := tx.Delete(kindContainer, containerKey(account, name), store.Any); err != nil {
		return err
	}
	_, err := tx.Put(kindTrash, account+"/"+doc.UID, []byte("{}"), store.Any)
	return err
}
