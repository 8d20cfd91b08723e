"""Repositories without a git process: objects and packs made here, requests sent as they are, packs taken apart again.

A push costs its client a millisecond, so that thousands of them, or a kill between any two, are a matter of seconds."""
import http.client
import socket
import urllib.parse
import zlib

from harness import pkt
from harness.core import Fail, expect, slowness
from harness.pkt import BLOB, COMMIT, FLUSH, OFS_DELTA, REF_DELTA, TAG, TREE, ZERO

KINDS = {COMMIT: "commit", TREE: "tree", BLOB: "blob", TAG: "tag"}
PUSH = {"Content-Type": "application/x-git-receive-pack-request"}
FETCH = {"Content-Type": "application/x-git-upload-pack-request"}


class Objects:
    """Objects by id, what each refers to, and the closures of that."""

    def __init__(self):
        self.all, self.links, self.like, self.rows = {}, {}, {}, {}

    def add(self, kind, data, links=()):
        oid = pkt.oid(kind, data)
        self.all[oid] = (kind, data)
        self.links[oid] = tuple(links)
        return oid

    def blob(self, data, like=None):
        """like: a blob that begins with the same bytes, of which packs may hold this one as a delta."""
        oid = self.add(BLOB, data)
        if like is not None and like != oid:
            self.like[oid] = like
        return oid

    def tree(self, files):
        """files: {name: id}; a name that ends in / is a folder."""
        rows = sorted(files.items())
        data = pkt.tree(*[("40000" if n.endswith("/") else "100644", n.rstrip("/"), i) for n, i in rows])
        oid = self.add(TREE, data, [i for _, i in rows])
        self.rows[oid] = dict(rows)
        return oid

    def files(self, tree):
        """What tree() made it of."""
        return self.rows[tree]

    def commit(self, tree, parents=(), message="x"):
        return self.add(COMMIT, pkt.commit(tree, *parents, message=message), [tree, *parents])

    def tag(self, target, name):
        data = (f"object {target}\ntype {KINDS[self.all[target][0]]}\ntag {name}\n"
                f"tagger T <t@example.com> 1700000000 +0000\n\n{name}\n").encode()
        return self.add(TAG, data, [target])

    def closure(self, tips, without=()):
        """Every id that the tips reach without stepping on one of `without`."""
        seen, todo = set(), [t for t in tips if t]
        while todo:
            oid = todo.pop()
            if oid not in seen and oid not in without:
                seen.add(oid)
                todo.extend(self.links[oid])
        return seen

    def pack(self, oids, known=(), random=None):
        """These objects as a pack; with random numbers some blobs are deltas, also of what is known to the other side."""
        rows, at, places = [], 12, {}
        for oid in sorted(oids, key=lambda o: (self.depth(o), o)):
            kind, data = self.all[oid]
            base = self.like.get(oid) if random and random.random() < 0.7 else None
            if base and (base in places or base in known):
                row = self._delta(oid, base, at - places[base] if base in places and random.random() < 0.5 else None)
            else:
                row = pkt.entry(kind, data)
            places[oid] = at
            at += len(row)
            rows.append(row)
        return pkt.pack(rows)

    def depth(self, oid):
        n = 0
        while oid in self.like:
            oid, n = self.like[oid], n + 1
        return n

    def _delta(self, oid, base, distance):
        source, target = self.all[base][1], self.all[oid][1]
        same = 0
        limit = min(len(source), len(target), 0xffff)
        while same < limit and source[same:same + 64] == target[same:same + 64]:
            same += 64
        same = min(same, limit)
        while same and source[:same] != target[:same]:
            same -= 1
        steps = [(0, same)] if same else []
        steps += [target[i:i + 127] for i in range(same, len(target), 127)]
        delta = pkt.delta(len(source), len(target), *steps)
        if distance is None:
            return pkt.entry(REF_DELTA, delta, base=base)
        return pkt.entry(OFS_DELTA, delta, base=distance)


