package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"

	"vauban.dev/arm"
)

// WriteJSON answers with v. A v that cannot be marshalled is answered with 500; the error is returned
// for the log.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		WriteError(w, http.StatusInternalServerError, "InternalServerError", "The server encountered an internal error. Please retry the request.")
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}

// WriteError answers with Azure's error envelope, {"error":{"code","message"}}.
func WriteError(w http.ResponseWriter, status int, code, message string) {
	body := struct {
		Error arm.Error `json:"error"`
	}{arm.Error{Code: code, Message: message}}
	b, err := json.Marshal(&body)
	if err != nil { // strings always marshal
		b = nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client is gone: nobody to tell
}

// ReadJSON reads the body, at most limit bytes, as one JSON value into v. It returns *arm.Error: 413
// RequestEntityTooLarge for a longer body, 415 UnsupportedMediaType for another content type, 400
// InvalidRequestContent for anything that is not JSON or has something behind it. Unknown fields are
// kept out of v silently, as Azure's services do.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		if t, _, err := mime.ParseMediaType(ct); err != nil || (t != "application/json" && t != "text/json" && t != "application/merge-patch+json") {
			return arm.Errorf(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The content media type %s is not supported. Only 'application/json' is supported.", quote(ct))
		}
	}
	b, err := ReadBody(w, r, limit)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return arm.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request body is larger than the limit of %d bytes.", limit)
	}
	if err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request body could not be read to its end.")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	return nil
}

// DiskFull is what every plane says, with 507, to a write for which there is no room.
const DiskFull = "The region's disk is full: nothing of this request was kept. It can be repeated when there is room."
