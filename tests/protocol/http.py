"""HTTP itself: paths, encodings, limits, odd requests on raw sockets."""
import gzip
import socket
import time
import uuid
import zlib

from harness import expect, same, test
from harness.core import slowness
from harness.pkt import FLUSH, ZERO, entry, pack, pkts, push_body, report, small

FETCH, PUSH = (f"application/x-git-{kind}-pack-request" for kind in ("upload", "receive"))


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
        if headers.get("transfer-encoding") == "chunked":
            return code, headers, self._chunks()
        while self._fill():
            pass
        return code, headers, self.buffer

    def _line(self):
        while b"\r\n" not in self.buffer and self._fill():
            pass
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _chunks(self):
        """A chunked body without trailers; its end is wanted."""
        body = b""
        while True:
            n = int(self._line(), 16)
            while len(self.buffer) < n + 2 and self._fill():
                pass
            body, self.buffer = body + self.buffer[:n], self.buffer[n + 2:]
            if n == 0:
                return body

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


class Git:
    """Requests on one repository with a branch, as they go over the wire."""

    def __init__(self, t):
        self.account = t.account
        self.repo = self.account.repo()
        self.tip, objects = small("tip")
        self.own = f"Host: x\r\nAuthorization: Bearer {self.account.key}\r\n"
        self.wants = pkts(f"want {self.tip} side-band-64k\n", FLUSH, "done\n")
        self.pushed = push_body([(ZERO, self.tip, "refs/heads/main")], pack([entry(k, d) for k, d in objects]))
        self.refs = f"/{self.repo.id}/info/refs?service=git-upload-pack"
        with Raw(t.server) as raw:
            raw.send(self.post("receive", self.pushed))
            status, _, body = raw.response()
            same((status, report(body)), (200, ("ok", {"refs/heads/main": "ok"})), "a push by hand")

    def head(self, service, *lines, version="1.1"):
        kind = FETCH if service == "upload" else PUSH
        return f"POST /{self.repo.id}/git-{service}-pack HTTP/{version}\r\n{self.own}Content-Type: {kind}\r\n" + "".join(
            f"{line}\r\n" for line in lines)

    def post(self, service, body, *lines, version="1.1"):
        return self.head(service, *lines, f"Content-Length: {len(body)}", "", version=version).encode() + body

    def chunked(self, service, *pieces, lines=(), end=b"0\r\n\r\n"):
        body = b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in pieces) + end
        return self.head(service, *lines, "Transfer-Encoding: chunked", "").encode() + body


def refused_and_closed(server, data, statuses, what):
    """One answer, an error; then the connection's end, whatever else was sent. 0 stands for no answer at all."""
    with Raw(server) as raw:
        raw.send(data)
        status, headers, _ = raw.response()
        expect(status in statuses, what, status, headers)
        if status:
            same(headers.get("connection"), "close", f"{what}: Connection")
            # libmicrohttpd 0.9.75 puts a second head before the body of its own 400 for a bad Content-Length.
            raw.buffer = b""
            try:
                while piece := raw.socket.recv(65536):
                    expect(b"accountId" not in piece and b" 200 " not in piece, f"{what}: a second answer", piece)
            except ConnectionResetError:
                pass


@test
def uncertain_framing_is_refused_and_ends_the_connection(t):
    """Who reads such a request otherwise than a proxy in front did would take a request of the attacker's for another's."""
    git = Git(t)
    inner = f"GET /auth/v1/whoami HTTP/1.1\r\n{git.own}\r\n"
    ours = ["Content-Length: 4\r\nContent-Length: 4", "Content-Length: 4\r\nContent-Length: 5",
            "Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity\r\nContent-Length: 4",
            "Transfer-Encoding: gzip, chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Content-Length : 4", "X: a\r\n Content-Length: 4", "Content-Length: 4\r\n X", "Content-Length: 4\r\n 2",
            "Content-Length: 4\r\n\t2", "Transfer-Encoding: chunked\r\n x", "Content-Length: 4\r\n foo: bar", " X: y\r\nContent-Length: 4",
            "X\x01: a\r\nContent-Length: 4", "X y: a\r\nContent-Length: 4"]
    # Refused by libmicrohttpd itself, before we are asked.
    library = ["Content-Length: 4, 4", "Content-Length: +4", "Content-Length: 4x", "Content-Length: -4", "Content-Length: 0x4",
               "Content-Length:", "Content-Length: 99999999999999999999999", "Content-Length: 4\rY: z", "nocolon\r\nContent-Length: 4"]
    for lines in ours + library:
        refused_and_closed(t.server, (git.head("upload", lines, "") + "0000" + inner).encode("latin-1"), (400, 413), repr(lines))
    same(t.server.api().get("/healthz").status, 200, "the server lives")