def unpack(data, objects=None):
    """{id: (kind, bytes)} of a whole pack; objects: {id: (kind, bytes)} for the bases of a thin one."""
    import hashlib
    expect(data[:4] == b"PACK" and len(data) >= 32, "a pack", data[:40])
    expect(hashlib.sha1(data[:-20]).digest() == data[-20:], "the pack's trailer")
    count = int.from_bytes(data[8:12], "big")
    at, waiting, by_place, out = 12, [], {}, {}
    end = len(data) - 20
    for _ in range(count):
        start = at
        byte = data[at]
        at += 1
        kind, size, shift = (byte >> 4) & 7, byte & 15, 4
        while byte & 0x80:
            byte = data[at]
            at += 1
            size |= (byte & 0x7f) << shift
            shift += 7
        base = None
        if kind == REF_DELTA:
            base = data[at:at + 20].hex()
            at += 20
        elif kind == OFS_DELTA:
            byte = data[at]
            at += 1
            distance = byte & 0x7f
            while byte & 0x80:
                byte = data[at]
                at += 1
                distance = ((distance + 1) << 7) | (byte & 0x7f)
            base = start - distance
        inflate = zlib.decompressobj()
        body = inflate.decompress(data[at:min(end, at + size + size // 8 + 1024)])
        while not inflate.eof:
            raise Fail("an entry's zlib stream does not end where it should")
        at = min(end, at + size + size // 8 + 1024) - len(inflate.unused_data)
        expect(len(body) == size, "an entry's size", len(body), size)
        if base is None:
            by_place[start] = (kind, body)
        else:
            waiting.append((start, base, body))
    expect(at == end, "bytes behind the last entry", end - at)
    for kind, body in by_place.values():
        out[pkt.oid(kind, body)] = (kind, body)
    while waiting:
        later = []
        for start, base, body in waiting:
            source = by_place.get(base) if isinstance(base, int) else out.get(base) or (objects or {}).get(base)
            if source is None:
                later.append((start, base, body))
                continue
            by_place[start] = (source[0], apply(source[1], body))
            out[pkt.oid(*by_place[start])] = by_place[start]
        expect(len(later) < len(waiting), "deltas without a base", len(later))
        waiting = later
    expect(len(out) == count, "every object once in a pack", len(out), count)
    return out


def apply(source, delta):
    """What a delta makes of its source."""
    def number(at):
        value = shift = 0
        while True:
            byte = delta[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if not byte & 0x80:
                return value, at
    size, at = number(0)
    wanted, at = number(at)
    expect(size == len(source), "a delta's source", size, len(source))
    out = bytearray()
    while at < len(delta):
        code = delta[at]
        at += 1
        if not code & 0x80:
            out += delta[at:at + code]
            at += code
            continue
        offset = length = 0
        for i in range(4):
            if code & 1 << i:
                offset |= delta[at] << (8 * i)
                at += 1
        for i in range(3):
            if code & 0x10 << i:
                length |= delta[at] << (8 * i)
                at += 1
        out += source[offset:offset + (length or 0x10000)]
    expect(len(out) == wanted, "a delta's result", len(out), wanted)
    return bytes(out)


class Gone(Exception):
    """The connection broke before there was an answer: what became of the request is not known."""


class Refused(Exception):
    """The server says that it will not do that."""


class Said:
    """The answer to a push: an HTTP status and, where that is 200, the report."""

    def __init__(self, status, body, refs):
        self.status, self.body, self.results = status, body, {}
        self.unpack = f"status {status}: {body[:300]!r}"
        if status == 200:
            self.unpack, self.results = pkt.report(body)
        self.ok = self.unpack == "ok" and set(self.results) == set(refs) and set(self.results.values()) == {"ok"}

    def accepted(self):
        """The refs that were changed."""
        return {ref for ref, said in self.results.items() if said == "ok"} if self.unpack == "ok" else set()

    def __repr__(self):
        return f"{self.unpack} {self.results}"


class Wire:
    """One kept-alive connection of one caller. Every failure of the connection is Gone."""

    def __init__(self, url, key):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.key = parts.hostname, parts.port, key
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def request(self, method, path, body=None, headers=None, seconds=60):
        """(status, body)."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=seconds * slowness())
        try:
            self.connection.request(method, path, body, {"Authorization": f"Bearer {self.key}", **(headers or {})})
            answer = self.connection.getresponse()
            data = answer.read()
        except socket.timeout:
            self.close()
            raise Fail(f"{method} {path}: no answer after {seconds * slowness():.0f} s") from None
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Gone(f"{type(e).__name__}: {e}") from None
        if answer.will_close:
            self.close()
        expect(answer.status != 503 or answer.getheader("Retry-After"), f"{method} {path}: a 503 says when to come again")
        return answer.status, data

    def push(self, repo_id, commands, pack=b"", atomic=False):
        """commands: {ref: (old, new)}, None for absent. A Said, or Gone. pack: or what goes by another way (traffic.ByApi)."""
        if hasattr(pack, "send"):
            return pack.send(self, repo_id, commands)
        capabilities = "report-status side-band-64k ofs-delta agent=test" + (" atomic" if atomic else "")
        rows = [(old or ZERO, new or ZERO, ref) for ref, (old, new) in commands.items()]
        status, body = self.request("POST", f"/{repo_id}.git/git-receive-pack", pkt.push_body(rows, pack, capabilities), PUSH)
        return Said(status, body, commands)

    def refs(self, repo_id):
        """{name: id} of the advertisement to pushers, which shows every ref and nothing else."""
        status, body = self.request("GET", f"/{repo_id}.git/info/refs?service=git-receive-pack")
        if status != 200:
            raise Fail(f"refs of {repo_id}: {status} {body[:300]!r}")
        rows = [r.split("\0")[0].split(" ", 1) for r in pkt.lines(body)[2:] if r]
        return {name: oid for oid, name in rows if oid != ZERO}

    def ls_refs(self, repo_id):
        """{name: (id, what a tag leads to or None)} as protocol 2 lists them, without HEAD."""
        status, body = self._upload(repo_id, "ls-refs", ["peel\n"])
        if status != 200:
            raise Fail(f"ls-refs of {repo_id}: {status} {body[:300]!r}")
        out = {}
        for line in pkt.lines(body):
            if isinstance(line, str):
                oid, name, *more = line.split(" ")
                if name != "HEAD":
                    out[name] = (oid, next((m[len("peeled:"):] for m in more if m.startswith("peeled:")), None))
        return out

    def _upload(self, repo_id, command, arguments):
        body = pkt.pkts(f"command={command}\n", "agent=test\n", pkt.DELIM, *arguments, FLUSH)
        return self.request("POST", f"/{repo_id}.git/git-upload-pack", body, {**FETCH, "Git-Protocol": "version=2"})

    def fetch(self, repo_id, wants, haves=(), thin=False):
        """The pack that protocol 2 gives for the wants. A Refused where it gives none."""
        status, body = self._upload(repo_id, "fetch", [
            "ofs-delta\n", *(["thin-pack\n"] if thin else []), *[f"want {w}\n" for w in sorted(set(wants))],
            *[f"have {h}\n" for h in haves], "done\n"])
        if status == 400 or (status == 200 and body[4:8] == b"ERR "):
            raise Refused(body[:300])
        if status != 200:
            raise Fail(f"fetch of {repo_id}: {status} {body[:300]!r}")
        packets = pkt.parse(body)
        if not packets or packets[0] != b"packfile\n":
            raise Fail(f"fetch of {repo_id}: {body[:300]!r}")
        parts = pkt.bands(packets[1:])
        if parts[3] or not parts[1]:
            raise Fail(f"fetch of {repo_id}: {parts[3]!r}")
        return parts[1]

    def clone(self, repo_id, refs):
        """{id: (kind, bytes)} of all that the refs' values reach, as the server sends it."""
        tips = set(refs.values())
        return unpack(self.fetch(repo_id, tips)) if tips else {}


def check_clone(wire, objects, repo_id, refs, what):
    """The pack for all refs holds exactly what they reach, byte for byte."""
    got = wire.clone(repo_id, refs)
    wanted = objects.closure(refs.values())
    expect(set(got) == wanted, f"{what}: objects of a clone", f"missing {sorted(wanted - set(got))[:5]}",
           f"too many {sorted(set(got) - wanted)[:5]}")
    return got
