"""Crowds of clients that are slow, stop half way or never read: others are served, and all of them are dropped."""
import os
import re
import resource
import select
import socket
import ssl
import subprocess
import threading
import time
import zlib

from harness import expect, same, test, wait_for
from harness.core import sanitized, slowness
from harness.pkt import ZERO, entry, pack, pkts, push_body, small

CONCURRENT = True
COST = 30

FETCH = "Content-Type: application/x-git-upload-pack-request\r\n"
PUSH = "Content-Type: application/x-git-receive-pack-request\r\n"
# Long enough that no client of a test is dropped before the test is done with it.
PATIENT = "[http]\nmin_rate_window = 10m\nheader_timeout = 10m\nidle_timeout = 10m\n"


def each():
    """Clients of each kind."""
    return 40 if sanitized() else 500


class Crowd:
    """Connections to one repository, in the ways that hold up a careless server."""

    def __init__(self, t, server, repo, tip):
        self.server, self.repo = server, repo
        self.held, self.over = [], threading.Event()
        self.dripping, self.sipping = [], []
        wants = pkts(f"want {tip} side-band-64k\n", b"0000", "done\n")
        own = f"Authorization: Bearer {repo.account.key}\r\n"
        post = f"POST /{repo.id}/git-%s-pack HTTP/1.1\r\nHost: x\r\n"
        fetch, push = post % "upload" + FETCH, post % "receive" + PUSH + own
        whole = f"Content-Length: {len(wants)}\r\n\r\n".encode() + wants
        self.halves = [
            b"", b"GET /healthz HT", f"GET /healthz HTTP/1.1\r\nHost: x\r\n{own}".encode(),
            (fetch + own + "Content-Length: 100000\r\n\r\n0032want").encode(), (push + "Content-Length: 100000\r\n\r\n0094").encode(),
            (fetch + "Transfer-Encoding: chunked\r\n\r\nfff\r\n").encode(), (push + "Transfer-Encoding: chunked\r\n\r\nfff\r\n00").encode(),
            (fetch + own + "Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n").encode() + zlib.compress(wants, wbits=31)[:20],
            # It fills its ring, so it has a thread too.
            (push + "Content-Length: 10000000\r\n\r\n").encode() + push_body([(ZERO, tip, "refs/heads/x")], b"PACK" + bytes(300_000)),
        ]
        # Half of those that read nothing are strangers, half come with the repository's key.
        self.whole = [fetch.encode() + whole, (fetch + own).encode() + whole]
        self.slow = [f"GET /{repo.id}/info/refs?service=git-upload-pack HTTP/1.1\r\nX: ".encode(), self.halves[3], self.halves[4]]
        t.stack.callback(self.leave)

    def dial(self, data, window=None):
        s = socket.socket()
        if window:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        s.settimeout(60 * slowness())
        host, port = self.server.url.split("//")[1].split(":")
        s.connect((host, int(port)))
        s.sendall(data)
        s.setblocking(False)
        self.held.append(s)
        return s

    def come(self, n):
        for i in range(n):
            self.dial(self.halves[i % len(self.halves)])
            self.dial(self.whole[i % 2], 4096)
            if i % 4 == 3:
                self.sipping.append(self.dial(self.whole[0], 4096))
            else:
                self.dripping.append(self.dial(self.slow[i % 4]))
        threading.Thread(target=self.drip, daemon=True).start()

    def drip(self):
        """A byte a second, there or back."""
        while not self.over.wait(1):
            for s in self.dripping:
                try:
                    s.send(b"a")
                except OSError:
                    pass
            for s in self.sipping:
                try:
                    s.recv(1)
                except OSError:
                    pass

    def open(self):
        """How many connections the server has not ended. Reads nothing: that would be progress."""
        poller = select.poll()
        for s in self.held:
            poller.register(s, select.POLLRDHUP)
        return len(self.held) - len(poller.poll(0))

    def leave(self):
        self.over.set()
        for i, s in enumerate(self.held):
            if i % 2:
                # A reset instead of an orderly end.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        self.held = []


def descriptors(server):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.pids())


def threads(server):
    total = 0
    for pid in server.pids():
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            total += int(re.search(r"^Threads:\s+(\d+)", f.read(), re.M).group(1))
    return total


def filled(t, server, env=None):
    """A public repository of some megabytes, the work tree it came from, and its tip."""
    repo = server.account().repo(public=True)
    work = t.git.init(t.path("work"))
    t.git.commit(work, {f"f{i}": t.random.randbytes(1_000_000) for i in range(6)})
    t.git("push", "-q", repo.url(), "main", cwd=work, env=env)
    return repo, work, t.git.rev(work)


