#!/usr/bin/env bash
# bench/run.sh: Warren beside nginx + fcgiwrap + git http-backend, on the same repositories in the same run.
set -euo pipefail
cd "$(dirname "$0")/.."
bash config/setup.sh bench
python3 bench/compare.py --warren build/release/warren "$@"
exec build/release/bench/append compare
