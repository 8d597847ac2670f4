//go:build !clients

package e2e

// scripts of TestDirectoryClients; with the tag clients it runs the long one too.
var scripts = []string{"directory-smoke.sh"}
