package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	"vauban.dev/dataplane/file"
	"vauban.dev/internal/storagehttp"
	"vauban.dev/provider/storage"
	"vauban.dev/store"
)

// shares answers provider/storage from dataplane/file.
type shares struct{ *file.Service }

func armShare(f file.Found, used int64, now time.Time) storage.Share {
	s := storage.Share{Name: f.Name, ETag: f.ETag, ShareProperties: storage.ShareProperties{
		Quota: f.Quota, Tier: f.Tier, TierAt: &f.TierAt, Protocols: f.Protocols, RootSquash: f.RootSquash, Metadata: f.Metadata, Modified: &f.Modified,
		LeaseStatus: "unlocked", LeaseState: f.Lease.State(now), Usage: used,
	}}
	if f.Lease.Locked(now) {
		s.LeaseStatus = "locked"
	}
	s.Identifiers = armIdentifiers(f.Policies)
	return s
}

func (s shares) Share(tx store.Tx, account arm.ID, name string) (storage.Share, error) {
	found, err := s.GetTx(tx, accountName(account), name)
	if err != nil {
		return storage.Share{}, armStorageError(err)
	}
	used, err := s.Usage(tx, accountName(account), name)
	return armShare(found, used, s.Now()), armStorageError(err)
}

func (s shares) PutShare(tx store.Tx, account arm.ID, name string, in storage.ShareProperties) (created bool, err error) {
	if in.ProvisionedIOPS != 0 || in.ProvisionedMibps != 0 {
		return false, arm.NotImplemented("properties.provisionedIops, properties.provisionedBandwidthMibps: shares have no provisioned performance here.")
	}
	policies, err := storagePolicies(in.Identifiers)
	if err != nil {
		return false, err
	}
	if err := storagehttp.CheckPolicies(policies, "rcwdl"); err != nil {
		return false, armStorageError(err)
	}
	apply := func(p *file.Share) error {
		if in.Protocols != "" && p.Protocols != "" && in.Protocols != p.Protocols {
			return arm.Errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "The enabledProtocols of share '%s' cannot be changed from %s to %s.", name, p.Protocols, in.Protocols)
		}
		for _, f := range []struct{ to, said *string }{{&p.Tier, &in.Tier}, {&p.Protocols, &in.Protocols}, {&p.RootSquash, &in.RootSquash}} {
			if *f.said != "" {
				*f.to = *f.said
			}
		}
		if in.Quota != 0 {
			p.Quota = in.Quota
		}
		if in.Metadata != nil {
			p.Metadata = in.Metadata
		}
		if in.Identifiers != nil {
			p.Policies = policies
		}
		return nil
	}
	_, err = s.UpdateTx(tx, accountName(account), name, apply)
	if !storagehttp.IsCode(err, "ShareNotFound") {
		return false, armStorageError(err)
	}
	var p file.Share
	if err := apply(&p); err != nil {
		return false, err
	}
	_, err = s.CreateTx(tx, accountName(account), name, p)
	return true, armStorageError(err)
}

func (s shares) DeleteShare(tx store.Tx, account arm.ID, name string, days int) error {
	defer s.Wake()
	return armStorageError(s.DeleteTx(tx, accountName(account), name, true, days))
}

func (s shares) ListShares(tx store.Tx, account arm.ID) (out []storage.Share, err error) {
	list, _, err := s.ListTx(tx, accountName(account), "", "", 0, false, false)
	for _, f := range list {
		out = append(out, armShare(f, 0, s.Now()))
	}
	return out, armStorageError(err)
}

// shareSettings answers dataplane/file from fileServices/default of provider/storage.
type shareSettings struct{ engine *rp.Engine }

func (s shareSettings) DeletedShareDays(ctx context.Context, account string) (days int, err error) {
	err = s.engine.View(ctx, func(tx *rp.Tx) error {
		a, err := storage.ByName(tx, account)
		if errors.Is(err, store.ErrNotFound) || isStatus(err, http.StatusNotFound) {
			return storagehttp.ErrNoAccount
		}
		if err != nil {
			return err
		}
		r, err := storage.FileServiceOf(tx, a.ID)
		if err == nil {
			days = r.Properties.DeleteRetention.KeptDays()
		}
		return err
	})
	return days, err
}
