package main

import (
	"slices"

	"vauban.dev/provider/objects"
)

// registerRest adds the types of Azure that none of the providers has, as object only.
func (w *world) registerRest() error {
	var known []string
	for _, t := range w.engine.Describe() {
		known = append(known, t.Name.String())
	}
	rest, types := objects.Rest(known)
	w.objectOnly = append(objects.Names(), rest...)
	slices.Sort(w.objectOnly)
	return w.engine.Register(types...)
}
