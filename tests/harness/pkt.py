"""Git's wire format by hand: pkt-lines (gitprotocol-common) and packs (gitformat-pack), also broken ones."""
import hashlib
import struct
import zlib

from harness.core import Fail

FLUSH, DELIM, END = b"0000", b"0001", b"0002"
ZERO = "0" * 40
COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}


def pkt(line):
    line = line.encode() if isinstance(line, str) else line
    return b"%04x" % (len(line) + 4) + line


def pkts(*lines):
    """Texts become pkt-lines; the special packets FLUSH, DELIM and END stay as they are."""
    return b"".join(line if line in (FLUSH, DELIM, END) else pkt(line) for line in lines)


def parse(data):
    """The packets of data: bytes, or FLUSH, DELIM, END as None, 1, 2. What is left over fails."""
    out, at = [], 0
    while at < len(data):
        try:
            n = int(data[at:at + 4], 16)
        except ValueError:
            raise Fail(f"no pkt-line at {at}: {data[at:at + 40]!r}") from None
        if n in (0, 1, 2):
            out.append({0: None, 1: 1, 2: 2}[n])
            at += 4
            continue
        if n < 4 or at + n > len(data):
            raise Fail(f"a pkt-line of {n} bytes at {at} of {len(data)}")
        out.append(data[at + 4:at + n])
        at += n
    return out


def lines(data):
    """The packets as texts without their line end; None, 1, 2 as in parse()."""
    return [p.decode(errors="surrogateescape").rstrip("\n") if isinstance(p, bytes) else p for p in parse(data)]


def bands(packets):
    """{1: pack, 2: progress, 3: error} of side-band packets up to a flush."""
    out = {1: b"", 2: b"", 3: b""}
    for p in packets:
        if p is None:
            break
        if not p or p[0] not in out:
            raise Fail(f"not a side-band packet: {p[:40]!r}")
        out[p[0]] += p[1:]
    return out


def oid(kind, data):
    return hashlib.sha1(NAMES[kind] + b" %d\0" % len(data) + data).hexdigest()


def entry_header(kind, size):
    first = (kind << 4) | (size & 15)
    size >>= 4
    out = []
    while size:
        out.append(first | 0x80)
        first, size = size & 0x7f, size >> 7
    out.append(first)
    return bytes(out)


def entry(kind, data, base=None, size=None, level=1):
    """One pack entry; base: id for REF_DELTA, distance for OFS_DELTA; size: a claimed size that is not the true one."""
    head = entry_header(kind, len(data) if size is None else size)
    if kind == REF_DELTA:
        head += bytes.fromhex(base)
    if kind == OFS_DELTA:
        tail = [base & 0x7f]
        base >>= 7
        while base:
            base -= 1
            tail.append(0x80 | (base & 0x7f))
            base >>= 7
        head += bytes(reversed(tail))
    return head + zlib.compress(data, level)


def pack(entries, count=None, version=2, magic=b"PACK"):
    """A whole pack of finished entries, trailer included."""
    body = magic + struct.pack(">II", version, len(entries) if count is None else count) + b"".join(entries)
    return body + hashlib.sha1(body).digest()


def reseal(body):
    """The trailer for a pack body that was tampered with."""
    return body + hashlib.sha1(body).digest()


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def delta(source_size, target_size, *steps):
    """A delta: steps are bytes (insert) or (offset, size) pairs (copy)."""
    out = varint(source_size) + varint(target_size)
    for step in steps:
        if isinstance(step, bytes):
            out += bytes([len(step)]) + step
        else:
            offset, size = step
            code, args = 0x80, b""
            for i in range(4):
                if offset >> (8 * i) & 255:
                    code, args = code | 1 << i, args + bytes([offset >> (8 * i) & 255])
            for i in range(3):
                if size >> (8 * i) & 255:
                    code, args = code | 0x10 << i, args + bytes([size >> (8 * i) & 255])
            out += bytes([code]) + args
    return out


def tree(*entries):
    """entries: (mode, name, id)."""
    return b"".join(mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(i) for mode, name, i in entries)


def commit(tree_id, *parents, message="x", date=1700000000):
    text = f"tree {tree_id}\n" + "".join(f"parent {p}\n" for p in parents)
    return (text + f"author A <a@example.com> {date} +0000\ncommitter A <a@example.com> {date} +0000\n\n{message}\n").encode()


def small(message="x", content=b"hello\n"):
    """(id of the commit, [(kind, data)...]) of a commit with one file."""
    t = tree(("100644", "file", oid(BLOB, content)))
    c = commit(oid(TREE, t), message=message)
    return oid(COMMIT, c), [(COMMIT, c), (TREE, t), (BLOB, content)]


def push_body(commands, pack_bytes=b"", capabilities="report-status side-band-64k agent=test"):
    """commands: (old, new, ref)."""
    out, first = b"", True
    for old, new, ref in commands:
        line = f"{old} {new} ".encode() + (ref.encode() if isinstance(ref, str) else ref)
        out += pkt(line + (b"\0 " + capabilities.encode() if first else b""))
        first = False
    return out + FLUSH + pack_bytes


def report(body, sideband=True):
    """The report of a push: (unpack line, {ref: "ok" or the reason})."""
    packets = parse(body)
    if sideband:
        out = bands(packets)
        if out[3]:
            return "error " + out[3].decode(errors="replace"), {}
        packets = parse(out[1])
    texts = [p.decode(errors="surrogateescape").rstrip("\n") for p in packets if isinstance(p, bytes)]
    if not texts or not texts[0].startswith("unpack "):
        raise Fail(f"no report in {body[:300]!r}")
    results = {}
    for text in texts[1:]:
        word, ref, *rest = text.split(" ", 2)
        results[ref] = "ok" if word == "ok" else rest[0] if rest else ""
    return texts[0][len("unpack "):], results
