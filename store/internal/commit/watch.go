package commit

import (
	"context"
	"sync"

	"vauban.dev/store"
)

// Hub hands committed changes to the watchers.
type Hub struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
	closed   bool
	running  sync.WaitGroup
}

// watcher has a queue without a bound, so that a slow reader holds up no writer.
type watcher struct {
	kinds map[string]bool
	out   chan []store.Change
	end   context.CancelFunc

	mu    sync.Mutex
	queue []store.Change
	some  chan struct{} // capacity 1: queue is not empty
}

// NewHub makes a Hub without watchers.
func NewHub() *Hub { return &Hub{watchers: map[*watcher]struct{}{}} }

// Watch is store.Store.Watch.
func (h *Hub) Watch(ctx context.Context, kinds []string) <-chan []store.Change {
	ctx, end := context.WithCancel(ctx)
	w := &watcher{kinds: map[string]bool{}, out: make(chan []store.Change), end: end, some: make(chan struct{}, 1)}
	for _, k := range kinds {
		w.kinds[k] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		end()
		close(w.out)
		return w.out
	}
	h.watchers[w] = struct{}{}
	h.running.Go(func() {
		defer close(w.out)
		w.deliver(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
		end()
	})
	return w.out
}

func (h *Hub) publish(changes []store.Change) {
	if len(changes) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.push(changes)
	}
}

// Close ends all watches and waits for them.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	for w := range h.watchers {
		w.end()
	}
	h.mu.Unlock()
	h.running.Wait()
}

func (w *watcher) push(changes []store.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range changes {
		if w.kinds[c.Kind] {
			w.queue = append(w.queue, c)
		}
	}
	if len(w.queue) == 0 {
		return
	}
	select {
	case w.some <- struct{}{}:
	default:
	}
}

func (w *watcher) deliver(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.some:
		}
		w.mu.Lock()
		changes := w.queue
		w.queue = nil
		w.mu.Unlock()
		if len(changes) == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case w.out <- changes:
		}
	}
}
