//go:build clients

package e2e

var scripts = []string{"directory-smoke.sh", "directory.sh"}
