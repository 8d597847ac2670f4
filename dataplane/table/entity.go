package table

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"vauban.dev/internal/odata"
	"vauban.dev/internal/storagehttp"
)

// Types of properties ("Understanding the Table service data model").
const (
	edmString   = "Edm.String"
	edmBinary   = "Edm.Binary"
	edmBoolean  = "Edm.Boolean"
	edmDateTime = "Edm.DateTime"
	edmDouble   = "Edm.Double"
	edmGUID     = "Edm.Guid"
	edmInt32    = "Edm.Int32"
	edmInt64    = "Edm.Int64"
)

const (
	maxProperties   = 252 // besides the three of the system
	maxPropertyName = 255
	maxValue        = 64 << 10 // bytes; of a text in UTF-16
	maxEntity       = 1 << 20
	maxKey          = 1 << 10 // bytes of UTF-16
)

// Value is one property's value: string, []byte, bool, time.Time, float64, odata.GUID or int64, by its type.
type Value struct {
	Type string
	V    any
}

// valueDoc is a Value in the store: texts keep what JSON numbers lose.
type valueDoc struct {
	Type string `json:"t"`
	Text string `json:"v"`
}

// MarshalJSON writes the value for the store.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(valueDoc{v.Type, v.text()}) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value) UnmarshalJSON(b []byte) error {
	var d valueDoc
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	var ok bool
	if v.Type = d.Type; d.Type == edmString {
		v.V, ok = d.Text, true
	} else {
		v.V, ok = parseText(d.Type, d.Text)
	}
	if !ok {
		return fmt.Errorf("%s '%s'", d.Type, d.Text)
	}
	return nil
}

// dateTime is how an Edm.DateTime is written.
const dateTime = "2006-01-02T15:04:05.9999999Z"

// text is the value as OData's JSON has it in a string.
func (v Value) text() string {
	switch x := v.V.(type) {
	case string:
		return x
	case []byte:
		return base64.StdEncoding.EncodeToString(x)
	case bool:
		return strconv.FormatBool(x)
	case time.Time:
		return x.UTC().Format(dateTime)
	case float64:
		return formatDouble(x)
	case odata.GUID:
		return string(x)
	case int64:
		return strconv.FormatInt(x, 10)
	}
	return ""
}

func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// parseText reads a value of a type other than Edm.String from a text.
func parseText(edm, s string) (any, bool) {
	switch edm {
	case edmBinary:
		b, err := base64.StdEncoding.DecodeString(s)
		return b, err == nil
	case edmBoolean:
		return s == "true", s == "true" || s == "false"
	case edmDateTime:
		t, ok := odata.ParseDateTime(s)
		return t, ok && t.Year() >= 1601 && t.Year() <= 9999
	case edmDouble:
		f, err := strconv.ParseFloat(s, 64)
		return f, err == nil && !strings.ContainsAny(s, "xX_")
	case edmGUID:
		return odata.ParseGUID(s)
	case edmInt32:
		n, err := strconv.ParseInt(s, 10, 32)
		return n, err == nil
	case edmInt64:
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	}
	return nil, false
}

// size is what the value counts for the limits, in bytes.
func (v Value) size() int {
	switch x := v.V.(type) {
	case string:
		return utf16Size(x)
	case []byte:
		return len(x)
	case bool:
		return 1
	case odata.GUID:
		return 16
	}
	if v.Type == edmInt32 {
		return 4
	}
	return 8
}

func utf16Size(s string) int {
	n := 0
	for _, r := range s {
		n += 2 * utf16.RuneLen(r)
	}
	return n
}

// Entity is a row of a table.
type Entity struct {
	PartitionKey, RowKey string
	Timestamp            time.Time
	Properties           map[string]Value
}

// entityDoc is an Entity in the store, sealed; its key has the keys.
type entityDoc struct {
	At         int64            `json:"at"` // Unix nanoseconds
	Properties map[string]Value `json:"p,omitempty"`
}

// ETag is the entity's, made of its time.
func (e *Entity) ETag() string { return etag(e.Timestamp) }

func etag(t time.Time) string {
	return `W/"datetime'` + strings.ReplaceAll(t.UTC().Format("2006-01-02T15:04:05.0000000Z"), ":", "%3A") + `'"`
}

// Member is a property for filters.
func (e *Entity) Member(name string) (any, bool) {
	switch name {
	case "PartitionKey":
		return e.PartitionKey, true
	case "RowKey":
		return e.RowKey, true
	case "Timestamp":
		return e.Timestamp, true
	}
	v, ok := e.Properties[name]
	return v.V, ok
}

func refuse(code, message, format string, args ...any) error {
	return storagehttp.NewError(http.StatusBadRequest, code, "%s", message).Because(format, args...)
}

// propertyName is a C# identifier.
var propertyName = regexp.MustCompile(`^[\pL\p{Nl}_][\pL\p{Nl}\p{Nd}\p{Mn}\p{Mc}\p{Pc}\p{Cf}]*$`)

