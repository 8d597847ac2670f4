#!/usr/bin/env bash
# go test, and then the few tests that failed once more, each package by itself. One that passes then is named as flaky
# and the run passes: it failed by chance, on a machine that is busy with two hundred other tests, and is to be mended.
# Never run again: more than three tests, and what is no chance: a data race, a panic, a time-out, a goroutine that
# leaked, a package that does not build.
#
#	tools/gotest.sh [flags of go test] -- package...
set -uo pipefail
flags=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do flags+=("$1"); shift; done
shift
log=$(mktemp)
trap 'rm -f "$log" "$log.again"' EXIT

go test "${flags[@]}" "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
[ "$status" -ne 0 ] || exit 0

# One line for each package that failed: its path and the tests that did. A package without any is no chance.
again=$(awk '
	/^--- FAIL: / { tests = tests (tests == "" ? "" : "|") $3; n++ }
	/^(ok|FAIL|\?)[ \t]+[^ \t]/ { if ($1 == "FAIL") { if (tests == "") none = 1; print $2, tests }; tests = "" }
	/^WARNING: DATA RACE|^panic: |^fatal error: |\[(build|setup) failed\]/ { none = 1 }
	END { exit none || n == 0 || n > 3 }' "$log") || { echo "not run again: these are no failures by chance"; exit "$status"; }

while read -r package tests; do
	echo "== once more: $package $tests"
	go test "${flags[@]}" -count=1 -run "^($tests)\$" "$package" || exit "$status"
done <<<"$again"
echo "== FLAKY, to be mended:"
echo "$again"