@test
def malformed_chunks_are_refused_and_store_nothing(t):
    """libmicrohttpd reads the chunks; a body that ends in a wrong one never becomes a push."""
    git = Git(t)
    inner = f"GET /auth/v1/whoami HTTP/1.1\r\n{git.own}\r\n".encode()
    other, objects = small("other")
    pushed = push_body([(ZERO, other, "refs/heads/other")], pack([entry(k, d) for k, d in objects]))
    for bad in (b"zz\r\n", b"-1\r\n", b"0x1\r\nx\r\n", b"1 \r\nx\r\n", b"4\r\nabcdXX", b"ffffffffffffffffffff\r\n", b"\0\r\n", b";\r\n", b"\r\n\r\n"):
        for service, body in (("upload", git.wants), ("receive", pushed)):
            refused_and_closed(t.server, git.chunked(service, body, end=bad) + inner, (0, 400, 413), f"{service}, chunk {bad!r}")
    same(t.git.remote_refs(git.repo.url()), {"refs/heads/main": git.tip}, "refs")
    # Well-formed ones in all their forms.
    for data in (git.chunked("receive", *[pushed[i:i + 7] for i in range(0, len(pushed), 7)]),
                 git.chunked("receive", pushed, end=b"0\r\nX-Trailer: y\r\n\r\n"),
                 git.head("receive", "Transfer-Encoding: Chunked", "").encode() + b"%X;a=b\r\n" % len(pushed) + pushed + b"\r\n000\r\n\r\n"):
        with Raw(t.server) as raw:
            raw.send(data + inner)
            status, _, body = raw.response()
            same((status, report(body)[0]), (200, "ok"), "a chunked push")
            same(raw.response()[0], 200, "the request behind it")


