#!/usr/bin/env bash
# tests/tools/lint.sh: headers compile alone, includes only go down, one library in one folder, the example file is current.
set -uo pipefail
cd "$(dirname "$0")/../.."
passed=0 failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAIL lint: $*"; }

flags="-std=gnu11 -Wall -Wextra -D_GNU_SOURCE -I. $(pkg-config --cflags libgit2 libmicrohttpd jansson sqlite3 libcurl)"
check_header() { gcc $2 -Wno-unused-function -fsyntax-only -x c "$1" 2>/dev/null || echo "$1"; }
export -f check_header
broken=$(find core smart-http sync triggers server -name '*.h' | xargs -P "$(nproc)" -I{} bash -c 'check_header "$1" "$2"' _ {} "$flags")
[ -z "$broken" ] && ok || bad "headers that do not compile alone: $broken"

# Floors, from the lowest: a folder may include itself and what stands before it in its row.
floor() {
	case $1 in
	core/base/*) echo "core/base" ;;
	core/net/*) echo "core/base core/net" ;;
	core/store/*) echo "core/base core/store" ;;
	core/git/*) echo "core/base core/git" ;;
	core/auth/*) echo "core/base core/store core/auth" ;;
	core/content/*) echo "core/base core/git core/content" ;;
	smart-http/* | search/* | triggers/* | sync/*) echo "core ${1%%/*}" ;;
	server/*) echo "core smart-http search triggers sync server" ;;
	esac
}
wrong=
while IFS=: read -r file _ include; do
	target=$(sed 's/.*"\(.*\)".*/\1/' <<<"$include")
	allowed=no
	for f in $(floor "$file"); do
		[[ $target == "$f"/* ]] && allowed=yes
	done
	[[ $target == migrations.inc || $target == reference.inc ]] && allowed=yes
	[ $allowed = yes ] || wrong+="$file includes $target"$'\n'
done < <(grep -rn '^#include "' core smart-http sync triggers server --include='*.[ch]')
[ -z "$wrong" ] && ok || bad "includes that go up:"$'\n'"$wrong"

library() { # header pattern, folders that may use it
	local found
	found=$(grep -rlE "#include <$1>" core smart-http sync triggers server --include='*.[ch]' | grep -vE "^($2)/")
	[ -z "$found" ] && ok || bad "$1 outside $2: $found"
}
library 'microhttpd\.h' server/http
library 'sqlite3\.h' core/store
library 'archive.*' core/content
library 'curl/.*' core/net
library 'git2.*' 'core/git|core/content|smart-http|search|sync'

if build/warren config example | cmp -s - config/warren.conf.example; then ok; else bad "config/warren.conf.example is not current: make example"; fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
