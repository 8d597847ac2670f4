package agent

import (
	"context"
	"io"
	"os"
	"time"
)

const (
	logTick      = time.Second
	maxSmallTail = 64 // blocks of less than blockSize before they are joined
)

// logBlob keeps a blob equal to a growing file: each second what is new becomes a block. Small blocks
// are joined, so that their number stays far below the 50,000 that a blob may have.
type logBlob struct {
	b    *blobs
	file string
	url  string

	blocks []block // what is committed
	made   bool
}

type block struct {
	at, size int64
	id       string
}

func (l *logBlob) end() int64 {
	if len(l.blocks) == 0 {
		return 0
	}
	last := l.blocks[len(l.blocks)-1]
	return last.at + last.size
}

// follow pushes until ctx ends; failures are tried again at the next tick. After it, push brings the rest.
func (l *logBlob) follow(ctx context.Context) {
	tick := time.NewTicker(logTick)
	defer tick.Stop()
	for {
		_ = l.push(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// push brings the blob up to the file, and makes it if it is not there.
func (l *logBlob) push(ctx context.Context) error {
	f, err := os.Open(l.file)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() <= l.end() && l.made {
		return nil
	}
	next := extend(l.blocks, fi.Size())
	for _, b := range next {
		if l.has(b) {
			continue
		}
		if err := l.b.putBlock(ctx, l.url, b.id, io.NewSectionReader(f, b.at, b.size), b.size); err != nil {
			return err
		}
	}
	ids := make([]string, len(next))
	for i, b := range next {
		ids[i] = b.id
	}
	if err := l.b.putBlockList(ctx, l.url, "text/plain; charset=utf-8", ids); err != nil {
		return err
	}
	l.blocks, l.made = next, true
	return nil
}

func (l *logBlob) has(b block) bool {
	for i := len(l.blocks) - 1; i >= 0 && l.blocks[i].at >= b.at; i-- {
		if l.blocks[i] == b {
			return true
		}
	}
	return false
}

// extend returns the blocks for size bytes: those that are there and new ones; when the small ones at the
// end have become many, they are cut anew.
func extend(have []block, size int64) []block {
	keep := len(have)
	small := 0
	for small < keep && have[keep-1-small].size < blockSize {
		small++
	}
	if small >= maxSmallTail {
		keep -= small
	}
	out := append([]block(nil), have[:keep]...)
	at := int64(0)
	if keep > 0 {
		at = out[keep-1].at + out[keep-1].size
	}
	for at < size {
		n := min(blockSize, size-at)
		out = append(out, block{at, n, blockID(at) + "-" + blockID(n)})
		at += n
	}
	return out
}
