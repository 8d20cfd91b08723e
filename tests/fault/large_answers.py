"""Answers that would be larger than the server's memory: each is refused, and all together are within [http] max_buffered."""
import base64
import io
import select
import socket
import tarfile
import threading
import zipfile

from harness import expect, same, test, wait_for
from harness import pkt
from harness.raw import Wire

COST = 9
MB = 1 << 20
MAX = 32
CONFIG = f"[http]\nmax_buffered = {MAX}m\n"


def growth(server, call):
    """What call() gives, and by how many bytes the server's memory grew meanwhile."""
    before, done, most = server.rss_anon(), threading.Event(), [0]

    def look():
        while not done.wait(0.01):
            most[0] = max(most[0], server.rss_anon() - before)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        return call(), most[0]
    finally:
        done.set()
        watch.join()


def drain(sock):
    """A thread that reads a whole tarball, and then closes the socket."""
    def read():
        got = 0
        while piece := sock.recv(1 << 20):
            got += len(piece)
        if got > 20 * MB:
            sock.close()

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def commits(n, message):
    out = [b"blob\nmark :1\ndata 2\nx\n\n"]
    for i in range(n):
        out.append(b"commit refs/heads/main\nmark :%d\ncommitter A <a@example.com> %d +0000\ndata %d\n" %
                   (i + 2, 1700000000 + i, len(message)))
        out.append(message + b"\n")
        out.append(b"M 100644 :1 f\n\n" if i == 0 else b"\n")
    return b"".join(out)


def tags(message):
    return b"".join((commits(1, b"m"), b"tag t\nfrom :2\ntagger A <a@example.com> 1700000000 +0000\n",
                     b"data %d\n" % len(message), message, b"\n"))


