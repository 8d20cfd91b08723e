"""What writers do to a repository, and what it may hold after a crash.

A Lane is one writer's share of a repository: refs that nobody else changes, their acknowledged values, and the one push
that has no answer yet. Whatever happens to the server, each ref has its acknowledged value or that push's; of an atomic
push, all refs or none."""
from harness.core import expect
from harness.raw import Objects

KINDS = {"small": 40, "files": 4, "large": 2, "two": 6, "atomic": 6, "rewind": 6, "delete": 6, "move": 6, "tag": 4, "custom": 4}


class Lane:
    def __init__(self, name, random, kinds=None, large=1_300_000):
        self.name, self.random, self.objects, self.large = name, random, Objects(), large
        self.kinds = kinds or KINDS
        self.refs = {}      # acknowledged
        self.open = None    # {ref: new} of the push that has no answer
        self.atomic = False
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
        if kind == "large":
            return {main: self.commit(size=self.large)}, False
        return {main: self.commit(count=200 if kind == "files" else 1)}, False

    def prepare(self):
        """The next push as ({ref: (old, new)}, pack, atomic), which counts as open until settled."""
        wanted, self.atomic = self.plan()
        wanted = {ref: new for ref, new in wanted.items() if self.refs.get(ref) != new}
        if not wanted:
            wanted, self.atomic = {self.ref(): self.commit()}, False
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

    def check(self, refs, what):
        """After a crash: each ref is as acknowledged, or as the push without an answer wanted it. Takes over which."""
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
