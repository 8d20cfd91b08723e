"""dulwich, driven by tests/clients/rounds.py: verbs and arguments come as lines split by tabs, an answer is a line."""
import sys

from dulwich import porcelain
from dulwich.client import get_transport_and_path
from dulwich.objects import ZERO_SHA
from dulwich.porcelain import NoneStream
from dulwich.repo import Repo


def clone(url, folder, depth):
    porcelain.clone(url, folder, errstream=NoneStream(), depth=int(depth) or None).close()


def fetch(folder, url, *specs):
    with Repo(folder) as repo:
        client, path = get_transport_and_path(url)
        pairs = [spec.lstrip("+").encode().split(b":") for spec in specs]
        found = client.fetch(path, repo, determine_wants=lambda refs, depth=None: [refs[source] for source, _ in pairs])
        for source, target in pairs:
            repo.refs[target] = found.refs[source]


def deepen(folder, url, name, depth):
    with Repo(folder) as repo:
        client, path = get_transport_and_path(url)
        client.fetch(path, repo, determine_wants=lambda refs, depth=None: [refs[name.encode()]], depth=int(depth))


def push(folder, url, *specs):
    with Repo(folder) as repo:
        client, path = get_transport_and_path(url)
        pairs = [spec.lstrip("+").encode().split(b":") for spec in specs]
        wanted = {target: repo.refs[source] if source else ZERO_SHA for source, target in pairs}
        done = client.send_pack(path, lambda refs: wanted, generate_pack_data=repo.generate_pack_data)
        return [f"{ref.decode()}={(done.ref_status or {}).get(ref) or 'ok'}" for ref in wanted]


def ls(url):
    client, path = get_transport_and_path(url)
    return [f"{name.decode()}={oid.decode()}" for name, oid in client.get_refs(path).items() if not name.endswith(b"^{}")]


for line in sys.stdin:
    verb, *args = line.rstrip("\n").split("\t")
    try:
        answer = ["ok", *({"clone": clone, "fetch": fetch, "deepen": deepen, "push": push, "ls": ls}[verb](*args) or [])]
    except Exception as e:
        answer = ["error", f"{type(e).__name__}: {e}".replace("\n", " ").replace("\t", " ")]
    print("\t".join(answer), flush=True)