def refused(server, account, path):
    """Nothing of so long a list is sent, and it costs no more than the bound."""
    reply, grown = growth(server, lambda: account.api.get(path))
    same(reply.status, 503, path)
    expect("ask for less" in reply.error("UNAVAILABLE")["message"], path, reply.body)
    expect(grown < (MAX + 60) * MB, f"{path}: memory", grown // MB)


@test
def lists_of_long_texts_are_refused(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo, tagged = account.repo(), account.repo()
    path = t.git.init(t.path("long"))
    t.git("fast-import", "--quiet", cwd=path, data=commits(40, b"m" * (3 * MB)))
    t.git("push", "-q", repo.url(), "main", cwd=path)
    refused(server, account, repo.path + "/git/commits?limit=500")
    same(account.api.get(repo.path + "/git/commits?limit=2").ok()["count"], 2, "fewer")
    path = t.git.init(t.path("tags"))
    t.git("fast-import", "--quiet", cwd=path, data=tags(b"m" * (MB - 1000)))
    tag = t.git.rev(path, "refs/tags/t")
    t.git("update-ref", "--stdin", cwd=path, data="".join(f"create refs/tags/t{i} {tag}\n" for i in range(120)).encode())
    t.git("push", "-q", tagged.url(), "main", "refs/tags/*:refs/tags/*", cwd=path)
    refused(server, account, tagged.path + "/git/refs/tags")
    same(len(account.api.get(tagged.path + "/git/refs/heads").ok()["branches"]), 1, "another list")


@test
def slow_readers_of_a_large_file_come_one_after_the_other(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo()
    path, text = t.git.init(t.path("large")), b"f" * (15 * MB)
    t.git.commit(path, {"f": text.decode(), "larger": "l" * (20 * MB)})
    t.git("push", "-q", repo.url(), "main", cwd=path)
    host, port = server.url.split("//")[1].split(":")

    def ask(*paths):
        sent = []
        for path in paths:
            sock = socket.create_connection((host, int(port)))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n\r\n".encode())
            sent.append((sock, int(sock.recv(12, socket.MSG_WAITALL).split()[1])))
        return sent

    # What is inflated while it is sent is not held.
    larger, grown = growth(server, lambda: ask(*[f"{repo.path}/contents/larger"] * 4))
    same([status for _, status in larger], [200] * 4, "larger ones")
    expect(grown < 10 * MB, "memory", grown // MB)
    for sock, _ in larger:
        sock.close()
    paths = f"{repo.path}/contents/f", f"{repo.path}/git/blobs/{pkt.oid(pkt.BLOB, text)}"
    sent, grown = growth(server, lambda: ask(*paths * 4))
    statuses = [status for _, status in sent]
    expect(statuses.count(200) == 1 and statuses.count(503) == 7, "one is answered", statuses)
    expect(grown < (MAX + 60) * MB, "memory", grown // MB)
    for sock, _ in sent:
        sock.close()
    wait_for(lambda: account.api.get(f"{repo.path}/contents/f").status == 200, "the next one")


@test
def files_of_short_lines_are_compared_within_the_memory(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo()
    lines = "\n" * (1 << 19)
    path = t.git.init(t.path("short"))
    first = t.git.commit(path, {f"old/{i}": f"old {i}{lines}" for i in range(40)})
    t.git("rm", "-rq", "old", cwd=path)
    second = t.git.commit(path, {f"new/{i}": f"new {i}{lines}" for i in range(40)})
    t.git("push", "-q", repo.url(), "main", cwd=path)
    reply, grown = growth(server, lambda: account.api.get(f"{repo.path}/compare?base={first}&head={second}"))
    same({f["status"] for f in reply.ok()["files"]}, {"renamed"}, "what became of them")
    expect(grown < (MAX + 60) * MB, "memory", grown // MB)


@test
def slow_readers_of_archives_wait_for_each_other(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo()
    path = t.git.init(t.path("archived"))
    t.git.commit(path, {"f": "f" * (20 * MB)})
    t.git("push", "-q", repo.url(), "main", cwd=path)
    host, port = server.url.split("//")[1].split(":")
    socks = []

    def begin():
        for _ in range(12):
            socks.append(socket.create_connection((host, int(port))))
            socks[-1].sendall(f"GET {repo.path}/tarball HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                              f"Authorization: Bearer {account.key}\r\n\r\n".encode())
        return select.select(socks, [], [], 60)[0]

    begun, grown = growth(server, begin)
    expect(begun and grown < (MAX + 80) * MB, "memory", len(begun), grown // MB)
    # All come to their end, whoever came first.
    _, grown = growth(server, lambda: [thread.join() for thread in [drain(sock) for sock in socks]])
    expect(grown < (MAX + 80) * MB, "memory", grown // MB)
    same([sock.fileno() for sock in socks], [-1] * 12, "all were read")


def nested(levels, files):
    """(id, pack) of a commit whose folders lie in one another, each with so many files beside: next to nothing to push."""
    blob = pkt.oid(pkt.BLOB, b"x")
    beside = b"".join(b"100644 b%07d\0" % i + bytes.fromhex(blob) for i in range(files))
    base = pkt.tree(("100644", "a", blob)) + beside
    first = below = pkt.oid(pkt.TREE, base)
    entries = [pkt.entry(pkt.BLOB, b"x"), pkt.entry(pkt.TREE, base)]
    copies = [(len(base) - len(beside) + at, min(0xffffff, len(beside) - at)) for at in range(0, len(beside), 0xffffff)]
    for _ in range(levels):
        folder = pkt.tree(("40000", "a", below))
        size = len(folder) + len(beside)
        entries.append(pkt.entry(pkt.REF_DELTA, pkt.delta(len(base), size, folder, *copies), base=first))
        below = pkt.oid(pkt.TREE, folder + beside)
    commit = pkt.commit(below)
    return pkt.oid(pkt.COMMIT, commit), pkt.pack([*entries, pkt.entry(pkt.COMMIT, commit)])


@test
def large_folders_in_one_another_are_refused(t):
    """Each would be in memory while the one in it is looked at."""
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo(defaultBranch="main")
    sha, pack = nested(13, 300_000)
    small = account.api.post(f"{repo.path}/commits", {"message": "m", "branch": "small", "files": []}).ok()["commit"]["sha"]
    body = pkt.push_body([(pkt.ZERO, sha, "refs/heads/main")], pack)
    same(account.api.post(f"/{repo.id}.git/git-receive-pack", body,
                          headers={"Content-Type": "application/x-git-receive-pack-request"}).status, 200, "the push")
    for path in ("contents/?recursive=true", f"compare?base={small}&head=main", "tarball", "zip"):
        reply, grown = growth(server, lambda: account.api.get(f"{repo.path}/{path}"))
        same((path, reply.status), (path, 400), reply.body[:200])
        expect("olders" in reply.error("GIT_INVALID_REQUEST")["message"], path, reply.body)
        expect(grown < (128 + 80) * MB, f"{path}: memory", grown // MB)


def push_deltas(repo, old, new, end):
    """A commit with old and new, which is old with end behind it and stored as a delta of it."""
    ids = [pkt.oid(pkt.BLOB, data) for data in (old, new)]
    tree = pkt.tree(("100644", "new", ids[1]), ("100644", "old", ids[0]))
    commit = pkt.commit(pkt.oid(pkt.TREE, tree))
    copies = [(at, min(0xff0000, len(old) - at)) for at in range(0, len(old), 0xff0000)]
    delta = pkt.delta(len(old), len(new), *copies, end)
    pack = pkt.pack([pkt.entry(pkt.BLOB, old), pkt.entry(pkt.REF_DELTA, delta, base=ids[0]), pkt.entry(pkt.TREE, tree),
                     pkt.entry(pkt.COMMIT, commit)])
    said = Wire(repo.account.server.url, repo.account.key).push(repo.id, {"refs/heads/main": (None, pkt.oid(pkt.COMMIT, commit))}, pack)
    expect(said.ok, "the push", said)
    return ids[1]


@test
def large_files_that_are_deltas_are_no_memory(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo(defaultBranch="main")
    end = b"the end"
    old = b"a line of a file that is larger than the memory\n" * (26 * MB // 48)
    new = old + end
    blob = push_deltas(repo, old, new, end)
    host, port = server.url.split("//")[1].split(":")

    def begin(path):
        """Six who ask for it at once, and read no more than the first line."""
        socks = [socket.create_connection((host, int(port))) for _ in range(6)]
        for sock in socks:
            sock.sendall(f"GET {repo.path}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n\r\n".encode())
        return socks, [int(sock.recv(12, socket.MSG_WAITALL).split()[1]) for sock in socks]

    for path in "contents/new", f"git/blobs/{blob}":
        (socks, statuses), grown = growth(server, lambda path=path: begin(path))
        expect(grown < MAX * MB, f"{path}: memory", grown // MB)
        expect(200 in statuses and 503 in statuses and set(statuses) == {200, 503}, f"{path}: some are told to come again", statuses)
        reply = account.api.get(f"{repo.path}/{path}")
        same(reply.status, 503, f"{path}: one more")
        expect("ask for less, or again later" in reply.error("UNAVAILABLE")["message"], f"{path}: a sentence", reply.body)
        for sock in socks:
            sock.close()
        reply = wait_for(lambda path=path: next((r for r in [account.api.get(f"{repo.path}/{path}")] if r.status == 200), None), "the next")
        expect(base64.b64decode(reply.ok()["content"]) == new, f"{path}: its content")
    for path, files in ("tarball", of_tar), ("zip", of_zip):
        threads, got = [], []
        for _ in range(3):
            threads.append(threading.Thread(target=lambda path=path: got.append(server.api(account.key).get(f"{repo.path}/{path}").body)))

        def all_of_them(threads=threads):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        _, grown = growth(server, all_of_them)
        expect(grown < MAX * MB, f"{path}: memory", grown // MB)
        same([files(body) == {"new": new, "old": old} for body in got], [True] * 3, f"{path}: what is in them")
    wait_for(lambda: not [name for name in server.files("run") if "spool" in name], "files in run/")


def of_tar(body):
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def of_zip(body):
    with zipfile.ZipFile(io.BytesIO(body)) as z:
        return {name: z.read(name) for name in z.namelist()}
