#!/usr/bin/env bash
# tests/fresh/run.sh [FOLDER]: in a fresh Debian 12 (debootstrap, chroot; needs root): the README's commands, the "try it"
# block as printed, then `make test`, twice. FOLDER: an existing debootstrap root to copy, instead of making one.
set -euo pipefail
cd "$(dirname "$0")/../.."
source=$PWD
root=$(mktemp -d)
server=
cleanup() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	umount "$root/proc" "$root/dev/shm" "$root/dev" 2>/dev/null || true
	rm -rf --one-file-system "$root"
}
trap cleanup EXIT

if [ -n "${1:-}" ]; then cp -a "$1/." "$root"; else debootstrap --variant=minbase bookworm "$root" >/dev/null; fi
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
mkdir "$root/warren"
git -C "$source" archive HEAD | tar -x -C "$root/warren"
inside() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "cd /warren && $1"; }

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
	pkill -TERM -f 'build/warren serve' && wait "$server" || true
	server=
	echo "== make test ($round)"
	start=$SECONDS
	inside "make test" 2>&1 | tee "$root/test.log" | tail -n 15
	echo "make test: $((SECONDS - start)) s"
	tail -n 1 "$root/test.log" | grep -q ', 0 failed'
done
echo "== all passed"
