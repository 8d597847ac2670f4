// Package password keeps passwords of people as argon2id hashes (RFC 9106) in the PHC string format,
// $argon2id$v=19$m=…,t=…,p=…$salt$hash. Hashing is slow and takes memory on purpose, so only a few run at once:
// a flood of sign-ins waits in line and does not take the machine's memory.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The cost of a hash: OWASP's "Password Storage Cheat Sheet", argon2id with 19 MiB and two passes.
const (
	memoryKiB = 19 << 10
	passes    = 2
	lanes     = 1
	saltLen   = 16
	hashLen   = 32
)

// AtOnce is how many hashes are computed at the same time; each takes 19 MiB while it runs.
const AtOnce = 4

// MaxLength bounds a password, in bytes; Entra takes up to 256 characters.
const MaxLength = 1024

// ErrMalformed is returned for a stored text that is no hash of this package.
var ErrMalformed = errors.New("password: the stored hash is malformed")

var slots = make(chan struct{}, AtOnce)

// Hash returns the text to keep for a password. Errors: ctx ended while waiting for its turn; a
// password longer than MaxLength.
func Hash(ctx context.Context, password string) (string, error) {
	if len(password) > MaxLength {
		return "", fmt.Errorf("password: longer than %d bytes", MaxLength)
	}
	salt := make([]byte, saltLen)
	rand.Read(salt) //nolint:errcheck // never fails: crypto/rand ends the program first
	p := params{memory: memoryKiB, passes: passes, lanes: lanes, salt: salt, length: hashLen}
	sum, err := p.sum(ctx, password)
	if err != nil {
		return "", err
	}
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes, enc.EncodeToString(salt), enc.EncodeToString(sum)), nil
}

// Verify reports whether the password is the one that was hashed. With an empty hash, which no password
// fits, it takes as long as with one: a stranger does not learn from the time which users there are.
// Errors: ErrMalformed; ctx ended while waiting.
func Verify(ctx context.Context, hash, password string) (bool, error) {
	p, want := params{memory: memoryKiB, passes: passes, lanes: lanes, salt: make([]byte, saltLen), length: hashLen}, []byte(nil)
	if hash != "" {
		var err error
		if p, want, err = parse(hash); err != nil {
			return false, err
		}
	}
	if len(password) > MaxLength {
		return false, nil
	}
	sum, err := p.sum(ctx, password)
	return err == nil && hash != "" && subtle.ConstantTimeCompare(sum, want) == 1, err
}

type params struct {
	memory, passes uint32
	lanes          uint8
	salt           []byte
	length         uint32
}

func (p params) sum(ctx context.Context, password string) ([]byte, error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, p.length), nil
}

// parse reads a PHC string; what would take more than this package's own hashes take is refused.
func parse(text string) (p params, hash []byte, err error) {
	f := strings.Split(text, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return p, nil, ErrMalformed
	}
	var lanes uint32
	for i, part := range strings.Split(f[3], ",") {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || i > 2 || name != [3]string{"m", "t", "p"}[i] || n == 0 {
			return p, nil, ErrMalformed
		}
		*[3]*uint32{&p.memory, &p.passes, &lanes}[i] = uint32(n)
	}
	if p.memory > 4*memoryKiB || p.passes > 4*passes || lanes == 0 || lanes > 16 {
		return p, nil, ErrMalformed
	}
	p.lanes = uint8(lanes)
	salt, err1 := base64.RawStdEncoding.DecodeString(f[4])
	hash, err2 := base64.RawStdEncoding.DecodeString(f[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(hash) < 16 || len(hash) > 64 {
		return p, nil, ErrMalformed
	}
	p.salt, p.length = salt, uint32(len(hash))
	return p, hash, nil
}

// letters of a made password: none that is taken for another one.
const letters = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// New makes a password that fits Check: 16 letters and digits in four groups.
func New() string {
	for {
		var b strings.Builder
		for i := range 16 {
			if i > 0 && i%4 == 0 {
				b.WriteByte('-')
			}
			n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
			if err != nil {
				panic(err) // crypto/rand ends the program first
			}
			b.WriteByte(letters[n.Int64()])
		}
		if Check(b.String()) == nil {
			return b.String()
		}
	}
}

// Check holds a new password to Entra's rule: 8 to 256 characters, three of lower case, upper case, digits and
// symbols ("Password policies and account restrictions in Microsoft Entra ID"). An error says what is missing.
func Check(password string) error {
	var lower, upper, digit, symbol int
	n := 0
	for _, r := range password {
		n++
		switch {
		case 'a' <= r && r <= 'z':
			lower = 1
		case 'A' <= r && r <= 'Z':
			upper = 1
		case '0' <= r && r <= '9':
			digit = 1
		case r < ' ' || r == 0x7f:
			return errors.New("a password must not contain control characters")
		default:
			symbol = 1
		}
	}
	if n < 8 || n > 256 || len(password) > MaxLength {
		return errors.New("a password must have 8 to 256 characters")
	}
	if lower+upper+digit+symbol < 3 {
		return errors.New("a password must have characters of three of these kinds: lower case, upper case, digits, symbols")
	}
	return nil
}
