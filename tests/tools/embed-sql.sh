#!/usr/bin/env bash
# Prints each SQL file as a C string in a table row: {number, "name", "text"},
set -euo pipefail
for f in "$@"; do
	name=$(basename "$f" .sql)
	printf '{%d, "%s",\n' "$((10#${name%%-*}))" "$name"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/ "/' -e 's/$/\\n"/' "$f"
	printf '},\n'
done
