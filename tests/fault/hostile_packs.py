"""Hostile packs, each with the sentence that refuses it. Whatever it was: the refs are the same, a clone works, nothing
of it lies about, and the server has as much memory and as many descriptors as before."""
import hashlib
import struct
import zlib

from harness import expect, same, test
from harness import pkt
from harness.hostile import Case, Target
from harness.pkt import (BLOB, COMMIT, OFS_DELTA, REF_DELTA, TAG, TREE, ZERO, delta, entry, entry_header, pack, reseal,
    varint)
from harness.raw import unpack

COST = 10
CONFIG = """[lanes]
git_threads = 4
commit_threads = 2
[git]
max_pack = 2m
max_object = 4m
max_unpacked = 16m
max_pack_objects = 1000
max_delta_depth = 20
"""
NONE = "1" * 40
# What the report says behind "unpack bad pack: ".
EARLY, HEADER = "it ends too early", "it has no header of version 2"
SUM, BEHIND = "its checksum is wrong", "bytes follow its end"
ENTRY, DATA = r"a wrong header in the entry at byte \d+", "an entry's data are damaged"
LONG, SHORT = "an entry is longer than it says", "an entry is shorter than it says"
BASE, DELTA = r"a wrong delta base in the entry at byte \d+", r"a wrong delta in the entry at byte \d+"
MISSING = "missing delta base [0-9a-f]{40}"
# And what it says without these words, because a limit was passed.
OBJECT, OBJECTS = "an object has more than 4194304 bytes", "the pack has more than 1000 objects"
BYTES, UNPACKED = "the pack has more than 2097152 bytes", "the pack unpacks to more than 16777216 bytes"
UNKNOWN = r"ok\nng \S+ bad object: the new value is not in the repository"
BRANCH = r"ok\nng \S+ a branch must be a commit"
DEPTH = "the pack has more than 20 deltas that build on each other"
MANY = (ENTRY, DATA, EARLY, OBJECT)  # random bytes that are read as an entry
MIB = 1 << 20


