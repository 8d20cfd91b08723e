#!/usr/bin/env bash
# tests/run.sh: what `make test` runs. With CI=true it goes on to the sanitizers and to fuzzing. Each stage prints its
# time; the last line of all counts every stage. WARREN_TEST_ROUNDS scales the randomised tests.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
jobs=$(nproc)

stage() { # name, command...
	local name=$1 start=$SECONDS status
	shift
	echo "== $name"
	"$@" 2>&1 | tee "$out/$name"
	status=${PIPESTATUS[0]}
	[ "$status" -eq 0 ] || failed=1
	echo "== $name: $((SECONDS - start)) s$([ "$status" -eq 0 ] || echo ", FAILED")"
}

stage release make --no-print-directory -s -j"$jobs" test-one VARIANT=release
stage lint make --no-print-directory -s lint
if [ "${CI:-}" = true ]; then
	stage asan env WARREN_TEST_ROUNDS="${WARREN_ASAN_ROUNDS:-1}" make --no-print-directory -s -j"$jobs" test-one VARIANT=asan
	stage tsan env WARREN_TEST_ROUNDS="${WARREN_TSAN_ROUNDS:-1}" make --no-print-directory -s -j"$jobs" test-one VARIANT=tsan ARGS="--concurrent"
	stage fuzz make --no-print-directory -s fuzz-smoke
fi
python3 tests/run.py --sum "$out"/* || failed=1
exit $failed
