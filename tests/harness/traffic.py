"""What writers do to a repository, and what it may hold after a crash.

A Lane is one writer's share of a repository: refs that nobody else changes, their acknowledged values, and the one push
that has no answer yet. Whatever happens to the server, each ref has its acknowledged value or that push's; of an atomic
push, all refs or none."""
import calendar
import json
import time

from harness import pkt
from harness.core import expect
from harness.raw import Objects, Said

KINDS = {"small": 40, "files": 4, "large": 2, "two": 6, "atomic": 6, "rewind": 6, "delete": 6, "move": 6, "tag": 4, "custom": 4,
         "api": 12, "branch": 4, "object": 4}
DRIFT = 300  # seconds that a commit by API without an answer may be late


class ByApi(bytes):
    """What a lane sends in a pack's place: a call of the REST API. The commit that POST .../commits makes has the server's time, so
    its id is foretold for this second; where the second was over another one takes its place."""

    def __new__(cls, *calls, lane=None, text=None, date=None):
        made = super().__new__(cls)
        made.calls, made.lane, made.text, made.date = calls, lane, text, date
        return made

    def send(self, wire, repo_id, refs):
        for path, body in self.calls:
            status, data = wire.request("POST", f"/git/v1/repo/{repo_id}/{path}", json.dumps(body).encode())
            if status != 200:
                return ApiSaid(status, data, refs)
        made = json.loads(data).get("commit")
        if self.text and made["sha"] not in self.lane.open.values():
            date = calendar.timegm(time.strptime(made["committer"]["date"][:19], "%Y-%m-%dT%H:%M:%S"))
            expect(self.late(made["sha"], [date]), f"{self.lane.name}: a commit by API", made, self.text(self.date))
        return ApiSaid(status, data, refs)

    def late(self, oid, dates):
        """Whether this is the commit that was sent, made at one of these seconds; the lane goes on from it then."""
        for date in dates if self.text else ():
            data, links = self.text(date)
            if pkt.oid(pkt.COMMIT, data) == oid:
                self.lane.last = self.lane.objects.add(pkt.COMMIT, data, links)
                self.lane.open = {ref: oid for ref in self.lane.open}
                return True
        return False


class ApiSaid(Said):
    """The answer to a call of the API, in the words of a push's."""

    def __init__(self, status, body, refs):
        self.status, self.ok, self.body = status, status == 200, body
        self.results = {ref: "ok" for ref in refs} if self.ok else {}
        # What went wrong inside may have gone wrong behind the change.
        self.unpack = "ok" if self.ok else f"status {status}{', unknown' if status == 500 else ''}: {body[:300]!r}"


