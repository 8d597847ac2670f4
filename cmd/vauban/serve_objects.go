package main

import (
	"net/http"
	"slices"
	"strings"

	"vauban.dev/provider/objects"
)

// registerRest adds the types of Azure that none of the providers has, as object only.
func (w *world) registerRest() error {
	var known []string
	for _, t := range w.engine.Describe() {
		known = append(known, t.Name.String())
	}
	for _, c := range w.engine.Calls() {
		if c.Method == http.MethodPut {
			known = append(known, routedType(c.Pattern)) // what a data plane owns
		}
	}
	rest, types := objects.Rest(known)
	w.objectOnly = append(objects.Names(), rest...)
	slices.Sort(w.objectOnly)
	return w.engine.Register(types...)
}

// routedType is the type of the resources at a route's path.
func routedType(pattern string) string {
	_, path, ok := strings.Cut(strings.ToLower(pattern), "/providers/")
	parts := strings.Split(path, "/")
	if !ok || len(parts)%2 == 0 {
		return ""
	}
	name := parts[0]
	for i := 1; i < len(parts); i += 2 {
		name += "/" + parts[i]
	}
	return name
}