def zeros(n):
    """A zlib stream of n zero bytes, a whole number of MiB, made at once: the same compressed MiB again and again."""
    piece = zlib.compressobj(9)
    head = piece.compress(bytes(MIB)) + piece.flush(zlib.Z_FULL_FLUSH)
    body = piece.compress(bytes(MIB)) + piece.flush(zlib.Z_FULL_FLUSH)
    # Of zeros only the count matters to Adler-32.
    return head + body * (n // MIB - 1) + b"\x03\x00" + struct.pack(">I", (n % 65521) << 16 | 1)


def raw(kind, size, stream, extra=b""):
    """An entry of which everything is said by hand; extra: what stands between header and stream."""
    return entry_header(kind, size) + extra + stream


def offset(n):
    out = [n & 0x7f]
    n >>= 7
    while n:
        n -= 1
        out.append(0x80 | (n & 0x7f))
        n >>= 7
    return bytes(reversed(out))


class World(Target):
    """A history of two commits, one that was force-pushed away, and another repository with secrets."""

    def __init__(self, t):
        super().__init__(t, CONFIG)
        self.base = b"base content, long enough to be the base of deltas\n" * 4
        self.base_id = pkt.oid(BLOB, self.base)
        old = self.commit_of(pkt.tree(("100644", "file", self.base_id)))
        self.gone = b"this was forced away\n" * 5
        forced = self.commit_of(pkt.tree(("100644", "gone", pkt.oid(BLOB, self.gone))), old[0])
        self.store("refs/heads/main", ZERO, old[0], [*old[1], (BLOB, self.base)])
        self.store("refs/heads/side", ZERO, forced[0], [*forced[1], (BLOB, self.gone)])
        second = self.commit_of(pkt.tree(("100644", "second", self.base_id)), old[0])
        self.store("refs/heads/side", forced[0], second[0], second[1])
        self.refs = {"refs/heads/main": old[0], "refs/heads/side": second[0]}
        self.main, self.main_tree = old[0], pkt.oid(TREE, old[1][1][1])
        self.secret = b"another tenant's secret, long enough to be a base\n" * 4
        theirs = self.commit_of(pkt.tree(("100644", "secret", pkt.oid(BLOB, self.secret))))
        body = pkt.push_body([(ZERO, theirs[0], "refs/heads/main")],
            pack([entry(k, d) for k, d in [*theirs[1], (BLOB, self.secret)]]))
        self.theirs = theirs[0]
        reply = self.other.account.api.post(f"/{self.other.id}.git/git-receive-pack", body, headers={
            "Content-Type": "application/x-git-receive-pack-request"})
        same(pkt.report(reply.body)[0], "ok", "the other tenant's push")
        # What most cases would push, were it not for what they do to the pack.
        self.blob = b"new content of the push, which never arrives\n" * 3
        self.blob_id = pkt.oid(BLOB, self.blob)
        self.tip, made = self.commit_of(pkt.tree(("100644", "file", self.blob_id)), old[0])
        self.objects = [*made, (BLOB, self.blob)]
        self.entries = [entry(k, d) for k, d in self.objects]
        self.good = pack(self.entries)

    @staticmethod
    def commit_of(tree, *parents, message="x"):
        """(id, [commit, tree])."""
        data = pkt.commit(pkt.oid(TREE, tree), *parents, message=message)
        return pkt.oid(COMMIT, data), [(COMMIT, data), (TREE, tree)]

    def store(self, ref, old, new, objects):
        said = self.wire.push(self.repo.id, {ref: (None if old == ZERO else old, new)},
            pack([entry(k, d) for k, d in objects]))
        expect(said.ok, "a push", said)

    def with_blob(self, data):
        """(tip, entries of commit and tree) of a commit with this blob."""
        tip, made = self.commit_of(pkt.tree(("100644", "file", pkt.oid(BLOB, data))), self.main)
        return tip, [entry(k, d) for k, d in made]


def headers(w):
    """The pack's own header and trailer."""
    e, good = w.entries, w.good
    body = good[:-20]
    return {
        "no pack": (b"", EARLY),
        "magic in lower case": (pack(e, magic=b"pack"), HEADER),
        "magic turned round": (pack(e, magic=b"KCAP"), HEADER),
        "magic of an index": (b"\xfftOc" + good[4:], HEADER),
        "magic alone": (b"PACK", EARLY),
        "header alone": (good[:12], ENTRY),
        **{f"version {v}": (pack(e, version=v), HEADER) for v in (0, 1, 3, 4, 0x02000000, 0xffffffff)},
        **{f"a count of {n}": (pack(e, count=n), SUM) for n in (0, 1, 2)},
        "a count of 4": (pack(e, count=4), "|".join(MANY)),
        "a count of 1000": (pack(e, count=1000), "|".join(MANY)),
        **{f"a count of {n}": (pack(e, count=n), OBJECTS) for n in (1001, 1 << 31, 0xffffffff)},
        "no object, and the tip is missing": (pack([]), UNKNOWN),
        "no trailer": (body, EARLY),
        "half a trailer": (good[:-10], EARLY),
        "a trailer of zeros": (body + bytes(20), SUM),
        "a trailer with one bit changed": (good[:-1] + bytes([good[-1] ^ 1]), SUM),
        "a trailer of the entries alone": (body + hashlib.sha1(body[12:]).digest(), SUM),
        "a trailer of SHA-256": (body + hashlib.sha256(body).digest(), SUM),
        "the trailer twice": (good + good[-20:], BEHIND),
        "a byte behind the trailer": (good + b"\0", BEHIND),
        "64 KB behind the trailer": (good + bytes(65536), BEHIND),
        "a flush behind the trailer": (good + b"0000", BEHIND),
        "another pack behind the trailer": (good + good, BEHIND),
        "garbage before the trailer": (reseal(body + b"garbage"), SUM),
        "an entry more than counted": (reseal(body + entry(BLOB, b"more")), SUM),
    }


def entries(w):
    """The headers of entries."""
    c, tr, b = w.entries
    stream = zlib.compress(w.blob)
    n = len(w.blob)
    sized = lambda size: pack([c, tr, entry(BLOB, w.blob, size=size)])
    return {
        "type 0": (pack([raw(0, n, stream), *w.entries]), ENTRY),
        "type 5": (pack([raw(5, n, stream), *w.entries]), ENTRY),
        "type 0 and no data": (pack([*w.entries, b"\x00"]), ENTRY),
        "type 7 without a base": (pack([*w.entries, entry_header(REF_DELTA, 5)]), EARLY),
        "type 6 without an offset": (pack([*w.entries, entry_header(OFS_DELTA, 5)]), BASE),
        "a size one too small": (sized(n - 1), LONG),
        "a size one too large": (sized(n + 1), SHORT),
        "a size of 0 for data": (sized(0), LONG),
        "a size of 1 for an empty stream": (pack([*w.entries, entry(BLOB, b"", size=1)]), SHORT),
        "a size just above max_object": (sized(4 * MIB + 1), OBJECT),
        **{f"a size of 2^60 for a {what}": (pack([*w.entries, entry(kind, b"x" * 20, size=1 << 60)]), ENTRY)
           for kind, what in ((COMMIT, "commit"), (TREE, "tree"), (BLOB, "blob"), (TAG, "tag"))},
        "a size of 2^60 for a delta by id": (pack([*w.entries,
            entry(REF_DELTA, delta(n, 3, b"abc"), w.blob_id, size=1 << 60)]), ENTRY),
        "a size of 2^60 for a delta by offset": (pack([*w.entries,
            entry(OFS_DELTA, delta(n, 3, b"abc"), len(b), size=1 << 60)]), ENTRY),
        "a size of 2^64 - 1": (sized((1 << 64) - 1), ENTRY),
        "a size of 2^64": (sized(1 << 64), ENTRY),
        "a size of 2^64 + the true one": (sized((1 << 64) + n), ENTRY),
        "a size of 2^200": (sized(1 << 200), ENTRY),
        "a size that never ends": (reseal(w.good[:12] + b"\xbf" + b"\xff" * 4000), ENTRY),
        "a size that ends the pack": (reseal(w.good[:12] + b"\xbf"), DATA),
        "too large a commit": (pack([entry(COMMIT, w.objects[0][1] + b"x" * 5 * MIB, level=9), tr, b]), OBJECT),
    }


def streams(w):
    """What is wrong within zlib."""
    c, tr, _ = w.entries
    n, stream = len(w.blob), zlib.compress(w.blob)
    put = lambda says, data, size=n: (pack([c, tr, raw(BLOB, size, data)]), says)
    first = lambda says, data, size=n: (pack([raw(BLOB, size, data), c, tr]), says)
    preset = zlib.compressobj(zdict=w.blob)
    bare = zlib.compressobj(wbits=-15)
    bare = bare.compress(w.blob) + bare.flush()
    gz = zlib.compressobj(wbits=31)
    gz = gz.compress(w.blob) + gz.flush()
    stored = zlib.compress(w.blob, 0)
    return {
        "no zlib at all": first(DATA, b"\xff" * 60),
        "text instead of zlib": first(DATA, w.blob),
        "zeros instead of zlib": first(DATA, bytes(60)),
        "nothing instead of zlib": put(DATA, b""),
        "a zlib header alone": put(DATA, stream[:2]),
        "a cut stream at the end": put(DATA, stream[:-8]),
        "a cut stream before others": first(DATA, stream[:-8]),
        "no checksum": first(DATA, stream[:-4]),
        "half a checksum": first(DATA, stream[:-2]),
        "a wrong checksum": put(DATA, stream[:-1] + bytes([stream[-1] ^ 1])),
        "a checksum of something else": put(DATA, stream[:-4] + zlib.compress(w.base)[-4:]),
        "bytes behind the stream": first(ENTRY, stream + b"\0"),
        "another stream behind the stream": first(DATA, stream + stream),
        "a preset dictionary": put(DATA, preset.compress(w.blob) + preset.flush()),
        "a bare deflate stream": put(DATA, bare),
        "a gzip stream": put(DATA, gz),
        "a compression method that does not exist": put(DATA, b"\x79\x9c" + stream[2:]),
        "a window that does not exist": put(DATA, b"\x88\x1c" + stream[2:]),
        "a header with a wrong check": put(DATA, b"\x78\x9d" + stream[2:]),
        "a block type that does not exist": put(DATA, stream[:2] + b"\x07" + stream[3:]),
        "a stored block with a wrong length": put(DATA, stored[:5] + bytes([stored[5] ^ 1]) + stored[6:]),
        "a distance beyond the beginning": put(DATA, b"\x78\x9c\x03\x02\x00\x00\x00\x00\x01", 3),
        "code lengths that make no code": put(DATA, b"\x78\x9c\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        "an empty stream for data": put(SHORT, zlib.compress(b"")),
        "data for an empty object": put(LONG, stream, 0),
    }


def repeated(data, size):
    """A delta of so many bytes, all of them copied from its base again and again."""
    steps = [(0, len(data))] * (size // len(data)) + ([(0, size % len(data))] if size % len(data) else [])
    return delta(len(data), size, *steps)


def doubled(times):
    """A blob of a kilobyte, and deltas each of which is its base twice."""
    rows, size = [entry(BLOB, b"x" * 1024)], 1024
    for _ in range(times):
        copies = [(at, min(0xffff, size - at)) for at in range(0, size, 0xffff)]
        rows.append(entry(OFS_DELTA, delta(size, size * 2, *copies, *copies), len(rows[-1]), level=9))
        size *= 2
    return rows


def bombs(w):
    """Little that becomes much."""
    wide = [entry(REF_DELTA, repeated(w.blob, 3 * MIB + i), w.blob_id, level=9) for i in range(8)]
    return {
        "a gigabyte of zeros, honestly": (pack([*w.entries, raw(BLOB, 1 << 30, zeros(1 << 30))]), OBJECT),
        "a gigabyte of zeros, said to be 100 bytes": (pack([*w.entries, raw(BLOB, 100, zeros(1 << 30))]), LONG),
        "a gigabyte of zeros, said to be 4 MB": (pack([*w.entries, raw(BLOB, 4 * MIB, zeros(1 << 30))]), LONG),
        "a tree of a gigabyte, said to be 4 MB": (pack([raw(TREE, 4 * MIB, zeros(1 << 30)), *w.entries]), LONG),
        "a delta of a gigabyte, said to be 4 MB": (
            pack([*w.entries, raw(REF_DELTA, 4 * MIB, zeros(1 << 30), bytes.fromhex(w.blob_id))]), LONG),
        "blobs that are too much together": (pack([*w.entries, *[raw(BLOB, 4 * MIB, zeros(4 * MIB))] * 5]), UNPACKED),
        "deltas that are too much together": (pack([*w.entries, *wide]), UNPACKED),
        "deltas that double their base until one is too large": (pack([*w.entries, *doubled(13)]), OBJECT),
        "a delta whose result says a gigabyte": (
            pack([*w.entries, entry(REF_DELTA, delta(len(w.blob), 1 << 30, (0, 10)), w.blob_id)]), f"{DELTA}|{OBJECT}"),
        "more objects than a push may bring": (
            pack([*w.entries, *[entry(BLOB, b"%d" % i) for i in range(998)]]), OBJECTS),
        "more bytes than a push may bring": (
            pack([*w.entries, entry(BLOB, hashlib.shake_128(b"x").digest(2 * MIB + 5000), level=0)]),
            BYTES),
    }


def deltas(w):
    c, tr, b = w.entries
    n = len(w.blob)
    at = len(c) + len(tr) + len(b)  # from the pack's first entry to whatever follows these
    by_id = lambda data, base=w.blob_id, says=DELTA, **more: (
        pack([*w.entries, entry(REF_DELTA, data, base, **more)]), says)
    by_offset = lambda far, data=delta(n, 3, b"abc"): (pack([*w.entries, entry(OFS_DELTA, data, far)]), BASE)
    stream = zlib.compress(delta(n, 3, b"abc"))
    broken = entry(REF_DELTA, delta(n + 1, 3, b"abc"), w.blob_id)
    return {
        "a base that nobody has": by_id(delta(5, 3, b"abc"), NONE, MISSING),
        "a base of zeros": by_id(delta(5, 3, b"abc"), "0" * 40, MISSING),
        "a base that another repository has": by_id(delta(len(w.secret), 40, (0, 40)), pkt.oid(BLOB, w.secret),
            MISSING),
        "a base that is the delta itself": by_id(delta(12, 12, (0, 12)), pkt.oid(BLOB, b"never stored"), MISSING),
        "two deltas on each other": (pack([*w.entries, entry(REF_DELTA, delta(3, 3, (0, 3)), NONE),
                                           entry(REF_DELTA, delta(3, 3, (0, 3)), "2" * 40)]), MISSING),
        "two deltas that make each other": (circle(w, b"one" * 20, b"two" * 20), MISSING),
        "three deltas that make each other": (circle(w, b"one" * 20, b"two" * 20, b"six" * 20), MISSING),
        "an offset of 0": by_offset(0),
        "an offset of 1": by_offset(1),
        "an offset into the middle of an entry": by_offset(len(b) - 3),
        "an offset between the base and its header": by_offset(len(b) + 1),
        "an offset to the pack's header": by_offset(at + 12),
        "an offset into the pack's header": by_offset(at + 4),
        "an offset just before the pack": by_offset(at + 13),
        "an offset far before the pack": by_offset(1 << 40),
        "an offset of 2^63": by_offset(1 << 63),
        "an offset of 2^64": by_offset((1 << 64) + len(b)),
        "an offset that never ends": (reseal(pack([*w.entries, entry_header(OFS_DELTA, 5) + b"\xff" * 3000])[:-20]),
            BASE),
        "the first entry is a delta by offset": (pack([entry(OFS_DELTA, delta(n, 3, b"abc"), 1), *w.entries]), BASE),
        "a base behind the delta, by offset": (
            pack([raw(OFS_DELTA, len(delta(n, 3, b"abc")), stream, b"\xff\xff\xff\xff\x7f"), *w.entries]), BASE),
        "a base that is a broken delta": (
            pack([*w.entries, broken, entry(OFS_DELTA, delta(3, 3, (0, 3)), len(broken))]), DELTA),
        "a foreign base size": by_id(delta(n + 1, 3, b"abc")),
        "a base size of 2^60": by_id(delta(1 << 60, 3, b"abc")),
        "a result size of 2^60": by_id(delta(n, 1 << 60, b"abc")),
        "a result size of 2^64 + the true one": by_id(varint(n) + varint((1 << 64) + 3) + b"\x03abc"),
        "a base size of 2^64 + the true one": by_id(varint((1 << 64) + n) + varint(3) + b"\x03abc"),
        "a result that is longer than said": by_id(delta(n, 2, b"abc")),
        "a result that is shorter than said": by_id(delta(n, 4, b"abc")),
        "a copy from behind the base": by_id(delta(n, 5, (n, 5))),
        "a copy that passes the base's end": by_id(delta(n, 50, (n - 10, 50))),
        "a copy from 2^32 - 1": by_id(delta(n, 5, (0xffffffff, 5))),
        "a copy of 2^24 - 1": by_id(delta(n, 0xffffff, (0, 0xffffff))),
        "a copy of 0, which means 65536": by_id(delta(n, 0, (0, 0))),
        "the reserved command": by_id(delta(n, 3, b"abc") + b"\0"),
        "the reserved command alone": by_id(delta(n, 0) + b"\0"),
        "an insert that is cut": by_id(varint(n) + varint(9) + b"\x09abc"),
        "a copy that is cut": by_id(varint(n) + varint(9) + b"\xff\x01"),
        "an empty delta": by_id(b""),
        "a delta that is half a number": by_id(b"\x80"),
        "a delta with one number": by_id(varint(n)),
        "a number that never ends in a delta": by_id(b"\xff" * 3000),
        "a delta of one size too small": by_id(delta(n, 3, b"abc"), says=LONG, size=5),
        "a chain deeper than max_delta_depth, by offset": (pack([*w.entries, *chain(w.blob, 21, False)]), DEPTH),
        "a chain deeper than max_delta_depth, by id": (pack([*w.entries, *chain(w.blob, 21, True)]), DEPTH),
        "a chain deeper than max_delta_depth, last first": (pack([*w.entries, *reversed(chain(w.blob, 21, True))]),
            DEPTH),
    }


def chain(data, deep, by_id):
    """An entry, and so many deltas that build on each other."""
    rows = [entry(BLOB, data)]
    for i in range(deep):
        new = data[:-4] + b"%04d" % i
        steps = delta(len(data), len(new), (0, len(data) - 4), b"%04d" % i)
        rows.append(entry(REF_DELTA, steps, pkt.oid(BLOB, data)) if by_id else entry(OFS_DELTA, steps, len(rows[-1])))
        data = new
    return rows


def circle(w, *blobs):
    """Deltas each of which makes the base of the next: with true ids, and nowhere to begin."""
    rows = [entry(REF_DELTA, delta(len(last), len(b), b), pkt.oid(BLOB, last))
            for last, b in zip(blobs[-1:] + blobs[:-1], blobs)]
    return pack([*w.entries, *rows])


def links(w):
    """What refers to something that is not there, or is something else."""
    c, tr, b = w.objects

    def through(says, *objects, tip=None, ref="refs/tags/x"):
        return pack([entry(k, d) for k, d in objects]), says, tip or pkt.oid(*objects[0]), ref

    def treed(says, data, *more):
        return through(says, (COMMIT, pkt.commit(pkt.oid(TREE, data), w.main)), (TREE, data), *more)

    def tagged(says, target, kind):
        return through(says, (TAG, tag_of(target, kind)))
    tree_id, tag = pkt.oid(*tr), tag_of(w.main, "commit")
    deep = (TREE, pkt.tree(("100644", "f", NONE)))
    return {
        "a missing parent": through("missing commit", (COMMIT, pkt.commit(tree_id, NONE)), tr, b),
        "a missing second parent": through("missing commit", (COMMIT, pkt.commit(tree_id, w.main, NONE)), tr, b),
        "a missing tree": through("missing tree", (COMMIT, pkt.commit(NONE, w.main))),
        "a missing blob": treed("missing blob", pkt.tree(("100644", "f", NONE))),
        "a missing folder": treed("missing tree", pkt.tree(("40000", "d", NONE))),
        "a missing blob deep down": treed("missing blob", pkt.tree(("40000", "d", pkt.oid(*deep))), deep),
        "a blob that only another repository has": treed("missing blob",
            pkt.tree(("100644", "f", pkt.oid(BLOB, w.secret)))),
        "a parent that only another repository has": through("missing commit", (COMMIT, pkt.commit(tree_id, w.theirs)),
            tr, b),
        "a missing object of a tag": tagged("missing commit", NONE, "commit"),
        "an object of a tag that only another repository has": tagged("missing commit", w.theirs, "commit"),
        "a parent that is a tree": through("a tree where a commit", (COMMIT, pkt.commit(tree_id, tree_id)), tr, b),
        "a parent that is a blob here": through("a blob where a commit", (COMMIT, pkt.commit(tree_id, w.base_id)), tr,
            b),
        "a parent that is a tag": through("a tag where a commit", (COMMIT, pkt.commit(tree_id, pkt.oid(TAG, tag))), tr,
            b, (TAG, tag)),
        "a tree that is a blob": through("a blob where a tree", (COMMIT, pkt.commit(w.blob_id, w.main)), b),
        "a tree that is a blob here": through("a blob where a tree", (COMMIT, pkt.commit(w.base_id, w.main))),
        "a tree that is a commit here": through("a commit where a tree", (COMMIT, pkt.commit(w.main, w.main))),
        "a folder that is a blob": treed("a blob where a tree", pkt.tree(("40000", "d", w.blob_id)), b),
        "a folder that is a commit": treed("a commit where a tree", pkt.tree(("40000", "d", w.main))),
        "a file that is a tree": treed("a tree where a blob", pkt.tree(("100644", "f", tree_id)), tr, b),
        "a file that is a commit": treed("a commit where a blob", pkt.tree(("100755", "f", w.main))),
        "a symbolic link that is a tree": treed("a tree where a blob", pkt.tree(("120000", "f", w.main_tree))),
        "a tag of a commit that is a blob": tagged("a blob where a commit", w.base_id, "commit"),
        "a tag of a tree that is a commit": tagged("a commit where a tree", w.main, "tree"),
        "a tag of nothing known": tagged("badType", w.main, "thing"),
        "an empty commit object": through("unterminatedHeader", (COMMIT, b"")),
        "a commit without a tree": through("missingTree",
            (COMMIT, b"author A <a@example.com> 1 +0000\ncommitter A <a@example.com> 1 +0000\n\nx\n")),
        "a commit without an author": through("missingAuthor",
            (COMMIT, f"tree {tree_id}\ncommitter A <a@example.com> 1 +0000\n\nx\n".encode()), tr, b),
        "a commit of zeros": through("nulInHeader", (COMMIT, bytes(300))),
        "a commit with a short tree id": through("badTreeSha1", (COMMIT, c[1].replace(b"tree ", b"tree 0", 1)), tr, b),
        "an empty tag object": through("unterminatedHeader", (TAG, b"")),
        "a tree cut short": treed("badTree", pkt.tree(("100644", "f", w.blob_id))[:-5], b),
        "a tree without a mode": treed("badTree", b"f\0" + bytes.fromhex(w.blob_id), b),
        "a tree without a name": treed("badTree", pkt.tree(("100644", "", w.blob_id)), b),
        "a tree of garbage": treed("badTree", b"\xff" * 60),
        "a tree of zeros": treed("badTree", bytes(60)),
        "a tree with an id of zeros": treed("nullSha1", pkt.tree(("100644", "f", "0" * 40))),
        "a tree with .git in it": treed("hasDotgit", pkt.tree(("40000", ".git", w.main_tree))),
        "a tree with .. in it": treed("hasDotdot", pkt.tree(("40000", "..", w.main_tree))),
        "a tree with a path in it": treed("fullPathname", pkt.tree(("100644", "a/b", w.blob_id)), b),
        "a tree with a name twice": treed("duplicateEntries",
            pkt.tree(("100644", "f", w.blob_id), ("100644", "f", w.blob_id)), b),
        "a tree out of order": treed("treeNotSorted", pkt.tree(("100644", "g", w.blob_id), ("100644", "f", w.blob_id)),
            b),
        "a tip that is in no pack": through(UNKNOWN, tr, b, tip=NONE),
        "a tip that only another repository has": through(UNKNOWN, c, tr, b, tip=w.theirs),
        "a branch that is a blob": through(BRANCH, b, ref="refs/heads/x"),
        "a branch that is a tree": through(BRANCH, tr, b, ref="refs/heads/x"),
        "a branch that is a tag": through(BRANCH, (TAG, tag_of(w.main, "commit")), ref="refs/heads/x"),
    }


def tag_of(target, kind):
    return f"object {target}\ntype {kind}\ntag x\ntagger T <t@example.com> 1700000000 +0000\n\nx\n".encode()


def cases(w, *groups):
    """Each is refused by a report; what the report says is told to the user on band 2 too."""
    for group in groups:
        for name, (data, says, *where) in group(w).items():
            tip, ref = (*where, w.tip, "refs/heads/x") if not where else where
            yield Case(name, w.push((ZERO, tip, ref), pack=data), 200,
                rf"(?m)^unpack (bad pack: |object [0-9a-f]{{40}}:? (is )?)?({says})")


@test
def each_pack_has_its_refusal(t):
    w = World(t)
    expect(w.run(list(cases(w, headers, entries, streams, bombs, deltas, links))) >= 150, "cases of hostile packs")


@test
def cut_anywhere(t):
    """A good pack and one with all kinds of entries, cut at every byte; and uploads that break off."""
    w = World(t)
    kinds = pack([*w.entries, *chain(w.blob, 2, False), *chain(w.blob, 2, True), entry(TAG, tag_of(w.main, "commit"))])
    for name, data in (("a commit", w.good), ("all kinds", kinds)):
        w.run([Case(f"{name}, cut at {n}", w.push((ZERO, w.tip, "refs/heads/x"), pack=data[:n]), 200,
            r"(?m)^unpack (?!ok)")
               for n in range(len(data))])
    whole = w.push((ZERO, w.tip, "refs/heads/x"), pack=w.good)
    w.run([Case(f"the client leaves after {n} bytes", whole[:n], None) for n in range(0, len(whole), 7)])
    said = w.wire.push(w.repo.id, {"refs/heads/x": (None, w.tip)}, w.good)
    expect(said.ok, "the same pack as a whole", said)


@test
def a_bit_turned_anywhere(t):
    w = World(t)
    kinds = pack([*w.entries, *chain(w.blob, 2, False), *chain(w.blob, 2, True), entry(TAG, tag_of(w.main, "commit"))])
    bad = []
    for n in range(len(kinds)):
        one = bytearray(kinds)
        one[n] ^= 1 << t.random.randrange(8)
        bad.append(Case(f"byte {n}", w.push((ZERO, w.tip, "refs/heads/x"), pack=bytes(one)), 200,
            r"(?m)^unpack (?!ok)"))
    w.run(bad)


@test
def odd_but_fine(t):
    """What looks like an attack and is none: accepted, and a clone of it is what real git reads."""
    w = World(t)
    one, two = b"one of two, long enough to be a base\n" * 3, b"two of two, long enough to be a base\n" * 3
    i1, i2 = pkt.oid(BLOB, one), pkt.oid(BLOB, two)
    e1, e2 = entry(BLOB, one), entry(BLOB, two)
    d2, d1 = entry(REF_DELTA, delta(len(one), len(two), two), i1), entry(REF_DELTA, delta(len(two), len(one), one), i2)
    d0 = entry(REF_DELTA, delta(len(one), len(one), (0, len(one))), i1)
    flushed = zlib.compressobj()
    flushed = b"".join(flushed.compress(one[i:i + 9]) + flushed.flush(zlib.Z_FULL_FLUSH)
                       for i in range(0, len(one), 9)) + flushed.flush()
    head = entry_header(BLOB, len(one))
    packs = {
        "one object twice": [e1, e1, e2], "all objects a hundred times": [e1, e2] * 100,
        "an object, and again as a delta": [e1, e2, d2], "a delta, and again as an object": [e1, d2, e2],
        "two objects that are also deltas on each other": [e1, e2, d1, d2],
        "the same with the deltas first": [d1, d2, e1, e2],
        "one object, and a circle of deltas through it": [e1, d1, d2], "the same the other way round": [d1, d2, e1],
        "a delta on itself, which is there": [d0, e1, e2], "the same delta fifty times": [e1, *[d2] * 50],
        "a size in more bytes than needed": [head[:-1] + bytes([head[-1] | 0x80]) + b"\x80\x80\x00" +
            zlib.compress(one), e2],
        "data in stored blocks": [raw(BLOB, len(one), zlib.compress(one, 0)), e2],
        "data in many blocks, some of them empty": [raw(BLOB, len(one), flushed), e2],
        "a chain just as deep as is allowed": [e1, e2, *chain(one, 20, False)],
    }
    for name, rows in packs.items():
        repo = w.account.repo()
        tip, made = w.commit_of(pkt.tree(("100644", "one", i1), ("100644", "two", i2)))
        said = w.wire.push(repo.id, {"refs/heads/main": (None, tip)}, pack([*[entry(k, d) for k, d in made], *rows]))
        expect(said.ok, name, said)
        objects = {tip: made[0], pkt.oid(*made[1]): made[1], i1: (BLOB, one), i2: (BLOB, two)}
        for _ in range(2):
            same(unpack(w.wire.fetch(repo.id, [tip])), objects, f"{name}: what a clone gets")
            w.server.cli("repo", "checkpoint", repo.id)
        w.server.verify(repo.id)
        t.git("fsck", "--full", "--strict", cwd=t.git.mirror(repo.url(), t.path(name)))
