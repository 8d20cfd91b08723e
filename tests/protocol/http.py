"""HTTP itself: paths, encodings, limits, odd requests on raw sockets."""
import socket
import time
import uuid

from harness import expect, same, test
from harness.core import slowness


class Raw:
    """One connection; bytes out, one parsed response in."""

    def __init__(self, server):
        host, port = server.url.split("//")[1].split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60 * slowness())
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def _fill(self):
        piece = self.socket.recv(65536)
        self.buffer += piece
        return bool(piece)

    def response(self, head=False):
        """(status, headers in lower case, body); status 0 when the connection was closed."""
        while b"\r\n\r\n" not in self.buffer:
            try:
                if not self._fill():
                    return 0, {}, self.buffer
            except ConnectionResetError:
                return 0, {}, self.buffer
        top, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = top.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        code = int(status.split()[1])
        if head or code in (204, 304) or 100 <= code < 200:
            return code, headers, b""
        if "content-length" in headers:
            n = int(headers["content-length"])
            while len(self.buffer) < n and self._fill():
                pass
            body, self.buffer = self.buffer[:n], self.buffer[n:]
            return code, headers, body
        while self._fill():
            pass
        return code, headers, self.buffer

    def closed(self):
        """Whether the server closes now, without another byte."""
        try:
            return not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


@test
def paths_are_decoded_once(t):
    account = t.account
    repo = account.repo()
    encoded = "".join(f"%{ord(c):02x}" for c in repo.id)
    same(account.api.get(f"/git/v1/repo/{encoded}").ok()["id"], repo.id, "an encoded id")
    same(account.api.get(f"/%67it/v1/rep%6f/{repo.id}").ok()["id"], repo.id, "encoded fixed segments")
    account.api.get(f"/git/v1/repo/{encoded.replace('%', '%25')}").error("REPOSITORY_NOT_FOUND")
    account.api.get(f"/git/v1/repo%2F{repo.id}").error("NOT_FOUND")
    reply = account.api.get("/git/v1/repo/%252F")
    reply.error("REPOSITORY_NOT_FOUND", repoId="%2F")
    same(account.api.get(f"/git/v1/repo/{repo.id}?").ok()["id"], repo.id, "an empty query")
    same(account.api.get(f"/git/v1/repo/{repo.id}?a=b&c&=&&%41=%42").ok()["id"], repo.id, "a query that nobody needs")


@test
def nul_in_a_path_is_400(t):
    account = t.account
    for path in ("/git/v1/repo/%00", f"/git/v1/repo/{uuid.uuid4()}%00x", "/healthz%00", "/%00"):
        account.api.get(path).error("GIT_INVALID_REQUEST")


@test
def broken_escapes_are_400(t):
    account = t.account
    for path in ("/git/v1/repo/%", "/git/v1/repo/%2", "/git/v1/repo/%zz", "/git/v1/repo/a%"):
        account.api.get(path).error("GIT_INVALID_REQUEST")


@test
def dots_are_never_folded(t):
    account = t.account
    repo = account.repo()
    for path in (f"/git/v1/repo/../repo/{repo.id}", f"/git/v1/./repo/{repo.id}", f"/x/../healthz", "/healthz/..", "/..", "/../../etc/passwd",
                 f"/{repo.id}/../{repo.id}/info/refs?service=git-upload-pack", "/%2e%2e/healthz"):
        expect(account.api.get(path).status == 404, path)


