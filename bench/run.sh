#!/usr/bin/env bash
# bench/run.sh compare|store: Warren beside nginx + fcgiwrap + git http-backend, on the same repositories in the same run; or
# what the store costs at numbers.
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1
shift
bash config/setup.sh bench
if [ "$what" = store ]; then
	exec python3 bench/store.py --warren build/release/warren "$@"
fi
python3 bench/compare.py --warren build/release/warren "$@"
exec build/release/bench/append compare
