package entra

import (
	"strconv"
	"strings"
	"time"
)

// stamp is what an access token hangs on: the principal's SessionsValidFrom when it was issued, and the
// credential or the family of refresh tokens that it is of. When the first moves or the second goes, the token
// is void. It is the content of aio, which Entra calls opaque: resources do not read it.
type stamp struct {
	validFrom int64 // nanoseconds; 0 = never moved
	kind      byte  // credential, family, or 0
	ref       string
}

const (
	ofCredential = 'c'
	ofFamily     = 'f'
)

func (s Subject) stamp() stamp {
	out := stamp{}
	if !s.ValidFrom.IsZero() {
		out.validFrom = s.ValidFrom.UnixNano()
	}
	switch {
	case s.User != nil && s.User.Family != "":
		out.kind, out.ref = ofFamily, s.User.Family
	case s.User == nil && s.Credential != "":
		out.kind, out.ref = ofCredential, s.Credential
	}
	return out
}

func (s stamp) String() string {
	text := strconv.FormatInt(s.validFrom, 36)
	if s.kind != 0 {
		text += "." + string(s.kind) + s.ref
	}
	return text
}

// parseStamp reads the stamp of a token whose signature was found good.
func parseStamp(text string) (s stamp, ok bool) {
	at, ref, has := strings.Cut(text, ".")
	n, err := strconv.ParseInt(at, 36, 64)
	if err != nil || has && len(ref) < 2 {
		return s, false
	}
	s.validFrom = n
	if has {
		s.kind, s.ref = ref[0], ref[1:]
	}
	return s, !has || s.kind == ofCredential || s.kind == ofFamily
}

// validAt is the stamp's form of a time.
func validAt(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