@test
def head_is_like_get_without_a_body(t):
    with Raw(t.server) as raw:
        raw.send("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = raw.response(head=True)
        expect(status in (200, 405), "HEAD", status)
        expect("x-freestyle-trace-id" in headers, "trace id", headers)
        raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        same(raw.response()[0], 200, "the connection goes on")


@test
def requests_in_one_piece_are_answered_in_order(t):
    account = t.account
    head = f"Host: x\r\nAuthorization: Bearer {account.key}\r\n"
    with Raw(t.server) as raw:
        raw.send(f"POST /git/v1/repo HTTP/1.1\r\n{head}Content-Length: 2\r\n\r\n{{}}"
                 f"GET /auth/v1/whoami HTTP/1.1\r\n{head}\r\nGET /nowhere HTTP/1.1\r\n{head}\r\nGET /git/v1/repo HTTP/1.1\r\n{head}\r\n")
        codes = [raw.response() for _ in range(4)]
        same([c[0] for c in codes], [200, 200, 404, 200], "statuses")
        expect(b'"total":1' in codes[3][2].replace(b" ", b""), "the repository is there", codes[3][2])
        same(len({c[1]["x-freestyle-trace-id"] for c in codes}), 4, "trace ids")


@test
def http_1_0_and_connection_close(t):
    with Raw(t.server) as raw:
        raw.send("GET /healthz HTTP/1.0\r\n\r\n")
        same(raw.response()[0], 200, "HTTP/1.0")
        expect(raw.closed(), "closed after it")
    with Raw(t.server) as raw:
        raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        same(raw.response()[0], 200, "with Connection: close")
        expect(raw.closed(), "closed after it")


@test
def two_lengths_or_a_length_with_chunks_never_smuggle(t):
    account = t.account
    inner = f"GET /auth/v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n\r\n"
    for lengths in (f"Content-Length: 2\r\nContent-Length: {2 + len(inner)}\r\n", f"Content-Length: {2 + len(inner)}\r\nContent-Length: 2\r\n",
                    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "Content-Length: -2\r\n", "Content-Length: 2x\r\n",
                    "Content-Length: 99999999999999999999999\r\n", "Transfer-Encoding: chunked, identity\r\n"):
        with Raw(t.server) as raw:
            raw.send(f"POST /git/v1/repo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n{lengths}\r\n{{}}")
            raw.socket.settimeout(3)
            try:
                status = raw.response()[0]
            except TimeoutError:
                status = 0
            expect(status in (0, 200, 400, 413, 501), f"{lengths!r}", status)
            if status == 200 and "Transfer" not in lengths:
                expect("Content-Length: 2\r\n" in lengths, "only by a length that is there", lengths)
    same(t.server.api().get("/healthz").status, 200, "the server lives")


@test
def a_body_that_is_too_long_is_refused_before_it_is_sent(t):
    account = t.account
    with Raw(t.server) as raw:
        raw.send(f"POST /git/v1/repo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\nContent-Length: 100000000000\r\n"
                 "Expect: 100-continue\r\n\r\n")
        status, headers, body = raw.response()
        same(status, 413, f"status with {body[:200]!r}")
        expect("x-freestyle-trace-id" in headers and headers.get("access-control-allow-origin") == "*", "headers", headers)


@test
def a_chunked_body_that_grows_too_long_is_413(t):
    account = t.account
    with Raw(t.server) as raw:
        raw.send(f"POST /git/v1/repo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(20):
            raw.send(chunk)
        raw.send(b"0\r\n\r\n")
        status, headers, _ = raw.response()
        same(status, 413, "status")
        expect("x-freestyle-trace-id" in headers, "headers", headers)


@test
def a_long_url_and_large_headers_are_refused(t):
    with Raw(t.server) as raw:
        raw.send("GET /" + "x" * 100000 + " HTTP/1.1\r\nHost: x\r\n\r\n")
        expect(raw.response()[0] in (414, 431, 400, 0), "a long URL")
    with Raw(t.server) as raw:
        raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n" + "".join(f"X-{i}: {'y' * 1000}\r\n" for i in range(100)) + "\r\n")
        expect(raw.response()[0] in (431, 413, 400, 0), "large headers")
    same(t.server.api().get("/healthz").status, 200, "the server lives")


@test
def nonsense_instead_of_http(t):
    for data in (b"\r\n\r\n", b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                 b"GET / HTTP/1.1\r\nno colon here\r\n\r\n", b"\0" * 1000, b"GET http://other/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n"):
        with Raw(t.server) as raw:
            raw.send(data)
            raw.socket.settimeout(1)
            try:
                raw.response()
            except (TimeoutError, ValueError, IndexError):
                pass
    same(t.server.api().get("/healthz").status, 200, "the server lives")


@test
def clients_that_send_nothing_or_slowly_block_nobody(t):
    """Half-sent requests of every kind stay open while others are served."""
    account = t.account
    repo = account.repo()
    head = f"Host: x\r\nAuthorization: Bearer {account.key}\r\n"
    stuck = []
    for i in range(40):
        raw = Raw(t.server)
        t.stack.callback(raw.socket.close)
        raw.send(["", "GET /healthz HT", f"POST /git/v1/repo HTTP/1.1\r\n{head}Content-Length: 10\r\n\r\n{{",
                  f"POST /{repo.id}/git-receive-pack HTTP/1.1\r\n{head}Content-Type: application/x-git-receive-pack-request\r\n"
                  "Content-Length: 1000\r\n\r\n00"][i % 4])
        stuck.append(raw)
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    for _ in range(3):
        account.api.post("/git/v1/repo", {}).ok()
    t.git("push", "-q", repo.url(), "main", cwd=work)
    t.git("clone", "-q", repo.url(), t.path("copy"))
    slow = Raw(t.server)
    t.stack.callback(slow.socket.close)
    for c in f"GET /auth/v1/whoami HTTP/1.1\r\n{head}\r\n":
        slow.send(c)
    same(slow.response()[0], 200, "byte by byte")


@test
def a_half_sent_request_is_dropped_in_the_end(t):
    server = t.own_server(config="[http]\nheader_timeout = 1s\nidle_timeout = 1s\nmin_rate = 512\nmin_rate_window = 1s\n")
    account = server.account()
    repo = account.repo()
    head = f"Host: x\r\nAuthorization: Bearer {account.key}\r\n"
    for data in ("", "GET /healthz HT", f"POST /git/v1/repo HTTP/1.1\r\n{head}Content-Length: 10\r\n\r\n{{",
                 f"POST /{repo.id}/git-receive-pack HTTP/1.1\r\n{head}Content-Type: application/x-git-receive-pack-request\r\n"
                 "Content-Length: 1000\r\n\r\n00"):
        with Raw(server) as raw:
            raw.socket.settimeout(40 * slowness())
            raw.send(data)
            while True:
                try:
                    if not raw.socket.recv(4096):
                        break
                except ConnectionResetError:
                    break
    same(server.api().get("/healthz").status, 200, "the server lives")


@test
def a_client_that_leaves_while_a_clone_streams(t):
    account = t.account
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"big": t.random.randbytes(8_000_000)})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    tip = t.git.rev(work)
    body = b"".join(b"%04x" % (4 + len(x)) + x if x else b"0000" for x in (f"want {tip} side-band-64k\n".encode(), b"", b"done\n"))
    for n in range(10):
        with Raw(t.server) as raw:
            raw.send(f"POST /{repo.id}/git-upload-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n"
                     f"Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {len(body)}\r\n\r\n")
            raw.send(body)
            if n % 2:
                raw.socket.recv(1000)
    t.git("clone", "-q", repo.url(), t.path("copy"))
    start = time.monotonic()
    t.server.restart()
    expect(time.monotonic() - start < 60 * slowness(), "nothing of them holds up the end")
