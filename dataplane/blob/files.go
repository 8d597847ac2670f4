package blob

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"vauban.dev/seal"
	"vauban.dev/store"
)

// inlineMax is the largest payload, in bytes, that is kept in the store instead of a file: one commit makes
// it durable, and commits of many callers share one fsync.
const inlineMax = 32 << 10

// payload is a body on its way into a blob: in a file already, or sealed and waiting for the commit.
type payload struct {
	part
	sealed []byte // Inline
}

// write keeps a body. Small ones are sealed in memory, for the document store, when inline; others go to a
// file, which is on disk when write returns. An empty body is no payload at all: Ref is "".
func (s *Service) write(ctx context.Context, account string, with customerKey, body io.Reader, inline bool) (payload, error) {
	k, err := s.sealingKey(ctx, account, with)
	if err != nil {
		return payload{}, err
	}
	br := bufio.NewReaderSize(body, inlineMax+1)
	head, err := br.Peek(inlineMax + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return payload{}, err
	}
	if len(head) == 0 {
		return payload{}, nil
	}
	ref := s.files.Ref()
	if inline && len(head) <= inlineMax {
		sealed, err := k.Seal(make([]byte, 0, seal.SealedSize(int64(len(head)))), head, s.files.Binding(account, ref))
		return payload{part: part{Ref: ref, Size: int64(len(head)), Inline: true}, sealed: sealed}, err
	}
	n, err := s.files.Create(account, ref, k, br)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return payload{part: part{Ref: ref, Size: n}}, err
}

// discard removes the file of a payload that no commit took.
func (s *Service) discard(account string, p payload) {
	s.files.Remove(account, "", refs([]part{p.part}))
}

// refs are the references of the parts that are in files.
func refs(parts []part) []string {
	var out []string
	for _, p := range parts {
		if !p.Inline && p.Ref != "" {
			out = append(out, p.Ref)
		}
	}
	return out
}