func checkPropertyName(name string) error {
	if utf8.RuneCountInString(name) > maxPropertyName {
		return refuse("PropertyNameTooLong", "The property name exceeds the maximum allowed length (255).", "property '%.40s…'", name)
	}
	if !propertyName.MatchString(name) {
		return refuse("PropertyNameInvalid", "The property name is invalid.", "property '%s' is no identifier", name)
	}
	return nil
}

// checkKey judges a PartitionKey or RowKey.
func checkKey(which, v string) error {
	if utf16Size(v) > maxKey {
		return refuse("KeyValueTooLarge", "The value of a partition key or row key exceeds the limit.", "%s has %d bytes in UTF-16, %d are allowed", which, utf16Size(v), maxKey)
	}
	for _, r := range v {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || strings.ContainsRune(`/\#?`, r) {
			return refuse("OutOfRangeInput", fmt.Sprintf("The '%s' parameter of value '%s' is out of range.", which, strings.ToValidUTF8(v, "\ufffd")), "the character %q is not allowed in it", r)
		}
	}
	return nil
}

// errInvalidInput is how the service refuses a body that it cannot read.
func errInvalidInput(format string, args ...any) error {
	return refuse("InvalidInput", "One of the request inputs is not valid.", format, args...)
}

// parseEntity reads the JSON of an entity. Properties of null are not there. The keys may be missing: has tells.
func parseEntity(body []byte) (e Entity, hasPartition, hasRow bool, err error) {
	var raw map[string]json.RawMessage
	if !utf8.Valid(body) {
		return e, false, false, errInvalidInput("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&raw); err != nil || raw == nil {
		return e, false, false, errInvalidInput("the body is no JSON object: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return e, false, false, errInvalidInput("something follows the JSON object")
	}
	e.Properties = map[string]Value{}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if strings.Contains(name, "odata.") || name == "Timestamp" {
			continue // annotations, and what the service says itself
		}
		if bytes.Equal(raw[name], []byte("null")) {
			if err := checkPropertyName(name); err != nil {
				return e, false, false, err
			}
			continue
		}
		var edm string
		if t, ok := raw[name+"@odata.type"]; ok {
			if err := json.Unmarshal(t, &edm); err != nil {
				return e, false, false, errInvalidInput("%s@odata.type is no text", name)
			}
		}
		v, err := parseValue(name, edm, raw[name])
		if err != nil {
			return e, false, false, err
		}
		switch name {
		case "PartitionKey", "RowKey":
			text, ok := v.V.(string)
			if !ok {
				return e, false, false, errInvalidInput("%s is no text", name)
			}
			if name == "RowKey" {
				e.RowKey, hasRow = text, true
			} else {
				e.PartitionKey, hasPartition = text, true
			}
			continue
		}
		if err := checkPropertyName(name); err != nil {
			return e, false, false, err
		}
		e.Properties[name] = v
	}
	return e, hasPartition, hasRow, nil
}

// parseValue reads a property's value; edm is the type that was said, or "".
func parseValue(name, edm string, raw json.RawMessage) (v Value, err error) {
	bad := func() error {
		return errInvalidInput("property '%s': %.60s is no %s", name, raw, orElse(edm, "value of a property"))
	}
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return v, bad()
		}
		v = Value{orElse(edm, edmString), s}
		if v.Type != edmString {
			var ok bool
			if v.V, ok = parseText(v.Type, s); !ok {
				return v, bad()
			}
		}
	case 't', 'f':
		v = Value{edmBoolean, raw[0] == 't'}
	case '{', '[':
		return v, bad()
	default:
		if v.Type = edm; edm == "" {
			if v.Type = edmDouble; !bytes.ContainsAny(raw, ".eE") {
				if _, err := strconv.ParseInt(string(raw), 10, 32); err == nil {
					v.Type = edmInt32
				}
			}
		}
		var ok bool
		if v.V, ok = parseText(v.Type, string(raw)); !ok || v.Type != edmDouble && v.Type != edmInt32 && v.Type != edmInt64 {
			return v, bad()
		}
	}
	if edm != "" && edm != v.Type {
		return v, bad()
	}
	if n := v.size(); n > maxValue {
		return v, refuse("PropertyValueTooLarge", "The property value exceeds the maximum allowed size (64KB). If the property value is a string, it is UTF-16 encoded and the maximum number of characters should be 32K or less.", "property '%s' has %d bytes", name, n)
	}
	return v, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// check judges a whole entity before it is written.
func (e *Entity) check() error {
	if err := checkKey("PartitionKey", e.PartitionKey); err != nil {
		return err
	}
	if err := checkKey("RowKey", e.RowKey); err != nil {
		return err
	}
	if len(e.Properties) > maxProperties {
		return refuse("TooManyProperties", "The entity contains more properties than allowed. Each entity can include up to 252 properties to store data. Each entity also has 3 system properties.", "it has %d", len(e.Properties))
	}
	size := 4 + utf16Size(e.PartitionKey) + utf16Size(e.RowKey)
	for name, v := range e.Properties {
		size += 8 + utf16Size(name) + v.size()
	}
	if size > maxEntity {
		return refuse("EntityTooLarge", "The entity is larger than the maximum size permitted.", "it has %d bytes, %d are allowed", size, maxEntity)
	}
	return nil
}

func randomID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}
