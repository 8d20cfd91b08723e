"""Requests that cost much: others are served meanwhile."""
import socket

from harness import expect, same, test, wait_for
from harness.core import slowness
from harness.pkt import BLOB, OFS_DELTA, ZERO, delta, entry, pack, push_body, small
from harness.raw import PUSH

CONCURRENT = True
COST = 4
# As if all processors were busy.
ONE = "[lanes]\ncpu = 1\n"


def seed(account):
    """A repository with one commit, and its id."""
    repo, (tip, objects) = account.repo(), small()
    body = push_body([(ZERO, tip, "refs/heads/main")], pack([entry(kind, data) for kind, data in objects]))
    same(account.api.post(f"/{repo.id}/git-receive-pack", body, headers=PUSH).status, 200, "status of the first push")
    return repo, tip


def bomb(each, count):
    """A pack of a few bytes that unpacks to so many objects of so many bytes."""
    entries, size = [entry(BLOB, bytes(each), level=9)], 0
    for i in range(count):
        size += len(entries[-1])
        entries.append(entry(OFS_DELTA, delta(each, each + 4, (0, each), b"%04d" % i), size))
    return pack(entries)


@test
def a_bomb_lets_others_compute(t):
    """Minutes of work in 100 KB. Whoever else comes is served while it goes on: it is still there to be hung up on."""
    server = t.own_server(config=ONE)
    greedy, other = server.account(), server.account()
    (repo, tip), (theirs, _) = seed(greedy), seed(other)
    files = server.files("run")
    body = push_body([(ZERO, tip, "refs/heads/x")], bomb(8 << 20, 2000))
    host, port = server.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=60 * slowness()) as s:
        head = (f"POST /{repo.id}/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {greedy.key}\r\n"
                f"Content-Type: {PUSH['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n")
        s.sendall(head.encode() + body)
        seen = b""
        while b"Resolving deltas" not in seen:
            piece = s.recv(65536)
            expect(piece, "the bomb's answer goes on", seen)
            seen += piece
        for _ in range(3):
            reply = other.api.get(f"/{theirs.id}/info/refs?service=git-upload-pack")
            same(reply.status, 200, "status of another's request")

    def gone():
        pushes = [line for line in server.log_lines() if line.get("route", "").endswith("git-receive-pack")]
        return [line for line in pushes if line.get("repo") == repo.id][1:]

    wait_for(gone, "the end of the bomb", 60)
    same(gone()[0].get("aborted"), "client left", "how the bomb ended")
    same(server.files("run"), files, "what it left")
