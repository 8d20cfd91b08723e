"""Uploads that break off, and large ones: nothing is left behind, and memory stays small."""
import http.client
import os
import socket
import threading
import time
import zlib

from harness import expect, same, test, wait_for
from harness.pkt import BLOB, ZERO, entry, entry_header, pack, push_body, small

CONCURRENT = True
COST = 6


def upload_head(repo, length):
    lines = [f"POST /{repo.id}.git/git-receive-pack HTTP/1.1", "Host: x", f"Authorization: Bearer {repo.account.key}",
             "Content-Type: application/x-git-receive-pack-request",
             f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def connect(server):
    host, port = server.url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=60)


@test
def a_client_that_breaks_off_leaves_nothing(t):
    server = t.server
    repo = t.account.repo()
    base, objects = small("base")
    body = push_body([(ZERO, base, "refs/heads/main")], pack([entry(k, d) for k, d in objects]))
    same(repo.account.api.post(f"/{repo.id}/git-receive-pack", body,
                               headers={"Content-Type": "application/x-git-receive-pack-request"}).status, 200, "push")
    before = server.files()
    tip, objects = small("tip", t.random.randbytes(1_500_000))
    body = push_body([(ZERO, tip, "refs/heads/x")], pack([entry(k, d) for k, d in objects]))
    for turn in t.rounds(12):
        cut = t.random.choice([10, 150, 400, len(body) // 2, len(body) - 5, t.random.randrange(len(body))])
        with connect(server) as s:
            chunked = turn % 2
            s.sendall(upload_head(repo, None if chunked else len(body)))
            s.sendall(b"%x\r\n" % len(body) + body[:cut] if chunked else body[:cut])
            if turn % 3 == 0:
                # A reset instead of an orderly end.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_for(lambda: {k: v for k, v in server.files().items() if k not in before} == {}, "nothing new in the data folder")
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": base}, "refs")


@test
def git_killed_in_a_push(t):
    server = t.server
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    before = server.files()
    tip = t.git.rev(work)
    t.git.commit(work, {"big": t.random.randbytes(20_000_000)})
    for turn in t.rounds(4):
        push = t.git.start("push", "-q", repo.url(), f"main:refs/heads/x{turn}", cwd=work)
        time.sleep(t.random.uniform(0.05, 0.6))
        os.killpg(push.pid, 9)
        push.communicate(timeout=60)
    wait_for(lambda: not set(server.files("run")) - set(before), "the spools' removal")
    refs = t.git.remote_refs(repo.url())
    landed = {k: v for k, v in refs.items() if k != "refs/heads/main"}
    same(refs["refs/heads/main"], tip, "main")
    if not landed:
        same({k for k in server.files("repos") if repo.id in k}, {k for k in before if repo.id in k}, "the repository's files")
    expect(all(v == t.git.rev(work) for v in landed.values()), "what landed before its client died is whole", landed)
    t.git("fsck", "--full", cwd=t.git.mirror(repo.url(), t.path("copy")))


@test
def slow_uploads_block_nobody(t):
    """More uploads stand still than there are processors and lanes' slots: others push and clone meanwhile."""
    server = t.own_server(config="[lanes]\ngit_threads = 16\n")
    account, other = server.account(), server.account()
    stuck = []
    for _ in range(10):
        repo = account.repo()
        tip, objects = small("slow", t.random.randbytes(50_000))
        body = push_body([(ZERO, tip, "refs/heads/main")], pack([entry(k, d) for k, d in objects]))
        s = connect(server)
        t.stack.callback(s.close)
        s.sendall(upload_head(repo, len(body)) + body[:20_000])
        stuck.append((s, repo, body, tip))
    repo = other.repo()
    work = t.git.init(t.path("work"))
    for n in range(3):
        t.git.commit(work, {"a": f"{n}"})
        t.git("push", "-q", repo.url(), "main", cwd=work)
        t.git("clone", "-q", repo.url(), t.path(f"c{n}"))
    for s, slow, body, tip in stuck:
        s.sendall(body[20_000:])
    for s, slow, body, tip in stuck:
        reply = http.client.HTTPResponse(s)
        reply.begin()
        same(reply.status, 200, "the slow ones end well")
        reply.read()
        same(t.git.remote_refs(slow.url()), {"refs/heads/main": tip}, "refs")


@test
def slow_readers_block_nobody(t):
    server = t.own_server(config="[lanes]\ngit_threads = 16\n")
    account, other = server.account(), server.account()
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {f"f{i}": t.random.randbytes(1_000_000) for i in range(8)})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    tip = t.git.rev(work)
    body = b"".join(b"%04x" % (4 + len(x)) + x if x else b"0000" for x in (f"want {tip} side-band-64k\n".encode(), b"", b"done\n"))
    held = []
    for _ in range(10):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = server.url.split("//")[1].split(":")
        s.connect((host, int(port)))
        t.stack.callback(s.close)
        s.sendall((f"POST /{repo.id}/git-upload-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n"
                   f"Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
        held.append(s)
    mine = other.repo()
    for n in range(3):
        t.git("push", "-q", mine.url(), f"main:b{n}", cwd=work)
        t.git("clone", "-q", mine.url(), t.path(f"c{n}"), "-b", f"b{n}")
    same(other.api.get("/auth/v1/whoami").status, 200, "REST")


class Watch(threading.Thread):
    """The server's highest RssAnon while it runs."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peak, self.over = server, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, self.server.rss_anon())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


@test
def a_hundred_megabytes_cost_little_memory(t):
    t.skip_if_sanitized()
    server = t.own_server()
    repo = server.account().repo()
    work = t.git.init(t.path("work"))
    with open(os.path.join(work, "big"), "wb") as f:
        for _ in range(100):
            f.write(t.random.randbytes(1 << 20))
    t.git("-c", "core.bigFileThreshold=1m", "add", "big", cwd=work)
    t.git("commit", "-q", "-m", "100 MB", cwd=work)
    with Watch(server) as watch:
        t.git("push", "-q", repo.url(), "main", cwd=work)
        push = watch.peak
        t.git("clone", "-q", "--mirror", repo.url(), t.path("copy"))
    same(t.git.refs(t.path("copy")), t.git.refs(work), "refs")
    t.git("fsck", "--full", cwd=t.path("copy"))
    expect(watch.peak < 150 << 20, "the server's RssAnon", f"{push >> 20} MB in the push, {watch.peak >> 20} MB in all")


@test
def compressible_bombs_cost_little_memory(t):
    """A gigabyte of zeros in a megabyte of pack: indexed without holding it."""
    t.skip_if_sanitized()
    server = t.own_server(config="[git]\nmax_object = 64m\n")
    repo = server.account().repo()
    deflate = zlib.compressobj(9)
    piece = b"\0" * (1 << 20)
    data = b"".join([deflate.compress(piece) for _ in range(1024)] + [deflate.flush()])
    tip, objects = small("bomb")
    bomb = pack([*[entry(k, d) for k, d in objects], entry_header(BLOB, 1 << 30) + data])
    with Watch(server) as watch:
        reply = repo.account.api.post(f"/{repo.id}/git-receive-pack", push_body([(ZERO, tip, "refs/heads/main")], bomb),
                                      headers={"Content-Type": "application/x-git-receive-pack-request"})
    expect(reply.status in (200, 400, 413), "an answer", reply.status)
    expect(watch.peak < 150 << 20, "the server's RssAnon", f"{watch.peak >> 20} MB")
