package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"vauban.dev/internal/clock"
	"vauban.dev/region"
)

// runServe is the server: it runs inside the region until ctx ends.
func runServe(ctx context.Context, s *region.Server, log *slog.Logger) error {
	started := time.Now()
	files := filepath.Join(s.Dir, "exec")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	bundle, err := region.SystemBundle()
	if err != nil {
		return err
	}
	place := region.PlaceResult{
		Title:      "internet",
		ResolvConf: filepath.Join(files, "resolv.conf"),
		Bundle:     filepath.Join(files, "ca-certificates.crt"),
	}
	if err := os.WriteFile(place.ResolvConf, []byte("nameserver 168.63.129.16\n"), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(place.Bundle, bundle, 0o644); err != nil {
		return err
	}

	var now clock.Region
	s.Control.Handle(region.MethodStatus, func(context.Context, region.Request) (region.Reply, error) {
		st, err := region.Describe()
		if err != nil {
			return region.Reply{}, err
		}
		st.Version, st.Started, st.Loopback = buildVersion(), started, s.Loopback.Addr().String()
		st.Clock = region.ClockResult{Now: now.Now(), Offset: now.Offset()}
		return region.Reply{Result: st}, nil
	})
	s.Control.Handle(region.MethodPlace, func(_ context.Context, r region.Request) (region.Reply, error) {
		var p region.PlaceParams
		if err := r.Decode(&p); err != nil {
			return region.Reply{}, err
		}
		if p.From != "internet" {
			return region.Reply{}, &region.CallError{Code: region.CodeNotFound, Message: "the region has no such place"}
		}
		fds, err := region.PlaceFiles(place.NetNS)
		return region.Reply{Result: place, Files: fds}, err
	})

	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "This region serves nothing yet.", http.StatusNotImplemented)
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go web.Serve(s.Loopback)
	defer web.Close()
	if err := s.Ready(region.ReadyResult{Loopback: s.Loopback.Addr().String()}); err != nil {
		return err
	}
	log.Info("ready", "loopback", s.Loopback.Addr().String())
	<-ctx.Done()
	return nil
}
