// Package deps holds the test of the import directions that docs/architecture/README.md draws.
package deps
