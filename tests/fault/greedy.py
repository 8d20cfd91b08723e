"""Requests that cost much: others are served meanwhile."""
import socket
import time

from harness import expect, same, test, wait_for
from harness.core import slowness
from harness.pkt import BLOB, OFS_DELTA, ZERO, delta, entry, oid, pack, push_body, small
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


BUFFERED = 16 << 20
CROWD = 60
# Nobody is dropped for being slow before the test is done with it.
SMALL = f"[http]\nmax_buffered = {BUFFERED}\nmin_rate_window = 10m\nidle_timeout = 10m\n"


def dial(server, account, repo, body, less):
    """A push of which the last bytes are missing."""
    host, port = server.url.split("//")[1].split(":")
    s = socket.create_connection((host, int(port)), timeout=120 * slowness())
    head = (f"POST /{repo.id}/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n"
            f"Content-Type: {PUSH['Content-Type']}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    s.sendall(head.encode() + body[:-less])
    return s


def read_all(s):
    seen = b""
    while piece := s.recv(65536):
        seen += piece
    return seen


@test
def stalled_pushes_share_what_there_is(t):
    """Tens of thousands of tiny objects each, and then nothing: a few bytes sent, and much to remember. What the pushes of
    one account have in memory is bounded in all; others are served; who found no room is told so, and it comes back."""
    t.skip_if_sanitized()
    server = t.own_server(config=SMALL)
    greedy, other = server.account(), server.account()
    (repo, _), (theirs, tip) = seed(greedy), seed(other)
    blob = oid(BLOB, b"")
    objects = pack([entry(BLOB, b"")] * 60_000)
    before, held = server.rss_anon(), []
    try:
        for i in range(CROWD):
            held.append(dial(server, greedy, repo, push_body([(ZERO, blob, f"refs/tags/x{i}")], objects), 10))
        last = [0, time.monotonic()]

        def still():
            used = server.cpu_seconds()
            if used > last[0] + 0.02:
                last[:] = used, time.monotonic()
            return time.monotonic() > last[1] + 1

        wait_for(still, "the end of what can be done with what was sent", 120)
        now = server.rss_anon()
        # Tables and packs of all of them are 180 MB. Beside what is counted each has a thread.
        expect(now - before < 3 * BUFFERED + CROWD * 300_000, "the server's RssAnon", f"{before >> 20} MB, then {now >> 20} MB")
        body = push_body([(ZERO, tip, "refs/heads/y")], pack([]))
        reply = other.api.post(f"/{theirs.id}/git-receive-pack", body, headers=PUSH)
        same(reply.status, 200, "status of another account's push")
        expect(b"unpack ok" in reply.body, "another account's push", reply.body)
        answers = []
        for s in held:
            s.sendall(objects[-10:])
        for s in held:
            answers.append(read_all(s))
    finally:
        for s in held:
            s.close()
    taken = sum(b"unpack ok" in a for a in answers)
    busy = sum(b"The server is busy" in a for a in answers)
    same(taken + busy, CROWD, f"pushes that were taken ({taken}) or told to come again ({busy})")
    expect(taken and busy, "both", taken, busy)
    reply = greedy.api.post(f"/{repo.id}/git-receive-pack", push_body([(ZERO, blob, "refs/tags/z")], objects), headers=PUSH)
    same(reply.status, 200, "status of a push when the crowd is gone")
    expect(b"unpack ok" in reply.body, "a push when the crowd is gone", reply.body)
