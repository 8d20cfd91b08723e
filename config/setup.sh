#!/usr/bin/env bash
# config/setup.sh run|test|ci|browsers: installs those of Debian 12's packages that are missing, and says which.
# Costs a few milliseconds when nothing is missing. Needs root or sudo only when something is.
set -euo pipefail

# One word a need: a package, or command:package where any provider of the command will do.
run="gcc:gcc libc6-dev make:make pkg-config:pkg-config libgit2-dev libmicrohttpd-dev libjansson-dev libsqlite3-dev
	libssl-dev zlib1g-dev libdeflate-dev libxxhash-dev libarchive-dev libcurl4-openssl-dev git:git curl:curl
	python3 python3-yaml"
test="$run libcmocka-dev python3-dulwich python3-jsonschema python3-jwt python3-cryptography node:nodejs npm:npm openssl:openssl zip:zip procps"
ci="$test clang:clang libclang-rt-14-dev"
browsers="$test chromium:chromium javac:default-jdk-headless libjgit-java"
bench="$run nginx:nginx-light fcgiwrap:fcgiwrap"

what=${1:-run}
missing=()
for need in ${!what}; do
	if [[ $need == *:* ]]; then
		command -v "${need%%:*}" >/dev/null 2>&1 || missing+=("${need##*:}")
	elif [[ $(dpkg-query -W -f '${db:Status-Status}' "$need" 2>/dev/null) != installed ]]; then
		missing+=("$need")
	fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "warren: installing from Debian's packages: ${missing[*]}"
apt=(apt-get)
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "warren: this needs root. Run: apt-get install -y --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	apt=(sudo apt-get)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install() {
	"${apt[@]}" install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1
}
# A list of packages that is too old is the usual reason for a failure, a fresh machine without any the next one.
if ! install; then
	"${apt[@]}" update -q >"$log" 2>&1 && install || {
		tail -n 20 "$log" >&2
		echo "warren: the packages could not be installed; what apt-get said stands above" >&2
		exit 1
	}
fi
echo "warren: installed"
