package storagehttp

import (
	"context"
	"log/slog"
	"time"
)

// Housekeeping is when a service removes what nobody sees any more: at its start, every hour, and after Wake.
type Housekeeping struct{ kick chan struct{} }

// NewHousekeeping is ready to be woken and run.
func NewHousekeeping() Housekeeping { return Housekeeping{make(chan struct{}, 1)} }

// Wake has Run sweep soon; it never blocks.
func (h Housekeeping) Wake() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// Run sweeps until ctx ends. A sweep that fails is logged, and tried again at the next.
func (h Housekeeping) Run(ctx context.Context, service string, log *slog.Logger, sweep func(context.Context) error) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := sweep(ctx); err != nil && ctx.Err() == nil {
			log.Error(service+": sweep", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-h.kick:
		case <-tick.C:
		}
	}
}