def descriptors_for(clients):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + 200
    if soft < wanted <= hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, hard) >= wanted


@test
def crowds_of_slow_clients(t):
    """All of one account and one repository, which others clone meanwhile, and push to."""
    n = each()
    if not descriptors_for(3 * n):
        t.skip("the limit of open files is too low for so many clients")
    server = t.own_server(config=PATIENT)
    repo, work, tip = filled(t, server)

    def clone(name):
        began = time.monotonic()
        t.git("clone", "-q", repo.url(), t.path(name))
        same(t.git.rev(t.path(name)), tip, "what was cloned")
        return time.monotonic() - began

    quiet = min(clone(f"quiet{i}") for i in range(3))
    # Whoever has pushed or cloned has left nothing; a connection of the harness may be there.
    before, rss = descriptors(server), server.rss_anon()
    crowd = Crowd(t, server, repo, tip)
    crowd.come(n)
    wait_for(lambda: descriptors(server) >= before + 3 * n - 5, "the server to have them all")
    # Those that read nothing have a thread each.
    wait_for(lambda: threads(server) > n, "answers to have begun")
    crowded = min(clone(f"crowded{i}") for i in range(3))
    t.git("push", "-q", repo.url(), "main:refs/heads/more", cwd=work)
    other = server.account().repo()
    t.git("push", "-q", other.url(), "main", cwd=work)
    same(repo.account.api.get("/auth/v1/whoami").status, 200, "REST")
    grown = server.rss_anon() - rss
    began, used = time.monotonic(), server.cpu_seconds()
    time.sleep(1)
    busy = (server.cpu_seconds() - used) / (time.monotonic() - began)
    print(f"note: {3 * n} slow clients: clone {crowded:.2f} s, quiet {quiet:.2f} s; {grown / 3 / n / 1024:.0f} KB of memory each, "
          f"{threads(server)} threads, {100 * busy:.0f} % of a core")
    expect(descriptors(server) >= before + 3 * n - 5, "none of them was dropped meanwhile", descriptors(server), before)
    if not sanitized():
        expect(grown < 3 * n * 128 * 1024, "memory", grown)
        expect(busy < 0.5, "nothing spins", busy)
    crowd.leave()
    wait_for(lambda: descriptors(server) <= before + 5, "their descriptors")
    wait_for(lambda: threads(server) < 60, "their threads' end")
    if not sanitized():
        wait_for(lambda: server.rss_anon() < rss + 24 * 1024 * 1024, "their memory")
    clone("after")


@test
def all_slow_clients_are_dropped_at_their_deadlines(t):
    n = each()
    if not descriptors_for(3 * n):
        t.skip("the limit of open files is too low for so many clients")
    server = t.own_server(config="[http]\nmin_rate_window = 3s\nheader_timeout = 3s\nidle_timeout = 3s\n")
    repo, work, tip = filled(t, server)
    before = descriptors(server)
    crowd = Crowd(t, server, repo, tip)
    crowd.come(n)
    wait_for(lambda: not crowd.open(), "all of them to be dropped", seconds=120)
    wait_for(lambda: descriptors(server) <= before + 5, "their descriptors")
    lines = [line for line in server.log_lines() if line["event"] == "request" and "aborted" in line]
    same({line["aborted"] for line in lines} - {"too slow", "header timeout", "client left", "idle timeout"}, set(), "why")
    expect(sum(line["aborted"] == "too slow" for line in lines) > n, "most were too slow", len(lines))
    t.git("clone", "-q", repo.url(), t.path("after"))
    same(t.git.rev(t.path("after")), tip, "what was cloned afterwards")
    crowd.leave()


