package httpx

import (
	"bytes"
	"io"
	"net/http"
)

// ReadBody reads the request's body, at most limit bytes. A longer one fails with *http.MaxBytesError, before
// anything of it is read if its length was declared. io.ReadAll would grow a quarter
// at a time and leave several times the body behind as garbage.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	if r.ContentLength < 0 {
		return io.ReadAll(body)
	}
	var b bytes.Buffer
	// Read asks for MinRead bytes of room when it looks for the end. A declared length is only a promise:
	// memory is for what has come.
	b.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	_, err := b.ReadFrom(body)
	return b.Bytes(), err
}
