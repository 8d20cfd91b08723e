#!/usr/bin/env bash
# config/run.sh: what `make run` starts once everything is built: a server with its data in ./warren-data, an account at
# the first start, and a block to paste.
set -euo pipefail
cd "$(dirname "$0")/.."
export WARREN_SERVER_DATA=${WARREN_SERVER_DATA:-warren-data}
warren=build/warren
key=
if [[ $("$warren" account list) == *'"accounts":[]'* ]]; then
	key=$("$warren" account create demo | sed -n 's/.*"apiKey":"\([^"]*\)".*/\1/p')
fi

try_it() {
	local url=$1 host=${1#*://} scheme=${1%%://*}
	echo
	if [ -n "$key" ]; then
		echo "Try it: paste this into another terminal. (The account \"demo\" was made for you; its API key is shown only now.)"
		echo
		echo "KEY=$key"
	else
		echo "Using the data in $WARREN_SERVER_DATA. Another API key: $warren key create demo NAME --data $WARREN_SERVER_DATA"
		echo "Try it: paste this into another terminal, in this folder."
		echo
		echo "KEY=\$($warren key create demo \"try-\$(date +%s)\" --data $WARREN_SERVER_DATA | sed 's/.*\"apiKey\":\"\\([^\"]*\\)\".*/\\1/')"
	fi
	cat <<-EOF
	REPO=\$(curl -s -X POST $url/git/v1/repo -H "Authorization: Bearer \$KEY" -d '{"name": "hello"}' | sed 's/.*"repoId": *"\([^"]*\)".*/\1/')
	IDENTITY=\$(curl -s -X POST $url/identity/v1/identities -H "Authorization: Bearer \$KEY" | sed 's/.*"id": *"\([^"]*\)".*/\1/')
	curl -s -X POST $url/identity/v1/identities/\$IDENTITY/permissions/git/\$REPO -H "Authorization: Bearer \$KEY" -d '{"permission": "write"}'; echo
	TOKEN=\$(curl -s -X POST $url/identity/v1/identities/\$IDENTITY/tokens -H "Authorization: Bearer \$KEY" | sed 's/.*"token": *"\([^"]*\)".*/\1/')
	git clone $scheme://x-access-token:\$TOKEN@$host/\$REPO.git "hello-\$REPO"
	cd "hello-\$REPO"
	echo "Hello from Warren" > README.md
	git add README.md
	git -c user.name=You -c user.email=you@example.com commit -m "First commit"
	git push origin HEAD

	EOF
	echo "Ctrl-C stops the server; the data stays in $WARREN_SERVER_DATA."
	echo
}

exec "$warren" serve > >(while read -r line; do
	echo "$line"
	[[ $line == "warren: listening on "* ]] && try_it "${line#warren: listening on }"
done)
