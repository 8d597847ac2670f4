package keyvault

import (
	"context"
	"time"
)

// every is how often the region's clock is asked what is due. What is past its retention is gone for callers at once, Run or not.
const every = 15 * time.Second

// Run purges, rotates and renews what is due, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for name, do := range map[string]func(context.Context) error{"purge": s.Sweep, "rotate": s.Rotate, "renew": s.Renew} {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				s.Log.Error("keyvault: "+name, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
