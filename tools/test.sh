#!/usr/bin/env bash
# Every test: vet and formatting, the packages with the race detector, the end-to-end tests, the demo.
# Network tests run on the real kernel in namespaces of their own and fail where it cannot enforce. A test that fails by
# chance is run once more and named (gotest.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
export VAUBAN_BIN="$PWD/bin/vauban"

echo "== vet and formatting"
go vet ./...
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; exit 1; }

# The fabric's model is pure and has no goroutine: the race detector would find nothing in it, at six times its 40 seconds.
echo "== packages, with the race detector"
bash tools/gotest.sh -race -timeout 15m -- $(go list ./... | grep -v -e '/e2e' -e '^vauban.dev/fabric$')
bash tools/gotest.sh -- ./fabric

echo "== end to end"
bash tools/gotest.sh -timeout 20m -- ./e2e/...

echo "== the demo, with the real clients"
rm -rf .cache/test-demo
bin/vauban demo --data .cache/test-demo
