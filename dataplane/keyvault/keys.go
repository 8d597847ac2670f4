package keyvault

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"vauban.dev/dataplane/keyvault/jwk"
	"vauban.dev/store"
)

// Key is one version of a key without its private part. Zero times are not set.
type Key struct {
	Name       string
	Version    string
	Type       string // RSA, EC, RSA-HSM …
	Operations []string
	Public     jwk.Public
	Enabled    bool
	NotBefore  time.Time
	Expires    time.Time
	Created    time.Time
	Updated    time.Time
	Tags       map[string]string
}

// KeyOptions are what a key is made with.
type KeyOptions struct {
	Type       string // RSA, EC, oct, and each with -HSM
	Size       int    // bits; 0 is the type's usual size
	Curve      string
	Operations []string // empty: all that the type can
	SetOptions          // ContentType is not used
}

func (o object) key() Key {
	return Key{
		Name: o.head.Name, Version: o.ID, Type: o.Key.kind(), Operations: o.Key.Operations, Public: o.Key.Public, Enabled: o.Enabled,
		NotBefore: fromUnix(o.NotBefore), Expires: fromUnix(o.Expires), Created: fromUnix(o.Created), Updated: fromUnix(o.Updated), Tags: o.Tags,
	}
}

func (f *keyFacts) kind() string {
	if f.HSM {
		return f.Public.Type + "-HSM"
	}
	return f.Public.Type
}

// CreateKey makes a key, or a new version of it, and returns it.
func (s *Service) CreateKey(ctx context.Context, vault, name string, o KeyOptions) (Key, error) {
	v, err := s.Vaults.Lookup(ctx, vault)
	if err != nil {
		return Key{}, err
	}
	made, err := s.createKey(ctx, v, name, o)
	if err != nil {
		return Key{}, err
	}
	return made.key(), nil
}

// GetKey returns a version of a key; version "" is the newest.
func (s *Service) GetKey(ctx context.Context, vault, name, version string) (Key, error) {
	o, err := s.get(ctx, keyClass, vault, name, version)
	if err != nil {
		return Key{}, err
	}
	return o.key(), nil
}

// ListKeys returns the newest versions of a vault's keys by name; see List for paging.
func (s *Service) ListKeys(ctx context.Context, vault, after string, limit int) (keys []Key, next string, err error) {
	list, next, err := s.list(ctx, keyClass, vault, false, after, limit)
	for _, o := range list {
		keys = append(keys, o.key())
	}
	return keys, next, err
}

// ListKeyVersions returns the versions of a key by id; see List for paging.
func (s *Service) ListKeyVersions(ctx context.Context, vault, name, after string, limit int) (keys []Key, next string, err error) {
	list, next, err := s.versions(ctx, keyClass, vault, name, after, limit)
	for _, o := range list {
		keys = append(keys, o.key())
	}
	return keys, next, err
}

// badKey is an error of package jwk as the service tells it.
func badKey(err error) error {
	var e jwk.Error
	if errors.As(err, &e) {
		return errBadParameter("%s", e)
	}
	return err
}

func errKeyType(kind, why string) *Error {
	return newError(http.StatusBadRequest, "BadParameter", "KeyTypeNotSupported", "Invalid kty value: %s%s", kind, why)
}

// keyType parses kty. Software oct keys are in no vault; -HSM keys in vaults of sku premium, where software does what Azure's
// modules do.
func (v Vault) keyType(kind string) (base string, hsm bool, err error) {
	base, hsm = strings.CutSuffix(kind, "-HSM")
	switch {
	case base != jwk.RSA && base != jwk.EC && base != jwk.Oct, kind == jwk.Oct:
		return "", false, errKeyType(kind, "")
	case hsm && !v.Premium:
		return "", false, errKeyType(kind, ". Keys of HSMs are in vaults of sku premium; this one's is standard.")
	}
	return base, hsm, nil
}

// operations that a key of a type is for, unless it is made for fewer.
func operationsOf(kind string) []string {
	switch kind {
	case jwk.EC:
		return []string{"sign", "verify"}
	case jwk.Oct:
		return []string{"encrypt", "decrypt", "wrapKey", "unwrapKey"}
	}
	return []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
}

func checkOperations(ops []string) error {
	for i, op := range ops {
		if !slices.Contains([]string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey", "import", "export"}, op) {
			return errBadParameter("Invalid key_ops value: %s", op)
		}
		if slices.Contains(ops[:i], op) {
			return errBadParameter("Invalid key_ops: %s is there twice.", op)
		}
	}
	return nil
}

func (s *Service) createKey(ctx context.Context, v Vault, name string, o KeyOptions) (object, error) {
	if err := checkName(name); err != nil {
		return object{}, err
	}
	base, hsm, err := v.keyType(o.Type)
	if err != nil {
		return object{}, err
	}
	k, err := jwk.Generate(base, o.Size, o.Curve)
	if err != nil {
		return object{}, badKey(err)
	}
	return s.addKey(ctx, v, name, k, hsm, o)
}

// importKey adds a key that a client made.
func (s *Service) importKey(ctx context.Context, v Vault, name string, in jwk.Private, o KeyOptions) (object, error) {
	if err := checkName(name); err != nil {
		return object{}, err
	}
	base, hsm, err := v.keyType(o.Type)
	if err != nil {
		return object{}, err
	}
	in.Type = base
	k, err := jwk.Import(in)
	if err != nil {
		return object{}, badKey(err)
	}
	return s.addKey(ctx, v, name, k, hsm, o)
}

