// Package e2e holds the end-to-end tests: the real vauban command, a data directory for each test, the real
// kernel. They fail where the kernel cannot do what they ask. Scenarios are data (testdata/*.txtar); what a
// script cannot say is a Go test. Clients are plain REST over the region's own names and certificates, so
// that nothing but Go is needed here.
package e2e