@test
def gzip_bodies_are_bounded_and_whole(t):
    server = t.own_server(config="[git]\nmax_fetch_request = 64k\nmax_pack = 256k\n")
    account = server.account()
    work = Git(type("T", (), {"account": account, "server": server}))
    other, objects = small("other")
    pushed = push_body([(ZERO, other, "refs/heads/other")], pack([entry(k, d) for k, d in objects]))
    zipped = "Content-Encoding: gzip"

    def ask(raw, data, what, *statuses):
        raw.send(data)
        status, headers, body = raw.response()
        expect(status in statuses, what, status, body[:200])
        expect(status == 200 or headers["content-type"].startswith("text/plain"), f"{what}: a sentence", headers)

    for service, body in (("upload", work.wants), ("receive", pushed)):
        whole = gzip.compress(body)
        broken = {"a byte behind": whole + b"x", "two members": gzip.compress(body[:20]) + gzip.compress(body[20:]),
                  "a wrong checksum": whole[:-8] + bytes(4) + whole[-4:], "a wrong length": whole[:-4] + b"\1\1\1\1",
                  "cut in the trailer": whole[:-3], "cut in the middle": whole[:len(whole) // 2], "only a head": whole[:10],
                  "no gzip": body, "zlib's form": zlib.compress(body)}
        with Raw(server) as raw:
            for what, data in broken.items():
                ask(raw, work.post(service, data, zipped), f"{service}: {what}", 400)
                ask(raw, work.chunked(service, data[:9], data[9:], lines=[zipped]), f"{service}, chunked: {what}", 400)
            for coding in ("br", "deflate", "gzip, gzip", "gzip\r\nContent-Encoding: gzip", "zstd", "compress"):
                ask(raw, work.post(service, whole, f"Content-Encoding: {coding}"), f"{service}: {coding!r}", 415)
    same(t.git.remote_refs(work.repo.url()), {"refs/heads/main": work.tip}, "refs after all that was broken")
    # A million bytes from each kilobyte: what they unpack to is counted, not what they are.
    rss = server.rss_anon()
    bomb = gzip.compress(pkts(f"want {work.tip} side-band-64k\n", *[f"have {i:040x}\n" for i in range(100)]) + pkts("have " + "1" * 40 + "\n") * 2_000_000)
    with Raw(server) as raw:
        ask(raw, work.post("upload", bomb, zipped), "a fetch that unpacks to 100 MB", 413)
        many = push_body([(ZERO, other, "refs/heads/other")], b"PACK\0\0\0\2\0\0\0\1" + bytes(120_000_000))
        ask(raw, work.post("receive", gzip.compress(many), zipped), "a push that unpacks to 120 MB", 200, 400, 413)
        for lines, data in (([zipped], gzip.compress(pushed)), (["Content-Encoding: identity"], pushed)):
            ask(raw, work.chunked("receive", data, lines=lines), f"a push with {lines}", 200)
    expect(server.rss_anon() < rss + 64 * 1024 * 1024 or slowness() > 1, "memory", rss, server.rss_anon())
    same(t.git.remote_refs(work.repo.url()), {"refs/heads/main": work.tip, "refs/heads/other": other}, "refs")


@test
def git_answers_say_what_they_are(t):
    """Content types, methods and cache headers, also of refusals: what is true of a repository may not be a minute later."""
    git = Git(t)
    stranger = f"Host: x\r\nAuthorization: Bearer {t.account.key}\r\n"
    text = "text/plain; charset=utf-8"
    rows = [("GET", git.refs, "", 200, "application/x-git-upload-pack-advertisement"),
            ("HEAD", git.refs, "", 200, "application/x-git-upload-pack-advertisement"),
            ("GET", git.refs.replace("upload", "receive"), "", 200, "application/x-git-receive-pack-advertisement"),
            ("POST", f"/{git.repo.id}/git-upload-pack", FETCH, 200, "application/x-git-upload-pack-result"),
            ("POST", f"/{git.repo.id}/git-receive-pack", PUSH, 200, "application/x-git-receive-pack-result"),
            ("POST", f"/{git.repo.id}/git-upload-pack", "text/plain", 415, text), ("POST", f"/{git.repo.id}/git-receive-pack", FETCH, 415, text),
            ("GET", f"/{git.repo.id}/git-upload-pack", "", 405, text), ("HEAD", f"/{git.repo.id}/git-receive-pack", "", 405, text),
            ("PUT", git.refs, "", 405, text), ("DELETE", f"/{git.repo.id}/git-receive-pack", "", 405, text)]
    with Raw(t.server) as raw:
        for method, path, kind, status, type_ in rows:
            raw.send(f"{method} {path} HTTP/1.1\r\n{git.own}" + (f"Content-Type: {kind}\r\nContent-Length: 4\r\n\r\n0000" if kind else "\r\n"))
            got, headers, body = raw.response(head=method == "HEAD")
            same((got, headers.get("content-type")), (status, type_), f"{method} {path} {kind}")
            same(headers.get("cache-control"), "no-cache, max-age=0, must-revalidate", f"{method} {path}: Cache-Control")
            same((headers.get("pragma"), headers.get("expires")), ("no-cache", "Fri, 01 Jan 1980 00:00:00 GMT"), f"{method} {path}: for HTTP/1.0")
            if status == 405:
                same(headers.get("allow"), "GET, HEAD, OPTIONS" if "info/refs" in path else "POST, OPTIONS", f"{method} {path}: Allow")
            if method == "HEAD":
                raw.send(f"GET {path} HTTP/1.1\r\n{git.own}\r\n")
                same(raw.response()[1].get("content-length"), headers.get("content-length"), f"{path}: the length that HEAD tells")
            elif status != 200:
                expect(body.endswith(b"\n") and len(body) > 20, f"{method} {path}: a sentence", body)
        for who, status in ((stranger, 404), ("Host: x\r\n", 401), ("Host: x\r\nAuthorization: Bearer wrk_nobody\r\n", 401)):
            raw.send(f"GET {git.refs} HTTP/1.1\r\n{who}\r\n")
            got, headers, _ = raw.response()
            same((got, headers["content-type"], headers.get("cache-control")), (status, text, "no-cache, max-age=0, must-revalidate"), who)
            same("www-authenticate" in headers, status == 401, who)
        for path, allow in ((git.refs, "GET, HEAD, OPTIONS"), (f"/{git.repo.id}/git-upload-pack", "POST, OPTIONS")):
            raw.send(f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"
                     "Access-Control-Request-Headers: authorization,content-type,git-protocol\r\n\r\n")
            status, headers, _ = raw.response()
            same((status, headers["allow"], headers["access-control-allow-methods"]), (204, allow, allow), f"OPTIONS {path}")
            expect({"authorization", "content-type", "git-protocol"} <= set(headers["access-control-allow-headers"].split(", ")), "headers", headers)


@test
def the_connection_goes_on_after_each_kind_of_error_or_says_that_it_ends(t):
    git = Git(t)
    nobody = git.own.replace(git.account.key, "wrk_nobody")
    cases = {"200": git.post("upload", git.wants), "an ERR line": git.post("upload", pkts("want " + "1" * 40 + "\n", FLUSH, "done\n")),
             "no pkt-line": git.post("upload", b"zzzz"), "no pkt-line in a push": git.post("receive", b"zzzz" + bytes(100_000)),
             "wrong type": git.post("upload", b"0000").replace(FETCH.encode(), b"text/plain"), "no route": b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
             "wrong method": f"DELETE {git.refs} HTTP/1.1\r\n{git.own}\r\n".encode(), "401": git.post("upload", git.wants).replace(git.own.encode(), nobody.encode()),
             "401 for a push": git.post("receive", git.pushed).replace(git.own.encode(), nobody.encode()),
             "401 before the body": git.head("receive", "Expect: 100-continue", "Content-Length: 100000", "").replace(git.own, nobody).encode(),
             "413": f"PUT /git/v1/repo/{git.repo.id}/visibility HTTP/1.1\r\n{git.own}Content-Length: 70000\r\n\r\n".encode() + b" " * 70000,
             "413 before the body": f"POST /git/v1/repo HTTP/1.1\r\n{git.own}Content-Length: 70000000000\r\n\r\n".encode(),
             "no JSON": f"POST /git/v1/repo HTTP/1.1\r\n{git.own}Content-Length: 3\r\n\r\n{{x}}".encode(),
             "two hosts": f"GET /healthz HTTP/1.1\r\n{git.own}Host: y\r\n\r\n".encode(),
             "a refused push": git.post("receive", git.pushed), "415": git.post("receive", git.pushed, "Content-Encoding: br")}
    for what, data in cases.items():
        with Raw(t.server) as raw:
            raw.send(data)
            status, headers, _ = raw.response()
            expect(status >= 200, what, status)
            same(what.startswith(str(status)) or not what[0].isdigit(), True, f"{what}: status {status}")
            if headers.get("connection", "").lower() == "close":
                expect(raw.closed(), f"{what}: closed as it said")
                continue
            raw.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            same(raw.response()[0], 200, f"{what}: the next request")


@test
def old_and_odd_clients(t):
    """HTTP/1.0 as proxies speak it, absolute targets, Expect, several requests at once and rubbish behind them."""
    git = Git(t)
    for lines in ((), ("Connection: keep-alive",)):
        with Raw(t.server) as raw:
            raw.send(git.post("upload", git.wants, *lines, version="1.0"))
            status, headers, body = raw.response()
            same((status, headers.get("transfer-encoding")), (200, None), "a fetch by HTTP/1.0")
            expect(body.startswith(b"0008NAK\n") and body.endswith(FLUSH), "its answer is whole", body[:40], body[-40:])
    with Raw(t.server) as raw:
        raw.send(f"GET http://x{git.refs} HTTP/1.1\r\n{git.own}\r\n")
        status, headers, _ = raw.response()
        same((status, headers["content-type"]), (200, "application/x-git-upload-pack-advertisement"), "an absolute target")
        raw.send(git.head("upload", "Expect: 100-continue", f"Content-Length: {len(git.wants)}", ""))
        same(raw.response()[0], 100, "go on")
        raw.send(git.wants)
        status, _, whole = raw.response()
        same(status, 200, "the answer behind it")
        raw.send(git.post("upload", git.wants) * 3 + git.chunked("upload", git.wants))
        same([raw.response()[::2] for _ in range(4)], [(200, whole)] * 4, "four at once")
        raw.send(git.post("upload", git.wants) + b"rubbish\r\n\r\n")
        same(raw.response()[::2], (200, whole), "the answer before the rubbish")
        expect(raw.response()[0] in (0, 400), "rubbish")
    with Raw(t.server) as raw:
        raw.send(git.post("upload", git.wants, "Connection: close") + git.post("upload", git.wants))
        same(raw.response()[0], 200, "the last request")
        expect(raw.closed(), "nothing behind it")


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
    path = f"{account.repo().path}/visibility"
    with Raw(t.server) as raw:
        raw.send(f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\nTransfer-Encoding: chunked\r\n\r\n")
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
