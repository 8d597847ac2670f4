package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/blob"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// blobSettings answers dataplane/blob from blobServices/default of provider/storage.
type blobSettings struct {
	engine *rp.Engine
	known  *rp.Memo[blob.BlobSettings] // by the account's lower-case name: every write asks
}

func newBlobSettings(engine *rp.Engine) *blobSettings {
	return &blobSettings{engine: engine, known: rp.NewMemo(engine, func(tx *rp.Tx, account string) (blob.BlobSettings, error) {
		r, err := blobServiceByName(tx, account)
		if err != nil {
			return blob.BlobSettings{}, err
		}
		return settingsOf(&r.Properties), nil
	})}
}

func blobServiceByName(tx *rp.Tx, account string) (*rp.Resource[storage.BlobService], error) {
	a, err := storage.ByName(tx, account)
	if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
		return nil, storagehttp.ErrNoAccount
	}
	if err != nil {
		return nil, err
	}
	return storage.BlobServiceOf(tx, a.ID)
}

func settingsOf(p *storage.BlobService) blob.BlobSettings {
	s := blob.BlobSettings{
		Versioning: p.Versions(), DeleteDays: p.DeleteRetention.KeptDays(), ContainerDays: p.ContainerRetention.KeptDays(), DefaultVersion: p.DefaultVersion,
	}
	for _, r := range p.CORS.Rules {
		join := func(list []string) string { return strings.Join(list, ",") }
		s.CORS = append(s.CORS, storagehttp.CORSRule{Origins: join(r.Origins), Methods: join(r.Methods), Headers: join(r.Headers), Exposed: join(r.Exposed), MaxAge: r.MaxAge})
	}
	return s
}

func (b *blobSettings) BlobSettings(ctx context.Context, account string) (blob.BlobSettings, error) {
	return b.known.Get(ctx, account)
}

func (b *blobSettings) SetBlobSettings(ctx context.Context, account string, f func(*blob.BlobSettings)) error {
	return b.engine.Update(ctx, func(tx *rp.Tx) error {
		r, err := blobServiceByName(tx, account)
		if err != nil {
			return err
		}
		if r.ID.String() == "" {
			return arm.Errorf(http.StatusNotFound, "ResourceNotFound", "The account '%s' has no blobs.", account)
		}
		s := settingsOf(&r.Properties)
		f(&s)
		p := &r.Properties
		p.DefaultVersion = s.DefaultVersion
		p.DeleteRetention = &storage.Retention{Enabled: s.DeleteDays > 0, Days: s.DeleteDays}
		p.CORS.Rules = []storage.CORSRule{}
		for _, c := range s.CORS {
			p.CORS.Rules = append(p.CORS.Rules, storage.CORSRule{
				Origins: split(c.Origins), Methods: split(c.Methods), Headers: split(c.Headers), Exposed: split(c.Exposed), MaxAge: c.MaxAge,
			})
		}
		return rp.Save(tx, r)
	})
}

func split(list string) []string {
	out := []string{}
	for v := range strings.SplitSeq(list, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}
