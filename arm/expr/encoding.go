package expr

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/url"
	"strings"
	"unicode/utf8"
)

func encodings() []Func {
	return []Func{
		{Name: "base64", Min: 1, Max: 1, Call: mapText(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })},
		{Name: "base64ToString", Min: 1, Max: 1, Call: func(c *Call) (any, error) { return c.unbase64() }},
		{Name: "base64ToJson", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			s, err := c.unbase64()
			if err != nil {
				return nil, err
			}
			return c.json(s)
		}},
		{Name: "json", Min: 1, Max: 1, Call: func(c *Call) (any, error) {
			s, err := c.Text(0)
			if err != nil {
				return nil, err
			}
			return c.json(s)
		}},
		{Name: "dataUri", Min: 1, Max: 1, Call: callDataURI},
		{Name: "dataUriToString", Min: 1, Max: 1, Call: callDataURIToString},
		{Name: "uri", Min: 2, Max: 2, Call: callURI},
		{Name: "uriComponent", Min: 1, Max: 1, Call: mapText(escapeComponent)},
		{Name: "uriComponentToString", Min: 1, Max: 1, Call: mapText(unescapeComponent)},
		{Name: "guid", Min: 1, Max: -1, Call: func(c *Call) (any, error) {
			s, err := c.hashed()
			if err != nil {
				return nil, err
			}
			return GUID(s), nil
		}},
		{Name: "uniqueString", Min: 1, Max: -1, Call: func(c *Call) (any, error) {
			s, err := c.hashed()
			if err != nil {
				return nil, err
			}
			return UniqueString(s), nil
		}},
	}
}

func (c *Call) unbase64() (string, error) {
	s, err := c.Text(0)
	if err != nil {
		return "", err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", errorf("The template language function '%s' was invoked with a parameter that is not valid. The value cannot be decoded from base64 representation.", c.Name)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD"), nil
}

func (c *Call) json(s string) (any, error) {
	if err := c.Spend(len(s) / 8); err != nil {
		return nil, err
	}
	v, err := Decode([]byte(s))
	if err != nil {
		return nil, errorf("The template language function '%s' parameter is not valid. The provided value '%s' cannot be parsed: '%s'. Please see https://aka.ms/arm-functions#%s for usage details.", c.Name, shown(s), err, c.Name)
	}
	return v, nil
}

func callDataURI(c *Call) (any, error) {
	kind, s := "text/plain;charset=utf8", ""
	switch v := c.Args[0].(type) {
	case string:
		s = v
	default:
		b, err := Encode(v, maxString)
		if err != nil {
			return nil, c.Fail("its parameter is too long.")
		}
		kind, s = "application/json", string(b)
	}
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString([]byte(s)), nil
}

func callDataURIToString(c *Call) (any, error) {
	s, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	head, data, ok := strings.Cut(s, ",")
	if !ok || len(head) < 5 || !strings.EqualFold(head[:5], "data:") {
		return nil, errorf("The template language function 'dataUriToString' expects its parameter to be formatted as a valid data URI. The provided value '%s' was not formatted correctly. Please see https://aka.ms/arm-functions#dataUriToString for usage details.", shown(s))
	}
	if !strings.HasSuffix(lower(head), ";base64") {
		return unescapeComponent(data), nil
	}
	b, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, errorf("The template language function 'dataUriToString' was invoked with a parameter that is not valid. The value cannot be converted to the target type.")
	}
	return strings.ToValidUTF8(string(b), "\uFFFD"), nil
}

// callURI resolves a reference by RFC 3986, section 5.
func callURI(c *Call) (any, error) {
	base, err := c.Text(0)
	if err != nil {
		return nil, err
	}
	relative, err := c.Text(1)
	if err != nil {
		return nil, err
	}
	b, err := url.Parse(base)
	if err != nil || !b.IsAbs() {
		return nil, errorf("The template language function 'uri' expects its first argument to be a uri string. The provided value is '%s'. Please see https://aka.ms/arm-function-datauri for usage details.", shown(base))
	}
	r, err := url.Parse(relative)
	if err != nil {
		return nil, errorf("The template language function 'uri' expects its second argument to be a relative uri string. The provided value is '%s'. Please see https://aka.ms/arm-function-datauri for usage details.", shown(relative))
	}
	if b.Path == "" && b.Host != "" {
		b.Path = "/"
	}
	return b.ResolveReference(r).String(), nil
}

// escapeComponent is .NET's Uri.EscapeDataString: all but the unreserved characters of RFC 3986.
func escapeComponent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || strings.IndexByte("-._~", ch) >= 0 {
			b.WriteByte(ch)
			continue
		}
		b.WriteByte('%')
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{ch})))
	}
	return b.String()
}

// unescapeComponent leaves what is not an escape as it is.
func unescapeComponent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.Write(v)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	if out := b.String(); utf8.ValidString(out) {
		return out
	}
	return s
}

// hashed is the text of which guid and uniqueString are made.
func (c *Call) hashed() (string, error) {
	parts := make([]string, len(c.Args))
	for i := range c.Args {
		var err error
		if parts[i], err = c.Text(i); err != nil {
			return "", err
		}
	}
	return strings.Join(parts, "-"), nil
}

// guidNamespace is that of the function guid: version 5 of RFC 9562 with the arguments joined by hyphens
// ("String functions for ARM templates: guid").
var guidNamespace = [16]byte{0x11, 0xfb, 0x06, 0xfb, 0x71, 0x2d, 0x4d, 0xdd, 0x98, 0xc7, 0xe7, 0x1b, 0xbd, 0x58, 0x88, 0x30}

// GUID is what the template function guid makes of its arguments, joined by hyphens.
func GUID(s string) string {
	h := sha1.New()
	h.Write(guidNamespace[:])
	h.Write([]byte(s))
	b := h.Sum(nil)[:16]
	b[6] = b[6]&0x0f | 0x50
	b[8] = b[8]&0x3f | 0x80
	x := hex.EncodeToString(b)
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// UniqueString is what the template function uniqueString makes of its arguments, joined by hyphens: a hash of the
// MurmurHash3 family of 64 bits with Azure's own base 32 of thirteen letters.
func UniqueString(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	h := murmur(s)
	var out [13]byte
	for i := range out {
		out[i] = letters[h>>59]
		h <<= 5
	}
	return string(out[:])
}

// murmur is MurmurHash3 with two lanes of 32 bits.
func murmur(s string) uint64 {
	const c1, c2 = 0x239b961b, 0xab0e9789
	mix1 := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 15) * c2 }
	mix2 := func(k uint32) uint32 { return bits.RotateLeft32(k*c2, 17) * c1 }
	data := []byte(s)
	var h1, h2 uint32
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= mix1(binary.LittleEndian.Uint32(data))
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= mix2(binary.LittleEndian.Uint32(data[4:]))
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	if len(data) > 0 {
		var tail [8]byte
		copy(tail[:], data)
		h1 ^= mix1(binary.LittleEndian.Uint32(tail[:]))
		if len(data) > 4 {
			h2 ^= mix2(binary.LittleEndian.Uint32(tail[4:]))
		}
	}
	end := func(h uint32) uint32 {
		h = (h ^ h>>16) * 0x85ebca6b
		h = (h ^ h>>13) * 0xc2b2ae35
		return h ^ h>>16
	}
	h1 ^= uint32(len(s))
	h2 ^= uint32(len(s))
	h1 += h2
	h2 += h1
	h1, h2 = end(h1), end(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}
