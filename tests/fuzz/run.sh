#!/usr/bin/env bash
# tests/fuzz/run.sh SECONDS: each fuzz target for so many seconds, all at once over the cores. What they find new stays in
# build/fuzz-corpus, so that a later run goes on from there. A crash is kept in build/fuzz-crashes and fails the run.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
make --no-print-directory -s -j"$(nproc)" fuzzers VARIANT=fuzz || { echo "0 passed, 1 failed"; exit 1; }
mkdir -p build/fuzz-crashes
one() {
	local target=$1 seconds=$2 name log
	name=${target##*/fuzz_}
	log=build/fuzz-crashes/$name.log
	mkdir -p "build/fuzz-corpus/$name" "tests/fuzz/corpus/$name"
	if "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -malloc_limit_mb=1024 -print_final_stats=1 \
		-artifact_prefix="build/fuzz-crashes/$name-" "build/fuzz-corpus/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
		echo "ok   fuzz $name: $(sed -n 's/stat::number_of_executed_units: *//p' "$log") runs"
		rm -f "$log"
	else
		echo "FAIL fuzz $name"
		tail -n 40 "$log"
	fi
}
export -f one
result=$(printf '%s\n' build/fuzz/fuzz/fuzz_* | grep -v '\.d$' | xargs -P "$(nproc)" -I{} bash -c 'one {} '"$seconds")
echo "$result"
bad=$(grep -c '^FAIL' <<<"$result")
echo "$(grep -c '^ok' <<<"$result") passed, $bad failed"
[ "$bad" -eq 0 ]
