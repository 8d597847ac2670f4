// Command roles makes what package authz knows of Azure's roles and operations:
//
//	az role definition list --query "[?roleType=='BuiltInRole']" > roles.json
//	go run ./tools/roles roles.json operations.txt
//
// operations.txt has one management operation a line; it may be empty. It writes authz/builtin.json.gz, the roles in the
// form of that listing, and authz/operations.txt.gz: every operation that is named in full by a role or in the list,
// data actions behind "D ".
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vauban.dev/authz"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: roles roles.json operations.txt")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], "authz"); err != nil {
		fmt.Fprintln(os.Stderr, "roles:", err)
		os.Exit(1)
	}
}

func run(rolesFile, operationsFile, out string) error {
	data, err := os.ReadFile(rolesFile)
	if err != nil {
		return err
	}
	var roles []authz.Definition
	if err := json.Unmarshal(data, &roles); err != nil {
		return fmt.Errorf("%s: %w", rolesFile, err)
	}
	slices.SortFunc(roles, func(a, b authz.Definition) int { return strings.Compare(a.RoleName, b.RoleName) })
	operations := map[string]string{} // by lower case, as first written
	add := func(prefix string, texts []string) {
		for _, t := range texts {
			if key := prefix + strings.ToLower(t); isOperation(t) && operations[key] == "" {
				operations[key] = prefix + t
			}
		}
	}
	list, err := lines(operationsFile)
	if err != nil {
		return err
	}
	for i := range roles {
		for j := range roles[i].Permissions {
			p := &roles[i].Permissions[j]
			for _, texts := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
				*texts = trimmed(*texts)
			}
			add("", append(p.Actions, p.NotActions...))
			add("D ", append(p.DataActions, p.NotDataActions...))
		}
	}
	add("", list)
	var text bytes.Buffer
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range operations {
			if !yield(key) {
				return
			}
		}
	}) {
		text.WriteString(operations[key] + "\n")
	}
	encoded, err := json.Marshal(roles)
	if err != nil {
		return err
	}
	if err := pack(filepath.Join(out, "builtin.json.gz"), encoded); err != nil {
		return err
	}
	return pack(filepath.Join(out, "operations.txt.gz"), text.Bytes())
}

// isOperation says whether an action is one operation: no pattern, and with a verb.
func isOperation(text string) bool {
	verb := strings.ToLower(text[strings.LastIndexByte(text, '/')+1:])
	return !strings.Contains(text, "*") && slices.Contains([]string{"read", "write", "delete", "action"}, verb)
}

// trimmed leaves out what the published roles have of spaces and slashes by mistake.
func trimmed(texts []string) []string {
	out := make([]string, 0, len(texts))
	for _, t := range texts {
		out = append(out, strings.TrimSuffix(strings.TrimSpace(t), "/"))
	}
	return out
}

func lines(file string) (out []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); err = s.Err() {
		out = append(out, strings.TrimSpace(s.Text()))
	}
	return out, err
}

func pack(file string, data []byte) error {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
