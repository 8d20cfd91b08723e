"""Pushes by hand, and the same ones to git's own receive-pack on disk."""
import re
import subprocess

from harness import expect, same, wait_for
from harness import pkt
from harness.pkt import FLUSH, ZERO, entry, pack, push_body, report, small

TYPE = {"Content-Type": "application/x-git-receive-pack-request"}
BANDS = "report-status side-band-64k agent=test"


class World:
    """A repository with one commit, pushed raw, and another commit to push."""

    def __init__(self, t, server=None):
        account = (server or t.server).account()
        self.server, self.repo, self.api = account.server, account.repo(), account.api
        self.base, self.base_objects = small("base", b"base content, long enough to be a delta's base\n" * 3)
        self.expect_ok(self.base, "refs/heads/main", pack([entry(k, d) for k, d in self.base_objects]))
        self.tip, self.objects = small("tip", b"tip content\n")
        self.entries = [entry(k, d) for k, d in self.objects]
        self.good = pack(self.entries)

    def post(self, body, **headers):
        sent = {**TYPE, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.api.post(f"/{self.repo.id}.git/git-receive-pack", body, headers=sent)

    def push(self, tip, ref, pack_bytes, old=ZERO):
        return self.post(push_body([(old, tip, ref)], pack_bytes))

    def expect_ok(self, tip, ref, pack_bytes, old=ZERO):
        reply = self.push(tip, ref, pack_bytes, old)
        same(reply.status, 200, f"status with {reply.body[:200]!r}")
        same(report(reply.body), ("ok", {ref: "ok"}), "report")

    def refs(self):
        body = self.api.get(f"/{self.repo.id}/info/refs?service=git-receive-pack").body
        rows = [r.split("\0")[0] for r in pkt.lines(body)[2:] if r]
        return {name: oid for oid, name in (r.split(" ", 1) for r in rows) if oid != ZERO}

    def folder(self):
        """The repository's files, and what pushes under way have left."""
        own = {k: n for k, n in self.server.files("repos").items() if self.repo.id in k}
        return own, set(self.server.files("run"))

    def refused(self, what, reply, refs, files):
        """Said to the client, and nothing is left of it."""
        if reply.status == 200:
            unpack, results = report(reply.body)
            expect(unpack != "ok" or (results and all(r != "ok" for r in results.values())), f"{what}: refused", reply.body)
        else:
            expect(reply.status in (400, 413), f"{what}: status", reply.status, reply.body)
        same(self.refs(), refs, f"{what}: refs")
        same(self.folder()[0], files[0], f"{what}: files of the repository")
        wait_for(lambda: self.folder()[1] <= files[1], f"{what}: the spool's removal", 20)


def body(commands, data=b"", capabilities=BANDS, shallow=(), options=None):
    """commands: (old, new, ref); data: what stands behind them; options: a list, whose section then follows."""
    out = [pkt.pkt(f"shallow {oid}") for oid in shallow]
    for i, (old, new, ref) in enumerate(commands):
        name = ref if isinstance(ref, bytes) else ref.encode()
        out.append(pkt.pkt(f"{old} {new} ".encode() + name + (b"" if i else b"\0 " + capabilities.encode())))
    out.append(FLUSH)
    if options is not None:
        out += [pkt.pkt(option) for option in options] + [FLUSH]
    return b"".join(out) + data


class Twin(World):
    """The same repository on disk as well."""

    def __init__(self, t):
        super().__init__(t)
        self.git, self.disk = t.git, t.git.init(t.path(f"twin-{self.repo.id[:8]}.git"), bare=True)
        for key, value in (("receive.advertisePushOptions", "true"), ("receive.unpackLimit", "100000"), ("transfer.hideRefs", "refs/warren")):
            t.git("config", key, value, cwd=self.disk)
        self.theirs(body([(ZERO, self.base, "refs/heads/main")], pack([entry(k, d) for k, d in self.base_objects])))
        same(self.their_refs(), self.refs(), "the twin begins alike")

    def theirs(self, data):
        """What git answers."""
        done = subprocess.run(["git", "receive-pack", "--stateless-rpc", self.disk], input=data, capture_output=True, timeout=120,
                              env=self.git.env)
        return done.stdout

    def their_refs(self):
        return self.git.refs(self.disk)

    def both(self, commands, data=b"", capabilities=BANDS, **more):
        """The two reports, as bytes; the refs afterwards are the same."""
        sent = body(commands, data, capabilities, **more)
        reply = self.post(sent)
        same(reply.status, 200, f"the status with {reply.body[:200]!r}")
        reports = []
        for answer in (reply.body, self.theirs(sent)):
            banded = "side-band-64k" in capabilities.split() and answer
            reports.append(pkt.bands(pkt.parse(answer))[1] if banded else answer)
            if banded:
                expect(answer.endswith(FLUSH), "bands end with a flush", answer[-40:])
        same(self.refs(), self.their_refs(), f"the refs after {commands[:5]}")
        return reports

    def same_report(self, what, *args, **more):
        ours, theirs = self.both(*args, **more)
        same(ours, theirs, f"{what}: the report")
        return ours


def results(lines):
    """{ref: "ok" or the reason} of a report's bytes."""
    return report(lines, sideband=False)[1]


def peak(server):
    """The most memory that the server's processes have had at once, or more."""
    total = 0
    for pid in server.pids():
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            total += int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M).group(1)) * 1024
    return total
