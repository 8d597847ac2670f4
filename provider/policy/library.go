package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"vauban.dev/arm"
	"vauban.dev/arm/rp"
	rules "vauban.dev/policy"
)

// compiledCache keeps compiled custom definitions by id and ETag.
type compiledCache struct {
	mu   sync.Mutex
	kept map[string]cached
}

type cached struct {
	etag     string
	compiled *rules.Compiled
	err      error
}

func (c *compiledCache) get(r *rp.Resource[rules.Definition]) (*rules.Compiled, error) {
	key := r.ID.Key()
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.kept[key]; ok && k.etag == r.ETag {
		return k.compiled, k.err
	}
	d := r.Properties
	d.ID = r.ID.String()
	k := cached{etag: r.ETag}
	k.compiled, k.err = rules.Compile(&d)
	if c.kept == nil || len(c.kept) >= 4096 {
		c.kept = map[string]cached{}
	}
	c.kept[key] = k
	return k.compiled, k.err
}

// library is what a transaction sees of the definitions.
type library struct {
	p  *Provider
	tx *rp.Tx
}

func (p *Provider) library(tx *rp.Tx) rules.Library { return library{p, tx} }

// Definition finds a built-in or a custom definition.
func (l library) Definition(id, version string) (*rules.Compiled, error) {
	parsed, err := arm.ParseID(id)
	if err != nil || parsed.Type().Key() != strings.ToLower(DefinitionType) {
		return nil, &rules.Error{Code: "InvalidPolicyDefinitionReference", Message: fmt.Sprintf("The id '%s' is not that of a policy definition.", id)}
	}
	if builtinID(parsed) {
		b, ok := rules.FindBuiltin(parsed.Name())
		if !ok {
			return nil, notFound("PolicyDefinitionNotFound", "policy definition", parsed.Name())
		}
		if !versionMatches(b.Properties.Version, version) {
			return nil, &rules.Error{Code: "PolicyDefinitionVersionNotFound", Message: fmt.Sprintf("The version '%s' of the policy definition '%s' could not be found: the region has version %s.", version, parsed.Name(), b.Properties.Version)}
		}
		return b.Compile()
	}
	r, err := rp.Get[rules.Definition](l.tx, parsed)
	if err != nil {
		return nil, asNotFound(err, "PolicyDefinitionNotFound", "policy definition", parsed.Name())
	}
	if version == "" || versionMatches(r.Properties.Version, version) {
		return l.p.compiled.get(r)
	}
	versions, err := rp.List[rules.Definition](l.tx, DefinitionVersionType, parsed)
	if err != nil {
		return nil, err
	}
	var best *rp.Resource[rules.Definition]
	for _, v := range versions {
		if versionMatches(v.ID.Name(), version) && (best == nil || newer(v.ID.Name(), best.ID.Name())) {
			best = v
		}
	}
	if best == nil {
		return nil, &rules.Error{Code: "PolicyDefinitionVersionNotFound", Message: fmt.Sprintf("The version '%s' of the policy definition '%s' could not be found.", version, parsed.Name())}
	}
	c, err := l.p.compiled.get(best)
	if err != nil {
		return nil, err
	}
	of := *c
	d := *c.Definition
	d.ID = parsed.String() // a version is its definition's
	of.Definition = &d
	return &of, nil
}

