package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
)

// Insert adds a block to a block blob before its last one, and makes the blob of head, block and foot when there
// is none: how Azure's own services write logs that are one JSON document and grow. comma stands before every block
// but the first. Durable when it returns; ContainerNotFound, BlobAlreadyExists for a blob of another kind.
func (s *Service) Insert(ctx context.Context, account, container, name string, head, comma, block, foot []byte) (Blob, error) {
	for {
		b, err := s.insert(ctx, account, container, name, head, comma, block, foot)
		if !IsCode(err, CodeConditionNotMet) { // somebody else wrote it meanwhile
			return b, err
		}
		if ctx.Err() != nil {
			return Blob{}, ctx.Err()
		}
	}
}

func (s *Service) insert(ctx context.Context, account, container, name string, head, comma, block, foot []byte) (Blob, error) {
	doc, committed, _, err := s.blockList(ctx, account, container, target{name: name})
	if IsCode(err, CodeBlobNotFound) {
		doc, committed, err = nil, nil, nil
	}
	if err != nil {
		return Blob{}, err
	}
	stage := func(id string, data []byte) (BlockRef, error) {
		return BlockRef{From: "uncommitted", ID: id}, s.stage(ctx, account, container, name, id, customerKey{}, conditions{}, bytes.NewReader(data), func() error { return nil })
	}
	var list []BlockRef
	cond := conditions{ifNoneMatch: "*"}
	var last BlockRef
	if doc == nil || len(committed) < 2 {
		first, err := stage(blockID(0), head)
		if err != nil {
			return Blob{}, err
		}
		if last, err = stage(base64.StdEncoding.EncodeToString([]byte("footer00")), foot); err != nil {
			return Blob{}, err
		}
		list = append(list, first)
	} else {
		for _, c := range committed {
			list = append(list, BlockRef{From: "committed", ID: c.ID})
		}
		last, list = list[len(list)-1], list[:len(list)-1]
		cond = conditions{ifMatch: formatETag(doc.ETag)}
		block = append(bytes.Clone(comma), block...)
	}
	added, err := stage(blockID(len(list)), block)
	if err != nil {
		return Blob{}, err
	}
	return s.commitBlocks(ctx, account, container, name, append(list, added, last), PutOptions{Headers: Headers{ContentType: "application/json"}}, cond)
}

// blockID is the id of the nth block; all ids of a blob have one length.
func blockID(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", n)) }