@test
def slow_clients_over_tls(t):
    """The same by HTTPS, and in the handshake."""
    key, cert = t.path("key.pem"), t.path("cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    n = 20 if sanitized() else 60
    server = t.own_server(flags=["--tls-cert", cert, "--tls-key", key], cafile=cert,
                          config="[http]\nmin_rate_window = 6s\nheader_timeout = 6s\nidle_timeout = 6s\n")
    context = ssl.create_default_context(cafile=cert)
    trusting = {"GIT_SSL_CAINFO": cert}
    repo, work, tip = filled(t, server, trusting)
    before = descriptors(server)
    crowd = Crowd(t, server, repo, tip)
    for i in range(n):
        # The first bytes of a ClientHello; nothing.
        crowd.dial(b"\x16\x03\x01\x02\x00\x01\x00\x01" if i % 2 else b"")
        for data in (crowd.halves[i % len(crowd.halves)], crowd.whole[i % 2]):
            s = crowd.dial(b"", 4096)
            s.settimeout(60 * slowness())
            secure = context.wrap_socket(s, server_hostname="127.0.0.1")
            crowd.held[-1] = secure
            secure.sendall(data)
    for i in range(2):
        t.git("clone", "-q", repo.url(), t.path(f"c{i}"), env=trusting)
        same(t.git.rev(t.path(f"c{i}")), tip, "what was cloned")
    wait_for(lambda: not crowd.open(), "all of them to be dropped", seconds=120)
    wait_for(lambda: descriptors(server) <= before + 5, "their descriptors")
    wait_for(lambda: threads(server) < 60, "their threads' end")


@test
def the_end_does_not_wait_for_them(t):
    n = each()
    if not descriptors_for(3 * n):
        t.skip("the limit of open files is too low for so many clients")
    server = t.own_server(config=PATIENT + "[server]\nstop_timeout = 1s\n")
    repo, _, tip = filled(t, server)
    before = descriptors(server)
    crowd = Crowd(t, server, repo, tip)
    crowd.come(n)
    wait_for(lambda: descriptors(server) >= before + 3 * n - 5, "the server to have them all")
    began = time.monotonic()
    server.stop()
    print(f"note: {3 * n} slow clients: stopped after {time.monotonic() - began:.1f} s, with a stop_timeout of 1 s")
    crowd.leave()
    server.start()
    t.git("clone", "-q", repo.url(), t.path("after"))
    same(t.git.rev(t.path("after")), tip, "what was cloned afterwards")


@test
def more_clients_than_places(t):
    """All places are taken by clients that ask nothing: who asks something is served."""
    server = t.own_server(config=PATIENT + "max_connections = 50\n")
    repo, _, tip = filled(t, server)
    crowd = Crowd(t, server, repo, tip)
    for i in range(200):
        crowd.dial(crowd.halves[i % 3])
    for i in range(2):
        t.git("clone", "-q", repo.url(), t.path(f"c{i}"))
        same(t.git.rev(t.path(f"c{i}")), tip, "what was cloned")


@test
def hung_up_anywhere(t):
    """Clients that leave in each part of each kind of request; nothing of them stays."""
    server = t.own_server(config=PATIENT)
    repo, _, tip = filled(t, server)
    commit, objects = small("cut", t.random.randbytes(600_000))
    packed = push_body([(ZERO, commit, "refs/heads/cut")], pack([entry(k, d) for k, d in objects]))
    wants = pkts(f"want {tip} side-band-64k\n", b"0000", "done\n")
    own = f"Host: x\r\nAuthorization: Bearer {repo.account.key}\r\n"

    def request(path, kind, body, chunked=False, zipped=False):
        body = zlib.compress(body, wbits=31) if zipped else body
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        encoding = "Content-Encoding: gzip\r\n" if zipped else ""
        head = f"POST /{repo.id}/{path} HTTP/1.1\r\n{own}{kind}{encoding}{length}\r\n\r\n".encode()
        return head, b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" if chunked else body

    kinds = [(f"GET /{repo.id}/info/refs?service=git-upload-pack HTTP/1.1\r\n{own}\r\n".encode(), b"")]
    for chunked in (False, True):
        for zipped in (False, True):
            kinds.append(request("git-upload-pack", FETCH, wants, chunked, zipped))
            kinds.append(request("git-receive-pack", PUSH, packed, chunked, zipped))
    files, before, rss = server.files("run"), descriptors(server), server.rss_anon()
    crowd = Crowd(t, server, repo, tip)
    for _ in t.rounds(3):
        for head, body in kinds:
            whole = head + body
            # A push stays without its last byte, so that it changes nothing.
            last = len(whole) - (1 if b"receive-pack" in head else 0)
            cuts = {1, len(head) // 2, len(head) - 1, len(head), len(head) + len(body) // 2, last, t.random.randint(1, last)}
            for cut in sorted(c for c in cuts if c <= last):
                s = crowd.dial(b"", 4096)
                s.settimeout(60 * slowness())
                s.sendall(whole[:cut])
                if cut == len(whole) and t.random.random() < 0.7:
                    s.recv(t.random.choice([1, 1000, 30_000]))
            crowd.leave()
    wait_for(lambda: descriptors(server) <= before + 5, "their descriptors")
    same(server.files("run"), files, "files of pushes")
    began, used = time.monotonic(), server.cpu_seconds()
    time.sleep(1)
    busy = (server.cpu_seconds() - used) / (time.monotonic() - began)
    if not sanitized():
        expect(busy < 0.5, "nothing spins", busy)
        wait_for(lambda: server.rss_anon() < rss + 24 * 1024 * 1024, "their memory")
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": tip}, "refs")
