package blob

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/store"

	"vauban.dev/internal/storagehttp"
)

// index keeps kindTagged, which Find Blobs by Tags reads.
func (t *blobTx) index(before, after map[string]string) error {
	switch {
	case len(after) > 0:
		_, err := t.tx.Put(kindTagged, t.base, encode(after), store.Any)
		return err
	case len(before) > 0:
		err := t.tx.Delete(kindTagged, t.base, store.Any)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// found is one blob of Find Blobs by Tags.
type found struct {
	container, name string
	tags            map[string]string
}

// findByTags returns the blobs of the account, or of one container, that fulfil the expression, in order of container and
// name, at most limit after the container and name of after.
func (s *Service) findByTags(ctx context.Context, account, container string, e *tagExpr, after [2]string, limit int) (list []found, next bool, err error) {
	type place struct{ name, uid string }
	err = s.store.View(ctx, func(tx store.Tx) error {
		var places []place
		var bad error
		err := tx.Scan(kindContainer, account+"/", "", func(d store.Doc) bool {
			name := strings.TrimPrefix(d.Key, account+"/")
			var doc containerDoc
			if container == "" || name == container {
				bad = decode(d.Value, &doc)
				places = append(places, place{name, doc.UID})
			}
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
		for _, p := range places {
			if p.name < after[0] || next {
				continue
			}
			prefix, start := blobKey(account, p.uid, ""), ""
			if p.name == after[0] && after[1] != "" {
				start = prefix + after[1]
			}
			err := tx.Scan(kindTagged, prefix, start, func(d store.Doc) bool {
				var tags map[string]string
				if bad = json.Unmarshal(d.Value, &tags); bad != nil {
					return false
				}
				if !e.match(p.name, tags) {
					return true
				}
				if next = len(list) == limit; next {
					return false
				}
				list = append(list, found{p.name, d.Key[len(prefix):], e.named(tags)})
				return true
			})
			if err = errors.Join(err, bad); err != nil {
				return err
			}
		}
		return nil
	})
	return list, next, err
}

func (q *request) findBlobs() error {
	limit, err := q.maxResults()
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = maxPage
	}
	where := q.Query.Get("where")
	e, err := parseTagQuery(where)
	if err != nil {
		return newError(http.StatusBadRequest, "InvalidQueryParameterValue", err.Error())
	}
	container := q.container
	if named := e.container(); named != "" {
		if container != "" && container != named {
			return errInvalidQuery("where", where).Because("@container is another container than the request's")
		}
		container = named
	}
	if q.container != "" {
		if _, err := q.s.container(q.Ctx, q.Account.Name, q.container); err != nil {
			return err
		}
	}
	marker, err := decodeMarker(q.Query.Get("marker"))
	if err != nil {
		return err
	}
	var after [2]string
	after[0], after[1], _ = strings.Cut(marker, "/")
	list, more, err := q.s.findByTags(q.Ctx, q.Account.Name, container, e, after, limit)
	if err != nil {
		return err
	}
	x := storagehttp.NewXML()
	x.WriteString(`<EnumerationResults ServiceEndpoint="` + q.Endpoint() + `">`)
	x.Text("Where", where)
	x.WriteString("<Blobs>")
	for _, f := range list {
		x.WriteString("<Blob>")
		x.Text("Name", f.name)
		x.Text("ContainerName", f.container)
		encodeTags(x, f.tags)
		x.WriteString("</Blob>")
	}
	x.WriteString("</Blobs>")
	next := ""
	if more {
		last := list[len(list)-1]
		next = encodeMarker(last.container + "/" + last.name)
	}
	x.Text("NextMarker", next)
	x.WriteString("</EnumerationResults>")
	return q.SendXML(x)
}

// encodeTags writes index tags.
func encodeTags(x *storagehttp.XML, tags map[string]string) {
	x.WriteString("<Tags><TagSet>")
	for _, k := range sortedKeys(tags) {
		x.WriteString("<Tag>")
		x.Text("Key", k)
		x.Text("Value", tags[k])
		x.WriteString("</Tag>")
	}
	x.WriteString("</TagSet></Tags>")
}

// snapshotBlob of the request: metadata that comes with it is the snapshot's.
func (q *request) makeSnapshot() error {
	cond, err := parseConditions(q.R.Header)
	if err != nil {
		return err
	}
	m, err := q.Metadata()
	if err != nil {
		return err
	}
	cond.readLease = true
	b, id, err := q.s.snapshotBlob(q.Ctx, q.Account.Name, q.container, q.blob, m, cond)
	if err != nil {
		return err
	}
	q.SetStamp(b.ETag, b.LastModified)
	h := q.W.Header()
	h.Set("x-ms-snapshot", id)
	h.Set("x-ms-request-server-encrypted", "true")
	if b.Version != "" {
		h.Set("x-ms-version-id", b.Version)
	}
	return q.Send(http.StatusCreated)
}

func (q *request) undeleteBlob() error {
	if err := q.s.undelete(q.Ctx, q.Account.Name, q.container, q.blob); err != nil {
		return err
	}
	return q.Send(http.StatusOK)
}
