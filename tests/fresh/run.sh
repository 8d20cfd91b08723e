#!/usr/bin/env bash
# tests/fresh/run.sh [FOLDER]: in a fresh Debian 12 (debootstrap, chroot; needs root): the README's commands, the "try it"
# block as printed, then `make test`, twice. FOLDER: an existing debootstrap root to copy, instead of making one.
set -euo pipefail
cd "$(dirname "$0")/../.."
# In name spaces of its own, so that no mount and no process outlives it, however it ends.
if [ -z "${WARREN_FRESH:-}" ]; then
	WARREN_FRESH=$(mktemp -d)
	export WARREN_FRESH
	status=0
	unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash "$0" "$@" || status=$?
	rm -rf --one-file-system "$WARREN_FRESH"
	exit $status
fi
root=$WARREN_FRESH

if [ -n "${1:-}" ]; then cp -a "$1/." "$root"; else debootstrap --variant=minbase bookworm "$root" >/dev/null; fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
# What this machine trusts, the fresh one trusts.
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
cp /etc/ssl/certs/ca-certificates.crt "$root/trusted.crt" 2>/dev/null || touch "$root/trusted.crt"
mkdir "$root/warren"
git archive HEAD | tar -x -C "$root/warren"
inside() { chroot "$root" /usr/bin/env -i HOME=/root NODE_EXTRA_CA_CERTS=/trusted.crt PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "cd /warren && $1"; }

echo "== README: the first command"
inside "apt-get update -q >/dev/null && $(sed -n '/^```sh/,/^```/{/^apt-get/p}' README.md | head -n 1) >/dev/null"
for round in 1 2; do
	echo "== make run ($round)"
	inside "exec make run" >"$root/run.log" 2>"$root/run.err" &
	server=$!
	until grep -q '^Ctrl-C' "$root/run.log"; do
		kill -0 "$server" || { cat "$root/run.log" "$root/run.err"; exit 1; }
		sleep 0.5
	done
	cat "$root/run.log"
	echo "== the block, pasted ($round)"
	sed -n '/^KEY=/,/^git push/p' "$root/run.log" >"$root/block.sh"
	inside "set -e; . /block.sh; git ls-remote origin" 2>&1 | tee "$root/block.log"
	grep -q 'refs/heads/main' "$root/block.log"
	pkill -TERM -x warren # the only one in this name space
	wait "$server" || true
	echo "== make test ($round)"
	start=$SECONDS
	inside "make test" >"$root/test.log" 2>&1 || true
	# What failed, with what is said below it, and the end.
	grep -A 12 "^FAIL" "$root/test.log" || true
	tail -n 15 "$root/test.log"
	echo "make test: $((SECONDS - start)) s"
	tail -n 1 "$root/test.log" | grep -q ', 0 failed'
done
echo "== all passed"