// Set finds an initiative.
func (l library) Set(id, version string) (*rules.SetDefinition, error) {
	parsed, err := arm.ParseID(id)
	if err != nil || parsed.Type().Key() != strings.ToLower(SetType) {
		return nil, &rules.Error{Code: "InvalidPolicyDefinitionReference", Message: fmt.Sprintf("The id '%s' is not that of a policy set definition.", id)}
	}
	if builtinID(parsed) {
		return nil, notFound("PolicySetDefinitionNotFound", "policy set definition", parsed.Name())
	}
	r, err := rp.Get[rules.SetDefinition](l.tx, parsed)
	if err != nil {
		return nil, asNotFound(err, "PolicySetDefinitionNotFound", "policy set definition", parsed.Name())
	}
	s := r.Properties
	if version != "" && !versionMatches(s.Version, version) {
		versions, err := rp.List[rules.SetDefinition](l.tx, SetVersionType, parsed)
		if err != nil {
			return nil, err
		}
		best := ""
		for _, v := range versions {
			if versionMatches(v.ID.Name(), version) && (best == "" || newer(v.ID.Name(), best)) {
				best, s = v.ID.Name(), v.Properties
			}
		}
		if best == "" {
			return nil, &rules.Error{Code: "PolicySetDefinitionVersionNotFound", Message: fmt.Sprintf("The version '%s' of the policy set definition '%s' could not be found.", version, parsed.Name())}
		}
	}
	s.ID = r.ID.String()
	return &s, nil
}

// builtinID says whether the id is that of a definition of the tenant's root.
func builtinID(id arm.ID) bool { return id.Scope().Type().IsZero() }

func notFound(code, kind, name string) *rules.Error {
	return &rules.Error{Code: code, Message: fmt.Sprintf("The %s '%s' could not be found.", kind, name)}
}

func asNotFound(err error, code, kind, name string) error {
	if e := arm.AsError(err); e != nil && e.Status == http.StatusNotFound {
		return notFound(code, kind, name)
	}
	return err
}

// versionMatches compares a version with a pattern such as 1.*.*; "" matches all.
func versionMatches(version, pattern string) bool {
	if pattern == "" {
		return true
	}
	have, want := strings.Split(version, "."), strings.Split(pattern, ".")
	if len(have) < len(want) {
		return false
	}
	for i, w := range want {
		if w != "*" && !strings.EqualFold(w, have[i]) {
			return false
		}
	}
	return true
}

// newer compares versions by their numbers.
func newer(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(strings.SplitN(x[i], "-", 2)[0])
		n, _ := strconv.Atoi(strings.SplitN(y[i], "-", 2)[0])
		if m != n {
			return m > n
		}
	}
	return len(x) > len(y)
}

// newReference makes the reference id of a definition in an initiative, as a number that stays the same.
func newReference(set arm.ID, i int) string {
	sum := sha256.Sum256([]byte(set.Key() + " " + strconv.Itoa(i)))
	return hex.EncodeToString(sum[:8])
}

// readIndex makes the index of what is in force.
func (p *Provider) readIndex(tx *rp.Tx) (*rules.Index, error) {
	root := arm.MustParseID("/")
	assignments, err := rp.List[rules.Assignment](tx, AssignmentType, root)
	if err != nil {
		return nil, err
	}
	exemptions, err := rp.List[rules.Exemption](tx, ExemptionType, root)
	if err != nil {
		return nil, err
	}
	var as []*rules.Assignment
	for _, r := range assignments {
		if r.State == arm.Deleting {
			continue
		}
		a := r.Properties
		a.ID, a.Scope = r.ID.String(), r.ID.Scope().String()
		if r.Identity != nil {
			a.PrincipalID = r.Identity.PrincipalID
			for _, u := range r.Identity.UserAssignedIdentities {
				if u != nil && a.PrincipalID == "" {
					a.PrincipalID = u.PrincipalID
				}
			}
		}
		as = append(as, &a)
	}
	var es []*rules.Exemption
	for _, r := range exemptions {
		e := r.Properties
		e.ID = r.ID.String()
		es = append(es, &e)
	}
	for _, kind := range []string{DefinitionType, DefinitionVersionType, SetType, SetVersionType} { // the index follows them too
		if err := p.noteKind(tx, kind); err != nil {
			return nil, err
		}
	}
	return rules.NewIndex(p.library(tx), as, es, func(typ, path string) bool { return p.secrets[typ+" "+path] }), nil
}