func (s *Service) addKey(ctx context.Context, vault Vault, name string, k *jwk.Key, hsm bool, o KeyOptions) (object, error) {
	if err := checkOperations(o.Operations); err != nil {
		return object{}, err
	}
	facts := keyFacts{HSM: hsm, Operations: o.Operations, Public: k.Public()}
	if len(facts.Operations) == 0 {
		facts.Operations = operationsOf(facts.Public.Type)
	}
	v, err := s.keyVersion(ctx, vault.Name, name, randomVersion(), k, facts)
	if err != nil {
		return object{}, err
	}
	v.Enabled, v.NotBefore, v.Expires, v.Tags = !o.Disabled, toUnix(o.NotBefore), toUnix(o.Expires), o.Tags
	return s.insert(ctx, keyClass, vault.Name, name, v)
}

// keyVersion is an enabled version of a key, sealed for its place.
func (s *Service) keyVersion(ctx context.Context, vault, name, id string, k *jwk.Key, facts keyFacts) (v versionDoc, err error) {
	plain, err := k.Marshal()
	if err != nil {
		return v, err
	}
	defer clear(plain)
	now := s.Clock.Now().Unix()
	v = versionDoc{ID: id, Enabled: true, Created: now, Updated: now, Key: &facts}
	v.Sealed, err = s.seal(ctx, keyClass, vault, name, id, plain)
	return v, err
}

// private returns the key of a version, ready for use.
func (s *Service) private(ctx context.Context, vault string, o object) (*jwk.Key, error) {
	at := versionKey(vault, o.head.Name, o.ID)
	if k := s.privates.get(at); k != nil {
		return k, nil
	}
	plain, err := s.open(ctx, vault, o)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	k, err := jwk.Parse(plain)
	if err != nil {
		return nil, err
	}
	s.privates.put(at, k)
	return k, nil
}

// privates keeps the keys that were used last ready for use: to open and check an RSA key costs as much as several signatures.
// Every use reads the key's document before, so what is deleted or disabled is not used, kept or not.
type privates struct {
	mu   sync.Mutex
	keys map[string]*jwk.Key // by version key
}

const maxPrivates = 256

func (p *privates) get(at string) *jwk.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[at]
}

func (p *privates) put(at string, k *jwk.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[string]*jwk.Key{}
	}
	for other := range p.keys {
		if len(p.keys) < maxPrivates {
			break
		}
		delete(p.keys, other)
	}
	p.keys[at] = k
}

// drop lets go of the keys whose version keys begin with prefix.
func (p *privates) drop(prefix string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.keys {
		if strings.HasPrefix(at, prefix) {
			delete(p.keys, at)
		}
	}
}

// use is an operation with a key.
type use struct {
	name    string // as key_ops says it
	always  bool   // also outside the key's times: what was protected before must stay readable
	private func(k *jwk.Key) error
}

// useKey does an operation with a version of a key, "" the newest, as its attributes allow.
func (s *Service) useKey(ctx context.Context, vault, name, version string, u use) (object, error) {
	o, err := s.get(ctx, keyClass, vault, name, version)
	if err != nil {
		return o, err
	}
	now := s.Clock.Now().Unix()
	forbidden := func(inner, format string) (object, error) {
		return o, newError(http.StatusForbidden, "Forbidden", inner, format, u.name)
	}
	switch {
	case !o.Enabled:
		return forbidden("KeyDisabled", "Operation %s is not allowed on a disabled key.")
	case !slices.Contains(o.Key.Operations, u.name):
		return forbidden("KeyOperationForbidden", "Operation %s is not permitted on this key: its key_ops do not have it.")
	case !u.always && o.NotBefore != 0 && now < o.NotBefore:
		return forbidden("KeyNotYetValid", "Operation %s is not allowed on a key before its nbf time.")
	case !u.always && o.Expires != 0 && now >= o.Expires:
		return forbidden("KeyExpired", "Operation %s is not allowed on an expired key.")
	}
	k, err := s.private(ctx, vault, o)
	if err != nil {
		return o, err
	}
	return o, badKey(u.private(k))
}

// rotationDoc is a key's rotation policy as it was put. Times are Unix seconds.
type rotationDoc struct {
	Policy  rotationPolicy `json:"policy"`
	Created int64          `json:"created"`
	Updated int64          `json:"updated"`
}

// rotate adds a version that is like the newest one, with other key material.
func (s *Service) rotate(ctx context.Context, vault, name string, only func(*headDoc) bool) (o object, err error) {
	if o, err = s.get(ctx, keyClass, vault, name, ""); err != nil {
		return o, err
	}
	old := o.Key
	if o.Managed {
		return o, errManaged(keyClass, name)
	}
	k, err := jwk.Generate(old.Public.Type, keySize(old.Public), old.Public.Curve)
	if err != nil {
		return o, err
	}
	v, err := s.keyVersion(ctx, vault, o.head.Name, randomVersion(), k, keyFacts{HSM: old.HSM, Operations: old.Operations, Public: k.Public()})
	if err != nil {
		return o, err
	}
	v.Tags = o.Tags
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		head, err := s.active(tx, keyClass, vault, name)
		if err != nil {
			return err
		}
		if only != nil && !only(head) { // another was first
			o = object{keyClass, head, head.Current}
			return nil
		}
		if head.Rotation != nil {
			if life, ok := head.Rotation.Policy.expiry(); ok {
				v.Expires = life.after(time.Unix(v.Created, 0)).Unix()
			}
		}
		o = object{keyClass, head, v}
		return add(tx, keyClass, vault, head, v)
	})
	return o, err
}

// keySize is the size to generate a key of p's size with.
func keySize(p jwk.Public) int {
	if p.Type == jwk.RSA {
		return len(p.N) * 8
	}
	return 0
}
