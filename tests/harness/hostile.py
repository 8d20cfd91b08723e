"""One server under many hostile requests: what each is answered, and that nothing is left of it.

A Case is one request, sent as it is, and what has to come back: a status and a pattern for the sentence. run() sends
all of them twice, so that what leaks with each request shows between the two."""
import collections
import itertools
import os
import re
import socket
import urllib.parse

from harness import pkt
from harness.core import Fail, expect, same, sanitized, slowness, wait_for
from harness.raw import Wire, unpack

PACK = "application/x-git-receive-pack-request"
FETCH = "application/x-git-upload-pack-request"


class Case:
    """request: bytes, or a function that makes them. says: a pattern that the sentences of the answer have to match.
    status: one, or several; 0 where the connection just ends; None where the client leaves in the middle of its
    request. more: what follows the first answer, as (status, pattern) each; then the server has to close."""

    def __init__(self, name, request, status, says="", more=()):
        self.name, self.request, self.says, self.more = name, request, says, more
        self.status = status if isinstance(status, tuple) else (status,)

    def bytes(self):
        return self.request() if callable(self.request) else self.request


def sentences(body):
    """What people would read of an answer: ERR packets, side-bands, reports, plain text."""
    out, at = [], 0
    while re.match(rb"[0-9a-f]{4}", body[at:at + 4]):
        n = max(4, int(body[at:at + 4], 16))
        line = body[at + 4:at + n]
        out.append(sentences(line[1:]) if line[:1] in (b"\1", b"\2", b"\3")
            else line.decode(errors="replace").rstrip("\n"))
        at += n
    return "\n".join([*[o for o in out if o],
        *([body[at:].decode(errors="replace")] if body[at:at + 4] != b"PACK" else ["PACK"])])


def read_answer(s, pending):
    """One response of HTTP/1.1; (status, headers, body, what follows) or None where the connection ends."""
    data = pending
    while b"\r\n\r\n" not in data:
        piece = s.recv(65536)
        if not piece:
            expect(not data, "an answer that ends in its header", data)
            return None
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
    match = re.fullmatch(r"HTTP/1\.[01] (\d{3}) .*", first)
    expect(match, "a status line", first)
    status = int(match.group(1))
    if status == 100:
        return read_answer(s, rest)

    def more():
        nonlocal rest
        piece = s.recv(65536)
        if not piece:
            raise Fail(f"an answer of {status} that is cut off: {rest[-200:]!r}")
        rest += piece
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while True:
            while b"\r\n" not in rest:
                more()
            line, rest = rest.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            while len(rest) < size + 2:
                more()
            body, rest = body + rest[:size], rest[size + 2:]
            if size == 0:
                return status, headers, body, rest
    if "content-length" in headers:
        while len(rest) < int(headers["content-length"]):
            more()
        n = int(headers["content-length"])
        return status, headers, rest[:n], rest[n:]
    while True:
        piece = s.recv(65536)
        if not piece:
            return status, headers, rest, b""
        rest += piece


