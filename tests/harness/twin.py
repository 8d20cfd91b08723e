"""One repository twice: at the server under test, and on disk, where git's own upload-pack answers the same requests."""
import os
import subprocess
import zlib

from harness.core import Fail, expect, same
from harness.pkt import OFS_DELTA, REF_DELTA, parse, pkts

TYPE = {"Content-Type": "application/x-git-upload-pack-request"}
# All that the server announces; git announces most of it only when told so.
CONFIG = ("allowFilter", "allowAnySHA1InWant", "allowRefInWant", "allowSidebandAll", "advertiseRefInWant", "advertiseSidebandAll")
# c1 - c2 - c3 - c4 - c6 (main)     v1: annotated tag of c3; v2: annotated tag of v1; light: c2
#        \            /             tree-tag, blob-tag: annotated tags of c6's tree and file f
#         s1 ------ s2 (side)       refs/changes/1: o1, on c1; refs/heads/old: c4
COMMITS = (("c1", ()), ("c2", ("c1",)), ("c3", ("c2",)), ("s1", ("c2",)), ("c4", ("c3",)), ("s2", ("s1",)), ("c6", ("c4", "s2")),
           ("o1", ("c1",)))
REFS = {"refs/heads/main": "c6", "refs/heads/side": "s2", "refs/heads/old": "c4", "refs/changes/1": "o1", "refs/tags/light": "c2"}
START = 1_700_000_000


def date(name):
    """When this commit was made: one every 1000 seconds."""
    return START + 1000 * [n for n, _ in COMMITS].index(name)


def history():
    """The history as git fast-import reads it."""
    out, marks = [], {}
    for i, (name, parents) in enumerate(COMMITS):
        marks[name] = i + 1
        text = "".join(f"line {k} of f in {name if k == i else 'all'}\n" for k in range(200))
        out.append(f"commit refs/work/{name}\nmark :{i + 1}\ncommitter A <a@example.com> {date(name)} +0000\ndata 2\n{name}\n")
        out += [f"{'from' if k == 0 else 'merge'} :{marks[p]}\n" for k, p in enumerate(parents)]
        out.append(f"M 100644 inline f\ndata {len(text)}\n{text}\nM 100644 inline only/in/{name}\ndata 3\n{name}\n\n")
    return "".join(out)


class Answer:
    """front: the packets before the pack, None, 1 and 2 as pkt.parse() has them; pack, text, error: what the bands hold, or
    the bare pack. sizes: of the packets of the pack's part."""

    def __init__(self, data, banded):
        self.data, self.front, self.pack, self.text, self.error, self.sizes = data, [], b"", b"", b"", []
        if not banded and b"PACK" in data:
            at = data.index(b"PACK")
            self.front, self.pack = parse(data[:at]), data[at:]
            return
        packets = parse(data)
        at = self.begin(packets)
        self.front = packets[:at]
        for i, p in enumerate(packets[at:]):
            if p is None:
                same(at + i, len(packets) - 1, "the flush ends the answer")
                break
            if not p or p[0] not in (1, 2, 3):
                raise Fail(f"not a side-band packet: {p[:40]!r}")
            self.sizes.append(len(p) + 4)
            if p[0] == 1:
                self.pack += p[1:]
            elif p[0] == 2:
                self.text += p[1:]
            else:
                self.error += p[1:]

    @staticmethod
    def begin(packets):
        """Where the pack's packets begin."""
        for i, p in enumerate(packets):
            if p in (b"packfile\n", b"\1packfile\n"):
                return i + 1
            if isinstance(p, bytes) and (p[:5] == b"\1PACK" or p[:1] == b"\2"):
                return i
        return len(packets)

    def documented(self):
        """The same with its sections in the documented order: git's server sends wanted-refs before shallow-info, and git's
        client does not understand that."""
        names = [p.lstrip(b"\1") if isinstance(p, bytes) else p for p in self.front]
        if b"wanted-refs\n" in names and b"shallow-info\n" in names:
            refs, roots = names.index(b"wanted-refs\n"), names.index(b"shallow-info\n")
            expect(refs < roots, "git puts the sections right now: this method can go")
            end = names.index(1, roots) + 1
            self.front = self.front[:refs] + self.front[roots:end] + self.front[refs:roots] + self.front[end:]
        return self

    def told(self):
        """The front, with what may come in any order sorted: the lines of shallow-info."""
        out, run = [], []
        for p in self.front:
            if isinstance(p, bytes) and p.lstrip(b"\1").startswith((b"shallow ", b"unshallow ")):
                run.append(p)
                continue
            out += sorted(run) + [p]
            run = []
        return out + sorted(run)


