package probe

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxMessage = 2000

// azureError finds the error in the forms that Azure's services have: ARM's and Key Vault's JSON envelope,
// storage's XML, Entra's OAuth error, and the header x-ms-error-code.
func azureError(h http.Header, body []byte) (code, inner, message string) {
	var arm struct {
		Error struct {
			Code, Message string
			InnerError    struct{ Code string }
		}
	}
	var entra struct {
		Error       string
		Description string `json:"error_description"`
	}
	var storage struct{ Code, Message string }
	text := strings.TrimPrefix(string(body), "\ufeff")
	switch {
	case json.Unmarshal([]byte(text), &arm) == nil && arm.Error.Code+arm.Error.Message != "":
		code, inner, message = arm.Error.Code, arm.Error.InnerError.Code, arm.Error.Message
	case json.Unmarshal([]byte(text), &entra) == nil && entra.Error != "":
		code, message = entra.Error, entra.Description
	case decodeXML(text, &storage) == nil && storage.Code != "":
		code, message = storage.Code, storage.Message
	default:
		message = text
	}
	if code == "" {
		code = h.Get("x-ms-error-code")
	}
	return printable(code, 100), printable(inner, 100), printable(message, maxMessage)
}

func decodeXML(text string, v any) error {
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	return d.Decode(v)
}

// printable is the text without what a terminal would obey, and not too long of it. Lines stay.
func printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		if r == utf8.RuneError || r != '\n' && !unicode.IsPrint(r) {
			r = ' '
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
