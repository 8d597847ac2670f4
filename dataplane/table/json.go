package table

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vauban.dev/internal/storagehttp"
)

// level is how much metadata an answer has.
type level uint8

const (
	noMetadata level = iota
	minimalMetadata
	fullMetadata
)

func (l level) contentType() string {
	return "application/json;odata=" + [...]string{"nometadata", "minimalmetadata", "fullmetadata"}[l] + ";streaming=true;charset=utf-8"
}

// parseAccept reads Accept or $format. Atom, which versions since 2015-12-11 refuse, is refused in all.
func parseAccept(accept string) (level, error) {
	lower := strings.ToLower(accept)
	switch {
	case strings.Contains(lower, "odata=nometadata"):
		return noMetadata, nil
	case strings.Contains(lower, "odata=fullmetadata"), strings.Contains(lower, "odata=verbose"):
		return fullMetadata, nil
	case lower == "", strings.Contains(lower, "json"), strings.Contains(lower, "*/*"):
		return minimalMetadata, nil
	case strings.Contains(lower, "atom"):
		return 0, storagehttp.NewError(http.StatusUnsupportedMediaType, "AtomFormatNotSupported", "Atom format is not supported.").Because("Accept is '%s'; application/json is served", accept)
	}
	return 0, storagehttp.NewError(http.StatusUnsupportedMediaType, "MediaTypeNotSupported", "None of the provided media types are supported").Because("Accept is '%s'; application/json is served", accept)
}

// object writes a JSON object in the order of its members.
type object struct{ bytes.Buffer }

func (o *object) member(name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		b = []byte("null") // of texts, numbers and truth values none fails
	}
	o.raw(name, b)
}

func (o *object) raw(name string, value []byte) {
	if o.Len() == 0 {
		o.WriteByte('{')
	} else {
		o.WriteByte(',')
	}
	n, err := json.Marshal(name)
	if err != nil {
		return // a text does not fail
	}
	o.Write(n)
	o.WriteByte(':')
	o.Write(value)
}

func (o *object) end() []byte {
	if o.Len() == 0 {
		return []byte("{}")
	}
	o.WriteByte('}')
	return o.Bytes()
}

// json is the value in an answer.
func (v Value) json() []byte {
	switch x := v.V.(type) {
	case bool:
		return []byte(v.text())
	case int64:
		if v.Type == edmInt32 {
			return []byte(v.text())
		}
	case float64:
		if text := v.text(); text != "NaN" && !strings.HasSuffix(text, "Infinity") {
			return []byte(text)
		}
	case string:
		b, err := json.Marshal(x)
		if err == nil {
			return b
		}
	}
	b, err := json.Marshal(v.text())
	if err != nil {
		return []byte("null")
	}
	return b
}

// says reports whether an answer names the value's type: full always (of what JSON does not show), minimal when JSON
// would be read as another.
func (v Value) says(l level) bool {
	switch v.Type {
	case edmString, edmBoolean, edmInt32:
		return false
	case edmDouble:
		text := v.text()
		return l == fullMetadata || l == minimalMetadata && (text == "NaN" || strings.HasSuffix(text, "Infinity"))
	}
	return l != noMetadata
}

// view is how entities of one table are written.
type view struct {
	level    level
	endpoint string // https://account.table.core.windows.net/
	account  string
	table    string
	selected []string // nil: all
}

func keyText(v string) string { return url.PathEscape(strings.ReplaceAll(v, "'", "''")) }

func (v view) path(e *Entity) string {
	return v.table + "(PartitionKey='" + keyText(e.PartitionKey) + "',RowKey='" + keyText(e.RowKey) + "')"
}

// entity writes one entity; alone says that it is the whole answer.
func (v view) entity(e *Entity, alone bool) []byte {
	var o object
	if alone && v.level != noMetadata {
		o.member("odata.metadata", v.endpoint+"$metadata#"+v.table+"/@Element")
	}
	if v.level == fullMetadata {
		o.member("odata.type", v.account+"."+v.table)
		o.member("odata.id", v.endpoint+v.path(e))
	}
	if v.level != noMetadata {
		o.member("odata.etag", e.ETag())
	}
	if v.level == fullMetadata {
		o.member("odata.editLink", v.path(e))
	}
	wanted := func(name string) bool { return v.selected == nil || slices.Contains(v.selected, name) }
	if wanted("PartitionKey") {
		o.member("PartitionKey", e.PartitionKey)
	}
	if wanted("RowKey") {
		o.member("RowKey", e.RowKey)
	}
	if wanted("Timestamp") {
		if v.level == fullMetadata {
			o.member("Timestamp@odata.type", edmDateTime)
		}
		o.member("Timestamp", e.Timestamp.Format(dateTime))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Properties)) {
		p := e.Properties[name]
		if !wanted(name) {
			continue
		}
		if p.says(v.level) {
			o.member(name+"@odata.type", p.Type)
		}
		o.raw(name, p.json())
	}
	for _, name := range v.selected {
		if _, has := e.Member(name); !has {
			o.raw(name, []byte("null"))
		}
	}
	return o.end()
}

// tableJSON writes one table of a list, or alone.
func (v view) tableJSON(name string, alone bool) []byte {
	var o object
	if alone && v.level != noMetadata {
		o.member("odata.metadata", v.endpoint+"$metadata#Tables/@Element")
	}
	if v.level == fullMetadata {
		o.member("odata.type", v.account+".Tables")
		o.member("odata.id", v.endpoint+"Tables('"+name+"')")
		o.member("odata.editLink", "Tables('"+name+"')")
	}
	o.member("TableName", name)
	return o.end()
}

// list writes a page.
func (v view) list(what string, items [][]byte) []byte {
	var o object
	if v.level != noMetadata {
		o.member("odata.metadata", v.endpoint+"$metadata#"+what)
	}
	o.raw("value", append(append([]byte{'['}, bytes.Join(items, []byte{','})...), ']'))
	return o.end()
}

// errorBody is an error of the Table service: in JSON, unless the caller takes none.
func errorBody(q *storagehttp.Request, e *storagehttp.Error) (string, []byte) {
	text := e.Text(q.ID, q.Front.Clock.Now())
	if e.Detail != "" {
		text += "\n" + e.Detail
	}
	accept := strings.ToLower(q.R.Header.Get("Accept"))
	if q.Query.Get("comp") != "" || strings.Contains(accept, "xml") && !strings.Contains(accept, "json") {
		x := storagehttp.NewXML()
		x.WriteString(`<error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">`)
		x.Text("code", e.Code)
		x.Text("message", text)
		x.WriteString("</error>")
		return "application/xml", x.Bytes()
	}
	return minimalMetadata.contentType(), errorJSON(e.Code, text)
}

func errorJSON(code, text string) []byte {
	var message, inner, o object
	message.member("lang", "en-US")
	message.member("value", text)
	inner.member("code", code)
	inner.raw("message", message.end())
	o.raw("odata.error", inner.end())
	return o.end()
}
