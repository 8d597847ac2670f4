package deps

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "vauban.dev"

// layers, the lowest first: a package imports its own layer and those below it.
var layers = [][]string{
	{"arm", "origin", "internal"},
	{"store", "reconcile"},
	{"authz", "activity", "locks", "firewall", "seal", "azurefirewall", "explain", "audit", "diagnose", "check", "flowlog", "capture", "metrics", "rulegen", "policy", "kql", "imports"},
	{"arm/rp", "entra", "ml", "internal/storagehttp"},
	{"arm/door", "provider", "dataplane"},
	{"arm/rp/rptest", "region", "demo", "cmd", "e2e"},
}

// rule forbids imports. Paths without a dot in their first segment are of this module.
type rule struct {
	why   string
	of    string   // packages at or under this path
	never []string // may not import what is at or under these
	deep  bool     // not even by way of others
	but   []string // exceptions to of
}

var rules = []rule{
	{why: "the fabric knows nothing of ARM", of: "fabric", never: []string{"arm", "store"}, deep: true},
	{why: "compute knows nothing of ARM", of: "compute", never: []string{"arm", "store"}, deep: true},
	{why: "decisions are pure", of: "authz", never: []string{"net/http", "database/sql"}},
	{why: "decisions are pure", of: "activity", never: []string{"net/http", "database/sql"}},
	{why: "decisions are pure", of: "locks", never: []string{"net", "database/sql", "store"}},
	{why: "decisions are pure", of: "firewall", never: []string{"net/http", "database/sql"}},
	{why: "decisions are pure", of: "policy", never: []string{"net/http", "database/sql", "store"}},
	{why: "a query is pure", of: "kql", never: []string{"net/http", "database/sql", "store", "arm"}},
	{why: "decisions are pure", of: "azurefirewall", never: []string{"net/http", "crypto/tls", "fabric"}, but: []string{"azurefirewall/proxy"}},
	{why: "an explanation is pure", of: "explain", never: []string{"net/http", "database/sql", "store", "fabric/linux"}},
	{why: "flow logs are made of data", of: "flowlog", never: []string{"net/http", "database/sql", "store", "arm", "fabric/linux"}},
	{why: "a check is pure", of: "check", never: []string{"net/http", "database/sql", "store", "fabric/linux"}},
	{why: "an audit is pure", of: "audit", never: []string{"net/http", "database/sql", "store", "fabric/linux"}},
	{why: "a diagnosis is pure", of: "diagnose", never: []string{"net/http", "database/sql", "store", "fabric/linux"}},
	{why: "documents say nothing to the store", of: "store", never: []string{"arm"}, deep: true},
	{why: "the kernel's network is the driver's", of: "", never: []string{"github.com/vishvananda/netlink", "github.com/google/nftables"}, but: []string{"fabric/linux", "internal/testkit"}},
	{why: "a judge knows nothing of whom it judges", of: "conformance", never: []string{"arm", "store", "fabric", "provider", "dataplane", "entra", "region", "cmd"}},
	{why: "the backend is chosen in cmd", of: "", never: []string{"store/sqlite", "store/postgres"}, but: []string{"store", "cmd", "demo", "e2e", "arm/rp/rptest", "internal/testkit", "internal/storagehttp/storagetest"}},
}

// small are the packages that import, beside the standard library, nothing but these.
var small = map[string][]string{
	"arm":      nil,
	"arm/expr": nil,
	"origin":   nil,
	"store":    nil,
	"region":   {"region/spawn", "golang.org/x/sys/unix"},
}

// under says whether a package is at path or below it; every package is under "".
func under(pkg, path string) bool {
	return path == "" || pkg == path || strings.HasPrefix(pkg, path+"/")
}

// imports reads the imports of every package of the module, without its tests; paths of the module are
// relative to it.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..")
	found := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != root && err == nil {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if found[pkg] == nil {
			found[pkg] = map[string]bool{}
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			found[pkg][strings.TrimPrefix(p, module+"/")] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for pkg, set := range found {
		all[pkg] = slices.Sorted(maps.Keys(set))
	}
	return all
}

// way returns the chain of imports from pkg to something forbidden, or nil.
func way(all map[string][]string, pkg string, forbidden func(string) bool, seen map[string]bool) []string {
	if seen[pkg] {
		return nil
	}
	seen[pkg] = true
	for _, p := range all[pkg] {
		if forbidden(p) {
			return []string{pkg, p}
		}
		if w := way(all, p, forbidden, seen); w != nil {
			return append([]string{pkg}, w...)
		}
	}
	return nil
}

func TestLayers(t *testing.T) {
	all := imports(t)
	for _, pkg := range slices.Sorted(maps.Keys(all)) {
		from := layer(pkg)
		if from < 0 {
			continue
		}
		for _, p := range all[pkg] {
			if to := layer(p); to > from {
				t.Errorf("%s imports %s, which is above it", pkg, p)
			}
		}
	}
}

// layer is the layer of the longest path that pkg is under; -1 for what has none.
func layer(pkg string) int {
	best, at := "", -1
	for i, paths := range layers {
		for _, path := range paths {
			if under(pkg, path) && len(path) > len(best) {
				best, at = path, i
			}
		}
	}
	return at
}

func TestForbiddenImports(t *testing.T) {
	all := imports(t)
	for _, r := range rules {
		for _, pkg := range slices.Sorted(maps.Keys(all)) {
			if !under(pkg, r.of) || slices.ContainsFunc(r.but, func(b string) bool { return under(pkg, b) }) {
				continue
			}
			forbidden := func(p string) bool {
				return slices.ContainsFunc(r.never, func(n string) bool { return under(p, n) && !under(pkg, n) })
			}
			graph := all
			if !r.deep {
				graph = map[string][]string{pkg: all[pkg]}
			}
			if w := way(graph, pkg, forbidden, map[string]bool{}); w != nil {
				t.Errorf("%s: %s", r.why, strings.Join(w, " imports "))
			}
		}
	}
}

func TestStandardLibraryOnly(t *testing.T) {
	all := imports(t)
	for pkg, allowed := range small {
		for _, p := range all[pkg] {
			first, _, _ := strings.Cut(p, "/")
			if (strings.Contains(first, ".") || all[p] != nil) && !slices.Contains(allowed, p) {
				t.Errorf("%s imports %s", pkg, p)
			}
		}
	}
}

func TestDataPlanesAreStrangers(t *testing.T) {
	all := imports(t)
	plane := func(pkg string) string {
		rest, ok := strings.CutPrefix(pkg, "dataplane/")
		if !ok {
			return ""
		}
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	for pkg, list := range all {
		for _, p := range list {
			if a, b := plane(pkg), plane(p); a != "" && b != "" && a != b {
				t.Errorf("%s imports %s", pkg, p)
			}
		}
	}
}
