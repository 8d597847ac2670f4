package authz

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Built-in role definitions that the region itself assigns or that tests name, by their GUIDs.
const (
	Owner                     = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor               = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                    = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdministrator   = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	NetworkContributor        = "4d97b98b-1d4f-4787-a291-c67834d212e7"
	StorageAccountContributor = "17d1049b-9a84-46fb-8f53-869881c3d3ab"
	StorageBlobDataOwner      = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
	StorageBlobDataContrib    = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	StorageFileDataReader     = "b8eda974-7b85-4f76-af95-65846b26df6d" // Storage File Data Privileged Reader
	StorageQueueDataReader    = "19e7f393-937e-4f77-808e-94535e297925"
	StorageTableDataReader    = "76199698-9eea-4c19-bc75-cec21354c6b6"
	StorageBlobDataReader     = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	StorageFilePrivileged     = "69566ab7-960f-475b-8e7c-b3118f30c6bd"
	KeyVaultAdministrator     = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
	KeyVaultSecretsOfficer    = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	KeyVaultSecretsUser       = "4633458b-17de-408a-b874-0445c86b69e6"
	AzureMLDataScientist      = "f6c7c914-8db3-469d-8ca1-694a8f32e121"
	AcrPull                   = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
)

// BuiltinsAsOf is when the built-in roles were what they are here: tools/roles last ran. When Azure made each is not in
// what it reads.
var BuiltinsAsOf = time.Date(2026, time.November, 22, 0, 0, 0, 0, time.UTC)

//go:embed builtin.json.gz
var builtinJSON []byte

var builtin = sync.OnceValue(func() map[string]Definition {
	defs, err := parseBuiltin(unpack("builtin.json.gz", builtinJSON))
	if err != nil {
		panic("authz: builtin.json.gz: " + err.Error()) // part of the program, held by a test
	}
	return defs
})

// unpack reads an embedded file.
func unpack(name string, packed []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err == nil {
		packed, err = io.ReadAll(r)
	}
	if err != nil {
		panic("authz: " + name + ": " + err.Error()) // part of the program, held by a test
	}
	return packed
}

func parseBuiltin(data []byte) (map[string]Definition, error) {
	var list []Definition
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	defs := make(map[string]Definition, len(list))
	for _, d := range list {
		if _, twice := defs[d.Name]; twice || d.Name == "" || d.Name != lower(d.Name) {
			return nil, fmt.Errorf("role %q has a bad name %q", d.RoleName, d.Name)
		}
		d.RoleType, d.AssignableScopes = "BuiltInRole", []string{"/"}
		defs[d.Name] = d.Compile()
	}
	return defs, nil
}

// Builtin returns Azure's built-in role definition with this GUID or resource id. All are there, as
// `az role definition list` gave them when tools/roles last ran.
func Builtin(id string) (Definition, bool) {
	d, ok := builtin()[DefinitionName(id)]
	return d, ok
}

// Builtins returns all of them, ordered by role name. The caller must not change what they hold.
func Builtins() []Definition { return slices.Clone(sorted()) }

var sorted = sync.OnceValue(func() []Definition {
	all := make([]Definition, 0, len(builtin()))
	for _, d := range builtin() {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Definition) int { return strings.Compare(a.RoleName, b.RoleName) })
	return all
})
