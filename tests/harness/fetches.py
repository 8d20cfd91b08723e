"""Fetch requests in versions 0 and 2 as clients of all kinds send them, and their answers taken apart."""
import re

from harness import pkt
from harness.core import Fail, expect
from harness.pkt import BLOB, COMMIT, DELIM, FLUSH, TAG, TREE
from harness.raw import KINDS

FOREVER = 0x7fffffff  # the depth of --unshallow


def short(oids):
    """Ids as people read them."""
    return " ".join(re.sub(r"^([0-9a-f]{7})[0-9a-f]{33}$", r"\1", o) for o in sorted(oids)) or "-"


class Refusal(Exception):
    """The answer is an ERR packet, or a status that is none of 200."""


class Filter:
    """What a partial clone leaves out: one conjunction, whatever was combined."""

    def __init__(self, spec):
        self.spec, self.limit, self.depth, self.kinds = spec, 1 << 60, 1 << 60, {COMMIT, TREE, BLOB, TAG}
        for part in spec[len("combine:"):].split("+") if spec.startswith("combine:") else [spec]:
            name, _, value = part.replace("%3D", "=").replace("=", ":").partition(":")
            if name == "tree":
                self.depth = min(self.depth, int(value))
            elif name == "object":
                self.kinds &= {kind for kind, word in KINDS.items() if value == f"type:{word}"}
            else:
                self.limit = min(self.limit, 0 if value == "none" else self.size(value[len("limit:"):]))

    @staticmethod
    def size(text):
        return int(text[:-1]) * 1024 if text.endswith("k") else int(text)

    def __repr__(self):
        return self.spec


class Client:
    """A repository somewhere: what its tips reach as far as its roots, but for what a filter kept away."""

    def __init__(self, kind, have=(), tips=(), shallow=(), partial=None):
        self.kind, self.partial = kind, partial
        self.have, self.tips, self.shallow = set(have), set(tips), set(shallow)

    def __repr__(self):
        return f"{self.kind} client: tips {short(self.tips)}, roots {short(self.shallow)}, partial {self.partial}"


class Ask:
    """One request. depth, since, nots: where history shall end; relative: depth counts from the client's roots."""

    def __init__(self, version):
        self.version, self.wants, self.want_refs, self.haves, self.shallow = version, [], {}, [], []
        self.depth, self.relative, self.since, self.nots, self.filter = 0, False, None, [], None
        self.thin = self.ofs = self.tags = self.done = self.no_done = False
        self.bands, self.ack = "side-band-64k", "multi_ack_detailed"

    def wanted(self):
        return [*self.wants, *self.want_refs.values()]

    def deepens(self):
        return bool(self.depth or self.since is not None or self.nots)

    def rows(self):
        """The lines that both versions have."""
        out = [f"shallow {oid}" for oid in self.shallow]
        out += [f"deepen {self.depth}"] if self.depth else []
        out += [f"deepen-since {self.since}"] if self.since is not None else []
        out += [f"deepen-not {name}" for name in self.nots]
        return out + ([f"filter {self.filter}"] if self.filter else [])

    def body(self):
        flags = {"thin-pack": self.thin, "ofs-delta": self.ofs, "include-tag": self.tags,
                 "deepen-relative": self.relative, "no-progress": True}
        wants, haves = [f"want {oid}" for oid in self.wants], [f"have {oid}" for oid in self.haves]
        if self.version == 2:
            flags["done"] = self.done
            rows = wants + [f"want-ref {name}" for name in self.want_refs] + self.rows() + haves
            rows += [name for name, on in flags.items() if on]
            return pkt.pkts("command=fetch\n", "object-format=sha1\n", DELIM, *[row + "\n" for row in rows], FLUSH)
        flags |= {"no-done": self.no_done, self.bands: bool(self.bands), self.ack: bool(self.ack),
                  "shallow": bool(self.shallow) or self.deepens(), "deepen-since": self.since is not None,
                  "deepen-not": bool(self.nots), "filter": bool(self.filter)}
        wants[0] += " " + " ".join(name for name, on in flags.items() if on)
        # One round, which is what clients over HTTP send: git leaves at the first flush after haves.
        return pkt.pkts(*[row + "\n" for row in wants + self.rows()], FLUSH, *[row + "\n" for row in haves],
                        "done\n" if self.done else FLUSH)

    def __repr__(self):
        return "asks " + " ".join(f"{k}={short(v) if isinstance(v, list) else v}" for k, v in vars(self).items() if v)


class Answer:
    """acks: ids; ready; shallow, unshallow: roots that come and go; wanted: {ref: id}; pack: bytes, or None."""

    def __init__(self, ask, body):
        self.acks, self.ready, self.shallow, self.unshallow, self.wanted, self.pack = [], False, set(), set(), {}, None
        if body[4:8] == b"ERR ":
            raise Refusal(body[8:300].decode(errors="replace"))
        if ask.version == 2:
            self.read_sections(pkt.parse(body))
        else:
            self.read_v0(ask, body)

    def read_sections(self, packets):
        while packets:
            title = packets.pop(0)
            if title == b"packfile\n":
                self.take(pkt.bands(packets))
                return
            while packets and packets[0] not in (None, 1):
                self.line(title, packets.pop(0).decode().rstrip("\n"))
            if not packets or packets.pop(0) is None:
                return

    def line(self, title, line):
        if title == b"acknowledgments\n":
            self.ready |= line == "ready"
            self.acks += [line.split()[1]] if line.startswith("ACK ") else []
        elif title == b"shallow-info\n":
            self.cut(line)
        elif title == b"wanted-refs\n":
            oid, name = line.split(" ", 1)
            self.wanted[name] = oid
        else:
            raise Fail(f"an unknown section {title!r}")

    def cut(self, line):
        word, oid = line.split()
        {"shallow": self.shallow, "unshallow": self.unshallow}[word].add(oid)

    def read_v0(self, ask, body):
        at, cutting = 0, ask.deepens()
        while at < len(body) and body[at:at + 4] != b"PACK":
            n = max(4, int(body[at:at + 4], 16))
            line = body[at + 4:at + n]
            if n == 4:
                expect(cutting, "a flush out of place", body[:at + 4])
                cutting = False
            elif cutting:
                self.cut(line.decode())
            elif line[:3] == b"ACK":
                words = line.decode().split()
                self.acks.append(words[1])
                self.ready |= words[2:] == ["ready"]
            elif line[:3] != b"NAK":
                self.take(pkt.bands(pkt.parse(body[at:])))
                return
            at += n
        self.pack = body[at:] or None

    def take(self, bands):
        expect(not bands[3], "an error in the answer", bands[3])
        self.pack = bands[1]