class Lane:
    def __init__(self, name, random, kinds=None, large=1_300_000):
        self.name, self.random, self.objects, self.large = name, random, Objects(), large
        self.kinds = kinds or KINDS
        self.refs = {}      # acknowledged
        self.open = None    # {ref: new} of the push that has no answer
        self.atomic = False
        self.call = None    # a ByApi, where it was no push
        self.files, self.last, self.turn, self.known = {}, None, 0, set()

    def ref(self, end=""):
        return f"refs/heads/{self.name}{end}"

    def commit(self, count=1, size=None):
        """A commit on top of the last one: some files written anew, some grown."""
        r = self.random
        self.turn += 1
        for i in range(count):
            name = f"f{r.randrange(6)}" if count == 1 else f"f{i}"
            old = self.files.get(name)
            length = size if size is not None else r.choice([10, 60, 300, 3000])
            if old and size is None and r.random() < 0.5 and len(self.objects.all[old][1]) < 20_000:
                data = self.objects.all[old][1] + r.randbytes(r.randrange(1, 60))
                self.files[name] = self.objects.blob(data, old)
            else:
                self.files[name] = self.objects.blob(r.randbytes(length))
        parents = [self.last] if self.last else []
        self.last = self.objects.commit(self.objects.tree(self.files), parents, f"{self.name} {self.turn}")
        return self.last

    # By the REST API. now: the server's time of day.
    now = staticmethod(time.time)

    def by_api(self, tip):
        """Some files changed on top of the branch, which may not be there yet."""
        r = self.random
        while self.now() % 1 > 0.8:
            time.sleep(0.02)
        date = int(self.now())
        self.turn += 1
        files = dict(self.objects.files(self.objects.links[tip][0])) if tip else {}
        changes = []
        for _ in range(r.choice([1, 1, 2, 5])):
            name = f"f{r.randrange(6)}"
            if name in files and r.random() < 0.2 and len(files) > 1:
                del files[name]
                changes.append({"path": name, "deleted": True})
                continue
            text = r.randbytes(r.choice([0, 10, 200, 3000])).hex()
            files[name] = self.objects.blob(text.encode())
            changes.append({"path": name, "content": text})
        tree, parents, message = self.objects.tree(files), [tip] if tip else [], f"{self.name} {self.turn}"

        def text(when):
            return pkt.commit(tree, *parents, message=message, date=when), [tree, *parents]
        self.files = files
        self.last = self.objects.add(pkt.COMMIT, *text(date))
        body = {"message": message + "\n", "branch": self.name, "files": changes, "author": {"name": "A", "email": "a@example.com"}}
        if tip and r.random() < 0.3:
            body["expectedSha"] = tip
        self.call = ByApi(("commits", body), lane=self, text=text, date=date)
        return {self.ref(): self.last}, False

    def branch_by_api(self, tip, new):
        """A branch at a commit that is there, or at one that is made first and that nothing reaches so far."""
        call = "git/refs/heads/" + self.name + "-three", {"sha": tip}
        if new:
            self.turn += 1
            message, tree = f"{self.name} object {self.turn}", self.objects.links[tip][0]
            who = {"name": "A", "email": "a@example.com", "date": "2023-11-14T22:13:20Z"}
            oid = self.objects.commit(tree, [tip], message)
            self.call = ByApi(("git/commits", {"message": message + "\n", "tree": tree, "parents": [tip], "author": who, "committer": who}),
                              (call[0], {"sha": oid}))
            return {self.ref("-three"): oid}, False
        self.call = ByApi(call)
        return {self.ref("-three"): tip}, False

    def back(self, tip, steps):
        """An ancestor of the commit."""
        for _ in range(steps):
            parents = [o for o in self.objects.links[tip] if self.objects.all[o][0] == 1]
            if not parents:
                break
            tip = parents[0]
        return tip

    def plan(self):
        """{ref: new id or None} of the next push, and whether it is atomic."""
        r = self.random
        kind = r.choices(list(self.kinds), list(self.kinds.values()))[0]
        main, other, more = self.ref(), self.ref("-two"), self.ref("-three")
        tip = self.refs.get(main)
        if kind == "rewind" and tip:
            self.last = self.back(tip, r.randint(1, 3))
            return {main: self.commit() if r.random() < 0.5 or self.last == tip else self.last}, False
        if kind == "delete":
            victims = [n for n in self.refs if r.random() < 0.5]
            if victims:
                if main in victims:
                    self.last = None
                    self.files = {}
                return {n: None for n in victims}, r.random() < 0.5
        if kind == "move" and tip:
            old = r.choice(sorted(o for o in set(self.refs.values()) if self.objects.all[o][0] == 1))
            new = self.back(old, r.randrange(3))
            if self.refs.get(more) != new:
                return {more: new}, False
        if kind == "tag" and tip:
            name = f"refs/tags/{self.name}-{self.turn % 4}"
            new = self.objects.tag(self.back(tip, r.randrange(2)), f"{self.name}-{self.turn}")
            return {name: new}, False
        if kind == "custom":
            return {f"refs/custom/{self.name}/{r.randrange(3)}": self.commit()}, False
        if kind == "two" or kind == "atomic":
            return {main: self.commit(), other: self.commit(), **({more: self.commit()} if r.random() < 0.3 else {})}, kind == "atomic"
        if kind == "api":
            return self.by_api(tip)
        if kind in ("branch", "object") and tip and more not in self.refs:
            return self.branch_by_api(self.back(tip, r.randrange(2)), kind == "object")
        if kind == "large":
            return {main: self.commit(size=self.large)}, False
        return {main: self.commit(count=200 if kind == "files" else 1)}, False

    def prepare(self):
        """The next push as ({ref: (old, new)}, pack, atomic), which counts as open until settled."""
        self.call = None
        wanted, self.atomic = self.plan()
        wanted = {ref: new for ref, new in wanted.items() if self.refs.get(ref) != new}
        if not wanted:
            self.call = None
            wanted, self.atomic = {self.ref(): self.commit()}, False
        if self.call is not None:
            self.open = wanted
            return {ref: (self.refs.get(ref), new) for ref, new in wanted.items()}, self.call, False
        known = self.objects.closure(self.refs.values())
        oids = self.objects.closure([n for n in wanted.values() if n], known)
        # A push that only deletes has no pack.
        pack = self.objects.pack(oids, known, self.random) if any(wanted.values()) else b""
        self.open = wanted
        return {ref: (self.refs.get(ref), new) for ref, new in wanted.items()}, pack, self.atomic

    def settled(self, accepted=None):
        """The answer is there: these refs (None: all) have what the push gave them."""
        for ref, new in self.open.items():
            if accepted is None or ref in accepted:
                self._set(ref, new)
        self.open = None

    def _set(self, ref, new):
        if new is None:
            self.refs.pop(ref, None)
        else:
            self.refs[ref] = new

    def step(self, wire, repo_id, strict=True):
        """One push to its answer. strict: it has to go through."""
        commands, pack, atomic = self.prepare()
        said = wire.push(repo_id, commands, pack, atomic)
        if strict:
            expect(said.ok, f"{self.name}: a push", said, commands)
        self.settled(said.accepted())
        if not said.ok:
            self.reset()
        return said

    def reset(self):
        """New commits go on from what the branch has."""
        self.last = self.refs.get(self.ref())
        self.files = {}

    def mine(self, ref):
        return ref.startswith((self.ref(), f"refs/tags/{self.name}-", f"refs/custom/{self.name}/"))

    def late(self, refs):
        """Whether a commit by API without an answer is there with another second than was foretold; it counts as open then."""
        for ref, new in (self.open or {}).items() if self.call is not None and self.call.text else ():
            if refs.get(ref) not in (None, new, self.refs.get(ref)):
                return self.call.late(refs[ref], range(self.call.date, self.call.date + DRIFT))
        return False

    def check(self, refs, what):
        """After a crash: each ref is as acknowledged, or as the push without an answer wanted it. Takes over which."""
        self.late(refs)
        opened = self.open or {}
        mine = {ref: oid for ref, oid in refs.items() if self.mine(ref)}
        for ref in {*self.refs, *opened, *mine}:
            possible = {self.refs.get(ref)} | ({opened[ref]} if ref in opened else set())
            expect(mine.get(ref) in possible, f"{what}: {ref}", mine.get(ref), possible)
        if self.atomic and opened:
            news = {ref: mine.get(ref) == new for ref, new in opened.items() if self.refs.get(ref) != new}
            expect(len(set(news.values())) < 2, f"{what}: an atomic push is there in part", news)
        self.refs, self.open = mine, None
        self.reset()


def check_lanes(lanes, refs, what):
    """All lanes of one repository; and no ref is anybody else's."""
    for lane in lanes:
        lane.check(refs, what)
    strange = [ref for ref in refs if not any(lane.mine(ref) for lane in lanes)]
    expect(not strange, f"{what}: refs out of nowhere", strange)


class Everyone:
    """The lanes' objects together, as harness.raw.check_clone() wants them."""

    def __init__(self, lanes):
        self.lanes = lanes

    def closure(self, tips):
        out = set()
        for tip in tips:
            for lane in self.lanes:
                if tip in lane.objects.links:
                    out |= lane.objects.closure([tip])
                    break
            else:
                out.add(tip)
        return out
