package oci

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// Ids that a container gets when there are enough of them.
const (
	idsPerContainer = 65536
	firstRootID     = 1_000_000 // above every ordinary user and every usual subuid range's start
)

type extent struct{ inside, size uint64 }

// detectIDs reads which ids the caller's user namespace has and chooses.
func detectIDs() (IDMap, error) {
	uids, err := readExtents("/proc/self/uid_map")
	if err != nil {
		return IDMap{}, err
	}
	gids, err := readExtents("/proc/self/gid_map")
	if err != nil {
		return IDMap{}, err
	}
	return chooseIDs(uids, gids), nil
}

func readExtents(name string) ([]extent, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseExtents(f)
}

func parseExtents(r io.Reader) ([]extent, error) {
	var out []extent
	for sc := bufio.NewScanner(r); sc.Scan(); {
		var in, parent, size uint64
		if _, err := fmt.Sscan(sc.Text(), &in, &parent, &size); err != nil {
			return nil, fmt.Errorf("id map line %q: %w", sc.Text(), err)
		}
		out = append(out, extent{in, size})
	}
	return out, nil
}

// chooseIDs takes a range of its own for containers when both maps have one: from 1,000,000 where all
// ids exist (root), else the ids after 0 (an ordinary user with subordinate ids). With a single id
// the container runs with the caller's: then only namespaces stand between them.
func chooseIDs(uids, gids []extent) IDMap {
	for _, first := range []uint64{firstRootID, 1} {
		if n := min(room(uids, first), room(gids, first), idsPerContainer); n > 1 {
			return IDMap{Host: uint32(first), Size: uint32(n)}
		}
	}
	return IDMap{Host: 0, Size: 1}
}

// room is how many ids follow from first on without a gap.
func room(es []extent, first uint64) uint64 {
	es = slices.Clone(es)
	slices.SortFunc(es, func(a, b extent) int { return int(int64(a.inside) - int64(b.inside)) })
	next := first
	for _, e := range es {
		if e.inside <= next && next < e.inside+e.size {
			next = e.inside + e.size
		}
	}
	return min(next-first, math.MaxUint32)
}
