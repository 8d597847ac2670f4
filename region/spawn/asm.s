// This empty file lets plan.go declare functions without a body (go:linkname).