class Target:
    """A server with small limits, a repository with some history, and an unrelated one of somebody else."""

    def __init__(self, t, config):
        self.server = t.own_server(config=config)
        self.account = self.server.account()
        self.repo = self.account.repo()
        self.other = self.server.account().repo()
        parts = urllib.parse.urlsplit(self.server.url)
        self.place = parts.hostname, parts.port
        self.wire = Wire(self.server.url, self.account.key)
        t.stack.callback(self.wire.close)
        self.refs = {}

    def head(self, method, path, headers=None, length=None, credential=True, version=None):
        """A request's header; names with a value of None are left out."""
        rows = {"Host": "x", **({"Authorization": f"Bearer {self.account.key}"} if credential else {}),
                **({"Git-Protocol": f"version={version}"} if version else {}),
                **({"Content-Length": length} if length is not None else {}), **(headers or {})}
        lines = [f"{method} {path} HTTP/1.1", *[f"{k}: {v}" for k, v in rows.items() if v is not None], "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def post(self, service, body, version=None, **headers):
        kind = {"git-upload-pack": FETCH, "git-receive-pack": PACK}[service]
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.head("POST", f"/{self.repo.id}.git/{service}", {"Content-Type": kind, **named}, len(body),
            version=version) + body

    def push(self, *commands, pack=b"", capabilities="report-status side-band-64k ofs-delta"):
        return self.post("git-receive-pack", pkt.push_body(list(commands), pack, capabilities))

    def send(self, data, count=1, then_closed=False, seconds=60):
        """So many answers, as (status, headers, body) each; fewer where the connection ends before."""
        out, rest = [], b""
        with socket.create_connection(self.place, timeout=seconds * slowness()) as s:
            try:
                s.sendall(data)
            except OSError:
                pass  # refused before it was read to its end
            try:
                while len(out) < count:
                    answer = read_answer(s, rest)
                    if answer is None:
                        break
                    *row, rest = answer
                    out.append(tuple(row))
                if then_closed:
                    same(rest + s.recv(1000), b"", "what follows the last answer")
            except ConnectionResetError:
                pass
            except socket.timeout:
                raise Fail(f"only {len(out)} answers, then nothing for {seconds * slowness():.0f} s") from None
        return out

    # What may not change.

    def descriptors(self):
        """What each open descriptor of the server is, with how often: without the connections of commands, and without
        those to the database, of which each thread opens one when it needs it first."""
        found = collections.Counter()
        for pid in self.server.pids():
            with open(f"/proc/{pid}/net/unix", encoding="ascii", errors="replace") as f:
                commands = {f"socket:[{row.split()[6]}]" for row in f if len(row.split()) > 6}
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    what = os.readlink(f"/proc/{pid}/fd/{fd}")
                except FileNotFoundError:
                    continue
                if what not in commands:
                    found[re.sub(r"\[\d+\]", "", what)] += 1
            for name in [n for n in found if "warren.db" in n]:
                expect(found.pop(name) <= len(os.listdir(f"/proc/{pid}/task")) + 2, "connections to the database", name)
        return found

    def files(self):
        return {k: n for k, n in self.server.files("repos").items() if self.repo.id in k}

    def hang_up(self):
        for client in [*self.server.clients, self.wire]:
            client.close()

    def at_rest(self):
        """The descriptors once no client is there and nothing changes any more."""
        self.hang_up()
        last = []

        def settled():
            last.append(self.descriptors())
            return len(last) > 5 and all(one == last[-1] for one in last[-5:])
        wait_for(settled, "descriptors that stay as they are")
        return last[-1]

    def quiet(self, wanted, what):
        """No client is there any more: everything is as it was."""
        self.hang_up()
        try:
            wait_for(lambda: self.descriptors() == wanted, "descriptors", 20)
        except Fail:
            got = self.descriptors()
            raise Fail(f"{what}: descriptors: more {got - wanted}, fewer {wanted - got}") from None
        wait_for(lambda: set(self.server.files("run")) <= self.running, f"{what}: the spools' removal", 20)

    def one(self, case):
        try:
            wanted = [(case.status, case.says), *case.more] if case.status != (None,) else []
            answers = self.send(case.bytes(), len(wanted), bool(case.more))
            for (status, says), answer in itertools.zip_longest(wanted, answers, fillvalue=(0, {}, b"")):
                text = sentences(answer[2])
                expect(answer[0] in (status if isinstance(status, tuple) else (status,)), "status", answer[0], status,
                    text)
                expect(re.search(says, text), "sentence", text, says)
        except Exception as e:
            raise Fail(f"{case.name}: {e}") from e

    def unchanged(self, case):
        try:
            same(self.wire.refs(self.repo.id), self.refs, "refs")
        except Exception as e:
            raise Fail(f"{case.name}: after it: {e}\n{self.server.log_tail()}") from e

    def run(self, cases, memory=8 << 20):
        """Every case twice, with the same memory and descriptors after both."""
        names = [c.name for c in cases]
        same(len(set(names)), len(names), f"cases with names of their own, {[n for n in names if names.count(n) > 1]}")
        self.clone()
        before, files, self.running = self.at_rest(), self.files(), set(self.server.files("run"))
        sizes = [self.server.rss_anon()]
        for turn in ("once", "twice"):
            for case in cases:
                self.one(case)
                self.unchanged(case)
            self.quiet(before, turn)
            same(self.files(), files, f"{turn}: files of the repository")
            sizes.append(self.server.rss_anon())
        self.clone()
        if not sanitized():
            # The first time fills caches and the allocator's arenas, the second must not need more.
            expect(sizes[1] - sizes[0] <= memory, "memory after all cases once", sizes)
            expect(sizes[2] - sizes[1] <= memory // 4, "memory after all cases twice", sizes)
        return len(cases)

    def clone(self):
        got = unpack(self.wire.fetch(self.repo.id, set(self.refs.values())))
        expect(set(self.refs.values()) <= set(got), "a clone has what refs name")
        return got
