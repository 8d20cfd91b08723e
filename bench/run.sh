#!/usr/bin/env bash
# bench/run.sh compare|store|api|webhooks: Warren beside nginx + fcgiwrap + git http-backend, on the same repositories in the same run; or
# what the store costs at numbers; or what the REST API costs, or webhooks.
set -euo pipefail
cd "$(dirname "$0")/.."
what=$1
shift
bash config/setup.sh bench
if [ "$what" != compare ]; then
	exec python3 "bench/$what.py" --warren build/release/warren "$@"
fi
python3 bench/compare.py --warren build/release/warren "$@"
exec build/release/bench/append compare