class Twin:
    def __init__(self, t, default="main"):
        self.git, self.repo = t.git, t.account.repo(defaultBranch=default)
        self.api = self.repo.account.api
        self.disk = t.git.init(t.path(f"twin-{default}.git"), bare=True)
        t.git("symbolic-ref", "HEAD", f"refs/heads/{default}", cwd=self.disk)
        self.scratch = (t.path(f"whole-{default}.git"), t.path(f"thin-{default}.git"))
        t.git("fast-import", "--quiet", cwd=self.disk, data=history().encode())
        self.ids = {name: t.git.rev(self.disk, f"refs/work/{name}") for name, _ in COMMITS}
        for name, of in REFS.items():
            t.git("update-ref", name, self.ids[of], cwd=self.disk)
        for tag, of in (("v1", "c3"), ("v2", "v1"), ("tree-tag", "c6^{tree}"), ("blob-tag", "c6:f")):
            target = self.ids.get(of) or self.rev(of.replace("c6", self.ids["c6"]))
            t.git("-c", "advice.nestedTag=false", "tag", "-a", "-m", tag, tag, target, cwd=self.disk)
            self.ids[tag] = self.rev(f"refs/tags/{tag}")
        for name, _ in COMMITS:
            t.git("update-ref", "-d", f"refs/work/{name}", cwd=self.disk)
        for key in CONFIG:
            t.git("config", f"uploadpack.{key}", "true", cwd=self.disk)
        t.git("push", "-q", self.repo.url(), "refs/*:refs/*", cwd=self.disk)

    def rev(self, what):
        return self.git.rev(self.disk, what)

    def named(self, line):
        """A line in which {c1} stands for an id."""
        return line.format(**self.ids) if isinstance(line, str) else line

    def body(self, *lines):
        return pkts(*[self.named(line) for line in lines])

    def post(self, body, version):
        return self.api.post(f"/{self.repo.id}.git/git-upload-pack", body, headers={**TYPE, "Git-Protocol": f"version={version}"})

    def theirs(self, body, version):
        """What git answers: (bytes, what it says on stderr)."""
        done = subprocess.run(["git", "upload-pack", "--stateless-rpc", self.disk], input=body, capture_output=True, timeout=60,
                              env={**self.git.env, "GIT_PROTOCOL": f"version={version}"})
        return done.stdout, done.stderr.decode(errors="replace")

    def ours(self, body, version):
        reply = self.post(body, version)
        same(reply.status, 200, f"the status for {body!r}, with {reply.body[:200]!r}")
        return reply.body

    def both(self, version, *lines):
        """The two answers, of which all but the pack's bytes and the progress is the same."""
        body = self.body(*lines)
        banded = version == 2 or b"side-band" in body
        ours, theirs = Answer(self.ours(body, version), banded), Answer(self.theirs(body, version)[0], banded).documented()
        same(ours.told(), theirs.told(), f"the answer to {lines} in version {version}")
        same(ours.error, theirs.error, "the error")
        same(bool(ours.pack), bool(theirs.pack), f"whether there is a pack for {lines}")
        if ours.pack:
            thin = b"thin-pack" in body
            got, wanted = self.objects(ours.pack, thin), self.objects(theirs.pack, thin)
            same(got - wanted, set(), f"more than git sends for {lines}")
            if wanted - got:  # git looks less closely at what the client has
                same(wanted - got - self.client_has(body), set(), f"missing in the pack for {lines}")
        return ours, theirs

    def client_has(self, body):
        """The objects that the haves and shallow lines of a request reach, up to these lines."""
        texts = [p.decode().split() for p in parse(body) if isinstance(p, bytes)]
        known = set(self.ids.values())
        haves, roots = ([t[1] for t in texts if t[:1] == [word] and t[1] in known] for word in ("have", "shallow"))
        if not haves + roots:
            return set()
        path = os.path.join(self.disk, "client-shallow")
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(f"{i}\n" for i in roots))
        out = self.git("--shallow-file", path if roots else "", "rev-list", "--objects", *haves, *roots, cwd=self.disk)
        return {line.split()[0] for line in out.splitlines()}

    def objects(self, pack, thin=False):
        """The ids of the objects in a pack. A thin one may build on what the repository has."""
        expect(pack[:4] == b"PACK" and len(pack) >= 32, "a pack")
        count = int.from_bytes(pack[8:12], "big")
        if count == 0:
            return set()
        scratch = self.scratch[thin]
        if not os.path.exists(scratch):
            self.git.init(scratch, bare=True)
            if thin:
                with open(os.path.join(scratch, "objects/info/alternates"), "w", encoding="utf-8") as f:
                    f.write(os.path.join(self.disk, "objects") + "\n")
        out = self.git("index-pack", "--stdin", *(["--fix-thin"] if thin else []), cwd=scratch, data=pack).split()
        name = os.path.join(scratch, "objects/pack", f"pack-{out[1]}")
        with open(name + ".idx", "rb") as f:
            rows = index_rows(f.read())
        for end in ("idx", "pack", "rev"):
            if os.path.exists(f"{name}.{end}"):
                os.unlink(f"{name}.{end}")
        # What completes a thin pack stands behind what came.
        return {oid for _, oid in sorted(rows)[:count]}


def index_rows(idx):
    """(offset, id) of each object in an index (gitformat-pack, version 2)."""
    expect(idx[:8] == b"\xfftOc\0\0\0\2", "an index of version 2")
    n = int.from_bytes(idx[8 + 255 * 4:8 + 256 * 4], "big")
    ids, offsets = 8 + 256 * 4, 8 + 256 * 4 + n * 24
    return [(int.from_bytes(idx[offsets + 4 * i:offsets + 4 * i + 4], "big"), idx[ids + 20 * i:ids + 20 * i + 20].hex()) for i in range(n)]


def kinds(pack):
    """The kinds of a pack's entries, in order."""
    at, out = 12, []
    for _ in range(int.from_bytes(pack[8:12], "big")):
        kind = pack[at] >> 4 & 7
        while pack[at] & 0x80:
            at += 1
        at += 1
        if kind == REF_DELTA:
            at += 20
        elif kind == OFS_DELTA:
            while pack[at] & 0x80:
                at += 1
            at += 1
        unzip = zlib.decompressobj()
        unzip.decompress(pack[at:])
        at = len(pack) - len(unzip.unused_data)
        out.append(kind)
    same(len(pack) - at, 20, "the trailer")
    return out
